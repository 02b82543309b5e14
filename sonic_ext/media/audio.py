"""Speech: any common sound file, streamed. Some numbers for every moment are kept of it, none of its samples.

The length is what the decoder gives, sample by sample, and silence where time stamps leave a gap: encoder
delay and padding (MP3, AAC, Opus) are left out as the file's own marks say. The channels are mixed so that
the voice in them is heard, wherever it is; video gives its sound.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio, BadSetting
from ..files.digest import sha256_of
from ..progress import Stage, Tick
from ..settings import Settings
from .blocks import rechunked
from .container import advice, decoding, opened
from .headers import moving_pictures, stated_seconds
from .loudness import LoudnessMeter
from .mixing import ChannelSurvey, Mix, NotFinite, layout_weights, mixed
from .samples import MAX_SECONDS as MAX_SECONDS
from .samples import Filters, check_length, decoded, frame_of, runs

MIN_SECONDS = 0.04
"""Shortest sound: one frame of video."""
SILENCE = 10 ** (-60 / 20)
"""Peak, as a share of full scale, up to which sound counts as silence (-60 dBFS)."""
CODED_CONSTANT = 0.01
"""Peaks below this share of the constant that they lie on are what a codec made of it (-40 dB)."""
ALIKE = 0.01
"""Peak of the difference of two channels, as a share of theirs, up to which they hold one voice (-40 dB)."""
QUIET = -45.0
"""LUFS below which the user is told that the speech is faint."""
TOLERANCE = 0.1
"""Seconds that a wanted duration may differ from the sound's."""
MISSING = 0.2
"""Seconds that a file may hold less than its header says before that is worth a word."""


@dataclass(frozen=True)
class Speech:
    """A sound file as measured; its samples are decoded afresh whenever they are asked for."""

    path: Path
    """As given; of sound in memory a name only."""
    seconds: float
    """Samples over rate, exactly."""
    rate: int
    """Samples a second in the file."""
    channels: int
    """Channels in the file."""
    sha256: str
    """Hex digest of the file's bytes; of sound in memory those of `wav_bytes`."""
    loudness: float
    """LUFS, integrated (ITU-R BS.1770, EBU R 128), of the mono mix, which counts twice where it was made
    of two sides; -inf below its gate."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""
    limit: float | None = None
    """Seconds after trimming or padding; None leaves the sound as it is."""
    data: bytes | None = field(default=None, repr=False)
    """The file's bytes, of sound in memory."""
    mix: Mix = field(default_factory=Mix)
    """How the sound is made from the file's samples."""

    @classmethod
    def from_samples(
        cls, samples: NDArray[np.float32] | NDArray[np.int16], rate: int, *, silence: bool = False
    ) -> Speech:
        """Sound that is no file yet, held in memory.

        Args:
            samples: float32 (full scale is 1) or int16, [n] or [n, channels].
            rate: samples a second.
            silence: see `read_speech`.

        Raises:
            BadAudio: of another type or shape, not finite; otherwise as `read_speech`.
        """
        data, path = wav_bytes(samples, rate), Path("speech.wav")
        check_length(len(samples) / rate)
        with decoding(path, BadAudio):
            heard = _measure(path, _Track(0, 0.0), None, data)
        _check(heard, path, silence=silence)
        digest = hashlib.sha256(data).hexdigest()
        about = heard.seconds, rate, heard.channels, digest, heard.loudness, heard.notes()
        return cls(path, *about, data=data, mix=heard.mix)

    @property
    def voices(self) -> tuple[Speech, ...]:
        """One for each person who speaks."""
        return (self,)

    @property
    def is_silent(self) -> bool:
        """Nothing in it is loud enough to be measured."""
        return self.loudness == -math.inf

    @property
    def length(self) -> float:
        """Seconds of sound that `blocks` gives."""
        return self.seconds if self.limit is None else self.limit

    def fitted(self, settings: Settings) -> Speech:
        """Cut or padded to `settings.duration` as `settings.duration_policy` allows.

        Raises:
            BadSetting: the duration differs by more than `TOLERANCE` and the policy does not cover it.
        """
        wanted = settings.duration
        if wanted is None:
            return self
        if settings.duration_policy == "trim" and wanted < self.seconds:
            return replace(self, limit=wanted)
        if settings.duration_policy == "pad_silence" and wanted > self.seconds:
            return replace(self, limit=wanted)
        if abs(wanted - self.seconds) <= TOLERANCE + 1e-9:
            return self
        policy, verb = ("trim", "cut") if wanted < self.seconds else ("pad_silence", "fill up")
        raise BadSetting(
            f"duration={wanted:g} s differs from the audio's {self.seconds:.2f} s.",
            f"Set duration_policy={policy} to {verb} the audio, or leave duration empty.",
        )

    def blocks(self, rate: int, seconds: float = 5.0) -> Iterator[NDArray[np.float32]]:
        """Mono float32 blocks [samples] of `seconds` each, the last one shorter; decoded afresh.

        In all they hold `round(length * rate)` samples, silence after the end of the file.

        Raises:
            BadAudio: the file has gone or changed.
        """
        for block in self.sound(rate, 1, seconds):
            yield block[0]

    def sound(self, rate: int, channels: int, seconds: float = 5.0) -> Iterator[NDArray[np.float32]]:
        """Like `blocks`, float32 [channels, samples] with 1 or 2 channels.

        Both are the mono mix where the file's channels cancel each other.
        """
        total, size = round(self.length * rate), max(1, round(seconds * rate))
        return rechunked(self._resampled(rate, channels), channels, total, size)

    def _resampled(self, rate: int, channels: int) -> Iterator[NDArray[np.float32]]:
        """float32 [channels, samples] in pieces of any length."""
        sides = 1 if self.mix.mono else channels
        form = f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={'mono' if sides == 1 else 'stereo'}"
        filters = Filters(("aresample", str(rate)), ("aformat", form))
        with decoding(self.path, BadAudio):
            for source_rate, layout, blocks in runs(decoded(self.path, self.mix.track, [], self.data)):
                for block in mixed(self.mix, blocks, source_rate, layout, sides):
                    for piece in filters(frame_of(block, source_rate)):
                        yield np.broadcast_to(piece, (channels, piece.shape[1]))
            for piece in filters.flush():
                yield np.broadcast_to(piece, (channels, piece.shape[1]))


def read_speech(path: str | os.PathLike[str], tick: Tick | None = None, *, silence: bool = False) -> Speech:
    """Decode a sound file to measure it: once, or twice where its channels or numbers are odd.

    Of several sound tracks, one that is not silent is used.

    Args:
        path: WAV, MP3, M4A, FLAC, OGG, Opus, WebM or a video with sound.
        tick: called for every few seconds of sound.
        silence: whether a file of nothing but silence will do, for somebody who only listens.

    Raises:
        BadAudio: missing, empty, not sound, silent, shorter than `MIN_SECONDS`, longer than `MAX_SECONDS`,
            samples that are not finite.
        Cancelled: from `tick`.
    """
    path = Path(path)
    with opened(path, BadAudio, "sound") as container:
        tracks = _tracks(container, path)
        notes = [f"{path.name} is a video; only its sound is used."] if moving_pictures(container) else []
    check_length(tracks[0].stated)
    with decoding(path, BadAudio):
        heard = first = _measure(path, tracks[0], tick)
        for track in tracks[1:]:
            if heard.is_audible:
                break
            try:
                other = _measure(path, track, tick)
            except BadAudio:
                if heard.peak <= SILENCE:
                    raise
                continue
            if other.is_audible or heard.peak <= SILENCE < other.peak:
                heard = other
        _check(heard, path, len(tracks), silence)
        if heard is not first:
            left, used = first.mix.track + 1, heard.mix.track + 1
            how = "silent" if first.peak <= SILENCE else "very quiet"
            notes.append(f"Sound track {left} of {len(tracks)} is {how}; track {used} is used.")
        digest = sha256_of(path, partial(tick, Stage.CHECKING_SPEECH) if tick else None)
    about = heard.seconds, heard.rate, heard.channels, digest, heard.loudness
    return Speech(path, *about, (*notes, *heard.notes()), mix=heard.mix)


def channel_voices(speech: Speech, tick: Tick | None = None) -> tuple[Speech, Speech]:
    """The voices of two persons, of whom each has one channel of a file: the left one's first.

    Raises:
        BadAudio: the file has not two channels, or both hold the same.
        Cancelled: from `tick`.
    """
    if speech.channels != 2:
        raise BadAudio(
            f"voices=channels needs two channels, and {speech.path.name} has {speech.channels}.",
            "Give a stereo file with one person on each side, or each voice as a file of its own.",
        )
    plain = replace(speech.mix, mended=False, mono=False)
    track = _Track(plain.track, 0.0, speech.seconds)
    with decoding(speech.path, BadAudio):
        left, right, between = (
            _listen(speech.path, replace(plain, weights=weights), track, tick, speech.data)
            for weights in ((1.0, 0.0), (0.0, 1.0), (0.5, -0.5))
        )
    if between.meter.peak() <= ALIKE * max(left.meter.peak(), right.meter.peak()):
        raise BadAudio(
            f"Both channels of {speech.path.name} hold the same sound.",
            "Give a stereo file with one person on each side, or each voice as a file of its own.",
        )
    return _voice(speech, left, (1.0, 0.0)), _voice(speech, right, (0.0, 1.0))


def _voice(speech: Speech, heard: _Listening, weights: tuple[float, float]) -> Speech:
    """What one channel alone has to say."""
    mix = replace(speech.mix, weights=weights, mended=False, mono=True)
    loudness = heard.meter.loudness() if heard.meter.peak() > SILENCE else -math.inf
    odd = speech.mix.mended or speech.mix.mono  # what is said of that is of their mix
    return replace(speech, channels=1, loudness=loudness, warnings=() if odd else speech.warnings, mix=mix)


def wav_bytes(samples: NDArray[np.float32] | NDArray[np.int16], rate: int) -> bytes:
    """Samples as a WAV file: 44 bytes of header, then they themselves, little-endian, channel by channel.

    The same samples give the same bytes everywhere, so their SHA-256 identifies the sound.

    Args:
        samples: float32 (IEEE floating point) or int16 (PCM), [n] or [n, channels].
        rate: samples a second.

    Raises:
        BadAudio: of another type or shape, or not finite.
    """
    kind = {"float32": 3, "int16": 1}.get(samples.dtype.name)
    if kind is None or samples.ndim not in (1, 2) or not samples.size:
        raise BadAudio(
            f"Samples of type {samples.dtype.name} and shape {samples.shape} are no sound.",
            "Give float32 or int16, one number for each sample, or [samples, channels].",
        )
    if not np.isfinite(samples).all():
        raise BadAudio("The sound holds numbers that are not finite.", "Give samples from -1 to 1.")
    width, channels = samples.dtype.itemsize, 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    frame = width * channels
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, 8 * width)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", len(data)) + data


@dataclass(frozen=True)
class _Track:
    """A sound track of a file."""

    index: int
    """Number among the sound tracks."""
    stated: float
    """Seconds that the header promises; 0 where it does not, or is not to be believed."""
    expected: float = 0.0
    """Seconds that may be in it, for a progress bar."""


def _tracks(container: Any, path: Path) -> list[_Track]:
    """The sound tracks that can be decoded, FFmpeg's choice first."""
    streams = list(container.streams.audio)
    if not streams:
        kind = "a video without sound" if container.streams.video else "a file without sound"
        raise BadAudio(f"{path.name} is {kind}.", "Give a file with speech in it.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise BadAudio(f"{path.name} holds sound of a kind that is not known here.", advice("sound"))
    best = container.streams.best("audio")
    expected = min((container.duration or 0) / 1_000_000, MAX_SECONDS)
    known.sort(key=lambda stream: best is None or stream.index != best.index)
    return [_Track(streams.index(each), stated_seconds(container, each, path), expected) for each in known]


def _check(heard: _Measured, path: Path, tracks: int = 1, silence: bool = False) -> None:
    if heard.seconds < MIN_SECONDS:
        what = f"only {heard.seconds * 1000:.0f} ms of sound" if heard.seconds else "no sound"
        raise BadAudio(f"{path.name} holds {what}.", "Give a file with speech in it.")
    if heard.peak <= SILENCE and not silence:
        level = "digital silence" if heard.peak == 0 else f"peak {20 * math.log10(heard.peak):.0f} dBFS"
        where = f" in all its {tracks} sound tracks" if tracks > 1 else ""
        raise BadAudio(
            f"{path.name} holds only silence{where} ({level}).",
            "Give a file with speech in it; check that the microphone was on.",
        )


# Measuring


@dataclass(frozen=True)
class _Measured:
    """What was found out about a sound track."""

    mix: Mix
    seconds: float
    rate: int
    channels: int
    layout: str
    loudness: float
    """LUFS."""
    peak: float
    """As a share of full scale, of the weighted sound without its constant."""
    stated: float
    """Seconds that the header promises, 0 without."""
    damaged: bool

    @property
    def is_audible(self) -> bool:
        """Whether there is a voice to be expected in it."""
        return self.loudness >= QUIET and self.peak > SILENCE

    def notes(self) -> tuple[str, ...]:
        """Sentences on what is odd about the sound."""
        notes = []
        if self.stated - self.seconds > max(MISSING, 0.02 * self.stated):
            notes.append(
                f"The sound ends after {self.seconds:.1f} s though its header says {self.stated:.1f} s: "
                "the file may be cut short or damaged. What is there is used."
            )
        if self.damaged:
            notes.append("Parts of the sound are damaged and were left out.")
        if self.channels > 2:
            notes.append(f"The sound has {self.channels} channels; {self._mixed()}.")
        if self.mix.mono:
            notes.append("Channels cancel each other, as when one is inverted; the louder one is used alone.")
        if self.mix.clip:
            notes.append("Some samples lie far beyond the sound; they are damaged and were clipped.")
        elif self.mix.scale != 1.0:
            over = -20 * math.log10(self.mix.scale)
            notes.append(f"The sound reaches {over:.0f} dB beyond full scale; it was scaled down.")
        if self.loudness < QUIET:
            notes.append("The sound is very quiet; the mouth may hardly move.")
        return tuple(notes)

    def _mixed(self) -> str:
        used = [index for index, weight in enumerate(self.mix.weights) if weight]
        names = [f"{index + 1}{_channel_name(self.layout, index)}" for index in used]
        if len(names) == 1:
            return f"only channel {names[0]} holds a voice, and it is used"
        plain = layout_weights(self.layout, self.channels, 1)[0]
        added = [name for name, index in zip(names, used, strict=True) if not plain[index]]
        return f"they are mixed down, channel {added[0]} included" if added else "they are mixed down"


def _channel_name(layout: str, index: int) -> str:
    name = av.AudioLayout(layout).channels[index].name
    return "" if name == "NONE" else f" ({name})"


def _measure(path: Path, track: _Track, tick: Tick | None, data: bytes | None = None) -> _Measured:
    """Listen to a track as it is, then again if it is to be mixed or scaled in another way."""
    heard = first = _listen(path, Mix(track.index), track, tick, data)
    mix = first.survey.mix(track.index)
    if mix != Mix(track.index):
        heard = _listen(path, mix, track, tick, data)
    one_sided = heard.survey.channels == 1 or mix.mended or np.count_nonzero(mix.weights) == 1
    offset = 0.0 if mix.clip else float(np.abs(first.survey.offsets * mix.scale).max(initial=0.0))
    peak = heard.meter.peak(inside=offset > SILENCE)
    return _Measured(
        mix=mix,
        seconds=heard.seconds,
        rate=heard.rate,
        channels=heard.survey.channels,
        layout=heard.survey.layout,
        loudness=heard.meter.loudness(1 if one_sided else 2),
        peak=min(peak, SILENCE) if peak < CODED_CONSTANT * offset else peak,
        stated=track.stated,
        damaged=bool(heard.damage),
    )


@dataclass
class _Listening:
    """A track as it was heard."""

    meter: LoudnessMeter
    survey: ChannelSurvey = field(default_factory=ChannelSurvey)
    damage: list[str] = field(default_factory=list)
    samples: dict[int, int] = field(default_factory=dict)
    """Samples at each rate, in their order."""

    @property
    def seconds(self) -> float:
        """Exactly."""
        return sum(count / rate for rate, count in self.samples.items())

    @property
    def rate(self) -> int:
        """At the beginning; 0 before it."""
        return next(iter(self.samples), 0)


def _listen(path: Path, mix: Mix, track: _Track, tick: Tick | None, data: bytes | None) -> _Listening:
    heard, said = _Listening(LoudnessMeter(constant=bool(mix.offsets))), 0.0
    for rate, layout, blocks in runs(decoded(path, mix.track, heard.damage, data)):
        try:
            for block in mixed(mix, heard.survey.watched(blocks, rate, layout), rate, layout, 1):
                heard.meter.add(block, rate)
                heard.samples[rate] = heard.samples.get(rate, 0) + block.shape[1]
                if tick is not None and heard.seconds - said >= 5:
                    said = heard.seconds
                    tick(Stage.READING_SPEECH, round(said), max(round(track.expected), round(said), 1))
        except NotFinite as odd:
            raise BadAudio(
                f"{path.name} holds samples that are {odd.kind}, the first at "
                f"{heard.seconds + odd.index / rate:.2f} s.",
                "Save or export the sound again, as WAV with 16 or 24 bits.",
            ) from odd
    heard.meter.finish()
    return heard
