"""`sonic train adapters` from top to bottom: the basis, the clips, the network, its steps, the overlay.

    OUT.safetensors   the overlay
    OUT.training/     clips and what going on needs; can be deleted afterwards

Started once for each device by `accelerate launch -m sonic_ext train adapters ...`, the first process makes
the clips and writes the files, and all of them learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ... import __version__, weights
from ...engines.runtime.devices import Hardware, computes_bf16
from ...engines.runtime.memory import DeviceMemory
from ...engines.sonic.networks import Networks
from ...engines.sonic.profile import profile_of
from ...engines.sonic.vaes import PARTS
from ...errors import BadOutput
from ...files.digest import sha256_of
from ...progress import Progress, Stage, Step, Tick, Ticker
from ...provenance.ledger import Ledger
from ...settings import Settings
from ...weights.overlays import PARTS as OVERLAID
from ...weights.overlays import Overlay, OverlayAbout, base_of, read_overlay, write_overlay
from ..clips import ClipRemark
from ..curves import curves
from ..steps import writing
from .basis import MINIATURE, basis_of
from .clips import AdapterCorpus
from .footage import Framing, encode_videos
from .memory import TrainingMemory
from .miniature import is_miniature, miniature_corpus, weights_folder
from .network import load_network
from .recipe import AdapterRecipe
from .training import AdapterTrainer, TrainedAdapters

CLIPS, STATE = "clips", "adapters.pt"
"""In OUT.training."""
PREPARING_HOURS = 48
"""For which the other processes wait for the first one, which makes the clips."""


@dataclass(frozen=True)
class AdapterTraining:
    """What came of a training."""

    overlay: Overlay
    trained: TrainedAdapters
    corpus: AdapterCorpus
    remarks: tuple[ClipRemark, ...]
    """On videos that gave no clip."""
    main: bool
    """Whether this is the first of the processes that trained together, which is the one that speaks."""


@dataclass(frozen=True)
class AdapterPlan:
    """How it is computed."""

    precision: str = "auto"
    """fp32, bf16, or auto: bf16 on a graphics card that has it."""
    checkpointed: bool = True
    """Whether activations are made again in the backward pass."""
    cpu: bool = False
    """Whether the processor is to be used though there is a graphics card."""
    side: int | None = None
    """Pixels of the square that is learned from; None for that of the weights, else 512."""


def train_adapters(
    data: Path,
    output: Path,
    recipe: AdapterRecipe,
    *,
    stated: str = "",
    plan: AdapterPlan = AdapterPlan(),
    search: weights.Search | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress,
) -> AdapterTraining:
    """Train the adapters of the weights that are found, and write them to `output`.

    Called again, it goes on where it was.

    Args:
        data: a folder of talking videos, or NAME.training of a miniature, whose weights are then used.
        output: NAME.safetensors. What going on needs is in NAME.training beside it.
        recipe: how to train; its window is at most that of the weights.
        stated: the legal basis, in the operator's words; without it the folder has to have a consent file.
        plan: how it is computed.
        search: where the weights are looked for; the usual places by default.
        say: is told what the training will take before it begins.
        progress: shows steps and may stop it.

    Raises:
        ConsentMissing, ConsentExpired: nothing says that these people may be learned from.
        BadInput: nothing to learn from, damaged clips, another recipe was begun.
        MissingPart: weights are missing.
        BadOutput: a file cannot be written.
        Failed: a loss was no number.
        Cancelled: somebody stopped it; what was learned is kept.
    """
    if output.exists() and not output.with_suffix(".training").exists():
        raise BadOutput(f"{output} exists.", "Give another name, or delete it.")
    basis = MINIATURE if is_miniature(data) else basis_of(data, stated)
    accelerator = _accelerator(plan, recipe)
    main, state = bool(accelerator.is_main_process), output.with_suffix(".training")
    tick: Tick = Ticker(progress if main else _Quiet(progress))
    with writing(output):
        state.mkdir(parents=True, exist_ok=True)
        own = weights.Search.alone(weights_folder(data)) if basis is MINIATURE else search
        search = own or weights.Search.default()
        recipe = replace(recipe, window=min(recipe.window, profile_of(search).window))
        hardware = _hardware(accelerator)
        networks = Networks(weights.prepare(search, PARTS, tick), hardware, tick)
        if basis is MINIATURE:
            corpus, remarks = miniature_corpus(data), []
        else:
            remarks = _encode(data, state / CLIPS, networks, _framing(search, plan), main, tick)
            accelerator.wait_for_everyone()
            corpus = AdapterCorpus.in_folder(state / CLIPS, basis)
        if main:
            memory = _memory(networks, corpus, recipe, accelerator, plan)
            say(memory.text(DeviceMemory(hardware.device).free()))
        with networks.memory.stage():
            network = load_network(networks)
        trainer = AdapterTrainer(network, corpus, recipe, accelerator, plan.checkpointed)
        with curves(state / "curves") if main else nullcontext(_nowhere) as write:

            def report(step: int, total: int, found: Mapping[str, float]) -> None:
                write(step, found)
                tick(Stage.TRAINING, step, total, "adapters")

            trained = trainer.train(state / STATE, report)
        if main:
            if trained.given_up:
                say(_given_up(trained.given_up))
            about = _about(networks, corpus, recipe, accelerator, trained)
            write_overlay(output, trained.adapters, about)
            Ledger().record_training(sha256_of(output), about.base, about.basis, corpus.key)
        accelerator.wait_for_everyone()
    return AdapterTraining(read_overlay(output), trained, corpus, tuple(remarks), main)


def _encode(
    data: Path, clips: Path, networks: Networks, framing: Framing, main: bool, tick: Tick
) -> list[ClipRemark]:
    """Make the clips, in the first process alone."""
    if not main:
        return []
    with networks.memory.stage():
        return encode_videos(data, clips, networks, framing, tick)


def _framing(search: weights.Search, plan: AdapterPlan) -> Framing:
    """As the engine frames a portrait for these weights."""
    profile, usual = profile_of(search), Settings()
    margin = usual.expand_ratio if profile.margin is None else profile.margin
    return Framing(profile.side or plan.side or usual.min_resolution, margin)


def _memory(
    networks: Networks, corpus: AdapterCorpus, recipe: AdapterRecipe, accelerator: Any, plan: AdapterPlan
) -> TrainingMemory:
    """What each device will need."""
    unet, audio2token = (weights.shapes(part, networks.paths[part.name]) for part in OVERLAID)
    grid = corpus.clips[corpus.usable(recipe.window)[0]].latents.shape[-2:]
    frames = max(1, recipe.batch // accelerator.num_processes) * recipe.window
    itemsize = networks.hardware.itemsize
    return TrainingMemory(
        unet, audio2token, (int(grid[0]), int(grid[1])), frames, itemsize, plan.checkpointed
    )


def _about(
    networks: Networks,
    corpus: AdapterCorpus,
    recipe: AdapterRecipe,
    accelerator: Any,
    trained: TrainedAdapters,
) -> OverlayAbout:
    return OverlayAbout(
        base_of(networks.paths),
        {**recipe.values(), "precision": accelerator.mixed_precision},
        corpus.basis.values(),
        corpus.about(),
        {**trained.losses, "discriminator given up at": trained.given_up},
        __version__,
    )


class _Quiet:
    """A `Progress` that shows nothing, and stops where the other one does."""

    def __init__(self, other: Progress) -> None:
        self.cancelled = other.cancelled

    def report(self, step: Step) -> None:
        """See `Progress.report`."""


def _accelerator(plan: AdapterPlan, recipe: AdapterRecipe) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    half = torch.cuda.is_available() and not plan.cpu and computes_bf16("cuda")
    precision = {"fp32": "no", "bf16": "bf16", "auto": "bf16" if half else "no"}[plan.precision]
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=recipe.accumulate,
        cpu=plan.cpu,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=PREPARING_HOURS))],
    )


def _hardware(accelerator: Any) -> Hardware:
    """The process's device, and the numbers that the held weights are in."""
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    return Hardware(str(accelerator.device), dtype)


def _given_up(step: int) -> str:
    return (
        f"The discriminator told everything apart by step {step}: nothing could be learned from it any more, "
        "and training went on without it."
    )


def _nowhere(step: int, found: Mapping[str, float]) -> None:
    """Only the first process writes curves."""
