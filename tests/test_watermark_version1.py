"""The first watermark: no longer written, but old videos must stay readable for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_takes import TAKE_ID
from marked_clips import (
    ID,
    Frame,
    Picture,
    assert_read,
    chroma,
    flat,
    i420,
    luma,
    marked,
    nodding,
    picture,
    rgb_of,
    through_h264,
)
from numpy.typing import NDArray

from sonic_ext.media.video import probe, read_planes
from sonic_ext.provenance import take
from sonic_ext.provenance.watermark import PROJECT_KEY, codec, detect, version1_pattern, version2
from sonic_ext.provenance.watermark.version1 import ALGORITHM

SIGNED = sorted((Path(__file__).parent / "data" / "signed").glob("*.mp4"))


@pytest.fixture(scope="module")
def clean() -> list[Frame]:
    """2.4 s at 384 x 384."""
    return nodding(picture("portrait_04.jpg", 384, 384), 60)


@pytest.fixture(scope="module")
def export(clean: list[Frame]) -> list[Frame]:
    """The same, marked, as it comes out of an H.264 file."""
    return list(through_h264(marked(clean, algorithm=ALGORITHM), crf=18))


# ---- pattern: old videos must stay readable ----


def sha(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_the_coder_is_the_one_of_old_videos() -> None:
    assert sha(version1_pattern.CODE.encode(ID, PROJECT_KEY)) == "a27503a3119681e4"
    assert codec.mac(ID, PROJECT_KEY) == 0x8C2ED4CE6189


def test_the_layout_is_the_one_of_old_videos() -> None:
    plan = version1_pattern.layout(PROJECT_KEY)
    places = np.concatenate([plan.pilots, plan.data, plan.bits]).astype("<i8")
    signs = np.concatenate(
        [np.sign(plan.pilot_symbols.real), np.sign(plan.pilot_symbols.imag), plan.signs.ravel()]
    )
    assert sha(places) == "9a1a20bc779f283d"
    assert sha(signs.astype("<i1")) == "4a0483c2783684b3"


def test_the_tile_is_the_one_of_old_videos() -> None:
    tile = version1_pattern.tile(ID, PROJECT_KEY)
    assert tile.shape == (128, 128)
    assert tile[0, :8].tolist() == [15, 2, -10, -18, -24, -27, -27, -23]
    assert sha(tile) == "c9ebd634b714d78a"


def test_the_clock_is_the_one_of_old_videos() -> None:
    signs = [version1_pattern.sign_of(version1_pattern.tick_of(index, 25)) for index in range(60)]
    assert signs == [*[1] * 20, *[-1] * 20, *[1] * 20]
    double = [version1_pattern.sign_of(version1_pattern.tick_of(index, 50)) for index in range(120)]
    assert double == [sign for sign in signs for _ in range(2)]


def test_each_coded_bit_rides_on_two_waves() -> None:
    plan = version1_pattern.layout(b"any key")
    assert np.bincount(plan.bits.ravel()).tolist() == [2] * version1_pattern.CODE.bits


# ---- marking ----

PICTURES = {
    "portrait": lambda: i420(picture("portrait_02.jpg", 512, 512)),
    "room": lambda: i420(picture("no_person.jpg", 258, 300)),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (384, 320), dtype=np.uint8),
    "black": lambda: flat(256, 256, 0),
    "grey": lambda: flat(256, 256, 120),
}


def test_its_name_is_the_one_of_old_records() -> None:
    assert ALGORITHM == take.FIRST_WATERMARK == "local.sonic.watermark.1"


@pytest.mark.parametrize("name", PICTURES)
def test_a_mark_is_in_luma_alone_and_too_weak_to_see(name: str) -> None:
    planes = PICTURES[name]()
    for before, after in ((planes, each) for each in marked([planes] * 4, algorithm=ALGORITHM)):
        error = np.mean((luma(after).astype(float) - luma(before)) ** 2)
        assert error > 0
        assert 10 * np.log10(255**2 / error) >= 42
        assert np.array_equal(chroma(after), chroma(before))


def test_the_sign_turns_and_cancels() -> None:
    grey = flat(256, 256, 120)
    frames = marked([grey] * 21, algorithm=ALGORITHM)
    assert np.array_equal(frames[0].astype(int) + frames[20], 2 * grey.astype(int))


def test_the_mark_is_stronger_where_the_picture_moves() -> None:
    still = i420(picture("portrait_04.jpg", 256, 256))
    moved = np.roll(still, 4, axis=1)
    at_rest, moving = (marked([before, moved], algorithm=ALGORITHM)[1] for before in (moved, still))
    changes = [float(np.mean((luma(frame).astype(float) - luma(moved)) ** 2)) for frame in (at_rest, moving)]
    assert changes[1] > 1.3 * changes[0]


# ---- reading ----


@pytest.mark.parametrize("path", SIGNED, ids=[path.stem for path in SIGNED])
def test_old_files_are_read(path: Path) -> None:
    """Exports that lie here since there was no other watermark, and are never made anew."""
    found = assert_read(detect(read_planes(path), probe(path).fps), ALGORITHM)
    assert f"{found.payload:016x}" == TAKE_ID


def test_an_export_of_version_0_1_is_read(root: Path) -> None:
    path = root / "tests" / "data" / "hello_0_1.mp4"
    found = detect(read_planes(path), probe(path).fps)
    assert found is not None
    assert found.algorithm == ALGORITHM


def test_an_export_is_read_and_only_once_enough_was_seen(export: list[Frame]) -> None:
    """Beside the newest watermark, which is looked for first."""
    found = assert_read(detect(iter(export)), ALGORITHM)
    assert found.frames == 60
    assert found.scale == pytest.approx((1, 1), abs=0.01)
    assert not found.mirrored
    assert found.signal > 1


def test_it_is_read_alone_or_not_at_all(export: list[Frame]) -> None:
    assert_read(detect(export[:50], algorithms=[ALGORITHM]), ALGORITHM)
    assert detect(export[:50], algorithms=[version2.ALGORITHM]) is None


def test_the_right_key_is_needed(export: list[Frame]) -> None:
    assert detect(export, key=b"not the key", algorithms=[ALGORITHM]) is None


def test_an_unmarked_clip_holds_nothing(clean: list[Frame]) -> None:
    assert detect(through_h264(clean, crf=18), algorithms=[ALGORITHM]) is None


def half(rgb: Picture) -> Picture:
    return np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def crop(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[11:357, 27:373])


def crop_and_back(rgb: Picture) -> Picture:
    size = rgb.shape[1::-1]
    return np.asarray(cv2.resize(crop(rgb), size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def gamma(rgb: Picture) -> Picture:
    table = (255 * (np.arange(256) / 255) ** 1.2).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table), dtype=np.uint8)


def mirror(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[:, ::-1])


@pytest.mark.parametrize("attack", [half, crop, crop_and_back, gamma, mirror])
def test_it_is_read_after(attack: Callable[[Picture], Picture], export: list[Frame]) -> None:
    attacked = through_h264((i420(attack(rgb_of(frame))) for frame in export), crf=23)
    found = assert_read(detect(attacked, algorithms=[ALGORITHM]), ALGORITHM)
    assert found.mirrored == (attack is mirror)
    expected = {half: 0.5, crop_and_back: 384 / 346}.get(attack, 1.0)
    assert found.scale == pytest.approx((expected, expected), rel=0.02)


def test_it_is_read_after_a_coarse_encoder(export: list[Frame]) -> None:
    assert_read(detect(through_h264(export, crf=28), algorithms=[ALGORITHM]), ALGORITHM)


def test_it_is_read_from_any_start_and_at_another_rate(export: list[Frame]) -> None:
    doubled = [frame for frame in export for _ in range(2)]
    assert_read(detect(doubled[13:], fps=50, algorithms=[ALGORITHM]), ALGORITHM)


def test_fifty_frames_a_second(clean: list[Frame]) -> None:
    fast = marked((frame for frame in clean for _ in range(2)), fps=50, algorithm=ALGORITHM)
    assert_read(detect(fast, fps=50, algorithms=[ALGORITHM]), ALGORITHM)


def test_only_the_middle_of_a_large_frame_is_read() -> None:
    large = marked([flat(1300, 1100, 90)] * 50, algorithm=ALGORITHM)
    assert_read(detect(large, algorithms=[ALGORITHM]), ALGORITHM)


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_too_little_to_read_is_none(count: int, export: list[Frame]) -> None:
    assert detect(export[:count], algorithms=[ALGORITHM]) is None


def test_frames_too_small_to_read_are_none() -> None:
    assert detect([flat(32, 32, 0)] * 30, algorithms=[ALGORITHM]) is None
