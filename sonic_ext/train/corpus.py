"""Makes speech whose phoneme times are known, with eSpeak NG and Flite.

    python -m sonic_ext.train.corpus FOLDER --minutes 60

Both synthesizers are tools that have to be installed beside (`apt install espeak-ng flite`); only the
sound that they make is used. Each recording is `NAME.wav` (16 kHz mono) beside `NAME.phonemes.json`:
a list of `{"phoneme": IPA, "start_s": seconds, "end_s": seconds}`, where `_` is a pause. The first part
of NAME is the voice.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, MissingPart
from .phonemes import ARPABET, PAUSE, Phoneme, visemes
from .words import words

RATE = 16_000
FLITE_VOICES = {"slt": 3, "rms": 3, "awb": 3, "kal16": 1, "kal": 1}
"""Voices and how often each is drawn; kal is a diphone voice and sounds least like a person."""
ESPEAK_LANGUAGES = {
    "en-us": "en", "en-gb-x-rp": "en", "en-gb-scotland": "en", "de": "de", "fr": "fr", "es": "es", "it": "it",
    "pt-br": "pt", "ru": "ru", "ja": "ja", "cmn-latn-pinyin": "zh", "pl": "pl",
}  # fmt: skip
"""eSpeak NG voices and the language of their words."""
ESPEAK_VARIANTS = ("", "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
GAP_DB = 26.0
"""A stretch this far below a phoneme's loudest 5 ms, at its end, is the closure of the plosive after it."""
PLOSIVES = "pbtdkɡqcʈ"

Utterance = tuple[NDArray[Any], list[Phoneme]]
"""float32 samples at 16 kHz and the phonemes."""


def sentence(vocabulary: tuple[str, ...], chance: random.Random, joint: str = " ") -> str:
    """Three to ten words with now and then a comma."""
    chosen = chance.choices(vocabulary, k=chance.randint(3, 10))
    spoken = [word + ("," if chance.random() < 0.12 else "") for word in chosen]
    return joint.join(spoken).rstrip(",") + chance.choice("..?")


def fast_size(count: int) -> int:
    """A length of at least `count` whose Fourier transform is quick."""
    power = 1 << max(4, (count - 1).bit_length())
    return next(size for size in (power * part // 16 for part in (9, 10, 12, 15, 16)) if size >= count)


def resampled(samples: NDArray[np.float32], rate: float, target: float = RATE) -> NDArray[np.float32]:
    """Band-limited resampling through the Fourier transform, float32 [samples * target / rate]."""
    ratio = Fraction(target / rate).limit_denominator(512)
    if ratio == 1:
        return np.asarray(samples, dtype=np.float32)
    step = fast_size(-(-len(samples) // ratio.denominator) + 1)
    old, new = step * ratio.denominator, step * ratio.numerator
    spectrum = np.fft.rfft(samples, old)[: new // 2 + 1]
    longer = np.fft.irfft(spectrum, new) * (new / old)
    return np.asarray(longer[: max(1, round(len(samples) * ratio))], dtype=np.float32)


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


def save(folder: Path, name: str, utterance: Utterance) -> None:
    """Write the wav and the phonemes of one utterance."""
    sound, phonemes = utterance
    with wave.open(str(folder / f"{name}.wav"), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    rows = [{"phoneme": p.name, "start_s": round(p.start, 4), "end_s": round(p.end, 4)} for p in phonemes]
    (folder / f"{name}.phonemes.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def load(file: Path) -> Utterance:
    """Read back what `save` wrote."""
    with wave.open(str(file)) as reader:
        rate = reader.getframerate()
        sound = np.frombuffer(reader.readframes(reader.getnframes()), dtype=np.int16)
    rows = json.loads(file.with_suffix("").with_suffix(".phonemes.json").read_text(encoding="utf-8"))
    return resampled(sound.astype(np.float32) / 32768.0, rate), [
        Phoneme(row["phoneme"], row["start_s"], row["end_s"]) for row in rows
    ]


Speaker = Callable[[random.Random], tuple[str, Utterance]]


def _flite_speaker(chance: random.Random) -> tuple[str, Utterance]:
    voice = chance.choices(list(FLITE_VOICES), list(FLITE_VOICES.values()))[0]
    pitch = chance.uniform(80, 230) if chance.random() < 0.5 else None
    stretch = chance.uniform(0.75, 1.35)
    return f"flite-{voice}", flite(sentence(words()["en"], chance), voice, stretch, pitch)


def _espeak_speaker(espeak: Espeak) -> Speaker:
    def speak(chance: random.Random) -> tuple[str, Utterance]:
        voice = chance.choice(list(ESPEAK_LANGUAGES))
        variant = chance.choice(ESPEAK_VARIANTS)
        text = sentence(words()[ESPEAK_LANGUAGES[voice]], chance)
        speed, pitch, span = chance.randint(110, 260), chance.randint(15, 85), chance.randint(20, 80)
        return f"espeak-{voice}{variant}", espeak.speak(text, voice + variant, speed, pitch, span)

    return speak


def spoken(minutes: float, seed: int, flite_share: float = 0.6) -> Iterator[tuple[str, Utterance]]:
    """Utterances of random voices, languages and speeds until there are `minutes` of them."""
    chance = random.Random(seed)
    by_espeak = _espeak_speaker(Espeak())
    seconds = 0.0
    while seconds < minutes * 60:
        speaker = _flite_speaker if chance.random() < flite_share else by_espeak
        voice, utterance = speaker(chance)
        seconds += len(utterance[0]) / RATE
        yield voice, utterance


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(description="Make speech with known phoneme times.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for index, (voice, utterance) in enumerate(spoken(arguments.minutes, arguments.seed)):
        save(arguments.folder, f"{voice}_{index:05d}", utterance)


if __name__ == "__main__":
    main()
