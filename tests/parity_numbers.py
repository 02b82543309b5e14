"""Recorded numbers of the published inference: how their inputs and weights are made from names.

The form is described in `data/parity/README.md`. Nothing here knows particular sizes, seeds or lengths.
"""

from __future__ import annotations

import json
import math
import re
import wave
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from oracle_unet import config_of
from PIL import Image
from safetensors.torch import load_file

from sonic_ext.nn import audio, clip, interpolate, unet, vae, whisper
from sonic_ext.nn.build import fill
from sonic_ext.nn.unet import Level

PLACES = r"(?:down_blocks|up_blocks|mid_block)[\w.]*"
"""A module of the UNet, in words about a case."""


def _generator(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))


def normal(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The input of a name without `input:`."""
    return torch.from_numpy(_generator(f"input:{name}").standard_normal(shape).astype(np.float32))


def weight(key: str, shape: tuple[int, ...], slope: bool = False) -> torch.Tensor:
    """The weight of a key; `slope` for a network whose vectors called weight are slopes of PReLU."""
    noise, last = _generator(key).standard_normal(shape), key.rsplit(".", 1)[-1]
    if last == "mix_factor":
        value = 0.3 * noise
    elif len(shape) >= 2:
        value = noise / math.sqrt(math.prod(shape[1:]))
    elif last == "weight":
        value = (0.25 if slope else 1.0) + 0.1 * noise
    else:
        value = 0.02 * noise
    return torch.from_numpy(np.asarray(value).astype(np.float32))


def filled(module: Any, prefix: str = "", slope: bool = False) -> Any:
    """The network with the weights that its keys, after a prefix, stand for."""
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    shapes = {key: shape for key, shape in shapes.items() if not key.endswith("position_ids")}
    return fill(module, {key: weight(prefix + key, shape, slope) for key, shape in shapes.items()})


def described(text: str, **known: int) -> torch.Tensor:
    """The tensor that words like `tanh(normal('input:g_ref',(1,3,128,192)))` stand for."""
    found = re.search(r"normal\('input:([^']+)',\s*\(([^)]*)\)\)", text)
    assert found, f"no input in {text!r}"
    name = re.sub(r"<(\w+)>", lambda place: str(known[place[1]]), found[1])
    value = normal(name, sized(found[2], **known))
    return torch.tanh(value) if text.lstrip().startswith("tanh") else value


def sized(text: str, **known: int) -> tuple[int, ...]:
    """A shape in words, such as `3,h*w,64`."""
    return tuple(
        math.prod(known[part] if part in known else int(part) for part in side.strip().split("*"))
        for side in text.split(",")
        if side.strip()
    )


def block_mask(size: tuple[int, int], ones: tuple[int, int, int, int]) -> torch.Tensor:
    """A mask [height, width] with ones from top, left to bottom, right."""
    mask = torch.zeros(size)
    top, left, bottom, right = ones
    mask[top:bottom, left:right] = 1
    return mask


def fractional_mask(text: str, size: tuple[int, int] | None = None) -> torch.Tensor:
    """The mask of words like `1x1x128x192 zeros; ones in rows int(.2H):int(.7H), cols …`."""
    height, width = size or tuple(int(side) for side in text.split()[0].split("x")[-2:])
    top, bottom, left, right = (float(share) for share in re.findall(r"int\(([\d.]+)[HW]\)", text))
    ones = (int(top * height), int(left * width), int(bottom * height), int(right * width))
    return block_mask((height, width), ones)


CHIRP = (
    r"int16 round\(([\d.]+)\*32767\*sin\(2pi\(([\d.]+)t\+([\d.]+)t\^2\)\)"
    r"\*\(([\d.]+)\+([\d.]+) sin\(2pi ([\d.]+) t\)\)\), t=n/16000, n<(\d+)"
)
"""Words for a rising tone that swells, and how many samples it has."""


def chirp(text: str) -> np.ndarray:
    """The sound that such words stand for."""
    found = re.fullmatch(CHIRP, text)
    if not found:
        raise LookupError(f"no sound in {text!r}")
    loud, start, rise, mean, swell, beat, count = map(float, found.groups())
    t = np.arange(int(count)) / 16000
    tone = np.sin(2 * np.pi * (start * t + rise * t**2)) * (mean + swell * np.sin(2 * np.pi * beat * t))
    return (np.round(loud * 32767 * tone) / 32768).astype(np.float32)


SPAN = r"(?:(?P<start>\d*) ?(?::|\.\.|, |-|–|to) ?(?P<stop>\d*)|(?:n ?< ?)?(?P<count>\d+))?"
"""From where to where, or how many from the beginning; nothing is all."""


def cut(told: Any) -> tuple[str, slice]:
    """A sound's file and which of its samples are meant.

    Args:
        told: `[start, stop]`, a count, or words such as `speech.wav[0:16000]` or `first 16000 samples`.

    Raises:
        LookupError: it says something else.
    """
    text = str(told) if isinstance(told, (int, list)) and not isinstance(told, bool) else told
    if not isinstance(text, str):
        raise LookupError(f"audio: no samples in {told!r}")
    name = re.search(r"[\w.-]+\.wav\b", text)
    rest = text.replace(name[0], "") if name else text
    span = " ".join(re.sub(r"\b(first|samples?|of|from|all)\b|[\[\]()]", " ", rest).split())
    found = re.fullmatch(SPAN, span)
    if not found or not (name or span):
        raise LookupError(f"audio: no samples in {told!r}")
    start, stop = (int(text) if text else None for text in (found["start"], found["stop"] or found["count"]))
    if stop is not None and stop <= (start or 0):
        raise LookupError(f"audio: no samples in {told!r}")
    return name[0] if name else "speech.wav", slice(start, stop)


def whole_numbers(key: str, told: Any) -> list[int]:
    """A list of whole numbers, also in words such as `(1, 3, 17)`.

    Raises:
        LookupError: the key says something else.
    """
    if isinstance(told, str) and re.fullmatch(r"[\[(]?\s*-?\d+(,\s*-?\d+)*,?\s*[\])]?", told):
        return [int(number) for number in re.findall(r"-?\d+", told)]
    if isinstance(told, list) and all(type(number) is int for number in told):
        return told
    raise LookupError(f"{key}: no whole numbers in {told!r}")


@dataclass(frozen=True)
class Numbers:
    """A folder of recorded cases; networks are built when first asked for."""

    folder: Path
    usual: Path
    """The folder that ships: its configuration serves a folder without one."""
    device: str = "cpu"
    """Where the networks compute."""
    dtype: torch.dtype = torch.float32
    """Of UNet, VAE and CLIP; the others compute in float32, as in the engine."""

    def path(self, name: str, key: str = "file") -> Path:
        """A file of the folder, or of the usual one, that a key names."""
        found = [path for path in (self.folder / name, self.usual / name) if path.exists()]
        if not found:
            raise LookupError(f"{key}: no {name} in {self.folder}")
        return found[0]

    def json(self, name: str) -> Any:
        """What a JSON file says."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of a safetensors file."""
        return load_file(self.folder / name)

    def wav(self, name: str) -> np.ndarray:
        """16-bit mono sound as float32."""
        with wave.open(str(self.path(name, "audio")), "rb") as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
            return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768

    def picture(self, name: str) -> np.ndarray:
        """uint8 RGB [height, width, 3] of an image file."""
        return np.asarray(Image.open(self.path(name, "image")).convert("RGB"))

    def placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """An input of UNet, VAE or CLIP."""
        return tensor.to(self.device, self.dtype)

    def level(self, level: Level) -> Level:
        """A face mask on the device."""
        return level.to(self.device)

    def levels(self, levels: Mapping[int, Level]) -> dict[int, Level]:
        """The face mask of every grid on the device."""
        return {size: self.level(level) for size, level in levels.items()}

    @cached_property
    def tiny(self) -> Mapping[str, Any]:
        """The configurations."""
        return self.json("config.json")["tiny"]

    @cached_property
    def unet(self) -> Any:
        return self._large(filled(unet.build_unet(config_of(self.tiny["unet"]))))

    @cached_property
    def vae(self) -> Any:
        return self._large(filled(vae.build_vae(self.tiny["vae"])))

    @cached_property
    def clip(self) -> Any:
        return self._large(filled(clip.build_clip(self.tiny["clip"])))

    @cached_property
    def whisper(self) -> Any:
        return filled(whisper.build_whisper(self.tiny["whisper"]), prefix="encoder.").to(self.device)

    @cached_property
    def audio2token(self) -> Any:
        return filled(audio.build_audio2token(self.tiny["audio2token"])).to(self.device)

    @cached_property
    def audio2bucket(self) -> Any:
        return filled(audio.build_audio2bucket(self.tiny["audio2bucket"])).to(self.device)

    @cached_property
    def rife(self) -> Any:
        return filled(interpolate.build_interpolator(), slope=True).to(self.device)

    def _large(self, network: Any) -> Any:
        return network.to(self.device, self.dtype)


def whole() -> dict[str, tuple[Callable[[], Any], str]]:
    """Manifest → the full-size network and what its keys begin with in the checkpoint."""
    return {
        "unet": (unet.build_unet, ""),
        "audio2token": (audio.build_audio2token, ""),
        "audio2bucket": (audio.build_audio2bucket, ""),
        "rife_flownet": (interpolate.build_interpolator, "module."),
        "vae": (vae.build_vae, ""),
        "image_encoder": (clip.build_clip, ""),
        "whisper_tiny": (whisper.build_whisper, "encoder."),
    }


def keys_of(module: Any, prefix: str) -> Iterator[tuple[str, list[int]]]:
    """Keys and shapes as a checkpoint has them."""
    for key, value in module.state_dict().items():
        if not key.endswith("position_ids"):
            yield prefix + key, list(value.shape)
