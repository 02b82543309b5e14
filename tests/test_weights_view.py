"""The Weights tab through its handlers: what it says, what it fetches, how it stops and goes on."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_hub import TinyHub, serving

gradio = pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")

from sonic_ext import weights  # noqa: E402
from sonic_ext.app import weights_view  # noqa: E402
from sonic_ext.app.tasks import BackgroundTasks, TabKey  # noqa: E402
from sonic_ext.app.weights_view import WeightsView  # noqa: E402
from sonic_ext.ports import HostVae  # noqa: E402
from sonic_ext.weights import PartState, Search  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries

BIG = b"\x80\x02" + bytes(12_500_000)
"""More than the library hands over at a time (ten megabytes)."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
    pytest.importorskip("httpx", reason="weights are fetched with httpx")
    files = {"LeonJoe13/Sonic/RIFE/flownet.pkl": BIG, "LeonJoe13/Sonic/yoloface_v5m.pt": b"PK\x03\x04" * 9}
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    with serving(TinyHub(files)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models <b> ε"


@pytest.fixture
def view(models: Path) -> WeightsView:
    with gradio.Blocks():
        return WeightsView(BackgroundTasks(), lambda: Search(models))


def accepted(view: WeightsView, *names: str) -> list[bool]:
    """The licences' boxes, ticked where the name begins so."""
    return [licence.name.startswith(names) if names else False for licence in view.licences]


def visible(view: WeightsView, updates: dict[Any, Any]) -> list[str]:
    """Names of the licences that are shown."""
    pairs = zip(view.licences, view.frames, strict=True)
    return [licence.name for licence, frame in pairs if updates[frame]["visible"]]


def ended(steps: Generator[dict[Any, Any], None, None]) -> dict[Any, Any]:
    """The state at the end of a handler that reports."""
    *_, last = steps
    return last


def bring(view: WeightsView, names: Sequence[str], boxes: Sequence[bool]) -> dict[Any, Any]:
    return ended(view.bring(TabKey(), names, *boxes))


# ---- what it shows


def test_what_lacks_is_chosen_and_its_licences_are_shown(view: WeightsView, models: Path) -> None:
    told = view.refresh()
    assert "lacks 6 of 6 parts, about 8.2 GB" in told[view.summary]
    assert "models &lt;b&gt; ε" in told[view.summary] and "<b> ε" not in told[view.summary]
    assert told[view.chosen]["value"] == [part.name for part in weights.REQUIRED]
    assert visible(view, told) == ["CC BY-NC-SA 4.0", "Apache 2.0", "Stability AI Community License"]
    assert told[view.table].count("<tr>") == 1 + len(weights.PARTS)
    assert told[view.convert]["interactive"] is False
    assert not models.exists()


class Tiny:
    """A VAE that a WebUI lends."""

    title = "the VAE of tiny"
    encode = decode = staticmethod(lambda given: given)


@pytest.mark.parametrize(
    ("lent", "said"),
    [
        (
            HostVae(SimpleNamespace(title="the VAE of tiny", encode=None, decode=None)),
            "the VAE of tiny stands in",
        ),
        (HostVae(None, "no checkpoint is loaded"), "lacks 1 of 6 parts"),
    ],
)
def test_a_lent_vae_makes_up_for_one_that_lacks(
    models: Path, monkeypatch: pytest.MonkeyPatch, lent: HostVae, said: str
) -> None:
    found = weights.survey(Search(models))
    rest = [each for each in found.findings if each.part is not weights.VAE]
    findings = (*(replace(each, state=PartState.READY) for each in rest), found[weights.VAE.name])
    monkeypatch.setattr(weights, "survey", lambda *_: replace(found, findings=findings))
    place: Any = SimpleNamespace(vae=lambda: lent)
    with gradio.Blocks():
        view = WeightsView(BackgroundTasks(), lambda: Search(models), place)
    assert said in view.refresh()[view.summary]


def test_every_state_is_told(view: WeightsView, models: Path) -> None:
    (models / "Sonic").mkdir(parents=True)
    (models / "whisper-tiny").mkdir()
    (models / "Sonic" / "unet.pth").write_bytes(b"\x80\x02 and so on")
    (models / "Sonic" / "audio2token.pth").write_bytes(b"<html>404</html>")
    scheduler = models / "stable-video-diffusion-img2vid-xt" / "scheduler" / "scheduler_config.json"
    scheduler.parent.mkdir(parents=True)
    scheduler.write_text(json.dumps(dict(weights.SCHEDULER_VALUES)))
    told = view.refresh()
    rows = told[view.table].split("<tr>")
    state = {part.name: next(row for row in rows if part.title in row) for part in weights.PARTS}
    assert ">to convert<" in state["unet"] and "unet.pth" in state["unet"]
    assert ">wrong<" in state["audio2token"] and "is a web page" in state["audio2token"]
    assert ">missing<" in state["audio2bucket"] and "about 87 MB" in state["audio2bucket"]
    assert ">partial<" in state["whisper"] and "not model.safetensors in it" in state["whisper"]
    assert ">ready<" in state["scheduler"] and "optional" in state["scheduler"]
    assert "<b>" not in told[view.table]
    assert told[view.fetch]["value"] == "Fetch the rest"


def test_choosing_changes_total_and_licences(view: WeightsView) -> None:
    told = view.choose(["image_vae"])
    assert visible(view, told) == ["MIT"] and "about 335 MB" in told[view.total]
    assert "are free there" in told[view.total]
    assert "Nothing is chosen" in view.choose([])[view.total]


def test_a_missing_library_is_named(view: WeightsView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_view, "find_spec", lambda name: None)
    told = view.refresh()
    assert "httpx is not installed" in told[view.summary]
    assert "PyTorch is not installed" in told[view.summary]
    assert told[view.fetch]["interactive"] is False


def test_offline_mode_is_told(view: WeightsView, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in view.refresh()[view.summary]
    told = bring(view, ["rife"], accepted(view, "CC"))
    assert "HF_HUB_OFFLINE forbids" in told[view.progress]


# ---- fetching


def test_nothing_is_asked_before_licences_are_accepted(view: WeightsView, hub: TinyHub, models: Path) -> None:
    told = bring(view, ["rife", "vae"], accepted(view, "CC"))
    assert "not been accepted: Stability AI Community License." in told[view.progress]
    assert "No part is chosen" in bring(view, [], accepted(view, "CC"))[view.progress]
    assert hub.tokens == [] and not models.exists()
    assert view.chosen not in told, "what was chosen stays chosen"
    assert told[view.fetch]["interactive"] and told[view.renew]["interactive"]
    assert told[view.cancel]["interactive"] is False


def test_a_part_is_fetched_with_progress_and_a_record(view: WeightsView, hub: TinyHub, models: Path) -> None:
    first, *between, last = view.bring(TabKey(), ["rife"], *accepted(view, "CC"))
    assert first[view.cancel]["interactive"] and first[view.fetch]["interactive"] is False
    assert all("sonic-progress" in each[view.progress] for each in (first, *between))
    assert "Fetched: RIFE HDv3 frame interpolation." in last[view.progress]
    path = models / "RIFE" / "flownet.pkl"
    assert path.read_bytes() == BIG
    assert json.loads(path.with_name("flownet.pkl.json").read_text())["licence"] == "CC BY-NC-SA 4.0"
    assert ">to convert<" in last[view.table]


def test_cancel_stops_and_fetch_goes_on(view: WeightsView, hub: TinyHub, models: Path) -> None:
    hub.stop_after = 11_000_000
    tab = TabKey()
    last: dict[Any, Any] = {}
    for last in view.bring(tab, ["rife"], *accepted(view, "CC")):
        if " of 13 MB" in last[view.progress] and "0 kB of" not in last[view.progress]:
            assert view.stop(tab)[view.cancel]["interactive"] is False
    assert "Stopped as asked" in last[view.progress] and "goes on" in last[view.progress]
    assert ">partial<" in last[view.table]
    hub.stop_after = None
    assert "Fetched" in bring(view, ["rife"], accepted(view, "CC"))[view.progress]
    assert (models / "RIFE" / "flownet.pkl").read_bytes() == BIG
    assert hub.ranges[0] == "" and hub.ranges[1].startswith("bytes=")


def test_without_a_connection_it_says_so(
    view: WeightsView, hub: TinyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(TinyHub({})) as gone:
        pass
    monkeypatch.setenv("HF_ENDPOINT", gone.url)
    told = bring(view, ["rife"], accepted(view, "CC"))
    assert "cannot be reached" in told[view.progress] and "Check the connection" in told[view.progress]


def test_a_gated_repository_says_how_to_get_in(view: WeightsView, hub: TinyHub) -> None:
    hub.gated = True
    told = bring(view, ["vae"], accepted(view, "Stability"))
    assert "accepted its terms there" in told[view.progress] and "hf auth login" in told[view.progress]


def test_two_windows_do_not_write_into_one_file(view: WeightsView, hub: TinyHub) -> None:
    hub.stop_after = 11_000_000
    first = view.bring(TabKey(), ["rife"], *accepted(view, "CC"))
    next(first)
    next(first)
    told = bring(view, ["yoloface"], accepted(view, "CC"))
    assert "in another window" in told[view.progress]
    first.close()
    hub.stop_after = None
    assert "Fetched: yoloface" in bring(view, ["yoloface"], accepted(view, "CC"))[view.progress]


# ---- converting


def test_nothing_to_convert_is_said(view: WeightsView) -> None:
    assert "nothing to convert" in ended(view.turn(TabKey()))[view.progress]


def test_pickles_are_converted(view: WeightsView, models: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    (models / "RIFE").mkdir(parents=True)
    held = {key: torch.zeros([min(8, side) for side in shape]) for key, shape in weights.RIFE.shapes.items()}
    torch.save(held, models / "RIFE" / "flownet.pkl")
    assert view.refresh()[view.convert]["interactive"]
    told = ended(view.turn(TabKey()))
    assert "Converted: RIFE" in told[view.progress] and ">ready<" in told[view.table]
    assert (models / "RIFE" / "flownet.safetensors").is_file()


def test_a_pickle_that_cannot_be_read_is_named(view: WeightsView, models: Path) -> None:
    (models / "RIFE").mkdir(parents=True)
    (models / "RIFE" / "flownet.pkl").write_bytes(b"\x80\x02 and so on")
    told = ended(view.turn(TabKey()))
    assert "sonic-error" in told[view.progress]
    assert ("PyTorch" in told[view.progress]) or ("flownet.pkl is damaged" in told[view.progress])
