"""One guided call of the UNet, three branches of a window: rung by rung, in 8 bits, compiled, taken apart."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from math import prod
from typing import Any

import torch
import unet as ladder  # benchmarks/unet.py

from sonic_ext.engines.runtime.devices import Hardware
from sonic_ext.engines.sonic.budget import MEMORY_MODES, RESERVE, Budget
from sonic_ext.engines.sonic.denoise import Denoiser
from sonic_ext.engines.sonic.schedule import schedule
from sonic_ext.engines.sonic.windows import Plan
from sonic_ext.nn import storage, unet
from sonic_ext.nn.offload import Offload

from .bench import Bench, Timing, checked, difference, gigabytes, named
from .networks import filled
from .runner import Row
from .worker import LeftOut

CAP = 8 * 10**9
"""Bytes of the card that stands for a small one."""
SHOWN = 20
"""Operations that the profile names."""


NARROWED = {"fp8": storage.store_fp8, "int8": storage.multiply_int8}
"""Precision of 8 bits → what makes a network so."""


@dataclass(frozen=True)
class Setup:
    """A guided call that can be made."""

    bench: Bench
    dtype: torch.dtype
    rung: str
    side: int
    narrow: str = ""

    @property
    def size(self) -> dict[str, Any]:
        """In the words of `benchmarks/unet.py`."""
        latents = (self.side // 8, self.side // 8)
        return {"unet": self.bench.sizes.unet, "frames": self.bench.sizes.frames, "latents": latents}

    @property
    def budget(self) -> Budget:
        """What the engine forecasts."""
        hardware = Hardware(self.bench.device, self.dtype, self.narrow)
        frames = self.bench.sizes.frames
        return Budget(hardware, self.bench.sizes.unet_shapes, self.side, Plan(frames, frames), 1)

    @property
    def forecast(self) -> int:
        """Bytes of the device, without what is kept for its libraries."""
        budget = self.budget
        numbers = 0 if self.rung == "offload" else sum(map(prod, budget.shapes.values()))
        return numbers * budget.hardware.stored + budget.working(self.rung) - RESERVE

    def network(self) -> Any:
        """With random weights, where the rung wants them."""
        rest = "cpu" if self.rung == "offload" else None
        network = filled(unet.build_unet(self.bench.sizes.unet), self.dtype, self.bench.device, rest)
        if self.narrow:
            NARROWED[self.narrow](network)
        return network

    def call(self, network: Any) -> Callable[[], torch.Tensor]:
        """One guided call as `Run` makes it: latents wait in main memory."""
        device, frames = self.bench.device, self.bench.sizes.frames
        conditioning = ladder.conditioning(self.size, self.dtype, device)
        load_layer = Offload(network, device) if self.rung == "offload" else None
        denoiser = Denoiser(network, conditioning, batched=self.rung == "together", load_layer=load_layer)
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(frames, 4, *self.size["latents"], generator=generator)
        moment, window = schedule(25).moment(12), torch.arange(frames)
        return lambda: denoiser(x, moment, window).to(x)

    def timed(self, network: Any) -> Timing:
        """Several calls."""
        with torch.inference_mode():
            return self.bench.timed(self.call(network))

    def operations(self, network: Any) -> int:
        """Of products, convolutions and attention, counted."""
        with torch.inference_mode():
            return ladder.counted(self.call(network))


def sized(bench: Bench, dtype: torch.dtype, rung: str, eight: bool = False) -> Setup:
    """The call with the largest picture that fits.

    Raises:
        LeftOut: none does.
    """
    for side in bench.sizes.sides:
        setup = Setup(bench, dtype, rung, side, eight)
        if bench.is_cpu or bench.fits(setup.forecast + RESERVE):
            return setup
    raise LeftOut(f"{rung} in {named(dtype)} needs {(setup.forecast + RESERVE) / 1e9:.1f} GB at {side}²")


def rungs(bench: Bench) -> Iterator[Row]:
    """Every way in which the engine runs the network, the first precision on all, the others on one."""
    first: dict[int, torch.Tensor] = {}
    for dtype in bench.dtypes:
        peak = bench.peak(dtype)
        for rung in MEMORY_MODES if dtype == bench.dtypes[0] else ("branches",):
            try:
                setup = sized(bench, dtype, rung)
            except LeftOut as error:
                yield {"note": f"Left out: {error}."}
                continue
            if setup.side != bench.sizes.sides[0]:
                yield {"note": f"{rung} in {named(dtype)} at {setup.side}²: more does not fit."}
            names = {"rung": rung, "numbers": named(dtype), "side": setup.side}
            yield bench.tried(names, partial(_rung, setup, peak, first))


def _rung(setup: Setup, peak: float, first: dict[int, torch.Tensor]) -> Row:
    network = setup.network()
    timing = setup.timed(network)
    operations = setup.operations(network)
    want = first.setdefault(setup.side, timing.out)
    return {
        **timing.row(),
        "TFLOP": operations / 1e12,
        "share of peak": operations / timing.median / peak,
        "peak GB": gigabytes(timing.allocated),
        "reserved GB": gigabytes(timing.reserved),
        "forecast GB": gigabytes(setup.forecast),
        "difference": difference(timing.out, want),
        **checked(timing.out),
    }


def steps_of_the_ladder(bench: Bench) -> Iterator[Row]:
    """`benchmarks/unet.py`'s rungs: each saving by itself, from the plain path on."""
    dtype = bench.dtypes[0]
    setup = sized(bench, dtype, "branches")
    peak, first = bench.peak(dtype), []
    names = [name for name, rung in ladder.RUNGS.items() if not rung.heap]  # that one is a processor's
    if find_spec("diffusers") is None:
        yield {"note": "The plain path is left out: it is diffusers' network, which is not installed."}
        names = [name for name in names if not ladder.RUNGS[name].plain]
    for name in (names[0], names[-1]) if bench.is_cpu else names:
        own = {"rung": name, "side": setup.side}
        yield bench.tried(own, partial(_step, setup, ladder.RUNGS[name], peak, first))


def _step(setup: Setup, rung: ladder.Rung, peak: float, first: list[Timing]) -> Row:
    with torch.inference_mode():
        run = ladder.prepared(rung, setup.size, setup.dtype, setup.bench.device)
        timing = setup.bench.timed(run)
        operations = ladder.counted(run)
    first.append(replace(timing, out=timing.out.cpu()))
    del first[1:]
    return {
        **timing.row(),
        "of the first": timing.median / first[0].median,
        "TFLOP": operations / 1e12,
        "share of peak": operations / timing.median / peak,
        "peak GB": gigabytes(timing.allocated),
        "difference": difference(timing.out.cpu(), first[0].out),
        **checked(timing.out),
    }


def offload(bench: Bench) -> Iterator[Row]:
    """A card of 8 GB: the way that the engine picks there, and its last resort."""
    dtype = bench.dtypes[0]
    cap = min(CAP, bench.memory) if not bench.is_cpu else CAP
    bench.allow(cap)
    try:
        usual = Setup(bench, dtype, "branches", bench.sizes.sides[0])
        memory_plan = usual.budget.memory_plan("auto", cap)
        yield {
            "note": f"The engine picks {memory_plan.mode} with {cap / 1e9:.0f} GB, "
            f"and decodes {memory_plan.chunk} at once."
        }
        for rung in dict.fromkeys((memory_plan.mode, "offload")):
            names = {"rung": rung, "cap GB": cap / 1e9}
            yield bench.tried(names, partial(_offloaded, replace(usual, rung=rung), cap))
    finally:
        bench.allow(None)


def _offloaded(setup: Setup, cap: int) -> Row:
    network = setup.network()
    timing = setup.timed(network)
    size = sum(tensor.nbytes for tensor in network.parameters())
    moved = size if setup.rung == "offload" else 0
    return {
        "side": setup.side,
        **timing.row(),
        "moved GB": moved / 1e9,
        "moved GB/s": moved / timing.median / 1e9,
        "peak GB": gigabytes(timing.allocated),
        "reserved GB": gigabytes(timing.reserved),
        "forecast GB": gigabytes(setup.forecast),
        "passed": timing.reserved is None or timing.reserved <= cap,
    }


def eight_bits(bench: Bench) -> Iterator[Row]:
    """Weights in 8 bits and products of integers: how far off they are, and what the call costs with them."""
    dtype = bench.dtypes[0]
    setup = sized(bench, dtype, "branches")
    network = setup.network()
    yield _weight_error(network)
    usual = setup.timed(network)
    yield _stored(setup, network, usual, usual)
    del network
    for name in NARROWED:
        eight = replace(setup, narrow=name)
        network = eight.network()
        yield _stored(eight, network, eight.timed(network), usual)
        del network


def _stored(setup: Setup, network: Any, timing: Timing, usual: Timing) -> Row:
    return {
        "weights": setup.narrow or named(setup.dtype),
        "side": setup.side,
        **timing.row(),
        "weights GB": sum(tensor.nbytes for tensor in network.parameters()) / 1e9,
        "peak GB": gigabytes(timing.allocated),
        "forecast GB": gigabytes(setup.forecast),
        "difference": difference(timing.out, usual.out),
        **checked(timing.out),
    }


def _weight_error(network: Any) -> Row:
    """Of all layers that would be stored so: with a scale per row, and without."""
    squares = Counter[str]()
    for name, layer in network.named_modules():
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)) and not any(
            part in name for part in storage.KEPT
        ):
            weight = layer.weight.detach()
            scaled = storage.widened(*storage.narrowed(weight))
            plain = weight.to(storage.NARROW).to(weight.dtype)
            squares["whole"] += float(weight.float().square().sum())
            squares["scaled"] += float((scaled.float() - weight.float()).square().sum())
            squares["plain"] += float((plain.float() - weight.float()).square().sum())
    scaled, plain = (((squares[key] / squares["whole"]) ** 0.5) for key in ("scaled", "plain"))
    return {"error of the weights": scaled, "without scales": plain, "passed": scaled < 0.03}


def profile(bench: Bench) -> Iterator[Row]:
    """One guided call taken apart: what the time goes into, and where the processor waits for the card."""
    setup = sized(bench, bench.dtypes[0], "branches")
    network = setup.network()
    with torch.inference_mode():
        run = setup.call(network)
        run()
        bench.finish()
        yield from _waits(bench, run)
        yield from _operations(bench, run)
        yield from _other_ways(setup, network)


def _operations(bench: Bench, run: Callable[[], Any]) -> Iterator[Row]:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    kinds = [ProfilerActivity.CPU, *([] if bench.is_cpu else [ProfilerActivity.CUDA])]
    with profiler(activities=kinds) as found:
        run()
        bench.finish()
    events = [event for event in found.key_averages() if event.device_type == DeviceType.CPU]

    def own(event: Any) -> float:
        if bench.is_cpu:
            return float(event.self_cpu_time_total) / 1000
        return float(getattr(event, "self_device_time_total", None) or event.self_cuda_time_total) / 1000

    whole = sum(map(own, events))
    launches = sum(event.count for event in events if "LaunchKernel" in event.key)
    yield {"profiled ms": whole, "launches": None if bench.is_cpu else launches, "passed": whole > 0}
    for event in sorted(events, key=own, reverse=True)[:SHOWN]:
        if own(event) > 0:
            yield {
                "operation": event.key,
                "calls": event.count,
                "ms": own(event),
                "share": own(event) / whole,
            }


def _other_ways(setup: Setup, network: Any) -> Iterator[Row]:
    """What launching costs, and what cuDNN's own trials of its convolutions bring.

    The call as it is, replayed as one CUDA graph, which launches nothing, and with the fastest convolutions
    that cuDNN finds. The engine uses neither: which ones are found differs from run to run, and then a video
    that goes on is not the same to the bit.
    """
    bench = setup.bench
    if bench.is_cpu:
        yield {"note": "A CUDA graph of the call is replayed, and convolutions are tried, on a card only."}
        return
    rung = ladder.RUNGS["one branch at a time"]
    run = ladder.guided(network, rung, setup.size, setup.dtype, bench.device)
    usual, graph = bench.timed(run), torch.cuda.CUDAGraph()

    def row(call: str, timing: Timing, out: torch.Tensor) -> Row:
        against = {"of usual": timing.median / usual.median, "difference": difference(out, usual.out)}
        return {"call": call, "side": setup.side, **timing.row(), **against, **checked(out)}

    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=True, allow_tf32=cudnn.allow_tf32):
        run()
        tried = bench.timed(run)
    yield row("with the convolutions that cuDNN found fastest", tried, tried.out)
    try:
        with torch.cuda.graph(graph):
            kept = run()
    except RuntimeError as error:
        yield {"note": f"No CUDA graph can be made of the call: {str(error).splitlines()[0]}"}
        return
    yield row("replayed as a CUDA graph", bench.timed(graph.replay), kept)


def _waits(bench: Bench, run: Callable[[], Any]) -> Iterator[Row]:
    """Lines of code that make the processor wait for the card, and how often in a call."""
    if bench.is_cpu:
        yield {"note": "Where the processor waits for the card is counted on a card only."}
        return
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{_shortened(each.filename)}:{each.lineno}" for each in found if "synchroniz" in str(each.message)
    )
    yield {"waits for the card in a call": sum(places.values())}
    for place, count in places.most_common(SHOWN):
        yield {"where": place, "waits": count}


def _shortened(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-3:])


def compiled(bench: Bench) -> Iterator[Row]:
    """The call as it is, then with more and more of it compiled; each first call is counted apart."""
    setup = sized(bench, bench.dtypes[0], "branches")
    network = setup.network()
    usual = setup.timed(network)
    own = {"side": setup.side, "first call s": None, **usual.row(), "of uncompiled": 1.0, "difference": 0.0}
    yield {"compiled": "nothing", **own, **checked(usual.out)}
    for name, part, backend in _parts(bench, network):
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as said, torch.inference_mode():
            warnings.simplefilter("always", RuntimeWarning)
            if problem := storage.compiled(part, backend):
                raise LeftOut(problem)
            setup.call(network)()
        first = time.perf_counter() - began
        yield from (
            {"note": str(each.message)} for each in said if "compiling it failed" in str(each.message)
        )
        timing = setup.timed(network)
        yield {
            "compiled": name,
            "side": setup.side,
            "first call s": first,
            **timing.row(),
            "of uncompiled": timing.median / usual.median,
            "difference": difference(timing.out, usual.out),
            **checked(timing.out),
        }


def _parts(bench: Bench, network: Any) -> Iterator[tuple[str, torch.nn.Module, str]]:
    """What is compiled one after the other, and by what."""
    down, up = list(network.down_blocks), list(network.up_blocks)
    if bench.is_cpu:  # traced and run as it is: a compiler would take minutes for nothing
        yield "one block, traced only", down[-1], "eager"
        return
    yield "outermost blocks", torch.nn.ModuleList([down[0], up[-1]]), "inductor"
    yield "all blocks", torch.nn.ModuleList([*down[1:], network.mid_block, *up[:-1]]), "inductor"
