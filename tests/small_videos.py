"""Short videos of the sonic engine with the tiny networks of `tiny_sonic`, as far as their latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sonic_ext import weights
from sonic_ext.engines.sonic.engine import DiffusionAnimation, DiffusionEngine
from sonic_ext.media.audio import read_speech
from sonic_ext.media.scene import Scene
from sonic_ext.settings import Settings

SMALL = Settings(engine="sonic", min_resolution=256, inference_steps=3, seed=7, framing="crop")
FPS = 25


def made(
    models: Path,
    scene: Scene,
    spoken: Path,
    settings: Settings,
    count: int,
    home: Path,
    pool: Any = None,
    tick: Any = None,
) -> DiffusionAnimation:
    """A video of so many frames, its steps taken.

    Args:
        models: folder of `tiny_sonic.write`.
        pool: a `WindowPool`; None draws here.
        tick: see `progress.Tick`; none by default.
    """
    sound = replace(read_speech(spoken), limit=count / FPS)
    maker = DiffusionEngine(weights.Search(own=models), home=home, window_pool=pool)
    return maker.prepare(scene, sound, settings, count, 7, tick or (lambda *_: None))


def latents(animation: DiffusionAnimation) -> Any:
    """In memory; the animation is closed and forgotten."""
    found = animation._latents[0][:].clone()
    animation.forget()
    animation.close()
    return found
