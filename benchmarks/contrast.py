"""What each level of contrast brings: frames alone, with semantics, with style, by noise level and seed.

    python benchmarks/contrast.py CORPUS HELD_OUT [HELD_OUT ...] --seeds 3 --steps 400 --share 0.25

Every network is trained on the same recordings by the same recipe but for its levels and its seed, and
measured on voices and languages that it has not learned from. CORPUS and HELD_OUT are folders of
`sonic_ext.train.corpus`. Prints Markdown: means over seeds with 95 % intervals (Student's t), and the paired
differences. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from sonic_ext.files.atomic import replace_file
from sonic_ext.sync.encoders import SyncNetwork, from_arrays
from sonic_ext.sync.offset import REASONS
from sonic_ext.train.corpus.mixtures import Backgrounds
from sonic_ext.train.corpus.sounds import by_voice
from sonic_ext.train.sync.model import HeldOut, metrics
from sonic_ext.train.sync.training import Corpus, SyncRecipe, train

VARIANTS = {
    "frame": ("frame",),
    "frame + semantic": ("frame", "semantic"),
    "frame + style": ("frame", "style"),
    "all three": ("frame", "semantic", "style"),
}
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t for 95 %, by degrees of freedom."""
CHOICES = 50
WANTED = (": 2 s within 40 ms", f"among {CHOICES}")
"""Ends of the metrics that are compared."""


def measured(network: SyncNetwork, held_out: HeldOut, most: int) -> dict[str, float]:
    """Share of 2 s windows within 40 ms by noise, and right 1 s clips among `CHOICES`."""
    reached = metrics(network, held_out, most, CHOICES)
    return {what.partition(":")[0]: value for what, value in reached.items() if what.endswith(WANTED)}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of the 95 % interval."""
    n = len(values)
    half = T_95[n - 1] * float(np.std(values, ddof=1)) / n**0.5 if n > 1 else float("nan")
    return float(np.mean(values)), half


def table(results: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> list[str]:
    """Markdown of variant → held-out folder → figures of each seed."""
    lines = []
    for folder in next(iter(results.values())):
        columns = [*next(iter(results.values()))[folder][0]]
        lines += [
            "",
            f"**{folder}**",
            "",
            f"| | {' | '.join(columns)} |",
            f"| --- |{' --- |' * len(columns)}",
        ]
        plain = results.get("frame", {}).get(folder)
        for variant, by_folder in results.items():
            cells = []
            for column in columns:
                mean, half = interval([each[column] for each in by_folder[folder]])
                cells.append(f"{100 * mean:.1f} ± {100 * half:.1f}")
            lines.append(f"| {variant} | {' | '.join(cells)} |")
        for variant, by_folder in results.items():
            if variant == "frame" or plain is None:
                continue
            cells = []
            for column in columns:
                pairs = zip(by_folder[folder], plain, strict=True)
                mean, half = interval([each[column] - base[column] for each, base in pairs])
                cells.append(f"{100 * mean:+.1f} ± {100 * half:.1f}")
            lines.append(f"| {variant}, less frame | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("held_out", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.25, help="of the corpus that is learned from")
    parser.add_argument("--lines", type=int, default=100, help="held-out lines that are measured")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument(
        "--json", type=Path, help="where all figures go; those that are there are not made again"
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.seeds <= max(T_95) + 1:
        parser.error(f"--seeds is 1 to {max(T_95) + 1}")
    torch.set_num_threads(1)
    files = sorted(arguments.corpus.glob("*.wav"))
    chosen = np.random.default_rng(0).permutation(len(files))[: int(len(files) * arguments.share)]
    speakers = by_voice(files[number] for number in sorted(chosen))
    others = {}
    for folder in arguments.held_out:
        voices = by_voice(sorted(folder.glob("*.wav")))
        others[folder.name] = HeldOut(voices, Backgrounds(voices, 99, 8), 1)
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for seed in range(arguments.seeds):
        for variant in arguments.variants.split(","):
            key = f"{variant}, seed {seed}, {arguments.copies} × {arguments.steps}, share {arguments.share}"
            key += f" of {arguments.corpus.name} on {', '.join(others)}, {arguments.lines} lines"
            if key not in known:
                began = time.monotonic()
                recipe = SyncRecipe(
                    levels=VARIANTS[variant], copies=arguments.copies, steps=arguments.steps, seed=100 + seed
                )
                *_, trained = train(Corpus(speakers), recipe)
                network = from_arrays(
                    {**trained.model.arrays(), "confidence": np.zeros(REASONS + 1, np.float32)}
                )
                known[key] = {name: measured(network, held, arguments.lines) for name, held in others.items()}
                if arguments.json:
                    replace_file(arguments.json, json.dumps(known, indent=1).encode())
                print(f"{key}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            for name, figures in known[key].items():
                results.setdefault(variant, {}).setdefault(name, []).append(figures)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
