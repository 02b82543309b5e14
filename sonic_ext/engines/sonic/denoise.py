"""The network with everything it is conditioned on: what the sampler calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from ...nn.attention import Level, Tokens, Window
from ...nn.deep import DeepFeatures
from ...nn.prefix import Prefix
from ...nn.unet import predict
from .conditioning import added_time_ids
from .guidance import Guidance
from .schedule import Moment

NOTHING, IMAGE, BOTH = BRANCHES = (0, 1, 2)
"""The branches of guidance: without portrait and speech; with the portrait; with both."""
Around: TypeAlias = Callable[[tuple[int, ...]], AbstractContextManager[None]]
"""What is done to the network while it computes these branches."""


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over the steps of a video, on the network's device."""

    portrait: torch.Tensor
    """[1, 4, height, width]: the VAE's unscaled mean."""
    clip: Tokens
    """The portrait's CLIP embedding, [1, 1, width]."""
    speech: Tokens
    """Audio tokens, [frames, tokens, width]; they may wait in main memory."""
    silence: Tokens
    """Audio tokens of zero states, [1, tokens, width]."""
    buckets: torch.Tensor
    """float32 [frames, 2]."""
    levels: Mapping[int, Level] = field(default_factory=dict)
    """The face mask; empty for none."""
    no_portrait: Tokens = field(init=False)
    """A zero embedding."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "no_portrait", Tokens(torch.zeros_like(self.clip.values[:1])))

    def window(self, frames: torch.Tensor) -> Window:
        """Three branches: nothing; portrait; portrait and speech."""
        kept = self.speech.keep
        speech = self.speech if kept else self.speech.of(frames, self.portrait.device)
        branches = [
            (self.no_portrait, self.silence),
            (self.clip, self.silence),
            (self.clip, speech),
        ]
        return Window.of(branches, frames if kept else None, self.levels)


@dataclass(frozen=True)
class Shortcuts:
    """Savings that change the video a little. The default is none."""

    null_branch: bool = False
    """At steps that are not the first of a group the branch without portrait is not computed: its difference
    from the branch with the portrait is that of the group's first step."""
    deep_features: bool = False
    """At those steps the inner layers are not computed: theirs are those of the group's first step."""

    @classmethod
    def named(cls, name: str) -> Shortcuts:
        """From the setting: exact, null_branch, deep_features, both."""
        if name not in ("exact", "null_branch", "deep_features", "both"):
            raise ValueError(f"no shortcuts are called {name}")
        return cls(name in ("null_branch", "both"), name in ("deep_features", "both"))

    @property
    def group(self) -> int:
        """Steps per group of the sampler."""
        return 2 if self.null_branch or self.deep_features else 1


@dataclass
class Memory:
    """What the first step of a group leaves to the others, of one window."""

    towards_nothing: torch.Tensor | None = None
    """Prediction without the portrait less that with it."""
    deep: DeepFeatures = field(default_factory=DeepFeatures)

    def clear(self) -> None:
        """Forget everything."""
        self.towards_nothing = None
        self.deep.clear()


@dataclass(frozen=True)
class Denoiser:
    """Predicts v with guidance; a `sampling.Predict`."""

    unet: Any
    """From `nn.unet.build_unet`, filled."""
    conditioning: Conditioning
    guidance: Guidance = field(default_factory=Guidance)
    head: float = 1.0
    """Strength of head motion."""
    expression: float = 1.0
    """Strength of mouth and expression."""
    together: bool = False
    """All branches in one call; one after the other takes a third of the activations, and shares layers."""
    share: bool = True
    """Branches with the same latents share their first layers when they come one after the other."""
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    """The sampler's groups must be as long as these say."""
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    def __call__(
        self, x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool = True
    ) -> torch.Tensor:
        """v, [window, 4, height, width], for scaled latents of the same shape.

        Raises:
            RuntimeError: not the first step of its group, and there was none before.
        """
        if first:
            self.memory.clear()
        portrait = self.conditioning.portrait
        x = x.to(portrait)
        inputs = [torch.cat([x, part.expand_as(x)], dim=1) for part in (torch.zeros_like(portrait), portrait)]
        branches = BRANCHES if first or not self.shortcuts.null_branch else (IMAGE, BOTH)
        call = self._call(moment, frames, first)
        run = call.together if self.together else call.in_turn_shared if self.share else call.in_turn
        predictions = self._complete(run(inputs, branches), first)
        return self.guidance.combined(predictions, moment.step, moment.steps)

    def forget(self) -> None:
        """Free what the last window left; the next one would overwrite it."""
        self.memory.clear()

    def ids(self, frames: torch.Tensor) -> torch.Tensor:
        """What the network is told of motion in a window, float32 [1, 3]."""
        return added_time_ids(self.conditioning.buckets, frames, self.head, self.expression)

    def _call(self, moment: Moment, frames: torch.Tensor, first: bool) -> Call:
        window, timestep = self.conditioning.window(frames), moment.timestep.to(frames.device)
        return Call(self.unet, window, timestep, self.ids(frames), self._around(first))

    def _around(self, first: bool) -> Around:
        if not self.shortcuts.deep_features:
            return _nothing
        use = self.memory.deep.recorded if first else self.memory.deep.replayed
        return lambda branches: use(self.unet, branches)

    def _complete(self, predictions: list[torch.Tensor], first: bool) -> list[torch.Tensor]:
        """All three branches; the first is remembered or made up."""
        if not self.shortcuts.null_branch:
            return predictions
        if first:
            self.memory.towards_nothing = predictions[NOTHING] - predictions[IMAGE]
            return predictions
        if self.memory.towards_nothing is None:
            raise RuntimeError("no first step of this group was computed")
        return [predictions[0] + self.memory.towards_nothing, *predictions]


def _nothing(_: tuple[int, ...]) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Call:
    """The branches of one window at one step."""

    unet: Any
    window: Window
    timestep: torch.Tensor
    ids: torch.Tensor
    """float32 [1, 3]."""
    around: Around = _nothing

    def together(
        self, inputs: list[torch.Tensor], branches: tuple[int, ...] = BRANCHES
    ) -> list[torch.Tensor]:
        """Predictions [frames, 4, height, width] of inputs [frames, 8, height, width], in one batch.

        `inputs` are those without and with the portrait.
        """
        stacked = torch.stack([_input(inputs, branch) for branch in branches])
        return list(self._predicted(stacked, branches))

    def in_turn(self, inputs: list[torch.Tensor], branches: tuple[int, ...] = BRANCHES) -> list[torch.Tensor]:
        """The same, one branch after the other."""
        return [self._one(inputs, branch) for branch in branches]

    def in_turn_shared(
        self, inputs: list[torch.Tensor], branches: tuple[int, ...] = BRANCHES
    ) -> list[torch.Tensor]:
        """The same; the two branches with the portrait, which come last, share their first layers."""
        before = self.in_turn(inputs, branches[:-2])
        prefix = Prefix(self.unet)
        with prefix.recorded():
            image = self._one(inputs, IMAGE)
        with prefix.replayed():
            return [*before, image, self._one(inputs, BOTH)]

    def _one(self, inputs: list[torch.Tensor], branch: int) -> torch.Tensor:
        return self._predicted(_input(inputs, branch)[None], (branch,))[0]

    def _predicted(self, x: torch.Tensor, branches: tuple[int, ...]) -> torch.Tensor:
        ids = self.ids.repeat(len(branches), 1)
        with self.around(branches):
            return predict(self.unet, self.window.only(*branches), x, self.timestep, ids)


def _input(inputs: list[torch.Tensor], branch: int) -> torch.Tensor:
    return inputs[0 if branch == NOTHING else 1]
