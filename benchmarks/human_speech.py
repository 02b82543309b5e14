"""Recordings of people with phoneme times, for `noise.py` and `lipsync.py`; they are never committed.

    apt install pocketsphinx-testdata
    pip install pocketsphinx
    python benchmarks/human_speech.py OUT [--data /usr/share/pocketsphinx/test/data]

Aligns the LibriVox sentences (public domain, one reader) and the card games of the Debian package with their
transcripts. OUT holds NAME.wav with NAME.phonemes.json, as `sonic_ext.train.corpus` writes them. Phones are
found to 10 ms by a model of 2012: a handful of them are wrong by more.
"""

from __future__ import annotations

import argparse
import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from sonic_ext.train.corpus.sounds import RATE, save
from sonic_ext.train.phonemes import ARPABET, PAUSE, Phoneme

STEP = 0.01
"""Seconds of an aligner's frame."""
TRANSCRIPTS = {"librivox": "librivox/transcription", "cards": "cards/cards.transcription"}


def sentences(transcript: Path) -> Iterator[tuple[str, str]]:
    """File names without their ending, and what is said."""
    for line in transcript.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"<s>\s*(.+?)\s*</s>\s*\((.+)\)\s*", line):
            yield found[2], found[1]


def aligned(sound: bytes, text: str) -> list[Phoneme]:
    """Phonemes of 16-bit samples at 16 kHz in which `text` is said; pauses that follow each other are one."""
    decoder = Decoder(lm=None)
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()
    decoder.set_alignment()
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()
    phonemes: list[Phoneme] = []
    for word in decoder.get_alignment():
        for phone in word:
            name = ARPABET.get(phone.name.lower(), PAUSE)
            start, end = phone.start * STEP, (phone.start + phone.duration) * STEP
            if name == PAUSE and phonemes and phonemes[-1].name == PAUSE:
                phonemes[-1] = Phoneme(PAUSE, phonemes[-1].start, end)
            else:
                phonemes.append(Phoneme(name, start, end))
    return phonemes


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(description="Align recordings of people with their transcripts.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/pocketsphinx/test/data"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for voice, transcript in TRANSCRIPTS.items():
        for number, (name, text) in enumerate(sentences(arguments.data / transcript)):
            with wave.open(str(arguments.data / voice / f"{name}.wav")) as reader:
                if (reader.getframerate(), reader.getnchannels()) != (RATE, 1):
                    continue
                data = reader.readframes(reader.getnframes())
            sound = np.frombuffer(data, dtype=np.int16).astype(np.float32) / 32768.0
            save(arguments.folder, f"human-{voice}_{number}", (sound, aligned(data, text)))


if __name__ == "__main__":
    main()
