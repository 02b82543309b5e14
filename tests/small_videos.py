"""Short videos of the sonic engine with the tiny networks of `tiny_sonic`, as far as their latents."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonic_ext import weights
from sonic_ext.engines import registry
from sonic_ext.engines.sonic.engine import DiffusionAnimation, DiffusionEngine
from sonic_ext.media.audio import read_speech
from sonic_ext.media.scene import Scene
from sonic_ext.settings import Settings

SMALL = Settings(engine="sonic", min_resolution=256, inference_steps=3, seed=7, framing="crop")
FPS = 25
SPEC = registry.spec_of("sonic")


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


class Pool:
    """A `WindowPool` of workers in threads, each with a network of its own."""

    def __init__(self, models: Path, settings: Settings, count: int = 2) -> None:
        self._search, self._settings, self._count = weights.Search(own=models), settings, count
        self._recipe = b""
        self._workers: list[Any] = []
        self.taken: list[int] = []

    @property
    def numbers(self) -> str:
        assert SPEC.window_numbers is not None
        return str(SPEC.window_numbers(self._settings, 1))

    def carry_out(self, recipe: bytes, orders: Iterable[bytes], poll: Callable[[], None]) -> Iterator[bytes]:
        assert SPEC.window_worker is not None
        if recipe != self._recipe:
            self._recipe = recipe
            self._workers = [
                SPEC.window_worker(recipe, self._settings, self._search, lambda *_: None)
                for _ in range(self._count)
            ]
        listed = list(orders)
        chosen = random.Random(len(self.taken))
        with ThreadPoolExecutor(1) as threads:  # out of order, by whichever worker
            places = chosen.sample(range(len(listed)), len(listed))
            answers: dict[int, Future[bytes]] = {}
            for place in places:
                worker = chosen.randrange(self._count)
                self.taken.append(worker)
                answers[place] = threads.submit(self._workers[worker].take, listed[place])
            for place in range(len(listed)):
                poll()
                yield answers[place].result()
