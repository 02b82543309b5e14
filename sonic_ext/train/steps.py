"""Steps of an optimiser that can be stopped at any of them, and go on as if they had not been.

What a step learns from depends on its number and the seed alone; weights, their running mean and the
optimiser's state are kept in one file, written whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import BadInput, BadOutput, Cancelled, Failed
from ..files.atomic import replace_file
from .muon import Muon
from .temporal import learning_rate

KEPT_EVERY = 60.0
"""Seconds."""
Losses = Mapping[str, torch.Tensor]
Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class StepRecipe:
    """How one stage learns."""

    steps: int
    rate: float
    seed: int
    decay: float = 0.01
    """Weight decay."""
    mean: float = 0.0
    """Share of the running mean of the weights that a step keeps; 0 for none."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    muon: bool = False
    """Whether matrices and convolutions learn by Muon (`train.muon`), or everything by AdamW."""


def optimise(
    module: torch.nn.Module,
    losses: Callable[[int], Losses],
    recipe: StepRecipe,
    state: Path,
    key: str,
    report: Report,
) -> None:
    """Take all steps that the state's file lacks; the module ends with the running mean, where there is one.

    Args:
        module: what is trained: its parameters that need a gradient.
        losses: of a step, by its number from 0, weighted; they are summed. torch's generator is seeded with
            it before.
        recipe: how.
        state: a file.
        key: of everything else that the state depends on; one of another key is refused.
        report: called after every step with its number, that of all and the losses; may raise `Cancelled`.

    Raises:
        BadInput: the file is of another key, or damaged.
        Failed: a loss is no number; what was kept before is left.
        Cancelled: from `report`; where it stands is kept.
    """
    learned = [each for each in module.parameters() if each.requires_grad]
    kind = Muon if recipe.muon else torch.optim.AdamW
    optimizer = kind(learned, lr=recipe.rate, weight_decay=recipe.decay)
    means = [each.detach().clone() for each in learned] if recipe.mean else []
    done, kept = 0, time.monotonic()

    def keep() -> None:
        parts = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "means": means}
        save_state(state, key, step=done, **parts)

    def restore(found: Mapping[str, Any]) -> None:
        nonlocal done
        module.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        for mean, own in zip(means, found["means"], strict=True):
            mean.copy_(own)
        done = int(found["step"])

    if state.exists():
        restore_state(state, key, restore)
    with _kept_when_cancelled(keep):
        while done < recipe.steps:
            torch.manual_seed(recipe.seed * 1_000_003 + done)
            found = losses(done)
            loss = torch.stack([*found.values()]).sum()
            rate = learning_rate(done / recipe.steps, recipe.rate)
            take_step(optimizer, loss, rate, f"{state.stem}: Step {done + 1}", recipe.clip)
            done += 1
            # A mean that forgets its random start as it goes
            share = min(recipe.mean, done / (done + 10))
            with torch.no_grad():
                for mean, own in zip(means, learned, strict=bool(means)):
                    mean.lerp_(own, 1 - share)
            if time.monotonic() > kept + KEPT_EVERY or done == recipe.steps:
                keep()
                kept = time.monotonic()
            report(done, recipe.steps, {name: float(value.detach()) for name, value in found.items()})
    with torch.no_grad():
        for mean, own in zip(means, learned, strict=bool(means)):
            own.copy_(mean)


def take_step(
    optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float, what: str, clip: float = 1.0
) -> None:
    """Learn from a loss.

    Args:
        rate: of learning.
        what: names the step: "Batch 5".
        clip: largest norm of the gradient.

    Raises:
        Failed: the loss, or a number of its gradient, is none. Nothing was learned from it.
    """
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    learned = [each for group in optimizer.param_groups for each in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(learned, clip)
    if not torch.isfinite(loss.detach() + norm):  # a number that is none may reach the gradient past the loss
        raise Failed(
            f"{what} gave a loss that is no number.",
            "What was learned before it is kept. Look for broken clips, or take another --seed.",
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


@contextlib.contextmanager
def writing(output: Path) -> Iterator[None]:
    """Say what keeps a training's files from being written.

    Raises:
        BadOutput: what the system says.
    """
    try:
        yield
    except OSError as error:
        raise BadOutput(
            f"{error.filename or output} cannot be written or read ({error.strerror or error}).",
            "Make room or give another name; the same command goes on where it was.",
        ) from error


def save_state(path: Path, key: str, **parts: Any) -> None:
    """Keep what going on needs, whole or not at all.

    Args:
        key: of everything that it depends on.
        parts: what `torch.load` reads without running code: states of modules, tensors, numbers.

    Raises:
        OSError: it cannot be written, such as on a full disk.
    """
    data = io.BytesIO()
    torch.save({"key": key, **parts}, data)
    replace_file(path, data.getvalue())


def restore_state(path: Path, key: str, use: Callable[[Mapping[str, Any]], None]) -> None:
    """Hand what `save_state` kept to `use`.

    Raises:
        BadInput: it is of another key, or damaged.
    """
    try:
        found = torch.load(path, weights_only=True)
        fits = found["key"] == key
        if fits:
            use(found)
    except Exception as error:
        raise BadInput(
            f"{path} cannot be read ({type(error).__name__}).", "Delete it to begin anew."
        ) from error
    if not fits:
        raise BadInput(
            f"{path} belongs to a training with other settings, recordings or pictures.",
            "Give the same to go on, or another name to begin anew.",
        )


@contextlib.contextmanager
def _kept_when_cancelled(keep: Callable[[], None]) -> Iterator[None]:
    """Cancelled is raised between two steps."""
    try:
        yield
    except Cancelled:
        keep()
        raise
