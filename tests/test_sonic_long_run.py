"""Runs that are too long for memory: the same video as in memory, from whatever window they go on."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken import MEDIA, one_second

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402
from small_videos import SMALL, latents, made  # noqa: E402

from sonic_ext.engines.runtime import expiry  # noqa: E402
from sonic_ext.engines.runtime.frame_file import FrameFile  # noqa: E402
from sonic_ext.engines.sonic import budget, conditioning, engine, long_run, profile, sampling  # noqa: E402
from sonic_ext.engines.sonic.long_run import LongRun, StoredLatents, held_frames  # noqa: E402
from sonic_ext.engines.sonic.solvers import SolverState  # noqa: E402
from sonic_ext.engines.sonic.speech import BATCH, frames_heard  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402
from sonic_ext.errors import BadOutput, Cancelled  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread"),
]
COUNT, FRAMES = 10, 5
WINDOWS = 2
"""Of three frames, five frames in all: the second reaches over the end."""


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
    """The network sees three frames at once, and every window is put on the disk."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))
    monkeypatch.setattr(long_run, "FLUSH_SECONDS", -1.0)


class Counter:
    """A `Tick` that remembers the calls of the network, and stops after some of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.done = stop, list[int]()

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING:
            self.done.append(done)
            if done == self.stop:
                raise Cancelled


CHANGES = [{}, {"solver": "dpmpp_2m"}, {"solver": "unipc"}, {"shortcuts": "both"}, {"windows": "even"}]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_files_give_the_latents_of_memory_to_the_bit_from_every_window(
    models: Path,
    scene: Scene,
    spoken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    settings = replace(SMALL, **changes)
    in_memory = made(models, scene, spoken, settings, COUNT, tmp_path / "memory")
    assert isinstance(in_memory._latents[0], torch.Tensor)
    want = latents(in_memory)
    monkeypatch.setattr(long_run, "HELD", 0)
    counter = Counter()
    stored = made(models, scene, spoken, settings, COUNT, tmp_path / "whole", tick=counter)
    assert isinstance(stored._latents[0], StoredLatents)
    (tokens,) = (tmp_path / "whole" / "drafts").glob("*/tokens.frames")
    assert tokens.stat().st_size == FRAMES * 4 * tiny_sonic.WIDTH * 4
    assert torch.equal(latents(stored), want)
    assert not any((tmp_path / "whole" / "drafts").iterdir())
    calls = counter.done[-1]
    assert calls == WINDOWS * settings.inference_steps
    for stop in range(1, calls):
        home = tmp_path / str(stop)
        with pytest.raises(Cancelled):
            made(models, scene, spoken, settings, COUNT, home, tick=Counter(stop))
        rest = Counter()
        again = made(models, scene, spoken, settings, COUNT, home, tick=rest)
        assert any("Went on with an unfinished run" in text for text in again.warnings)
        # A window whose call was the last to be counted had not been written yet.
        assert rest.done[0] >= stop - (2 if settings.shortcuts == "both" else 1)
        assert torch.equal(latents(again), want), stop


def test_a_video_is_drawn_from_files_as_from_memory(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames() -> list[Any]:
        animation = made(models, scene, spoken, SMALL, COUNT, tmp_path)
        found = list(animation.frames())
        animation.forget()
        animation.close()
        return found

    want = frames()
    monkeypatch.setattr(long_run, "HELD", 0)
    assert all(np.array_equal(one, other) for one, other in zip(frames(), want, strict=True))


@pytest.mark.parametrize("harm", ["short", "gone", "next", "other", "torn"])
def test_files_that_are_not_whole_begin_anew(
    models: Path,
    scene: Scene,
    spoken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: str,
) -> None:
    want = latents(made(models, scene, spoken, SMALL, COUNT, tmp_path))
    monkeypatch.setattr(long_run, "HELD", 0)
    with pytest.raises(Cancelled):
        made(models, scene, spoken, SMALL, COUNT, tmp_path, tick=Counter(WINDOWS + 2))
    (folder,) = (tmp_path / "drafts").iterdir()
    progress = folder / "progress.json"
    told = json.loads(progress.read_text())
    assert (told["done"], told["began"], told["windows"]) == (1, 0, 1)
    if harm == "short":
        os.truncate(folder / "0.frames", 100)
    elif harm == "gone":
        (folder / "0.frames").unlink()
    elif harm == "next":
        os.truncate(folder / "1.frames", 100)
    elif harm == "other":
        progress.write_text(json.dumps(told | {"form": long_run.FORM + 1}))
    else:
        progress.write_text(progress.read_text()[:20])
    again = made(models, scene, spoken, SMALL, COUNT, tmp_path)
    assert not any("unfinished" in text for text in again.warnings)
    assert torch.equal(latents(again), want)


def test_no_room_is_said_before_any_step(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(long_run, "HELD", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    counter = Counter()
    with pytest.raises(BadOutput, match="a video of this length takes") as caught:
        made(models, scene, spoken, SMALL, COUNT, tmp_path, tick=counter)
    assert "SONIC_HOME" in caught.value.hint
    assert not counter.done


def test_an_old_run_is_deleted(tmp_path: Path) -> None:
    run = LongRun(tmp_path / "drafts" / "old", Plan(4, 3), (8, 8))
    run.begin([torch.zeros(4, 4, 8, 8)], 1, "branches", 1)
    assert expiry.expire(tmp_path) == 0
    os.utime(run.folder, (0, 0))
    assert expiry.expire(tmp_path) == 1
    assert not run.folder.exists()


def test_memory_is_forecast_as_constant_from_some_length_on() -> None:
    shapes = {"conv_in.weight": (320, 8, 3, 3)}
    chosen = budget.Hardware("cpu", torch.float32)
    plan = budget.MemoryPlan("branches")

    def forecast(frames: int) -> int:
        return budget.Budget(chosen, shapes, 512, Plan(frames), 25).main_bytes(plan)

    held = held_frames(512, 512)
    assert forecast(held - 25) < forecast(held) == forecast(100 * held)


# Frames in a file


@given(
    st.lists(st.integers(0, 11), min_size=0, max_size=20),
    st.sampled_from(["float32", "float16", "bfloat16"]),
)
def test_rows_are_read_as_they_were_written(wanted: list[int], name: str) -> None:
    dtype = getattr(torch, name)
    rows = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(1)).to(dtype)
    folder = Path(os.environ["SONIC_HOME"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = FrameFile(folder / "rows", (3, 2), dtype)
    file.create()
    file.append(rows[:5])
    file.append(rows[5:])
    file.write(2, rows[2:4])
    file.flush()
    assert len(file) == 12
    index = torch.tensor(wanted, dtype=torch.int64)
    assert torch.equal(file.index_select(0, index), rows.index_select(0, index))


def test_rows_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file = FrameFile(tmp_path / "rows", (2,))
    assert len(file) == 0
    with pytest.raises(BadOutput):
        file.index_select(0, torch.tensor([0]))
    file.create()
    file.append(torch.zeros(2, 2))
    with pytest.raises(BadOutput, match="cut short"):
        file.index_select(0, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="dimension 0"):
        file.index_select(1, torch.tensor([0]))


@given(st.integers(3, 9), st.integers(0, 4))
def test_frames_of_two_windows_are_their_mean(count: int, step: int) -> None:
    folder = Path(os.environ["SONIC_HOME"])
    plan = Plan(count, 3, 1)
    run = LongRun(folder / "drafts" / "run", plan, (2, 2))
    run.begin([torch.zeros(count, 4, 2, 2)], 1, "branches", 2)
    totals = sampling.Totals(count)
    windows = plan.windows(step)
    gathered = long_run.StoredWindows(run, windows, range(step, step + 1))
    generator = torch.Generator().manual_seed(step)
    for window in windows:
        frames = torch.tensor(window)
        latents, past = (torch.randn(3, 4, 2, 2, generator=generator) for _ in range(2))
        for each in (totals, gathered):
            each.take(frames, SolverState(latents, (past,)))
    want, stored = totals.state(), gathered.state()
    found = stored.frames(torch.arange(count))
    assert len(stored) == count
    assert torch.equal(found.latents, want.latents)
    assert torch.equal(found.history[0], want.history[0])
    assert torch.equal(stored[1:3], want.latents[1:3])


# What a long video is made of


@pytest.mark.parametrize("together", [1, 7, 25])
def test_noise_is_the_same_in_parts(together: int) -> None:
    want = sampling.draw_noise(torch.Generator().manual_seed(3), 25, (8, 8))
    parts = sampling.noise_parts(torch.Generator().manual_seed(3), 25, (8, 8), together)
    assert torch.equal(torch.cat(list(parts)), want)


class Heard:
    """Speech networks that show what they were given."""

    window = (10, 2, 3)

    def __init__(self) -> None:
        self.near: list[Any] = []
        self.wide: list[Any] = []

    def to_token(self, states: Any) -> Any:
        self.near.append(states.clone())
        return states[:, 0]

    def to_bucket(self, states: Any, portrait: Any) -> Any:
        self.wide.append(states.clone())
        return states[:, 0, 0, :2]


@pytest.mark.parametrize("frames", [1, 3, BATCH, BATCH + 1, 3 * BATCH - 5])
@pytest.mark.parametrize("spare", [-9, 0, 40])
@pytest.mark.parametrize("chunk", [13, 1500])
def test_frames_hear_the_same_states_however_they_come(frames: int, spare: int, chunk: int) -> None:
    steps = max(4, 4 * frames + spare)
    states = torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(5))
    networks: Any = Heard()
    parts = list(frames_heard(networks, states.split(chunk), steps, torch.zeros(1, 4), frames))
    assert [len(tokens) for tokens, _ in parts] == [*[BATCH] * (frames // BATCH), frames % BATCH][
        : len(parts)
    ]
    assert torch.equal(torch.cat(networks.near), conditioning.token_windows(states, frames))
    assert torch.equal(torch.cat(networks.wide), conditioning.bucket_windows(states[:, -1], frames))
