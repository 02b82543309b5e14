"""Boxes, crops and sizes: the recorded cases to the pixel, and what must hold for any numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.media.geometry import Box, crop_square, mask_box, video_size

CASES = json.loads((Path(__file__).parent / "data/parity/a_bbox_cases.json").read_text())
numbers = st.floats(-2000, 2000, allow_nan=False)
lengths = st.floats(1, 2000)
sides = st.integers(64, 4000)


def box_of(case: dict[str, Any]) -> Box:
    x, y, w, h = case["det_xywh"]
    return Box(x, y, x + w, y + h)


@given(sides, sides, st.integers(-4, 4))
def test_a_box_turned_and_turned_back(width: int, height: int, quarters: int) -> None:
    box = Box(1.0, 2.0, width - 3.0, height - 4.0)
    turned = box.turned(quarters, width, height)
    size = (height, width) if quarters % 2 else (width, height)
    assert turned.turned(-quarters, *size) == box
    assert turned.clipped(*size) == turned
    assert turned.area == box.area


def named(case: dict[str, Any]) -> str:
    return f"{case['w']}x{case['h']}-{case['expand_ratio']}"


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(numbers), draw(numbers)
    return Box(left, top, left + draw(lengths), top + draw(lengths))


@st.composite
def faces_in_pictures(draw: st.DrawFn) -> tuple[Box, int, int]:
    """A box whose centre lies in the picture; it may reach outside."""
    width, height = draw(sides), draw(sides)
    x, y = draw(st.floats(0, width)), draw(st.floats(0, height))
    dx, dy = draw(st.floats(8, 1000)), draw(st.floats(8, 1000))
    return Box(x - dx, y - dy, x + dx, y + dy), width, height


@pytest.mark.parametrize("case", CASES, ids=named)
def test_recorded_crops(case: dict[str, Any]) -> None:
    found = crop_square(box_of(case), case["expand_ratio"], case["w"], case["h"])
    assert list(found) == case["crop_xyxy"]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_recorded_masks(case: dict[str, Any]) -> None:
    found = mask_box(box_of(case), case["w"], case["h"], case["mask_area"])
    assert (None if found is None else list(found)) == case["mask_box_xyxy"]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_recorded_sizes(case: dict[str, Any]) -> None:
    assert list(video_size(case["w"], case["h"], 512, 64)) == case["resized_wh"]


@given(faces_in_pictures(), st.floats(0.05, 1.0))
def test_a_crop_is_square_inside_and_holds_the_centre(face: tuple[Box, int, int], ratio: float) -> None:
    box, width, height = face
    left, top, right, bottom = crop_square(box, ratio, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert abs((right - left) - (bottom - top)) <= 1
    x, y = box.centre
    assert left - 0.5 <= x <= right + 0.5
    assert top - 0.5 <= y <= bottom + 0.5


@given(faces_in_pictures())
def test_a_crop_is_the_largest_that_fits(face: tuple[Box, int, int]) -> None:
    box, width, height = face
    room = box.expanded(0.18).clipped(width, height)
    left, _, right, _ = crop_square(box, 0.18, width, height)
    assert abs((right - left) - min(room.width, room.height)) <= 1


@given(sides, sides, st.integers(4, 16), st.sampled_from([2, 64]))
def test_sizes_are_multiples_near_the_aspect(width: int, height: int, step: int, multiple: int) -> None:
    short = step * 64
    found = video_size(width, height, short, multiple)
    assert min(found) == short
    assert all(side % multiple == 0 for side in found)
    exact = max(width, height) * short / min(width, height)
    assert abs(max(found) - exact) <= multiple / 2


@given(boxes(), st.floats(0.1, 10), st.floats(0.1, 10), numbers, numbers)
def test_scaling_and_shifting_undo_themselves(box: Box, sx: float, sy: float, dx: float, dy: float) -> None:
    there = box.scaled(sx, sy).shifted(dx, dy)
    back = there.shifted(-dx, -dy).scaled(1 / sx, 1 / sy)
    assert back == pytest.approx(box, abs=1e-6)


@given(boxes(), boxes())
def test_overlap_is_shared_and_bounded(one: Box, other: Box) -> None:
    assert one.overlap(other) == other.overlap(one)
    assert 0 <= one.overlap(other) <= min(one.area, other.area) * (1 + 1e-9)


@given(boxes(), st.integers(1, 1000), st.integers(1, 1000))
def test_clipping_stays_inside(box: Box, width: int, height: int) -> None:
    inside = box.clipped(width, height)
    assert 0 <= inside.left <= inside.right <= width
    assert 0 <= inside.top <= inside.bottom <= height
    assert inside.area == pytest.approx(box.overlap(Box(0, 0, width, height)))


@given(boxes(), st.floats(0, 1))
def test_growing_keeps_the_centre(box: Box, ratio: float) -> None:
    grown = box.expanded(ratio)
    assert grown.centre == pytest.approx(box.centre, abs=1e-6)
    assert grown.width == pytest.approx(box.width * (1 + 2 * ratio))
