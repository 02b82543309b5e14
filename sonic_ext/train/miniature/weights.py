"""The miniature's files: weights in half precision, each part in its folder, and what goes with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ... import weights
from ...engines.sonic.windows import BASE_FPS
from ...files.atomic import replace_file
from ...files.digest import sha256_of
from ...nn import whisper
from ...weights import bundles
from .sizes import CLIP, GROUPS, MARGIN, SHIFT, SIDE, SIGMA_MAX, SIGMA_MIN, UNET, WHISPER, WINDOW

GUIDANCE = {"image": 0.5, "audio": 0.2}
"""For each unit of the settings, 1 and 1.5 by default: of so small a network more is a grimace."""
STATED: Mapping[str, Mapping[str, Any]] = {
    "unet": {"num_attention_heads": list(UNET.heads), "norm_num_groups": GROUPS},
    "vae": {"norm_num_groups": GROUPS},
    "image_encoder": {"num_attention_heads": CLIP["num_attention_heads"]},
    "whisper": {"encoder_attention_heads": WHISPER["encoder_attention_heads"]},
}
"""What shapes do not tell, for the `config.json` beside a file."""


def write_weights(
    folder: Path,
    parts: Mapping[str, torch.nn.Module],
    recipe: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> None:
    """Write every part, its configuration, the scheduler's and the engine's, and the page.

    Raises:
        OSError: a file cannot be written.
    """
    from safetensors.torch import save

    hashes = {}
    for name, network in parts.items():
        part = weights.parts_named([name])[0]
        path = folder / name / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = whisper.PREFIX if name == "whisper" else ""
        tensors = {
            prefix + key: value.detach().half().contiguous() for key, value in network.state_dict().items()
        }
        kept = {key: value for key, value in tensors.items() if not key.endswith("position_ids")}
        replace_file(path, save(kept, {"format": "pt", "part": part.name}))
        hashes[name] = sha256_of(path)
        if name in STATED:
            replace_file(path.parent / "config.json", _json(STATED[name]))
    replace_file(
        folder / bundles.ABOUT,
        _json(
            {
                "side": SIDE,
                "margin": MARGIN,
                "window": WINDOW,
                "shift": SHIFT,
                "fps": BASE_FPS,
                "scheduler": {"sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN},
                "guidance": GUIDANCE,
                "weights": hashes,
                "recipe": dict(recipe),
                "metrics": {name: round(value, 4) for name, value in metrics.items()},
            }
        ),
    )


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
