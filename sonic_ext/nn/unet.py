"""The denoising network: the spatio-temporal UNet of Stable Video Diffusion that also hears.

Blattmann et al., arXiv 2311.15127; each cross-attention has a second key and value projection for speech
(decoupled as in IP-Adapter, arXiv 2308.06721; masked by the face as in Sonic, arXiv 2411.16331). Modules are
named as the published keys are. A call keeps nothing: what is known of portrait, speech and face, what
earlier calls left and where the weights rest are arguments.

What makes it cheap is exact: the portrait is one token, and attention over one key is its value; temporal
layers attend to the window's mean, projected once and not for every pixel; outside of the face the spatial
layers add the same to every pixel; branches of guidance with the same input share all up to the first
cross-attention. `layers` has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .build import on_meta
from .layers import (
    GROUPS,
    LEAST,
    Blend,
    DoublingConvolution,
    FeedForward,
    ResidualBlock,
    SelfAttention,
    TemporalConvolution,
    attention,
    group_channels,
    in_pieces,
    in_place,
    pieces,
    room,
    summed,
)

DENSE = 0.9
"""From this share of face pixels on, the spatial attention takes all: picking costs more than it saves."""
COPIES = 4
"""Tensors as large as its input that a layer has at once; a piece of each has to find room."""
SMALLEST = 2**24
"""Bytes that they may have together in any case: cutting finer saves no time, even on a CPU."""


@dataclass(frozen=True)
class UNetConfig:
    """The network's size; the default is the published one's."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Of each level, from the finest grid to the coarsest."""
    heads: tuple[int, ...] = (5, 10, 20, 20)
    attended: tuple[bool, ...] = (True, True, True, False)
    """Levels with transformers."""
    layers: int = 2
    """Residual blocks of a level on the way down; one more on the way up."""
    depth: int = 1
    """Blocks of each kind in a transformer."""
    context: int = 1024
    """Width of the tokens of portrait and speech."""
    ids: int = 256
    """Width of the embedding of each of the three numbers that say how fast and how lively."""
    in_channels: int = 8
    out_channels: int = 4
    groups: int = GROUPS
    """Of channels that are normalized together."""


@dataclass(frozen=True)
class Level:
    """The face mask on one grid."""

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
class Branch:
    """What one branch of guidance (or one video of a batch) is conditioned on, in one window."""

    portrait: torch.Tensor
    """The image embedding, [frames or 1, 1, width]; one frame means: the same for every frame."""
    speech: torch.Tensor
    """Audio tokens, [frames or 1, tokens, width]."""
    face: Mapping[int, Level] = field(default_factory=dict)
    """The face mask by count of pixels of a grid; empty means no mask."""
    input: int = 0
    """Which of a call's inputs is its own. Branches with the same input share their first layers."""

    def __post_init__(self) -> None:
        if self.portrait.ndim != 3 or self.portrait.shape[1] != 1 or self.speech.ndim != 3:
            raise ValueError(
                f"portrait and speech are [frames, 1, width] and [frames, tokens, width], "
                f"not {list(self.portrait.shape)} and {list(self.speech.shape)}"
            )

    def part(self, frames: slice) -> Branch:
        """Some of the window's frames: for layers that see one frame at a time."""
        portrait, speech = (x if len(x) == 1 else x[frames] for x in (self.portrait, self.speech))
        return replace(self, portrait=portrait, speech=speech)


@dataclass(frozen=True)
class First:
    """What the layers before the first cross-attention gave."""

    entered: torch.Tensor
    """After the first convolution, [frames, channels, height, width]."""
    residual: torch.Tensor
    """After the first residual block."""
    attended: torch.Tensor | None
    """After the first attention of pixels to each other, [frames, pixels, channels]."""


@dataclass(frozen=True)
class Deep:
    """What the inner layers gave. Between steps close to each other it hardly changes (DeepCache, arXiv
    2312.00858): what takes it is not exact."""

    given: torch.Tensor
    """To the last block, [branches · frames, channels, height, width]."""
    entered: torch.Tensor | None = None
    """What they were given themselves, in the same order; None where nobody asks how much that changes."""

    @classmethod
    def joined(cls, parts: Sequence[Deep]) -> Deep:
        """Of several branches, in their order."""
        entered = [part.entered for part in parts if part.entered is not None]
        return cls(torch.cat([part.given for part in parts]), torch.cat(entered) if entered else None)

    def split(self, branches: int) -> list[Deep]:
        """Of each branch by itself."""
        entered = [None] * branches if self.entered is None else self.entered.chunk(branches)
        return [Deep(*pair) for pair in zip(self.given.chunk(branches), entered, strict=True)]

    def stands_for(self, entered: torch.Tensor, tolerance: float) -> bool:
        """Whether what they would be given now has changed by no more than that (mean of the changes over
        mean of the values), as TeaCache (arXiv 2411.19108) and first-block caches ask."""
        if self.entered is None:
            return True
        change = (entered - self.entered).abs().mean() / self.entered.abs().mean()
        return float(change) <= tolerance


@dataclass
class Cache:
    """What a call leaves to later ones; whoever calls holds it. What is there is taken, not computed."""

    first: First | None = None
    """Exact for a call with the same input, time and ids."""
    deep: Deep | None = None
    """Taken as long as it `stands_for` what it would be now."""
    leaves_first: bool = False
    leaves_deep: bool = False
    """Whether a call leaves them here."""
    tolerance: float = math.inf
    """Of `Deep.stands_for`; infinity: what is there is taken in any case."""


LayerLoader = Callable[[nn.Module], AbstractContextManager[object]]
"""Within, a layer's weights are on the device."""
Poll = Callable[[], None]
"""Asks whether to go on, and raises where not."""


class CrossAttention(nn.Module):
    """To portrait and speech. `to_k` is there because files hold it: with one key it changes nothing."""

    def __init__(self, hidden: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(hidden, hidden, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, hidden, bias=False) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(hidden, hidden)])
        self.processor = SpeechProjections(hidden, context)

    def in_space(self, x: torch.Tensor, norm: nn.Module, branch: Branch) -> torch.Tensor:
        """`x` [frames, pixels, hidden] and what each pixel attends to, in place of `x` where that may be: its
        frame's portrait token, and in the face its frame's speech."""
        portrait = self.to_v(branch.portrait)
        level = branch.face[x.shape[1]] if branch.face else None
        face = None if level is None else level.face
        rows = x if face is None else x.index_select(1, face)
        attended = self._attend_speech(norm(rows), branch.speech)
        if level is not None:
            attended = attended * level.weights.to(attended.dtype)
        own = self.to_out[0](attended + portrait)
        if face is None:
            return summed(x, own)
        x, rows = summed(x, self.to_out[0](portrait)), summed(rows, own)
        return x.index_copy_(1, face, rows) if in_place() else x.index_copy(1, face, rows)

    def in_time(self, x: torch.Tensor, norm: nn.Module, branch: Branch) -> torch.Tensor:
        """`x` [pixels, frames, hidden] and what each frame attends to: the window's mean tokens."""
        portrait, speech = (tokens.mean(dim=0, keepdim=True) for tokens in (branch.portrait, branch.speech))
        return summed(x, self.to_out[0](self._attend_speech(norm(x), speech) + self.to_v(portrait)))

    def _attend_speech(self, x: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
        keys, values = self.processor.to_k_ip[0](speech), self.processor.to_v_ip[0](speech)
        return attention(self.to_q(x), keys, values, self.heads)


class SpeechProjections(nn.Module):
    """Keys and values of the audio tokens."""

    def __init__(self, hidden: int, context: int) -> None:
        super().__init__()
        self.to_k_ip, self.to_v_ip = (
            nn.ModuleList([nn.Linear(context, hidden, bias=False)]) for _ in range(2)
        )


class SpatialBlock(nn.Module):
    """Pixels of a frame attend to each other and to the context; frames do not know each other."""

    def __init__(self, hidden: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(hidden) for _ in range(3))
        self.attn1 = SelfAttention(hidden, heads)
        self.attn2 = CrossAttention(hidden, heads, context)
        self.ff = FeedForward(hidden)

    def forward(self, x: torch.Tensor, branches: Sequence[Branch], attended: bool = False) -> torch.Tensor:
        """[branches · frames, pixels, hidden], into a new tensor; `attended`: `attend` gave `x`."""
        parts = x.unflatten(0, (len(branches), -1))
        frames = parts.shape[1]
        begin = torch.clone if attended else self.attend
        if not in_place():
            done = [self._informed(begin(part), each) for part, each in zip(parts, branches, strict=True)]
            return torch.cat(done)
        step = frames_together(x)
        if len(parts) == 1 and step >= frames:
            return self._informed(begin(x), branches[0])
        out = torch.empty_like(parts)
        for part, end, branch in zip(parts, out, branches, strict=True):
            for piece in pieces(frames, step):
                end[piece] = self._informed(begin(part[piece]), branch.part(piece))
        return out.flatten(0, 1)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """`x` and what its pixels attend to in each other, into a new tensor."""
        return x + self.attn1(self.norm1(x))

    def _informed(self, x: torch.Tensor, branch: Branch) -> torch.Tensor:
        return self.ff.added(self.attn2.in_space(x, self.norm2, branch), self.norm3)


class TemporalBlock(nn.Module):
    """Frames of a pixel attend to each other and to the context; pixels do not know each other."""

    def __init__(self, hidden: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm_in, self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(hidden) for _ in range(4))
        self.ff_in, self.ff = FeedForward(hidden), FeedForward(hidden)
        self.attn1 = SelfAttention(hidden, heads)
        self.attn2 = CrossAttention(hidden, heads, context)

    def forward(self, x: torch.Tensor, places: torch.Tensor, branches: Sequence[Branch]) -> torch.Tensor:
        """[branches · frames, pixels, hidden] and the places in time [frames, hidden], into a new tensor."""
        parts = x.unflatten(0, (len(branches), -1)).transpose(1, 2)
        if not in_place():
            done = [self._piece(part + places, branch) for part, branch in zip(parts, branches, strict=True)]
            return torch.stack(done).transpose(1, 2).flatten(0, 1)
        out = torch.empty_like(x)
        target = out.unflatten(0, (len(branches), -1)).transpose(1, 2)
        step = max(1, rows_together(x) // len(places))
        for part, end, branch in zip(parts, target, branches, strict=True):
            for piece in pieces(len(part), step):
                begun = torch.add(part[piece], places, out=x.new_empty(part[piece].shape))
                end[piece] = self._piece(begun, branch)
        return out

    def _piece(self, x: torch.Tensor, branch: Branch) -> torch.Tensor:
        """[pixels, frames, hidden]."""
        x = self.ff_in.added(x, self.norm_in)
        x = x + self.attn1(self.norm1(x))
        return self.ff.added(self.attn2.in_time(x, self.norm2, branch), self.norm3)


def rows_together(x: torch.Tensor) -> int:
    """Rows of [..., hidden] in a piece."""
    return max(LEAST, max(SMALLEST, room(x)) // (COPIES * x.shape[-1] * x.element_size()))


def frames_together(x: torch.Tensor) -> int:
    """Frames of [frames, pixels, hidden] in a piece."""
    return max(1, rows_together(x) // x.shape[1])


class Transformer(nn.Module):
    """Blocks in space and in time by turns, around which pictures are rows of pixels."""

    def __init__(self, channels: int, heads: int, config: UNetConfig) -> None:
        super().__init__()
        size = channels, heads, config.context
        self.norm = nn.GroupNorm(GROUPS, channels, 1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(SpatialBlock(*size) for _ in range(config.depth))
        self.temporal_transformer_blocks = nn.ModuleList(TemporalBlock(*size) for _ in range(config.depth))
        self.time_pos_embed = Embedding(channels, 4 * channels, channels)
        self.time_mixer = Blend()

    def forward(
        self, x: torch.Tensor, branches: Sequence[Branch], attended: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[branches · frames, channels, height, width]; `attended` is what `attend` made of `x`."""
        frames = len(x) // len(branches)
        places = self.time_pos_embed(torch.arange(frames, device=x.device), x.dtype)
        rows = self._entered(x) if attended is None else attended
        known = attended is not None
        for space, time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            rows = space(rows, branches, known)
            rows, known = self.time_mixer(rows, time(rows, places, branches)), False
        rows = self.proj_out(rows).unflatten(1, x.shape[-2:]).movedim(-1, 1).contiguous()
        return summed(rows, x)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """What comes before the first cross-attention, [branches · frames, pixels, channels]."""
        rows = self._entered(x)
        step = frames_together(rows) if in_place() else len(rows)
        return in_pieces(self.transformer_blocks[0].attend, rows, step)

    def _entered(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj_in(self.norm(x).flatten(2).transpose(1, 2))


class Embedding(nn.Module):
    """Numbers as sines and cosines, and two layers on them."""

    def __init__(self, width: int, inner: int, out: int, count: int = 1) -> None:
        super().__init__()
        self.width = width
        self.linear_1, self.linear_2 = nn.Linear(count * width, inner), nn.Linear(inner, out)

    def forward(self, numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[n, out] of [n] or [n, count]."""
        waves = sinusoids(numbers.flatten(), self.width).reshape(len(numbers), -1).to(dtype)
        return self.linear_2(functional.silu(self.linear_1(waves)))


def sinusoids(numbers: torch.Tensor, width: int) -> torch.Tensor:
    """[n, width], float32: cosines, then sines, with periods up to 10,000 · 2 pi."""
    half = torch.arange(width // 2, dtype=torch.float32, device=numbers.device)
    angles = numbers.float()[:, None] * torch.exp(-math.log(10_000) * half / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class SpatioTemporalResidual(nn.Module):
    """A residual block in space and one in time, blended."""

    def __init__(self, channels: int, out: int, embedded: int, eps: float) -> None:
        super().__init__()
        self.spatial_res_block = ResidualBlock(
            channels, out, embedded, partial(nn.Conv2d, kernel_size=3, padding=1), eps
        )
        self.temporal_res_block = ResidualBlock(out, out, embedded, TemporalConvolution, eps)
        self.time_mixer = Blend()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """[branches · frames, channels, height, width]; embedding [branches, frames or 1, width]."""
        x = self.spatial_res_block(x, embedding.flatten(0, 1))
        x = x.unflatten(0, (len(embedding), -1)).transpose(1, 2)
        return self.time_mixer(x, self.temporal_res_block(x, embedding)).transpose(1, 2).flatten(0, 1)


class Resampling(nn.Module):
    """A convolution that halves or doubles the grid."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels, height, width]."""
        return self.conv(x)


@dataclass(frozen=True)
class CallContext:
    """What the layers of one call need, for every part of its batch.

    Lists of a tensor for each part in, new lists out; the old ones are emptied, so that no caller keeps what
    nobody needs any more.
    """

    parts: Sequence[Sequence[Branch]]
    """The batch, or its branches one by one."""
    embeddings: Sequence[torch.Tensor]
    """Of time and motion, [branches of the part, 1, width]."""
    load_layer: LayerLoader
    run: Callable[..., torch.Tensor]
    """Calls a layer; its activations are kept for the backward pass or made again there."""

    def residual(self, layer: nn.Module, xs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Through a residual block."""
        with self.load_layer(layer):
            return [self.run(layer, xs.pop(0), each) for each in self.embeddings]

    def transformed(self, layer: nn.Module, xs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Through a transformer."""
        with self.load_layer(layer):
            return [self.run(layer, xs.pop(0), part) for part in self.parts]

    def resampled(self, layer: nn.Module, xs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Through a convolution."""
        with self.load_layer(layer):
            return [layer(xs.pop(0)) for _ in self.parts]


class Block(nn.Module):
    """Residual blocks on one grid, each with a transformer after it where the grid has them."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], heads: int | None, eps: float, config: UNetConfig
    ) -> None:
        super().__init__()
        embedded = 4 * config.channels[0]
        self.resnets = nn.ModuleList(
            SpatioTemporalResidual(channels, out, embedded, eps) for channels, out in widths
        )
        if heads is not None:
            self.attentions = nn.ModuleList(Transformer(out, heads, config) for _, out in widths)

    def layer(self, number: int, xs: list[torch.Tensor], call: CallContext) -> list[torch.Tensor]:
        """One residual block and its transformer."""
        xs = call.residual(self.resnets[number], xs)
        return call.transformed(self.attentions[number], xs) if hasattr(self, "attentions") else xs


class DownBlock(Block):
    """A level on the way to coarser grids."""

    def __init__(self, level: int, config: UNetConfig) -> None:
        own, before = config.channels[level], config.channels[max(level - 1, 0)]
        widths = [(before, own)] + [(own, own)] * (config.layers - 1)
        heads, eps = (config.heads[level], 1e-6) if config.attended[level] else (None, 1e-5)
        super().__init__(widths, heads, eps, config)
        if level + 1 < len(config.channels):
            halving = nn.Conv2d(own, own, 3, stride=2, padding=1)
            self.downsamplers = nn.ModuleList([Resampling(halving)])

    def forward(
        self, xs: list[torch.Tensor], skipped: list[list[torch.Tensor]], call: CallContext, start: int = 0
    ) -> list[torch.Tensor]:
        """Layers from `start` on; leaves in `skipped` what the way up takes, of every layer."""
        for number in range(start, len(self.resnets)):
            xs = self.layer(number, xs, call)
            skipped.append(list(xs))
        return xs

    def down(
        self, xs: list[torch.Tensor], skipped: list[list[torch.Tensor]], call: CallContext
    ) -> list[torch.Tensor]:
        """To the next grid, where there is one; the way up takes that, too."""
        if hasattr(self, "downsamplers"):
            xs = call.resampled(self.downsamplers[0], xs)
            skipped.append(list(xs))
        return xs


class MidBlock(Block):
    """The coarsest grid: a residual block, a transformer, a residual block."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__([(config.channels[-1],) * 2] * 2, None, 1e-5, config)
        self.attentions = nn.ModuleList([Transformer(config.channels[-1], config.heads[-1], config)])

    def forward(self, xs: list[torch.Tensor], call: CallContext) -> list[torch.Tensor]:
        """[branches · frames, channels, height, width]."""
        xs = call.transformed(self.attentions[0], call.residual(self.resnets[0], xs))
        return call.residual(self.resnets[1], xs)


class UpBlock(Block):
    """A level on the way back; each residual block also takes what the way down left."""

    def __init__(self, level: int, config: UNetConfig) -> None:
        own, last = config.channels[level], len(config.channels) - 1
        coarser, finer = config.channels[min(level + 1, last)], config.channels[max(level - 1, 0)]
        entering = [coarser] + [own] * config.layers
        skipped = [own] * config.layers + [finer]
        widths = [(one + other, own) for one, other in zip(entering, skipped, strict=True)]
        super().__init__(widths, config.heads[level] if config.attended[level] else None, 1e-6, config)
        if level > 0:
            self.upsamplers = nn.ModuleList([Resampling(DoublingConvolution(own))])

    def forward(
        self, xs: list[torch.Tensor], skipped: list[list[torch.Tensor]], call: CallContext
    ) -> list[torch.Tensor]:
        """[branches · frames, channels, height, width]; each layer takes one more off `skipped`."""
        for number in range(len(self.resnets)):
            xs = [torch.cat([xs.pop(0), each], dim=1) for each in skipped.pop()]
            xs = self.layer(number, xs, call)
        return call.resampled(self.upsamplers[0], xs) if hasattr(self, "upsamplers") else xs


class UNet(nn.Module):
    """Predicts the velocity of latents. See the module's text."""

    def __init__(self, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        channels, levels = config.channels, range(len(config.channels))
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.time_embedding = Embedding(channels[0], 4 * channels[0], 4 * channels[0])
        self.add_embedding = Embedding(config.ids, 4 * channels[0], 4 * channels[0], count=3)
        self.down_blocks = nn.ModuleList(DownBlock(level, config) for level in levels)
        self.mid_block = MidBlock(config)
        self.up_blocks = nn.ModuleList(UpBlock(level, config) for level in reversed(levels))
        self.conv_norm_out = nn.GroupNorm(GROUPS, channels[0], 1e-5)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)
        group_channels(self, config.groups)

    def forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        ids: torch.Tensor,
        branches: Sequence[Branch],
        cache: Cache | None = None,
        load_layer: LayerLoader | None = None,
        checkpointed: bool = False,
        poll: Poll | None = None,
    ) -> torch.Tensor:
        """One call.

        Args:
            x: [inputs, frames, 8, height, width]: scaled latents and the portrait's latent.
            timestep: scalar or [inputs], the continuous time.
            ids: [inputs, 3]: frames per second, head bucket, expression bucket.
            branches: the conditioning; each names its input.
            cache: what an earlier call left, or room for what this one leaves.
            load_layer: brings the weights of one layer after another; branches then go through each layer one
                by one, so that weights cross once.
            checkpointed: activations are made again in the backward pass instead of kept.
            poll: called before each layer; what it raises ends the call there.

        Returns:
            [branches, frames, 4, height, width], the predicted velocity.
        """
        at, cache = _polled(poll, load_layer or _loaded_already), cache or Cache()
        parts = [[branch] for branch in branches] if load_layer else [list(branches)]
        with at(self.time_embedding):
            embedding = self.time_embedding(timestep.expand(len(x)), x.dtype)
        with at(self.add_embedding):
            embedding = (embedding + self.add_embedding(ids, x.dtype))[:, None]  # the same for every frame
        call = CallContext(
            parts,
            [_chosen(embedding, part) for part in parts],
            at,
            partial(checkpoint, use_reentrant=False) if checkpointed else _kept,
        )
        skipped: list[list[torch.Tensor]] = []
        xs = self._entered(x, embedding, cache, skipped, call)
        xs = self.down_blocks[0](xs, skipped, call, start=1)
        entered = torch.cat(xs) if math.isfinite(cache.tolerance) else None
        if cache.deep is None or (
            entered is not None and not cache.deep.stands_for(entered, cache.tolerance)
        ):
            xs = self.down_blocks[0].down(xs, skipped, call)
            for block in self.down_blocks[1:]:
                xs = block.down(block(xs, skipped, call), skipped, call)
            xs = self.mid_block(xs, call)
            for block in self.up_blocks[:-1]:
                xs = block(xs, skipped, call)
            if cache.leaves_deep:
                cache.deep = Deep(torch.cat(xs), entered)
        else:
            xs = list(cache.deep.given.chunk(len(parts)))
        xs = self.up_blocks[-1](xs, skipped, call)
        with at(self.conv_norm_out), at(self.conv_out):
            done = [self.conv_out(functional.silu(self.conv_norm_out(each))) for each in xs]
        return torch.cat(done).unflatten(0, (len(branches), -1))

    def _entered(
        self,
        x: torch.Tensor,
        embedding: torch.Tensor,
        cache: Cache,
        skipped: list[list[torch.Tensor]],
        call: CallContext,
    ) -> list[torch.Tensor]:
        """Through the first convolution and layer; once for each input what knows nothing of the branches."""
        block, known = self.down_blocks[0], cache.first
        if known is None:
            with call.load_layer(self.conv_in):
                entered = self.conv_in(x.flatten(0, 1))
            with call.load_layer(block.resnets[0]):
                known = First(entered, call.run(block.resnets[0], entered, embedding), None)
        cache.first = known if cache.leaves_first else None
        skipped.append(self._of_parts(known.entered, len(x), call))
        xs = self._of_parts(known.residual, len(x), call)
        if hasattr(block, "attentions"):
            layer = block.attentions[0]
            with call.load_layer(layer):
                if known.attended is None:
                    known = replace(known, attended=call.run(layer.attend, known.residual))
                    cache.first = known if cache.leaves_first else None
                begun = self._of_parts(known.attended, len(x), call)
                del known
                xs = [call.run(layer, xs.pop(0), part, begun.pop(0)) for part in call.parts]
        skipped.append(list(xs))
        return xs

    @staticmethod
    def _of_parts(tensor: torch.Tensor, inputs: int, call: CallContext) -> list[torch.Tensor]:
        """For every part of the batch, its branches' inputs."""
        each = tensor.unflatten(0, (inputs, -1))
        return [_chosen(each, part).flatten(0, 1) for part in call.parts]


def _kept(layer: Callable[..., torch.Tensor], *args: object) -> torch.Tensor:
    return layer(*args)


def _polled(poll: Poll | None, load_layer: LayerLoader) -> LayerLoader:
    def loaded(layer: nn.Module) -> AbstractContextManager[object]:
        if poll is not None:
            poll()
        return load_layer(layer)

    return loaded


def _loaded_already(_: nn.Module) -> AbstractContextManager[object]:
    return nullcontext()


def _chosen(tensor: torch.Tensor, part: Sequence[Branch]) -> torch.Tensor:
    """Items of the inputs that the branches have: the tensor itself where that is all, in order."""
    wanted = [branch.input for branch in part]
    if wanted == list(range(wanted[0], wanted[-1] + 1)):
        return tensor[wanted[0] : wanted[-1] + 1]
    return torch.stack([tensor[each] for each in wanted])


def build_unet(config: UNetConfig = UNetConfig()) -> UNet:
    """On the meta device."""
    return on_meta(lambda: UNet(config))
