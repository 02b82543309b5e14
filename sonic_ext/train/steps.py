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

from ..errors import BadInput, Cancelled, Failed
from ..files.atomic import replace_file
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
    optimiser = torch.optim.AdamW(learned, lr=recipe.rate, weight_decay=recipe.decay)
    means = [each.detach().clone() for each in learned] if recipe.mean else []
    done = _restored(state, key, module, optimiser, means)
    kept = time.monotonic()

    def keep() -> None:
        data = io.BytesIO()
        parts = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "means": means}
        torch.save({"key": key, "step": done, **parts}, data)
        replace_file(state, data.getvalue())

    with _kept_when_cancelled(keep):
        while done < recipe.steps:
            torch.manual_seed(recipe.seed * 1_000_003 + done)
            found = losses(done)
            loss = torch.stack([*found.values()]).sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(learned, recipe.clip)
            if not torch.isfinite(loss.detach() + norm):
                raise Failed(
                    f"Step {done + 1} gave a loss that is no number ({state.stem}).",
                    "What was learned before it is kept. Take another seed, or look for broken clips.",
                )
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(done / recipe.steps, recipe.rate)
            optimiser.step()
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


def _restored(
    state: Path,
    key: str,
    module: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    means: list[torch.Tensor],
) -> int:
    """Steps done, and everything as it was after them."""
    if not state.exists():
        return 0
    try:
        found: dict[str, Any] = torch.load(state, weights_only=True)
        fits = found["key"] == key
        if fits:
            module.load_state_dict(found["module"])
            optimiser.load_state_dict(found["optimiser"])
            for mean, own in zip(means, found["means"], strict=True):
                mean.copy_(own)
        done = int(found["step"])
    except Exception as error:
        raise BadInput(
            f"{state} cannot be read ({type(error).__name__}).", "Delete it to begin that stage anew."
        ) from error
    if not fits:
        raise BadInput(
            f"{state} belongs to a training with other settings or data.",
            "Give the same to go on, or another name to begin anew.",
        )
    return done


@contextlib.contextmanager
def _kept_when_cancelled(keep: Callable[[], None]) -> Iterator[None]:
    """Cancelled is raised between two steps."""
    try:
        yield
    except Cancelled:
        keep()
        raise
