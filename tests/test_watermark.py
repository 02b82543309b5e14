"""The invisible watermark that new videos get: marking, and reading after what videos go through."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_clips import (
    ID,
    MEDIA,
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

from sonic_ext.errors import BadSetting, BadVideo, Cancelled
from sonic_ext.progress import Stage
from sonic_ext.provenance.watermark import (
    ALGORITHM,
    ALGORITHMS,
    LOOK,
    PROJECT_KEY,
    codec,
    detect,
    marker,
    version1,
    version2,
    version2_informed,
    version2_pattern,
    version2_reader,
)
from sonic_ext.provenance.watermark.version2_carriers import CHROMA, LUMA, Carrier

PORTRAITS = sorted(path.name for path in MEDIA.glob("*.jpg"))
OTHER = 0xFEDCBA9876543210
Step = tuple[int, int]


@pytest.fixture(scope="module")
def clean() -> list[Frame]:
    """4 s at 384 x 384."""
    return nodding(picture("portrait_04.jpg", 384, 384), 100)


@pytest.fixture(scope="module")
def clip(clean: list[Frame]) -> list[Frame]:
    """The same, marked."""
    return marked(clean)


@pytest.fixture(scope="module")
def export(clip: list[Frame]) -> list[Frame]:
    """The same, as it comes out of an H.264 file."""
    return list(through_h264(clip, crf=18))


@pytest.fixture(scope="module")
def large() -> list[Frame]:
    """2.4 s at 512 x 512, before marking."""
    return nodding(picture("portrait_04.jpg", 512, 512), 60)


@pytest.fixture(scope="module")
def grey(large: list[Frame]) -> list[Frame]:
    """The same, marked, as it comes out of an H.264 file and without colour."""
    return [greyed(frame) for frame in through_h264(marked(large), crf=18)]


def greyed(frame: Frame) -> Frame:
    """Without colour."""
    copy = frame.copy()
    chroma(copy)[...] = 128
    return copy


# ---- marking ----

PICTURES: dict[str, Callable[[], Frame]] = {
    **{name: lambda name=name: i420(picture(name, 512, 512)) for name in PORTRAITS},
    "wide": lambda: i420(picture("wide_threequarter.jpg", 640, 400)),
    "small": lambda: i420(picture("portrait_01.jpg", 258, 130)),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (384, 320), dtype=np.uint8),
    "black": lambda: flat(256, 256, 0),
    "white": lambda: flat(256, 300, 255),
    "grey": lambda: flat(256, 256, 120),
}


def added(before: Frame, after: Frame) -> NDArray[np.int64]:
    """What the mark adds to a frame, or to frames."""
    return after.astype(np.int64) - before


@pytest.mark.parametrize("name", PICTURES)
def test_a_mark_is_too_weak_to_see(name: str) -> None:
    """Also where the picture moves and the strengths are those of the first frame."""
    planes = PICTURES[name]()
    frames = [np.roll(planes, 2 * index, axis=1) for index in range(4)]
    for before, after in zip(frames, marked(frames), strict=True):
        change = added(before, after)
        error = np.mean(luma(change) ** 2)
        assert np.any(change)
        assert not error or 10 * np.log10(255**2 / error) >= 46
        assert np.abs(luma(change)).max() <= 3
        assert np.abs(chroma(change)).max() <= 6


def block_means(plane: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of its 8 x 8 blocks."""
    rows, columns = (side // 8 for side in plane.shape)
    blocks = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)


@given(st.integers(1, 254), st.integers(20, 200), st.integers(20, 200))
@settings(max_examples=20, deadline=None)
def test_smooth_ground_moves_by_one_level_at_most(level: int, wide: int, tall: int) -> None:
    """In luma every pixel, in chroma the mean of every 8 x 8 block by little more."""
    width, height = 2 * wide, 2 * tall
    change = added(flat(width, height, level), marked([flat(width, height, level)])[0])
    assert np.abs(luma(change)).max() <= 1
    assert np.abs(block_means(luma(change))).max() <= 1
    assert np.abs(block_means(chroma(change).reshape(2, tall, wide)[0])).max() <= 3.5


def test_u_and_v_get_the_same() -> None:
    first, second = chroma(added(flat(256, 256, 99), marked([flat(256, 256, 99)])[0])).reshape(2, 128, 128)
    assert np.any(first)
    assert np.array_equal(first, second)


def test_marking_is_deterministic(clean: list[Frame]) -> None:
    first, again = marked(clean[:25]), marked(clean[:25])
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_ids_and_keys_look_different() -> None:
    grey, every = flat(256, 256, 120), [(key, payload) for key in (b"a", b"b") for payload in (0, 1)]
    assert len({marked([grey], key=key, payload=payload)[0].tobytes() for key, payload in every}) == 4


def test_the_mark_is_fixed_by_the_first_frame(clean: list[Frame]) -> None:
    """Whatever moves: what is added stays the same."""
    held = [np.clip(frame, 10, 245) for frame in clean]
    changes = np.stack([added(*pair) for pair in zip(held, marked(held), strict=True)])
    assert np.all(changes == changes[0])


@pytest.mark.parametrize("carrier", [CHROMA, LUMA], ids=["chroma", "luma"])
def test_the_reader_measures_the_message_and_not_the_picture(carrier: Carrier, clean: list[Frame]) -> None:
    """What the frame has at the pattern's waves by itself is cancelled; without that, most of it is noise."""
    frame = clean[0]
    waves, wanted = version2_pattern.written(ID, PROJECT_KEY)
    plane = read_plane(frame, carrier)
    strength = np.full(plane.shape, 0.5 / carrier.planes, np.float32)
    how: dict[str, Any] = {"waves": waves, "strength": strength, "most": 3.0, "carrier": carrier}
    blind = version2_informed.plain(wanted, **how)
    informed = version2_informed.fitted(plane, 1.0, wanted, **how)
    noise = [
        1 - agreement(carrier.levelled(plane + carrier.planes * mark), wanted, waves, carrier)
        for mark in (blind, informed)
    ]
    assert noise[1] < 0.6 * noise[0]
    assert np.sqrt(np.mean(informed**2)) < 2.5 * np.sqrt(np.mean(blind**2))


@pytest.mark.parametrize("carrier", ["luma", "chroma"])
def test_a_carrier_can_be_left_out(carrier: str, clean: list[Frame]) -> None:
    """As the benchmark of strengths does."""
    none = {f"{carrier}{part}": 0.0 for part in ("", "_gain")}
    strength = replace(version2.SHIPPED, **none)
    frame = clean[0].copy()
    version2.MarkerV2(ID, 384, 384, 25, PROJECT_KEY, strength).embed(frame, 0)
    change = added(clean[0], frame)
    assert np.any(luma(change)) == (carrier == "chroma")
    assert np.any(chroma(change)) == (carrier == "luma")


def read_plane(frame: Frame, carrier: Carrier) -> NDArray[np.float32]:
    """What the reader levels: luma, or U and V together."""
    planes = chroma(frame).reshape(2, frame.shape[1] // 2, -1) if carrier is CHROMA else luma(frame)[None]
    return np.asarray(planes.sum(axis=0), dtype=np.float32)


def agreement(
    image: NDArray[np.float32], wanted: NDArray[Any], waves: NDArray[np.int64], carrier: Carrier
) -> float:
    """Correlation of an image's amplitudes at the waves, by a direct sum, with the wanted ones."""
    across, down = (carrier.places(side) for side in image.shape[::-1])
    found = np.array(
        [np.exp(-2j * np.pi * y * down) @ image @ np.exp(-2j * np.pi * x * across) for x, y in waves]
    )
    both = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    return float(np.vdot(wanted, found).real) / both


def test_a_picture_that_moves_as_a_whole_gets_less(clean: list[Frame]) -> None:
    """After three frames; and all of it again once it has stood still for a second."""
    wide = np.clip(clean[0][:384], 10, 245)
    moves = [*range(0, 40, 4), *[40] * 40]
    frames = [np.vstack([np.roll(wide, move, axis=1), clean[0][384:]]) for move in moves]
    power = [float(np.mean(added(*pair)[384:] ** 2)) for pair in zip(frames, marked(frames), strict=True)]
    assert power[0] == power[2] == pytest.approx(power[-1], rel=0.1)
    assert 0 < max(power[4:30]) < 0.5 * power[0]


def test_another_picture_fixes_the_strengths_anew(clean: list[Frame]) -> None:
    """At a cut they are those of the picture that follows; a change of light is no cut."""
    smooth, busy = flat(384, 384, 60), np.clip(clean[0], 10, 245)
    frames = [smooth] * 3 + [busy] * 3 + [busy + np.uint8(5)] * 2 + [smooth] * 2
    changes = [added(*pair) for pair in zip(frames, marked(frames), strict=True)]
    fresh = [added(frame, marked([frame])[0]) for frame in (smooth, busy)]
    assert not np.array_equal(*fresh)
    for change, expected in zip(changes, [fresh[0]] * 3 + [fresh[1]] * 5 + [fresh[0]] * 2, strict=True):
        assert np.array_equal(change, expected)


def test_a_hard_edge_does_not_lift_the_smooth_ground_beside_it() -> None:
    smooth = flat(256, 256, 60)
    edge = smooth.copy()
    edge[:256, 128:] = 200
    smooth_change, edge_change = (added(frame, marked([frame])[0]) for frame in (smooth, edge))
    assert np.abs(luma(edge_change)).max() <= 1
    assert np.mean(edge_change**2) < 1.3 * np.mean(smooth_change**2)


def test_a_view_of_a_larger_array_is_marked_in_place() -> None:
    whole = flat(256, 256, 128)
    wide, long = np.full((384, 300), 128, np.uint8), np.full((500, 256), 128, np.uint8)
    for frame in (whole, wide[:, 20:276], long[60:444]):
        marker(ID, 256, 256).embed(frame, 0)
    assert np.any(luma(whole) != 128)
    assert np.any(chroma(whole) != 128)
    assert np.array_equal(long[60:444], whole)
    assert np.all(long[:60] == 128)
    assert np.all(long[444:] == 128)
    assert np.array_equal(wide[:, 20:276], whole)
    assert np.all(wide[:, :20] == 128)
    assert np.all(wide[:, 276:] == 128)


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((384, 254), 9, np.uint8),
        np.full((256, 256), 9, np.uint8),
        np.full((768, 512), 9, np.uint8),
        np.full((384, 256), 9, np.float32),
        np.full((384, 256, 3), 9, np.uint8),
    ],
    ids=["narrow", "no chroma", "large", "floats", "colours"],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_frame_of_another_kind_is_refused(algorithm: str, wrong: Frame) -> None:
    """And stays as it is; the next one is marked as if it had not come."""
    mark = marker(ID, 256, 256, algorithm=algorithm)
    with pytest.raises(BadSetting, match="frame is"):
        mark.embed(wrong, 0)
    assert np.all(wrong == 9)
    frame = flat(256, 256, 120)
    mark.embed(frame, 0)
    assert np.array_equal(frame, marked([flat(256, 256, 120)], algorithm=algorithm)[0])


@pytest.mark.parametrize(
    ("width", "height", "fps"),
    [
        (0, 256, 25),
        (256, -2, 25),
        (255, 256, 25),
        (256, 255, 25),
        (256, 256, 0),
        (256, 256, -1),
        (256, 256, float("nan")),
    ],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_impossible_sizes_are_refused(algorithm: str, width: int, height: int, fps: float) -> None:
    with pytest.raises(BadSetting, match="positive"):
        marker(ID, width, height, fps, algorithm=algorithm)


@pytest.mark.parametrize("payload", [-1, 2**64])
def test_an_id_has_64_bits(payload: int) -> None:
    with pytest.raises(BadSetting, match="64 bits"):
        marker(payload, 256, 256)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 1000), st.integers(0, 10**7))
@settings(max_examples=30, deadline=None)
def test_any_even_size_and_any_rate_can_be_marked(wide: int, tall: int, fps: float, index: int) -> None:
    frame = np.random.default_rng(wide).integers(0, 256, (3 * tall, 2 * wide), dtype=np.uint8)
    before = frame.copy()
    marker(ID, 2 * wide, 2 * tall, fps).embed(frame, index)
    assert np.abs(added(before, frame)).max() <= 6


# ---- reading ----


@pytest.mark.parametrize("name", PORTRAITS)
def test_one_frame_is_enough(name: str) -> None:
    found = assert_read(detect(marked([i420(picture(name, 384, 384))])))
    assert found.frames == 1
    assert found.scale == pytest.approx((1, 1), abs=0.01)
    assert not found.mirrored


def test_one_frame_of_an_export_is_enough(export: list[Frame]) -> None:
    for index in (0, 49, 99):
        assert_read(detect([export[index]]))


def test_a_frame_kept_as_a_jpeg_is_enough(export: list[Frame]) -> None:
    """At the quality that sites use."""
    coded = cv2.imencode(".jpg", cv2.cvtColor(rgb_of(export[30]), cv2.COLOR_RGB2BGR), [1, 85])[1]
    assert_read(detect([i420(cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))]))


def test_an_export_is_read_after_a_second(export: list[Frame]) -> None:
    """No more frames are asked for than needed."""

    def frames() -> Iterator[Frame]:
        yield from export[:25]
        raise AssertionError("asked for more")

    found = assert_read(detect(frames()))
    assert found.frames == 25
    assert found.scale == pytest.approx((1, 1), abs=0.01)
    assert not found.mirrored
    assert found.signal > 1


@pytest.mark.parametrize("crf", [23, 28])
def test_it_is_read_after_a_coarse_encoder(crf: int, export: list[Frame]) -> None:
    assert_read(detect(through_h264(export[:30], crf=crf)))


def sized(width: int, height: int) -> Callable[[Picture], Picture]:
    return lambda rgb: np.asarray(
        cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def cropped(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[12:358, 26:372])


def cropped_and_back(rgb: Picture) -> Picture:
    return np.asarray(cv2.resize(cropped(rgb), (384, 384), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def mirrored(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[:, ::-1])


def upside_down(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[::-1])


def half_turned(rgb: Picture) -> Picture:
    return np.ascontiguousarray(rgb[::-1, ::-1])


def turned(degrees: float) -> Callable[[Picture], Picture]:
    """As an editor does it: a little larger, so that no corner shows."""
    matrix = cv2.getRotationMatrix2D((191.5, 191.5), degrees, 1.06)
    return lambda rgb: np.asarray(
        cv2.warpAffine(rgb, matrix, (384, 384), flags=cv2.INTER_LINEAR), dtype=np.uint8
    )


def darker(rgb: Picture) -> Picture:
    return np.asarray((255 * (rgb / 255) ** 1.3 * 0.9), dtype=np.uint8)


def filmed(rgb: Picture) -> Picture:
    """From a screen, by hand: askew, in other light, a little out of focus, with a sensor's noise."""
    corners = np.array([[0, 0], [384, 0], [384, 384], [0, 384]], np.float32)
    seen = np.array([[9, 14], [372, 8], [378, 376], [5, 370]], np.float32)
    askew = cv2.warpPerspective(rgb, cv2.getPerspectiveTransform(corners, seen), (384, 384))
    noise = np.random.default_rng(int(rgb[100, 100, 0])).normal(0, 2, rgb.shape)
    return np.clip(cv2.GaussianBlur(askew, (0, 0), 0.7) * 0.85 + 14 + noise, 0, 255).astype(np.uint8)


ATTACKS: dict[str, tuple[Callable[[Picture], Picture], tuple[float, float], bool]] = {
    "half size": (sized(192, 192), (0.5, 0.5), False),
    "larger": (sized(576, 576), (1.5, 1.5), False),
    "cropped": (cropped, (1, 1), False),
    "cropped and back": (cropped_and_back, (384 / 346, 384 / 346), False),
    "mirrored": (mirrored, (1, 1), True),
    "upside down": (upside_down, (1, 1), True),
    "half turned": (half_turned, (1, 1), False),
    "turned left": (turned(3), (1.06, 1.06), False),
    "turned right": (turned(-3), (1.06, 1.06), False),
    "stretched": (sized(512, 384), (4 / 3, 1), False),
    "squeezed": (sized(288, 384), (0.75, 1), False),
    "darker": (darker, (1, 1), False),
    "filmed": (filmed, (0.95, 0.95), False),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_read_after(name: str, export: list[Frame]) -> None:
    attack, scale, flipped = ATTACKS[name]
    attacked = through_h264((i420(attack(rgb_of(frame))) for frame in export[:30]), crf=23)
    found = assert_read(detect(attacked))
    assert found.mirrored == flipped
    assert found.scale == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("fps", [24, 30, 50])
def test_it_is_read_at_any_rate(fps: int, large: list[Frame]) -> None:
    """And marked at that rate; without colour, too."""
    frames = marked((large[index * 25 // fps] for index in range(round(fps * 2.3))), fps=fps)
    assert_read(detect(through_h264(frames[:fps], crf=23, fps=fps), fps=fps))
    assert_read(detect((greyed(frame) for frame in frames), fps=fps))


def test_a_grey_copy_is_read(grey: list[Frame]) -> None:
    assert_read(detect(through_h264(grey, crf=23)))


def test_a_faster_copy_is_read(export: list[Frame], grey: list[Frame]) -> None:
    for frames in (export, grey):
        faster = frames[: len(frames) // 5 * 5]
        del faster[::5]
        assert_read(detect(through_h264(faster, crf=23)))


def test_shuffled_pieces_are_read(export: list[Frame]) -> None:
    """A second each, in another order."""
    pieces = [frame for start in (50, 0, 75, 25) for frame in export[start : start + 25]]
    assert_read(detect(through_h264(pieces, crf=23)))


def test_it_is_read_from_any_start(export: list[Frame]) -> None:
    assert_read(detect(export[37:]))


def test_what_comes_after_an_unmarked_start_is_read(clean: list[Frame], clip: list[Frame]) -> None:
    """Of another picture, as in a film."""
    start = [i420(picture("no_person.jpg", 384, 384))] * 50
    assert_read(detect([*start, *clip]))


def test_only_the_middle_of_a_large_frame_is_read() -> None:
    assert_read(detect(marked([flat(1300, 1100, 90)])))


@pytest.mark.parametrize("algorithms", [tuple(ALGORITHMS), (ALGORITHM,), tuple(reversed(ALGORITHMS))])
def test_it_is_read_by_its_name(algorithms: tuple[str, ...], export: list[Frame]) -> None:
    assert_read(detect(export[:5], algorithms=algorithms))


def test_only_the_named_ones_are_looked_for(export: list[Frame]) -> None:
    assert detect(export[:50], algorithms=[version1.ALGORITHM]) is None
    assert detect(export[:2], algorithms=[]) is None


def test_the_newest_is_the_one_that_is_written() -> None:
    assert tuple(ALGORITHMS) == ("local.sonic.watermark.2", "local.sonic.watermark.1")
    assert ALGORITHM == version2.ALGORITHM == "local.sonic.watermark.2"
    assert PROJECT_KEY == b"sonic public watermark key 1"


def test_an_unknown_name_is_told() -> None:
    with pytest.raises((KeyError, BadSetting), match="no such one"):
        marker(ID, 256, 256, algorithm="no such one")
    with pytest.raises((KeyError, BadSetting), match="no such one"):
        detect([], algorithms=["no such one"])


# ---- nothing is read that is not there ----


def test_the_right_key_is_needed(export: list[Frame]) -> None:
    assert detect(export[:30], key=b"not the key") is None


@pytest.mark.parametrize("name", ["portrait_01.jpg", "no_person.jpg"])
def test_an_unmarked_picture_holds_nothing(name: str) -> None:
    assert detect([i420(picture(name, 384, 384))]) is None


def test_an_unmarked_clip_holds_nothing(clean: list[Frame]) -> None:
    assert detect(through_h264(clean, crf=18)) is None


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_two_blended_clips_give_no_third_id(share: float, clean: list[Frame], clip: list[Frame]) -> None:
    """Nor do two that follow one another, or lie side by side."""
    other = marked(clean[:5], payload=OTHER)
    blended = [cv2.addWeighted(a, share, b, 1 - share, 0) for a, b in zip(clip, other, strict=False)]
    beside = [np.hstack([a[:, :192], b[:, 192:]]) for a, b in zip(clip, other, strict=False)]
    for frames in (blended, beside, [*clip[:5], *other]):
        found = detect(frames)
        assert found is None or found.payload in (ID, OTHER)


@pytest.mark.parametrize("failed", [0, 2])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_decoded_message_counts_in_the_odds(
    failed: int, algorithm: str, clean: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all watermarks that were looked for: one in 2**48 each passes by chance."""
    asked: list[bool] = []
    decode = codec.Code.decode

    def decoded(code: codec.Code, soft: NDArray[np.float32], key: bytes) -> int | None:
        found = decode(code, soft, key)
        asked.append(found is not None)
        return found if sum(asked) > failed else None

    monkeypatch.setattr(codec.Code, "decode", decoded)
    found = detect([*marked(clean[:60], algorithm=algorithm)] * (2 if failed else 1))
    if found is not None:
        assert (found.payload, found.odds) == (ID, len(asked) * 2.0**-48)
        assert len(asked) > failed
    assert failed or found is not None


# ---- strange input ----


@pytest.mark.parametrize(
    "size", [(0, 0), (2, 0), (0, 2), (2, 2), (16, 16), (400, 62), (2, 300), (64, 64), (66, 64)]
)
@pytest.mark.parametrize("count", [1, 30])
def test_small_frames_hold_nothing(size: tuple[int, int], count: int) -> None:
    """A video that is one pixel wide has none left after its odd column."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1] * 3 // 2, size[0]), dtype=np.uint8)
    assert detect([noise] * count) is None


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("count", [1, 60])
def test_frames_of_one_colour_hold_nothing(level: int, count: int) -> None:
    assert detect([np.full((288, 192), level, np.uint8)] * count) is None
    assert detect([flat(192, 192, level)] * count) is None


def test_a_flash_holds_nothing() -> None:
    """Frames of one colour each."""
    assert detect([flat(128, 128, 255 * (index % 2)) for index in range(60)]) is None


def test_no_frames_hold_nothing() -> None:
    assert detect(iter([])) is None
    assert detect([], count=100, tick=lambda *_: None) is None


@pytest.mark.parametrize("fps", [0.1, 1, 240, 1e6, float("inf")])
def test_any_rate_can_be_read(fps: float) -> None:
    frames = marked([i420(picture("portrait_02.jpg", 256, 256))] * 10)
    assert_read(detect(frames, fps=fps))


@pytest.mark.parametrize("fps", [0, -25, float("nan")])
def test_no_rate_is_refused(fps: float) -> None:
    with pytest.raises(BadSetting, match="frame rate"):
        detect([], fps=fps)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((96, 64, 3), np.uint8),
        np.zeros((96, 64), np.float32),
        np.zeros((96, 64), np.int8),
        np.zeros((96, 63), np.uint8),
        np.zeros((64, 64), np.uint8),
        np.zeros(96, np.uint8),
    ],
    ids=["colours", "floats", "signed", "odd width", "no chroma", "a line"],
)
@pytest.mark.parametrize("before", [0, 3])
def test_a_stream_that_is_no_video_is_refused(wrong: Frame, before: int) -> None:
    with pytest.raises(BadVideo, match="frame is"):
        detect([flat(64, 64, 9)] * before + [wrong])


def test_a_size_that_changes_is_refused() -> None:
    with pytest.raises(BadVideo, match="size"):
        detect([flat(64, 64, 9), flat(64, 66, 9)])
    with pytest.raises(BadVideo, match="size"):
        detect([flat(64, 66, 9), flat(66, 64, 9)])


# ---- progress ----


class Told:
    """Remembers what a tick was told; stops the work at the step of this number."""

    def __init__(self, stop: int = 10**9) -> None:
        self.steps: list[Step] = []
        self._stop = stop

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        assert stage == Stage.FINDING_WATERMARK
        self.steps.append((done, total))
        if len(self.steps) == self._stop:
            raise Cancelled

    def check(self) -> None:
        """It never goes back nor past its end, which stays where it is."""
        done = [step[0] for step in self.steps]
        assert done == sorted(done)
        assert len({total for _, total in self.steps}) == 1
        assert 0 <= done[0] <= done[-1] <= self.steps[0][1]


@pytest.fixture(scope="module")
def noise() -> list[Frame]:
    """Something that is searched and holds nothing: 1.2 s."""
    return [*np.random.default_rng(0).integers(0, 256, (30, 144, 96), dtype=np.uint8)]


def test_progress_tells_of_every_frame_and_every_look(noise: list[Frame]) -> None:
    told = Told()
    assert detect(noise, count=30, tick=told) is None
    told.check()
    total = 30 + 3 * LOOK
    assert told.steps[-1] == (total, total)
    done = [step[0] for step in told.steps]
    assert done[:25] == list(range(1, 26))
    after = [each for each in done if each > 25]
    assert len(after) > 5 + 3 * 3
    assert {25 + LOOK + number for number in range(1, 6)} <= set(after)
    assert max(np.diff(done)) < LOOK


@pytest.mark.parametrize("algorithms", [tuple(ALGORITHMS), *[(name,) for name in ALGORITHMS], ()])
@pytest.mark.parametrize("seconds", [0.04, 0.96, 1, 4.8, 5, 10.2])
@pytest.mark.parametrize("rate", [0.1, 0.5, 25])
def test_progress_ends_at_its_end(algorithms: tuple[str, ...], seconds: float, rate: float) -> None:
    """However long the video; of frames that are too small to be searched."""
    told, count = Told(), max(1, round(seconds * rate))
    assert detect([flat(16, 16, 9)] * count, fps=rate, algorithms=algorithms, count=count, tick=told) is None
    told.check()
    assert told.steps[-1][0] == told.steps[-1][1]


@pytest.mark.parametrize("count", [1, 7, 30, 1000])
def test_a_count_that_is_wrong_only_moves_the_bar_unevenly(count: int) -> None:
    told = Told()
    detect([flat(16, 16, 9)] * 30, count=count, tick=told)
    told.check()
    assert len(told.steps) >= 30


def test_progress_ends_where_an_id_is_found(export: list[Frame]) -> None:
    told = Told()
    assert_read(detect(export, count=100, tick=told))
    told.check()
    assert 25 < told.steps[-1][0] <= 25 + LOOK
    assert told.steps[-1][1] == 100 + 3 * LOOK


def test_whatever_a_tick_raises_comes_through(noise: list[Frame]) -> None:
    """At a frame, and at every step inside a look."""
    told = Told()
    detect(noise, count=30, tick=told)
    looks = [number for number, (done, _) in enumerate(told.steps, 1) if 25 < done <= 25 + LOOK]
    assert len(looks) >= 3
    for stop in (1, 25, *looks[::2], len(told.steps)):
        stopped = Told(stop)
        with pytest.raises(Cancelled):
            detect(noise, count=30, tick=stopped)
        assert stopped.steps == told.steps[:stop]


def test_a_tick_may_raise_anything(noise: list[Frame]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect(noise, count=30, tick=interrupted)


# ---- pattern: what is written today must stay readable ----


def sha(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_the_code_is_the_one_of_old_videos() -> None:
    coded = version2_pattern.CODE.encode(ID, PROJECT_KEY)
    assert (coded.shape, sha(coded.astype("<i1"))) == ((369,), "e5444cb8d3826a3a")


def test_the_layout_is_the_one_of_old_videos() -> None:
    plan = version2_pattern.layout(PROJECT_KEY)
    places = np.concatenate([plan.pilots, plan.data, plan.bits]).astype("<i8")
    signs = np.concatenate(
        [np.sign(plan.pilot_symbols.real), np.sign(plan.pilot_symbols.imag), plan.signs.ravel()]
    )
    assert (len(plan.pilots), len(plan.data)) == (48, 185)
    assert sha(places) == "235c12ec8250cba9"
    assert sha(signs.astype("<i1")) == "8aae14e5e773646f"


def test_the_waves_are_the_ones_of_old_videos() -> None:
    """How strong each is, in hundredths, and how a tile looks along its diagonal."""
    waves, wanted = version2_pattern.written(ID, PROJECT_KEY)
    assert len(waves) == len(wanted) == 233
    assert np.sqrt(np.sum(np.abs(wanted) ** 2) / 2) == pytest.approx(1)
    strengths = [21, 11, 9, 12, 10, 9, 8, 7, 7, 7, 6, 6]
    assert 100 * np.abs(wanted[::20]) == pytest.approx(strengths, abs=0.51)
    tile = version2_informed.plain(wanted, waves, np.full((256, 256), 100, np.float32), 999.0, LUMA)
    diagonal = [40, 87, 48, -36, -29, -138, -27, -122, 143, -72, -57, -144, 152, -82, 77, -92]
    assert tile.diagonal()[::8] == pytest.approx(2 * diagonal, abs=1.01)


def test_every_coded_bit_is_carried() -> None:
    plan = version2_pattern.layout(b"any key")
    counts = np.bincount(plan.bits.ravel())
    assert len(counts) == version2_pattern.CODE.bits
    assert counts.min() >= 1
    waves = np.concatenate([plan.pilots, plan.data])
    assert len({tuple(wave) for wave in [*waves, *-waves]}) == 2 * len(waves)


@pytest.mark.parametrize("count", [(), (7,), (2, 3)])
def test_matrices_of_two_are_inverted_as_lapack_does(count: tuple[int, ...]) -> None:
    places = np.random.default_rng(1).normal(size=(*count, 2, 2)) + 2 * np.eye(2)
    assert version2_reader.inverse(places) == pytest.approx(np.linalg.inv(places))
