"""Contrastive losses between voice, mouth and text, in torch.

InfoNCE: van den Oord, Li, Vinyals: "Representation Learning with Contrastive Predictive Coding", 2018;
symmetric and with a learned temperature as in Radford et al.: "Learning Transferable Visual Models From
Natural Language Supervision" (CLIP), 2021. Several positives: Khosla et al.: "Supervised Contrastive
Learning", 2020. All vectors are rows of unit length; `scale` is the inverse temperature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_SCALE = 100.0
"""The inverse temperature never goes beyond it, as in CLIP."""


class Temperature(torch.nn.Module):
    """The learned inverse temperature, kept as its logarithm."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.logarithm = torch.nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self) -> Tensor:
        """The inverse temperature, a number from 0 to `LARGEST_SCALE`."""
        return self.logarithm.exp().clamp(max=LARGEST_SCALE)


def info_nce(first: Tensor, second: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of pairs: row `i` of [n, d] belongs to row `i` of [n, d], all others are negatives.

    The mean of both directions' cross entropy; log(n) where nothing is told apart.
    """
    logits = scale * first @ second.T
    wanted = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)) / 2


def frame_info_nce(sound: Tensor, mouth: Tensor, visible: Tensor, scale: Tensor | float) -> Tensor:
    """Frame level: what is heard at a moment belongs to the mouth at that moment.

    Negatives are the other moments of the same clip, the nearest of which are the hard ones, and all moments
    of the other clips. Moments without a visible mouth are neither; 0 where no mouth is visible.

    Args:
        sound, mouth: [clips, moments, d], the same moments of both; how far they lie apart says how hard the
            nearest negatives are.
        visible: bool [clips, moments], whether the mouth is.
        scale: inverse temperature.
    """
    if not visible.any():
        return mouth.sum() * 0.0
    return info_nce(sound[visible], mouth[visible], scale)


def shifted_info_nce(sound: Tensor, mouth: Tensor, visible: Tensor, scale: Tensor | float) -> Tensor:
    """Shifted pairs: a whole stretch of a clip belongs to the mouth of that stretch, rather than to that of
    the same clip some moments earlier or later.

    The similarity of a shift is the mean over its moments with a visible mouth. A shift with fewer than half
    of them visible is no negative, a clip whose own stretch is so is left out; 0 where none is left.

    Args:
        sound: [clips, moments, d], the middle of what `mouth` has.
        mouth: [clips, moments + 2 · shifts, d]; shift 0 is its middle.
        visible: bool [clips, moments + 2 · shifts], whether the mouth is.
        scale: inverse temperature of the stretch's mean similarity.
    """
    moments = sound.shape[1]
    shown = mouth * visible.unsqueeze(2)
    windows = shown.unfold(1, moments, 1)  # [clips, shifts, d, moments]
    counts = visible.unfold(1, moments, 1).sum(dim=2)
    enough = 2 * counts >= moments
    scores = torch.einsum("ctd,csdt->cs", sound, windows) / counts.clamp(min=1)
    middle = scores.shape[1] // 2
    able = enough[:, middle]
    if not able.any():
        return mouth.sum() * 0.0
    logits = (scale * scores).masked_fill(~enough, -torch.inf)[able]
    return functional.cross_entropy(logits, torch.full((len(logits),), middle, device=sound.device))


def semantic_info_nce(sound: Tensor, mouth: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Semantic level: what is heard, what the mouth does and what is written belong together, [n, d] each."""
    pairs = ((sound, mouth), (sound, text), (mouth, text))
    return torch.stack([info_nce(first, second, scale) for first, second in pairs]).mean()


def disentangling(vectors: Tensor, content: Tensor, style: Tensor, scale: Tensor | float) -> Tensor:
    """Style: the same content by others lies together, other content by the same lies apart.

    For each row with a positive: minus the logarithm of the softmax at its positives (same content, another
    style), mean over them, among those and all rows of other content. Rows of the same content and style
    are left out. 0 where no row has a positive.

    Args:
        vectors: [n, d].
        content, style: integers [n].
        scale: inverse temperature.
    """
    same = content[:, None] == content[None, :]
    positive = same & (style[:, None] != style[None, :])
    logits = (scale * vectors @ vectors.T).masked_fill(same & ~positive, -torch.inf)
    able = positive.any(dim=1)
    if not able.any():
        return vectors.sum() * 0.0
    likely = functional.log_softmax(logits[able], dim=1).masked_fill(~positive[able], 0.0)
    return -(likely.sum(dim=1) / positive[able].sum(dim=1)).mean()


def gathered(vectors: Tensor) -> Tensor:
    """The vectors of all processes, [processes · n, d], each process's own with their gradient's way back.

    When every process computes the loss of all and gradients are averaged over processes, as
    `DistributedDataParallel` does, the gradient is that of one process with the whole batch. As they are
    where nothing is distributed.
    """
    return vectors if rank() is None else _Gathered.apply(vectors)


def gathered_mask(mask: Tensor) -> Tensor:
    """The bools of all processes, [processes · n, ...]; they have no gradient."""
    return gathered(mask.float()) > 0


def rank() -> int | None:
    """This process's number among those that train together; None where it trains alone."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, vectors: Tensor) -> Tensor:
        parts = [torch.empty_like(vectors) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, vectors.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        whole = gradient.contiguous().clone()
        torch.distributed.all_reduce(whole)  # each process's loss depends on everybody's vectors
        own = len(whole) // torch.distributed.get_world_size()
        start = own * torch.distributed.get_rank()
        return whole[start : start + own]
