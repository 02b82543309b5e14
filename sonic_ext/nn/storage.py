"""Weights kept in 8 bits, matrices multiplied in integers, networks compiled: where the libraries can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any, TypeAlias

import torch
from torch import nn

from .layers import FeedForward
from .unet import SpatioTemporalResidual, UNet

KEPT = ("norm", "time_embed", "add_embedding", "time_pos_embed", "conv_in", "conv_out", "processor", "mixer")
"""Parts of names of what stays as it is: small, and sensitive to rounding."""
NARROW = torch.float8_e4m3fn
LARGEST: float = torch.finfo(NARROW).max
SCALE = "row_scale"
"""The buffer beside a weight in 8 bits: what each of its rows is multiplied with."""
WHOLE = 127
"""Largest 8-bit integer that is used: as many below zero."""
ALIGNED, FEWEST = 8, 32
"""cuBLAS takes integers by so many columns, and so many rows or more."""
Backend: TypeAlias = str | Callable[..., Any]
"""Of torch.compile."""


def store_fp8(unet: UNet) -> None:
    """Keep the weights of matrices and convolutions as float8_e4m3fn; each is widened while its layer works.

    Half the memory of 16 bits. Not exact: a scale for each row (output channel) brings it into the range of
    8 bits, where weights are off by 2.6 % (root mean square). Biases, norms, embeddings, the outermost
    convolutions and the audio adapters stay as they are.

    Args:
        unet: filled, in the numbers that its layers compute in.
    """
    for name, module in unet.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)) and not any(part in name for part in KEPT):
            Narrow(module)


def narrowed(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, ...] in 8 bits, and the scales [rows, 1, ...] that give it back, in its own numbers.

    Scales are powers of two that float16 holds: multiplying by them is exact.
    """
    rows = weight.float().flatten(1)
    exponents = torch.log2(LARGEST / rows.abs().amax(dim=1)).floor().clamp(max=14)
    up = torch.exp2(exponents).view(-1, *[1] * (weight.ndim - 1))
    return (weight.float() * up).to(NARROW), (1 / up).to(weight.dtype)


def widened(narrow: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weight that `narrowed` was given, but for rounding."""
    return narrow.to(scale.dtype).mul_(scale)


def multiply_int8(unet: UNet) -> None:
    """Multiply matrices in 8-bit integers, which newer processors and cards do at a multiple of the speed.

    Not exact: each row of a weight (output channel) and each row of what it is multiplied with, as it comes,
    has a scale of its own that brings its largest number to 127 (LLM.int8(), arXiv 2208.07339, section 2,
    without its outliers). Convolutions and what `KEPT` names stay as they are.

    Args:
        unet: filled, in the numbers that its layers compute in.
    """
    for name, module in unet.named_modules():
        fits = isinstance(module, nn.Linear) and not any(part in name for part in KEPT)
        if fits and module.in_features % ALIGNED == module.out_features % ALIGNED == 0:
            IntegerProduct(module)


class IntegerProduct:
    """The product of a linear layer, in integers."""

    def __init__(self, layer: nn.Linear) -> None:
        weight = layer.weight.data.float()
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / WHOLE
        layer.weight = nn.Parameter((weight / scale[:, None]).round().to(torch.int8), requires_grad=False)
        layer.register_buffer(SCALE, scale, persistent=False)
        self._layer = layer
        object.__setattr__(layer, "forward", self)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] → [..., out], in the numbers of `x`."""
        layer = self._layer
        scale = getattr(layer, SCALE)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) < FEWEST:
            return nn.functional.linear(x, (layer.weight * scale[:, None]).to(x.dtype), layer.bias)
        reach = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=torch.finfo(torch.float32).tiny)
        whole = (rows * (WHOLE / reach)).round_().to(torch.int8)
        product = torch._int_mm(whole, layer.weight.t()).float()
        product.mul_(reach / WHOLE).mul_(scale)
        if layer.bias is not None:
            product.add_(layer.bias)
        return product.to(x.dtype).view(*x.shape[:-1], -1)


class Narrow:
    """Keeps a layer's weight in 8 bits while the layer does not work."""

    def __init__(self, layer: nn.Module) -> None:
        layer.weight.data, scale = narrowed(layer.weight.data)
        layer.register_buffer(SCALE, scale, persistent=False)
        layer.register_forward_pre_hook(self._widen)
        layer.register_forward_hook(self._restore, always_call=True)  # also after an error
        self._resting: torch.Tensor | None = None

    def _widen(self, layer: Any, _: object) -> None:
        self._resting = layer.weight.data
        layer.weight.data = widened(self._resting, getattr(layer, SCALE))

    def _restore(self, layer: Any, *_: object) -> None:
        layer.weight.data, self._resting = self._resting, None


def compiled(unet: Any, backend: Backend = "inductor") -> str | None:
    """Let torch compile the residual blocks and feed-forwards of a network; the first calls take minutes.

    Never breaks anything: if it fails after all, the network runs as before, with a warning.

    Args:
        unet: filled, on its device.
        backend: what compiles, as `torch.compile` takes it.

    Returns:
        Why nothing was compiled; None when all is well.
    """
    problem = _problem(next(unet.parameters()).device, backend)
    if problem is None:
        every: list[Guarded] = []
        every.extend(Guarded(module, name, every, backend) for module, name in _compilable(unet))
    return problem


def _problem(device: torch.device, backend: Backend) -> str | None:
    """What keeps torch from compiling, found out by compiling something small."""
    if not hasattr(torch, "compile"):
        return "This torch cannot compile; networks run as they are."
    try:
        torch.compile(_small, backend=backend)(torch.ones(4, device=device))
    except Exception as error:  # any: compilers fail in every way
        return f"Compiling does not work here ({_first_line(error)}); networks run as they are."
    return None


def _small(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + 1


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _compilable(unet: Any) -> Iterator[tuple[nn.Module, str]]:
    """Modules and which of their methods."""
    for module in unet.modules():
        if isinstance(module, FeedForward):
            yield module, "piece"
        elif isinstance(module, SpatioTemporalResidual):
            yield module, "forward"


def _of_its_own(method: Any) -> Any:
    """A method whose code no other shares: torch gives up code that it has compiled for eight modules."""
    shared = method.__func__
    own = FunctionType(
        shared.__code__.replace(),
        shared.__globals__,
        shared.__name__,
        shared.__defaults__,
        shared.__closure__,
    )
    own.__kwdefaults__ = shared.__kwdefaults__
    return MethodType(own, method.__self__)


class Guarded:
    """A method compiled; when one of a network fails, all run as they are from then on."""

    def __init__(self, module: nn.Module, name: str, every: list[Guarded], backend: Backend) -> None:
        self._module, self._name, self._every = module, name, every
        self._method: Callable[..., torch.Tensor] = getattr(module, name)
        own = _of_its_own(self._method)
        self._run: Callable[..., torch.Tensor] | None = torch.compile(own, backend=backend)
        object.__setattr__(module, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As the method."""
        if self._run is not None:
            try:
                return self._run(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                raise  # no fault of the compiler; whoever called knows what to do
            except Exception as error:
                reason = _first_line(error)
            for each in self._every:
                each.undo()
            text = f"The network runs as it is, because compiling it failed: {reason}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        return self._method(*args, **kwargs)  # a fault of the input's own shows here

    def undo(self) -> None:
        """Give the module its own method back; who still holds this one gets it too."""
        self._run = None
        if vars(self._module).get(self._name) is self:
            object.__delattr__(self._module, self._name)
