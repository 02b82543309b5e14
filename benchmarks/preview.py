"""Frames per second of the preview engine's drawing alone, by size: `python benchmarks/preview.py`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

EXAMPLE = Path(__file__).resolve().parent.parent / "sonic_ext" / "assets" / "example"
FRAMES, ROUNDS = 100, 3


def no_tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """Nothing is shown and nothing stops."""


def main() -> None:
    """Print the best and the median of three rounds for each size."""
    portrait = read_portrait(EXAMPLE / "portrait.jpg")
    speech = read_speech(EXAMPLE / "speech.wav", no_tick)
    print(f"{'size':>6} {'best':>8} {'median':>8}   frames/s, {FRAMES} frames, {ROUNDS} rounds")
    for size in (256, 384, 512, 768, 1024):
        settings = Settings(min_resolution=size)
        scene = compose(portrait, settings, 2)
        animation = PreviewEngine().prepare(scene, speech, settings, FRAMES, 1, no_tick)
        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in animation.frames():
                pass
            rates.append(FRAMES / (time.perf_counter() - began))
        print(f"{size:6d} {max(rates):8.1f} {np.median(rates):8.1f}", flush=True)


if __name__ == "__main__":
    main()
