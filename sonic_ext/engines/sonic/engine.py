"""The sonic engine: portrait and speech in, frames as a stream out."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import GEN_RUNNING, getgeneratorstate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import __version__, weights
from ...errors import BadWeights, Cancelled
from ...files.home import private_home
from ...media.audio import Speech
from ...media.scene import HeadView, Scene, head_view
from ...ports import Forecast, Place
from ...progress import Stage, Tick
from ...settings import Settings
from . import vaes
from .budget import Budget, Way
from .device import (
    Hardware,
    hardware,
    release,
    released_after,
    speed,
    unless_full,
)
from .draft import Draft, Drafts, key_of
from .networks import Networks
from .output import Decoder, Output
from .prepare import Prepared, prepared
from .room import Room
from .run import Run, begun
from .turn import turn
from .vaes import Chosen
from .windows import BASE_FPS, Plan

MULTIPLE = 64
"""Sides of what the network draws are multiples of it."""
CALLS = {"exact": 3.0, "null_branch": 2.5, "deep_features": 2.05, "both": 1.85}
"""Branches per step on average, as operations of whole ones; counted on a network of middling size."""
GUIDED = ("image_guidance", "audio_guidance", "dynamic_scale", "motion_scale", "inference_steps", "shortcuts")
"""Settings that the latents depend on, besides size and place of the head."""


class SonicEngine:
    """See `ports.Engine`.

    Args:
        search: where the weights are looked for; the usual places by default.
        device: as torch names it; the best one by default.
        home: the private home, where unfinished videos are kept.
        place: the WebUI's VAE and memory, where there is a WebUI.
    """

    name = "sonic"
    size_multiple = MULTIPLE
    head_motion = 2.0

    def __init__(
        self,
        search: weights.Search | None = None,
        device: str | None = None,
        home: Path | None = None,
        place: Place | None = None,
    ) -> None:
        self._search = search or weights.Search.default()
        self._place = place
        self._device = device or (place.device() if place else None)
        self._home = private_home(home)

    def prepare(
        self, scene: Scene, speech: Speech, settings: Settings, count: int, seed: int, tick: Tick
    ) -> SonicAnimation:
        """See `ports.Engine.prepare`: all the work up to the final latents."""
        chosen = hardware(settings.precision, self._device)
        vae = self._vae(settings)
        unloaded = threading.Event()
        tick = _stopping(tick, unloaded)
        with ExitStack() as stack:
            stack.enter_context(turn(self._home, chosen.device, tick))
            stack.enter_context(released_after(chosen.device))
            paths, said = self._files(vae, tick)
            networks = Networks(paths, chosen, tick, self._place)
            job = Job(networks, vae, scene, speech, settings, count, Drafts(self._home), tick)
            way = job.budget.way(settings.memory, networks.room.free())
            job = replace(job, vae=self._fitting(vae, way, settings))
            draft, notes = job.denoised(seed, way)
            release(chosen.device)  # the UNet goes before the decoder comes
            return SonicAnimation(job, draft, way, unloaded, [*notes, *said], stack.pop_all())

    def forecast(self, scene: Scene, settings: Settings, count: int) -> Forecast:
        """See `ports.Engine.forecast`; of the weights, headers are read only."""
        chosen = hardware(settings.precision, self._device)
        vae = self._vae(settings)
        path = weights.survey(self._search, [weights.UNET])["unet"].path
        shapes = weights.shapes(weights.UNET, path) if path else {}
        budget = _budget(chosen, shapes, settings, base_frames(count, settings))
        free = Room(chosen.device, self._place).free()
        way = budget.way(settings.memory, free)
        vae = self._fitting(vae, way, settings)
        return Forecast(
            budget.seconds(speed(chosen.device, chosen.dtype)),
            budget.main_bytes(way),
            0 if chosen.is_cpu else budget.device_bytes(way.rung, way.chunk),
            _sentences(*_rounded(scene, settings), way.said, vae.said, budget.warning(way, free)),
        )

    def _files(self, vae: Chosen, tick: Tick) -> tuple[dict[str, Path], list[str]]:
        """Safetensors files by part, and sentences about optional ones that cannot be used."""
        paths = weights.prepare(self._search, vae.parts, tick)
        try:
            return paths | weights.prepare(self._search, (weights.RIFE,), tick), []
        except BadWeights as error:
            return paths, [error.message]

    def _vae(self, settings: Settings) -> Chosen:
        """The VAE for a video; fails before any work if a part is missing that the settings ask for."""
        chosen = vaes.choose(settings.decoder, self._place, self._search)
        weights.survey(self._search, chosen.parts).require(chosen.parts)
        return chosen

    def _fitting(self, chosen: Chosen, way: Way, settings: Settings) -> Chosen:
        """The same, or another where frames must be decoded one by one; that one needs no other parts."""
        if way.chunk > 1:
            return chosen
        return vaes.choose(settings.decoder, self._place, self._search, roomy=False)


@dataclass(frozen=True)
class Job:
    """One video of the engine."""

    networks: Networks
    vae: Chosen
    scene: Scene
    speech: Speech
    settings: Settings
    count: int
    """Frames of the video."""
    drafts: Drafts
    tick: Tick

    @cached_property
    def view(self) -> HeadView:
        """The head as the network draws it."""
        return head_view(self.scene, self.settings, MULTIPLE)

    @cached_property
    def budget(self) -> Budget:
        """What it will cost."""
        shapes = weights.shapes(weights.UNET, self.networks.paths[weights.UNET.name])
        frames = base_frames(self.count, self.settings)
        return _budget(self.networks.hardware, shapes, self.settings, frames)

    @cached_property
    def key(self) -> str:
        """Of the draft: everything that the latents depend on."""
        settings, hardware = self.settings, self.networks.hardware
        return key_of(
            {
                "portrait": self.scene.portrait.pixel_sha256,
                "picture": [*self.scene.crop, *self.view.picture.shape],
                "face": [round(side, 3) for side in self.view.face.box],
                "speech": [self.speech.sha256, self.speech.length, self.budget.plan.frames],
                "seed": settings.seed,
                "numbers": [hardware.device, hardware.title, str(hardware.dtype), hardware.stored],
                "made by": [__version__, torch.__version__, settings.compiled],
                "weights": _identities(self.networks.paths),
                **({"vae": self.vae.lent.title} if self.vae.lent else {}),
                **{name: getattr(settings, name) for name in GUIDED},
            }
        )

    def denoised(self, seed: int, way: Way) -> tuple[Draft, list[str]]:
        """The finished draft, and sentences for the user. Goes on where an earlier run stopped."""
        self.drafts.expire()
        free = self.networks.room.free()
        notes = [
            *_rounded(self.scene, self.settings),
            way.said,
            self.vae.said,
            self.budget.warning(way, free),
        ]
        draft, rung = self.drafts.load(self.key), way.rung
        if draft is not None:
            rung = draft.rung if self.settings.memory == "auto" else rung
            steps = self.settings.inference_steps
            notes.append(f"Went on with an unfinished run after step {draft.done} of {steps}.")
            if draft.done == steps:
                return draft, list(_sentences(*notes))
        told = self._prepared()
        run = self._run(told, rung)
        if draft is None:
            draft = begun(told.conditioning, self.budget.plan, self.settings.inference_steps, seed, rung)
        draft = run.finished(draft)
        return draft, list(_sentences(*notes, *told.notes, *run.notes))

    def _prepared(self) -> Prepared:
        """Twice, if memory runs out the first time: what others have let go since then is there."""
        device = self.networks.hardware.device
        for _ in range(2):
            with unless_full():
                frames, lent = self.budget.plan.frames, self.vae.lent
                return prepared(self.networks, self.view, self.speech, frames, self.tick, lent)
            release(device)
        raise self.budget.refusal(self.networks.room.free())

    def _run(self, told: Prepared, rung: str) -> Run:
        return Run(
            self.networks,
            told.conditioning,
            self.settings,
            self.budget,
            self.drafts,
            self.key,
            rung,
            self.tick,
        )


class SonicAnimation:
    """See `ports.Animation`."""

    def __init__(
        self,
        job: Job,
        draft: Draft,
        way: Way,
        unloaded: threading.Event,
        notes: Sequence[str],
        resources: ExitStack,
    ) -> None:
        self.seed = draft.seed
        self._job = job
        self._notes = notes
        self._unloaded = unloaded
        self._resources = resources
        self._decoder = Decoder(job.networks, job.budget, job.vae, way.chunk)
        self._latents = draft.latents
        self._drawing: Generator[np.ndarray, None, None] | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `ports.Animation.warnings`."""
        return (*self._notes, *self._decoder.notes)

    def frames(self) -> Iterator[np.ndarray]:
        """See `ports.Animation.frames`."""
        self._drawing = self._drawn()
        return self._drawing

    def _drawn(self) -> Generator[np.ndarray, None, None]:
        job = self._job
        output = Output(self._latents, job.count, job.scene, job.view, job.settings, self._decoder)
        try:
            with job.networks.room.stage():
                for frame in output.frames():
                    if self._unloaded.is_set():
                        raise _unloaded()
                    yield frame
        finally:
            self._decoder.unload()
            if self._unloaded.is_set():
                self._resources.close()

    def forget(self) -> None:
        """See `ports.Animation.forget`."""
        self._job.drafts.discard(self._job.key)

    def close(self) -> None:
        """See `ports.Animation.close`."""
        self._unloaded.set()
        if self._drawing is not None and getgeneratorstate(self._drawing) == GEN_RUNNING:
            return  # in another thread, which closes everything at its next frame
        if self._drawing is not None:
            with suppress(ValueError):  # another thread has just gone on with it, and will close everything
                self._drawing.close()
        self._decoder.unload()
        self._resources.close()


def base_frames(count: int, settings: Settings) -> int:
    """Frames that the network draws for `count` frames of video: all the speech, the last half frame padded.

    As many as published for whole frames of sound. Interpolation ends at the last of them, which is then held
    for the one (at 50 frames per second, three) that is missing.
    """
    return math.ceil(count / (settings.fps / BASE_FPS))


def _budget(
    chosen: Hardware, shapes: Mapping[str, tuple[int, ...]], settings: Settings, frames: int
) -> Budget:
    side = max(1, round(settings.min_resolution / MULTIPLE)) * MULTIPLE
    return Budget(chosen, shapes, side, Plan(frames), settings.inference_steps, CALLS[settings.shortcuts])


def _rounded(scene: Scene, settings: Settings) -> tuple[str, ...]:
    """A sentence if the video's sides are not what was asked for."""
    scale = settings.min_resolution / min(scene.crop.width, scene.crop.height)
    asked = [round(side * scale) for side in (scene.crop.width, scene.crop.height)]
    if not scene.whole:
        asked = [settings.min_resolution] * 2  # the square may be a pixel off
    if asked == [scene.width, scene.height]:
        return ()
    what = f"{asked[0]} × {asked[1]}"
    return (
        f"The sonic engine's sides are multiples of {MULTIPLE}: {scene.width} × {scene.height}, not {what}.",
    )


def _identities(paths: Mapping[str, Path]) -> list[list[Any]]:
    """What tells the files that the latents depend on from others."""
    names = [part.name for part in weights.REQUIRED]
    found = [(name, paths[name].stat()) for name in names if name in paths]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def _sentences(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _unloaded() -> Cancelled:
    return Cancelled(
        "The networks were unloaded while the video was being made.",
        "Start it again: it goes on where it stopped.",
    )


def _stopping(tick: Tick, unloaded: threading.Event) -> Tick:
    """A tick that also stops when the networks are unloaded."""

    def ticked(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if unloaded.is_set():
            raise _unloaded()
        tick(stage, done, total, detail)

    return ticked
