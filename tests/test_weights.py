"""Weights: the catalogue, the search, checks by header alone, conversion, loading, fetching, the command.

Files of full size are sparse: a real header over a hole. Torch and httpx are optional parts; tests
that need one are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import pytest
from tiny_hub import COMMIT, TinyHub, serving

from sonic_ext import weights
from sonic_ext.cli import main as cli
from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadInput, BadOutput, BadSetting, BadWeights, Cancelled, MissingPart
from sonic_ext.text import bytes_text
from sonic_ext.weights import (
    AUDIO2BUCKET,
    IMAGE_ENCODER,
    IMAGE_VAE,
    PARTS,
    RIFE,
    SCHEDULER,
    UNET,
    VAE,
    WHISPER,
    YOLOFACE,
    Part,
    PartState,
    Search,
    catalogue,
    mapping,
)
from sonic_ext.weights.contents import read_contents
from sonic_ext.weights.formats import ITEM_BYTES, Format, format_of
from sonic_ext.weights.identify import svd_version
from sonic_ext.weights.mapping import origins
from sonic_ext.weights.record import read_record, record_path

Shapes = Mapping[str, tuple[int, ...]]
NO_SPARSE = pytest.mark.skipif(sys.platform == "win32", reason="files are not sparse there: gigabytes")
TINY = replace(AUDIO2BUCKET, manifest={"proj1.weight": (4, 6), "proj1.bias": (4,), "proj3.weight": (2, 4)})
"""A part of a few numbers under the name of a real one."""


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _no_folders_of_this_computer(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("hub-home")
    for name in (
        "SONIC_MODELS",
        "COMFYUI_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_TOKEN",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))


def header_only(
    path: Path, shapes: Shapes, dtype: str = "F16", metadata: dict[str, str] | None = None
) -> Path:
    """A safetensors file with all the bytes that its header announces, as a hole."""
    table: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + ITEM_BYTES[dtype] * prod(shape)
        table[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(table).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    return path


def search(own: Path, **places: Any) -> Search:
    own.mkdir(parents=True, exist_ok=True)
    return Search(own, **places)


def saved(torch: Any, path: Path, held: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held, path, **options)
    return path


def tiny_tensors(torch: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(shape, generator=generator) for key, shape in TINY.shapes.items()}


# ---- the catalogue


@pytest.mark.parametrize(
    ("part", "tensors", "elements"),
    [
        ("unet", 1492, 1_575_741_162),
        ("audio2token", 8, 54_300_672),
        ("audio2bucket", 6, 21_762_050),
        ("vae", 374, 97_742_847),
        ("image_encoder", 520, 632_076_800),
        ("whisper", 67, 8_208_384),
        ("rife", 120, None),
        ("image_vae", 140, None),
    ],
)
def test_the_key_lists_are_those_of_the_published_models(
    part: str, tensors: int, elements: int | None
) -> None:
    (found,) = weights.parts_named([part])
    assert len(found.shapes) == tensors
    assert elements is None or found.elements == elements


def test_every_part_says_where_from_what_for_and_under_which_terms() -> None:
    for part in PARTS:
        assert part.repos and part.fetched and part.need and part.title
        assert part.licence.url.startswith("https://")
    assert [part.name for part in weights.REQUIRED] == [
        *("unet", "audio2token", "audio2bucket", "whisper", "vae", "image_encoder")
    ]


def test_the_documentation_lists_every_part_as_the_catalogue_has_it(root: Path) -> None:
    text = (root / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = {
        cells[0].strip("`"): cells
        for line in text.splitlines()
        if line.startswith("| `") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    assert rows.keys() == {part.name for part in PARTS}
    for part in PARTS:
        _, repo, file, about, licence, *_ = rows[part.name]
        assert (repo, file, licence) == (f"`{part.repos[0]}`", f"`{part.hub_names[0]}`", part.licence.name)
        assert part.about is None or about == bytes_text(part.about)


def test_an_unknown_part_is_named_with_those_that_are() -> None:
    with pytest.raises(BadSetting, match=r"no part 'wisper'.*unet, audio2token"):
        weights.parts_named(["wisper"])


def test_importing_and_looking_loads_neither_torch_nor_the_hub() -> None:
    code = (
        "import sys, sonic_ext.weights as w; w.survey(); "
        "print(sorted({'torch', 'httpx', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- checks by header


@NO_SPARSE
@pytest.mark.parametrize("part", [part for part in PARTS if part.shapes], ids=lambda part: part.name)
def test_a_file_with_every_published_key_and_shape_passes(part: Part, tmp_path: Path) -> None:
    report = weights.check(part, header_only(tmp_path / "whole.safetensors", part.shapes))
    assert (report.problem, report.tensors, report.dtypes) == (None, len(part.shapes), ("F16",))


@NO_SPARSE
def test_first_missing_keys_and_wrong_shapes_are_named(tmp_path: Path) -> None:
    shapes = dict(UNET.shapes) | {"conv_in.weight": (320, 4, 3, 3), "extra.weight": (1,)}
    for key in ("conv_out.bias", "conv_out.weight", "conv_norm_out.bias", "conv_norm_out.weight"):
        del shapes[key]
    problem = weights.check(UNET, header_only(tmp_path / "unet.safetensors", shapes)).problem
    assert problem is not None
    assert "missing: conv_norm_out.weight, conv_norm_out.bias, conv_out.weight and 1 more" in problem.message
    assert "conv_in.weight is 320×4×3×3, not 320×8×3×3" in problem.message
    assert "foreign: extra.weight" in problem.message
    assert problem.hint.endswith("sonic weights fetch unet --accept-licences")


@NO_SPARSE
def test_whisper_as_the_hub_has_it_passes(tmp_path: Path) -> None:
    """With the decoder, and with `model.` before every key."""
    shapes = {f"model.{key}": shape for key, shape in WHISPER.shapes.items()}
    shapes |= {"model.decoder.embed_tokens.weight": (51865, 384), "proj_out.weight": (51865, 384)}
    report = weights.check(WHISPER, header_only(tmp_path / "model.safetensors", shapes, "F32"))
    assert (report.problem, report.tensors) == (None, 67)


def test_another_size_of_whisper_is_refused_by_shape(tmp_path: Path) -> None:
    shapes = {
        key: tuple(512 if side == 384 else side for side in shape) for key, shape in WHISPER.shapes.items()
    }
    problem = weights.check(WHISPER, header_only(tmp_path / "base.safetensors", shapes)).problem
    assert problem is not None and "encoder.conv1.weight is 512×80×3, not 384×80×3" in problem.message


def test_a_file_cut_short_says_how_much_is_there(tmp_path: Path) -> None:
    path = header_only(tmp_path / "cut.safetensors", TINY.shapes)
    whole = path.stat().st_size
    os.truncate(path, whole - 5)
    problem = weights.check(TINY, path).problem
    assert problem is not None and f"cut short: {whole - 5:,} of {whole:,} bytes" in problem.message
    os.truncate(path, 40)
    problem = weights.check(TINY, path).problem
    assert problem is not None and "cut short: 40 of" in problem.message


@pytest.mark.parametrize("spoil", ["gap", "longer", "bytes", "header"])
def test_a_damaged_safetensors_is_refused(spoil: str, tmp_path: Path) -> None:
    path = header_only(tmp_path / "bad.safetensors", TINY.shapes)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    if spoil == "gap":
        table["proj1.bias"]["data_offsets"][0] += 2
    elif spoil == "bytes":
        table["proj1.bias"]["shape"] = [3]
    head = b"{" + b"x" * 20 if spoil == "header" else json.dumps(table).encode()
    tail = data[8 + length :] + (b"\0" if spoil == "longer" else b"")
    path.write_bytes(len(head).to_bytes(8, "little") + head + tail)
    with pytest.raises(BadWeights, match="damaged"):
        read_contents(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "only a Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"PK\x03\x04" + b"\0" * 300, "cut short or damaged"),
        (b"GIF89a" + b"\0" * 100, "neither safetensors nor a PyTorch file"),
    ],
)
def test_what_is_no_model_is_called_what_it_is(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "unet.pth"
    path.write_bytes(content)
    problem = weights.check(UNET, path).problem
    assert problem is not None and words in problem.message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    problem = weights.check(UNET, tmp_path / "nothing.pth").problem
    assert problem is not None and "cannot be read" in problem.message


# ---- one-file checkpoints


def _resnet(width: tuple[int, int], temporal: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    into, out = width
    yield from (
        ("norm1.weight", (into,)),
        ("norm1.bias", (into,)),
        ("norm2.weight", (out,)),
        ("norm2.bias", (out,)),
    )
    yield from (("conv1.weight", (out, into, 3, 3)), ("conv1.bias", (out,)))
    yield from (("conv2.weight", (out, out, 3, 3)), ("conv2.bias", (out,)))
    if into != out:
        yield from (("nin_shortcut.weight", (out, into, 1, 1)), ("nin_shortcut.bias", (out,)))
    if temporal:
        yield "mix_factor", (1,)
        for norm, conv in (("in_layers.0", "in_layers.2"), ("out_layers.0", "out_layers.3")):
            yield from ((f"time_stack.{norm}.weight", (out,)), (f"time_stack.{norm}.bias", (out,)))
            yield from (
                (f"time_stack.{conv}.weight", (out, out, 3, 1, 1)),
                (f"time_stack.{conv}.bias", (out,)),
            )


def _middle(width: int, temporal: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for block in ("block_1", "block_2"):
        yield from ((f"mid.{block}.{key}", shape) for key, shape in _resnet((width, width), temporal))
    yield from (("mid.attn_1.norm.weight", (width,)), ("mid.attn_1.norm.bias", (width,)))
    for name in ("q", "k", "v", "proj_out"):
        yield from (
            (f"mid.attn_1.{name}.weight", (width, width, 1, 1)),
            (f"mid.attn_1.{name}.bias", (width,)),
        )


def _conv(name: str, out: int, into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.weight", (out, into, 3, 3)), (f"{name}.bias", (out,)))


def stability_encoder(widths: tuple[int, ...] = (128, 256, 512, 512)) -> dict[str, tuple[int, ...]]:
    """The VAE's encoder with the names of Stability's code."""
    rows = [*_conv("conv_in", widths[0], 3), *_middle(widths[-1], False), *_conv("conv_out", 8, widths[-1])]
    rows += [("norm_out.weight", (widths[-1],)), ("norm_out.bias", (widths[-1],))]
    before = widths[0]
    for level, width in enumerate(widths):
        for block in range(2):
            rows += [(f"down.{level}.block.{block}.{k}", s) for k, s in _resnet((before, width), False)]
            before = width
        rows += _conv(f"down.{level}.downsample.conv", width, width) if level < len(widths) - 1 else ()
    return {f"encoder.{key}": shape for key, shape in rows}


def stability_decoder(widths: tuple[int, ...] = (128, 256, 512, 512)) -> dict[str, tuple[int, ...]]:
    """The temporal decoder; its level 0 is that of the picture."""
    rows = [*_conv("conv_in", widths[-1], 4), *_middle(widths[-1], True), *_conv("conv_out", 3, widths[0])]
    rows += [("norm_out.weight", (widths[0],)), ("norm_out.bias", (widths[0],))]
    rows += [("conv_out.time_mix_conv.weight", (3, 3, 3, 1, 1)), ("conv_out.time_mix_conv.bias", (3,))]
    before = widths[-1]
    for level in reversed(range(len(widths))):
        for block in range(3):
            rows += [(f"up.{level}.block.{block}.{k}", s) for k, s in _resnet((before, widths[level]), True)]
            before = widths[level]
        rows += _conv(f"up.{level}.upsample.conv", before, before) if level else ()
    return {f"decoder.{key}": shape for key, shape in rows}


def stability_visual() -> dict[str, tuple[int, ...]]:
    """OpenCLIP ViT-H/14's image tower."""
    rows: dict[str, tuple[int, ...]] = {
        **{"class_embedding": (1280,), "positional_embedding": (257, 1280), "proj": (1280, 1024)},
        **{"conv1.weight": (1280, 3, 14, 14)},
        **{f"ln_{which}.{what}": (1280,) for which in ("pre", "post") for what in ("weight", "bias")},
    }
    for layer in range(32):
        at = f"transformer.resblocks.{layer}."
        rows |= {f"{at}ln_{n}.{what}": (1280,) for n in (1, 2) for what in ("weight", "bias")}
        rows |= {f"{at}attn.in_proj_weight": (3840, 1280), f"{at}attn.in_proj_bias": (3840,)}
        rows |= {f"{at}attn.out_proj.weight": (1280, 1280), f"{at}attn.out_proj.bias": (1280,)}
        rows |= {f"{at}mlp.c_fc.weight": (5120, 1280), f"{at}mlp.c_fc.bias": (5120,)}
        rows |= {f"{at}mlp.c_proj.weight": (1280, 5120), f"{at}mlp.c_proj.bias": (1280,)}
    return rows


def single_file_shapes(quant: bool = True) -> dict[str, tuple[int, ...]]:
    """A whole one-file checkpoint, but for most of its UNet."""
    encoder, latent = stability_encoder(), "first_stage_model."
    shapes: dict[str, tuple[int, ...]] = {"model.diffusion_model.input_blocks.0.0.weight": (320, 8, 3, 3)}
    shapes |= {latent + key: shape for key, shape in (encoder | stability_decoder()).items()}
    visual = "conditioner.embedders.0.open_clip.model.visual."
    shapes |= {visual + key: shape for key, shape in stability_visual().items()}
    if quant:
        condition = encoder | {"quant_conv.weight": (8, 8, 1, 1), "quant_conv.bias": (8,)}
        shapes |= {f"conditioner.embedders.3.encoder.{key}": shape for key, shape in condition.items()}
    return shapes


@NO_SPARSE
@pytest.mark.parametrize("quant", [True, False])
@pytest.mark.parametrize("part", [VAE, IMAGE_ENCODER], ids=lambda part: part.name)
def test_a_one_file_checkpoint_holds_vae_and_image_encoder(part: Part, quant: bool, tmp_path: Path) -> None:
    path = header_only(tmp_path / "svd_xt_1_1.safetensors", single_file_shapes(quant))
    report = weights.check(part, path)
    assert (report.problem, report.tensors) == (None, len(part.shapes))
    assert any("XT 1.1" in note for note in report.notes)
    assert weights.shapes(part, path) == dict(part.shapes)


def test_the_encoder_with_its_own_quant_conv_is_taken_when_there_is_one(tmp_path: Path) -> None:
    contents = read_contents(header_only(tmp_path / "svd.safetensors", single_file_shapes()))
    found = origins(VAE, contents.entries)
    sources = {origin.source or "" for key, origin in found.items() if key.startswith("encoder.")}
    assert all(source.startswith("conditioner.embedders.3.encoder.encoder.") for source in sources)
    assert found["decoder.up_blocks.0.resnets.2.time_mixer.mix_factor"].source == (
        "first_stage_model.decoder.up.3.block.2.mix_factor"
    )
    assert found["decoder.up_blocks.3.resnets.0.spatial_res_block.conv_shortcut.weight"].source == (
        "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight"
    )
    temporal = found["decoder.mid_block.resnets.1.temporal_res_block.conv2.weight"]
    assert temporal.source == "first_stage_model.decoder.mid.block_2.time_stack.out_layers.3.weight"


def test_values_out_of_a_one_file_checkpoint(torch: Any, tmp_path: Path) -> None:
    """Thirds of the joint matrix, the projection turned, attention flattened, quant_conv an identity."""
    save = pytest.importorskip("safetensors.torch").save_file
    visual = "conditioner.embedders.0.open_clip.model.visual."
    joint, proj = torch.randn(12, 4), torch.randn(4, 3)
    query, bias = torch.randn(5, 5, 1, 1), torch.randn(8)
    held = {
        f"{visual}transformer.resblocks.0.attn.in_proj_weight": joint,
        f"{visual}proj": proj,
        "first_stage_model.encoder.mid.attn_1.q.weight": query,
        "first_stage_model.encoder.conv_out.bias": bias,
    }
    path = tmp_path / "svd.safetensors"
    save(held, path)
    clip = dict(weights.tensors(IMAGE_ENCODER, path))
    for third, name in enumerate("qkv"):
        found = clip[f"vision_model.encoder.layers.0.self_attn.{name}_proj.weight"]
        assert torch.equal(found, joint[4 * third : 4 * third + 4])
    assert torch.equal(clip["visual_projection.weight"], proj.T)
    vae = dict(weights.tensors(VAE, path))
    assert torch.equal(vae["encoder.mid_block.attentions.0.to_q.weight"], query[:, :, 0, 0])
    moments = torch.randn(1, 8, 2, 2)
    through = torch.nn.functional.conv2d(moments, vae["quant_conv.weight"], vae["quant_conv.bias"])
    assert torch.equal(through, moments)


SDXL = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": (1, 77),
    "conditioner.embedders.1.model.text_projection": (1280, 1280),
    "first_stage_model.decoder.up.0.block.0.conv1.weight": (128, 128, 3, 3),
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
}


@pytest.mark.parametrize("part", [VAE, IMAGE_ENCODER], ids=lambda part: part.name)
def test_an_sdxl_checkpoint_given_as_svd_is_recognised(part: Part, tmp_path: Path) -> None:
    path = header_only(tmp_path / "svd_xt.safetensors", SDXL)
    problem = weights.check(part, path).problem
    assert problem is not None and "is a Stable Diffusion XL checkpoint" in problem.message
    found = weights.survey(search(tmp_path / "own", checkpoints=(tmp_path,)), [part])[part.name]
    assert found.state is PartState.WRONG and "Stable Diffusion XL" in found.detail


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (
            "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn2.to_k.weight",
            "own UNet, not Sonic's",
        ),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", "Stable Diffusion 1 checkpoint"),
        ("lora_unet_down_blocks_0.lora_down.weight", "a LoRA"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a Flux checkpoint"),
    ],
)
def test_foreign_files_are_called_by_their_names(key: str, words: str, tmp_path: Path) -> None:
    problem = weights.check(UNET, header_only(tmp_path / "unet.safetensors", {key: (4,)})).problem
    assert problem is not None and words in problem.message


def test_the_frame_wise_decoder_is_told_from_the_temporal_one(tmp_path: Path) -> None:
    shapes = {key: shape for key, shape in single_file_shapes().items() if "time_" not in key}
    problem = weights.check(VAE, header_only(tmp_path / "svd_xt_image_decoder.safetensors", shapes)).problem
    assert problem is not None and "frame-wise decoder" in problem.message


@pytest.mark.parametrize(
    ("path", "metadata", "version"),
    [
        ("checkpoints/svd_xt.safetensors", {}, "1.0"),
        ("checkpoints/svd_xt_1_1.safetensors", {}, "1.1"),
        ("checkpoints/SVD-XT-1.1.safetensors", {}, "1.1"),
        ("stable-video-diffusion-img2vid-xt-1-1/vae/model.safetensors", {}, "1.1"),
        ("models--stabilityai--stable-video-diffusion-img2vid-xt/snapshots/11/vae/m.safetensors", {}, "1.0"),
        ("renamed.safetensors", {"modelspec.title": "Stable Video Diffusion 1.1"}, "1.1"),
        ("renamed.safetensors", {}, None),
    ],
)
def test_versions_of_stable_video_diffusion(path: str, metadata: dict[str, str], version: str | None) -> None:
    assert svd_version(Path(path), metadata) == version


# ---- the frame-wise decoder


def _stability_decoder_name(key: str) -> str:
    """diffusers' name of a frame-wise decoder's tensor → Stability's, for four levels."""
    for new, old in (
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
        ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
        ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
        ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
        ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
        ("conv_norm_out.", "norm_out."),
        ("conv_shortcut.", "nin_shortcut."),
    ):
        key = key.replace(new, old)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{3 - int(found[1])}.block.", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda found: f"up.{3 - int(found[1])}.upsample.", key)


def _as_stability(held: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _stability_decoder_name(key): value[..., None, None]
        if ".attentions." in key and value.ndim == 2
        else value
        for key, value in held.items()
    }


def _as_early_diffusers(held: Mapping[str, Any]) -> dict[str, Any]:
    """With the names that the published file has."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    return {
        re.sub(r"(attentions\.0\.)(to_q|to_k|to_v|to_out\.0)", lambda m: m[1] + old[m[2]], key): value
        for key, value in held.items()
    }


IMAGE_VAE_FORMS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "diffusers": dict,
    "early diffusers": _as_early_diffusers,
    "WebUI": _as_stability,
    "checkpoint": lambda held: {f"first_stage_model.{key}": v for key, v in _as_stability(held).items()},
    "decoder alone": lambda held: {
        key: value
        for key, value in _as_stability(held).items()
        if key.startswith(("decoder.", "post_quant_conv."))
    },
}


@pytest.fixture(scope="module")
def image_vae() -> Any:
    """A random image VAE of a few channels."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.manual_seed(5)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 8, 8, 8), norm_num_groups=2, latent_channels=4, layers_per_block=2, **blocks
    ).eval()


def _own(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.clone().contiguous() for key, value in state.items()}


@pytest.mark.parametrize("form", IMAGE_VAE_FORMS)
def test_an_image_vae_decodes_the_same_from_every_form(form: str, image_vae: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    folder = tmp_path / "models" / "VAE"
    folder.mkdir(parents=True)
    save(_own(IMAGE_VAE_FORMS[form](image_vae.state_dict())), folder / "some name.safetensors")
    found = weights.survey(search(tmp_path / "own", webui=tmp_path / "models"), [IMAGE_VAE])["image_vae"]
    assert found.state is PartState.READY and found.path is not None
    with torch.device("meta"):
        network = type(image_vae).from_config(image_vae.config)
    del network.encoder, network.quant_conv
    weights.fill(network, IMAGE_VAE, found.path)
    latents = torch.randn(2, 4, 3, 5)
    with torch.inference_mode():
        wanted, got = image_vae.decode(latents).sample, network.decode(latents).sample
    held = image_vae.state_dict()
    assert all(torch.equal(tensor, held[key]) for key, tensor in network.state_dict().items())
    # mapped weights lie at other addresses, and so sums are formed in another order
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_stabilitys_names_are_those_that_diffusers_reads(image_vae: Any) -> None:
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    held = image_vae.state_dict()
    decoder = {key: value for key, value in held.items() if key.startswith(("decoder.", "post_quant"))}
    theirs = utils.convert_ldm_vae_checkpoint(
        _as_stability(decoder), {**image_vae.config, "down_block_types": [], "up_block_types": range(4)}
    )
    assert {key: value.flatten().tolist() for key, value in theirs.items() if value is not None} == {
        key: value.flatten().tolist() for key, value in decoder.items()
    }


def test_a_decoder_without_post_quant_conv_takes_the_latents_themselves(
    torch: Any, image_vae: Any, tmp_path: Path
) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    held = IMAGE_VAE_FORMS["checkpoint"](image_vae.state_dict())
    path = tmp_path / "svd_xt_image_decoder.safetensors"
    save(_own({key: value for key, value in held.items() if "quant_conv" not in key}), path)
    found = weights.survey(search(tmp_path / "own", configured=(tmp_path,)), [IMAGE_VAE])["image_vae"]
    assert found.path == path
    conv = dict(weights.tensors(IMAGE_VAE, path))
    latents = torch.randn(1, 4, 2, 2)
    through = torch.nn.functional.conv2d(
        latents, conv["post_quant_conv.weight"], conv["post_quant_conv.bias"]
    )
    assert torch.equal(through, latents)


def _image_vae_shapes(channels: int = 4) -> dict[str, tuple[int, ...]]:
    shapes = dict(IMAGE_VAE.shapes)
    return shapes | {"decoder.conv_in.weight": (512, channels, 3, 3)}


@NO_SPARSE
@pytest.mark.parametrize("name", ["sdxl_vae.safetensors", "XLVAE.safetensors", "ae.safetensors"])
def test_vaes_of_other_latents_are_passed_over_without_a_word(name: str, tmp_path: Path) -> None:
    header_only(tmp_path / "VAE" / name, _image_vae_shapes())
    header_only(tmp_path / "VAE" / "of sixteen channels.safetensors", _image_vae_shapes(16))
    header_only(tmp_path / "VAE" / "foreign.safetensors", SDXL)
    (tmp_path / "VAE" / "broken.safetensors").write_bytes(b"1234567")
    where = search(tmp_path / "own", webui=tmp_path)
    assert weights.survey(where, [IMAGE_VAE])["image_vae"].state is PartState.MISSING
    header_only(tmp_path / "VAE" / "vae-ft-mse-840000-ema-pruned.safetensors", _image_vae_shapes())
    found = weights.survey(where, [IMAGE_VAE])["image_vae"]
    assert (found.state, found.detail) == (PartState.READY, "")


@NO_SPARSE
@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (_image_vae_shapes(16), "decoder.conv_in.weight is 512×16×3×3, not 512×4×3×3"),
        (dict(VAE.shapes), "is Stable Video Diffusion's VAE"),
        (single_file_shapes(), "is a Stable Video Diffusion checkpoint"),
    ],
    ids=["sixteen channels", "temporal", "temporal in one file"],
)
def test_what_is_no_image_vae_is_named(shapes: Shapes, words: str, tmp_path: Path) -> None:
    path = header_only(tmp_path / "vae.safetensors", shapes)
    problem = weights.check(IMAGE_VAE, path).problem
    assert problem is not None and words in problem.message


# ---- settings and TorchScript


def test_the_scheduler_file_is_compared_with_what_is_built_in(tmp_path: Path) -> None:
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps(dict(weights.SCHEDULER_VALUES) | {"_class_name": "EulerDiscreteScheduler"}))
    assert weights.check(SCHEDULER, path).problem is None
    path.write_text(json.dumps(dict(weights.SCHEDULER_VALUES) | {"sigma_max": 80.0}))
    problem = weights.check(SCHEDULER, path).problem
    assert problem is not None and "sigma_max is 80.0, not 700.0" in problem.message


def test_torchscript_is_told_from_a_pickle_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "yoloface_v5m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"yoloface/{name}", b"")
    assert format_of(path) is Format.TORCHSCRIPT
    assert weights.check(YOLOFACE, path).problem is None
    problem = weights.check(UNET, path).problem
    assert problem is not None and "TorchScript" in problem.message


# ---- pickles and conversion


def test_a_pickle_becomes_safetensors_with_a_record(torch: Any, tmp_path: Path) -> None:
    held = tiny_tensors(torch)
    source = saved(torch, tmp_path / "audio2bucket.pth", held)
    stages: list[tuple[str, int, int, str]] = []
    target = weights.convert(
        TINY, source, tmp_path / "models" / "made.safetensors", tick=lambda *s: stages.append(s)
    )
    found = dict(weights.tensors(TINY, target))
    assert found.keys() == held.keys()
    assert all(torch.equal(found[key], held[key]) for key in held)
    record = json.loads(record_path(target).read_text())
    assert record["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert (record["dtypes"], record["tensors"], record["part"]) == (["F32"], 3, "audio2bucket")
    assert stages[-1][1] == stages[-1][2] and {(step[0], step[3]) for step in stages} >= {
        ("converting", "audio2bucket")
    }
    assert weights.check(TINY, target, hashes=True).problem is None


def test_safetensors_itself_reads_what_was_written(torch: Any, tmp_path: Path) -> None:
    load = pytest.importorskip("safetensors.torch").load_file
    held = tiny_tensors(torch) | {"proj1.weight": torch.randn(6, 4).T}  # not contiguous
    target = weights.convert(TINY, saved(torch, tmp_path / "a.pth", held), tmp_path / "a.safetensors")
    assert all(torch.equal(tensor, held[key]) for key, tensor in load(target).items())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_numbers_keep_their_precision(dtype: str, torch: Any, tmp_path: Path) -> None:
    """So that `precision=fp32` computes with those that were published; only double precision is cut."""
    held = {key: tensor.to(getattr(torch, dtype)) for key, tensor in tiny_tensors(torch).items()}
    target = weights.convert(TINY, saved(torch, tmp_path / "a.pth", held), tmp_path / "a.safetensors")
    wanted = torch.float32 if dtype == "float64" else getattr(torch, dtype)
    for key, tensor in weights.tensors(TINY, target):
        assert tensor.dtype == wanted and torch.equal(tensor, held[key].to(wanted))


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "old"])
def test_rife_loses_its_prefix_and_its_teacher(new_format: bool, torch: Any, tmp_path: Path) -> None:
    held = {f"module.{key}": torch.randn(shape) for key, shape in RIFE.shapes.items()}
    held["module.block_tea.conv0.0.0.weight"] = torch.randn(45, 18, 3, 3)
    source = saved(torch, tmp_path / "flownet.pkl", held, _use_new_zipfile_serialization=new_format)
    target = weights.convert(RIFE, source, weights.target_of(RIFE, tmp_path / "models"))
    assert target == tmp_path / "models" / "RIFE" / "flownet.safetensors"
    found = dict(weights.tensors(RIFE, target))
    assert found.keys() == RIFE.shapes.keys()
    assert all(torch.equal(found[key], held[f"module.{key}"]) for key in found)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize(
    "wrappings", [("state_dict",), ("module",), ("state_dict", "module"), ("model", "state_dict", "params")]
)
def test_weights_among_other_things_are_found(
    wrappings: tuple[str, ...], new_format: bool, torch: Any, tmp_path: Path
) -> None:
    held: dict[str, Any] = tiny_tensors(torch)
    for wrapping in reversed(wrappings):
        held = {"epoch": 4, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, wrapping: held}
    source = saved(torch, tmp_path / "a.pth", held, _use_new_zipfile_serialization=new_format)
    assert weights.check(TINY, source).problem is None


PREFIXES = ("module.", "model.", "unet.", "model.diffusion_model.", "_orig_mod.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("part", [*weights.REQUIRED, RIFE, IMAGE_VAE], ids=lambda part: part.name)
def test_a_prefix_before_the_keys_is_recognised_for_every_part(
    part: Part, prefix: str, tmp_path: Path
) -> None:
    path = header_only(tmp_path / "a.safetensors", {prefix + key: each for key, each in part.shapes.items()})
    assert weights.check(part, path).problem is None
    assert weights.shapes(part, path) == part.shapes


def test_a_part_is_taken_out_of_a_file_with_others_beside(torch: Any, tmp_path: Path) -> None:
    held = tiny_tensors(torch)
    more = {f"audio2token.{key}": torch.zeros(3, 3) for key in held}
    source = saved(torch, tmp_path / "a.pth", more | {f"audio2bucket.{key}": held[key] for key in held})
    found = dict(weights.tensors(TINY, weights.convert(TINY, source, tmp_path / "a.safetensors")))
    assert found.keys() == held.keys() and all(torch.equal(found[key], held[key]) for key in held)


def test_a_unet_under_stabilitys_names_is_called_one(tmp_path: Path) -> None:
    keys = ("input_blocks.0.0.weight", "input_blocks.1.1.time_stack.0.attn2.to_k.weight", "out.2.bias")
    path = header_only(tmp_path / "a.safetensors", {f"model.diffusion_model.{key}": (2, 2) for key in keys})
    problem = weights.check(UNET, path).problem
    assert problem is not None
    assert "is a UNet under the names of Stability's training code, not under diffusers'" in problem.message


def test_many_prefixes_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile header has every chain of wrappers; only the shortest are tried."""
    words = ("module", "model", "unet", "vae", "diffusion_model", "_orig_mod")
    chains = [f"{a}.{b}.{c}.{d}." for a in words for b in words for c in words for d in words]
    path = header_only(
        tmp_path / "a.safetensors", {f"{chain}{n}": (1,) for chain in chains for n in range(9)}
    )
    tried: list[Any] = []
    monkeypatch.setattr(mapping, "has_signs", lambda part, entries: tried.append(entries))
    assert weights.check(UNET, path).problem is not None
    assert 0 < len(tried) < 20


class _Evil:
    """Would make a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("way", ["zip", "old", "bare"])
def test_a_pickle_of_nothing_but_code_is_refused_and_does_not_run(
    way: str, torch: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "owned"
    source = tmp_path / "audio2bucket.pth"
    if way == "bare":
        source.write_bytes(pickle.dumps(_Evil(marker)))
    else:
        saved(torch, source, {"more": _Evil(marker)}, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(BadWeights) as caught:
        weights.convert(TINY, source, tmp_path / "made.safetensors")
    assert not marker.exists()
    assert not (tmp_path / "made.safetensors").exists()
    if way != "bare":
        assert "could run code" in caught.value.message and "mkdir" in caught.value.message


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "old"])
def test_code_beside_tensors_is_left_out_and_does_not_run(
    new_format: bool, torch: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "owned"
    held = tiny_tensors(torch)
    source = saved(
        torch, tmp_path / "a.pth", held | {"x": _Evil(marker)}, _use_new_zipfile_serialization=new_format
    )
    found = dict(weights.tensors(TINY, weights.convert(TINY, source, tmp_path / "made.safetensors")))
    assert found.keys() == held.keys() and all(torch.equal(found[key], held[key]) for key in held)
    assert not marker.exists()
    assert read_record(tmp_path / "made.safetensors")["left_out"] == [f"{os.mkdir.__module__}.mkdir"]


def test_no_environment_variable_makes_it_unsafe(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "owned"
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch) | {"x": _Evil(marker)})
    assert weights.check(TINY, source).problem is None
    assert not marker.exists()


def test_a_pickle_cut_short_is_said(torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "audio2bucket.pth", tiny_tensors(torch))
    os.truncate(source, source.stat().st_size // 2)
    problem = weights.check(TINY, source).problem
    assert problem is not None and "cut short or damaged" in problem.message


def test_a_host_that_replaces_torch_load_does_not_matter(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1111 puts a loader there that gives None for a file it does not know."""
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch))
    for module in (torch, torch.serialization):
        monkeypatch.setattr(module, "load", lambda *args, **named: None)
    weights.convert(TINY, source, tmp_path / "a.safetensors")


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["first", "last"])
def test_a_stopped_conversion_leaves_nothing(share: float, torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch))

    def tick(stage: str, done: int, total: int, detail: str) -> None:
        if done >= share * total:
            raise Cancelled

    target = tmp_path / "models" / "a.safetensors"
    with pytest.raises(Cancelled):
        weights.convert(TINY, source, target, tick=tick)
    assert list(target.parent.iterdir()) == []


def test_a_finished_conversion_is_not_overwritten_unasked(torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch))
    target = weights.convert(TINY, source, tmp_path / "a.safetensors")
    with pytest.raises(BadOutput, match="exists already"):
        weights.convert(TINY, source, target)
    weights.convert(TINY, source, target, again=True)


def test_room_is_looked_at_before_anything_is_written(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 50))
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch))
    with pytest.raises(BadOutput, match="has room for"):
        weights.convert(TINY, source, tmp_path / "models" / "a.safetensors")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_misfit_is_not_converted(torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch) | {"proj3.weight": torch.zeros(3, 4)})
    with pytest.raises(BadWeights, match=r"proj3\.weight is 3×4, not 2×4"):
        weights.convert(TINY, source, tmp_path / "a.safetensors")
    assert weights.convert(TINY, source, tmp_path / "a.safetensors", strict=False).is_file()


def test_an_altered_file_shows_in_its_hash(torch: Any, tmp_path: Path) -> None:
    target = weights.convert(
        TINY, saved(torch, tmp_path / "a.pth", tiny_tensors(torch)), tmp_path / "a.safetensors"
    )
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    assert weights.check(TINY, target).problem is None
    problem = weights.check(TINY, target, hashes=True).problem
    assert problem is not None and "altered or damaged" in problem.message


# ---- where they lie


def test_nothing_there_names_the_command(tmp_path: Path) -> None:
    found = weights.survey(search(tmp_path / "own"))
    assert not found.ready
    with pytest.raises(MissingPart) as caught:
        found.require()
    assert caught.value.exit_code == 4
    assert caught.value.hint == (
        "Bring them with: sonic weights fetch unet audio2token audio2bucket whisper vae image_encoder "
        "--accept-licences"
    )


@NO_SPARSE
def test_a_comfyui_tree_is_enough(tmp_path: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    models = comfy / "models" / "sonic"
    header_only(models / "unet.safetensors", UNET.shapes)
    header_only(models / "audio2token.safetensors", weights.AUDIO2TOKEN.shapes, "F32")
    header_only(models / "audio2bucket.safetensors", AUDIO2BUCKET.shapes, "F32")
    header_only(models / "whisper-tiny" / "model.safetensors", WHISPER.shapes, "F32")
    svd = header_only(
        comfy / "models" / "checkpoints" / "video" / "svd_xt_1_1.safetensors", single_file_shapes()
    )
    for where in (search(tmp_path / "a", comfyui=(comfy,)), search(tmp_path / "b", configured=(comfy,))):
        found = weights.survey(where)
        assert found.ready and weights.survey(where, weights.REQUIRED).ready
        assert found["vae"].path == found["image_encoder"].path == svd
        assert weights.prepare(where).keys() == {part.name for part in weights.REQUIRED}
        assert where.target == where.own


def test_the_webuis_folders_are_looked_into(tmp_path: Path) -> None:
    tiny = header_only(tmp_path / "models" / "sonic" / "Sonic" / "audio2bucket.safetensors", TINY.shapes)
    svd = header_only(tmp_path / "models" / "Stable-diffusion" / "svd_xt.safetensors", single_file_shapes())
    found = weights.survey(search(tmp_path / "own", webui=tmp_path / "models"), [TINY, VAE])
    assert (found["audio2bucket"].path, found["vae"].path) == (tiny, svd)
    assert found["vae"].place == "the WebUI"


def test_what_is_fetched_outlives_the_extension(tmp_path: Path) -> None:
    """Whoever deletes the extension's folder would delete gigabytes with it."""
    assert search(tmp_path / "own").target == tmp_path / "own"
    assert search(tmp_path / "own", host=tmp_path / "models").target == tmp_path / "models" / "sonic"
    named = search(tmp_path / "own", host=tmp_path / "models", configured=(tmp_path / "mine",))
    assert named.target == tmp_path / "mine"


def test_comfyui_says_where_its_models_are(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    unet = header_only(models / "sonic" / "unet.safetensors", SONIC_UNET)
    svd = header_only(elsewhere / "svd_xt.safetensors", single_file_shapes())
    given = Configuration(host_models=str(models), checkpoints=str(elsewhere))
    where = Search.default(configuration=given)
    found = weights.survey(where, [UNET, VAE])
    assert (found["unet"].path, found["vae"].path) == (unet, svd)
    assert found["unet"].place == "ComfyUI"
    assert where.target == models / "sonic"


def test_where_there_is_no_command_the_page_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_has_command", lambda: False)
    with pytest.raises(MissingPart) as caught:
        weights.survey(Search.alone(Path("nowhere"))).require()
    assert caught.value.hint == "Bring them with: the view Weights on Sonic's page"


SONIC_UNET = {"conv_in.weight": (8, 8, 3, 3), "mid_block.attn2.processor.to_k_ip.0.weight": (8, 8)}
"""What tells Sonic's UNet from others."""


@pytest.mark.parametrize("folder", ["unet", "diffusion_models", "diffusion_models/sonic"])
@pytest.mark.parametrize(
    "name", ["unet.safetensors", "unet_fp16.safetensors", "Sonic talks.fp16.safetensors"]
)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_unet_is_found_where_unets_are_kept(prefix: str, name: str, folder: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shapes = {prefix + key: shape for key, shape in SONIC_UNET.items()}
    path = header_only(models / folder / name, shapes)
    header_only(models / folder / "flux.safetensors", {"double_blocks.0.weight": (2, 2)})
    header_only(models / folder / "another.safetensors", {"down_blocks.0.attn2.to_k.weight": (2, 2)})
    for where in (
        search(tmp_path / "own", webui=models),
        search(tmp_path / "own", comfyui=(tmp_path,)),
        search(tmp_path / "own", configured=(models,)),
    ):
        found = weights.survey(where, [UNET])["unet"]
        assert (found.state, found.path, found.others, found.detail) == (PartState.READY, path, (), "")


@pytest.mark.parametrize("part", [UNET, WHISPER, AUDIO2BUCKET], ids=lambda part: part.name)
def test_exact_names_come_before_those_of_half_precision(part: Part, tmp_path: Path) -> None:
    own = tmp_path / "own"
    exact = own / part.converted
    names = [exact.with_name(f"{exact.stem}{half}.safetensors") for half in ("_fp16", ".fp16", "")]
    for count, path in enumerate(names, 1):
        header_only(path, part.shapes if part is not UNET else SONIC_UNET)
        found = weights.survey(search(own), [part])[part.name]
        assert (found.path, found.state, len(found.others)) == (path, PartState.READY, count - 1)


def test_of_files_with_any_name_those_of_half_precision_come_last(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for name in ("a_fp16", "b-bf16", "c", "d.fp16"):
        header_only(own / "unet" / f"{name}.safetensors", SONIC_UNET)
    found = weights.survey(search(own), [UNET])["unet"]
    assert [each.stem for each in (found.path, *(other.path for other in found.others)) if each] == [
        *("c", "a_fp16", "b-bf16", "d.fp16")
    ]


def test_a_pickle_among_other_unets_is_taken_only_if_it_is_sonics(torch: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    saved(torch, own / "unet" / "a_unet.pth", {"down_blocks.0.attn2.to_k.weight": torch.ones(2)})
    assert weights.survey(search(own), [UNET])["unet"].state is PartState.MISSING
    sonic = {key: torch.zeros(shape) for key, shape in SONIC_UNET.items()}
    path = saved(torch, own / "unet" / "unet.pth", {"state_dict": {"module": sonic}, "epoch": 3})
    found = weights.survey(search(own), [UNET])["unet"]
    assert (found.state, found.path) == (PartState.CONVERT, path)
    assert weights.prepare(search(own), [UNET]) == {"unet": own / UNET.converted}


def test_ready_beats_a_pickle_and_own_beats_configured(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    with zipfile.ZipFile(own / "audio2bucket.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    where = search(own, configured=(other,))
    assert weights.survey(where, [TINY])["audio2bucket"].state is PartState.CONVERT
    second = header_only(other / "audio2bucket.safetensors", TINY.shapes)
    assert weights.survey(where, [TINY])["audio2bucket"].path == second
    first = header_only(own / "Sonic" / "audio2bucket.safetensors", TINY.shapes)
    found = weights.survey(where, [TINY])["audio2bucket"]
    assert found.path == first and second in [each.path for each in found.others]


def test_a_broken_file_does_not_hide_a_good_one_and_is_told(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    broken = header_only(own / "audio2bucket.safetensors", TINY.shapes)
    os.truncate(broken, broken.stat().st_size - 1)
    where = search(own, configured=(other,))
    found = weights.survey(where, [TINY])
    assert found["audio2bucket"].state is PartState.WRONG and "cut short" in found["audio2bucket"].detail
    with pytest.raises(MissingPart, match="cut short"):
        found.require()
    good = header_only(other / "audio2bucket.safetensors", TINY.shapes)
    found = weights.survey(where, [TINY])
    assert found["audio2bucket"].path == good and "cut short" in found["audio2bucket"].detail


def test_a_folder_without_the_file_that_counts_is_partial(tmp_path: Path) -> None:
    (tmp_path / "own" / "whisper-tiny").mkdir(parents=True)
    (tmp_path / "own" / "whisper-tiny" / "config.json").write_text("{}")
    found = weights.survey(search(tmp_path / "own"), [WHISPER])["whisper"]
    assert found.state is PartState.PARTIAL and "not model.safetensors in it" in found.detail


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A Hub cache with two commits of one repository; `main` is the older file's."""
    root = tmp_path / "hub"
    folder = root / "models--LeonJoe13--Sonic"
    for commit in ("a" * 40, "b" * 40):
        header_only(folder / "snapshots" / commit / "Sonic" / "audio2bucket.safetensors", TINY.shapes)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    return root


CACHED = replace(TINY, hub_names=("Sonic/audio2bucket.safetensors",))


def test_the_hub_cache_gives_what_main_names(cache: Path, tmp_path: Path) -> None:
    found = weights.survey(search(tmp_path / "own", cache=cache), [CACHED])["audio2bucket"]
    assert found.state is PartState.READY and found.path is not None and "a" * 40 in found.path.parts
    hub = pytest.importorskip("huggingface_hub")
    theirs = hub.try_to_load_from_cache("LeonJoe13/Sonic", CACHED.hub_names[0], cache_dir=cache)
    assert Path(theirs) == found.path


def test_a_cache_without_refs_still_gives_something(cache: Path, tmp_path: Path) -> None:
    (cache / "models--LeonJoe13--Sonic" / "refs" / "main").unlink()
    assert (
        weights.survey(search(tmp_path / "own", cache=cache), [CACHED])["audio2bucket"].state
        is PartState.READY
    )


def test_an_interrupted_download_in_the_cache_is_told(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--LeonJoe13--Sonic" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'0' * 64}.incomplete").write_bytes(b"12")
    found = weights.survey(search(tmp_path / "own", cache=tmp_path / "hub"), [TINY])["audio2bucket"]
    assert found.state is PartState.PARTIAL and "stopped midway" in found.detail


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_cache_whose_blobs_are_gone_is_wrong_and_whose_blobs_are_altered_shows(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--LeonJoe13--Sonic"
    blob = header_only(folder / "blobs" / "new", TINY.shapes)
    blob = blob.rename(blob.with_name(hashlib.sha256(blob.read_bytes()).hexdigest()))
    link = folder / "snapshots" / ("a" * 40) / "Sonic" / "audio2bucket.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert weights.check(CACHED, link, hashes=True).problem is None
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"\1")
    assert weights.check(CACHED, link, hashes=True).problem is not None
    blob.unlink()
    found = weights.survey(search(tmp_path / "own", cache=tmp_path / "hub"), [CACHED])["audio2bucket"]
    assert found.state is PartState.WRONG and "cannot be read" in found.detail


def test_environment_names_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_MODELS", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "comfy"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    where = Search.default()
    assert where.configured == (tmp_path / "a", tmp_path / "b")
    assert (where.comfyui, where.cache, where.target) == (
        (tmp_path / "comfy",),
        tmp_path / "hub",
        tmp_path / "a",
    )
    assert Search.default(models=tmp_path / "c").configured == (tmp_path / "c",)


def test_a_pickle_is_converted_once_and_a_newer_one_is_noticed(torch: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    source = saved(torch, own / "Sonic" / "audio2bucket.pth", tiny_tensors(torch))
    where = search(own)
    first = weights.prepare(where, [TINY])["audio2bucket"]
    assert first == own / "Sonic" / "audio2bucket.safetensors"
    stamp = first.stat().st_mtime_ns
    assert weights.prepare(where, [TINY])["audio2bucket"] == first
    assert first.stat().st_mtime_ns == stamp
    saved(torch, source, {key: tensor + 1 for key, tensor in tiny_tensors(torch).items()})
    os.utime(source, ns=(1, 1))
    assert "has changed since" in weights.survey(where, [TINY])["audio2bucket"].detail


def test_optional_parts_that_lack_are_left_out_and_required_ones_are_not(tmp_path: Path) -> None:
    assert weights.prepare(search(tmp_path / "own"), [RIFE, YOLOFACE]) == {}
    with pytest.raises(MissingPart, match="audio2bucket is missing"):
        weights.prepare(search(tmp_path / "own"), [TINY])


SMALL = 8
"""Most that a side has in the small sets below."""


def small_set(torch: Any, folder: Path) -> Path:
    """Every part with its published keys, but few channels, as the published files lie."""
    for part in (*weights.REQUIRED, RIFE):
        held = {key: torch.zeros([min(side, SMALL) for side in shape]) for key, shape in part.shapes.items()}
        path = folder / part.folders[0] / part.hub_names[0]
        if path.suffix == ".safetensors":
            path.parent.mkdir(parents=True, exist_ok=True)
            pytest.importorskip("safetensors.torch").save_file(held, path)
        else:
            saved(torch, path, held)
    return folder


def test_a_small_set_of_the_right_keys_is_good_for_the_engine(torch: Any, tmp_path: Path) -> None:
    """Networks are built from the shapes in the files; `check` says that they are not the published ones."""
    where = search(tmp_path / "own", configured=(small_set(torch, tmp_path / "small ε 模"),))
    found = weights.survey(where)
    assert found.ready and [each.part.name for each in found.findings if each.state is PartState.WRONG] == []
    paths = weights.prepare(where, PARTS)
    assert paths.keys() == {part.name for part in (*weights.REQUIRED, RIFE)}
    assert all(path.suffix == ".safetensors" for path in paths.values())
    assert weights.shapes(UNET, paths["unet"])["conv_in.weight"] == (8, 8, 3, 3)
    problem = weights.check(UNET, paths["unet"]).problem
    assert problem is not None and "conv_in.weight is 8×8×3×3, not 320×8×3×3" in problem.message


def test_a_pickle_called_safetensors_is_not_converted_onto_itself(torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "own" / TINY.converted, tiny_tensors(torch))
    before = source.read_bytes()
    with pytest.raises(BadWeights, match=r"pickle under the name.*Rename it to audio2bucket\.pth"):
        weights.prepare(search(tmp_path / "own"), [TINY])
    assert source.read_bytes() == before


def test_a_folder_that_the_system_refuses_to_look_into_is_no_accident(tmp_path: Path) -> None:
    found = weights.survey(search(tmp_path / "own", configured=(tmp_path / ("x" * 5000),)))
    assert {each.state for each in found.findings} == {PartState.MISSING}


@pytest.mark.parametrize("what", ["namespace", "number"])
def test_more_than_tensors_is_said_with_its_name(what: str, torch: Any, tmp_path: Path) -> None:
    more = argparse.Namespace(rate=1) if what == "namespace" else Fraction(1, 3)
    kind = type(more)
    source = saved(torch, tmp_path / "a.pth", {"state_dict": tiny_tensors(torch), "more": more})
    report = weights.check(TINY, source)
    assert report.problem is None
    assert f"Holds more than tensors ({kind.__module__}.{kind.__name__})" in report.notes[-1]
    problem = weights.check(TINY, saved(torch, tmp_path / "b.pth", {"more": more})).problem
    assert problem is not None
    assert f"only objects that could run code ({kind.__module__}.{kind.__name__})" in problem.message
    assert problem.hint.endswith("sonic weights fetch audio2bucket --accept-licences")


# ---- loading


def _network(torch: Any) -> Any:
    with torch.device("meta"):
        network = torch.nn.Module()
        network.proj1, network.proj3 = torch.nn.Linear(6, 4), torch.nn.Linear(4, 2, bias=False)
    return network


@pytest.fixture
def converted(torch: Any, tmp_path: Path) -> Path:
    return weights.convert(
        TINY, saved(torch, tmp_path / "a.pth", tiny_tensors(torch)), tmp_path / "a.safetensors"
    )


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16", "float64"])
def test_a_meta_module_is_filled(dtype: str | None, torch: Any, converted: Path) -> None:
    network = _network(torch)
    wanted = getattr(torch, dtype) if dtype else torch.float32
    weights.fill(network, TINY, converted, dtype=wanted if dtype else None)
    for key, tensor in tiny_tensors(torch).items():
        assert torch.equal(network.state_dict()[key], tensor.to(wanted))
    assert network.proj1(torch.zeros(1, 6, dtype=wanted)).shape == (1, 4)


def test_a_tensor_of_the_wanted_type_is_the_file_itself(torch: Any, converted: Path) -> None:
    """Mapped, not copied: both reads show the same pages only as long as nobody copied them."""
    pytest.importorskip("resource")
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of mappings here")
    network = _network(torch)
    weights.fill(network, TINY, converted)
    spans = [
        line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(converted.name)
    ]
    inside = [
        any(int(low, 16) <= tensor.data_ptr() < int(high, 16) for low, high in spans)
        for tensor in network.state_dict().values()
    ]
    assert inside == [True] * 3


def test_what_does_not_fit_the_module_is_named(torch: Any, converted: Path) -> None:
    network = _network(torch)
    network.proj3 = torch.nn.Linear(4, 5, bias=True, device="meta")
    with pytest.raises(BadWeights) as caught:
        weights.fill(network, TINY, converted)
    assert "missing: proj3.bias" in caught.value.message
    assert "proj3.weight is 2×4, not 5×4" in caught.value.message
    del network.proj3
    with pytest.raises(BadWeights, match=r"foreign: proj3\.weight"):
        weights.fill(network, TINY, converted)


def test_a_part_of_the_keys_fills_a_part_of_the_network(torch: Any, converted: Path) -> None:
    linear = torch.nn.Linear(6, 4, device="meta")
    weights.fill(linear, TINY, converted, prefix="proj1.")
    assert torch.equal(linear.bias, tiny_tensors(torch)["proj1.bias"])


def test_position_ids_are_made_and_other_unsaved_buffers_are_not_forgotten(
    torch: Any, converted: Path
) -> None:
    network = _network(torch)
    network.register_buffer(
        "position_ids", torch.zeros(1, 5, dtype=torch.int64, device="meta"), persistent=False
    )
    weights.fill(network, TINY, converted)
    assert network.position_ids.tolist() == [[0, 1, 2, 3, 4]]
    network = _network(torch)
    network.register_buffer("table", torch.zeros(3, device="meta"), persistent=False)
    with pytest.raises(BadWeights, match=r"stays incomplete.*table"):
        weights.fill(network, TINY, converted)


def test_a_pickle_is_not_loaded_directly(torch: Any, tmp_path: Path) -> None:
    source = saved(torch, tmp_path / "a.pth", tiny_tensors(torch))
    with pytest.raises(BadWeights, match="is a pickle"):
        weights.fill(_network(torch), TINY, source)


# ---- fetching

HUB_PART = replace(TINY, hub_names=("Sonic/bucket.safetensors",), more=("config.json",))


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return header_only(
        tmp_path / "on-hub.safetensors", TINY.shapes | {"proj1.weight": (2000, 2000)}, "F32"
    ).read_bytes()


@pytest.fixture
def hub(content: bytes) -> Iterator[TinyHub]:
    pytest.importorskip("httpx")
    files = {"LeonJoe13/Sonic/Sonic/bucket.safetensors": content, "LeonJoe13/Sonic/config.json": b"{}"}
    with serving(TinyHub(files)) as running:
        yield running


def test_files_come_with_progress_and_a_record(hub: TinyHub, content: bytes, tmp_path: Path) -> None:
    ticks: list[tuple[str, int, int, str]] = []
    where = tmp_path / "models"
    paths = weights.fetch([HUB_PART], where, accept=True, endpoint=hub.url, tick=lambda *s: ticks.append(s))
    assert paths == {"audio2bucket": where / "Sonic" / "bucket.safetensors"}
    assert paths["audio2bucket"].read_bytes() == content
    assert (where / "config.json").read_bytes() == b"{}"
    record = read_record(paths["audio2bucket"])
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert (record["commit"], record["licence"], record["repo"]) == (
        COMMIT,
        "CC BY-NC-SA 4.0",
        "LeonJoe13/Sonic",
    )
    assert ("fetching", len(content), len(content), "audio2bucket: bucket.safetensors") in ticks
    assert sorted(path.name for path in (where / "Sonic").iterdir()) == [
        *("bucket.safetensors", "bucket.safetensors.json")
    ]
    asked = len(hub.ranges)
    weights.fetch([HUB_PART], where, accept=True, endpoint=hub.url)
    assert len(hub.ranges) == asked


def test_a_stopped_download_goes_on_where_it_stopped(hub: TinyHub, content: bytes, tmp_path: Path) -> None:
    hub.stop_after = 12_000_000

    def tick(stage: str, done: int, total: int, detail: str) -> None:
        if done:
            raise Cancelled

    where = tmp_path / "models"
    with pytest.raises(Cancelled):
        weights.fetch([HUB_PART], where, accept=True, endpoint=hub.url, tick=tick)
    assert not (where / "Sonic" / "bucket.safetensors").exists()
    left = weights.survey(search(where), [HUB_PART])["audio2bucket"]
    assert left.state is PartState.PARTIAL and left.path is not None
    there = left.path.stat().st_size
    assert 0 < there <= 12_000_000 and f"stopped after {there:,} bytes" in left.detail
    hub.stop_after = None
    paths = weights.fetch([HUB_PART], where, accept=True, endpoint=hub.url)
    assert paths["audio2bucket"].read_bytes() == content
    assert hub.ranges[:2] == ["", f"bytes={there}-"]


def test_bytes_that_are_not_the_announced_ones_are_thrown_away(
    hub: TinyHub, content: bytes, tmp_path: Path
) -> None:
    hub.lies = content[:-1] + b"\1"
    with pytest.raises(BadWeights, match="SHA-256"):
        weights.fetch([HUB_PART], tmp_path / "models", accept=True, endpoint=hub.url)
    assert list((tmp_path / "models" / "Sonic").iterdir()) == []


def test_a_gated_repository_says_how_to_get_in(hub: TinyHub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(MissingPart) as caught:
        weights.fetch([VAE], tmp_path / "models", accept=True, endpoint=hub.url)
    assert "accepted its terms" in caught.value.message
    assert "hf auth login" in caught.value.hint and "svd_xt.safetensors" in caught.value.hint


def test_a_file_that_is_no_longer_there_is_said(hub: TinyHub, tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match="no longer has the file"):
        weights.fetch([UNET], tmp_path / "models", accept=True, endpoint=hub.url)


def test_another_server_never_sees_the_token(
    hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    weights.fetch([HUB_PART], tmp_path / "models", accept=True, endpoint=hub.url)
    assert hub.tokens and set(hub.tokens) == {""}


def test_the_hub_sees_the_token_and_its_storage_does_not(
    hub: TinyHub, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.storage = hub.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    paths = weights.fetch([HUB_PART], tmp_path / "models", accept=True)
    assert paths["audio2bucket"].read_bytes() == content
    assert read_record(paths["audio2bucket"])["commit"] == COMMIT
    assert hub.tokens == ["Bearer hf_secret"] * 2 + [""] * 2


def test_a_stored_token_is_found(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    (tmp_path / "token").write_text("hf_stored\n")
    weights.fetch([HUB_PART], tmp_path / "models", accept=True)
    assert set(hub.tokens) == {"Bearer hf_stored"}


def test_a_broken_connection_is_made_anew(hub: TinyHub, content: bytes, tmp_path: Path) -> None:
    hub.breaks_after = 100_000
    paths = weights.fetch([HUB_PART], tmp_path / "models", accept=True, endpoint=hub.url)
    assert paths["audio2bucket"].read_bytes() == content
    (again,) = (asked for asked in hub.ranges if asked)
    assert 0 < int(again[6:-1]) <= 100_000


def test_a_server_without_ranges_begins_anew(hub: TinyHub, content: bytes, tmp_path: Path) -> None:
    hub.knows_ranges, hub.breaks_after = False, 100_000
    paths = weights.fetch([HUB_PART], tmp_path / "models", accept=True, endpoint=hub.url)
    assert paths["audio2bucket"].read_bytes() == content


def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    with serving(TinyHub({})) as gone:
        pass
    with pytest.raises(MissingPart, match="cannot be reached") as caught:
        weights.fetch([UNET], tmp_path / "models", accept=True, endpoint=gone.url)
    assert "copy the files" in caught.value.hint


def test_offline_mode_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingPart, match="HF_HUB_OFFLINE"):
        weights.fetch([UNET], tmp_path / "models", accept=True)


def test_no_room_is_said_before_the_download(
    hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 50))
    with pytest.raises(BadOutput, match="has room for"):
        weights.fetch([HUB_PART], tmp_path / "models", accept=True, endpoint=hub.url)
    assert hub.ranges == []


def test_licences_come_first(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not been accepted: CC BY-NC-SA 4\.0, Stability AI"):
        weights.fetch([UNET, VAE], tmp_path / "models", accept=False)
    text = weights.licence_text([UNET, RIFE, VAE])
    assert text.count("CC BY-NC-SA 4.0") == 1 and "Not for commercial use" in text


# ---- the command

Sonic = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def sonic(capsys: pytest.CaptureFixture[str]) -> Sonic:
    def call(*words: str | Path) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = cli.main(["weights", *map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return call


def test_list_says_what_is_there_and_what_brings_the_rest(sonic: Sonic, tmp_path: Path) -> None:
    header_only(tmp_path / "svd_xt.safetensors", single_file_shapes())
    code, values, err = sonic("list", "--models", tmp_path)
    states = {part["name"]: part["state"] for part in values["parts"]}
    assert code == 0 and not values["ready"]
    assert states["vae"] == states["image_encoder"] == "ready" and states["unet"] == "missing"
    assert "sonic weights fetch unet audio2token audio2bucket whisper --accept-licences" in err


def test_check_fails_with_4_and_names_the_file(sonic: Sonic, tmp_path: Path) -> None:
    header_only(tmp_path / "svd_xt.safetensors", SDXL)
    code, values, err = sonic("check", "vae", "--models", tmp_path)
    assert (code, values["ok"], values["exit_code"]) == (4, False, 4)
    assert "Stable Diffusion XL" in values["files"][0]["problem"]["message"] and "Stable Diffusion XL" in err


def test_check_of_a_missing_part_that_was_named_fails_though_it_is_optional(
    sonic: Sonic, tmp_path: Path
) -> None:
    code, values, err = sonic("check", "rife", "--models", tmp_path)
    assert (code, values["ok"], values["lacking"][0]["name"]) == (4, False, "rife")
    assert "sonic weights fetch rife --accept-licences" in err


def test_a_cut_file_comes_with_the_command_that_brings_it(sonic: Sonic, tmp_path: Path) -> None:
    path = header_only(tmp_path / "audio2bucket.safetensors", TINY.shapes)
    os.truncate(path, path.stat().st_size - 1)
    code, values, _ = sonic("check", "audio2bucket", "--file", path)
    problem = values["files"][0]["problem"]
    assert code == 4 and "cut short" in problem["message"]
    assert problem["hint"].endswith("sonic weights fetch audio2bucket --accept-licences")


@NO_SPARSE
def test_check_takes_a_file(sonic: Sonic, tmp_path: Path) -> None:
    path = header_only(tmp_path / "anything.safetensors", RIFE.shapes)
    code, values, _ = sonic("check", "rife", "--file", path)
    assert (code, values["ok"], values["files"][0]["tensors"]) == (0, True, 120)
    code, values, _ = sonic("check", "--file", path)
    assert (code, values["error"]) == (2, "BadSetting")


def test_convert_writes_into_the_named_folder(sonic: Sonic, torch: Any, tmp_path: Path) -> None:
    held = {f"module.{key}": torch.zeros(shape) for key, shape in RIFE.shapes.items()}
    saved(torch, tmp_path / "RIFE" / "flownet.pkl", held)
    code, values, _ = sonic("convert", "--models", tmp_path)
    assert (code, list(values["converted"])) == (0, ["rife"])
    assert Path(values["converted"]["rife"]) == tmp_path / "RIFE" / "flownet.safetensors"
    assert sonic("check", "rife", "--hash", "--models", tmp_path)[0] == 0
    assert sonic("convert", "--models", tmp_path)[1] == {"converted": {}}
    assert list(sonic("convert", "rife", "--again", "--models", tmp_path)[1]["converted"]) == ["rife"]


def test_convert_takes_other_sizes_only_when_told(sonic: Sonic, torch: Any, tmp_path: Path) -> None:
    saved(torch, tmp_path / "audio2bucket.pth", tiny_tensors(torch))
    code, values, _ = sonic("convert", "--models", tmp_path)
    assert (code, values["error"]) == (4, "BadWeights") and "proj1.weight is 4×6" in values["message"]
    code, values, _ = sonic("convert", "--any-size", "--models", tmp_path)
    assert (code, list(values["converted"])) == (0, ["audio2bucket"])


def test_fetch_shows_the_licences_and_wants_them_accepted(sonic: Sonic, tmp_path: Path) -> None:
    code, values, err = sonic("fetch", "rife", "--models", tmp_path)
    assert (code, values["error"]) == (2, "BadInput")
    assert "https://creativecommons.org/licenses/by-nc-sa/4.0/" in err


def test_fetch_brings(sonic: Sonic, hub: TinyHub, tmp_path: Path) -> None:
    hub.files["LeonJoe13/Sonic/RIFE/flownet.pkl"] = b"\x80\x02" + b"0" * 100
    words = ("fetch", "rife", "--accept-licences", "--endpoint", hub.url, "--models", tmp_path / "models")
    code, values, err = sonic(*words)
    assert code == 0 and Path(values["fetched"]["rife"]).read_bytes().startswith(b"\x80\x02")
    assert "sonic weights convert" in err


def test_fetch_without_a_hub_exits_with_4(sonic: Sonic, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    with serving(TinyHub({})) as gone:
        pass
    words = ("fetch", "rife", "--accept-licences", "--endpoint", gone.url, "--models", tmp_path / "models")
    code, values, _ = sonic(*words)
    assert (code, values["error"]) == (4, "MissingPart")
