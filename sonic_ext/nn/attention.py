"""Cross-attention to the portrait and the speech, on an unforked diffusers UNet.

Each cross-attention of the UNet gets a processor with a second key and value projection for audio
(decoupled as in IP-Adapter, arXiv 2308.06721; masked by the face as in Sonic, arXiv 2411.16331).
The processors take no context from the UNet's arguments: `conditioned(unet, window)` hands it to them.
That makes four exact savings possible:

* the portrait is one token, and attention over one key is its value: no query, no key;
* the temporal layers see the mean over the window, the same for every pixel: projected once per branch,
  and attended to by all pixels as one long list of queries;
* where the face mask is zero, the spatial layers' output does not depend on the pixel: it is computed once;
* tokens do not change over the steps: projections are kept per video (`Tokens.keep`), those of tokens
  that are the same for every frame always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

DENSE = 0.9
"""From this share of face pixels on, the spatial attention takes all: picking costs more than it saves."""


class Tokens:
    """Context tokens of a video, [frames, tokens, width], and what projections make of them.

    One frame means: the same for every frame.
    """

    def __init__(self, values: torch.Tensor, keep: bool = False) -> None:
        """`keep` remembers all projections: 2 · tokens · width values for every frame and layer."""
        if values.ndim != 3:
            raise ValueError(f"tokens are [frames, tokens, width], not {list(values.shape)}")
        self.values = values
        self.constant = len(values) == 1
        self.keep = keep or self.constant
        # Weak: what is remembered must not keep a network in memory that was let go.
        self._kept: WeakKeyDictionary[nn.Module, torch.Tensor] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.values)

    def of(self, frames: torch.Tensor, device: torch.device) -> Tokens:
        """Those of a window alone, on a device."""
        return Tokens(self.values.index_select(0, frames.to(self.values.device)).to(device))

    def projected(self, linear: nn.Module, frames: torch.Tensor | None) -> torch.Tensor:
        """[frames or 1, tokens, out] of the frames asked for, all when None."""
        if not self.keep:
            return linear(self._at(self.values, frames))
        return self._at(self._remembered(linear), frames)

    def averaged(self, frames: torch.Tensor | None) -> torch.Tensor:
        """Mean over the frames, [1, tokens, width]."""
        return self._at(self.values, frames).mean(dim=0, keepdim=True)

    def _at(self, values: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
        return values if frames is None or self.constant else values.index_select(0, frames)

    def _remembered(self, linear: nn.Module) -> torch.Tensor:
        if linear not in self._kept:
            self._kept[linear] = linear(self.values)
        return self._kept[linear]


class View:
    """The tokens of one window."""

    def __init__(self, tokens: Tokens, frames: torch.Tensor | None) -> None:
        self.tokens = tokens
        self.frames = frames
        self._means: dict[nn.Module, torch.Tensor] = {}

    def part(self, frames: slice, count: int) -> View:
        """Of some of the window's `count` frames."""
        if self.tokens.constant:
            return self
        own = self.frames
        own = torch.arange(count, device=self.tokens.values.device) if own is None else own
        return View(self.tokens, own[frames])

    def per_frame(self, linear: nn.Module) -> torch.Tensor:
        """Projected, [frames or 1, tokens, out]."""
        return self.tokens.projected(linear, self.frames)

    def mean(self, linear: nn.Module) -> torch.Tensor:
        """Mean over the window, projected: [1, tokens, out]."""
        if linear not in self._means:
            self._means[linear] = self._mean(linear)
        return self._means[linear]

    def _mean(self, linear: nn.Module) -> torch.Tensor:
        if self.tokens.keep:
            # The projection has no bias and is linear: the mean of projections is the projection of the mean.
            return self.per_frame(linear).mean(dim=0, keepdim=True)
        return linear(self.tokens.averaged(self.frames))


@dataclass(frozen=True)
class Branch:
    """What one branch of guidance sees in a window."""

    clip: View
    """The portrait: one token a frame."""
    audio: View
    """The speech."""

    def __post_init__(self) -> None:
        if self.clip.tokens.values.shape[1] != 1:
            raise ValueError("the portrait is one token a frame")


@dataclass(frozen=True)
class Level:
    """The face mask on one grid of the UNet."""

    weights: torch.Tensor
    """[pixels, 1]; of the face's pixels only when `face` is given."""
    face: torch.Tensor | None = None
    """Indices of the pixels where the mask is not zero; None means all."""

    def to(self, device: torch.device | str) -> Level:
        """The same on another device."""
        return Level(self.weights.to(device), None if self.face is None else self.face.to(device))

    @classmethod
    def of(cls, mask: torch.Tensor, sparse: bool = True) -> Level:
        """From a mask [height, width] of that grid."""
        weights = mask.reshape(-1, 1)
        face = weights[:, 0].nonzero()[:, 0]
        if not sparse or len(face) >= DENSE * len(weights):
            return cls(weights)
        return cls(weights.index_select(0, face), face)


@dataclass(frozen=True)
class Window:
    """The conditioning of one UNet call."""

    branches: tuple[Branch, ...]
    """In the order in which they are stacked in the batch."""
    levels: Mapping[int, Level] = field(default_factory=dict)
    """The face mask by count of pixels of a grid; empty means no mask."""

    @classmethod
    def of(
        cls,
        branches: list[tuple[Tokens, Tokens]],
        frames: torch.Tensor | None = None,
        levels: Mapping[int, Level] | None = None,
    ) -> Window:
        """From pairs of portrait and speech tokens, and the window's frames (int64 [frames])."""
        views = {id(tokens): View(tokens, frames) for pair in branches for tokens in pair}
        pairs = (Branch(views[id(clip)], views[id(audio)]) for clip, audio in branches)
        return cls(tuple(pairs), levels or {})

    def only(self, *branches: int) -> Window:
        """The same window with some of its branches."""
        return Window(tuple(self.branches[branch] for branch in branches), self.levels)

    def part(self, frames: slice, count: int) -> Window:
        """Some of the window's `count` frames: for layers that see one frame at a time."""
        parts = (
            Branch(each.clip.part(frames, count), each.audio.part(frames, count)) for each in self.branches
        )
        return Window(tuple(parts), self.levels)


class Slot:
    """Where the processors of one UNet look for their conditioning."""

    def __init__(self) -> None:
        self.window: Window | None = None

    def current(self) -> Window:
        """The window set by `conditioned`."""
        if self.window is None:
            raise RuntimeError("the UNet was called outside `with conditioned(unet, window):`")
        return self.window

    @contextmanager
    def showing(self, window: Window) -> Iterator[None]:
        """Within, the processors see this window."""
        before, self.window = self.window, window
        try:
            yield
        finally:
            self.window = before


class AudioProcessor(nn.Module):
    """The audio adapter of one cross-attention; subclasses say what a pixel attends to.

    Raises:
        ValueError: the batch is no multiple of the branches.
    """

    def __init__(self, hidden: int, context: int, slot: Slot, scale: float = 1.0) -> None:
        super().__init__()
        self.to_k_ip = nn.ModuleList([nn.Linear(context, hidden, bias=False)])
        self.to_v_ip = nn.ModuleList([nn.Linear(context, hidden, bias=False)])
        self.scale = scale
        """Strength of the audio."""
        self.slot = slot

    def forward(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Called by diffusers' `Attention`: [branches · n, length, hidden] to the same shape.

        Whatever else diffusers passes (context, masks) is not used.
        """
        window = self.slot.current()
        if len(hidden_states) % len(window.branches):
            raise ValueError(f"a batch of {len(hidden_states)} for {len(window.branches)} branches")
        parts = hidden_states.chunk(len(window.branches))
        done = [self._attend(attn, x, each, window) for x, each in zip(parts, window.branches, strict=True)]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _attend(self, attn: Any, x: torch.Tensor, branch: Branch, window: Window) -> torch.Tensor:
        raise NotImplementedError

    def _scaled(self, audio: torch.Tensor) -> torch.Tensor:
        return audio if self.scale == 1.0 else audio * self.scale


class SpatialProcessor(AudioProcessor):
    """Pixels of a frame attend to that frame's portrait token, and in the face to its audio tokens."""

    def _attend(self, attn: Any, x: torch.Tensor, branch: Branch, window: Window) -> torch.Tensor:
        """[frames, pixels, hidden]."""
        portrait = branch.clip.per_frame(attn.to_v)
        level = window.levels[x.shape[1]] if window.levels else None
        if level is None or level.face is None:
            return _out(attn, self._heard(attn, x, branch.audio, level) + portrait)
        still = _out(attn, portrait).expand_as(x)
        if not len(level.face):
            return still
        face = self._heard(attn, x.index_select(1, level.face), branch.audio, level)
        return still.index_copy(1, level.face, _out(attn, face.add_(portrait)))

    def _heard(self, attn: Any, x: torch.Tensor, audio: View, level: Level | None) -> torch.Tensor:
        keys, values = audio.per_frame(self.to_k_ip[0]), audio.per_frame(self.to_v_ip[0])
        heard = self._scaled(attention(attn.to_q(x), keys, values, attn.heads))
        return heard if level is None else heard * level.weights.to(heard.dtype)


class TemporalProcessor(AudioProcessor):
    """Frames of a pixel attend to the window's mean portrait token and mean audio tokens, everywhere."""

    def _attend(self, attn: Any, x: torch.Tensor, branch: Branch, window: Window) -> torch.Tensor:
        """[pixels, frames, hidden]."""
        keys, values = branch.audio.mean(self.to_k_ip[0]), branch.audio.mean(self.to_v_ip[0])
        heard = self._scaled(attention(attn.to_q(x), keys, values, attn.heads))
        return _out(attn, heard + branch.clip.mean(attn.to_v))


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention, [batch, length, hidden]; keys of batch 1 serve every query."""
    shape = query.shape
    if len(key) == 1:
        query = query.reshape(1, -1, shape[-1])
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    found = functional.scaled_dot_product_attention(query, key, value)
    return found.transpose(1, 2).reshape(shape)


def _out(attn: Any, x: torch.Tensor) -> torch.Tensor:
    linear, dropout = attn.to_out
    return dropout(linear(x))


def install(unet: nn.Module, scale: float = 1.0) -> None:
    """Give every cross-attention (`attn2`) of a UNet its audio processor; all share one slot."""
    slot = Slot()
    for name, attn in list(unet.named_modules()):
        if name.rsplit(".", 1)[-1] == "attn2":
            kind = TemporalProcessor if "temporal_transformer_blocks" in name else SpatialProcessor
            attn.set_processor(kind(attn.to_q.out_features, attn.to_k.in_features, slot, scale))


def processors(unet: nn.Module) -> Iterator[AudioProcessor]:
    """The audio processors in a module."""
    return (module for module in unet.modules() if isinstance(module, AudioProcessor))


@contextmanager
def conditioned(unet: nn.Module, window: Window) -> Iterator[None]:
    """Within, calls of `unet` (or of a part of it) see this window.

    Raises:
        ValueError: `install` was not called on it.
    """
    slot = next((processor.slot for processor in processors(unet)), None)
    if slot is None:
        raise ValueError("this network has no audio processors")
    with slot.showing(window):
        yield
