"""One video on Ray, its windows drawn by several workers: the same latents, also where one is lost."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE
from spoken import MEDIA, one_second

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402
from small_videos import SMALL, latents, made  # noqa: E402

from sonic_ext import weights  # noqa: E402
from sonic_ext.batch.cluster import window_drawer, windows  # noqa: E402
from sonic_ext.batch.cluster.connection import LOCAL, Connection  # noqa: E402
from sonic_ext.batch.cluster.sealing import new_key, seal  # noqa: E402
from sonic_ext.cli import main as cli  # noqa: E402
from sonic_ext.engines.sonic import engine, profile  # noqa: E402
from sonic_ext.errors import Cancelled, Failed, MissingPart, SonicError  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402

with_ray = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them"),
]
pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread"),
]
PORTRAIT = MEDIA / "portrait_01.jpg"
COUNT = 16
CONSENT = ("--consent-face", "synthetic", "--consent-voice", "synthetic")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sonic.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_second(tmp_path_factory.mktemp("speech") / "one second.wav")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return compose(read_portrait(PORTRAIT), SMALL, engine.MULTIPLE)


@pytest.fixture
def places(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where workers find weights, and a short folder for sockets."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))
    monkeypatch.setenv("SONIC_MODELS", str(models))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def cluster(models: Path, notes: Callable[[SonicError], None]) -> windows.WindowCluster:
    search = weights.Search(own=models)
    return windows.WindowCluster(Connection(LOCAL, 3), "sonic", SMALL, search, 2, notes)


class TestOnRay:
    """Real workers on this computer."""

    pytestmark = with_ray

    @pytest.mark.usefixtures("places")
    def test_latents_are_those_of_one_process_also_where_workers_die(
        self,
        models: Path,
        scene: Scene,
        spoken: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        want = latents(made(models, scene, spoken, SMALL, COUNT, tmp_path / "here"))
        notes: list[SonicError] = []
        with cluster(models, notes.append) as pool:
            sent = counted(pool, monkeypatch)
            assert torch.equal(
                latents(made(models, scene, spoken, SMALL, COUNT, tmp_path / "there", pool)), want
            )
            assert len(sent) <= 2, "networks are loaded once, not at every step"
            killed: list[Any] = []

            def killing(stage: Stage, done: int, total: int, detail: str = "") -> None:
                """Whoever draws when a call has come back, twice in the video."""
                if stage is Stage.DENOISING and done in (2, 5) and len(killed) < done // 2:
                    for drawer in list(pool._pool._lent):
                        killed.append(drawer)
                        drawer.end()

            again = made(models, scene, spoken, SMALL, COUNT, tmp_path / "killed", pool, killing)
            assert torch.equal(latents(again), want)
            assert killed
            stopped = made_until(models, scene, spoken, tmp_path / "stopped", pool)
            assert stopped >= 4
            again = made(models, scene, spoken, SMALL, COUNT, tmp_path / "stopped", pool)
            assert any("unfinished run" in text for text in again.warnings)
            assert torch.equal(latents(again), want)
        assert not notes

    @pytest.mark.usefixtures("places")
    def test_other_weights_are_refused(
        self,
        models: Path,
        scene: Scene,
        spoken: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        notes: list[SonicError] = []
        real = windows.weight_hashes
        monkeypatch.setattr(windows, "weight_hashes", lambda *given: {**real(*given), "unet": "0" * 64})
        with cluster(models, notes.append) as pool, pytest.raises(Failed, match="No computer of the cluster"):
            made(models, scene, spoken, SMALL, COUNT, tmp_path, pool)
        assert "has other weights than this computer: unet" in notes[0].message

    def test_from_the_command_line(self, models: Path, spoken: Path, tmp_path: Path) -> None:
        video = tmp_path / "out.mp4"
        words = ["animate", PORTRAIT, spoken, "-o", video, "--engine", "sonic", "--ray", "--ray-workers", "2"]
        settings = ["min_resolution=256", "inference_steps=2", "duration=0.4", "duration_policy=trim"]
        words += [*CONSENT, "--json", *(word for each in settings for word in ("--set", each))]
        with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
            environment = os.environ | {
                "SONIC_MODELS": str(models),
                "TMPDIR": folder,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "OMP_NUM_THREADS": "1",
            }
            done = subprocess.run(
                [sys.executable, "-m", "sonic_ext", *map(str, words)],
                capture_output=True,
                text=True,
                env=environment,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stderr
            assert not any(Path(folder).iterdir())
        told = json.loads(done.stdout)
        assert video.exists()
        assert told["engine"] == "sonic"


def counted(pool: windows.WindowCluster, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The workers that begin a recipe, one after the other."""
    begun: list[Any] = []
    whole = pool._numbers_of

    def noting(drawer: Any) -> str:
        begun.append(drawer)
        return whole(drawer)

    monkeypatch.setattr(pool, "_numbers_of", noting)
    return begun


def made_until(models: Path, scene: Scene, spoken: Path, home: Path, pool: Any) -> int:
    """Stop a video once four calls are done; how many were."""
    seen = [0]

    def stop(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING:
            seen[0] = done
            if done >= 4:
                raise Cancelled

    with pytest.raises(Cancelled):
        made(models, scene, spoken, SMALL, COUNT, home, pool, stop)
    return seen[0]


# Without Ray


@pytest.mark.parametrize("engine_name", ["preview", "auto"])
def test_only_an_engine_with_windows_draws_one_video_on_many(
    engine_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = one_second(tmp_path / "speech.wav")
    words = ["animate", str(PORTRAIT), str(speech), "-o", str(tmp_path / "out.mp4"), *CONSENT]
    assert cli.main([*words, "--engine", engine_name, "--ray"]) == 2
    assert f"engine={engine_name} does not draw one video on many computers." in capsys.readouterr().err


def test_a_worker_answers_with_what_went_wrong(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(models))
    key = new_key()
    drawer = window_drawer.WindowDrawer(key, 1)
    settings = SMALL.to_dict()
    with pytest.raises(Failed, match="draws no windows"):
        window_drawer.opened(key, drawer.numbers("preview", settings))
    assert json.loads(window_drawer.opened(key, drawer.numbers("sonic", settings)))[-1] == 1
    with pytest.raises(Failed, match="came before its recipe"):
        window_drawer.opened(key, drawer.take(b""))
    with pytest.raises(MissingPart, match="somewhere has other weights"):
        window_drawer.opened(key, drawer.begin("sonic", settings, {"unet": "0"}, "somewhere", b""))
    with pytest.raises(Failed, match="changed on its way"):
        window_drawer.opened(key, b"\0" + seal(new_key(), b"", window_drawer.ANSWER))
