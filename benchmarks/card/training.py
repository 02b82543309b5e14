"""A step of adapter training at full size: every loss, forward, backward and the optimisers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate import Accelerator

from sonic_ext.engines.sonic.conditioning import mask_levels
from sonic_ext.nn import audio, unet
from sonic_ext.train.adapters.basis import MINIATURE
from sonic_ext.train.adapters.clips import AdapterCorpus, TrainingClip
from sonic_ext.train.adapters.memory import TrainingMemory
from sonic_ext.train.adapters.network import AdapterNetwork
from sonic_ext.train.adapters.recipe import LEVELS, AdapterRecipe, Objective
from sonic_ext.train.adapters.training import AdapterTrainer

from .bench import Bench, gigabytes
from .networks import Sizes, filled
from .runner import Row
from .worker import LeftOut

REPEATS = 2


def measure(bench: Bench) -> Iterator[Row]:
    """The largest square whose forecast fits, with activations made again and one window."""
    half = not bench.is_cpu
    if half and torch.bfloat16 not in bench.dtypes:
        raise LeftOut("the card does not compute in bfloat16")
    sizes, dtype = bench.sizes, torch.bfloat16 if half else torch.float32
    to_token = filled(audio.build_audio2token(sizes.token), torch.float32, bench.device)
    shapes = {key: tuple(value.shape) for key, value in to_token.state_dict().items()}
    for side in sizes.sides:
        grid = (side // 8, side // 8)
        memory = TrainingMemory(sizes.unet_shapes, shapes, grid, sizes.frames, dtype.itemsize, True)
        if not bench.is_cpu and not bench.fits(memory.total):
            yield {"note": f"{side}² needs {memory.total / 1e9:.1f} GB, which are not there."}
            continue
        network = AdapterNetwork(filled(unet.build_unet(sizes.unet), dtype, bench.device), to_token)
        accelerator = Accelerator(mixed_precision="bf16" if half else "no", cpu=bench.is_cpu)
        objective = Objective(adversarial=0.1, levels=LEVELS)
        recipe = AdapterRecipe(batch=1, window=sizes.frames, objective=objective)
        corpus = AdapterCorpus.of([random_clip(sizes, side)], MINIATURE)
        trainer = AdapterTrainer(network, corpus, recipe, accelerator, checkpointed=True)
        timing = bench.timed(trainer.step, REPEATS)
        yield {
            "side": side,
            "frames": sizes.frames,
            **timing.row(),
            "GB": gigabytes(timing.allocated),
            "forecast GB": gigabytes(memory.total),
            "passed": timing.out["reconstruction"] > 0,
        }
        return


def random_clip(sizes: Sizes, side: int) -> TrainingClip:
    """Of one window."""
    grid, steps, generator = side // 8, 4 * sizes.frames, torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    states = tuple(drawn(steps, sizes.token["blocks"], sizes.token["channels"]) for _ in range(2))
    return TrainingClip(
        "random",
        "nobody",
        5 * drawn(sizes.frames, 4, grid, grid),
        5 * drawn(1, 4, grid, grid),
        drawn(1, 1, sizes.unet.context),
        states,
        torch.tensor([12.5, 16.0, 16.0]),
        mask_levels(torch.ones(side, side), (grid, grid), len(sizes.unet.channels), sparse=False),
        (grid // 3, 2 * grid // 3, 2 * grid // 3, grid - 1),
    )
