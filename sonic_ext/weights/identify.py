"""Says which model a file really is, by its keys, and which version of Stable Video Diffusion by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .formats import TensorEntry

SVD = "a Stable Video Diffusion checkpoint"
_SIGNS = (
    (r"\.attn2\.processor\.to_k_ip\.", "Sonic's UNet"),
    (r"^conditioner\.embedders\.1\.model\.", "a Stable Diffusion XL checkpoint"),
    (r"^conditioner\.embedders\.0\.model\.", "a Stable Diffusion XL refiner checkpoint"),
    (r"^conditioner\.embedders\.0\.open_clip\.model\.visual\.", SVD),
    (r"^cond_stage_model\.transformer\.", "a Stable Diffusion 1 checkpoint"),
    (r"^cond_stage_model\.model\.", "a Stable Diffusion 2 checkpoint"),
    (r"(^|\.)joint_blocks\.\d+\.", "a Stable Diffusion 3 checkpoint"),
    (r"(^|\.)double_blocks\.\d+\.", "a Flux checkpoint"),
    (r"^lora_(unet|te)|\.lora_(up|down|A|B)\.", "a LoRA"),
    (
        r"(^|\.)down_blocks\..*\.temporal_transformer_blocks\.",
        "Stable Video Diffusion's own UNet, not Sonic's",
    ),
    (r"(^|\.)down_blocks\..*\.attn2\.to_k\.", "the UNet of an image model"),
    (
        r"(^|\.)input_blocks\.\d+\.",
        "a UNet under the names of Stability's training code, not under diffusers'",
    ),
    (r"^decoder\.time_conv_out\.", "Stable Video Diffusion's VAE"),
    (r"^decoder\.up_blocks\.0\.resnets\.0\.conv1\.", "the VAE of an image model"),
    (r"^decoder\.up\.0\.block\.0\.conv1\.", "the VAE of an image model"),
    (r"^(vision_model\.|visual\.)", "a CLIP image encoder"),
    (r"^(model\.)?encoder\.embed_positions\.", "a Whisper model"),
    (r"^(module\.)?block0\.conv0\.", "RIFE"),
)
"""Key pattern → what the file is, tried in this order."""


def identify(entries: Mapping[str, TensorEntry]) -> str | None:
    """What the file is, as words that end "This is …"; None if unknown."""
    keys = "\n".join(entries)
    for sign, name in _SIGNS:
        if re.search(sign, keys, re.MULTILINE):
            return name
    return None


def has_image_decoder(entries: Mapping[str, TensorEntry]) -> bool:
    """Whether a one-file checkpoint has the frame-wise decoder instead of the temporal one."""
    inside = [key for key in entries if key.startswith("first_stage_model.decoder.")]
    return bool(inside) and not any(".time_stack." in key for key in inside)


def svd_version(path: Path, metadata: Mapping[str, str]) -> str | None:
    """`1.1` or `1.0` if the file's metadata or its path says so; both serve alike."""
    said = " ".join(value for value in metadata.values() if len(value) < 200)
    if "video" in said.lower() and re.search(r"\b1\.1\b", said):
        return "1.1"
    text = "/".join(path.parts[-8:]).lower()
    if re.search(r"(xt|svd|img2vid)[-_. ]*1[-_.]1", text):
        return "1.1"
    return "1.0" if re.search(r"svd_xt|img2vid-xt", text) else None
