"""ComfyUI's own routes and nodes give nothing of the private home away."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest
from comfy_client import Comfy, workflow


@pytest.fixture
def secrets(comfy: Comfy, home: Path, pictures: dict[str, str], voice: str, seed: int) -> dict[Path, bytes]:
    """What must stay: a master, its portrait, keys and ledger."""
    (job,) = comfy.run(workflow(pictures["one"], sound=voice, seed=seed)).jobs("export")
    take = home / "takes" / comfy.video(job)["take"]["id"]
    kept = [take / "master.mp4", *take.glob("portrait.*"), take / "take.json"]
    kept += [path for path in home.rglob("*") if path.name in ("key", "key.pem", "ledger.sqlite3")]
    return {path: path.read_bytes() for path in kept}


def climbing(path: Path) -> list[str]:
    """Ways to write a path for whoever looks below a folder of their own."""
    up = "../" * 12
    inside = str(path).lstrip("/")
    return [str(path), f"{up}{inside}", f"..\\{inside}", f"%2e%2e/{up}{inside}", f"sonic/{up}{inside}"]


def test_by_address(comfy: Comfy, secrets: dict[Path, bytes]) -> None:
    for path, data in secrets.items():
        for way in climbing(path):
            quoted = urllib.parse.quote(way, safe="")
            folder, name = (urllib.parse.quote(part, safe="") for part in way.rsplit("/", 1))
            for address in (
                *(f"/view?filename={quoted}&type={kind}" for kind in ("input", "output", "temp")),
                *(
                    f"/view?filename={name}&subfolder={folder}&type={kind}"
                    for kind in ("input", "output", "temp")
                ),
                f"/userdata/{quoted}",
                f"/api/userdata/{quoted}",
                f"/userdata?dir={folder}&recurse=true",
                f"/internal/files/{quoted}",
                f"/view_metadata/checkpoints?filename={quoted}",
                f"/experiment/models/preview/checkpoints/0/{quoted}",
                f"/extensions/sonic/{quoted}",
                f"/sonic/page/{quoted}",
                f"/sonic/v1/animations/{quoted}/preview",
                f"/workflow_templates/sonic/{quoted}",
                f"/{quoted}",
            ):
                for prefix in ("", "/api"):
                    answer = comfy.get(prefix + address)
                    assert answer.status >= 400 or not _tells(answer.body, path, data), prefix + address


def test_by_upload(comfy: Comfy, home: Path) -> None:
    before = sorted(home.rglob("*"))
    for folder in ("../" * 12 + str(home).lstrip("/"), str(home), "..", "../../.."):
        for name in ("planted.txt", f"{'../' * 12}{str(home).lstrip('/')}/planted.txt"):
            for kind in ("input", "output", "temp"):
                answer = comfy.upload(name, b"planted", type=kind, subfolder=folder, overwrite="true")
                assert answer.status >= 400 or "planted" in answer.json["name"]
    assert [path for path in sorted(home.rglob("*")) if path.name.startswith("planted")] == []
    assert set(before) <= set(home.rglob("*"))


def test_by_a_link(comfy: Comfy, secrets: dict[Path, bytes], request: pytest.FixtureRequest) -> None:
    links = request.config.getoption("--link")
    if not links:
        pytest.skip("no link to the home in ComfyUI's input folder, made after its start, was named: --link")
    for link in links:
        for path, data in secrets.items():
            within = link.name / path.relative_to(link.resolve())
            name, folder = (urllib.parse.quote(str(part)) for part in (within.name, within.parent))
            answer = comfy.get(f"/view?filename={name}&subfolder={folder}&type=input")
            assert answer.status >= 400 or not _tells(answer.body, path, data), within


def test_by_a_prompt(comfy: Comfy, secrets: dict[Path, bytes]) -> None:
    for path in secrets:
        if path.suffix not in (".mp4", ".jpg", ".png"):
            continue
        kind, name = ("LoadVideo", "file") if path.suffix == ".mp4" else ("LoadImage", "image")
        for way in climbing(path):
            load = {"class_type": kind, "inputs": {name: way}}
            save = (
                {
                    "class_type": "SaveVideo",
                    "inputs": {
                        "video": ["1", 0],
                        "filename_prefix": "stolen",
                        "format": "auto",
                        "codec": "auto",
                    },
                }
                if kind == "LoadVideo"
                else {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "stolen"}}
            )
            answer = comfy.ask("POST", "/prompt", {"prompt": {"1": load, "2": save}})
            assert answer.status >= 400, way


def _tells(body: bytes, path: Path, data: bytes) -> bool:
    """Whether an answer has anything of a file, or of its folder's names."""
    return data[:4096] in body or (path.name != "key" and path.name.encode() in body)
