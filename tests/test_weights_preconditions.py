"""What keeps weights from being brought, before anybody asks: told by survey, command line and API."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sonic_ext import weights
from sonic_ext.cli.main import main
from sonic_ext.ports import HostVae
from sonic_ext.weights import Finding, PartState, Search, Survey, obstacles


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty models folder, and no cache."""
    monkeypatch.setattr("sonic_ext.weights.find.own_folder", lambda: tmp_path / "models")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("SONIC_MODELS", raising=False)
    return tmp_path / "models"


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these packages were not installed, and all others were."""
    monkeypatch.setattr(
        "sonic_ext.weights.preconditions.find_spec",
        lambda name: None if name in names else importlib.util.find_spec("json"),
    )


@pytest.mark.parametrize(
    ("lacking", "offline", "told"),
    [
        ((), "", []),
        (("httpx",), "", [("fetch", "httpx, which is not installed")]),
        ((), "1", [("fetch", "HF_HUB_OFFLINE")]),
        ((), "no", []),
        (("torch",), "", [("convert", "PyTorch, which is not installed")]),
        (("httpx", "torch"), "yes", [("fetch", "httpx"), ("fetch", "OFFLINE"), ("convert", "PyTorch")]),
    ],
)
def test_each_is_told_with_what_to_do(
    lacking: Iterable[str], offline: str, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *lacking)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    found = [each.to_dict() for each in obstacles()]
    assert [each["task"] for each in found] == [task for task, _ in told]
    assert all(words in each["detail"] and each["hint"] for each, (_, words) in zip(found, told, strict=True))


def test_room_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = weights.free_bytes(tmp_path / "a" / "b")
    assert free is not None and abs(free - shutil.disk_usage(tmp_path).free) < 10**9
    assert weights.free_bytes(Path("/proc/nowhere") if Path("/proc").is_dir() else tmp_path) is not None


def test_what_came_already_is_not_to_come(tmp_path: Path) -> None:
    begun = tmp_path / ".flownet.pkl.abc.part"
    begun.write_bytes(bytes(2_000_000))
    missing = Finding(weights.RIFE, PartState.MISSING)
    partial = replace(missing, state=PartState.PARTIAL, path=begun)
    assert missing.to_fetch == weights.RIFE.about
    assert partial.to_fetch == missing.to_fetch - 2_000_000
    assert replace(missing, state=PartState.READY, path=begun).to_dict()["to_fetch_bytes"] == 0
    whole = Survey((Finding(weights.UNET, PartState.MISSING), partial), Search(tmp_path))
    assert whole.to_fetch == weights.UNET.about, "the engine does without the other"


def test_the_command_line_tells_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "httpx")
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    assert "To fetch: about 8." in said and "are free in" in said
    assert "Weights are fetched with httpx, which is not installed. Bring it with" in said
    assert main(["weights", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["free_bytes"] > 0 and found["to_fetch_bytes"] > 8 * 10**9
    assert [each["task"] for each in found["obstacles"]] == ["fetch"]


class TestAnswer:
    """GET /sonic/v1/weights."""

    @pytest.fixture(autouse=True)
    def api(self) -> None:
        pytest.importorskip(
            "fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`"
        )

    def answer(self, found: Survey, vae: Any = None) -> dict[str, Any]:
        from sonic_ext.app import answers, schemas

        devices: Any = SimpleNamespace(vae=lambda: HostVae(vae, "" if vae else "It is of SDXL."))
        told = answers.weights(found, devices)
        schemas.SonicWeights(**told)
        return told

    def lacking(self, *parts: weights.Part) -> Survey:
        states = {part: PartState.MISSING if part in parts else PartState.READY for part in weights.REQUIRED}
        found = tuple(Finding(part, state) for part, state in states.items())
        return Survey(found, Search(Path("models")))

    def test_the_webuis_vae_is_lent_for_the_only_part_that_lacks(self) -> None:
        vae = SimpleNamespace(title="the VAE of v1-5")
        assert self.answer(self.lacking(weights.VAE), vae)["lent"] == "the VAE of v1-5"
        assert self.answer(self.lacking(weights.VAE))["lent"] == ""
        assert self.answer(self.lacking(weights.VAE, weights.UNET), vae)["lent"] == ""
        assert self.answer(self.lacking(), vae)["lent"] == ""

    def test_it_is_in_the_readers_language(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from sonic_ext.messages import speaking

        without(monkeypatch, "httpx")
        english = self.answer(self.lacking(weights.UNET))
        with speaking("zh"):
            chinese = self.answer(self.lacking(weights.UNET))
        assert english["obstacles"][0]["detail"] != chinese["obstacles"][0]["detail"]
        pairs = zip(english["parts"], chinese["parts"], strict=True)
        assert all(one["licence"]["sentence"] != other["licence"]["sentence"] for one, other in pairs)
