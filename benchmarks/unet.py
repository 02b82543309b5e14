"""The UNet of the sonic engine, rung by rung: `python benchmarks/unet.py`.

`--size full --device cuda --dtype bf16` measures the published size, 512 × 512 pixels, on a GPU.
Random weights: time and memory do not depend on their values. Prints for every rung seconds per guided call
(three branches), their share of the plain path's, peak memory above the weights, and the largest difference
from the plain path, relative to its largest value. Every rung is a process of its own; `--rounds` goes round
them, and medians are printed.

The plain path is diffusers' network; it projects the temporal context once per pixel and puts all branches in
one batch, as the published inference does. `--shortcuts` measures the inexact savings instead.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sonic_ext.engines.runtime.heap import keep_heap
from sonic_ext.engines.sonic.conditioning import mask_levels
from sonic_ext.engines.sonic.denoise import Call, Conditioning, Denoiser, Shortcuts
from sonic_ext.engines.sonic.sampling import groups, sample, starting_latents
from sonic_ext.engines.sonic.schedule import schedule
from sonic_ext.engines.sonic.solvers import SolverState
from sonic_ext.engines.sonic.windows import Plan
from sonic_ext.nn.storage import multiply_int8, store_fp8
from sonic_ext.nn.unet import UNet, UNetConfig, build_unet

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

SIZES: dict[str, dict[str, Any]] = {
    "mid": {
        "unet": UNetConfig(channels=(64, 128, 256, 256), heads=(1, 2, 4, 4)),
        "frames": 16,
        "latents": (32, 32),
    },
    "full": {"unet": UNetConfig(), "frames": 25, "latents": (64, 64)},
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUDIO_TOKENS = 32
FACE = (0.2, 0.7, 0.25, 0.75)
"""Top, bottom, left, right of the face mask as shares of the picture."""


def random_weights(unet: torch.nn.Module, dtype: torch.dtype, device: str) -> Any:
    """Weights that keep activations near 1, drawn in place."""
    # Not diffusers' own `to`, which warns of layers that this network does not have.
    unet = torch.nn.Module.to(unet, dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(1)
    for key, weight in sorted(unet.state_dict().items()):
        if weight.ndim >= 2:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        elif key.endswith("weight"):
            weight.fill_(1.0)
        else:
            weight.normal_(0, 0.02, generator=generator)
    return unet


def plain_unet(config: UNetConfig, dtype: torch.dtype, device: str) -> Any:
    """The published way: diffusers' network, called as ours is."""
    from oracle_unet import Oracle

    with torch.device("meta"):
        made = Oracle(config)
    random_weights(made.unet, dtype, device)
    return made.requires_grad_(False)


def conditioning(size: dict[str, Any], dtype: torch.dtype, device: str, sparse: bool = True) -> Conditioning:
    """Of a window of the video, one face in the picture."""
    generator = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    rows, columns = size["latents"]
    mask = torch.zeros(8 * rows, 8 * columns)
    top, bottom, left, right = FACE
    mask[int(top * 8 * rows) : int(bottom * 8 * rows), int(left * 8 * columns) : int(right * 8 * columns)] = 1
    width = size["unet"].context
    levels = mask_levels(mask, size["latents"], sparse=sparse)
    return Conditioning(
        noise(1, 4, rows, columns),
        noise(1, 1, width),
        noise(size["frames"], AUDIO_TOKENS, width).cpu(),
        noise(1, AUDIO_TOKENS, width),
        torch.full((size["frames"], 2), 16.0),
        {count: level.to(device) for count, level in levels.items()},
    )


@dataclass(frozen=True)
class Rung:
    """A way to make a guided call."""

    plain: bool = False
    """diffusers' network, which shares nothing."""
    sparse: bool = True
    """Only the face's pixels listen."""
    together: bool = False
    """All branches in one batch."""
    heap: bool = False
    """Memory that was used stays with the process (`engines.runtime.heap`)."""


RUNGS = {
    "plain": Rung(plain=True, sparse=False, together=True),
    "all branches at once, all pixels": Rung(sparse=False, together=True),
    "face pixels only": Rung(together=True),
    "one branch at a time": Rung(),
    "memory kept": Rung(heap=True),
}
"""Each keeps what the one before it brought; the last is the engine's way on a processor."""


def prepared(rung: Rung, size: dict[str, Any], dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """One guided call."""
    if rung.plain:
        unet = plain_unet(size["unet"], dtype, device)
    else:
        unet = random_weights(build_unet(size["unet"]), dtype, device)
    return guided(unet, rung, size, dtype, device)


def guided(unet: Any, rung: Rung, size: dict[str, Any], dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """One guided call of a network, with all that it takes on the device."""
    told = conditioning(size, dtype, device, rung.sparse)
    timestep, ids = torch.tensor(1.2).to(device), torch.tensor([[12.5, 16.0, 16.0]]).to(device)
    call = Call(unet, told.branches(torch.arange(size["frames"])), timestep, ids, rung.together)
    x = torch.randn(size["frames"], 8, *size["latents"], generator=torch.Generator().manual_seed(3))
    x = x.to(device, dtype)
    nothing = torch.cat([x[:, :4], torch.zeros_like(x[:, 4:])], dim=1)
    return lambda: torch.stack(call(torch.stack([nothing, x])))


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
    with torch.inference_mode(), keep_heap(options.device if rung.heap else "no processor"):
        run = prepared(rung, size, DTYPES[options.dtype], options.device)
        peak = Peak(options.device)
        out = run().float().cpu()
        used = peak()
        operations = counted(run)
        seconds = timed(run, options.device, options.repeats)
        if options.profile:
            profiled(run, options.device)
    reference = Path(options.reference)
    if not reference.exists():
        torch.save(out, reference)
    want = torch.load(reference)
    print(seconds, used, operations, float((out - want).abs().max() / want.abs().max()))


def counted(run: Callable[[], Any]) -> int:
    """Floating-point operations of one call: matrix products, convolutions, attention."""
    from footprint import operation_counter

    with operation_counter() as counter:
        run()
    found: int = counter.get_total_flops()
    return found


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
    rounds: dict[str, list[list[float]]] = {rung: [] for rung in rungs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for rung in rungs:
                own = ["--rung", rung, "--reference", f"{folder}/plain.pt"]
                words = [sys.executable, __file__, *sys.argv[1:], *own]
                done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
                rounds[rung].append([float(word) for word in done.stdout.split()[-4:]])
                print(f"{rung}: {rounds[rung][-1][0]:.2f} s", file=sys.stderr, flush=True)
    print(HEADS)
    for rung in rungs:
        print(row(rung, rounds[rung], rounds[rungs[0]]))


SHORTCUTS = ("exact", "null_branch", "deep_features", "both")
STEPS = 5
"""Of the loop that shortcuts are tried in: the first alone, then two groups of two."""


def shortcuts(options: argparse.Namespace) -> None:
    """What the named shortcuts cost and change, in a short loop."""
    torch.set_num_threads(options.threads)
    size, dtype = SIZES[options.size], DTYPES[options.dtype]
    unet = random_weights(build_unet(size["unet"]), dtype, options.device)
    told = conditioning(size, dtype, options.device)
    print(f"{STEPS} steps; random weights show cost and size of the change, not what it looks like")
    print(f"{'shortcut':16}{'s per step of a group':>22}{'of exact':>9}{'difference of latents':>23}")
    want, usual = looped(Denoiser(unet, told), size, options)
    for name, denoiser in saving(unet, told, size, options):
        got, seconds = looped(denoiser, size, options) if name != "exact" else (want, usual)
        difference = float((got - want).norm() / want.norm())
        print(f"{name:16}{seconds:22.2f}{seconds / usual:9.2f}{difference:23.4f}", flush=True)


def saving(
    unet: UNet, told: Conditioning, size: dict[str, Any], options: argparse.Namespace
) -> Iterator[tuple[str, Denoiser]]:
    """Every named saving, one network after the other."""
    for name in SHORTCUTS:
        yield name, Denoiser(unet, told, shortcuts=Shortcuts.named(name))
    half = conditioning(size, torch.bfloat16, options.device)
    yield "bf16", Denoiser(copy.deepcopy(unet).to(torch.bfloat16), half)
    for name, narrow in (("fp8", store_fp8), ("int8", multiply_int8)):
        eight = copy.deepcopy(unet)
        narrow(eight)
        yield name, Denoiser(eight, told)


def looped(
    denoiser: Denoiser, size: dict[str, Any], options: argparse.Namespace
) -> tuple[torch.Tensor, float]:
    """The last latents, and seconds per step after the first one."""
    levels, frames = schedule(STEPS), size["frames"]
    noise = torch.randn(frames, 4, *size["latents"], generator=torch.Generator().manual_seed(5))
    latents = starting_latents(denoiser.conditioning.portrait.float(), noise.to(options.device), levels)
    begun = 0.0
    with torch.inference_mode():
        plan, parts = Plan(frames, frames), groups(STEPS, 1 if denoiser.shortcuts == Shortcuts() else 2)
        for done, after in sample(denoiser, SolverState(latents), levels, plan, parts=parts):
            latents = after.latents.cpu()
            if done == 1:
                begun = time.perf_counter()
    return latents, (time.perf_counter() - begun) / (STEPS - 1)


HEADS = (
    f"{'rung':34}{'seconds':>9}{'of plain':>9}{'TFLOP/s':>9}{'peak MB':>9}{'of plain':>9}{'difference':>11}"
)


def row(rung: str, rounds: list[list[float]], first: list[list[float]]) -> str:
    """Of the table; a round is what `measure` prints, `first` those of the first rung. Shares are of the same
    round; medians of all."""
    seconds, used, operations, difference = (statistics.median(each) for each in zip(*rounds, strict=True))
    of_time, of_memory = (
        statistics.median(own[place] / plain[place] for own, plain in zip(rounds, first, strict=True))
        for place in (0, 1)
    )
    speed, peak = operations / seconds / 1e12, used / 1e6
    numbers = f"{seconds:9.3f}{of_time:9.2f}{speed:9.3f}{peak:9.0f}{of_memory:9.2f}{difference:11.1e}"
    return f"{rung:34}{numbers}"


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
