"""The speech encoder: transformers' Whisper without its decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from .build import arguments, on_meta

CONFIG: dict[str, Any] = {
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "max_source_positions": 1500,
    "activation_function": "gelu",
}
"""The encoder of whisper-tiny."""
PREFIX = "encoder."
"""What the encoder's keys begin with in a checkpoint of `WhisperModel` (`model.encoder.` in a full one)."""


def build_whisper(config: Mapping[str, Any] = CONFIG) -> Any:
    """A `WhisperEncoder` on the meta device; a configuration may speak of the decoder too."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return on_meta(lambda: WhisperEncoder(WhisperConfig(**arguments(config))))


def hidden_states(encoder: Any, mels: torch.Tensor) -> torch.Tensor:
    """What every layer is given, and the layer-normed end.

    Args:
        encoder: from `build_whisper`, filled.
        mels: [n, 80, 3000], float32.

    Returns:
        [n, 1500, layers + 1, width]: the embedding, the output of each layer but the last, and the last
        one's after the final norm.
    """
    with _recorded(encoder.layers) as inputs:
        last = encoder(mels, return_dict=True).last_hidden_state
    return torch.stack([*inputs, last], dim=2)


@contextmanager
def _recorded(layers: Any) -> Iterator[list[torch.Tensor]]:
    """What the layers are called with, in order.

    Not `output_hidden_states`: its meaning for the last entries changed between releases of transformers.
    """
    states: list[torch.Tensor] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
