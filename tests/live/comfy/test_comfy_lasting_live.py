"""Ten videos and ten pictures in turn leave memory, threads and handles as they were."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_client import Comfy, workflow
from lasting import holding, process_of, require_as_before

MINIATURE = {"engine": "sonic", "weights": "miniature"}


def test_videos_and_pictures_in_turn_leave_nothing(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int, request: pytest.FixtureRequest
) -> None:
    rounds = request.config.getoption("--soak")
    if not rounds:
        pytest.skip("takes long: --soak 10")
    for number in range(2):  # what is loaded once and kept is no leak
        one_round(comfy, pictures["one"], voice, seed + number)
    process = process_of(comfy.url)
    before = holding(process)
    for number in range(2, rounds + 2):
        one_round(comfy, pictures["one"], voice, seed + number)
    require_as_before(process, before)


def one_round(comfy: Comfy, picture: str, voice: str, seed: int) -> None:
    """A video of the sonic engine, by the set that ships, and a picture by ComfyUI's own networks."""
    run = comfy.run(workflow(picture, sound=voice, seed=seed, engine=MINIATURE))
    assert run.status == "success", run.told
    (job,) = run.jobs("make")
    comfy.ask("DELETE", f"/sonic/v1/animations/{job}")
    checkpoints = comfy.get("/models/checkpoints").json
    if checkpoints:
        assert comfy.run(painted(checkpoints[0], seed)).status == "success"


def painted(checkpoint: str, seed: int) -> dict[str, Any]:
    """The cheapest picture, as a prompt."""
    sampled = {
        "model": ["loader", 0], "positive": ["words", 0], "negative": ["words", 0],
        "latent_image": ["empty", 0], "seed": seed, "steps": 1, "cfg": 1.0,
        "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
    }  # fmt: skip
    return {
        "loader": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "words": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["loader", 1], "text": "a portrait"}},
        "empty": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "sampled": {"class_type": "KSampler", "inputs": sampled},
        "decoded": {"class_type": "VAEDecode", "inputs": {"samples": ["sampled", 0], "vae": ["loader", 2]}},
        "saved": {"class_type": "PreviewImage", "inputs": {"images": ["decoded", 0]}},
    }
