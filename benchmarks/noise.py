"""The mouth of speech that is not alone: `python benchmarks/noise.py FOLDER --speakers FOLDER`.

Reads the mouth off recordings with known phoneme times, clean and among babble, music and songs at 10, 5 and
0 dB, and prints for each: p/b/m that are seen shut, how far the mouth opens in pauses, how late it is, and
vowels with pressed lips. FOLDER holds NAME.wav with NAME.phonemes.json, as `sonic_ext.train.corpus` and
`human_speech.py` make them; the default is the speech that the tests ship. Babble and the voices of songs are
the speakers'. Recordings of one voice are read three in a row with pauses of 0.8 s around them. Music differs
from what the network was trained on by its seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sonic_ext.engines.preview.network import WEIGHTS, Network, load
from sonic_ext.engines.preview.speech import RATE, MouthTrack, VisemeNet
from sonic_ext.progress import Stage
from sonic_ext.train.corpus.mixtures import Backgrounds, over
from sonic_ext.train.corpus.sounds import Utterance, by_voice
from sonic_ext.train.phonemes import PAUSE, Phoneme
from sonic_ext.train.scores import Scores, score

DATA = Path(__file__).parent.parent / "tests" / "data" / "speech"
FPS = 25
PAUSE_SECONDS = 0.8
IN_A_ROW = 3
DECIBELS = (10, 5, 0)
MUSIC_SEED = 4_000_003
"""Training uses small seeds."""


def in_a_row(lines: list[Utterance]) -> Utterance:
    """Recordings with pauses before, between and after them."""
    quiet = np.zeros(int(PAUSE_SECONDS * RATE), dtype=np.float32)
    sounds, phonemes, at = [quiet], [Phoneme(PAUSE, 0.0, PAUSE_SECONDS)], PAUSE_SECONDS
    for sound, spoken in lines:
        phonemes += [Phoneme(p.name, p.start + at, p.end + at) for p in spoken]
        end = at + len(sound) / RATE
        at = end + PAUSE_SECONDS
        phonemes.append(Phoneme(PAUSE, end, at))
        sounds += [sound, quiet]
    return np.concatenate(sounds), phonemes


def scenes(files: list[Path]) -> Iterator[Utterance]:
    """Everything that is read, clean."""
    for lines in by_voice(files).values():
        for start in range(0, len(lines), IN_A_ROW):
            yield in_a_row(lines[start : start + IN_A_ROW])


def among(
    clean: list[Utterance], backgrounds: Backgrounds, kind: str, decibels: float, times: int
) -> Iterator[Utterance]:
    """The same among babble, music or songs; the same each time."""
    for number, scene in enumerate(clean * times):
        rng = np.random.default_rng([MUSIC_SEED, number])
        yield over(scene, getattr(backgrounds, kind)(len(scene[0]), rng), decibels)


def read(sound: np.ndarray, network: Network) -> MouthTrack:
    """The mouth of a sound."""

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        """Goes on whatever was done."""

    return VisemeNet(network).read(iter([sound]), int(len(sound) / RATE * FPS), FPS, tick)


def row(name: str, scores: Scores) -> str:
    """One line of the table."""
    vowel = scores.vowel_opening
    return (
        f"{name:14} {scores.closures:5d} {scores.closed:7.1%} {scores.mean_pause / vowel:7.2f} "
        f"{scores.usual_pause / vowel:7.2f} {vowel:7.2f} {scores.lag * 1000:+7.0f} "
        f"{scores.pressed_vowels:7.1%} {scores.pressed_consonants:7.1%}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA)
    parser.add_argument("--speakers", type=Path, default=DATA, help="recordings of those who babble and sing")
    parser.add_argument("--network", type=Path, default=WEIGHTS)
    parser.add_argument("--kinds", nargs="*", default=["babble", "music", "song"])
    parser.add_argument("--most", type=int, default=120, help="recordings that are read")
    parser.add_argument(
        "--times", type=int, default=1, help="how often each is read, each time among other sounds"
    )
    chosen = parser.parse_args()
    files = sorted(chosen.folder.glob("*.wav"))
    network = load(chosen.network)
    clean = list(scenes(files[:: -(-len(files) // chosen.most)]))
    backgrounds = Backgrounds(by_voice(sorted(chosen.speakers.glob("*.wav"))), MUSIC_SEED, pieces=40)
    columns = ("shut", "pause", "widest", "vowel", "lag ms", "false", "t, k")
    print(f"{'among':14} {'p/b/m':>5} " + " ".join(f"{column:>7}" for column in columns))
    print(row("clean", score([(read(sound, network), spoken) for sound, spoken in clean], FPS)), flush=True)
    for kind in chosen.kinds:
        for decibels in DECIBELS:
            heard = among(clean, backgrounds, kind, decibels, chosen.times)
            found = score([(read(sound, network), spoken) for sound, spoken in heard], FPS)
            print(row(f"{kind} {decibels} dB", found), flush=True)
    print(
        "shut: share of p/b/m of 60 ms and more at which the opening falls below a quarter of the median\n"
        "vowel's; pause: mean opening in pauses, widest: the mean over pauses of the widest opening in\n"
        "each, both as shares of the median vowel opening, which is the column vowel; false: frames in\n"
        "vowels with pressed lips; t, k: frames in other consonants with pressed lips; dB: speech, where\n"
        "something is said, over the rest"
    )


if __name__ == "__main__":
    main()
