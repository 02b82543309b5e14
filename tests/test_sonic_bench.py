"""`sonic bench`: what it measures, what it recommends, and what is left of it when it is stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sonic engine's libraries are an optional part, and not installed")
pytest.importorskip(
    "diffusers", reason="the sonic engine's libraries are an optional part, and not installed"
)

from sonic_ext.cli import main
from sonic_ext.engines.runtime.lock import device_lock
from sonic_ext.errors import BadInput, BadSetting, Cancelled, OutOfMemory
from sonic_ext.evaluation import bench
from sonic_ext.evaluation.bench import PUBLISHED, Bench, TradeFigures, planned_bench
from sonic_ext.evaluation.pictures import psnr, ssim
from sonic_ext.progress import Silent, Stage, Tick, Ticker
from sonic_ext.settings import Settings

SETTINGS = Settings(weights="miniature", min_resolution=256)
QUICK: Mapping[str, Mapping[str, Any]] = {
    PUBLISHED: {"inference_steps": 4},
    "draft": {"inference_steps": 2},
    "precision=fp16": {"precision": "fp16"},
    "inference_steps=10": {"inference_steps": 3},
}
"""A processor has no fp16."""


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sonic_home: Path) -> Iterator[Bench]:
    monkeypatch.setattr(bench, "TRADES", QUICK)
    monkeypatch.setattr(bench, "LENGTHS", (1.0,))
    yield planned_bench(SETTINGS, home=tmp_path / "home", tick=Ticker(Silent()))


def test_every_trade_is_measured_beside_the_published_way(planned: Bench, tmp_path: Path) -> None:
    """And what is left of it is plain JSON without a path."""
    figures = {each.name: each for each in planned.run(Ticker(Silent()))}
    assert [*figures] == [*QUICK]
    published, draft = figures[PUBLISHED], figures["draft"]
    assert (published.psnr, published.ssim, published.mouth) == (math.inf, pytest.approx(1), 1)
    assert 20 < draft.psnr < 60 and 0.7 < draft.ssim < 1 and draft.mouth < 1
    assert (published.steps, draft.steps) == (4, 2)
    assert 0 < draft.denoising < draft.seconds and 0 < published.denoising < published.seconds
    assert 0 < published.share_of_peak < 1
    assert published.memory > 10**8 and published.device_memory == 0
    broken = figures["precision=fp16"]
    assert broken.error == "BadSetting" and "fp16" in broken.note and "note" not in broken.as_json()
    assert math.isnan(figures["precision=fp16"].seconds)
    text = json.dumps(planned.as_json(), allow_nan=False)
    assert str(tmp_path) not in text and str(Path.home()) not in text
    told = json.loads(text)
    assert told["finished"] and told["frames"] == 25
    assert (told["width"], told["height"]) == (256, 256)
    assert set(told["weights"]) >= {"unet", "vae"}
    assert told["trades"][0]["psnr"] is None  # of the same frames it is infinite


def test_stopped_it_keeps_what_was_measured(planned: Bench) -> None:
    seen: list[Stage] = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        seen.append(stage)
        if planned.figures and stage is Stage.DENOISING:
            raise Cancelled

    with pytest.raises(Cancelled):
        [*planned.run(tick)]
    assert [each.name for each in planned.figures] == [PUBLISHED]
    assert planned.as_json()["finished"] is False
    assert Stage.DECODING in seen


def test_it_waits_for_a_video_on_the_same_device(planned: Bench, sonic_home: Path) -> None:
    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.WAITING_FOR_DEVICE:
            raise Cancelled

    with device_lock(sonic_home, planned.device, tick), pytest.raises(Cancelled):
        next(planned.run(tick))
    assert planned.figures == []


def test_no_trade_begins_for_which_there_is_no_time(planned: Bench) -> None:
    planned.deadline = 0.0
    assert [each.name for each in planned.run(Ticker(Silent()))] == [PUBLISHED, "precision=fp16"]
    assert len(planned.notes) == len(QUICK) - 2 and "no time for draft" in planned.notes[0]


def test_a_bench_that_takes_longer_than_asked_for_says_how_long(sonic_home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes about") as refused:
        planned_bench(SETTINGS, minutes=1e-6, home=tmp_path, tick=Ticker(Silent()))
    assert "--minutes" in refused.value.hint


def test_where_time_is_short_presets_come_before_savings(sonic_home: Path, tmp_path: Path) -> None:
    tick: Tick = Ticker(Silent())
    everything = planned_bench(SETTINGS, minutes=60, home=tmp_path, tick=tick)
    assert {*everything.trades} == {*bench.TRADES}
    least = planned_bench(SETTINGS, minutes=60, home=tmp_path, tick=tick, names=["draft"])
    assert [*least.trades] == [PUBLISHED, "draft"]
    few = planned_bench(SETTINGS, minutes=everything.seconds_needed / 600, home=tmp_path, tick=tick)
    assert {*few.trades} == {*bench.RECOMMENDED}
    assert any("presets alone" in note for note in few.notes)


def test_an_unknown_trade_is_refused(sonic_home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="Did you mean draft"):
        planned_bench(SETTINGS, names=["drafft"], home=tmp_path, tick=Ticker(Silent()))


def figures(name: str, mouth: float, sync: float, error: str = "") -> TradeFigures:
    return TradeFigures(name, {}, seconds=1.0, mouth=mouth, sync=sync, error=error)


@pytest.mark.parametrize(
    ("found", "recommended"),
    [
        ([], ""),
        ([figures(PUBLISHED, 1, 0.9)], PUBLISHED),
        ([figures(PUBLISHED, 1, 0.9), figures("draft", 0.95, 0.85), figures("fast", 0.99, 0.9)], "draft"),
        ([figures(PUBLISHED, 1, 0.9), figures("draft", 0.5, 0.9), figures("fast", 0.99, 0.9)], "fast"),
        (
            [figures(PUBLISHED, 1, 0.9), figures("draft", 0.95, 0.5), figures("balanced", 0.9, 0.8)],
            "balanced",
        ),
        ([figures(PUBLISHED, 1, 0.9), figures("draft", 1, 1, error="BadSetting")], PUBLISHED),
        ([figures(PUBLISHED, 1, 0.9, error="OutOfMemory"), figures("draft", 1, 1)], ""),
    ],
)
def test_the_fastest_preset_that_keeps_mouth_and_sync_is_recommended(
    planned: Bench, found: list[TradeFigures], recommended: str
) -> None:
    bench = replace(planned, figures=found)
    assert bench.recommended == recommended
    if recommended == "balanced":  # which means another resolution, that was not measured
        assert bench.recommended_words == "--preset balanced --set min_resolution=256"


def test_without_the_published_way_nothing_is_compared(
    planned: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = bench._frames

    def short_of_memory(*arguments: Any) -> Any:
        if not planned.figures:
            raise OutOfMemory("Memory ran out.", "Close other programs.")
        return frames(*arguments)

    monkeypatch.setattr(bench, "_frames", short_of_memory)
    planned.trades = {name: QUICK[name] for name in (PUBLISHED, "draft")}
    published, draft = planned.run(Ticker(Silent()))
    assert (published.error, published.note) == ("OutOfMemory", "Memory ran out. Close other programs.")
    assert draft.seconds > 0 and all(map(math.isnan, (draft.psnr, draft.ssim, draft.mouth, draft.amplitude)))
    assert planned.recommended == planned.recommended_words == ""


@pytest.mark.parametrize("values", [{"windows": "even"}, {"decoder": "image"}, {"inference_steps": 4}])
def test_what_it_measures_itself_is_not_set_beside(
    values: dict[str, Any], sonic_home: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match=f"measures {next(iter(values))} itself"):
        planned_bench(SETTINGS.with_values(values), home=tmp_path, tick=Ticker(Silent()))


def test_a_trade_that_was_asked_for_is_not_left_out(sonic_home: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"home": tmp_path, "tick": Ticker(Silent())}
    whole = planned_bench(SETTINGS, minutes=60, names=["windows=even"], **how)
    with pytest.raises(BadInput, match="takes about"):
        planned_bench(SETTINGS, minutes=whole.seconds_needed / 600, names=["windows=even"], **how)


def test_the_command_tells_a_table_and_leaves_json(
    planned: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    words = ["bench", "--set", "weights=miniature", "--set", "min_resolution=256", "-o", str(output)]
    assert main.main(words) == 0
    said = capsys.readouterr()
    assert "Recommended here: --preset" in said.out
    assert [line.split()[0] for line in said.out.splitlines()[1:4]] == [PUBLISHED, "draft", "precision=fp16"]
    assert json.loads(output.read_text())["finished"]
    before = output.read_bytes()
    assert main.main(words) == 2
    assert "exists" in capsys.readouterr().err and output.read_bytes() == before


def test_differences_of_pictures() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 40, 3), np.uint8)
    assert (psnr(picture, picture), ssim(picture, picture)) == (math.inf, pytest.approx(1))
    grey = np.full((40, 40, 3), 100, np.uint8)
    assert psnr(grey, grey + np.uint8(1)) == pytest.approx(48.13, abs=0.01)
    assert ssim(picture, 255 - picture) < -0.5
    assert 0.5 < ssim(grey, grey + np.uint8(60)) < 0.95  # another light, the same shapes
