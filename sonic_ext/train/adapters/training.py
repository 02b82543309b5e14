"""The steps of adapter training, on one device or several, which can be stopped at any of them.

What a step learns from depends on its number and the seed alone, not on how many processes there are: each
takes its share of the step's windows, losses over pairs see everybody's, and gradients are averaged. So a
training that was stopped goes on to the bit on the same devices, and two processes learn what one does but
for rounding. Gradients are averaged by hand, because adapters and discriminator learn from one forward pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import BadInput, Cancelled, Failed
from ..steps import KEPT_EVERY, restore_state, save_state
from ..temporal import learning_rate
from .clips import AdapterCorpus
from .network import AdapterNetwork
from .objective import (
    ContrastHeads,
    Discriminator,
    believed_of,
    contrast,
    discriminator_loss,
    generator_loss,
    reconstruction,
)
from .recipe import LEVELS, AdapterRecipe
from .windows import LatentWindows, draw_windows

WON, STRETCH = 0.05, 100
"""Share of the hinge loss of chance below which a discriminator tells everything apart, so that nothing can
be learned from it any more; and over about how many steps that is so."""
SAVING = 0.05
"""Largest share of the time that is spent on keeping where the training stands."""
BETAS = (0.5, 0.9)
"""Of the discriminator's Adam: less momentum than usual, as it follows something that moves."""
CLIP = 1.0
"""Largest norm of a gradient."""

Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class TrainedAdapters:
    """What came of the steps."""

    adapters: Mapping[str, torch.Tensor]
    """The running mean, as an overlay names them."""
    losses: Mapping[str, float]
    """Means over the last tenth of the steps."""
    given_up: int = 0
    """The step after which training went on without the discriminator, which had won; 0 for none."""


class AdapterTrainer:
    """Takes the steps.

    Args:
        network: on its device.
        corpus: what is learned from.
        recipe: how.
        accelerator: `accelerate.Accelerator`: which device and process this is, and how it computes.
        checkpointed: whether activations are made again in the backward pass.

    Raises:
        BadInput: no clip is long enough, or the batch does not divide among the processes.
    """

    def __init__(
        self,
        network: AdapterNetwork,
        corpus: AdapterCorpus,
        recipe: AdapterRecipe,
        accelerator: Any,
        checkpointed: bool = False,
    ) -> None:
        if recipe.batch % accelerator.num_processes:
            raise BadInput(
                f"{recipe.batch} windows do not divide among {accelerator.num_processes} processes.",
                "Give a --batch that is a multiple of the processes.",
            )
        self.network, self.corpus, self.recipe = network, corpus, recipe
        self.accelerator, self.checkpointed = accelerator, checkpointed
        self.usable = corpus.usable(recipe.window)
        torch.manual_seed(recipe.seed)
        self.heads = ContrastHeads(network.token_numbers).to(accelerator.device)
        self.discriminator = Discriminator().to(accelerator.device)
        self.learned = [weight for _, weight in network.adapters()] + [*self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(self.learned, recipe.rate)
        self.adversary = torch.optim.Adam(self.discriminator.parameters(), recipe.rate, betas=BETAS)
        self.means = {name: weight.clone() for name, weight in network.adapter_values().items()}
        self.done, self.hinge, self.given_up = 0, 1.0, 0
        self.sums: dict[str, float] = {}

    def train(self, state: Path, report: Report) -> TrainedAdapters:
        """Take all steps that the state's file lacks.

        Args:
            state: a file; the first process writes it, every process reads it.
            report: called in every process after every step with its number, that of all and the losses; may
                raise `Cancelled` in any of them, which stops all.

        Raises:
            BadInput: the file belongs to another training, or is damaged.
            Failed: a loss is no number; what was kept before is left.
            Cancelled: from `report`; where it stands is kept.
        """
        if state.exists():
            restore_state(state, self.key, self._restore)
        due = time.monotonic() + KEPT_EVERY
        while self.done < self.recipe.total:
            found = self.step()
            finished = self.done == self.recipe.total
            stopped = self._agreed(report, found)
            if finished or stopped or time.monotonic() > due:
                began = time.monotonic()
                self._keep(state)
                took = time.monotonic() - began
                due = time.monotonic() + max(KEPT_EVERY, took / SAVING)
            if stopped:
                raise Cancelled
        count = max(1, self.recipe.total - self._last_tenth)
        losses = {name: value / count for name, value in self.sums.items()}
        return TrainedAdapters(dict(self.means), losses, self.given_up)

    @property
    def key(self) -> str:
        """Of everything that the state depends on."""
        return repr(("adapters 1", self.recipe, self.corpus.key, self.accelerator.mixed_precision))

    @property
    def _last_tenth(self) -> int:
        return self.recipe.total - self.recipe.total // 10 - 1

    def step(self) -> dict[str, float]:
        """Learn from the next step's windows; returns the losses, unweighted.

        Raises:
            Failed: a loss or a gradient is no number. Nothing was learned from it.
        """
        recipe, number = self.recipe, self.done
        pretraining = number < recipe.pretrain
        adversarial = bool(recipe.objective.adversarial) and not (pretraining or self.given_up)
        self.optimizer.zero_grad()
        self.adversary.zero_grad()
        found: dict[str, torch.Tensor] = {}
        for part in range(recipe.accumulate):
            windows = self.draw(number, part)
            losses = self.pretraining_losses(windows) if pretraining else self.losses(windows, adversarial)
            self.accelerator.backward(self.total(losses))
            if "discriminator" in losses:
                self.accelerator.backward(losses["discriminator"])
            for name, value in losses.items():
                found[name] = found.get(name, 0.0) + value.detach() / recipe.accumulate
        self._average([*self.learned, *self.discriminator.parameters()])
        values = self._mean_over_processes(found)
        norm = torch.nn.utils.clip_grad_norm_(self.learned, CLIP)
        others = torch.nn.utils.clip_grad_norm_(self.discriminator.parameters(), CLIP)
        if not np.isfinite([*values.values(), float(norm), float(others)]).all():
            raise Failed(
                f"Step {number + 1} gave a loss that is no number.",
                "What was learned before it is kept. Look for broken clips, or take another --seed.",
            )
        kind = (number, recipe.pretrain) if pretraining else (number - recipe.pretrain, recipe.steps)
        rate = learning_rate(kind[0] / kind[1], recipe.rate)
        for optimizer in (self.optimizer, self.adversary):
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.optimizer.step()
        if adversarial:
            self.adversary.step()
            self._watch(values["discriminator"] / values["chance"])
        self.done += 1
        self._remember(values)
        return values

    def draw(self, step: int, part: int) -> LatentWindows:
        """This process's windows of a part of a step."""
        recipe, share = self.recipe, self.accelerator.num_processes
        rng = np.random.default_rng([recipe.seed, step, part])
        count = len(self.usable)
        chosen = rng.choice(count, recipe.batch, replace=count < recipe.batch)
        own = range(self.accelerator.process_index, recipe.batch, share)
        clips = [self.corpus.clips[self.usable[chosen[place]]] for place in own]
        seeds = [(recipe.seed, step, part, place) for place in own]
        return draw_windows(clips, seeds, recipe.window, recipe.noise, self.accelerator.device)

    def losses(self, windows: LatentWindows, adversarial: bool) -> dict[str, torch.Tensor]:
        """Every loss that is switched on, unweighted; `discriminator` is the discriminator's own, and
        `chance` what that would be if it told nothing apart."""
        objective = self.recipe.objective
        autocast = self.accelerator.mixed_precision == "bf16"
        prediction = self.network(windows, autocast, self.checkpointed)
        found = {"reconstruction": reconstruction(prediction, windows, objective.mouth)}
        believed = believed_of(prediction, windows)
        if adversarial:
            found["adversarial"] = generator_loss(self.discriminator, believed, windows)
            found["discriminator"], found["chance"] = discriminator_loss(
                self.discriminator, believed, windows
            )
        if objective.contrast:
            tokens, levels = prediction.tokens, objective.levels
            found |= contrast(self.heads, self.network, tokens, windows, levels, believed)
        return found

    def pretraining_losses(self, windows: LatentWindows) -> dict[str, torch.Tensor]:
        """The contrast of sound and clean latents."""
        tokens = self.network.tokens(windows.states)
        return contrast(self.heads, self.network, tokens, windows, self.recipe.objective.levels or ("frame",))

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What is lowered: reconstruction + λ_adv · adversarial + λ_cont · the levels of contrast."""
        objective = self.recipe.objective
        weight = objective.contrast if "reconstruction" in losses else 1.0
        weights = {
            "reconstruction": 1.0,
            "adversarial": objective.adversarial,
            **dict.fromkeys(LEVELS, weight),
        }
        return torch.stack([weights[name] * value for name, value in losses.items() if name in weights]).sum()

    def _watch(self, hinge: float) -> None:
        """Go on without a discriminator that tells everything apart.

        Args:
            hinge: its loss as a share of chance.
        """
        self.hinge += (hinge - self.hinge) / STRETCH
        if self.hinge < WON:
            self.given_up = self.done + 1

    def _remember(self, values: Mapping[str, float]) -> None:
        """The step in the running mean and in the last losses."""
        # A mean that forgets its start as it goes
        share = min(self.recipe.mean, self.done / (self.done + 10))
        for name, weight in self.network.adapter_values().items():
            self.means[name].lerp_(weight, 1 - share)
        if self.done > self._last_tenth:
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value

    def _average(self, weights: Sequence[nn.Parameter]) -> None:
        """Gradients over all processes, in one message."""
        if self.accelerator.num_processes == 1:
            return
        weights = [each for each in weights if each.grad is not None]  # the same ones in every process
        together = torch.cat([each.grad.flatten() for each in weights])
        parts = self.accelerator.reduce(together, "mean").split([each.numel() for each in weights])
        for each, part in zip(weights, parts, strict=True):
            each.grad.copy_(part.view_as(each))

    def _mean_over_processes(self, found: Mapping[str, torch.Tensor]) -> dict[str, float]:
        together = torch.stack([*found.values()])
        if self.accelerator.num_processes > 1:
            together = self.accelerator.reduce(together, "mean")
        return dict(zip(found, together.tolist(), strict=True))

    def _agreed(self, report: Report, found: Mapping[str, float]) -> bool:
        """Report; whether any process was asked to stop."""
        asked = 0.0
        try:
            report(self.done, self.recipe.total, found)
        except Cancelled:
            asked = 1.0
        if self.accelerator.num_processes == 1:
            return bool(asked)
        flag = torch.tensor([asked], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _keep(self, state: Path) -> None:
        if self.accelerator.is_main_process:
            save_state(
                state,
                self.key,
                adapters=self.network.adapter_values(),
                means=self.means,
                heads=self.heads.state_dict(),
                discriminator=self.discriminator.state_dict(),
                optimizer=self.optimizer.state_dict(),
                adversary=self.adversary.state_dict(),
                numbers=[self.done, self.hinge, self.given_up],
                sums=self.sums,
            )
        self.accelerator.wait_for_everyone()

    def _restore(self, found: Mapping[str, Any]) -> None:
        self.network.set_adapters(found["adapters"])
        for name, mean in self.means.items():
            mean.copy_(found["means"][name])
        self.heads.load_state_dict(found["heads"])
        self.discriminator.load_state_dict(found["discriminator"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.adversary.load_state_dict(found["adversary"])
        self.done, self.hinge, self.given_up = found["numbers"]
        self.sums = dict(found["sums"])
