"""Forecasts of memory and work against counts: `python benchmarks/footprint.py`.

The published networks run on tensors without contents (`FakeTensorMode`): nothing is computed, no memory is
taken. A count is the largest sum of bytes of tensors alive at one time, above weights and inputs, and the
floating-point operations of matrix products, convolutions and attention. Not counted: what an allocator
rounds up, workspaces of cuDNN and cuBLAS, the context of CUDA. Pieces are cut as on a GPU.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from sonic_ext.engines.sonic import footprint
from sonic_ext.engines.sonic.denoise import Call
from sonic_ext.nn import audio, clip, layers, unet, vae, whisper
from sonic_ext.nn.build import fill
from sonic_ext.nn.offload import Offload
from sonic_ext.nn.unet import Branch, Level

SIZES = ((256, 256), (320, 320), (384, 576), (512, 512), (512, 896), (768, 768), (1024, 1024))
"""Width and height of pictures."""
FITTED = 320
"""Forecasts are made for pictures with sides from this on."""
DTYPES = {2: torch.bfloat16, 4: torch.float32}


class Live(TorchDispatchMode):  # type: ignore[misc]
    """Adds up the bytes of tensors that operations make while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The operation itself; its new storages are noted."""
        old = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _key(leaf) not in old | self._known:
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _key(tensor: torch.Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


@dataclass(frozen=True)
class Count:
    """Of one call."""

    bytes: int
    operations: int


def operation_counter() -> FlopCounterMode:
    """Also of the attention that torch uses on a CPU, which it does not count itself."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        batch, heads, length, width = query
        return int(4 * batch * heads * length * key[2] * width)

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: attention})


def counted(run: Callable[[], Any]) -> Count:
    """Inside a `FakeTensorMode`."""
    with torch.no_grad(), operation_counter() as operations, Live() as live:
        run()
    return Count(live.peak, operations.get_total_flops())


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Within, pieces are as large as on a GPU, though the tensors say that they lie on a CPU."""
    before, layers.CACHE = layers.CACHE, layers.BOUND
    try:
        yield
    finally:
        layers.CACHE = before


def made(build: Callable[[], Any], itemsize: int) -> Any:
    """A network without contents."""
    network = build()
    weights = {
        key: torch.empty(tensor.shape, dtype=DTYPES[itemsize]) for key, tensor in network.state_dict().items()
    }
    return fill(network, weights)


def branches(width: int, height: int, frames: int, dtype: torch.dtype) -> tuple[Branch, ...]:
    """The three of guidance; the face is everywhere."""
    rows, columns, levels = height // 8, width // 8, {}
    for _ in range(4):
        levels[rows * columns] = Level(torch.ones(rows * columns, 1))
        rows, columns = -(-rows // 2), -(-columns // 2)
    portrait, silence, speech = (
        torch.ones(n, m, 1024, dtype=dtype) for n, m in ((1, 1), (1, 32), (frames, 32))
    )
    nothing = Branch(portrait, silence, levels)
    return nothing, replace(nothing, input=1), Branch(portrait, speech, levels, input=1)


def count_unet(width: int, height: int, frames: int, rung: str, itemsize: int) -> Count:
    """A guided call on a rung of the engine; weights that visit are not counted."""
    with FakeTensorMode(), as_on_gpu():
        network, dtype = made(unet.build_unet, itemsize), DTYPES[itemsize]
        load_layer = Offload(network, "cpu") if rung == "offload" else None
        conditioned = branches(width, height, frames, dtype)
        call = Call(network, conditioned, torch.tensor(1.0), torch.ones(1, 3), rung == "together", load_layer)
        x = torch.ones(2, frames, 8, height // 8, width // 8, dtype=dtype)
        return counted(lambda: call(x))


def count_one_branch(width: int, height: int, frames: int) -> int:
    """Operations of one branch by itself."""
    with FakeTensorMode(), as_on_gpu():
        network = made(unet.build_unet, 2)
        branch = replace(branches(width, height, frames, DTYPES[2])[2], input=0)
        x = torch.ones(1, frames, 8, height // 8, width // 8, dtype=DTYPES[2])
        return counted(lambda: network(x, torch.tensor(1.0), torch.ones(1, 3), [branch])).operations


def count_decode(width: int, height: int, chunk: int, itemsize: int) -> Count:
    """One chunk of frames."""
    with FakeTensorMode():
        network = made(vae.build_vae, itemsize)
        latents = torch.ones(chunk, 4, height // 8, width // 8, dtype=DTYPES[itemsize])
        return counted(lambda: list(vae.decode(network, latents, chunk)))


def count_encode(width: int, height: int, itemsize: int) -> Count:
    """The portrait."""
    with FakeTensorMode():
        network = made(vae.build_vae, itemsize)
        picture = torch.ones(1, 3, height, width, dtype=DTYPES[itemsize])
        return counted(lambda: vae.encode_mean(network, picture))


def count_whisper() -> Count:
    """30 seconds of speech."""
    with FakeTensorMode():
        network = made(whisper.build_whisper, 4)
        mels = torch.ones(1, 80, 3000)
        return counted(lambda: whisper.hidden_states(network, mels))


def count_audio(frames: int) -> Count:
    """Tokens and buckets of so many frames."""
    with FakeTensorMode():
        token, bucket = made(audio.build_audio2token, 4), made(audio.build_audio2bucket, 4)
        states, last = torch.ones(frames, 10, 5, 384), torch.ones(frames, 50, 1, 384)
        embedding = torch.ones(frames, 1024)
        return counted(lambda: (token(states), bucket(last, embedding)))


def count_clip(itemsize: int) -> Count:
    """The portrait."""
    with FakeTensorMode():
        network = made(clip.build_clip, itemsize)
        picture = torch.ones(1, 3, 224, 224, dtype=DTYPES[itemsize])
        return counted(lambda: clip.embed(network, picture))


def show(what: str, count: float, forecast: float, unit: float, name: str) -> None:
    """One line."""
    error = forecast / count - 1
    print(f"{what:44}{count / unit:10.3f}{forecast / unit:10.3f} {name:6}{error:+8.1%}", flush=True)


def show_unet(frames: int) -> None:
    """Every size, both ways and both widths of numbers."""
    for width, height in SIZES:
        for rung, itemsize in (("branches", 2), ("together", 2), ("offload", 2), ("branches", 4)):
            count = count_unet(width, height, frames, rung, itemsize)
            forecast = footprint.unet_activations(width, height, frames, rung, itemsize)
            words = f"unet {width}x{height} {frames} frames {rung} {itemsize} bytes"
            show(words, count.bytes, forecast, 1e9, "GB")
        operations = footprint.unet_operations(width, height, frames)
        one = count_one_branch(width, height, frames)
        show(f"unet {width}x{height} {frames} frames, a branch", one, operations, 1e12, "TFLOP")


def show_vae(chunk: int) -> None:
    """Decoder and encoder."""
    for width, height in SIZES:
        count = count_decode(width, height, chunk, 2)
        forecast = footprint.vae_decode_activations(width, height, chunk, 2)
        show(f"decode {width}x{height}, {chunk} frames", count.bytes, forecast, 1e9, "GB")
        operations = chunk * footprint.vae_decode_operations(width, height)
        show(f"decode {width}x{height}, {chunk} frames", count.operations, operations, 1e12, "TFLOP")
        count = count_encode(width, height, 4)
        forecast = footprint.vae_encode_activations(width, height, 4)
        show(f"encode {width}x{height}", count.bytes, forecast, 1e9, "GB")
        operations = footprint.vae_encode_operations(width, height)
        show(f"encode {width}x{height}", count.operations, operations, 1e12, "TFLOP")


def show_small() -> None:
    """Speech and portrait."""
    count = count_whisper()
    show("whisper, 30 s", count.bytes, footprint.whisper_activations(30), 1e9, "GB")
    show("whisper, 30 s", count.operations, footprint.whisper_operations(30), 1e12, "TFLOP")
    count = count_audio(125)
    show("audio networks, 125 frames", count.bytes, footprint.audio_activations(125), 1e9, "GB")
    show("audio networks, 125 frames", count.operations, footprint.audio_operations(125), 1e12, "TFLOP")
    count = count_clip(2)
    show("clip", count.bytes, footprint.clip_activations(2), 1e9, "GB")
    show("clip", count.operations, footprint.clip_operations(), 1e12, "TFLOP")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--chunk", type=int, default=8)
    options = parser.parse_args()
    print(f"{'':44}{'count':>10}{'forecast':>10} {'':6}{'error':>8}")
    show_small()
    show_vae(options.chunk)
    show_unet(options.frames)


if __name__ == "__main__":
    main()
