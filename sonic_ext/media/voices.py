"""Two persons who speak: their voices, each in a file or a channel of its own, and the sound of both."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio, BadSetting
from ..progress import Stage, Tick
from ..settings import Settings
from .audio import Speech, channel_voices, read_speech
from .loudness import K_RATE, LoudnessMeter

BOTH = "channels"
"""`Settings.voices` where the channels of one file are two persons."""


@dataclass(frozen=True)
class Dialogue(Speech):
    """The sound of two voices together, as long as the longer one. In itself it is that of the first file."""

    pair: tuple[Speech, ...] = field(default=())
    """The voice of the first face, then that of the second."""
    gain: float = 1.0
    """What the sum of both is multiplied with, so that nothing clips where both speak."""

    @property
    def voices(self) -> tuple[Speech, ...]:
        """See `Speech.voices`."""
        return self.pair

    def _resampled(self, rate: int, channels: int) -> Iterator[NDArray[np.float32]]:
        streams = (voice.sound(rate, channels, 1.0) for voice in self.pair)
        for blocks in zip_longest(*streams):
            heard = [block for block in blocks if block is not None]
            both = np.zeros((channels, max(block.shape[1] for block in heard)), np.float32)
            for block in heard:
                both[:, : block.shape[1]] += block
            yield both * np.float32(self.gain)


def voice_count(settings: Settings, second: object | None = None) -> int:
    """How many persons speak: 1 or 2.

    Args:
        second: the second voice, if it is a file of its own.

    Raises:
        BadSetting: the second voice is told twice, or a second face has none.
    """
    channels = settings.voices == BOTH
    if channels and second is not None:
        raise BadSetting(
            "voices=channels has both voices in one file, and there is a second one.",
            "Leave voices at mixed, or the second file out.",
        )
    if settings.face_box_2 and not channels and second is None:
        raise BadSetting(
            "face_box_2 is given, and there is no second voice.",
            "Give it as a file (--voice-2, audio_2) or as a channel (voices=channels), or leave the box out.",
        )
    return 2 if channels or second is not None else 1


def read_voices(
    audio: str | os.PathLike[str] | Speech,
    second: str | os.PathLike[str] | Speech | None,
    settings: Settings,
    tick: Tick | None = None,
) -> Speech:
    """One person's speech, or the `Dialogue` of two.

    Args:
        audio: sound file or video with sound, or a `Speech`.
        second: the same of the second person, where that has a file of its own.
        settings: `voices` says whether the channels of `audio` are two persons.
        tick: called for every few seconds of sound.

    Raises:
        BadAudio: see `read_speech` and `channel_voices`; neither voice says anything. One that is silent will
            do: that person listens.
        BadSetting: see `voice_count`.
        Cancelled: from `tick`.
    """
    if voice_count(settings, second) == 1:
        return _speech(audio, tick)
    if second is None:
        return _dialogue(*channel_voices(_speech(audio, tick), tick), tick)
    return _dialogue(_speech(audio, tick, silence=True), _speech(second, tick, silence=True), tick)


def _speech(audio: str | os.PathLike[str] | Speech, tick: Tick | None, silence: bool = False) -> Speech:
    return audio if isinstance(audio, Speech) else read_speech(audio, tick, silence=silence)


def _dialogue(first: Speech, second: Speech, tick: Tick | None) -> Dialogue:
    """Both voices, with what is to be known of their sum."""
    if first.is_silent and second.is_silent:
        raise BadAudio(
            "Both voices are silent.", "Give speech of one of them at least; the other may listen."
        )
    longer = max(first, second, key=lambda voice: voice.length)
    channels = 1 if first.channels == second.channels == 1 else 2
    about = first.path, longer.length, first.rate, channels, first.sha256, first.loudness
    plain = Dialogue(*about, (), data=first.data, pair=(first, second))
    meter, peak = LoudnessMeter(), 0.0
    for seconds, block in enumerate(plain.sound(K_RATE, channels, 1.0), 1):
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        meter.add(block.mean(axis=0, keepdims=True), K_RATE)
        if tick is not None:
            tick(Stage.READING_SPEECH, seconds, max(math.ceil(longer.length), seconds))
    meter.finish()
    heard = (voice.warnings for voice in (first, second) if not voice.is_silent)
    warnings = tuple(dict.fromkeys((*chain(*heard), *_listening(first, second))))
    return replace(plain, loudness=meter.loudness(channels), warnings=warnings, gain=1.0 / max(peak, 1.0))


def _listening(first: Speech, second: Speech) -> Iterator[str]:
    if first.is_silent:
        yield "The first voice is silent: that person only listens."
    if second.is_silent:
        yield "The second voice is silent: that person only listens."
