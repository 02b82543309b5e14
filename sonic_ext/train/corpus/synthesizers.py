"""Speech whose phoneme times are known, said by eSpeak NG and Flite.

Both are tools that have to be installed beside (`apt install espeak-ng flite`); only the sound that they
make is used.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput, MissingPart
from ..phonemes import ARPABET, PAUSE, Phoneme, visemes
from .sounds import Utterance, resampled

GAP_DB = 26.0
"""A stretch this far below a phoneme's loudest 5 ms, at its end, is the closure of the plosive after it."""
PLOSIVES = "pbtdkɡqcʈ"


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    class Value(ctypes.Union):
        """The member `id`."""

        _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", Value),
    )


class Espeak:
    """eSpeak NG as a shared library; one at a time in a process.

    Raises:
        MissingPart: the library is not installed.
    """

    _PHONEME, _END = 7, 0
    _SPEED, _PITCH, _RANGE = 1, 3, 4

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise MissingPart(
                "The corpus is spoken by eSpeak NG, which is not installed.", "Install espeak-ng."
            )
        self._library = ctypes.CDLL(name)
        retrieve_sound, events_in_ipa = 2, 1 | 2
        self._rate = int(self._library.espeak_Initialize(retrieve_sound, 200, None, events_in_ipa))
        self._sound: list[bytes] = []
        self._events: list[tuple[float, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._heard)
        self._library.espeak_SetSynthCallback(self._callback)

    def _heard(self, sound: int | None, count: int, events: ctypes._Pointer[_Event]) -> int:
        if sound and count:
            self._sound.append(ctypes.string_at(sound, count * 2))
        index = 0
        while events[index].type != self._END:
            if events[index].type == self._PHONEME:
                name = events[index].id.string.decode("utf-8", "ignore")
                self._events.append((events[index].audio_position / 1000.0, name))
            index += 1
        return 0

    def speak(self, text: str, voice: str, speed: int, pitch: int, span: int) -> Utterance:
        """Say `text`; speed in words a minute, pitch and its span 0..100."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise BadInput(f"eSpeak NG has no voice {voice!r}.", "espeak-ng --voices lists them.")
        for parameter, value in ((self._SPEED, speed), (self._PITCH, pitch), (self._RANGE, span)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._sound.clear()
        self._events.clear()
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        sound = np.frombuffer(b"".join(self._sound), dtype=np.int16).astype(np.float32) / 32768.0
        ends = [start for start, _ in self._events[1:]] + [len(sound) / self._rate]
        named = [Phoneme(n or PAUSE, s, e) for (s, n), e in zip(self._events, ends, strict=True) if e > s]
        return resampled(sound, self._rate), with_closures(sound, self._rate, _plain(named))


def _plain(phonemes: list[Phoneme]) -> list[Phoneme]:
    """Give the time of marks without a mouth shape (ʲ) to the phoneme before."""
    kept: list[Phoneme] = []
    for phoneme in phonemes:
        if visemes(phoneme.name) or not kept:
            kept.append(phoneme)
        else:
            kept[-1] = Phoneme(kept[-1].name, kept[-1].start, phoneme.end)
    return kept


def with_closures(sound: NDArray[np.float32], rate: int, phonemes: list[Phoneme]) -> list[Phoneme]:
    """Move the start of each plosive to where its closure begins.

    eSpeak NG's events mark the burst; the silence before it is counted to the phoneme before.
    """
    step = rate // 200
    power = np.convolve(sound.astype(np.float64) ** 2, np.ones(step) / step, mode="same")[::step]
    decibels = 10.0 * np.log10(power + 1e-10)
    moved = list(phonemes)
    for index in range(1, len(moved)):
        before, plosive = moved[index - 1], moved[index]
        if plosive.name[0] in PLOSIVES and before.name != PAUSE:
            some = decibels[int(before.start * 200) : int(before.end * 200)]
            quiet = np.flatnonzero(some[::-1] > some.max(initial=-100.0) - GAP_DB)
            gap = min(int(quiet[0]) if len(quiet) else 0, 20) / 200.0
            if gap:
                moved[index - 1] = Phoneme(before.name, before.start, before.end - gap)
                moved[index] = Phoneme(plosive.name, plosive.start - gap, plosive.end)
    return moved


def flite(text: str, voice: str, stretch: float, pitch: float | None = None) -> Utterance:
    """Say English `text` by the program flite; `stretch` > 1 is slower, `pitch` is the mean in Hz.

    Raises:
        MissingPart: the program is not installed.
    """
    program = shutil.which("flite")
    if program is None:
        raise MissingPart("The corpus is spoken by Flite, which is not installed.", "Install flite.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        options = ["-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
        if pitch is not None:
            options += ["--setf", f"int_f0_target_mean={pitch:.1f}"]
        done = subprocess.run(
            [program, *options, "-psdur", "-t", text, "-o", str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        with wave.open(str(file)) as reader:
            rate = reader.getframerate()
            sound = np.frombuffer(reader.readframes(reader.getnframes()), dtype=np.int16)
    ends = [(name, float(end)) for name, end in (item.split(":") for item in done.stdout.split())]
    starts = [0.0] + [end for _, end in ends[:-1]]
    phonemes = [Phoneme(ARPABET[n], s, e) for (n, e), s in zip(ends, starts, strict=True) if e > s]
    return resampled(sound.astype(np.float32) / 32768.0, rate), phonemes
