"""Recordings with phoneme times: what they are, how they are kept, and another sampling rate.

A recording is `NAME.wav` (16 kHz mono, 16 bits) beside `NAME.phonemes.json`: a list of
`{"phoneme": IPA, "start_s": seconds, "end_s": seconds}`, where `_` is a pause. NAME is `VOICE_NUMBER`.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput
from ..phonemes import Phoneme, read_phonemes

RATE = 16_000
"""Samples per second of everything here."""

Utterance = tuple[NDArray[Any], list[Phoneme]]
"""float32 samples at 16 kHz and the phonemes."""


def resampled(samples: NDArray[np.float32], rate: float, target: float = RATE) -> NDArray[np.float32]:
    """Band-limited resampling by librosa (SoX's, high quality), float32 [samples * target / rate]."""
    if rate == target:
        return np.asarray(samples, dtype=np.float32)
    import librosa  # recordings at 16 kHz are read without it

    return np.asarray(librosa.resample(samples, orig_sr=rate, target_sr=target), dtype=np.float32)


def faster(utterance: Utterance, ratio: float) -> Utterance:
    """Play faster: pitch, formants and speed rise together by `ratio`."""
    sound, phonemes = utterance
    moved = [Phoneme(p.name, p.start / ratio, p.end / ratio) for p in phonemes]
    return resampled(sound, RATE * ratio), moved


def phonemes_of(file: Path) -> Path:
    """The file of phonemes beside a wav."""
    return file.with_suffix(".phonemes.json")


def save(folder: Path, name: str, utterance: Utterance) -> None:
    """Write one utterance; its phonemes appear last and at once: a recording that has them is whole."""
    sound, phonemes = utterance
    with wave.open(str(folder / f"{name}.wav"), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    rows = [{"phoneme": p.name, "start_s": round(p.start, 4), "end_s": round(p.end, 4)} for p in phonemes]
    part = folder / f"{name}.phonemes.part"
    part.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    part.replace(phonemes_of(folder / f"{name}.wav"))


def load(file: Path) -> Utterance:
    """Read back what `save` wrote, at any rate.

    Raises:
        BadInput: it is no such wav, or its phonemes are none.
    """
    try:
        with wave.open(str(file)) as reader:
            rate, shape = reader.getframerate(), (reader.getnchannels(), reader.getsampwidth())
            sound = np.frombuffer(reader.readframes(reader.getnframes()) if shape == (1, 2) else b"", "<i2")
    except (wave.Error, EOFError, ValueError) as error:
        raise BadInput(f"{file.name} is no WAV file ({error}).", "Save it as 16-bit mono WAV.") from error
    if shape != (1, 2):
        raise BadInput(
            f"{file.name} has {shape[0]} channels of {8 * shape[1]} bits.", "Save it as 16-bit mono WAV."
        )
    return resampled(sound.astype(np.float32) / 32768.0, rate), [*read_phonemes(phonemes_of(file))]


def recordings(folder: Path) -> list[Path]:
    """The recordings of a folder, by name.

    Raises:
        BadInput: there are none.
    """
    files = [file for file in sorted(folder.glob("*.wav")) if phonemes_of(file).exists()]
    if not files:
        raise BadInput(
            f"{folder} has no recordings with phoneme times.",
            "NAME.wav and NAME.phonemes.json belong together; see docs/training.md.",
        )
    return files


def seconds(file: Path) -> float:
    """How long a wav is."""
    with wave.open(str(file)) as reader:
        return reader.getnframes() / reader.getframerate()


def voice_of(file: Path) -> str:
    """Whose recording it is."""
    return file.name.rsplit("_", 1)[0]


def by_voice(files: Iterable[Path]) -> dict[str, list[Utterance]]:
    """Every recording, by voice, in the order given."""
    return {voice: [load(file) for file in own] for voice, own in files_by_voice(files).items()}


def files_by_voice(files: Iterable[Path]) -> dict[str, list[Path]]:
    """The same, not read yet."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(voice_of(file), []).append(file)
    return found
