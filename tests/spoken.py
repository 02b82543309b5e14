"""Speech for the tests of command line and page, out of the shipped recording."""

from __future__ import annotations

import wave
from pathlib import Path

MEDIA = Path(__file__).parent / "data" / "media"
SPEECH = MEDIA / "short_en_flite_rms_2s3.wav"
"""2.3 seconds, 16-bit mono."""


def write_wav(path: Path, samples: bytes, rate: int = 16000) -> Path:
    """16-bit mono samples as a file."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes(samples)
    return path


def one_second(path: Path) -> Path:
    """The middle of the shipped speech, where somebody speaks."""
    with wave.open(str(SPEECH)) as sound:
        rate = sound.getframerate()
        sound.setpos((sound.getnframes() - rate) // 2)
        return write_wav(path, sound.readframes(rate), rate)


def one_minute(path: Path) -> Path:
    """The shipped speech over and over: long enough to be caught in the middle."""
    with wave.open(str(SPEECH)) as sound:
        rate = sound.getframerate()
        data = sound.readframes(sound.getnframes())
    return write_wav(path, (data * 27)[: 60 * 2 * rate], rate)
