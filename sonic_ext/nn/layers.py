"""Layers of the UNet, cheaper than the plain ones and equal to them but for rounding.

Where no gradient is asked for, sums go in place of their first term, and what knows only its own row (a
pixel of a frame) is done in pieces: on a CPU a piece stays in the cache, on a GPU it bounds the largest
tensor. While a gradient is asked for, or a compiler looks on, the same layers do without either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

GROUPS = 32
"""Of channels that are normalized together, in the published networks."""
CACHE = 2**22
"""Bytes of the widest tensor of a piece on a CPU: the second-level caches of two cores."""
BOUND = 2**27
"""The same elsewhere: enough work for the whole of a GPU."""
LEAST = 512
"""Rows that go together in any case: matrices with fewer are multiplied no faster."""
ALIGNED = 16
"""Values by which a row grows: 64 bytes, a line of the cache."""


def in_place() -> bool:
    """Whether tensors may be written over: nobody asks for gradients, nobody traces."""
    compiling: Callable[[], bool] = getattr(torch.compiler, "is_compiling", bool)  # from torch 2.3 on
    return not (torch.is_grad_enabled() or compiling())


def summed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """In place of `x` where that may be."""
    return x.add_(y) if in_place() else x + y


def accumulates(x: torch.Tensor, *layers: nn.Module) -> bool:
    """Whether what these layers make may be added to `x` as it is made: on a CPU, in single precision.

    On a CPU a matrix product with a bias first copies the bias to the result, and whoever adds the result to
    something reads and writes all of it once more: where rows are short, passes over memory that take as long
    as the product. Other devices add the bias within the product, and other types would round every sum.
    """
    if not in_place() or not x.is_contiguous() or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return all(layer.weight.dtype == x.dtype and layer.bias is not None for layer in layers)


def room(x: torch.Tensor) -> int:
    """Bytes that a piece may have where `x` lies."""
    return CACHE if x.device.type == "cpu" else BOUND


def in_pieces(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, step: int) -> torch.Tensor:
    """What a layer makes of `x`, `step` items at a time, into a new tensor of the same shape."""
    if step >= len(x):
        return layer(x)
    done = torch.empty_like(x)
    for piece in pieces(len(x), step):
        done[piece] = layer(x[piece])
    return done


def pieces(length: int, step: int) -> Iterator[slice]:
    """Slices of `step` and a shorter last one."""
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention, [batch, length, hidden]; keys of batch 1 serve every query."""
    shape = query.shape
    if len(key) == 1:
        query = query.reshape(1, -1, shape[-1])
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    out = functional.scaled_dot_product_attention(query, key, value)
    return out.transpose(1, 2).reshape(shape)


class SelfAttention(nn.Module):
    """Rows of one sequence attend to each other."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(hidden, hidden)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, hidden]."""
        return self.to_out[0](attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class Gate(nn.Module):
    """The first layer of `FeedForward`: values and gates."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(hidden, 2 * inner)


class FeedForward(nn.Module):
    """Gated by GELU, four times as wide inside (Shazeer, arXiv 2002.05202)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Gate(hidden, 4 * hidden), nn.Identity(), nn.Linear(4 * hidden, hidden)])

    def added(self, x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
        """`x` and what becomes of `norm(x)`, [..., hidden]; in place of `x` where that may be."""
        first, last = self.net[0].proj, self.net[2]
        if not in_place():
            return x + self.piece(norm(x))
        rows = x.view(-1, x.shape[-1])
        if accumulates(x, first, last):
            self._accumulated(rows, norm)
            return x
        for piece in rows.split(max(LEAST, room(rows) // (first.out_features * rows.element_size()))):
            piece.add_(self.piece(norm(piece)))
        return x

    def piece(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., hidden], all at once."""
        value, gate = self.net[0].proj(rows).chunk(2, dim=-1)
        return self.net[2](functional.gelu(gate) * value)

    def _accumulated(self, rows: torch.Tensor, norm: nn.LayerNorm) -> None:
        """The bias of the first layer is one more weight, of an input that is always 1."""
        first, last = self.net[0].proj, self.net[2]
        inner, hidden = last.in_features, rows.shape[1]
        step = min(len(rows), max(LEAST, room(rows) // (inner * rows.element_size())))
        value, gate = torch.cat([first.weight, first.bias[:, None]], dim=1).t().chunk(2, dim=1)
        inputs = rows.new_ones(step, hidden + ALIGNED)[:, : hidden + 1]
        halves = rows.new_empty(2, step, inner)
        for piece in rows.split(step):
            source, (values, gates) = inputs[: len(piece)], halves[:, : len(piece)]
            source[:, :-1] = norm(piece)
            torch.ops.aten.gelu_(torch.mm(source, gate, out=gates))
            gates.mul_(torch.mm(source, value, out=values))
            torch.addmm(piece.add_(last.bias), gates, last.weight.t(), out=piece)


class TemporalConvolution(nn.Conv3d):
    """A convolution over time alone, kernel [3, 1, 1], done in two dimensions, frames and pixels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[batch, channels, frames, height, width]."""
        weight, padding = self.weight.squeeze(-1), self.padding[:2]
        return functional.conv2d(input.flatten(-2), weight, self.bias, padding=padding).unflatten(
            -1, input.shape[-2:]
        )


class DoublingConvolution(nn.Conv2d):
    """A doubling by repetition and the convolution after it, kernel [3, 3], as one.

    Of the nine weights that a new pixel sees, those that fall on the same old pixel are added up first: four
    are left, and the repeated pixels need not exist.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to twice the height and width."""
        height, width = input.shape[-2:]
        bias = None if self.bias is None else self.bias.repeat(4)
        out = functional.conv2d(input, folded(self.weight), bias, padding=1).unflatten(1, (2, 2, -1))
        done = out.new_empty(len(out), out.shape[3], height, 2, width, 2)
        for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
            corner = out[:, down, across, :, down : down + height, across : across + width]
            done[:, :, :, down, :, across] = corner
        return done.flatten(4, 5).flatten(2, 3)


def folded(weight: torch.Tensor) -> torch.Tensor:
    """Weights [out, in, 3, 3] as those of four old pixels, [parities of row and column · out, in, 2, 2].

    Sums of slices: a table of which weight falls on which pixel would be copied to the device at every call,
    and the processor would wait for it. Summed in float32, so that half precision rounds once.
    """
    wide = weight if weight.dtype == torch.float64 else weight.float()
    rows = _summed_pairs(wide, 2)
    return _summed_pairs(rows, 4).transpose(0, 1).flatten(0, 2).to(weight.dtype)


def _summed_pairs(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """Three weights along `dim` as two, for even new pixels and for odd ones: [2, ...]."""
    first, middle, last = weight.unbind(dim)
    even = torch.stack([first, middle + last], dim)
    return torch.stack([even, torch.stack([first + middle, last], dim)])


def group_channels(network: nn.Module, groups: int) -> None:
    """Normalize so many groups of channels wherever groups are normalized; weights stay what they are.

    As many groups as channels take from each channel its mean over the picture: where a network is as narrow
    as the published number of groups, no colour gets through.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = groups


class ResidualBlock(nn.Module):
    """Two convolutions, each after a norm, and the input; between them it learns the time."""

    def __init__(
        self, channels: int, out: int, embedded: int, convolution: Callable[[int, int], nn.Module], eps: float
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, channels, eps), nn.GroupNorm(GROUPS, out, eps)
        self.conv1, self.conv2 = convolution(channels, out), convolution(out, out)
        self.time_emb_proj = nn.Linear(embedded, out)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """[m · n, channels, …] with an embedding [n, width]; each serves m on end.

        Moving pictures are [n, channels, frames, …] with an embedding [n, frames or 1, width].
        """
        inner = self.conv1(_active(self.norm1, x))
        shift = self.time_emb_proj(functional.silu(embedding)).movedim(-1, 1)[..., None, None]
        inner = summed(inner.unflatten(0, (len(shift), -1)), shift[:, None]).flatten(0, 1)
        inner = self.conv2(_active(self.norm2, inner))
        return self._joined(inner, x)

    def _joined(self, inner: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """With the input, which a pointwise convolution may bring to its channels."""
        shortcut = self.conv_shortcut
        if shortcut is None:
            return summed(inner, x)
        if not accumulates(inner, shortcut):
            return summed(inner, shortcut(x))
        rows = inner.flatten(2).add_(shortcut.bias[:, None])
        torch.baddbmm(rows, shortcut.weight.flatten(1).expand(len(x), -1, -1), x.flatten(2), out=rows)
        return inner


def _active(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return functional.silu(norm(x), inplace=in_place())


class Blend(nn.Module):
    """Space and time, mixed by one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.empty(1))

    def forward(self, space: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """In place of `time` where that may be; the share of `space` is the sigmoid of the factor."""
        share = self.mix_factor.sigmoid().to(space.dtype)
        return time.lerp_(space, share) if in_place() else time + share * (space - time)
