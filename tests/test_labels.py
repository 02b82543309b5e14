"""Marks that people see: large enough, long enough, readable on anything, inside the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sonic_ext.errors import BadSetting
from sonic_ext.provenance import labels
from sonic_ext.provenance.labels import PreviewStamp, VisibleLabel, preview_size, render_label, render_stamp
from sonic_ext.settings import Settings

SIZES = [(256, 256), (512, 512), (1024, 1024), (256, 448), (640, 256), (1024, 576), (258, 1024)]
PLACES = ["top_right", "top_left", "bottom_right", "bottom_left"]
sides = st.integers(128, 640).map(lambda half: half * 2)


def white(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def changed(label: VisibleLabel, frame: np.ndarray, index: int = 0) -> np.ndarray:
    """Which pixels the label changes, bool [height, width]."""
    drawn = frame.copy()
    label.draw(drawn, index)
    return np.asarray((drawn != frame).any(axis=2))


def ink_rows(label: VisibleLabel, width: int, height: int) -> list[int]:
    """Heights of the lines of text, in pixels, as they show on black."""
    frame = np.zeros((height, width, 3), np.uint8)
    label.draw(frame, 0)
    lit = (frame.max(axis=2) > 128).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]])))
    return [int(end - start) for start, end in edges.reshape(-1, 2)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_text_is_a_twentieth_of_the_short_side(width: int, height: int) -> None:
    lines = ink_rows(VisibleLabel(Settings(), width, height, 25), width, height)
    assert len(lines) in (1, 2)
    assert all(line >= 0.05 * min(width, height) for line in lines)
    assert all(line <= 0.1 * min(width, height) for line in lines)


@settings(max_examples=25)
@given(width=sides, height=sides, place=st.sampled_from(PLACES))
def test_the_label_stays_inside_a_margin_of_its_corner(width: int, height: int, place: str) -> None:
    label = VisibleLabel(Settings(label_place=place), width, height, 25)
    touched = changed(label, white(width, height))
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    margin = round(0.02 * min(width, height))
    vertical = rows[0] if "top" in place else height - 1 - rows[-1]
    horizontal = columns[0] if "left" in place else width - 1 - columns[-1]
    assert (vertical, horizontal) == (margin, margin)
    assert touched.sum() < 0.2 * width * height
    assert min(rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]) >= margin


def contrast(light: float, dark: float) -> float:
    """WCAG contrast of two grey levels."""

    def luminance(level: float) -> float:
        share = level / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return (luminance(light) + 0.05) / (luminance(dark) + 0.05)


@pytest.mark.parametrize("ground", [0, 60, 128, 200, 255])
def test_the_text_is_readable_on_any_ground(ground: int) -> None:
    frame = np.full((512, 512, 3), ground, np.uint8)
    label = VisibleLabel(Settings(), 512, 512, 25)
    label.draw(frame, 0)
    patch = frame[label.top : label.top + label.height, label.left : label.left + label.width]
    assert contrast(patch.max(), patch.min()) >= 4.5
    assert patch.max() >= 254


def test_the_font_draws_every_letter_that_a_label_may_hold() -> None:
    """Each in a shape of its own, but for letters that look alike in any font."""
    font = labels._font(24)
    missing = bytes(font.getmask("\uffff"))
    legal = [chr(code) for code in range(0x21, 0x10000) if _is_legal(chr(code))]
    assert len(legal) > 7000
    assert [letter for letter in legal if letter != "　" and bytes(font.getmask(letter)) == missing] == []


def _is_legal(letter: str) -> bool:
    try:
        Settings(label_text=f"AI生成{letter}")
    except BadSetting:
        return False
    return True


TEXTS = [
    "AI生成",
    "人工智能合成 · Студия Ωμεγα",
    "AI 合成 made by Ёжик & Söhne (2026) –™",
    "AI生成" + "W" * 34,
    "人工智能生成" * 3,
    "a b c d e f g h i j k l m n o p AI 生成",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_any_text_fits_any_frame(text: str, width: int, height: int) -> None:
    chosen = Settings(label_text=text)
    label = VisibleLabel(chosen, width, height, 25)
    touched = changed(label, white(width, height))
    margin = round(0.02 * min(width, height))
    assert not touched[:margin].any() and not touched[:, width - margin :].any()
    assert label.left >= margin
    assert label.top + label.height <= height - margin
    assert touched.sum() < 0.45 * width * height
    assert changed(label, np.zeros((height, width, 3), np.uint8)).any()


@pytest.mark.parametrize("text", TEXTS)
def test_another_text_is_no_smaller(text: str) -> None:
    """Capitals are a twentieth of the short side high, whatever stands beside them."""
    font = labels._font_of_height(26)
    assert np.count_nonzero(labels._drawn("AI", font).max(axis=1) >= 128) >= 26
    assert "".join(labels._lines(text, font, 200, 450)).replace(" ", "") == text.replace(" ", "")


def test_a_word_wider_than_the_frame_is_broken() -> None:
    font = labels._font_of_height(26)
    lines = labels._lines("AI生成" + "W" * 34, font, 200, 450)
    assert len(lines) > 1
    assert max(map(font.getlength, lines)) <= 450


def test_lines_are_broken_evenly() -> None:
    font = labels._font_of_height(26)
    assert labels._lines(Settings().label_text, font, 200, 450) == ["AI GENERATED", "人工智能生成"]


@pytest.mark.parametrize("fps", [25, 50, 24, 29.97])
def test_the_label_is_whole_for_two_seconds_and_gone_after_three(fps: float) -> None:
    label = VisibleLabel(Settings(label="start"), 256, 256, fps)
    strengths = [label.strength(index) for index in range(round(4 * fps))]
    assert all(strength == 1 for index, strength in enumerate(strengths) if index / fps <= 2.4)
    assert all(strength == 0 for index, strength in enumerate(strengths) if index / fps > 3.05)
    assert strengths == sorted(strengths, reverse=True)
    assert len(set(strengths)) > 4


@pytest.mark.parametrize(("label", "expected"), [("throughout", 1), ("off", 0)])
def test_throughout_and_off(label: str, expected: int) -> None:
    drawn = VisibleLabel(Settings(label=label, label_off_reason="told in the credits"), 256, 256, 25)
    assert {drawn.strength(index) for index in (0, 74, 10**6)} == {expected}
    assert changed(drawn, white(256, 256), 10**6).any() == bool(expected)


def test_fading_passes_through_the_middle() -> None:
    label = VisibleLabel(Settings(), 256, 256, 25)
    frames = [white(256, 256) for _ in range(3)]
    for frame, index in zip(frames, (0, 69, 74), strict=True):
        label.draw(frame, index)
    means = [frame.mean() for frame in frames]
    assert means[0] < means[1] < means[2] < 255


@settings(max_examples=30)
@given(ground=st.integers(0, 255), strength=st.floats(0.0, 1.0))
def test_blending_is_what_alpha_says(ground: int, strength: float) -> None:
    patch = render_label(256, 256, Settings().label_text)
    frame = np.full((*patch.shape[:2], 3), ground, np.uint8)
    labels._Blend.of(patch, strength).onto(frame)
    alpha = patch[..., 3:].astype(float) / 255 * strength
    exact = patch[..., :3] * alpha + ground * (1 - alpha)
    assert np.abs(frame - exact).max() <= 1.5


def test_one_line_where_there_is_room() -> None:
    assert len(ink_rows(VisibleLabel(Settings(), 1024, 256, 25), 1024, 256)) == 1
    assert len(ink_rows(VisibleLabel(Settings(), 256, 256, 25), 256, 256)) == 2


# Previews


@settings(max_examples=50)
@given(width=sides, height=sides)
def test_previews_are_small_even_and_of_the_same_shape(width: int, height: int) -> None:
    small = preview_size(width, height)
    assert min(small) <= 256
    assert not small[0] % 2
    assert not small[1] % 2
    assert abs(small[0] / small[1] - width / height) < 0.03 * width / height


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("ground", [0, 128, 255])
def test_every_part_of_every_preview_frame_is_stamped(width: int, height: int, ground: int) -> None:
    stamp = PreviewStamp(width, height)
    source = np.full((height, width, 3), ground, np.uint8)
    frame = stamp.frame(source)
    assert frame.shape == (stamp.height, stamp.width, 3)
    assert (source == ground).all()
    marked = np.abs(frame.astype(int) - ground).max(axis=2) > 40
    # No third of the short side can be cut out clean.
    side = min(frame.shape[:2]) // 3
    for top in range(0, stamp.height - side + 1, side):
        for left in range(0, stamp.width - side + 1, side):
            assert marked[top : top + side, left : left + side].mean() > 0.03


def test_the_stamp_is_never_drawn_twice_on_one_frame() -> None:
    stamp = PreviewStamp(300, 300)
    source = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert np.array_equal(stamp.frame(source), stamp.frame(source))
    assert Image.fromarray(render_stamp(256, 256)).mode == "RGBA"
