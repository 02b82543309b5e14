"""The square for the network, and what is drawn in it back in the picture without a seam."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.media.face import find_face
from sonic_ext.media.geometry import Box, crop_square
from sonic_ext.media.image import Portrait, from_array, read_portrait
from sonic_ext.media.paste import FEATHER, Paste
from sonic_ext.media.scene import HeadView, Scene, compose, head_view
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
NAMES = ["portrait_01.jpg", "portrait_05.jpg", "wide_threequarter.jpg", "two_people.jpg"]


def viewed(portrait: Portrait, **changes: object) -> tuple[Scene, HeadView]:
    settings = Settings().with_values(changes)
    scene = compose(portrait, settings, 2)
    side = round(settings.min_resolution / 64) * 64
    return scene, head_view(scene, side, settings.expand_ratio)


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box.rounded()
    return picture[top:bottom, left:right]


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs(first.astype(int) - second)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return compose(read_portrait(MEDIA / "portrait_03.jpg"), Settings(min_resolution=384), 2).picture


BOX = Box(90, 80, 290, 284)


# Pasting


def test_the_pictures_own_square_changes_nothing(picture: np.ndarray) -> None:
    assert apart(Paste(picture, BOX).into(cut(picture, BOX)), picture).max() <= 1


def test_a_resized_square_fits_back_without_a_shift(picture: np.ndarray) -> None:
    """Twice as large and back; a shift of half a pixel would leave far more."""
    large = cv2.resize(cut(picture, BOX), (512, 512), interpolation=cv2.INTER_CUBIC)
    done = Paste(picture, BOX).into(large)
    off = apart(done, picture)
    assert off.mean() < 0.2
    shifted = Paste(picture, BOX.shifted(1, 0)).into(large)
    assert off.mean() < 0.2 * apart(shifted, picture).mean()


def test_outside_the_square_every_pixel_stays(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    changed = apart(Paste(picture, BOX).into(noise), picture).max(axis=2) > 0
    left, top, right, bottom = BOX.rounded()
    assert changed[top + 40 : bottom - 40, left + 40 : right - 40].mean() > 0.9
    changed[top + 1 : bottom - 1, left + 1 : right - 1] = False
    assert not changed.any()


def test_the_middle_is_the_frame_itself(picture: np.ndarray) -> None:
    """Noise says nothing of colours: its middle must come through but for the largest colour match."""
    frame = np.full((200, 204, 3), 140, np.uint8)
    frame[70:130, 70:130] = np.random.default_rng(1).integers(60, 200, (60, 60, 3))
    done = cut(Paste(picture, Box(90, 80, 294, 280)).into(frame), Box(90, 80, 294, 280))
    assert apart(done, frame)[70:130, 70:130].max() <= 7


def step_across_border(done: np.ndarray, picture: np.ndarray) -> float:
    """Mean levels by which the change of pixels jumps from each row or column to the next, at most."""
    change = cut(done, BOX.expanded(0.05)).astype(float) - cut(picture, BOX.expanded(0.05))
    rows, columns = (change.mean(axis=axis) for axis in (1, 0))
    return float(max(np.abs(np.diff(rows, axis=0)).max(), np.abs(np.diff(columns, axis=0)).max()))


@pytest.mark.parametrize("tint", [(4, 4, 4), (-4, 3, 5)])
def test_a_tint_leaves_neither_edge_nor_colour(picture: np.ndarray, tint: tuple[int, int, int]) -> None:
    tinted = np.clip(cut(picture, BOX).astype(int) + tint, 0, 255).astype(np.uint8)
    done = Paste(picture, BOX).into(tinted)
    assert step_across_border(done, picture) < 0.25
    assert apart(done, picture).mean() < 0.15
    plain = picture.copy()
    cut(plain, BOX)[:] = tinted
    assert step_across_border(plain, picture) > 2.0


def test_a_tint_that_changes_over_the_square_is_followed(picture: np.ndarray) -> None:
    slope = np.linspace(-4, 4, 200)[None, :, None]
    # Dithered, or the tint would have steps of its own.
    dither = np.random.default_rng(4).uniform(-0.5, 0.5, (204, 200, 1))
    tinted = np.clip(np.rint(cut(picture, BOX) + slope + dither), 0, 255).astype(np.uint8)
    done = Paste(picture, BOX).into(tinted)
    assert step_across_border(done, picture) < 0.4
    assert apart(done, picture).mean() < 0.5 * np.abs(slope).mean()


def test_the_colour_match_is_bounded_and_smooth_in_time(picture: np.ndarray) -> None:
    """Far too bright a frame is darkened by six levels, no more; a change of tint is followed slowly."""
    own = np.clip(cut(picture, BOX), 20, 200)
    ground = picture.copy()
    cut(ground, BOX)[:] = own
    middle = slice(60, 140), slice(60, 140)
    bright = cut(Paste(ground, BOX).into(own + np.uint8(30)), BOX)[middle].astype(int)
    assert np.all(bright - own[middle] >= 23)
    paste = Paste(ground, BOX)
    for _ in range(5):
        paste.into(own)
    flash = cut(paste.into(own + np.uint8(4)), BOX)[middle].astype(int)
    assert 3 <= (flash - own[middle]).mean() < 4
    for _ in range(40):
        after = cut(paste.into(own + np.uint8(4)), BOX)[middle].astype(int)
    assert np.abs(after - own[middle]).mean() < 0.3


def test_what_moves_in_the_rim_is_no_tint(picture: np.ndarray) -> None:
    frame = cut(picture, BOX).copy()
    frame[20:120, :30] = 255 - frame[20:120, :30]
    done = cut(Paste(picture, BOX).into(frame), BOX)
    assert apart(done, frame)[60:140, 60:180].mean() < 0.5


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_there_is_no_rim_at_the_pictures_edge(picture: np.ndarray, side: str) -> None:
    height, width = picture.shape[:2]
    edge = {"left": 0, "top": 0, "right": width, "bottom": height}[side]
    box = BOX._replace(**{side: edge})
    # The picture's own pixels with a line drawn along each side: it may show at the picture's edge only.
    frame = cut(picture, box).copy()
    lines = {"left": frame[40:-40, :2], "top": frame[:2, 40:-40]}
    lines |= {"right": frame[40:-40, -2:], "bottom": frame[-2:, 40:-40]}
    for line in lines.values():
        line[:] = 255 - line // 2
    done = cut(Paste(picture, box).into(frame), box)
    ends = {"left": done[40:-40, :2], "top": done[:2, 40:-40]}
    ends |= {"right": done[40:-40, -2:], "bottom": done[-2:, 40:-40]}
    assert apart(ends[side], lines[side]).max() <= 7
    for other in ends.keys() - {side}:
        assert apart(ends[other], lines[other]).mean() > 20


def test_a_square_that_is_the_picture_is_the_frame(picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    frame = np.random.default_rng(2).integers(0, 256, picture.shape, np.uint8)
    assert np.array_equal(Paste(picture, Box(0, 0, width, height)).into(frame), frame)


def test_the_picture_given_is_not_drawn_on(picture: np.ndarray) -> None:
    before = picture.copy()
    paste = Paste(picture, BOX)
    first = paste.into(np.zeros((64, 64, 3), np.uint8))
    second = paste.into(np.zeros((64, 64, 3), np.uint8))
    assert first is second
    assert np.array_equal(picture, before)


@pytest.mark.parametrize(
    "box", [Box(-1, 0, 50, 50), Box(0, 0, 50, 400), Box(20, 20, 20, 60), Box(30, 9, 20, 60)]
)
def test_a_place_outside_the_picture_is_refused(picture: np.ndarray, box: Box) -> None:
    with pytest.raises(ValueError, match="in a picture of 384 × 384"):
        Paste(picture, box)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.integers(1, 60), st.integers(1, 80))
def test_any_place_and_size_works(left: int, top: int, width: int, height: int, side: int) -> None:
    ground = np.full((100, 100, 3), 77, np.uint8)
    done = Paste(ground, Box(left, top, left + width, top + height)).into(
        np.full((side, side, 3), 80, np.uint8)
    )
    assert done.shape == ground.shape
    assert 77 <= done.min() <= done.max() <= 80


# The square that the network draws


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resolution", [256, 500])
def test_the_head_is_a_square_of_the_portraits_pixels(name: str, resolution: int) -> None:
    portrait = read_portrait(MEDIA / name)
    scene, view = viewed(portrait, min_resolution=resolution)
    side = {256: 256, 500: 512}[resolution]
    assert view.picture.shape == (side, side, 3)
    assert not view.picture.flags.writeable
    assert view.box is not None
    assert tuple(view.box) == view.box.rounded()
    face, _ = find_face(portrait.rgb)
    # Room of 0.18 on each side, and around that the rim in which it fades.
    ratio = ((1 + 2 * 0.18) / (1 - 2 * FEATHER) - 1) / 2
    square = Box(*crop_square(face.box, ratio, portrait.width, portrait.height))
    sx, sy = scene.width / portrait.width, scene.height / portrait.height
    assert np.abs(np.subtract(view.box, square.scaled(sx, sy))).max() <= 0.5 + 1e-6
    # What the square shows is what lies in its place in the scene, up to the resampling.
    small = cv2.resize(
        view.picture, (int(view.box.width), int(view.box.height)), interpolation=cv2.INTER_AREA
    )
    assert apart(small, cut(scene.picture, view.box)).mean() < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_the_face_lies_on_its_pixels_in_the_view(name: str) -> None:
    scene, view = viewed(read_portrait(MEDIA / name))
    assert view.box is not None
    sx, sy = view.box.width / 512, view.box.height / 512
    back = view.face.scaled(sx, sy, view.box.left, view.box.top)
    assert np.allclose(back.landmarks[:, :2], scene.face.landmarks[:, :2], atol=0.01)
    again, _ = find_face(view.picture)
    assert np.abs(again.landmarks[:, :2] - view.face.landmarks[:, :2]).mean() < 0.02 * view.face.box.height


def test_a_face_at_the_pictures_edge_has_its_square_there() -> None:
    portrait = read_portrait(MEDIA / "portrait_01.jpg")
    left, _, right, bottom = find_face(portrait.rgb)[0].box.expanded(0.03).rounded()
    near = from_array(np.ascontiguousarray(portrait.rgb[: bottom + 5, left : right + 300]))
    scene, view = viewed(near)
    assert view.box is not None
    assert view.box.left == 0
    assert view.picture.shape == (512, 512, 3)
    assert apart(Paste(scene.picture, view.box).into(view.picture), scene.picture).mean() < 1


def test_a_crop_is_its_own_view() -> None:
    scene, view = viewed(read_portrait(MEDIA / "portrait_01.jpg"), framing="crop")
    assert vars(view) == vars(HeadView(scene.picture, scene.face, None, scene.crop))  # the very arrays


def test_a_crop_of_another_size_is_drawn_at_the_networks() -> None:
    scene, view = viewed(read_portrait(MEDIA / "portrait_01.jpg"), framing="crop", min_resolution=500)
    assert scene.picture.shape == (500, 500, 3)
    assert view.picture.shape == (512, 512, 3)
    assert view.box == (0, 0, 500, 500)
    small = cv2.resize(view.picture, (500, 500), interpolation=cv2.INTER_AREA)
    assert apart(small, scene.picture).mean() < 1


def test_a_small_portrait_is_enlarged_and_nothing_is_made_up() -> None:
    portrait = read_portrait(MEDIA / "portrait_01.jpg")
    small = from_array(np.ascontiguousarray(portrait.rgb[::6, ::6]))
    scene, view = viewed(small, expand_ratio=1.0)
    assert view.box is not None
    assert view.box.left >= 0 and view.box.top >= 0
    assert view.box.right <= scene.width and view.box.bottom <= scene.height
    assert view.picture.shape == (512, 512, 3)
