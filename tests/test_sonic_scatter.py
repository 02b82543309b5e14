"""Windows that other processes take: the same latents to the bit, whoever takes which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from spoken import MEDIA, one_second

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402
from small_videos import SMALL, Pool, latents, made  # noqa: E402

from sonic_ext.engines.sonic import engine, long_run, profile  # noqa: E402
from sonic_ext.errors import BrokenNumbers, Cancelled  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread"),
]
COUNT = 16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sonic.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_second(tmp_path_factory.mktemp("speech") / "one second.wav")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return compose(read_portrait(MEDIA / "portrait_01.jpg"), SMALL, engine.MULTIPLE)


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees three frames at once, of eight in all."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))


CHANGES = [
    {},
    {"solver": "unipc", "image_guidance_interval": [0.5, 100.0]},
    {"shortcuts": "both", "precision": "bf16"},
    {"precision": "int8", "motion_scale": 1.3, "dynamic_scale": 0.7},
]


@pytest.mark.parametrize("in_files", [False, True], ids=["memory", "files"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_windows_of_others_are_the_same_to_the_bit(
    models: Path,
    scene: Scene,
    spoken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    in_files: bool,
) -> None:
    if in_files:
        monkeypatch.setattr(long_run, "HELD", 0)
    settings = Settings.from_mapping(SMALL.to_dict() | changes)
    want = latents(made(models, scene, spoken, settings, COUNT, tmp_path / "here"))
    pool = Pool(models, settings)
    ticks: list[tuple[int, int]] = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING:
            ticks.append((done, total))

    assert torch.equal(
        latents(made(models, scene, spoken, settings, COUNT, tmp_path / "there", pool, tick)), want
    )
    assert set(pool.taken) == {0, 1}
    assert ticks[0] == (0, 9) and ticks[-1] == (9, 9)
    assert ticks == sorted(ticks)


def test_a_run_that_others_took_part_in_goes_on(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    def stop(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING and done == 4:
            raise Cancelled

    want = latents(made(models, scene, spoken, SMALL, COUNT, tmp_path / "here"))
    with pytest.raises(Cancelled):
        made(models, scene, spoken, SMALL, COUNT, tmp_path / "there", Pool(models, SMALL), stop)
    again = made(models, scene, spoken, SMALL, COUNT, tmp_path / "there", Pool(models, SMALL))
    assert any("after step 1 of 3" in text for text in again.warnings)
    assert torch.equal(latents(again), want)


def test_broken_numbers_come_back_as_that(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonic_ext.engines.sonic.denoise import Denoiser

    whole = Denoiser.__call__
    monkeypatch.setattr(Denoiser, "__call__", lambda *given: whole(*given) * float("nan"))
    with pytest.raises(BrokenNumbers, match="after step 1 of 3"):
        made(models, scene, spoken, SMALL, COUNT, tmp_path, Pool(models, SMALL))
