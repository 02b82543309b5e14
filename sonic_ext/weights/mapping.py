"""Which tensors of a file make up a part, whatever the file calls them.

Plain files carry the part's own keys, perhaps behind `module.`, `unet.` or the like. A one-file checkpoint of
Stable Video Diffusion has the names of Stability's training code; they are turned into those of diffusers'
temporal VAE and transformers' CLIP: renamed, 1×1 convolutions flattened to matrices, joint query-key-value
matrices cut into three, the projection transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from .catalogue import Part, Shape
from .formats import TensorEntry

if TYPE_CHECKING:
    from torch import Tensor

_WRAPPERS = ("module", "model", "unet", "vae", "diffusion_model", "_orig_mod")
"""Names under which programs hold the network whose weights they save, besides the part's own name."""
LATENT = "first_stage_model."
CONDITION = "conditioner.embedders.3.encoder."
"""A second copy of the VAE's encoder, for conditioning latents; it alone has a `quant_conv`."""
VISUAL = "conditioner.embedders.0.open_clip.model.visual."


@dataclass(frozen=True)
class TensorSource:
    """Where one tensor of a part comes from."""

    source: str | None
    """Key in the file; None for an identity that the file does without."""
    shape: Shape
    """After `take`."""
    dtype: str
    cut: int | None = None
    """Which third of the rows; None for all."""
    transposed: bool = False

    def take(self, get: Callable[[str], Tensor]) -> Tensor:
        """The tensor in the part's shape; `get` reads one from the file."""
        if self.source is None:
            return _identity(self.shape)
        tensor = get(self.source)
        if self.cut is not None:
            rows = tensor.shape[0] // 3
            tensor = tensor[self.cut * rows : (self.cut + 1) * rows]
        return (tensor.T if self.transposed else tensor).reshape(self.shape)


def _identity(shape: Shape) -> Tensor:
    import torch

    if len(shape) == 1:
        return torch.zeros(shape)
    return torch.eye(shape[0]).reshape(shape)


def is_single_file(keys: Mapping[str, Any]) -> bool:
    """Whether these are the keys of a whole pipeline in one file."""
    return any(key.startswith((LATENT, "conditioner.", "cond_stage_model.")) for key in keys)


def origins(part: Part, entries: Mapping[str, TensorEntry]) -> dict[str, TensorSource]:
    """The part's keys → where they come from. Keys that inference leaves out are not in it."""
    if part.name == "image_vae":
        pairs = _image_vae(part, entries)
    elif part.single_file and is_single_file(entries):
        pairs = _vae(entries) if part.name == "vae" else _image_encoder(entries)
    else:
        pairs = _plain(part, entries)
    return {
        key: origin
        for key, origin in pairs
        if not key.startswith(part.unused) and not key.endswith("position_ids")
    }


def has_signs(part: Part, keys: Mapping[str, Any]) -> bool:
    """Whether the keys look like the part's at all."""
    return all(any(re.search(sign, key) for key in keys) for sign in part.signs)


def has_channels(part: Part, shapes: Mapping[str, Shape]) -> bool:
    """Whether layers have as many input channels as in every size of the model."""
    return all(shapes.get(key, ())[1:2] == (count,) for key, count in part.channels)


def _plain(part: Part, entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, TensorSource]]:
    prefix = next((each for each in _prefixes(part, entries) if has_signs(part, _below(each, entries))), "")
    for key, entry in _below(prefix, entries).items():
        yield key, TensorSource(prefix + key, entry.shape, entry.dtype)


def _prefixes(part: Part, keys: Iterable[str]) -> list[str]:
    """What may stand before the part's own keys: up to four names of wrappers; the eight shortest."""
    wrappers = re.compile(rf"(?:{'|'.join((*_WRAPPERS, part.name))})\.")
    found = {""}
    for key in keys:
        end = 0
        for _ in range(4):
            wrapper = wrappers.match(key, end)
            if wrapper is None:
                break
            end = wrapper.end()
            found.add(key[:end])
    return sorted(found, key=lambda prefix: (len(prefix), prefix))[:8]


def _below(prefix: str, entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    return {key[len(prefix) :]: entry for key, entry in entries.items() if key.startswith(prefix)}


def _vae(entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, TensorSource]]:
    latent = _below(LATENT, entries)
    condition = _below(CONDITION, entries)
    encoder = CONDITION if "quant_conv.weight" in condition else LATENT
    levels = _levels(latent)
    for prefix, inside in ((encoder, ("encoder.", "quant_conv.")), (LATENT, ("decoder.",))):
        for key, entry in _below(prefix, entries).items():
            if key.startswith(inside):
                name = _vae_name(key, levels)
                yield name, TensorSource(prefix + key, _flattened(name, entry.shape), entry.dtype)
    if "quant_conv.weight" not in _below(encoder, entries) and "encoder.conv_out.bias" in latent:
        # without one the encoder's last layer gives the moments themselves
        moments = latent["encoder.conv_out.bias"].shape[0]
        yield "quant_conv.weight", TensorSource(None, (moments, moments, 1, 1), "F32")
        yield "quant_conv.bias", TensorSource(None, (moments,), "F32")


def _levels(latent: Mapping[str, TensorEntry]) -> int:
    """Levels of the decoder, from Stability's names."""
    numbers = (int(found[1]) for key in latent if (found := re.match(r"decoder\.up\.(\d+)\.", key)))
    return 1 + max(numbers, default=-1)


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of the middle attention in files of early diffusers versions, the published one among them."""


def _image_vae(part: Part, entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, TensorSource]]:
    """The frame-wise decoder, from diffusers' files, from WebUI VAEs and out of whole checkpoints."""
    prefixes = (LATENT, *_prefixes(part, entries))
    prefix = next((each for each in prefixes if f"{each}decoder.conv_in.weight" in entries), "")
    inside = _below(prefix, entries)
    levels = _levels(inside)
    if not levels or any(".time_stack." in key for key in inside):
        for key, origin in _plain(part, entries):
            name = _modern(key)
            yield name, TensorSource(origin.source, _flattened(name, origin.shape), origin.dtype)
        return
    for key, entry in inside.items():
        name = _vae_name(key, levels, temporal=False) if key.startswith("decoder.") else key
        if name.startswith(("decoder.", "post_quant_conv.")):
            yield name, TensorSource(prefix + key, _flattened(name, entry.shape), entry.dtype)
    if "post_quant_conv.weight" not in inside and "decoder.conv_in.weight" in inside:
        # without one the decoder takes the latents themselves
        channels = inside["decoder.conv_in.weight"].shape[1]
        yield "post_quant_conv.weight", TensorSource(None, (channels, channels, 1, 1), "F32")
        yield "post_quant_conv.bias", TensorSource(None, (channels,), "F32")


def _modern(key: str) -> str:
    return re.sub(
        r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.",
        lambda found: f"{found[1]}{_OLD_ATTENTION[found[2]]}.",
        key,
    )


def _flattened(name: str, shape: Shape) -> Shape:
    """The middle attention is of 1×1 convolutions there and of matrices here."""
    is_matrix = ".attentions." in name and name.endswith("weight") and len(shape) > 2
    return (shape[0], prod(shape[1:])) if is_matrix else shape


_VAE_LAYERS = {
    "mid.block_1.": "mid_block.resnets.0.",
    "mid.block_2.": "mid_block.resnets.1.",
    "mid.attn_1.norm.": "mid_block.attentions.0.group_norm.",
    "mid.attn_1.q.": "mid_block.attentions.0.to_q.",
    "mid.attn_1.k.": "mid_block.attentions.0.to_k.",
    "mid.attn_1.v.": "mid_block.attentions.0.to_v.",
    "mid.attn_1.proj_out.": "mid_block.attentions.0.to_out.0.",
    "norm_out.": "conv_norm_out.",
}
_TEMPORAL = {
    "time_stack.in_layers.0.": "temporal_res_block.norm1.",
    "time_stack.in_layers.2.": "temporal_res_block.conv1.",
    "time_stack.out_layers.0.": "temporal_res_block.norm2.",
    "time_stack.out_layers.3.": "temporal_res_block.conv2.",
    "mix_factor": "time_mixer.mix_factor",
}


def _vae_name(key: str, levels: int, temporal: bool = True) -> str:
    """Stability's name → diffusers'. Stability counts the decoder's levels from the picture, diffusers from
    the latent."""
    if key.startswith("decoder.conv_out.time_mix_conv."):
        return key.replace("conv_out.time_mix_conv", "time_conv_out")
    half, _, rest = key.partition(".")
    for old, new in _VAE_LAYERS.items():
        if rest.startswith(old):
            rest = new + rest[len(old) :]
            break
    rest = re.sub(r"^down\.(\d+)\.block\.(\d+)\.", r"down_blocks.\1.resnets.\2.", rest)
    rest = re.sub(r"^down\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0.", rest)
    rest = re.sub(r"^up\.(\d+)\.block\.", lambda m: f"up_blocks.{levels - 1 - int(m[1])}.resnets.", rest)
    rest = re.sub(
        r"^up\.(\d+)\.upsample\.", lambda m: f"up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", rest
    )
    return f"{half}.{_resnet_name(rest, temporal and half == 'decoder')}"


def _resnet_name(rest: str, temporal: bool) -> str:
    found = re.match(r"(.*\.resnets\.\d+\.)(.*)", rest)
    if not found:
        return rest
    block, layer = found[1], found[2].replace("nin_shortcut", "conv_shortcut")
    for old, new in _TEMPORAL.items():
        if layer.startswith(old):
            return block + new + layer[len(old) :]
    return block + ("spatial_res_block." if temporal else "") + layer


_CLIP_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_CLIP_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def _image_encoder(entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, TensorSource]]:
    for key, entry in _below(VISUAL, entries).items():
        layer = re.match(r"transformer\.resblocks\.(\d+)\.(.*)", key)
        if layer:
            yield from _clip_layer(f"vision_model.encoder.layers.{layer[1]}.", layer[2], VISUAL + key, entry)
        elif key == "proj":
            yield (
                "visual_projection.weight",
                TensorSource(VISUAL + key, entry.shape[::-1], entry.dtype, transposed=True),
            )
        else:
            name = f"vision_model.{_CLIP_NAMES.get(key, key)}"
            yield name, TensorSource(VISUAL + key, entry.shape, entry.dtype)


def _clip_layer(layer: str, key: str, source: str, entry: TensorEntry) -> Iterator[tuple[str, TensorSource]]:
    if key.startswith("attn.in_proj_"):
        shape = (entry.shape[0] // 3, *entry.shape[1:])
        for third, name in enumerate(("q_proj", "k_proj", "v_proj")):
            what = key.removeprefix("attn.in_proj_")
            yield f"{layer}self_attn.{name}.{what}", TensorSource(source, shape, entry.dtype, cut=third)
        return
    name, _, what = key.rpartition(".")
    yield f"{layer}{_CLIP_LAYERS.get(name, name)}.{what}", TensorSource(source, entry.shape, entry.dtype)
