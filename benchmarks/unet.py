"""The UNet of the sonic engine, rung by rung: `python benchmarks/unet.py`.

`--size full --device cuda --dtype bf16` measures the published size, 512 × 512 pixels, on a GPU.
Random weights: time and memory do not depend on their values. Prints for every rung seconds per guided call
(three branches), their share of the plain path's, peak memory above the weights, and the largest difference
from the plain path, relative to its largest value. Every rung is a process of its own.

The plain path projects the temporal context once per pixel and puts all branches in one batch, as the
published inference does. `--shortcuts` measures the inexact savings instead.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from sonic_ext.engines.sonic.conditioning import mask_levels
from sonic_ext.engines.sonic.denoise import Call, Conditioning, Denoiser, Shortcuts
from sonic_ext.engines.sonic.heap import kept_heap
from sonic_ext.engines.sonic.sampling import sample, starting_latents
from sonic_ext.engines.sonic.schedule import schedule
from sonic_ext.engines.sonic.windows import Plan
from sonic_ext.nn.attention import (
    AudioProcessor,
    SpatialProcessor,
    Tokens,
    attention,
)
from sonic_ext.nn.blocks import blocks_in_pieces
from sonic_ext.nn.feedforward import in_pieces
from sonic_ext.nn.layers import blend_in_place, double_in_convolutions, flatten_convolutions
from sonic_ext.nn.residual import residuals_in_place
from sonic_ext.nn.storage import store_fp8
from sonic_ext.nn.unet import CONFIG, build_unet, made_lean

SIZES: dict[str, dict[str, Any]] = {
    "mid": {
        "unet": {**CONFIG, "block_out_channels": [64, 128, 256, 256], "num_attention_heads": [1, 2, 4, 4]},
        "frames": 16,
        "latents": (32, 32),
    },
    "full": {"unet": CONFIG, "frames": 25, "latents": (64, 64)},
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUDIO_TOKENS = 32
FACE = (0.2, 0.7, 0.25, 0.75)
"""Top, bottom, left, right of the face mask as shares of the picture."""


class PlainSpatial(AudioProcessor):
    """Everything for every pixel, all branches in one batch."""

    def forward(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[branches · frames, pixels, hidden]."""
        window = self.slot.current()
        frames = len(hidden_states) // len(window.branches)
        clip, audio = (
            torch.cat([view(branch).tokens.values.expand(frames, -1, -1) for branch in window.branches])
            for view in (lambda branch: branch.clip, lambda branch: branch.audio)
        )
        query = attn.to_q(hidden_states)
        seen = attention(query, attn.to_k(clip), attn.to_v(clip), attn.heads)
        heard = attention(query, self.to_k_ip[0](audio), self.to_v_ip[0](audio), attn.heads)
        mask = window.levels[hidden_states.shape[1]].weights.to(hidden_states)
        return attn.to_out[0](seen + heard * mask)


class PlainTemporal(AudioProcessor):
    """The context is repeated for every pixel of every branch and projected there."""

    def forward(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """All branches in one batch, [branches · pixels, frames, hidden]."""
        branches = self.slot.current().branches
        pixels = len(hidden_states) // len(branches)
        clip = torch.cat([self._repeated(branch.clip.tokens, pixels) for branch in branches])
        audio = torch.cat([self._repeated(branch.audio.tokens, pixels) for branch in branches])
        query = attn.to_q(hidden_states)
        seen = attention(query, attn.to_k(clip), attn.to_v(clip), attn.heads)
        heard = attention(query, self.to_k_ip[0](audio), self.to_v_ip[0](audio), attn.heads)
        return attn.to_out[0](seen + heard)

    def _repeated(self, tokens: Tokens, pixels: int) -> torch.Tensor:
        return tokens.averaged(None).repeat(pixels, 1, 1)


def made_plain(unet: Any) -> None:
    """Replace the processors, keeping their weights."""
    for module in unet.modules():
        old = getattr(module, "processor", None)
        if isinstance(old, AudioProcessor):
            kind = PlainSpatial if isinstance(old, SpatialProcessor) else PlainTemporal
            width, context = old.to_k_ip[0].weight.shape
            with torch.device("meta"):
                new = kind(width, context, old.slot)
            new.load_state_dict(old.state_dict(), assign=True)
            module.set_processor(new)


def random_unet(config: dict[str, Any], dtype: torch.dtype, device: str) -> Any:
    """Weights that keep activations near 1, drawn in place."""
    # Not diffusers' own `to`, which warns of layers that this network does not have.
    unet = torch.nn.Module.to(build_unet(config, lean=False), dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(1)
    for key, weight in unet.state_dict().items():
        if weight.ndim >= 2:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        elif key.endswith("weight"):
            weight.fill_(1.0)
        else:
            weight.normal_(0, 0.02, generator=generator)
    return unet


def conditioning(size: dict[str, Any], rung: dict[str, int], dtype: torch.dtype, device: str) -> Conditioning:
    """Of a window of the video, one face in the picture."""
    generator = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    rows, columns = size["latents"]
    mask = torch.zeros(8 * rows, 8 * columns)
    top, bottom, left, right = FACE
    mask[int(top * 8 * rows) : int(bottom * 8 * rows), int(left * 8 * columns) : int(right * 8 * columns)] = 1
    width = size["unet"]["cross_attention_dim"]
    return Conditioning(
        noise(1, 4, rows, columns),
        Tokens(noise(1, 1, width)),
        Tokens(noise(size["frames"], AUDIO_TOKENS, width), bool(rung.get("keep"))),
        Tokens(noise(1, AUDIO_TOKENS, width)),
        torch.full((size["frames"], 2), 16.0, device=device),
        mask_levels(mask.to(device), size["latents"], sparse=bool(rung["sparse"])),
    )


RUNGS: dict[str, dict[str, int]] = {
    "plain": {"plain": True, "sparse": False, "together": True},
    "context once per branch": {"sparse": False, "together": True},
    "face pixels only": {"sparse": True, "together": True},
    "one branch at a time": {"sparse": True, "together": False, "share": False},
    "shared first layers": {"sparse": True, "together": False, "share": True},
    "temporal convolution in 2-D": {"sparse": True, "together": False, "share": True, "layers": 1},
    "doubling inside convolutions": {"sparse": True, "together": False, "share": True, "layers": 2},
    "blending in one operation": {"sparse": True, "together": False, "share": True, "layers": 3},
    "feed-forward in pieces": {"sparse": True, "together": False, "share": True, "layers": 4},
    "transformers in pieces": {"sparse": True, "together": False, "share": True, "layers": 5},
    "speech projected once": {"sparse": True, "together": False, "share": True, "layers": 5, "keep": True},
    "residual blocks in place": {"sparse": True, "together": False, "share": True, "layers": 6, "keep": True},
    "memory kept": {
        "sparse": True,
        "together": False,
        "share": True,
        "layers": 6,
        "keep": True,
        "heap": True,
    },
}
"""Each keeps what the one before it brought."""


LAYERS = (
    flatten_convolutions,
    double_in_convolutions,
    blend_in_place,
    in_pieces,
    blocks_in_pieces,
    residuals_in_place,
)
"""What `build_unet` does for the engine, in its order."""


def prepared(
    rung: dict[str, int], size: dict[str, Any], dtype: torch.dtype, device: str
) -> Callable[[], Any]:
    """One guided call."""
    unet = random_unet(size["unet"], dtype, device)
    if rung.get("plain"):
        made_plain(unet)
    for replace in LAYERS[: rung.get("layers", 0)]:
        replace(unet)
    told = conditioning(size, rung, dtype, device)
    window = told.window(torch.arange(size["frames"], device=device))
    timestep, ids = torch.tensor(1.2).to(device), torch.tensor([[12.5, 16.0, 16.0]]).to(device)
    call = Call(unet, window, timestep, ids)
    x = torch.randn(size["frames"], 8, *size["latents"], generator=torch.Generator().manual_seed(3))
    x = x.to(device, dtype)
    nothing = torch.cat([x[:, :4], torch.zeros_like(x[:, 4:])], dim=1)
    if rung["together"]:
        return lambda: torch.stack(call.together([nothing, x]))
    in_turn = call.in_turn_shared if rung["share"] else call.in_turn
    return lambda: torch.stack(in_turn([nothing, x]))


class Peak:
    """Peak memory since it was made, above what was held then, in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")
            self.before = self._status("VmRSS")

    def __call__(self) -> int:
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self.before
        return self._status("VmHWM") - self.before

    def _status(self, key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def timed(run: Callable[[], Any], device: str, repeats: int) -> float:
    """Seconds of the fastest call."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def measure(options: argparse.Namespace) -> None:
    """One rung in this process; prints seconds, bytes, operations and difference."""
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    rung = RUNGS[options.rung]
    with torch.inference_mode(), kept_heap(options.device if rung.get("heap") else "no processor"):
        run = prepared(rung, size, DTYPES[options.dtype], options.device)
        peak = Peak(options.device)
        out, operations = counted(run)
        used = peak()
        seconds = timed(run, options.device, options.repeats)
        if options.profile:
            profiled(run, options.device)
    reference = Path(options.reference)
    if not reference.exists():
        torch.save(out, reference)
    want = torch.load(reference)
    print(seconds, used, operations, float((out - want).abs().max() / want.abs().max()))


def counted(run: Callable[[], Any]) -> tuple[torch.Tensor, int]:
    """The result of one call, and its floating-point operations: matrix products, convolutions, attention."""
    from footprint import operation_counter

    with operation_counter() as counter:
        out = run().float().cpu()
    return out, counter.get_total_flops()


def profiled(run: Callable[[], Any], device: str) -> None:
    """What the time goes into, on stderr."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=kinds) as found:
        run()
    by = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    print(found.key_averages().table(sort_by=by, row_limit=18, max_name_column_width=48), file=sys.stderr)


def table(options: argparse.Namespace) -> None:
    """Every rung in a process of its own, in turn: what else the machine does meets all of them."""
    print(f"{options.size}, {options.device}, {options.dtype}, {options.threads} threads")
    rungs = options.rungs or list(RUNGS)
    fastest: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for rung in rungs:
                own = ["--rung", rung, "--reference", f"{folder}/plain.pt"]
                words = [sys.executable, __file__, *sys.argv[1:], *own]
                done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
                found = [float(word) for word in done.stdout.split()[-4:]]
                fastest[rung] = min(found, fastest.get(rung, found))
                print(f"{rung}: {found[0]:.2f} s", file=sys.stderr, flush=True)
    print(HEADS)
    for rung in rungs:
        print(row(rung, fastest[rung], fastest[rungs[0]]))


SHORTCUTS = ("exact", "null_branch", "deep_features", "both")
STEPS = 5
"""Of the loop that shortcuts are tried in: the first alone, then two groups of two."""


def shortcuts(options: argparse.Namespace) -> None:
    """What the named shortcuts cost and change, in a short loop."""
    torch.set_num_threads(options.threads)
    size, dtype = SIZES[options.size], DTYPES[options.dtype]
    unet = random_unet(size["unet"], dtype, options.device)
    made_lean(unet)
    told = conditioning(size, {"sparse": True, "keep": True}, dtype, options.device)
    print(f"{STEPS} steps; random weights show cost and size of the change, not what it looks like")
    print(f"{'shortcut':16}{'s per step of a group':>22}{'of exact':>9}{'difference of latents':>23}")
    want, usual = looped(Denoiser(unet, told), size, options)
    for name, denoiser in saving(unet, told, size, options):
        got, seconds = looped(denoiser, size, options) if name != "exact" else (want, usual)
        difference = float((got - want).norm() / want.norm())
        print(f"{name:16}{seconds:22.2f}{seconds / usual:9.2f}{difference:23.4f}", flush=True)


def saving(
    unet: Any, told: Conditioning, size: dict[str, Any], options: argparse.Namespace
) -> Iterator[tuple[str, Denoiser]]:
    """Every named saving, one network after the other."""
    for name in SHORTCUTS:
        yield name, Denoiser(unet, told, shortcuts=Shortcuts.named(name))
    half = conditioning(size, {"sparse": True, "keep": True}, torch.bfloat16, options.device)
    yield "bf16", Denoiser(copy.deepcopy(unet).to(torch.bfloat16), half)
    eight = copy.deepcopy(unet)
    store_fp8(eight)
    yield "fp8", Denoiser(eight, told)


def looped(
    denoiser: Denoiser, size: dict[str, Any], options: argparse.Namespace
) -> tuple[torch.Tensor, float]:
    """The last latents, and seconds per step after the first one."""
    levels, frames = schedule(STEPS), size["frames"]
    noise = torch.randn(frames, 4, *size["latents"], generator=torch.Generator().manual_seed(5))
    latents = starting_latents(denoiser.conditioning.portrait.float(), noise.to(options.device), levels)
    begun = 0.0
    with torch.inference_mode():
        plan, group = Plan(frames, frames), denoiser.shortcuts.group
        for done, after in sample(denoiser, latents, levels, plan, group=group):
            latents = after.cpu()
            if done == 1:
                begun = time.perf_counter()
    return latents, (time.perf_counter() - begun) / (STEPS - 1)


HEADS = (
    f"{'rung':28}{'seconds':>9}{'of plain':>9}{'TFLOP/s':>9}{'peak MB':>9}{'of plain':>9}{'difference':>11}"
)


def row(rung: str, found: list[float], first: list[float]) -> str:
    """Of the table; `found` is what `measure` prints, `first` that of the first rung."""
    seconds, used, operations, difference = found
    of_time, of_memory = seconds / first[0], used / first[1]
    speed, peak = operations / seconds / 1e12, used / 1e6
    numbers = f"{seconds:9.3f}{of_time:9.2f}{speed:9.3f}{peak:9.0f}{of_memory:9.2f}{difference:11.1e}"
    return f"{rung:28}{numbers}"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="mid")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="through all rungs; the fastest counts")
    parser.add_argument("--rungs", nargs="*", choices=RUNGS, help="default: all; the first is compared with")
    parser.add_argument("--profile", action="store_true", help="what the time of each rung goes into")
    parser.add_argument("--shortcuts", action="store_true", help="what the inexact savings cost and change")
    parser.add_argument("--rung", choices=RUNGS, help=argparse.SUPPRESS)
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shortcuts:
        shortcuts(options)
    elif options.rung:
        measure(options)
    else:
        table(options)


if __name__ == "__main__":
    main()
