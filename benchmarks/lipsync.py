"""Lip sync measured on finished videos: landmarks are found afresh in every frame of the master.

    python benchmarks/lipsync.py [FOLDER] [--portrait FILE ...] [--size 512]

FOLDER holds NAME.wav with NAME.phonemes.json (as `sonic_ext.train.corpus` writes them); the default is the
speech that the tests ship. Prints one row per voice and portrait, and one over everything.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from sonic_ext.engines.preview.speech import MouthTrack
from sonic_ext.media.face import LandmarkTracker, mouth_opening
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.media.video import read_frames
from sonic_ext.pipeline import animate
from sonic_ext.provenance.store import Store
from sonic_ext.settings import Settings
from sonic_ext.train.corpus.sounds import load
from sonic_ext.train.phonemes import Phoneme
from sonic_ext.train.scores import Scores, score

DATA = Path(__file__).parent.parent / "tests" / "data"
PORTRAITS = [DATA / "media" / f"portrait_0{number}.jpg" for number in (1, 2, 3, 5)]


def measured(portrait: Path, speech: Path, size: int) -> MouthTrack:
    """Opening of the mouth in each frame of a finished master, as a track that `score` understands."""
    settings = Settings(seed=1, min_resolution=size)
    near = compose(read_portrait(portrait), settings, 2).face.landmarks
    tracker, opening = LandmarkTracker(), []
    with tempfile.TemporaryDirectory() as home:
        take = animate(portrait, speech, settings, store=Store(home))
        for frame in read_frames(take.master):
            near, _ = tracker.track(frame, near)
            opening.append(mouth_opening(near))
    return MouthTrack.of_opening(np.array(opening, dtype=np.float32))


def row(name: str, scores: Scores) -> str:
    """One line of the table."""
    return (
        f"{name:44} {scores.closures:5d} {scores.closed:7.1%} {scores.vowel_opening:8.3f} "
        f"{scores.lag * 1000:+7.1f} {scores.pause_opening:8.3f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA / "speech")
    parser.add_argument("--portrait", type=Path, nargs="*", default=PORTRAITS)
    parser.add_argument("--size", type=int, default=512)
    chosen = parser.parse_args()
    print(f"{'portrait, speech':44} {'p/b/m':>5} {'shut':>7} {'vowel':>8} {'lag ms':>7} {'pause':>8}")
    everything: list[tuple[MouthTrack, list[Phoneme]]] = []
    for speech in sorted(chosen.folder.glob("*.wav")):
        for portrait in chosen.portrait:
            pair = measured(portrait, speech, chosen.size), load(speech)[1]
            everything.append(pair)
            print(row(f"{portrait.stem}, {speech.stem}", score([pair], 25)), flush=True)
    print(row("all together", score(everything, 25)))
    print(
        "shut: share of p/b/m of 60 ms and more at which the opening falls below a quarter of the median\n"
        "vowel opening; vowel: that median, in eye distances; pause: widest opening in pauses over 150 ms"
    )


if __name__ == "__main__":
    main()
