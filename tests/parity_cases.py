"""Recorded cases of the published inference: what our networks make of them, beside what was recorded.

In the numbers and on the device of a `Numbers`: tests ask for float32 on a processor, a benchmark asks for a
card's. Every case is a generator of checks; nothing here judges.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from parity_numbers import (
    PLACES,
    Numbers,
    block_mask,
    chirp,
    cut,
    described,
    fractional_mask,
    normal,
    sized,
    whole_numbers,
)

from sonic_ext.engines.sonic import speech, stream
from sonic_ext.engines.sonic.conditioning import mask_levels, mask_on_grid, token_windows
from sonic_ext.engines.sonic.denoise import Conditioning, Denoiser
from sonic_ext.engines.sonic.guidance import Guidance
from sonic_ext.engines.sonic.picture import clip_pixels, draw_mask, mask_values, reference, resized
from sonic_ext.engines.sonic.sampling import draw_noise, sample, starting_latents
from sonic_ext.engines.sonic.schedule import Moment, schedule
from sonic_ext.engines.sonic.solvers import SolverState
from sonic_ext.engines.sonic.windows import Counts, Plan
from sonic_ext.media.geometry import Box, mask_box, video_size
from sonic_ext.nn.clip import embed
from sonic_ext.nn.unet import Branch, Level
from sonic_ext.nn.vae import decode, encode_mean

CLOSE = 1e-5
"""Largest difference of tokens, attention, RIFE, VAE, in float32 on a processor."""
UNET = 5e-5
"""Of a UNet call."""
LOOP = 1e-5
"""Of a loop's latents, relative to the largest value."""
BUCKETS = 16 * CLOSE
"""Of motion buckets: 16 times the network's output, and so is their error."""
LEVEL = 1
"""Of pictures in 8 bits."""
HALF = 2**-11
"""Relative error of what was recorded in half precision."""


@dataclass(frozen=True)
class Check:
    """One tensor of a case."""

    what: str
    got: torch.Tensor
    want: torch.Tensor
    within: float = CLOSE
    """Largest difference in float32 on a processor."""

    @property
    def error(self) -> float:
        """Largest difference; not a number where `got` holds any."""
        return float((self.got.detach().cpu().double() - self.want.double()).abs().max())

    @property
    def relative(self) -> float:
        """The same as a share of the largest recorded value, less what a record in half precision lost."""
        lost = HALF if self.want.dtype == torch.float16 else 0.0
        share = self.error / max(float(self.want.double().abs().max()), 1e-12)
        return share if share != share else max(0.0, share - lost)


def beside(meta: Path) -> str:
    """The tensors that a `…_meta.json` belongs to."""
    stem = meta.stem.removesuffix("_meta")
    names = (f"{stem}.safetensors", f"{stem}_tensors.safetensors")
    found = [name for name in names if (meta.parent / name).exists()]
    if not found:
        raise LookupError(f"no tensors beside {meta.name}")
    return found[0]


def listening(numbers: Numbers, meta: Path) -> Iterator[Check]:
    """c_: the portrait's embedding, tokens and buckets; the networks that listen compute in float32."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    samples = numbers.wav(told["wav"])[: told["samples"]]
    portrait = embed(numbers.clip, numbers.placed(described(told["clip_images"])[None]))
    yield Check("portrait", portrait, want["clip_images_embeds"])
    heard = speech.encode_speech(_listeners(numbers), samples, portrait)
    yield Check("tokens", heard.tokens, want["cond_tokens"])
    yield Check("tokens of silence", heard.silence[0], want["uncond_tokens"])
    yield Check("buckets", heard.buckets, want["motion_buckets"], BUCKETS)


def long_speech(numbers: Numbers, file: Path) -> Iterator[Check]:
    """c_audio_NAME: sound of several chunks; windows and tokens of some frames, buckets of all."""
    told, want = numbers.json("c_audio_meta.json"), numbers.tensors(file.name)
    _known("tensor", want, ("sel", "windows_sel", "cond_tokens_sel", "motion_buckets"))
    samples, frames = chirp(told["long_wav"]), want["sel"].long()
    counts = Counts.of(len(samples))
    if not len(frames) or not 0 <= int(frames.min()) <= int(frames.max()) < counts.base:
        raise LookupError(f"sel: {frames.tolist()} of {counts.base} frames")
    states = speech.whisper_states(numbers.whisper, speech.chunked([samples]), 2 * counts.audio)
    yield Check("windows", token_windows(states, counts.base).cpu()[frames], want["windows_sel"])
    portrait = embed(numbers.clip, numbers.placed(described(told["clip_images"])[None]))
    heard = speech.encode_speech(_listeners(numbers), samples, portrait)
    yield Check("tokens", heard.tokens.cpu()[frames], want["cond_tokens_sel"])
    yield Check("buckets", heard.buckets, want["motion_buckets"], BUCKETS)


def _listeners(numbers: Numbers) -> speech.SpeechNetworks:
    return speech.SpeechNetworks(numbers.whisper, numbers.audio2token, numbers.audio2bucket)


def _known(what: str, found: Iterable[str], names: Iterable[str]) -> None:
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise LookupError(f"{what} that nothing here can read: {', '.join(unknown)}")


def attention(numbers: Numbers, meta: Path, sparse: bool = True) -> Iterator[Check]:
    """d_: one cross-attention with portrait, speech and mask, on grids of four sizes."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    attn = numbers.unet.get_submodule(_place(told["module"]))
    for case in told["cases"]:
        yield from _attention(numbers, attn, case, want, sparse)


def _attention(
    numbers: Numbers, attn: Any, case: dict[str, Any], want: dict[str, torch.Tensor], sparse: bool
) -> Iterator[Check]:
    tag, (height, width) = case["tag"], case["latent_hw"]
    x, clip, audio = map(numbers.placed, _attention_inputs(case["inputs"], tag, height, width))
    ones = block_mask(tuple(case["mask_hw"]), tuple(case["mask_ones_y0x0y1x1"]))
    mask = mask_on_grid(ones, (height, width))
    checks = [key.removeprefix(f"{tag}.") for key in want if key.startswith(f"{tag}.")]
    if not any(name.startswith("out_") for name in checks):
        raise LookupError(f"no output was recorded of {tag}")
    for name in checks:
        if name == "mask_down":
            yield Check(f"{tag} mask", mask, want[f"{tag}.{name}"])
            continue
        scale = re.search(r"_scale([\d.]+)", name)
        loud = (mask if "out_mask" in name else torch.ones_like(mask)) * (float(scale[1]) if scale else 1.0)
        branch = Branch(clip, audio, {height * width: numbers.level(Level.of(loud, sparse))})
        # A layer adds to what it is given, after a norm; the recorded one does neither.
        got = attn.in_space(x.clone(), torch.nn.Identity(), branch) - x
        yield Check(f"{tag} {name}", got, want[f"{tag}.{name}"])


def _attention_inputs(text: str, tag: str, height: int, width: int) -> list[torch.Tensor]:
    """From words like `normal('input:d_{x,clip,ip}_<tag>', (3,h*w,64)|(3,1,64)|(3,32,64))`."""
    found = re.search(r"normal\('input:(\w*)\{([^}]*)\}(\w*)<tag>'", text)
    if not found:
        raise LookupError(f"no inputs in {text!r}")
    shapes = re.findall(r"\(([\dhw*,]+)\)", text)
    names = found[2].split(",")
    return [
        normal(f"{found[1]}{name}{found[3]}{tag}", sized(shape, h=height, w=width))
        for name, shape in zip(names, shapes, strict=True)
    ]


def blocks(numbers: Numbers, meta: Path) -> Iterator[Check]:
    """e_: a transformer and a residual block, of space and time."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    words = re.findall(r"(\w+) \(([\d,]+)\)", told["inputs"])
    inputs = {name.split("_")[-1]: numbers.placed(normal(name, sized(shape))) for name, shape in words}
    branches, frames, size = told["B"], told["F"], tuple(told["hw"])
    ones = block_mask(tuple(told["mask_hw"]), tuple(told["mask_ones_y0x0y1x1"]))
    level = numbers.level(Level.of(mask_on_grid(ones, size)))
    pairs = zip(*(inputs[name].split(frames) for name in ("clip", "ip")), strict=True)
    conditioned = [Branch(*pair, {math.prod(size): level}) for pair in pairs]
    transformer = numbers.unet.get_submodule(_place(told["module"]))
    yield Check("transformer", transformer(inputs["x"], conditioned), want["out"])
    residual = numbers.unet.get_submodule(_place(told["res_module"]))
    embedding = inputs["temb"].unflatten(0, (branches, frames))
    yield Check("residual block", residual(inputs["rx"], embedding), want["res_out"])


def unet(numbers: Numbers, meta: Path, batched: bool = False) -> Iterator[Check]:
    """f_: whole calls, all branches in one batch or one by one."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    names = dict(zip(("x", "clip", "ip"), re.findall(r"input:(\w+)", told["inputs"]), strict=True))
    x, clip, audio = (numbers.placed(normal(names[name], tuple(told[name]))) for name in names)
    branches, frames = x.shape[:2]
    levels = numbers.levels(mask_levels(fractional_mask(told["mask"]), tuple(x.shape[-2:])))
    pairs = zip(clip.split(frames), audio.split(frames), strict=True)
    conditioned = [Branch(*pair, levels, input=number) for number, pair in enumerate(pairs)]
    for tag, case in told["cases"].items():
        time = torch.tensor(case["t"]).to(numbers.device)
        ids = torch.tensor([case["ids"]] * branches).to(numbers.device)
        if batched:
            got = numbers.unet(x, time, ids, conditioned)
        else:
            apart = zip(x, conditioned, strict=True)
            parts = [(one[None], time, ids[:1], [replace(branch, input=0)]) for one, branch in apart]
            got = torch.cat([numbers.unet(*arguments) for arguments in parts])
        yield Check(tag, got, want[f"out_{tag}"], UNET)


def reference_latent(numbers: Numbers, file: Path) -> Iterator[Check]:
    """g_ref: the portrait that the loops begin with."""
    yield Check("latent", _portrait(numbers), numbers.tensors(file.name)["latent_mean"])


def _portrait(numbers: Numbers) -> torch.Tensor:
    inputs = numbers.json("g_loop_meta.json")["inputs"]
    return encode_mean(numbers.vae, numbers.placed(described(inputs["ref"])))


def loop(numbers: Numbers, file: Path) -> Iterator[Check]:
    """g_loop: every step of a run, and what the network was told of motion. Latents wait on the processor."""
    told, want = numbers.json("g_loop_meta.json"), numbers.tensors(file.name)
    case = told["cases"][file.stem.removeprefix("g_loop_")]
    levels = schedule(case["num_inference_steps"], numbers.tiny["scheduler"])
    plan = Plan(case["num_frames"], case["frames_per_batch"], case["shift_offset"], case["overlap"])
    if plan.count * levels.steps != case["unet_calls"]:
        raise ValueError(f"{plan.count} windows, {levels.steps} steps, but {case['unet_calls']} calls")
    portrait, ids = _portrait(numbers), []
    denoiser = _denoiser(numbers, told["inputs"], case, portrait, want["motion_buckets"])

    def predicted(x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool) -> torch.Tensor:
        ids.append(denoiser.ids(frames))
        return denoiser(x, moment, frames, first).to(x)

    noise = described(told["inputs"]["noise"], n=case["num_frames"])
    start = starting_latents(portrait.float().cpu(), noise[0], levels)
    yield _relative("start", start, want["latents_init"][0])
    done = 0
    for done, state in sample(predicted, SolverState(start), levels, plan):
        yield _relative(f"step {done - 1}", state.latents, want[f"latents_after_step{done - 1}"][0])
    if done != levels.steps:
        raise ValueError(f"the loop ended after {done} of {levels.steps} steps")
    recorded = want["added_time_ids_per_unet_call"]
    yield Check("time ids", torch.cat(ids), recorded, CLOSE * float(recorded.abs().max()))


def _relative(what: str, got: torch.Tensor, want: torch.Tensor) -> Check:
    scale = want.abs().max()
    return Check(what, got / scale, want / scale, LOOP)


def _denoiser(
    numbers: Numbers,
    inputs: dict[str, str],
    case: dict[str, Any],
    portrait: torch.Tensor,
    buckets: torch.Tensor,
) -> Denoiser:
    words = numbers.json("f_unet_meta.json")["mask"] if "f_unet" in inputs["mask"] else inputs["mask"]
    levels = mask_levels(fractional_mask(words, (case["height"], case["width"])), tuple(portrait.shape[-2:]))
    speech_tokens = [described(inputs["cond_tokens"], i=frame) for frame in range(case["num_frames"])]
    conditioning = Conditioning(
        portrait,
        embed(numbers.clip, numbers.placed(described(inputs["clip"])))[:, None],
        torch.stack(speech_tokens).to(numbers.dtype),
        numbers.placed(described(inputs["uncond"])[None]),
        buckets,
        numbers.levels(levels),
    )
    return _guided(numbers, conditioning, case)


def _guided(numbers: Numbers, conditioning: Conditioning, case: Mapping[str, Any]) -> Denoiser:
    image, audio = ((case[f"min_guidance_scale{n}"], case[f"max_guidance_scale{n}"]) for n in (1, 2))
    scale = case["motion_bucket_scale"]
    return Denoiser(numbers.unet, conditioning, Guidance(image, audio), scale, scale)


def vae(numbers: Numbers, meta: Path) -> Iterator[Check]:
    """h_: encoder, and decoder in chunks."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    picture = numbers.placed(described(told["encode_image"]))
    yield Check("encode", encode_mean(numbers.vae, picture), want["enc_mean"])
    latents = described(told["latents"])[0]
    for key in (key for key in want if key.startswith("frames_chunk")):
        chunk = int(key.removeprefix("frames_chunk"))
        frames = torch.cat(list(decode(numbers.vae, latents, chunk))).transpose(0, 1)[None]
        room = HALF * float(frames.abs().max()) if want[key].dtype == torch.float16 else 0.0
        yield Check(key, frames, want[key], CLOSE + room)


def rife(numbers: Numbers, file: Path) -> Iterator[Check]:
    """i_: flow, mask and middle frame, in float32."""
    want = numbers.tensors(file.name)
    tags = [key.removeprefix("img0_") for key in want if key.startswith("img0_")]
    for tag in tags:
        pair = (want[f"img{side}_{tag}"].to(numbers.device) for side in (0, 1))
        middle = numbers.rife(*pair)
        yield Check(f"flow {tag}", middle.flow, want[f"flow_{tag}"])
        yield Check(f"mask {tag}", middle.mask, want[f"mask_{tag}"])
        yield Check(f"frame {tag}", middle.frame, want[f"out_{tag}"])


TOLD = {
    *("image", "det_xywh", "audio", "min_resolution", "steps", "frames_per_batch", "shift_offset", "seed"),
    *("frames_shape", "frames_sel"),
}
"""What a whole run always tells."""
RECORDED = {"latents_init", "frames_sel", "frame_means", "frame_stds"}
"""Its tensors."""
DEFAULTS: dict[str, Any] = {
    "mask_area": 1.1,
    "overlap": 0,
    "motion_bucket_scale": 1.0,
    "min_guidance_scale1": 2.0,
    "max_guidance_scale1": 2.0,
    "min_guidance_scale2": 7.5,
    "max_guidance_scale2": 7.5,
    "decode_chunk_size": stream.CHUNK,
}
"""What it may tell."""
FIXED = {"fps": 12.5, "noise_aug_strength": 0.0, "i2i_noise_strength": 1.0}
"""What it may tell, but nothing here can change."""


def whole(numbers: Numbers, meta: Path) -> Iterator[Check]:
    """k_: from a picture and a sound to the frames of the interpolated video."""
    told, want = numbers.json(meta.name), numbers.tensors(beside(meta))
    if TOLD - set(told) or RECORDED - set(want):
        raise LookupError(f"lacks {', '.join(sorted((TOLD - set(told)) | (RECORDED - set(want))))}")
    _known("tensor", want, RECORDED)
    case = {**DEFAULTS, **told}
    levels = schedule(case["steps"], numbers.tiny["scheduler"])
    conditioning, facts = _conditioning(numbers, case)
    plan = Plan(facts["num_frames"], case["frames_per_batch"], case["shift_offset"], case["overlap"])
    _agreeing(told, {**FIXED, **facts, "unet_calls": plan.count * levels.steps})
    if plan.frames != want["latents_init"].shape[1]:
        raise LookupError(f"audio: {plan.frames} frames, {want['latents_init'].shape[1]} were recorded")
    portrait = conditioning.portrait.float().cpu()
    generator = torch.Generator().manual_seed(case["seed"])
    start = starting_latents(portrait, draw_noise(generator, plan.frames, portrait.shape[-2:]), levels)
    yield _relative("start", start, want["latents_init"][0])
    *_, (_, state) = sample(_guided(numbers, conditioning, case), SolverState(start), levels, plan)
    drawn = stream.decoded(stream.VaeDecoder(numbers.vae), state.latents, case["decode_chunk_size"])
    video = torch.cat(list(stream.interpolated(drawn, stream.Rife(numbers.rife), 2))).cpu()
    yield from _pictures(case, video, want)


def _agreeing(told: dict[str, Any], facts: dict[str, Any]) -> None:
    """What is told besides settings and is known here follows from them; whatever else is a note."""
    for key in set(told) & set(facts):
        if told[key] != facts[key]:
            raise LookupError(f"{key}: {told[key]} was recorded, {facts[key]} is known")


def _conditioning(numbers: Numbers, case: dict[str, Any]) -> tuple[Conditioning, dict[str, Any]]:
    """What the UNet is told, and what else may have been recorded on the way there."""
    picture, (name, part) = numbers.picture(case["image"]), cut(case["audio"])
    samples = numbers.wav(name)[part]
    height, width = picture.shape[:2]
    columns, rows = size = video_size(width, height, case["min_resolution"], 64)
    left, top, across, down = case["det_xywh"]
    box = mask_box(Box(left, top, left + across, top + down), width, height, case["mask_area"])
    mask = mask_values(draw_mask(box, (width, height), size))
    small = resized(picture, *size)
    clip = embed(numbers.clip, numbers.placed(clip_pixels(small)))
    heard = speech.encode_speech(_listeners(numbers), samples, clip)
    conditioning = Conditioning(
        encode_mean(numbers.vae, numbers.placed(reference(small))),
        clip[:, None],
        heard.tokens.to("cpu", numbers.dtype),
        heard.silence.to(numbers.dtype),
        heard.buckets.cpu(),
        numbers.levels(mask_levels(mask, (rows // 8, columns // 8))),
    )
    facts = {"height": rows, "width": columns, "ref_shape": [3, rows, columns]}
    facts |= {"mask_box_xyxy": list(box) if box else None, "samples": len(samples)}
    counts = Counts.of(len(samples))
    facts |= {"audio_len": counts.audio, "num_frames": counts.base, "rife_frames": counts.full}
    whose = counts.full if case.get("frames") == counts.full else counts.base
    return conditioning, {**facts, "frames": whose}


def _pictures(case: dict[str, Any], video: torch.Tensor, want: dict[str, torch.Tensor]) -> Iterator[Check]:
    """The video [frames, 3, height, width] of 0 to 1."""
    frames, channels, rows, columns = video.shape
    shape = whole_numbers("frames_shape", case["frames_shape"])
    shape = shape[1:] if len(shape) == 5 and shape[0] == 1 else shape
    if shape not in (
        [frames, rows, columns, channels],
        [frames, channels, rows, columns],
        [channels, frames, rows, columns],
        [frames, rows, columns],
    ):
        raise LookupError(f"frames_shape: {shape} was recorded of a video {list(video.shape)}")
    chosen = whole_numbers("frames_sel", case["frames_sel"])
    if len(chosen) != len(want["frames_sel"]) or not all(-frames <= each < frames for each in chosen):
        raise LookupError(f"frames_sel: {chosen} of {frames}, but {len(want['frames_sel'])} were recorded")
    values = video.flatten(1).double()
    yield Check("means", values.mean(1), want["frame_means"])
    # It is not told whether squares are divided by the count of values or by one less.
    room = float(want["frame_stds"].max()) / (2 * values.shape[1])
    yield Check("deviations", values.std(1), want["frame_stds"], CLOSE + room)
    whole_levels = (video[chosen] * 255).to(torch.uint8)
    yield Check("frames", whole_levels.permute(0, 2, 3, 1), want["frames_sel"], LEVEL)


def _place(text: str) -> str:
    """The module of the UNet that is named in words about a case."""
    found = re.search(PLACES, text)
    if not found:
        raise LookupError(f"no module in {text!r}")
    return found[0]
