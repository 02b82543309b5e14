"""The network with everything it is conditioned on: what the sampler calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ...nn.unet import Branch, Cache, Deep, LayerLoader, Level, Poll, UNet
from ..runtime.frame_file import FrameFile
from .conditioning import added_time_ids
from .guidance import BOTH, BRANCHES, IMAGE, NOTHING, Guidance
from .schedule import Moment


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over the steps of a video, on the network's device."""

    portrait: torch.Tensor
    """[1, 4, height, width]: the VAE's unscaled mean."""
    clip: torch.Tensor
    """The portrait's CLIP embedding, [1, 1, width]."""
    speech: torch.Tensor | FrameFile
    """Audio tokens, [frames, tokens, width], in main memory or in a file: they grow with the video."""
    silence: torch.Tensor
    """Audio tokens of zero states, [1, tokens, width]."""
    buckets: torch.Tensor
    """float32 [frames, 2], in main memory."""
    levels: Mapping[int, Level] = field(default_factory=dict)
    """The face mask; empty for none."""

    def branches(self, frames: torch.Tensor) -> tuple[Branch, ...]:
        """Nothing; portrait; portrait and speech. The first has an input of its own, the others share one.

        Args:
            frames: int64 [window], in main memory.
        """
        speech = self.speech.index_select(0, frames).to(self.portrait.device)
        nothing = Branch(torch.zeros_like(self.clip), self.silence, self.levels)
        image = Branch(self.clip, self.silence, self.levels, input=1)
        return nothing, image, replace(image, speech=speech)


@dataclass(frozen=True)
class Shortcuts:
    """Savings that change the video a little. The default is none."""

    null_branch: bool = False
    """At steps that are not the first of a group the branch without portrait is not computed: its difference
    from the branch with the portrait is that of the group's first step."""
    deep_features: bool = False
    """At those steps the inner layers are not computed: theirs are those of the group's first step ..."""
    tolerance: float = math.inf
    """... or of the last step before which what they are given had changed by more than this share."""

    @classmethod
    def named(cls, name: str, tolerance: float = math.inf) -> Shortcuts:
        """From the setting: exact, null_branch, deep_features, both."""
        if name not in ("exact", "null_branch", "deep_features", "both"):
            raise ValueError(f"no shortcuts are called {name}")
        deep = name in ("deep_features", "both")
        return cls(name in ("null_branch", "both"), deep, tolerance if deep else math.inf)

    def branches(self, wanted: tuple[int, ...], first: bool) -> tuple[int, ...]:
        """Those that a step computes.

        Args:
            wanted: that its guidance counts.
            first: of its group.
        """
        return tuple(each for each in wanted if first or each != NOTHING or not self.null_branch)


@dataclass
class GroupCache:
    """What the first step of a group leaves to the others, of one window."""

    towards_nothing: torch.Tensor | None = None
    """Prediction without the portrait less that with it."""
    deep: dict[int, Deep] = field(default_factory=dict)
    """Of every branch."""

    def clear(self) -> None:
        """Forget everything."""
        self.towards_nothing = None
        self.deep.clear()


@dataclass(frozen=True)
class Denoiser:
    """Predicts v with guidance; a `sampling.Predict`."""

    unet: UNet
    """Filled."""
    conditioning: Conditioning
    guidance: Guidance = field(default_factory=Guidance)
    head: float = 1.0
    """Strength of head motion."""
    expression: float = 1.0
    """Strength of mouth and expression."""
    batched: bool = False
    """All branches in one call; one after the other takes a third of the activations."""
    load_layer: LayerLoader | None = None
    """Brings the weights of one layer after another, where they rest elsewhere: one call for all branches."""
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    """Of steps that are not the first of a group."""
    poll: Poll | None = None
    """Called between the layers; what it raises ends the call there."""
    cached: GroupCache = field(default_factory=GroupCache, init=False, repr=False, compare=False)

    def __call__(
        self, x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool = True
    ) -> torch.Tensor:
        """v, [window, 4, height, width], on the network's device, for scaled latents of the same shape.

        Latents and frames may wait in main memory: all that has to cross to the device does so here.

        Raises:
            RuntimeError: not the first step of its group, and there was none before.
        """
        if first:
            self.cached.clear()
        portrait = self.conditioning.portrait
        call = Call(
            self.unet,
            self.conditioning.branches(frames.cpu()),
            moment.timestep.to(portrait.device),
            self.ids(frames.cpu()).to(portrait.device),
            self.batched,
            self.load_layer,
            self.poll,
            self.shortcuts.tolerance,
        )
        return self.guided(call, x.to(portrait), moment, first, self.guidance.branches(float(moment.sigma)))

    def guided(
        self,
        call: Call,
        x: torch.Tensor,
        moment: Moment,
        first: bool = True,
        wanted: tuple[int, ...] = BRANCHES,
    ) -> torch.Tensor:
        """The same with everything on the device; the processor never waits for it. `wanted` are the branches
        that count at this noise level."""
        portrait = self.conditioning.portrait
        inputs = [torch.cat([x, part.expand_as(x)], dim=1) for part in (torch.zeros_like(portrait), portrait)]
        branches = self.shortcuts.branches(wanted, first)
        deep = self.cached.deep if self.shortcuts.deep_features else None
        if deep is not None and not (first or deep):
            raise RuntimeError("no first step of this group was computed")
        predictions = dict(zip(branches, call(torch.stack(inputs), branches, deep), strict=True))
        if self.shortcuts.null_branch and NOTHING in wanted:
            self._complete(predictions)
        return self.guidance.combined(predictions, moment.step, moment.steps)

    def forget(self) -> None:
        """Free what the last window left; the next one would overwrite it."""
        self.cached.clear()

    def ids(self, frames: torch.Tensor) -> torch.Tensor:
        """The conditioning on motion in a window, float32 [1, 3]; all in main memory."""
        return added_time_ids(self.conditioning.buckets, frames, self.head, self.expression)

    def _complete(self, predictions: dict[int, torch.Tensor]) -> None:
        """Remember how the branch without portrait differs, or make it up from what was remembered."""
        beside = predictions.get(IMAGE, predictions[BOTH])
        if NOTHING in predictions:
            self.cached.towards_nothing = predictions[NOTHING] - beside
        elif self.cached.towards_nothing is None:
            raise RuntimeError("no first step of this group was computed")
        else:
            predictions[NOTHING] = beside + self.cached.towards_nothing


@dataclass(frozen=True)
class Call:
    """The branches of one window at one step."""

    unet: UNet
    branches: tuple[Branch, ...]
    """All, of `Conditioning.branches`."""
    timestep: torch.Tensor
    ids: torch.Tensor
    """float32 [1, 3]."""
    batched: bool = False
    load_layer: LayerLoader | None = None
    poll: Poll | None = None
    tolerance: float = math.inf
    """Of `Shortcuts`."""

    def __call__(
        self,
        inputs: torch.Tensor,
        branches: tuple[int, ...] = BRANCHES,
        deep: dict[int, Deep] | None = None,
    ) -> list[torch.Tensor]:
        """Predictions [frames, 4, height, width] of these branches.

        Args:
            inputs: [2, frames, 8, height, width], without the portrait and with it.
            branches: whose.
            deep: what the inner layers gave, by branch: taken where it is there, else left; None for neither.
        """
        if self.batched or self.load_layer:
            return self._predicted(inputs, branches, Cache(tolerance=self.tolerance), deep)
        found: list[torch.Tensor] = []
        first = None
        for number, branch in enumerate(branches):
            # What comes before the first cross-attention is the same for two with the same input, to the bit.
            alike = {self.branches[each].input for each in branches[number : number + 2]}
            again = number + 1 < len(branches) and len(alike) == 1
            cache = Cache(first, leaves_first=again, tolerance=self.tolerance)
            found += self._predicted(inputs, (branch,), cache, deep)
            first = cache.first
        return found

    def _predicted(
        self,
        inputs: torch.Tensor,
        branches: tuple[int, ...],
        cache: Cache,
        deep: dict[int, Deep] | None,
    ) -> list[torch.Tensor]:
        """Of branches whose inputs are on end, in one call."""
        used = [self.branches[branch] for branch in branches]
        start = used[0].input
        x = inputs[start : used[-1].input + 1]
        if deep is not None and all(branch in deep for branch in branches):
            cache.deep = Deep.joined([deep[branch] for branch in branches])
        cache.leaves_deep = deep is not None
        own = [replace(branch, input=branch.input - start) for branch in used]
        ids = self.ids.expand(len(x), -1)
        out = self.unet(x, self.timestep, ids, own, cache, self.load_layer, poll=self.poll)
        if deep is not None and cache.deep is not None:
            deep.update(zip(branches, cache.deep.split(len(branches)), strict=True))
        return list(out)
