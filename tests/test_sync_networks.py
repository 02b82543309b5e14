"""Mouth geometry, encoders in numpy, offsets and their confidence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sonic_ext.errors import MissingPart
from sonic_ext.media.mesh import CHIN, INNER_LIPS, mean_face
from sonic_ext.sync import encoders, offset
from sonic_ext.sync.mouth import FEATURES, MouthMotion, mouth_geometry
from sonic_ext.sync.sound import BANDS, sound_rows

ROWS = 400


def turned(points: NDArray[np.float32], yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, degrees in ((0, pitch), (1, yaw), (2, roll)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one, other = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[one, one] = step[other, other] = c
        step[one, other], step[other, one] = -s, s
        turn = step @ turn
    return points.astype(np.float64) @ turn.T


@given(
    st.floats(-40, 40), st.floats(-30, 30), st.floats(-180, 180), st.floats(10, 800), st.floats(-500, 2000)
)
def test_geometry_does_not_see_the_head(
    yaw: float, pitch: float, roll: float, size: float, shift: float
) -> None:
    face = mean_face().copy()
    face[[low for _, low in INNER_LIPS], 1] += 0.1
    seen = mouth_geometry(turned(face, yaw, pitch, roll) * size + (shift, -shift, 0))
    np.testing.assert_allclose(seen, mouth_geometry(face), atol=2e-4)


def test_geometry_sees_the_mouth() -> None:
    face = mean_face().copy()
    before = dict(zip(FEATURES, mouth_geometry(face), strict=True))
    face[[low for _, low in INNER_LIPS], 1] += 0.2
    face[CHIN, 1] += 0.1
    after = dict(zip(FEATURES, mouth_geometry(face), strict=True))
    assert after["gap"] - before["gap"] == pytest.approx(0.2, abs=1e-4)
    assert after["chin"] - before["chin"] == pytest.approx(0.1, abs=1e-4)
    assert after["width"] == pytest.approx(before["width"], abs=1e-4)


def test_motion_has_a_row_for_each_frame() -> None:
    with pytest.raises(ValueError, match="2 frames"):
        MouthMotion(np.zeros(2), np.zeros((3, len(FEATURES)), np.float32))


def motion_of(seconds: float, fps: float, seed: int = 1) -> MouthMotion:
    rng = np.random.default_rng(seed)
    times = (np.arange(round(seconds * fps)) + 0.5) / fps
    points = np.arange(-1, seconds + 1, 0.12)
    lines = [np.interp(times, points, rng.normal(size=len(points))) for _ in FEATURES]
    return MouthMotion(times, np.stack(lines, axis=1).astype(np.float32) * encoders.TYPICAL)


def test_frame_rates_give_the_same_inputs() -> None:
    fast, slow = (encoders.mouth_inputs(motion_of(8, fps), 0.0, ROWS) for fps in (50, 25))
    assert fast.shape == (ROWS, encoders.MOUTH_INPUTS)
    assert np.corrcoef(fast[:, 0], slow[:, 0])[0, 1] > 0.95
    assert fast[:, -1].min() == slow[:, -1].min() == 1.0


def test_gaps_are_not_known() -> None:
    motion = motion_of(8, 25)
    motion.geometry[100:150] = np.nan
    inputs = encoders.mouth_inputs(motion, 0.0, ROWS)
    assert (inputs[205:295] == 0).all()
    assert (inputs[:198, -1] == 1).all()
    assert (inputs[302:, -1] == 1).all()


@pytest.mark.parametrize("left", [0, 1])
def test_a_mouth_that_is_never_seen(left: int) -> None:
    motion = motion_of(4, 25)
    motion.geometry[left:] = np.nan
    assert not encoders.mouth_inputs(motion, 0.0, 200).any()


def test_a_still_mouth_is_not_made_large() -> None:
    motion = motion_of(4, 25)
    still = dataclasses.replace(motion, geometry=motion.geometry * 0.01)
    assert np.abs(encoders.mouth_inputs(still, 0.0, 200)[:, :-1]).max() < 0.5


def test_sound_rows_are_fifty_a_second_whatever_the_blocks() -> None:
    sound = np.random.default_rng(2).normal(0, 0.1, 48_000).astype(np.float32)
    whole = sound_rows([sound], 150)
    cut = sound_rows(np.array_split(sound, [7, 5000, 5001, 30_000]), 150)
    assert whole.shape == (150, BANDS)
    np.testing.assert_array_equal(whole, cut)
    assert sound_rows([], 0).shape == (0, BANDS)


def toy_arrays(seed: int = 3, dimensions: int = 6) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[Any]] = {"confidence": np.zeros(7, np.float32)}
    for stack, width in (("sound", BANDS), ("mouth", encoders.MOUTH_INPUTS)):
        sizes = [(5, width, 8, 1), (3, 8, 8, 2), (1, 8, dimensions, 1)]
        for index, (taps, before, after, dilation) in enumerate(sizes):
            found[f"{stack}{index}.weights"] = rng.normal(0, 0.3, (taps, before, after)).astype(np.float16)
            found[f"{stack}{index}.bias"] = rng.normal(0, 0.1, after).astype(np.float16)
            found[f"{stack}{index}.dilation"] = np.array(dilation, np.int32)
    return found


def test_vectors_have_unit_length() -> None:
    network = encoders.from_arrays(toy_arrays())
    heard = network.hear(np.random.default_rng(4).normal(-20, 10, (90, BANDS)))
    np.testing.assert_allclose(np.linalg.norm(heard, axis=1), 1.0, atol=1e-5)
    seen = network.see(motion_of(4, 25), 0.0, 250)
    lengths = np.linalg.norm(seen, axis=1)
    assert set(np.round(lengths, 4)) <= {0.0, 1.0}
    assert lengths[:195].min() > 0.99
    assert lengths[210:].max() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("sound0.bias"),
        lambda a: a.pop("confidence"),
        lambda a: a.update(confidence=np.zeros(5)),
        lambda a: a.update({"mouth0.weights": a["mouth0.weights"][:, 1:]}),
        lambda a: a.update({"sound1.weights": a["sound1.weights"][:, :5]}),
        lambda a: a.update({"mouth2.weights": a["mouth2.weights"][..., :4], "mouth2.bias": np.zeros(4)}),
    ],
)
def test_files_of_another_configuration(tmp_path: Path, change: Any) -> None:
    arrays = toy_arrays()
    change(arrays)
    file = tmp_path / "wrong.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, file, {"format": encoders.FORMAT})
    with pytest.raises(MissingPart, match=r"wrong\.safetensors cannot be read"):
        encoders.load(file)


def test_files_of_another_format(tmp_path: Path) -> None:
    save_file(toy_arrays(), tmp_path / "other.safetensors", {"format": "other"})
    for name, content in (("none", None), ("cut", b"\x10\0\0\0\0\0\0\0{")):
        file = tmp_path / f"{name}.safetensors"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(MissingPart):
            encoders.load(file)
    with pytest.raises(MissingPart, match="'other'"):
        encoders.load(tmp_path / "other.safetensors")


Scored = tuple[NDArray[np.float32], NDArray[np.bool_]]


def scores_of(lag: int, seed: int = 5, rows: int = 300, noise: float = 0.5) -> Scored:
    """Scores of vectors that agree when the mouth is `lag` rows late."""
    rng = np.random.default_rng(seed)
    heard = rng.normal(size=(rows, 16))
    seen = np.roll(heard, lag, axis=0) + noise * rng.normal(size=heard.shape)
    heard, seen = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (heard, seen))
    return offset.lag_scores(heard.astype(np.float32), seen.astype(np.float32))


@given(st.integers(-45, 45))
def test_the_lag_of_a_mouth_that_is_late(lag: int) -> None:
    found = offset.estimate(*scores_of(lag), np.zeros(offset.REASONS + 1))
    assert found is not None
    assert found.seconds == pytest.approx(lag / 50, abs=0.01)
    assert found.confidence == 0.5


def test_confidence_is_the_logistic_function_of_the_evidence() -> None:
    scored = scores_of(7)
    evident = offset.evidence(*scored)
    assert evident is not None
    weights = np.linspace(-0.4, 0.6, offset.REASONS + 1)
    found = offset.estimate(*scored, weights)
    assert found is not None
    logit = evident.reasons @ weights[:-1] + weights[-1]
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-logit)))


def test_where_nothing_is_known_there_is_no_offset() -> None:
    scores, known = scores_of(0)
    for nothing in (
        offset.estimate(scores, known & False, np.zeros(7)),
        offset.estimate(scores * 0, known, np.zeros(7)),
    ):
        assert nothing is None


def test_windows() -> None:
    scores = np.ones((100, len(offset.LAGS)), np.float32)
    known = np.ones(scores.shape, bool)
    known[:30] = False
    scores[:30] = 0
    middles, means = offset.windowed(scores, known, 50, 25)
    np.testing.assert_allclose(middles, [0.5, 1.0, 1.5])
    assert np.isnan(means[0]).all()  # 20 of 50 rows
    np.testing.assert_allclose(means[1:], 1.0)


def test_windows_of_a_video_that_is_shorter() -> None:
    scores = np.ones((20, len(offset.LAGS)), np.float32)
    middles, means = offset.windowed(scores, scores > 0, 50, 25)
    assert means.shape == (1, len(offset.LAGS))
    assert middles == pytest.approx([0.2])


def test_an_offset_beyond_the_search_is_none() -> None:
    rising = np.linspace(-1, 1, len(offset.LAGS), dtype=np.float32)
    scores = np.tile(rising, (100, 1))
    assert offset.estimate(scores, np.ones(scores.shape, bool), np.zeros(7)) is None
