"""Whether masks keep two voices apart where the sonic engine's network draws two faces in one picture.

    python benchmarks/two_voices.py MINIATURE --pairs 4 --sheet sheet.png

MINIATURE is a folder of `sonic train miniature`, with MINIATURE.training beside it. Of two clips with faces
and voices that nothing was learned from, the portraits stand side by side in one picture; each face is to say
its own clip's lines. Drawn are

- `alone`: each face in a picture of its own, which is what there is to keep;
- `sum`: both in one picture, both hear the sum of the voices, as one mask over both faces has it;
- `masks in space`: each face's pixels attend to that face's voice; layers in time hear the mean of both;
- `masks`: layers in time, too: the left half hears the left face's voice, the right half the other;
- `masks, portraits`: each half attends to that face's own embedding besides.

Prints Markdown: how far each mouth follows its own voice and the other one (correlation of its opening in the
picture with what each clip was drawn from). Needs torch, diffusers and transformers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from miniature import clips_of, table
from numpy.typing import NDArray
from torch import nn

from sonic_ext import weights
from sonic_ext.engines.runtime.checkpoints import Checkpoints
from sonic_ext.engines.runtime.devices import hardware
from sonic_ext.engines.sonic.budget import Budget
from sonic_ext.engines.sonic.conditioning import mask_levels
from sonic_ext.engines.sonic.denoise import Conditioning
from sonic_ext.engines.sonic.networks import Networks
from sonic_ext.engines.sonic.picture import draw_mask, mask_values
from sonic_ext.engines.sonic.prepare import prepare_conditioning
from sonic_ext.engines.sonic.profile import profile_of
from sonic_ext.engines.sonic.run import SamplingRun, first_checkpoint
from sonic_ext.engines.sonic.stream import CHUNK, VaeDecoder
from sonic_ext.engines.sonic.vaes import PARTS
from sonic_ext.engines.sonic.windows import RATE
from sonic_ext.media.audio import Speech
from sonic_ext.media.geometry import Box, mask_box
from sonic_ext.nn.layers import summed
from sonic_ext.nn.unet import Branch, CrossAttention, UNet
from sonic_ext.settings import Settings
from sonic_ext.train.miniature.codec import pixels, psnr
from sonic_ext.train.miniature.footage import FootageClip
from sonic_ext.train.miniature.judging import drawn_clip, picture_opening
from sonic_ext.train.miniature.sizes import FACTOR, SIDE, UNET
from sonic_ext.train.scores import correlation

WIDE = 2 * SIDE
"""Pixels of the picture's width."""


@dataclass(frozen=True)
class Way:
    """What of the two faces is kept apart."""

    space: bool
    time: bool
    portraits: bool = False


WAYS: Mapping[str, Way] = {
    "masks in space": Way(True, False),
    "masks": Way(True, True),
    "masks, portraits": Way(True, True, True),
}


class PartedAttention(CrossAttention):
    """To two voices, whose tokens stand one after the other, each by the pixels of its face."""

    way: Way
    masks: Mapping[int, torch.Tensor]
    """Pixels of a grid → the face mask of each voice, [2, pixels, 1]."""
    halves: Mapping[int, torch.Tensor]
    """Pixels of a grid → the half of the picture of each voice, [2, pixels, 1]."""
    looks: torch.Tensor
    """Embedding of each portrait, [2, 1, width]."""

    def in_space(self, x: torch.Tensor, norm: nn.Module, branch: Branch) -> torch.Tensor:
        """See `CrossAttention`."""
        asked = norm(x)
        own = zip(branch.speech.chunk(2, dim=1), self.masks[x.shape[1]], strict=True)
        heard = sum(self._attend_speech(asked, voice) * mask for voice, mask in own)
        return summed(x, self.to_out[0](heard + self._seen(branch.portrait, x.shape[1])))

    def in_time(self, x: torch.Tensor, norm: nn.Module, branch: Branch) -> torch.Tensor:
        """See `CrossAttention`."""
        asked, halves = norm(x), self.halves[len(x)]
        if not self.way.time:
            halves = torch.full_like(halves, 0.5)
        voices = branch.speech.mean(dim=0, keepdim=True).chunk(2, dim=1)
        heard = sum(
            self._attend_speech(asked, voice) * half[:, None]
            for voice, half in zip(voices, halves[..., 0, None], strict=True)
        )
        seen = self._seen(branch.portrait.mean(dim=0, keepdim=True), len(x)).movedim(0, 1)
        return summed(x, self.to_out[0](heard + seen))

    def _seen(self, portrait: torch.Tensor, count: int) -> torch.Tensor:
        """[1, 1 or pixels, hidden]."""
        if not self.way.portraits or not portrait.any():
            return self.to_v(portrait)
        return sum(self.to_v(look) * half for look, half in zip(self.looks, self.halves[count], strict=True))[
            None
        ]


@dataclass(frozen=True)
class PartedNetworks(Networks):
    """With attention to two voices."""

    parting: Any = None
    """Sets up each `PartedAttention`."""

    def unet(self, device: str | None = None) -> UNet:
        """See `Networks`."""
        made = super().unet(device)
        for module in made.modules():
            if type(module) is CrossAttention:
                module.__class__ = PartedAttention
                self.parting(module)
        return made


def drawn_pair(
    folder: Path, pair: Sequence[FootageClip], way: Way | None, steps: int, seed: int
) -> list[NDArray[np.uint8]]:
    """Both faces out of one picture, uint8 RGB [n, SIDE, SIDE, 3] each.

    Args:
        way: what is kept apart; None: both hear the sum of the voices.
    """
    search = weights.Search.alone(folder)
    chosen, profile = hardware("auto", "cpu"), profile_of(search)
    networks = PartedNetworks(weights.prepare(search, PARTS, _nothing), chosen, _nothing)
    count = min(len(clip.frames) for clip in pair)
    plan = profile.plan(count, False)
    told = [_told(networks, clip, clip.sound, plan.frames) for clip in pair]
    grid = (SIDE // FACTOR, WIDE // FACTOR)
    masks = [_mask(clip, left) for clip, left in zip(pair, (0, SIDE), strict=True)]
    shown = np.concatenate([clip.portrait for clip in pair], axis=1)
    both = _conditioned(networks, shown, pair, plan.frames)
    levels = mask_levels(torch.maximum(*masks), grid, len(UNET.channels), sparse=False)
    both = replace(both, clip=torch.stack([each.clip for each in told]).mean(dim=0), levels=levels)
    if way is not None:
        both = replace(
            both,
            speech=torch.cat([each.speech for each in told], dim=1),
            silence=torch.cat([each.silence for each in told], dim=1),
            buckets=torch.stack([each.buckets for each in told]).mean(dim=0),
        )
        halves = torch.zeros(2, SIDE, WIDE)
        halves[0, :, :SIDE] = halves[1, :, SIDE:] = 1

        def part(module: PartedAttention) -> None:
            module.way, module.masks, module.halves = way, _on_grids(masks, grid), _on_grids(halves, grid)
            module.looks = torch.cat([each.clip for each in told])

        networks = replace(networks, parting=part)
    else:
        networks = replace(networks, parting=lambda module: setattr(module, "__class__", CrossAttention))
    settings = Settings().with_values({"inference_steps": steps})
    budget = Budget(chosen, weights.shapes(weights.UNET, networks.paths["unet"]), WIDE, plan, steps)
    with tempfile.TemporaryDirectory() as kept:
        run = SamplingRun(
            networks,
            both,
            settings,
            profile,
            budget,
            Checkpoints(Path(kept)),
            "pair",
            "together",
            _nothing,
        )
        done = run.complete(first_checkpoint(both, plan, run.levels, seed, "together"))
    decoder = VaeDecoder(networks.vae())
    with torch.inference_mode():
        pictures = torch.cat([decoder(part) for part in done.latents.split(CHUNK)])[:count]
    frames = (255 * pictures.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [frames[:, :, :SIDE], frames[:, :, SIDE:]]


def _told(networks: Networks, clip: FootageClip, sound: NDArray[np.float32], frames: int) -> Conditioning:
    face: Any = SimpleNamespace(box=clip.face)
    view: Any = SimpleNamespace(picture=clip.portrait, face=face, source=Box(0, 0, SIDE, SIDE))
    return prepare_conditioning(
        networks, view, Speech.from_samples(sound, RATE), frames, _nothing
    ).conditioning


def _conditioned(
    networks: Networks, shown: NDArray[np.uint8], pair: Sequence[FootageClip], frames: int
) -> Conditioning:
    """Of the picture with both, and the sum of the voices."""
    sounds = [clip.sound for clip in pair]
    count = min(map(len, sounds))
    mixed = np.clip(sum(sound[:count] for sound in sounds), -1, 1).astype(np.float32)
    face: Any = SimpleNamespace(box=pair[0].face)
    view: Any = SimpleNamespace(picture=shown, face=face, source=Box(0, 0, WIDE, SIDE))
    return prepare_conditioning(
        networks, view, Speech.from_samples(mixed, RATE), frames, _nothing
    ).conditioning


def _mask(clip: FootageClip, left: int) -> torch.Tensor:
    """The face mask of one of both, [SIDE, WIDE]."""
    found = torch.zeros(SIDE, WIDE)
    box = mask_box(clip.face, SIDE, SIDE)
    found[:, left : left + SIDE] = mask_values(draw_mask(box, (SIDE, SIDE), (SIDE, SIDE)))
    return found


def _on_grids(masks: Sequence[torch.Tensor], grid: tuple[int, int]) -> dict[int, torch.Tensor]:
    each = [mask_levels(mask, grid, len(UNET.channels), sparse=False) for mask in masks]
    return {size: torch.stack([levels[size].weights for levels in each]) for size in each[0]}


def _nothing(*_: Any) -> None:
    """A tick."""


def figures(pair: Sequence[FootageClip], drawn: Sequence[NDArray[np.uint8]]) -> dict[str, list[float]]:
    """What both mouths follow, and how like the footage the frames are."""
    found: dict[str, list[float]] = {"own voice, r": [], "other voice, r": [], "amplitude": [], "dB": []}
    for own, other, frames in zip(pair, reversed(pair), drawn, strict=True):
        count = min(len(frames), len(own.opening), len(other.opening))
        opened = picture_opening(frames, own)[:count]
        found["own voice, r"].append(correlation(opened, own.opening[:count]))
        found["other voice, r"].append(correlation(opened, other.opening[:count]))
        found["amplitude"].append(float(np.std(opened) / np.std(own.opening[:count])))
        found["dB"].append(psnr(pixels(frames[:count]), pixels(own.frames[:count])))
    return found


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("miniature", type=Path, help="folder of the weights")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip, 12.5 frames a second")
    parser.add_argument("--steps", type=int, default=10, help="of inference")
    parser.add_argument("--sheet", type=Path, help="PNG: each way's frames of the first pair")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    miniature = arguments.miniature.absolute()
    clips = clips_of(miniature, 2 * arguments.pairs, arguments.seconds)["other faces"]
    found: dict[str, dict[str, list[float]]] = {}
    sheet: list[NDArray[np.uint8]] = []
    for number, pair in enumerate(zip(clips[::2], clips[1::2], strict=True)):
        for name in ("alone", "sum", *WAYS):
            print(f"{time.strftime('%H:%M:%S')} pair {number + 1}, {name}", file=sys.stderr, flush=True)
            if name == "alone":
                drawn = [
                    drawn_clip(miniature, each, arguments.steps, number, Settings(), _nothing)
                    for each in pair
                ]
            else:
                drawn = drawn_pair(miniature, pair, WAYS.get(name), arguments.steps, number)
            for what, values in figures(pair, drawn).items():
                found.setdefault(name, {}).setdefault(what, []).extend(values)
            if number == 0:
                sheet.append(np.concatenate([frame for each in drawn for frame in each[::9][:7]], axis=1))
    means = {name: {what: float(np.mean(each)) for what, each in row.items()} for name, row in found.items()}
    print(table([*next(iter(means.values()))], means))
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(np.concatenate(sheet), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
