"""Prompts over HTTP: what ComfyUI answers, caches and shows of our nodes, also where something is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from comfy_client import Comfy, workflow
from patience import until
from PIL import Image
from spoken import MEDIA


def test_one_prompt_waits_for_its_consent_and_shows_the_file_afterwards(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int
) -> None:
    prompt = workflow(pictures["one"], sound=voice, seed=seed)
    run = comfy.run(prompt)
    assert run.status == "success"
    (job,) = run.jobs("export")
    if "look" in run.outputs:  # with --cache-none the history has the last node's answer alone
        assert re.match(r"256 × 256, \d+ frames", run.outputs["look"]["text"][0])
        assert run.jobs("make") == [job]
    assert not run.outputs["export"]["images"]
    assert comfy.ask("POST", f"/sonic/v1/animations/{job}/export", {}).status == 403
    name = comfy.export(job)["name"]
    again = comfy.run(prompt)
    assert again.jobs("export") == [job]
    assert again.outputs["export"]["text"] == [f"Exported as {name}."]
    (file,) = again.outputs["export"]["images"]
    assert (file["filename"], file["subfolder"], file["type"]) == (name, "sonic", "output")
    assert comfy.get(f"/view?filename={name}&subfolder=sonic&type=output").status == 200
    assert comfy.run(prompt).outputs["export"] == again.outputs["export"]
    assert [each["id"] for each in comfy.get("/sonic/v1/animations").json["animations"]].count(job) == 1


def test_of_a_batch_some_are_exported(comfy: Comfy, pictures: dict[str, str], voice: str, seed: int) -> None:
    prompt = workflow(pictures["one"], pictures["other"], sound=voice, seed=seed)
    jobs = comfy.run(prompt).jobs("export")
    assert len(set(jobs)) == 2
    for job in jobs:
        name = comfy.export(job)["name"]
        run = comfy.run(prompt)
        assert (run.status, run.jobs("export")) == ("success", jobs)
        assert name in [each["filename"] for each in run.outputs["export"]["images"]]


def test_a_picture_of_a_batch_without_a_face_is_named(
    comfy: Comfy, pictures: dict[str, str], voice: str
) -> None:
    three = (pictures[name] for name in ("one", "other", "nobody"))
    run = comfy.run(workflow(*three, sound=voice))
    assert (run.status, run.failed) == ("error", "SonicExtPreData")
    assert run.error.startswith("Picture 3 of 3: ")
    assert "face" in run.error
    assert "\n" not in run.error


def test_silence_is_refused(comfy: Comfy, pictures: dict[str, str], silence: str) -> None:
    run = comfy.run(workflow(pictures["one"], sound=silence))
    assert (run.status, run.failed) == ("error", "SonicExtPreData")
    assert "silent" in run.error or "speech" in run.error


def test_without_audio_nothing_begins(comfy: Comfy, pictures: dict[str, str]) -> None:
    answer = comfy.ask("POST", "/prompt", {"prompt": workflow(pictures["one"], sound=None)})
    assert answer.status == 400
    assert "audio" in str(answer.json["node_errors"]["look"]["errors"])


def test_missing_weights_are_said_with_what_brings_them(
    comfy: Comfy, pictures: dict[str, str], voice: str
) -> None:
    if comfy.get("/sonic/v1/weights").json.get("ready"):
        pytest.skip("this ComfyUI has the published weights")
    run = comfy.run(workflow(pictures["one"], sound=voice, engine={"engine": "sonic"}))
    assert (run.status, run.failed) == ("error", "SonicExtLoader")
    assert "weights" in run.error


def with_vae(comfy: Comfy, prompt: dict[str, Any], vae: list[Any]) -> dict[str, Any]:
    """The prompt with the MODEL of a Stable Diffusion 1.5 checkpoint and this VAE linked to its Loader."""
    checkpoints = comfy.get("/models/checkpoints").json
    if not checkpoints:
        pytest.skip("this ComfyUI has no checkpoint of Stable Diffusion 1.5")
    linked = {"model": ["checkpoint", 0], "vae": vae}
    loader = prompt["loader"] | {"inputs": prompt["loader"]["inputs"] | linked}
    return prompt | {
        "checkpoint": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoints[0]}},
        "other": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
        "loader": loader,
    }


@pytest.mark.parametrize("weights", ["installed", "none"])
def test_the_vae_of_the_checkpoint_is_taken(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int, weights: str
) -> None:
    """The sonic engine draws with it; the preview engine has no use for it."""
    engine = {"engine": "preview"} if weights == "none" else {"engine": "sonic", "decoder": "host"}
    if weights == "installed" and not comfy.get("/sonic/v1/weights").json.get("ready"):
        pytest.skip("this ComfyUI has no weights of the sonic engine")
    run = comfy.run(
        with_vae(comfy, workflow(pictures["one"], sound=voice, seed=seed, engine=engine), ["checkpoint", 2])
    )
    assert run.status == "success", run.error
    (job,) = run.jobs("export")
    assert comfy.video(job)["take"]["engine"] == engine["engine"]


def test_a_vae_of_another_kind_is_refused(comfy: Comfy, pictures: dict[str, str], voice: str) -> None:
    plain = workflow(pictures["one"], sound=voice, engine={"engine": "preview"})
    run = comfy.run(with_vae(comfy, plain, ["other", 0]))
    assert (run.status, run.failed) == ("error", "SonicExtLoader")
    assert "of another kind" in run.error


def test_a_revoked_consent_is_an_error_of_the_export(
    comfy: Comfy, voice: str, seed: int, tmp_path: Path
) -> None:
    own = tmp_path / "sonic-live-revoked.png"  # of its own: what is revoked stays so
    with Image.open(MEDIA / "portrait_05.jpg") as picture:
        picture.putpixel((0, 0), (seed % 256, seed // 256 % 256, seed // 2**16 % 256))
        picture.save(own)
    prompt = workflow(comfy.put(own), sound=voice, seed=seed)
    (job,) = comfy.run(prompt).jobs("export")
    record = comfy.export(job, unlike_reason="The picture of an earlier test.")["record"]
    assert comfy.run(prompt).status == "success"
    assert comfy.ask("POST", f"/sonic/v1/consents/{record}/revoke", {}).status == 200
    run = comfy.run(prompt)
    assert run.status == "error"
    assert run.failed in ("SonicExtExport", "SonicExtGenerate")
    assert "revoked" in run.error


def test_an_expired_take_is_made_again(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int, home: Path
) -> None:
    prompt = workflow(pictures["one"], sound=voice, seed=seed)
    (first,) = comfy.run(prompt).jobs("export")
    shutil.rmtree(home / "takes" / comfy.video(first)["take"]["id"])
    run = comfy.run(prompt)
    assert run.status == "success"
    (second,) = run.jobs("export")
    assert second != first
    assert (home / "takes" / comfy.video(second)["take"]["id"] / "master.mp4").is_file()


def test_two_that_are_queued_are_made_one_after_the_other(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int
) -> None:
    prompts = [workflow(pictures["one"], sound=voice, seed=seed + number) for number in range(2)]
    runs = [comfy.ended(prompt) for prompt in [comfy.begin(each) for each in prompts]]
    assert [run.status for run in runs] == ["success", "success"]
    assert len({job for run in runs for job in run.jobs("export")}) == 2


def test_an_interrupted_one_is_no_failure_and_goes_on_when_run_again(
    comfy: Comfy, pictures: dict[str, str], voice: str, seed: int
) -> None:
    prompt = workflow(
        pictures["one"],
        sound=voice,
        seed=seed,
        engine={"engine": "sonic", "weights": "miniature"},
    )
    queued = comfy.begin(prompt)
    until(lambda: queued in comfy.running())
    until(lambda: [each for each in _under_way(comfy) if each["progress"] > 0])
    comfy.ask("POST", "/interrupt", {"prompt_id": queued})
    run = comfy.ended(queued)
    assert "execution_interrupted" in run.told
    assert "execution_error" not in run.told
    until(lambda: not _under_way(comfy))


def _under_way(comfy: Comfy) -> list[dict[str, object]]:
    every = comfy.get("/sonic/v1/animations").json["animations"]
    return [each for each in every if not each["ended"] and not each["held"]]
