"""The miniature that comes with the extension: whole, small, and drawn with where no other weights are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from spoken import MEDIA, one_second

from sonic_ext import engines, pipeline, weights
from sonic_ext.engines.registry import spec_of
from sonic_ext.errors import MissingPart
from sonic_ext.files.digest import sha256_of
from sonic_ext.media.video import read_frames
from sonic_ext.settings import Settings
from sonic_ext.sync import encoders
from sonic_ext.sync.measure import measure_sync
from sonic_ext.weights import bundles

MINIATURE = Settings(engine="sonic", weights="miniature", inference_steps=2, seed=4)
needs_torch = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "diffusers", "transformers")),
    reason="the sonic engine's libraries are an optional part, and not installed",
)


def test_it_is_whole_and_small() -> None:
    about = bundles.about(bundles.MINIATURE)
    files = sorted(bundles.MINIATURE.rglob("*.safetensors"))
    assert {path.stem: sha256_of(path) for path in files} == about["weights"]
    assert sum(path.stat().st_size for path in files) <= 12_000_000


def test_it_says_what_it_was_learned_from_and_what_it_reached() -> None:
    about = bundles.about(bundles.MINIATURE)
    assert about["recipe"]["identities"] >= 200
    assert about["metrics"]["jaw heard, held-out voices, r"] > 0.9


def test_every_part_is_found_wherever_others_are_looked_for(tmp_path: Path) -> None:
    search = weights.Search(own=tmp_path).of_set(bundles.MINIATURE)
    assert weights.survey(search, weights.REQUIRED).ready
    assert not weights.survey(weights.Search(own=tmp_path), weights.REQUIRED).ready


def test_jobs_know_it_from_other_weights(tmp_path: Path) -> None:
    """What was submitted with one is not made with the other."""
    identities = spec_of("sonic").identities
    assert identities is not None
    search = weights.Search(own=tmp_path)
    assert identities(Settings(), search) == {}
    assert set(identities(MINIATURE, search)) == set(spec_of("sonic").parts)


@pytest.mark.parametrize("name", ["sonic", "auto"])
@needs_torch
def test_it_is_drawn_with_without_any_other_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = weights.Search(own=tmp_path)
    assert engines.choose(name, settings=MINIATURE, search=search).name == "sonic"
    with pytest.raises(MissingPart, match="not complete"):
        engines.choose("sonic", settings=Settings(engine="sonic"), search=search)


@needs_torch
def test_a_portrait_speaks(sonic_home: Path, tmp_path: Path) -> None:
    take = pipeline.animate(MEDIA / "portrait_01.jpg", one_second(tmp_path / "speech.wav"), MINIATURE)
    assert any("128 × 128 pixels" in note for note in take.warnings)
    assert (take.engine, take.settings.to_dict()["weights"]) == ("sonic", "miniature")
    assert take.seconds == pytest.approx(1.0, abs=0.05)
    shown = [frame.astype(np.int16) for frame in read_frames(take.master)]
    assert max(np.abs(frame - shown[0]).max() for frame in shown) > 20  # it is no still


@needs_torch
def test_its_mouths_follow_the_voice(sonic_home: Path) -> None:
    """In the very video: a face that is framed as those were that it learned from."""
    example = Path(pipeline.__file__).parent / "assets" / "example"
    settings = MINIATURE.with_values({"inference_steps": 5, "duration": 4.0, "duration_policy": "trim"})
    take = pipeline.animate(example / "portrait.jpg", example / "speech.wav", settings)
    found = measure_sync(take.master, network=encoders.load(encoders.weights_of("judge")))
    assert found.best.confidence > 0.95
    assert abs(found.best.offset) < 0.08  # one of its frames
