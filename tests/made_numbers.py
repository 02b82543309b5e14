"""Cases of the kinds that do not ship, made with our own networks, to try what reads them.

In plain steps where the engine has streams: pictures pair by pair, frames as one list.
"""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_numbers import Numbers, chirp, described
from PIL import Image
from safetensors.torch import save_file

from sonic_ext.engines.sonic.conditioning import mask_levels, token_windows
from sonic_ext.engines.sonic.denoise import Conditioning, Denoiser
from sonic_ext.engines.sonic.guidance import Guidance
from sonic_ext.engines.sonic.picture import clip_pixels
from sonic_ext.engines.sonic.sampling import sample
from sonic_ext.engines.sonic.schedule import schedule
from sonic_ext.engines.sonic.solvers import SolverState
from sonic_ext.engines.sonic.speech import SpeechNetworks, chunked, encode_speech, whisper_states
from sonic_ext.engines.sonic.windows import Plan

RUN: dict[str, Any] = {
    "image": "image_210x150.png",
    "det_xywh": [63.5, 30.25, 80.75, 77.5],
    "audio": [4000, 16_000],
    "min_resolution": 64,
    "steps": 2,
    "frames_per_batch": 5,
    "shift_offset": 2,
    "seed": 7,
    "frames_shape": [17, 64, 64, 3],
    "frames_sel": [0, 7, 15, 16],
}
"""Nine base frames: two windows, and two chunks for the decoder."""


def whole_run(numbers: Numbers) -> Path:
    """Write `k_made` into the folder."""
    tensors = numbers.folder / "k_made.safetensors"
    save_file(_drawn(numbers), tensors)
    return retold(tensors, {})


def retold(tensors: Path, told: dict[str, Any], name: str = "k_made") -> Path:
    """Words beside recorded tensors, or, under another name, beside a copy; what is None is left out."""
    told = {key: value for key, value in {**RUN, **told}.items() if value is not None}
    meta = tensors.with_name(f"{name}_meta.json")
    meta.write_text(json.dumps(told), encoding="utf-8")
    copy = tensors.with_name(f"{name}.safetensors")
    if copy != tensors:
        shutil.copy(tensors, copy)
    return meta


def _drawn(numbers: Numbers) -> dict[str, torch.Tensor]:
    portrait, conditioning = _conditioning(numbers)
    generator = torch.Generator().manual_seed(RUN["seed"])
    torch.randn(1, 3, 64, 64, generator=generator)
    start = 0.18215 * portrait + 700 * torch.randn(1, 9, 4, 8, 8, generator=generator)
    denoiser = Denoiser(numbers.unet, conditioning, Guidance(2.0, 7.5), batched=True)
    levels = schedule(RUN["steps"], numbers.tiny["scheduler"])
    *_, (_, state) = sample(denoiser, SolverState(start[0]), levels, Plan(9, 5, 2))
    chunks = (state.latents / 0.18215).split(8)
    decoded = torch.cat([numbers.vae.decode(chunk, num_frames=len(chunk)).sample for chunk in chunks])
    base = (decoded * 0.5 + 0.5).clamp(0, 1).split(1)
    frames = [base[0]]
    for first, second in pairwise(base):
        frames += [numbers.rife(first, second).frame, second]
    video = torch.cat(frames).permute(0, 2, 3, 1).contiguous().numpy()
    flat = video.reshape(len(video), -1).astype(np.float64)
    return {
        "latents_init": start,
        "frames_sel": torch.from_numpy((video[RUN["frames_sel"]] * 255).astype(np.uint8)),
        "frame_means": torch.from_numpy(flat.mean(1).astype(np.float32)),
        "frame_stds": torch.from_numpy(flat.std(1).astype(np.float32)),
    }


def _conditioning(numbers: Numbers) -> tuple[torch.Tensor, Conditioning]:
    """The portrait's latent, and everything."""
    small = Image.open(numbers.path(RUN["image"])).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
    picture = np.asarray(small)
    pixels = torch.from_numpy(picture / np.float32(127.5) - 1).permute(2, 0, 1)[None]
    portrait = numbers.vae.encode(pixels).latent_dist.mean
    drawn = np.zeros((150, 210), np.uint8)
    drawn[27:111, 59:147] = 255  # as the numbers of preprocessing have it
    mask = np.asarray(Image.fromarray(drawn).resize((64, 64), Image.Resampling.LANCZOS)) / np.float32(255)
    clip = numbers.clip(pixel_values=clip_pixels(picture)).image_embeds
    heard = encode_speech(_listeners(numbers), numbers.wav("speech.wav")[slice(*RUN["audio"])], clip)
    grids = mask_levels(torch.from_numpy(mask), (8, 8))
    told = Conditioning(portrait, clip[:, None], heard.tokens, heard.silence, heard.buckets, grids)
    return portrait, told


def long_speech(numbers: Numbers) -> Path:
    """Write `c_audio_made` into the folder."""
    told = numbers.json("c_audio_meta.json")
    sound, sel = chirp(told["long_wav"]), torch.tensor([0, 186, 187, 188, 390])
    clip = numbers.clip(pixel_values=described(told["clip_images"])[None]).image_embeds
    states = whisper_states(numbers.whisper, chunked([sound]), 2 * told["long_audio_len"])
    heard = encode_speech(_listeners(numbers), sound, clip)
    file = numbers.folder / "c_audio_made.safetensors"
    windows = token_windows(states, told["long_frames"])[sel].contiguous()
    tensors = {"sel": sel, "windows_sel": windows, "cond_tokens_sel": heard.tokens[sel].contiguous()}
    save_file({**tensors, "motion_buckets": heard.buckets.contiguous()}, file)
    return file


def _listeners(numbers: Numbers) -> SpeechNetworks:
    return SpeechNetworks(numbers.whisper, numbers.audio2token, numbers.audio2bucket)
