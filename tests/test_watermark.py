"""The invisible watermark: coder, pattern, marking, and reading after what videos go through."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sonic_ext.errors import BadSetting, BadVideo
from sonic_ext.provenance import codec, watermark_pattern
from sonic_ext.provenance.watermark import PROJECT_KEY, Detection, Watermark, detect

Plane = NDArray[np.uint8]
ID = 0x0123456789ABCDEF
MEDIA = Path(__file__).parent / "data" / "media"
ids = st.integers(0, 2**64 - 1)


def portrait(name: str, width: int, height: int) -> Plane:
    """Luma of a test picture at the given size."""
    data = np.frombuffer((MEDIA / name).read_bytes(), dtype=np.uint8)
    grey = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def nodding(still: Plane, count: int) -> list[Plane]:
    """A head that moves before a background that stands quite still."""
    height, width = still.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    head = np.clip(
        1.6 - np.hypot((x - width / 2) / (width * 0.22), (y - height * 0.42) / (height * 0.3)), 0, 1
    )
    frames = []
    for index in range(count):
        down = (y + 3 * head * np.sin(index / 13)).astype(np.float32)
        moved = cv2.remap(still, x, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        frames.append(np.asarray(moved, dtype=np.uint8))
    return frames


def marked(frames: list[Plane], fps: int = 25, key: bytes = PROJECT_KEY) -> list[Plane]:
    height, width = frames[0].shape
    watermark = Watermark(ID, width, height, fps, key)
    copies = [frame.copy() for frame in frames]
    for index, frame in enumerate(copies):
        watermark.embed(frame, index)
    return copies


def through_h264(frames: Iterable[Plane], crf: int, fps: int = 25) -> Iterator[Plane]:
    """Encode and decode again."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
        for index, plane in enumerate(frames):
            if not index:
                stream.width, stream.height, stream.pix_fmt = plane.shape[1], plane.shape[0], "yuv420p"
            chroma = np.full((plane.shape[0] // 2, plane.shape[1]), 128, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(np.concatenate([plane, chroma]), format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(io.BytesIO(target.getvalue())) as container:
        for frame in container.decode(video=0):
            yield np.ascontiguousarray(frame.to_ndarray(format="yuv420p")[: frame.height])


@pytest.fixture(scope="module")
def clean() -> list[Plane]:
    """2.4 s at 384 x 384."""
    return nodding(portrait("portrait_04.jpg", 384, 384), 60)


@pytest.fixture(scope="module")
def export(clean: list[Plane]) -> list[Plane]:
    """The same, marked, as it comes out of an H.264 file."""
    return list(through_h264(marked(clean), crf=18))


def assert_read(found: Detection | None) -> None:
    assert found is not None
    assert found.payload == ID
    assert 0 < found.odds < 1e-9
    assert found.signal > 1


# ---- coder ----


@given(ids, st.binary(min_size=1, max_size=40))
@settings(max_examples=30)
def test_every_id_comes_back(payload: int, key: bytes) -> None:
    assert codec.decode(codec.encode(payload, key).astype(np.float32), key) == payload


@given(ids, st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_one_coded_bit_in_thirteen_may_be_wrong_when_they_lie_apart(payload: int, seed: int) -> None:
    soft = codec.encode(payload, b"key").astype(np.float32)
    start = seed % 13
    soft[start::13] *= -1
    assert codec.decode(soft, b"key") == payload


@given(ids, st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_half_of_the_coded_bits_may_be_unknown(payload: int, seed: int) -> None:
    soft = codec.encode(payload, b"key").astype(np.float32)
    soft[seed % 2 :: 2] = 0
    assert codec.decode(soft, b"key") == payload


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_noise_decodes_to_nothing(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal(codec.CODED_BITS).astype(np.float32)
    assert codec.decode(noise, b"key") is None


def test_another_key_does_not_decode() -> None:
    assert codec.decode(codec.encode(ID, b"key").astype(np.float32), b"other") is None


@given(ids, ids)
@settings(max_examples=30)
def test_two_ids_differ_in_many_coded_bits(one: int, other: int) -> None:
    if one != other:
        assert np.sum(codec.encode(one, b"k") != codec.encode(other, b"k")) >= 15


@pytest.mark.parametrize("payload", [-1, 2**64])
def test_an_id_has_64_bits(payload: int) -> None:
    with pytest.raises(BadSetting, match="64 bits"):
        Watermark(payload, 256, 256)
    with pytest.raises(ValueError, match="64 bits"):
        codec.encode(payload, b"key")


# ---- pattern: old videos must stay readable ----


def sha(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_the_coder_is_the_one_of_old_videos() -> None:
    assert sha(codec.encode(ID, PROJECT_KEY)) == "a27503a3119681e4"
    assert codec.mac(ID, PROJECT_KEY) == 0x8C2ED4CE6189


def test_the_layout_is_the_one_of_old_videos() -> None:
    plan = watermark_pattern.layout(PROJECT_KEY)
    places = np.concatenate([plan.pilot, plan.data, plan.bits]).astype("<i8")
    signs = np.concatenate(
        [np.sign(plan.pilot_symbols.real), np.sign(plan.pilot_symbols.imag), plan.signs.ravel()]
    )
    assert sha(places) == "9a1a20bc779f283d"
    assert sha(signs.astype("<i1")) == "4a0483c2783684b3"


def test_the_tile_is_the_one_of_old_videos() -> None:
    tile = watermark_pattern.tile(ID, PROJECT_KEY)
    assert tile.shape == (128, 128)
    assert tile[0, :8].tolist() == [15, 2, -10, -18, -24, -27, -27, -23]
    assert sha(tile) == "c9ebd634b714d78a"


def test_the_clock_is_the_one_of_old_videos() -> None:
    signs = [watermark_pattern.sign_of(watermark_pattern.tick_of(index, 25)) for index in range(60)]
    assert signs == [*[1] * 20, *[-1] * 20, *[1] * 20]
    double = [watermark_pattern.sign_of(watermark_pattern.tick_of(index, 50)) for index in range(120)]
    assert double == [sign for sign in signs for _ in range(2)]


def test_each_coded_bit_rides_on_two_waves() -> None:
    plan = watermark_pattern.layout(b"any key")
    assert np.bincount(plan.bits.ravel()).tolist() == [2] * codec.CODED_BITS


# ---- marking ----

PICTURES = {
    "portrait": lambda: portrait("portrait_02.jpg", 512, 512),
    "wide": lambda: portrait("wide_threequarter.jpg", 640, 400),
    "room": lambda: portrait("no_person.jpg", 258, 300),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (256, 320), dtype=np.uint8),
    "black": lambda: np.zeros((256, 256), dtype=np.uint8),
    "white": lambda: np.full((300, 256), 255, dtype=np.uint8),
    "grey": lambda: np.full((256, 256), 120, dtype=np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_mark_is_too_weak_to_see(name: str) -> None:
    plane = PICTURES[name]()
    frames = [np.roll(plane, 2 * index, axis=1) for index in range(4)]
    for before, after in zip(frames, marked(frames), strict=True):
        error = np.mean((after.astype(float) - before) ** 2)
        assert error > 0
        assert 10 * np.log10(255**2 / error) >= 42


def test_smooth_ground_changes_by_less_than_one_level() -> None:
    grey = PICTURES["grey"]()
    change = marked([grey])[0].astype(float) - grey
    assert np.sqrt(np.mean(change**2)) < 1
    assert np.abs(change).max() <= 3


def test_the_sign_turns_and_cancels() -> None:
    grey = np.full((256, 256), 120, dtype=np.uint8)
    watermark = Watermark(ID, 256, 256)
    early, late = grey.copy(), grey.copy()
    watermark.embed(early, 0)
    watermark.embed(late, 20)
    assert np.array_equal(early.astype(int) + late, 2 * grey.astype(int))


def test_marking_is_deterministic(clean: list[Plane]) -> None:
    first, again = marked(clean[:25]), marked(clean[:25])
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_the_mark_is_stronger_where_the_picture_moves() -> None:
    still = portrait("portrait_04.jpg", 256, 256)
    moved = np.roll(still, 3, axis=1)
    at_rest, moving = Watermark(ID, 256, 256), Watermark(ID, 256, 256)
    changes = []
    for watermark, before in ((at_rest, moved), (moving, still)):
        watermark.embed(before.copy(), 0)
        frame = moved.copy()
        watermark.embed(frame, 1)
        changes.append(float(np.mean((frame.astype(float) - moved) ** 2)))
    assert changes[1] > 1.3 * changes[0]


def test_a_hard_edge_does_not_lift_the_smooth_ground_beside_it() -> None:
    plane = np.full((256, 256), 60, dtype=np.uint8)
    plane[:, 128:] = 200
    change = np.abs(marked([plane])[0].astype(int) - plane)
    assert change[:, 96:160].mean() < 1.1 * change[:, :64].mean()


def test_a_view_of_a_larger_array_is_marked_in_place() -> None:
    i420 = np.full((384, 256), 128, dtype=np.uint8)
    wide = np.full((256, 300), 128, dtype=np.uint8)
    watermark = Watermark(ID, 256, 256)
    watermark.embed(i420[:256], 0)
    watermark.embed(wide[:, 20:276], 0)
    assert np.array_equal(i420[:256], wide[:, 20:276])
    assert np.any(i420[:256] != 128)
    assert np.all(i420[256:] == 128)
    assert np.all(wide[:, :20] == 128)


@pytest.mark.parametrize("wrong", [np.zeros((256, 255), np.uint8), np.zeros((256, 256), np.float32)])
def test_a_frame_of_another_kind_is_refused(wrong: Plane) -> None:
    with pytest.raises(BadSetting, match="frame is"):
        Watermark(ID, 256, 256).embed(wrong, 0)


@pytest.mark.parametrize(("width", "height", "fps"), [(0, 256, 25), (256, -2, 25), (256, 256, 0)])
def test_impossible_sizes_are_refused(width: int, height: int, fps: int) -> None:
    with pytest.raises(BadSetting, match="positive"):
        Watermark(ID, width, height, fps)


# ---- reading ----


def test_an_export_is_read_and_only_once_enough_was_seen(export: list[Plane]) -> None:
    found = detect(iter(export))
    assert_read(found)
    assert found is not None
    assert found.frames == 60
    assert found.scale == pytest.approx((1, 1), abs=0.01)
    assert not found.mirrored


def test_two_seconds_are_enough(export: list[Plane]) -> None:
    assert_read(detect(export[:50]))


def test_the_right_key_is_needed(export: list[Plane]) -> None:
    assert detect(export, key=b"not the key") is None


def test_an_unmarked_clip_holds_nothing(clean: list[Plane]) -> None:
    assert detect(through_h264(clean, crf=18)) is None


def half(plane: Plane) -> Plane:
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def crop(plane: Plane) -> Plane:
    return np.ascontiguousarray(plane[11:357, 27:373])


def crop_and_back(plane: Plane) -> Plane:
    size = plane.shape[1::-1]
    return np.asarray(cv2.resize(crop(plane), size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def gamma(plane: Plane) -> Plane:
    table = (255 * (np.arange(256) / 255) ** 1.2).astype(np.uint8)
    return np.asarray(cv2.LUT(plane, table), dtype=np.uint8)


def brighter(plane: Plane) -> Plane:
    return np.asarray(cv2.add(plane, np.full_like(plane, 20)), dtype=np.uint8)


def mirror(plane: Plane) -> Plane:
    return np.ascontiguousarray(plane[:, ::-1])


@pytest.mark.parametrize("attack", [half, crop, crop_and_back, gamma, brighter, mirror])
def test_it_is_read_after(attack: Callable[[Plane], Plane], export: list[Plane]) -> None:
    found = detect(through_h264((attack(plane) for plane in export), crf=23))
    assert_read(found)
    assert found is not None
    assert found.mirrored == (attack is mirror)
    expected = {half: 0.5, crop_and_back: 384 / 346}.get(attack, 1.0)
    assert found.scale == pytest.approx((expected, expected), rel=0.02)


def test_it_is_read_after_a_coarse_encoder(export: list[Plane]) -> None:
    assert_read(detect(through_h264(export, crf=28)))


def test_it_is_read_from_any_start_and_at_another_rate(export: list[Plane]) -> None:
    doubled = [plane for plane in export for _ in range(2)]
    assert_read(detect(doubled[13:], fps=50))


def test_fifty_frames_a_second(clean: list[Plane]) -> None:
    fast = [plane for plane in clean for _ in range(2)]
    assert_read(detect(marked(fast, fps=50), fps=50))


def test_only_the_middle_of_a_large_frame_is_read() -> None:
    large = marked([np.full((1100, 1300), 90, dtype=np.uint8)] * 50)
    assert_read(detect(large))


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_too_little_to_read_is_none(count: int, export: list[Plane]) -> None:
    assert detect(export[:count]) is None


def test_frames_too_small_to_read_are_none() -> None:
    assert detect([np.zeros((32, 32), dtype=np.uint8)] * 30) is None


def test_reading_asks_for_no_more_frames_than_it_needs(export: list[Plane]) -> None:
    def frames() -> Iterator[Plane]:
        yield from export
        raise AssertionError("asked for more")

    assert_read(detect(frames()))


def test_a_stream_that_is_no_video_is_refused() -> None:
    with pytest.raises(BadVideo, match="size"):
        detect([np.zeros((64, 64), np.uint8), np.zeros((64, 66), np.uint8)])
    with pytest.raises(BadVideo, match="uint8"):
        detect([np.zeros((64, 64, 3), np.uint8)])
    with pytest.raises(BadSetting, match="frame rate"):
        detect([], fps=0)
