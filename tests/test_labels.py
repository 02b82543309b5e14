"""Marks that people see: large enough, long enough, readable on anything, inside the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_takes import face_range

from sonic_ext.errors import BadSetting
from sonic_ext.media.geometry import Box
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.provenance import labels
from sonic_ext.provenance.labels import CORNERS, VisibleLabel, label_warnings, lay_out
from sonic_ext.settings import Settings

SIZES = [(256, 256), (512, 512), (1024, 1024), (256, 448), (640, 256), (1024, 576), (258, 1024)]
NOWHERE = face_range(Box(0, 0, 0, 0))
MEDIA = Path(__file__).parent / "data" / "media"
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
    lines = ink_rows(VisibleLabel(Settings(), width, height, 25, NOWHERE), width, height)
    assert len(lines) in (1, 2)
    assert all(line >= 0.05 * min(width, height) for line in lines)
    assert all(line <= 0.1 * min(width, height) for line in lines)


@settings(max_examples=25)
@given(width=sides, height=sides, place=st.sampled_from(CORNERS))
def test_the_label_stays_inside_a_margin_of_its_corner(width: int, height: int, place: str) -> None:
    label = VisibleLabel(Settings(label_place=place), width, height, 25, NOWHERE)
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
    label = VisibleLabel(Settings(), 512, 512, 25, NOWHERE)
    label.draw(frame, 0)
    left, top, right, bottom = label.box.rounded()
    patch = frame[top:bottom, left:right]
    assert contrast(patch.max(), patch.min()) >= 4.5
    assert patch.max() >= 254


def test_the_font_draws_every_letter_that_a_label_may_hold() -> None:
    """Each in a shape of its own, but for letters that look alike in any font."""
    font = labels.font(24)
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
    label = VisibleLabel(chosen, width, height, 25, NOWHERE)
    touched = changed(label, white(width, height))
    margin = round(0.02 * min(width, height))
    assert not touched[:margin].any() and not touched[:, width - margin :].any()
    assert label.box.left >= margin
    assert label.box.bottom <= height - margin
    assert touched.sum() < 0.45 * width * height
    assert changed(label, np.zeros((height, width, 3), np.uint8)).any()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["roomy", "tight"])
def test_another_text_is_no_smaller(text: str, kind: str) -> None:
    """Capitals and Chinese are a twentieth of the short side high, whatever stands beside them."""
    type_ = getattr(labels._Typeface, kind)(26)
    for letters in ("AI", "生成", "合成"):
        assert np.count_nonzero(type_._drawn(letters).max(axis=1) >= 128) >= 26
    assert "".join(labels._fewest_lines(text, type_, 450)).replace(" ", "") == text.replace(" ", "")


def test_a_word_wider_than_the_frame_is_broken() -> None:
    type_ = labels._Typeface.roomy(26)
    lines = labels._fewest_lines("AI生成" + "W" * 34, type_, 450)
    assert len(lines) > 1
    assert max(map(type_.length, lines)) <= 450


def test_lines_are_broken_evenly() -> None:
    type_ = labels._Typeface.roomy(26)
    assert labels._fewest_lines(Settings().label_text, type_, 450, 200) == ["AI GENERATED", "人工智能生成"]


@pytest.mark.parametrize("fps", [25, 50, 24, 29.97])
def test_the_label_is_whole_for_two_seconds_and_gone_after_three(fps: float) -> None:
    label = VisibleLabel(Settings(label="start"), 256, 256, fps, NOWHERE)
    strengths = [label.strength(index) for index in range(round(4 * fps))]
    assert all(strength == 1 for index, strength in enumerate(strengths) if index / fps <= 2.4)
    assert all(strength == 0 for index, strength in enumerate(strengths) if index / fps > 3.05)
    assert strengths == sorted(strengths, reverse=True)
    assert len(set(strengths)) > 4


@pytest.mark.parametrize(("label", "expected"), [("throughout", 1), ("off", 0)])
def test_throughout_and_off(label: str, expected: int) -> None:
    drawn = VisibleLabel(Settings(label=label, label_off_reason="told in the credits"), 256, 256, 25, NOWHERE)
    assert {drawn.strength(index) for index in (0, 74, 10**6)} == {expected}
    assert changed(drawn, white(256, 256), 10**6).any() == bool(expected)


def test_fading_passes_through_the_middle() -> None:
    label = VisibleLabel(Settings(), 256, 256, 25, NOWHERE)
    frames = [white(256, 256) for _ in range(3)]
    for frame, index in zip(frames, (0, 69, 74), strict=True):
        label.draw(frame, index)
    means = [frame.mean() for frame in frames]
    assert means[0] < means[1] < means[2] < 255


@settings(max_examples=30)
@given(ground=st.integers(0, 255), strength=st.floats(0.0, 1.0))
def test_blending_is_what_alpha_says(ground: int, strength: float) -> None:
    patch = lay_out(Settings().label_text, "top_right", 256, 256, NOWHERE).patch
    frame = np.full((*patch.shape[:2], 3), ground, np.uint8)
    labels._Blend.of(patch, strength).onto(frame)
    alpha = patch[..., 3:].astype(float) / 255 * strength
    exact = patch[..., :3] * alpha + ground * (1 - alpha)
    assert np.abs(frame - exact).max() <= 1.5


def test_one_line_where_there_is_room() -> None:
    assert len(ink_rows(VisibleLabel(Settings(), 1024, 256, 25, NOWHERE), 1024, 256)) == 1
    assert len(ink_rows(VisibleLabel(Settings(), 256, 256, 25, NOWHERE), 256, 256)) == 2


# The place


def test_a_corner_that_is_asked_for_wins_over_the_face() -> None:
    """Also over one that fills the picture."""
    face, text = face_range(Box(0, 0, 512, 512)), Settings().label_text
    for place in CORNERS:
        free = lay_out(text, place, 512, 512, NOWHERE)
        assert lay_out(text, place, 512, 512, face).box == free.box
    assert len({lay_out(text, place, 512, 512, face).box for place in CORNERS}) == 4


@pytest.mark.parametrize(
    ("face", "corner"),
    [
        (Box(150, 150, 360, 400), "top_right"),
        (Box(240, 60, 470, 280), "bottom_right"),
        (Box(300, 60, 512, 480), "top_left"),
        (Box(0, 0, 512, 380), "bottom_right"),
        (Box(180, 0, 512, 300), "bottom_right"),
        (Box(300, 0, 512, 512), "top_left"),
    ],
)
def test_auto_takes_the_first_corner_that_is_free(face: Box, corner: str) -> None:
    text = Settings().label_text
    found, free = lay_out(text, "auto", 512, 512, face_range(face)), lay_out(text, corner, 512, 512, NOWHERE)
    assert found.box == free.box


def test_auto_sets_the_text_in_more_lines_where_corners_are_narrow() -> None:
    text, face = Settings().label_text, Box(238, 0, 512, 512)
    found, usual = (lay_out(text, place, 512, 512, face_range(face)).box for place in ("auto", "top_left"))
    assert found.overlap(face) == 0 < usual.overlap(face)
    assert (found.left, found.top) == (usual.left, usual.top)
    assert found.width < usual.width


def test_auto_sets_the_text_smaller_before_it_takes_a_strip() -> None:
    """Corners stay free for one line in tight type, not for two, nor for one with its usual room around."""
    usual, text = lay_out(Settings().label_text, "top_right", 512, 512, NOWHERE), Settings().label_text
    face = Box(0, 56, 512, 512)
    found = lay_out(text, "auto", 512, 512, face_range(face))
    assert found.box.overlap(face) == 0 < usual.box.overlap(face)
    assert (found.left > 0, found.top) == (True, usual.top)


@pytest.mark.parametrize(("face", "top"), [(Box(60, 40, 450, 512), 0), (Box(60, 0, 450, 472), 474)])
def test_auto_takes_a_strip_along_an_edge_before_it_covers_the_face(face: Box, top: int) -> None:
    found = lay_out(Settings().label_text, "auto", 512, 512, face_range(face))
    assert (found.box.left, found.box.top, found.box.right) == (0, top, 512)
    assert found.box.overlap(face) == 0
    assert label_warnings(Settings(), 512, 512, face_range(face)) == ()


@settings(max_examples=40)
@given(width=sides, height=sides, edges=st.tuples(*[st.floats(0, 1)] * 4), text=st.sampled_from(TEXTS))
def test_auto_covers_no_more_of_a_face_than_any_corner(
    width: int, height: int, edges: tuple[float, ...], text: str
) -> None:
    """And the text keeps its least size, inside the frame."""
    x, y = sorted(edges[:2]), sorted(edges[2:])
    face = Box(x[0] * width, y[0] * height, x[1] * width, y[1] * height)
    found = lay_out(text, "auto", width, height, face_range(face))
    others = [lay_out(text, place, width, height, face_range(face)) for place in CORNERS]
    assert found.box.overlap(face) <= min(other.box.overlap(face) for other in others)
    assert 0 <= found.box.left < found.box.right <= width
    assert 0 <= found.box.top < found.box.bottom <= height
    lit = (found.patch[..., 0] > 128).any(axis=1)
    ink = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]]))))[::2]
    assert ink.min() >= 0.05 * min(width, height)


@pytest.mark.parametrize("resolution", [384, 512, 768])
@pytest.mark.parametrize("framing", ["crop", "whole"])
@pytest.mark.parametrize("name", ["portrait_01", "portrait_03", "portrait_05"])
def test_auto_on_portraits(name: str, framing: str, resolution: int) -> None:
    """Off the face where there is room; on a close-up a strip over the hairline, told of."""
    asked = Settings(framing=framing, min_resolution=resolution)
    scene = compose(read_portrait(MEDIA / f"{name}.jpg"), asked, 2)
    found = scene.face_range(1.0)
    label = VisibleLabel(asked, scene.width, scene.height, 25, found)
    fixed = VisibleLabel(Settings(label_place="top_right"), scene.width, scene.height, 25, found)
    covered, before = (each.box.overlap(scene.face.box) / scene.face.box.area for each in (label, fixed))
    warned = label_warnings(asked, scene.width, scene.height, found)
    if framing == "whole":
        assert (covered, label.box.overlap(found.moving), warned) == (0, 0, ())
    else:
        assert covered < 0.065 and before > 0.1
        assert label.box.bottom < scene.face.landmarks[10, 1] < scene.height / 2
        assert "covers" in warned[0] and "expand_ratio" in warned[0]


def test_the_advice_of_the_warning_helps() -> None:
    asked = Settings(framing="crop", expand_ratio=0.3)
    scene = compose(read_portrait(MEDIA / "portrait_03.jpg"), asked, 2)
    found = scene.face_range(1.0)
    label = VisibleLabel(asked, scene.width, scene.height, 25, found)
    assert label.box.overlap(found.talking) == 0
    assert label_warnings(asked, scene.width, scene.height, found) == ()


@pytest.mark.parametrize("motion", [1.0, 2.0])
def test_a_face_that_moves_more_needs_more_room(motion: float) -> None:
    scene = compose(read_portrait(MEDIA / "portrait_01.jpg"), Settings(), 2)
    rest, found = scene.face.box, scene.face_range(motion)
    assert found.moving.width == pytest.approx(rest.width * (1 + 0.44 * motion), rel=0.02)
    assert found.moving.top < rest.top < rest.bottom < found.talking.bottom < found.moving.bottom
    assert found.scaled(0.5, 0.5).moving.width == found.moving.width / 2
