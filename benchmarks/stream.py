"""Everything after the network: memory against length, and time per stage: `python benchmarks/stream.py`.

Latents → decoder → jitter filter → interpolation → paste-back → a reader that drops the frames. Every length
is a process of its own. Prints the peak of resident memory above that of networks and latents, the ratio of
the longest to the shortest, and milliseconds per frame of each stage.

A temporal VAE, even a narrow one, takes seconds per frame on a CPU, and gigabytes beside which nothing that
piles up would show. So lengths are measured with a light decoder (`--decoder light`: latents enlarged to
frames of the full size) by default, which is the harder test; `--decoder vae` takes a narrow VAE with random
weights, and the stages are always timed with it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from sonic_ext.engines.sonic import stream
from sonic_ext.media.geometry import Box
from sonic_ext.media.paste import Paste
from sonic_ext.media.steady import Steady
from sonic_ext.nn.build import fill
from sonic_ext.nn.interpolate import build_interpolator
from sonic_ext.nn.vae import CONFIG, build_vae

LENGTHS = (100, 1600)
TIMED = 3
"""Base frames that the stages are timed on."""


def filled(network: Any) -> Any:
    """Small random weights."""
    torch.manual_seed(0)
    state = network.state_dict()
    return fill(network, {key: 0.05 * torch.randn(value.shape) for key, value in state.items()})


def between(kind: str) -> stream.Between | None:
    """The interpolator of that name."""
    if kind == "rife":
        return stream.Rife(filled(build_interpolator()))
    return stream.OpticalFlow() if kind == "flow" else None


def decoder(width: int) -> stream.Decode:
    """A temporal VAE of that many channels, and frames 8 times as large as latents."""
    narrow = {**CONFIG, "block_out_channels": [width] * 4, "layers_per_block": 1}
    return stream.VaeDecoder(filled(build_vae(narrow)))


def light(part: torch.Tensor) -> torch.Tensor:
    """Latents enlarged; a `stream.Decode`."""
    return torch.nn.functional.interpolate(part[:, :3], scale_factor=8, mode="bilinear").sigmoid()


def latents(count: int, size: int) -> torch.Tensor:
    """Smooth noise that drifts and trembles, as float32 [count, 4, size / 8, size / 8]."""
    ground = torch.from_numpy(cv2.GaussianBlur(np.random.default_rng(0).random((64, 64, 4)), (0, 0), 3))
    ground = (ground.float().permute(2, 0, 1) - 0.5) * 8
    side = size // 8
    large = torch.nn.functional.interpolate(ground[None], (side, side), mode="bicubic")[0]
    made = torch.empty(count, 4, side, side)
    for index in range(count):
        made[index] = large.roll(index % 2, dims=2)
    return made


def steady(size: int) -> Steady:
    """For a face in the middle."""
    share = Box(0.13, 0.05, 0.87, 0.95)
    return Steady(share.scaled(size, size), stream.STEADY_REACH)


def paste(size: int) -> Paste:
    """Into a picture half as large again."""
    whole = size * 3 // 2
    picture = np.random.default_rng(0).integers(0, 256, (whole, whole, 3), np.uint8)
    return Paste(picture, Box(8, 8, 8 + size, 8 + size))


def peak() -> int:
    """Bytes of resident memory at the most, since the start of the process."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident() -> int:
    """Bytes of resident memory now; the most so far where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return peak()
    return int(status.read_text().split()[1]) * resource.getpagesize()


def measured(count: int, options: argparse.Namespace) -> tuple[int, int, float, int]:
    """Bytes at the baseline and at the peak, seconds, frames."""
    decode = light if options.decoder == "light" else decoder(options.width)
    middle = between(options.interpolation)
    place = paste(options.size)
    made = latents(count, options.size)
    before = resident()
    began = time.perf_counter()
    finish = stream.Finish(2, middle, steady(options.size))
    frames = sum(place.into(frame).ndim == 3 for frame in finish.frames(decode, made))
    return before, peak(), time.perf_counter() - began, frames


def in_a_process(count: int, options: argparse.Namespace) -> list[float]:
    """`measured`, apart from everything else."""
    words = [sys.executable, __file__, "--one", str(count), "--size", str(options.size)]
    words += ["--width", str(options.width), "--interpolation", options.interpolation]
    words += ["--decoder", options.decoder, "--threads", str(options.threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def timed(items: Iterable[Any], spent: list[float]) -> Iterator[Any]:
    """The items; adds what each took to come to `spent`, in seconds."""
    stream_of = iter(items)
    while True:
        began = time.perf_counter()
        try:
            item = next(stream_of)
        except StopIteration:
            return
        spent.append(time.perf_counter() - began)
        yield item


def stages(options: argparse.Namespace) -> dict[str, tuple[float, int]]:
    """Stage → milliseconds for each frame that it gives, and how many."""
    made = latents(TIMED, options.size)
    table: dict[str, tuple[float, int]] = {}

    def run(name: str, items: Iterable[Any], length: Callable[[Any], int] = len) -> list[Any]:
        spent: list[float] = []
        kept = list(timed(items, spent))
        count = sum(map(length, kept))
        table[name] = sum(spent) / count * 1000, count
        return kept

    chunks = run("decode", stream.decoded(decoder(options.width), made))
    chunks = run("steady", stream.steadied(chunks, steady(options.size)))
    for kind in ("flow", "rife") if options.interpolation != "none" else ():
        middle = between(kind)
        assert middle is not None
        woven = run(f"interpolate ({kind})", stream.interpolated(chunks, middle, 2))
    frames = run(
        "to 8 bits", stream.pictures(woven if options.interpolation != "none" else chunks), lambda _: 1
    )
    place = paste(options.size)
    run("paste", (place.into(frame) for frame in frames), lambda _: 1)
    return table


def parsed() -> argparse.Namespace:
    """The command line."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--interpolation", choices=("flow", "rife", "none"), default="flow")
    reader.add_argument("--decoder", choices=("light", "vae"), default="light")
    reader.add_argument("--size", type=int, default=512, help="side of the frames, pixels")
    reader.add_argument("--width", type=int, default=32, help="channels of the VAE")
    reader.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="base frames, 12.5 a second")
    reader.add_argument("--threads", type=int, default=2)
    reader.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return reader.parse_args()


def main() -> None:
    """Print both tables."""
    options = parsed()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    if options.one:
        print(*measured(options.one, options))
        return
    print(f"{options.size}², interpolation {options.interpolation}, decoder {options.decoder}")
    peaks = []
    for count in options.lengths:
        before, most, seconds, frames = in_a_process(count, options)
        peaks.append((most - before, most))
        print(
            f"{count:6d} base frames → {frames:5.0f}: {(most - before) / 2**20:7.1f} MiB above networks and "
            f"latents, {most / 2**20:7.1f} in all, {seconds:6.1f} s",
            flush=True,
        )
    above, whole = (peaks[-1][which] / peaks[0][which] for which in (0, 1))
    print(f"ratio of the last to the first: {above:.3f} above networks and latents, {whole:.3f} in all")
    print("ms per frame, by stage:")
    for name, (spent, count) in stages(options).items():
        print(f"{name:>22}: {spent:8.1f}   ({count} frames)", flush=True)


if __name__ == "__main__":
    main()
