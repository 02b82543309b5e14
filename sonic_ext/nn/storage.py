"""Weights kept in 8 bits, and networks compiled: both only where the libraries can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from ..errors import MissingPart
from .feedforward import PiecewiseFeedForward

KEPT = ("norm", "time_embed", "add_embedding", "time_pos_embed", "conv_in", "conv_out", "processor", "mixer")
"""Parts of names of what stays as it is: small, and sensitive to rounding."""


def store_fp8(unet: Any, compute_dtype: torch.dtype) -> None:
    """Keep the weights of matrices and convolutions as float8_e4m3fn; each is cast when its layer works.

    Half the memory of 16 bits. Not exact. Norms, embeddings, the outermost convolutions and the audio
    adapters stay in `compute_dtype`.

    Args:
        unet: from `build_unet`, filled, in `compute_dtype`.
        compute_dtype: what its layers compute in.

    Raises:
        MissingPart: diffusers cannot do that before 0.32, nor torch before 2.1.
    """
    if not hasattr(unet, "enable_layerwise_casting") or not hasattr(torch, "float8_e4m3fn"):
        raise MissingPart(
            "Weights in 8 bits need diffusers 0.32 or newer, and torch 2.1 or newer.",
            "Choose another precision, or update diffusers: pip install -U diffusers",
        )
    unet.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype, skip_modules_pattern=KEPT)


def compiled(unet: Any) -> str | None:
    """Let torch compile the residual blocks and feed-forwards of a network; the first calls take minutes.

    Never breaks anything: if it fails after all, the network runs as before, with a warning.

    Returns:
        Why nothing was compiled; None when all is well.
    """
    problem = _problem(next(unet.parameters()).device)
    if problem is None:
        every: list[Guarded] = []
        every.extend(Guarded(module, name, every) for module, name in _compilable(unet))
    return problem


def _problem(device: torch.device) -> str | None:
    """What keeps torch from compiling, found out by compiling something small."""
    if not hasattr(torch, "compile"):
        return "This torch cannot compile; networks run as they are."
    try:
        torch.compile(_small)(torch.ones(4, device=device))
    except Exception as error:  # any: compilers fail in every way
        return f"Compiling does not work here ({_first_line(error)}); networks run as they are."
    return None


def _small(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + 1


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _compilable(unet: Any) -> Iterator[tuple[nn.Module, str]]:
    """Modules and which of their methods."""
    from diffusers.models.resnet import SpatioTemporalResBlock

    for module in unet.modules():
        if isinstance(module, PiecewiseFeedForward):
            yield module, "piece"
        elif isinstance(module, SpatioTemporalResBlock):
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

    def __init__(self, module: nn.Module, name: str, every: list[Guarded]) -> None:
        self._module, self._name, self._every = module, name, every
        self._method: Callable[..., torch.Tensor] = getattr(module, name)
        self._run: Callable[..., torch.Tensor] | None = torch.compile(_of_its_own(self._method))
        object.__setattr__(module, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As the method."""
        if self._run is not None:
            try:
                return self._run(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                raise  # no fault of the compiler; whoever called knows what to do
            except Exception as error:
                said = _first_line(error)
            for each in self._every:
                each.undo()
            text = f"The network runs as it is, because compiling it failed: {said}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        return self._method(*args, **kwargs)  # a fault of the input's own shows here

    def undo(self) -> None:
        """Give the module its own method back; who still holds this one gets it too."""
        self._run = None
        if vars(self._module).get(self._name) is self:
            object.__delattr__(self._module, self._name)
