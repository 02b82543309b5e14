"""What the sonic engine does besides its networks: `python benchmarks/overhead.py`.

A whole video with networks of a middling size and random weights, float32 on the CPU: portrait and speech to
the last frame, loading, checkpoints and post-processing included. Prints the seconds inside each kind of
network, and what is left, as a share of all. The label, the marks and the encoders come after the engine and
are not in it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import tiny_sonic  # noqa: E402

from sonic_ext import weights  # noqa: E402
from sonic_ext.engines.sonic.engine import MULTIPLE, DiffusionEngine  # noqa: E402
from sonic_ext.media.audio import read_speech  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import compose  # noqa: E402
from sonic_ext.pipeline import frame_count  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

EXAMPLE = ROOT / "sonic_ext" / "assets" / "example"
UNET = {
    **tiny_sonic.UNET,
    "block_out_channels": [64, 128, 256, 256],
    "num_attention_heads": [1, 2, 4, 4],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
}
VAE = {**tiny_sonic.VAE, "block_out_channels": [32, 64, 128, 128], "layers_per_block": 2}


def networks() -> dict[str, list[tuple[type, str]]]:
    """Kind → classes and methods whose time counts as the network's."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionModelWithProjection
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from sonic_ext.nn.audio import AudioToBucket, AudioToToken
    from sonic_ext.nn.interpolate import Interpolator

    return {
        "UNet": [(UNetSpatioTemporalConditionModel, "forward")],
        "VAE": [(AutoencoderKLTemporalDecoder, "encode"), (AutoencoderKLTemporalDecoder, "decode")],
        "speech and image encoders": [
            (WhisperEncoder, "forward"),
            (CLIPVisionModelWithProjection, "forward"),
            (AudioToToken, "forward"),
            (AudioToBucket, "forward"),
        ],
        "RIFE": [(Interpolator, "forward")],
    }


@contextmanager
def timed(spent: Counter[str]) -> Iterator[None]:
    """Inside, calls of the networks add their seconds."""
    with ExitStack() as stack:
        for kind, methods in networks().items():
            for owner, name in methods:
                stack.enter_context(_watched(owner, name, kind, spent))
        yield


@contextmanager
def _watched(owner: Any, name: str, kind: str, spent: Counter[str]) -> Iterator[None]:
    real = getattr(owner, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(*arguments, **named)
        finally:
            spent[kind] += time.perf_counter() - began

    setattr(owner, name, watched)
    try:
        yield
    finally:
        setattr(owner, name, real)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=2.0, help="of video")
    parser.add_argument("--rife", action="store_true", help="interpolate with RIFE instead of optical flow")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = Settings(engine="sonic", min_resolution=256, inference_steps=options.steps, seed=1)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        models = tiny_sonic.write(Path(folder) / "models", options.rife, UNET, VAE, width=1024)
        engine = DiffusionEngine(weights.Search(own=models), home=Path(folder) / "home")
        scene = compose(read_portrait(EXAMPLE / "portrait.jpg"), settings, MULTIPLE)
        speech = replace(read_speech(EXAMPLE / "speech.wav"), limit=options.seconds)
        count = frame_count(speech.length, settings.fps)
        began = time.perf_counter()
        with timed(spent):
            animation = engine.prepare(scene, speech, settings, count, 1, lambda *_: None)
            prepared = time.perf_counter() - began
            frames = sum(1 for _ in animation.frames())
            animation.close()
        whole = time.perf_counter() - began
    print(f"{frames} frames of 256 × 256, {options.steps} steps, {options.threads} threads")
    for kind, seconds in spent.most_common():
        print(f"{kind:28}{seconds:8.2f} s {seconds / whole:7.1%}")
    rest = whole - sum(spent.values())
    print(f"{'everything else':28}{rest:8.2f} s {rest / whole:7.1%}")
    print(f"{'all':28}{whole:8.2f} s, of it {prepared:.2f} s up to the last latents")


if __name__ == "__main__":
    main()
