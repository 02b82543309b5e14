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
from numpy.typing import NDArray

from ... import __version__, weights
from ...errors import BadSetting, BadWeights, Cancelled
from ...fields import Affects
from ...files.home import private_home
from ...media.audio import Speech
from ...media.scene import HeadView, Scene, head_view
from ...media.sides import Side, calm_note, sides_of
from ...ports import DeviceManager, Forecast, WindowPool
from ...progress import Stage, Tick
from ...settings import Settings
from ...weights.overlays import Overlay, find_overlay
from ..runtime.checkpoints import Checkpoint, Checkpoints, key_of
from ..runtime.devices import (
    Hardware,
    catch_out_of_memory,
    hardware,
    release,
    release_after,
    speed,
)
from ..runtime.lock import device_lock
from ..runtime.memory import DeviceMemory
from . import vaes
from .budget import Budget, MemoryPlan
from .denoise import Conditioning
from .long_run import LongRun, held_frames
from .networks import Networks
from .output import Decoder, FrameInterpolator, Output, PairOutput
from .prepare import Prepared, prepare_conditioning
from .profile import Profile, profile_of
from .run import SamplingRun, first_checkpoint, first_latents
from .sampler import Sampler
from .schedule import Schedule
from .settings import DiffusionSettings
from .solvers import REMEMBERED
from .vaes import VaeChoice
from .windows import BASE_FPS

MULTIPLE = 64
"""Sides of what the network draws are multiples of it."""


class DiffusionEngine:
    """See `ports.Engine`.

    Args:
        search: where the weights are looked for; the usual places by default.
        device: as torch names it; the best one by default.
        home: the private home, where unfinished videos are kept.
        devices: the WebUI's VAE and memory, where there is a WebUI.
        notes: sentences for the user about engines that were passed over.
        window_pool: other processes that take windows, in place of this one.
    """

    name = "sonic"
    size_multiple = MULTIPLE
    head_motion = 1.0

    def __init__(
        self,
        search: weights.Search | None = None,
        device: str | None = None,
        home: Path | None = None,
        devices: DeviceManager | None = None,
        notes: tuple[str, ...] = (),
        window_pool: WindowPool | None = None,
    ) -> None:
        self._notes = notes
        self._window_pool = window_pool
        self._search = search or weights.Search.default()
        self._devices = devices
        self._device = device or (devices.device() if devices else None)
        self._home = private_home(home)

    def prepare(
        self, scene: Scene, speech: Speech, settings: Settings, count: int, seed: int, tick: Tick
    ) -> DiffusionAnimation:
        """See `ports.Engine.prepare`: all the work up to the final latents."""
        chosen = hardware(DiffusionSettings.of(settings).precision, self._device)
        profile = self._profile(settings)
        vae, overlay = self._vae(settings), self._overlay(settings)
        unloaded = threading.Event()
        tick = _stopping(tick, unloaded)
        with ExitStack() as stack:
            stack.enter_context(device_lock(self._home, chosen.device, tick))
            stack.enter_context(release_after(chosen.device))
            paths, note = weights.prepare(self._search, vae.parts, tick), []
            try:
                paths |= weights.prepare(self._search, (weights.RIFE,), tick)
            except BadWeights as error:  # optional: optical flow stands in
                note = [error.message]
            if overlay is not None:
                overlay.require_base(paths)
            networks = Networks(paths, chosen, tick, self._devices, overlay, vae.image_encoder)
            heads = heads_of(scene, speech, settings)
            budget = _budget(
                chosen,
                weights.shapes(weights.UNET, paths[weights.UNET.name]),
                settings,
                profile,
                base_frames(count, settings),
                scene,
            )
            free = networks.memory.free()
            memory_plan = budget.memory_plan(DiffusionSettings.of(settings).memory, free)
            vae = self._fit_vae(vae, memory_plan, settings)
            checkpoints = Checkpoints(self._home)
            generations: list[Generation] = []
            begun: list[Begun] = []
            for number, head in enumerate(heads):  # all look and listen before one is drawn
                first_seed = begun[0].checkpoint.seed if begun else None
                generation = Generation(
                    networks,
                    profile,
                    vae,
                    head.scene,
                    head.speech,
                    head.settings,
                    count,
                    checkpoints,
                    _of_several(tick, number, len(heads)),
                    self._window_pool,
                    head.side,
                    first_seed,
                    growing=len(heads) - sum(each.run is None for each in begun),
                )
                own_seed = seed if first_seed is None else (first_seed + number) % 2**32
                begun.append(generation.begin(own_seed, memory_plan))
                generations.append(generation)
            checkpoints.expire()
            finished = [each.completed() for each in begun]
            release(chosen.device)  # the UNet goes before the decoder comes
            notes = [
                *self._notes,
                *_rounding_note(scene, settings),
                *_size_note(profile),
                memory_plan.note,
                vae.note,
                budget.warning(memory_plan, free),
                *(note for each in begun for note in each.notes),
                *calm_note(tuple(head.side for head in heads if head.side)),
                *note,
            ]
            return DiffusionAnimation(
                generations, finished, memory_plan, unloaded, _sentences(*notes), stack.pop_all()
            )

    def forecast(self, scene: Scene, settings: Settings, count: int) -> Forecast:
        """See `ports.Engine.forecast`; of the weights, headers are read only.

        Raises:
            BadPortrait: two faces are too close together, see `sides_of`.
        """
        calm = calm_note(sides_of((scene.face, scene.second))) if scene.second else ()
        chosen = hardware(DiffusionSettings.of(settings).precision, self._device)
        vae = self._vae(settings)
        self._overlay(settings)
        path = weights.survey(self._search, [weights.UNET])["unet"].path
        shapes = weights.shapes(weights.UNET, path) if path else {}
        profile = self._profile(settings)
        budget = _budget(chosen, shapes, settings, profile, base_frames(count, settings), scene)
        free = DeviceMemory(chosen.device, self._devices).free()
        memory_plan = budget.memory_plan(DiffusionSettings.of(settings).memory, free)
        vae = self._fit_vae(vae, memory_plan, settings)
        return Forecast(
            budget.seconds(speed(chosen.device, chosen.dtype)),
            budget.main_bytes(memory_plan),
            0 if chosen.is_cpu else budget.device_bytes(memory_plan.mode, memory_plan.chunk),
            budget.denoising_operations,
            _sentences(
                *self._notes,
                *_rounding_note(scene, settings),
                *_size_note(profile),
                memory_plan.note,
                vae.note,
                budget.warning(memory_plan, free),
                *calm,
                budget.caveat,
            ),
        )

    def _profile(self, settings: Settings) -> Profile:
        """What the weights ask for; fails before any work if the settings ask for something else."""
        profile = profile_of(self._search)
        if settings.framing == "published" and profile.side is not None:
            raise BadSetting(
                "framing=published needs weights that draw pictures of any size; these draw "
                f"{profile.side} × {profile.side} pixels.",
                "Use framing=whole.",
            )
        return profile

    def _vae(self, settings: Settings) -> VaeChoice:
        """The VAE for a video; fails before any work if a part is missing that the settings ask for."""
        chosen = vaes.choose(DiffusionSettings.of(settings).decoder, self._devices, self._search)
        weights.survey(self._search, chosen.parts).require(chosen.parts)
        return chosen

    def _overlay(self, settings: Settings) -> Overlay | None:
        """The adapters that the settings name; fails before any work if there are none of that name."""
        name = DiffusionSettings.of(settings).adapters
        return find_overlay(self._search, name) if name else None

    def _fit_vae(self, chosen: VaeChoice, memory_plan: MemoryPlan, settings: Settings) -> VaeChoice:
        """The same, or another where frames must be decoded one by one; that one needs no other parts."""
        if memory_plan.chunk > 1:
            return chosen
        return vaes.choose(
            DiffusionSettings.of(settings).decoder, self._devices, self._search, own_fits=False
        )


@dataclass(frozen=True)
class SceneHead:
    """What is drawn of one head, by itself."""

    scene: Scene
    """With this face alone."""
    speech: Speech
    """What it says, as long as the video."""
    settings: Settings
    side: Side | None = None
    """Where it shows in the video, if there is another."""


def heads_of(scene: Scene, speech: Speech, settings: Settings) -> list[SceneHead]:
    """The heads of a scene, each to be drawn by itself: no voice can reach another's face.

    Of two, each is drawn in a square of its own, cut from the whole scene, and moves as far as there is room.

    Raises:
        BadPortrait: two faces are too close together, see `sides_of`.
    """
    if scene.second is None:
        return [SceneHead(scene, speech, settings)]
    heads = []
    pair = scene.face, scene.second
    for face, voice, side in zip(pair, speech.voices, sides_of(pair), strict=True):
        alone = replace(scene, face=face, second=None, whole=True)
        calm = settings.with_values({"motion_scale": settings.motion_scale * side.motion})
        heads.append(SceneHead(alone, replace(voice, limit=speech.length), calm, side))
    return heads


@dataclass(frozen=True)
class Begun:
    """A head of which all is known but what the steps make of it. `notes` grows while they are taken."""

    checkpoint: Checkpoint
    """How far it is."""
    run: SamplingRun | None
    """Takes the steps that are left; None where there are none."""
    notes: list[str]
    """Sentences for the user."""

    def completed(self) -> Checkpoint:
        """Take the steps that the checkpoint lacks; raises what `SamplingRun.complete` raises."""
        if self.run is None:
            return self.checkpoint
        done = self.run.complete(self.checkpoint)
        self.notes.extend(self.run.notes)
        return done


@dataclass(frozen=True)
class Generation:
    """One head of a video of the engine."""

    networks: Networks
    profile: Profile
    vae: VaeChoice
    scene: Scene
    speech: Speech
    settings: Settings
    count: int
    """Frames of the video."""
    checkpoints: Checkpoints
    tick: Tick
    window_pool: WindowPool | None = None
    """Takes the windows, in place of this process."""
    side: Side | None = None
    """Where it shows in the video, if there is another head."""
    first_seed: int | None = None
    """Of the video's first head, for another one: that has a seed of its own, so that it does not move alike,
    and the first one's tells it."""
    growing: int = 1
    """Heads that have still to find room on the disk, this one included."""

    @cached_property
    def own(self) -> DiffusionSettings:
        """The engine's own settings."""
        return DiffusionSettings.of(self.settings)

    @cached_property
    def view(self) -> HeadView:
        """The head as the network draws it, or all of the scene as published."""
        profile, settings = self.profile, self.settings
        if settings.framing == "published":
            return HeadView(self.scene.picture, self.scene.face, None, self.scene.crop)
        if profile.side is not None and profile.margin is not None:
            return head_view(self.scene, profile.side, profile.margin, tight=True)
        return head_view(self.scene, _side(settings), settings.expand_ratio)

    @cached_property
    def budget(self) -> Budget:
        """What it will cost."""
        shapes = weights.shapes(weights.UNET, self.networks.paths[weights.UNET.name])
        frames = base_frames(self.count, self.settings)
        return _budget(self.networks.hardware, shapes, self.settings, self.profile, frames, self.scene)

    @cached_property
    def long_run(self) -> LongRun | None:
        """Keeps what grows with the video in files, where it is too much for memory."""
        height, width, _ = self.view.picture.shape
        if self.budget.plan.frames <= held_frames(width, height):
            return None
        folder = self.checkpoints.folder(self.key)
        return LongRun(folder, self.budget.plan, (height // 8, width // 8), growing=self.growing)

    @cached_property
    def key(self) -> str:
        """Of the checkpoint: everything that the latents depend on.

        Settings that affect picture or sound are in it by what they made of them.
        """
        hardware, view = self.networks.hardware, self.view
        return key_of(
            {
                "portrait": self.scene.portrait.pixel_sha256,
                "picture": [*self.scene.crop, *view.source, *view.picture.shape],
                "face": [round(side, 3) for side in view.face.box],
                "speech": [self.speech.sha256, self.speech.length, self.budget.plan.frames],
                "numbers": [hardware.device, hardware.title, str(hardware.dtype), hardware.narrow],
                "made by": [__version__, torch.__version__],
                "weights": _identities(self.networks.paths),
                **({"windows": self.window_pool.numbers} if self.window_pool else {}),
                **({"vae": self.vae.host.title} if self.vae.host else {}),
                **({"voice": [self.first_seed, *self.speech.mix.weights]} if self.side else {}),
                **({"adapters": overlay.about.tensors} if (overlay := self.networks.overlay) else {}),
                "settings": self.settings.affecting(Affects.LATENTS),
            }
        )

    def begin(self, seed: int, memory_plan: MemoryPlan) -> Begun:
        """Look at the portrait and listen to the speech. Goes on where an earlier run stopped."""
        self.checkpoints.touch(self.key)
        notes: list[str] = []
        long_run, mode = self.long_run, memory_plan.mode
        checkpoint = long_run.checkpoint() if long_run else self.checkpoints.load(self.key)
        if checkpoint is not None:
            mode = checkpoint.mode if self.own.memory == "auto" else mode
            steps = self.own.inference_steps
            notes.append(f"Went on with an unfinished run after step {checkpoint.done} of {steps}.")
            if checkpoint.done == steps:
                return Begun(checkpoint, None, notes)
        prepared = self._prepared()
        run = SamplingRun(
            self.networks,
            prepared.conditioning,
            self.settings,
            self.profile,
            self.budget,
            self.checkpoints,
            self.key,
            mode,
            self.tick,
            long_run=long_run,
            window_pool=self.window_pool,
        )
        if checkpoint is None:
            checkpoint = self._first_checkpoint(prepared.conditioning, run.levels, seed, mode)
        return Begun(checkpoint, run, [*notes, *prepared.notes])

    def _first_checkpoint(
        self, conditioning: Conditioning, levels: Schedule, seed: int, mode: str
    ) -> Checkpoint:
        plan = self.budget.plan
        if self.long_run is None:
            return first_checkpoint(conditioning, plan, levels, seed, mode)
        parts = first_latents(conditioning, plan, levels, seed, plan.window)
        return self.long_run.begin(parts, seed, mode, 1 + REMEMBERED[self.own.solver])

    def _prepared(self) -> Prepared:
        """Twice, if memory runs out the first time: what others have let go since then is there."""
        device = self.networks.hardware.device
        for _ in range(2):
            with catch_out_of_memory():
                frames, host = self.budget.plan.frames, self.vae.host
                return prepare_conditioning(
                    self.networks, self.view, self.speech, frames, self.tick, host, self.long_run
                )
            release(device)
        raise self.budget.refusal(self.networks.memory.free())


class DiffusionAnimation:
    """See `ports.Animation`."""

    stage = Stage.DECODING

    def __init__(
        self,
        generations: Sequence[Generation],
        checkpoints: Sequence[Checkpoint],
        memory_plan: MemoryPlan,
        unloaded: threading.Event,
        notes: Sequence[str],
        resources: ExitStack,
    ) -> None:
        self.seed = checkpoints[0].seed
        self._generations = generations
        self._networks = generations[0].networks
        self._notes = notes
        self._unloaded = unloaded
        self._resources = resources
        first = generations[0]
        self._decoder = Decoder(first.networks, first.budget, first.vae, memory_plan.chunk)
        self._latents = [checkpoint.latents for checkpoint in checkpoints]
        self._drawing: Generator[NDArray[np.uint8], None, None] | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `ports.Animation.warnings`."""
        return tuple(dict.fromkeys((*self._notes, *self._decoder.notes)))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """See `ports.Animation.frames`."""
        self._drawing = self._draw()
        return self._drawing

    def _draw(self) -> Generator[NDArray[np.uint8], None, None]:
        try:
            with self._networks.memory.stage():
                for frame in self._output().frames():
                    if self._unloaded.is_set():
                        raise _unloaded()
                    yield frame
        finally:
            self._decoder.unload()
            if self._unloaded.is_set():
                self._resources.close()

    def _output(self) -> Output | PairOutput:
        between = FrameInterpolator(self._networks, self._decoder.notes)
        outputs = [
            Output(latents, each.count, each.scene, each.view, each.settings, self._decoder, between)
            for latents, each in zip(self._latents, self._generations, strict=True)
        ]
        sides = [each.side for each in self._generations if each.side]
        return PairOutput(outputs, sides) if sides else outputs[0]

    def forget(self) -> None:
        """See `ports.Animation.forget`."""
        for generation in self._generations:
            generation.checkpoints.discard(generation.key)

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


def _side(settings: Settings) -> int:
    """Of the square that a network of the published size draws."""
    return max(1, round(settings.min_resolution / MULTIPLE)) * MULTIPLE


def _budget(
    chosen: Hardware,
    shapes: Mapping[str, tuple[int, ...]],
    settings: Settings,
    profile: Profile,
    frames: int,
    scene: Scene,
) -> Budget:
    own = DiffusionSettings.of(settings)
    side, aspect = profile.side or _side(settings), 1.0
    if settings.framing == "published":
        side, long = sorted((scene.width, scene.height))
        aspect = long / side
    calls = Sampler.of(own, profile).branch_calls / own.inference_steps
    plan = profile.plan(frames, own.windows == "even")
    return Budget(chosen, shapes, side, plan, own.inference_steps, calls, aspect, len(scene.faces))


def _rounding_note(scene: Scene, settings: Settings) -> tuple[str, ...]:
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


def _size_note(profile: Profile) -> tuple[str, ...]:
    """A sentence if the weights draw a picture of their own size, whatever the video's."""
    if profile.side is None:
        return ()
    return (f"These weights draw the head in {profile.side} × {profile.side} pixels, which are enlarged.",)


def _identities(paths: Mapping[str, Path]) -> list[list[Any]]:
    """What tells the files that the latents depend on from others."""
    names = [part.name for part in vaes.PARTS]
    found = [(name, paths[name].stat()) for name in names if name in paths]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def _of_several(tick: Tick, number: int, count: int) -> Tick:
    """The tick of one of several heads, as part of what is to be done for all."""

    def ticked(stage: Stage, done: int, total: int, detail: str = "") -> None:
        tick(stage, number * total + done, count * total, detail)

    return ticked if count > 1 else tick


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
