"""Scenes: size, framing, where the face lands, and the preflight drawing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sonic_ext.errors import BadPortrait, Cancelled
from sonic_ext.media.face import find_face
from sonic_ext.media.geometry import Box, crop_square
from sonic_ext.media.image import Portrait, from_array, read_portrait
from sonic_ext.media.scene import MAX_ASPECT, compose, draw_preflight, head_view
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data/media"


@pytest.fixture(scope="module")
def plain() -> Portrait:
    return read_portrait(MEDIA / "portrait_01.jpg")


@pytest.fixture(scope="module")
def wide() -> Portrait:
    return read_portrait(MEDIA / "wide_threequarter.jpg")


@pytest.mark.parametrize(("multiple", "size"), [(2, (820, 512)), (64, (832, 512))])
def test_whole_keeps_the_picture(wide: Portrait, multiple: int, size: tuple[int, int]) -> None:
    scene = compose(wide, Settings(framing="whole"), multiple)
    assert (scene.width, scene.height) == size
    assert scene.whole
    assert scene.crop == (0, 0, 1280, 800)
    face, _ = find_face(wide.rgb)
    sx, sy = size[0] / 1280, size[1] / 800
    assert np.allclose(scene.face.landmarks[:, :2], face.landmarks[:, :2] * (sx, sy), atol=0.01)
    assert scene.face.box == pytest.approx(face.box.scaled(sx, sy))


@pytest.mark.parametrize("resolution", [256, 384, 512, 1024])
def test_crop_is_a_square_around_the_face(wide: Portrait, resolution: int) -> None:
    settings = Settings(framing="crop", min_resolution=resolution, expand_ratio=0.3)
    scene = compose(wide, settings, 2)
    assert scene.picture.shape == (resolution, resolution, 3)
    face, _ = find_face(wide.rgb)
    assert scene.crop == crop_square(face.box, 0.3, 1280, 800)
    inside = scene.face.box
    assert 0 <= inside.left < inside.right <= resolution
    assert inside.centre == pytest.approx((resolution / 2, resolution / 2), abs=0.02 * resolution)
    assert not scene.whole


def test_the_face_lies_on_its_pixels_after_cropping(plain: Portrait) -> None:
    """Looking again in the composed picture finds the points where the scene says they are."""
    scene = compose(plain, Settings(framing="crop"), 64)
    again, _ = find_face(scene.picture)
    error = np.abs(again.landmarks[:, :2] - scene.face.landmarks[:, :2]).mean()
    assert error < 0.012 * scene.face.box.height


def test_the_right_size_is_left_alone(plain: Portrait) -> None:
    scene = compose(plain, Settings(min_resolution=768), 64)
    assert np.array_equal(scene.picture, plain.rgb)
    with pytest.raises(ValueError, match="read-only"):
        scene.picture[0, 0] = 0


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("framing", ["whole", "crop"])
def test_a_picture_on_its_side_is_set_upright(plain: Portrait, quarters: int, framing: str) -> None:
    settings = Settings(framing=framing)
    turned = from_array(np.ascontiguousarray(np.rot90(plain.rgb, -quarters)))
    scene, expected = compose(turned, settings, 2), compose(plain, settings, 2)
    assert any("set upright" in warning for warning in scene.warnings)
    assert scene.quarters == quarters
    assert abs(scene.face.roll) < 10
    assert scene.portrait.pixel_sha256 == turned.pixel_sha256
    assert np.array_equal(scene.portrait.rgb, plain.rgb)
    lips = [each.face.landmarks[[13, 14], :2].mean(axis=0) for each in (scene, expected)]
    assert np.abs(lips[0] - lips[1]).max() < 18
    assert head_view(scene, 512, settings.expand_ratio).picture.shape == (512, 512, 3)


@pytest.mark.parametrize("framing", ["whole", "crop"])
def test_a_tight_square_has_no_more_room_than_asked_for(plain: Portrait, framing: str) -> None:
    """Networks that learned from faces of one size are shown no smaller ones."""
    scene = compose(plain, Settings(framing=framing), 2)
    roomy, tight = head_view(scene, 128, 0.2), head_view(scene, 128, 0.2, tight=True)
    assert tight.face.box.width == pytest.approx(128 / 1.4, rel=0.05)
    size = scene.width, scene.height
    if framing == "whole":
        assert tight.rim(*size) < 0.08
        assert roomy.face.box.width < 0.8 * tight.face.box.width
        assert roomy.rim(*size) == 0.12


@pytest.mark.parametrize(
    ("face", "box", "rim"),
    [
        (Box(9, 20, 80, 80), Box(10, 10, 60, 60), 0.09),
        (Box(30, 30, 70, 70), Box(10, 10, 60, 60), 0.12),
        (Box(-4, 0, 100, 104), Box(10, 10, 60, 60), 0.04),  # the face takes all of it
        (Box(20, 2, 80, 80), Box(10, 0, 60, 50), 0.12),  # at the scene's upper edge nothing fades
        (Box(1, 20, 80, 80), Box(0, 10, 50, 60), 0.12),
        (Box(20, 20, 99, 99), Box(20, 20, 80, 80), 0.12),
        (Box(0, 0, 100, 100), Box(0, 0, 80, 80), 0.12),
    ],
)
def test_a_square_fades_out_before_the_face_begins(plain: Portrait, face: Box, box: Box, rim: float) -> None:
    view = head_view(compose(plain, Settings(), 2), 100, 0.2, tight=True)
    view = replace(view, face=replace(view.face, box=face), box=box)
    assert view.rim(80, 80) == pytest.approx(rim)


def test_what_was_placed_by_hand_stays_as_it_lies(plain: Portrait) -> None:
    turned = from_array(np.ascontiguousarray(np.rot90(plain.rgb)))
    scene = compose(turned, Settings(mouth=(400, 440, 420, 360), eyes=(300, 440, 340, 330)), 2)
    assert (scene.quarters, scene.face.by_hand) == (0, True)
    assert scene.face.roll < -52


def test_a_box_by_hand_is_turned_along(plain: Portrait) -> None:
    box = find_face(plain.rgb)[0].box
    turned = from_array(np.ascontiguousarray(np.rot90(plain.rgb)))
    scene = compose(turned, Settings(face_box=box.turned(1, 768, 768), min_resolution=768), 2)
    assert scene.face.box == pytest.approx(box)


def test_warnings_are_gathered(wide: Portrait) -> None:
    noted = Portrait(
        wide.rgb, wide.path, wide.data, wide.sha256, wide.pixel_sha256, wide.media_type, ("odd",)
    )
    scene = compose(noted, Settings(), 2)
    assert scene.warnings[0] == "odd"
    assert "turned" in scene.warnings[1]


def test_settings_place_the_face(plain: Portrait) -> None:
    settings = Settings(face_box=(200, 150, 560, 540), mouth=(360, 430, 440, 430), eyes=(338, 310, 453, 306))
    scene = compose(plain, settings, 2)
    assert scene.face.by_hand
    assert scene.face.box == pytest.approx(Box(200, 150, 560, 540).scaled(2 / 3, 2 / 3))
    assert np.allclose(scene.face.landmarks[61, :2], (240, 286.67), atol=0.5)


def test_a_strip_is_not_kept_whole(plain: Portrait) -> None:
    strip = np.full((400, 2000, 3), 90, np.uint8)
    strip[:, 800:1200] = plain.rgb[150:550, 184:584]
    with pytest.raises(BadPortrait, match=f"5.0 times.*limit is {MAX_ASPECT:g}") as caught:
        compose(from_array(strip), Settings(), 2)
    assert "framing=crop" in caught.value.hint
    assert compose(from_array(strip), Settings(framing="crop"), 2).picture.shape == (512, 512, 3)


def test_composing_can_be_stopped(plain: Portrait) -> None:
    def stop(stage: Stage, done: int, total: int, detail: str = "") -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        compose(plain, Settings(), 2, stop)


# The drawing


def test_the_preflight_drawing_shows_box_lips_and_frame(plain: Portrait) -> None:
    face, _ = find_face(plain.rgb)
    drawn = draw_preflight(plain, face, Box(200, 160, 580, 540))
    assert drawn.shape == plain.rgb.shape
    assert drawn.dtype == np.uint8
    changed = (drawn != plain.rgb).any(axis=2)
    left, top, right, bottom = face.box.rounded()
    assert changed[top + 20 : bottom - 20, left - 1 : left + 2].any(axis=1).mean() > 0.95
    assert changed[bottom - 1 : bottom + 2, left + 5 : right - 5].any(axis=0).mean() > 0.95
    assert changed[540 - 1 : 540 + 2, 205:575].any(axis=0).mean() > 0.95
    x, y = (int(value) for value in face.landmarks[0, :2])
    assert changed[y - 3 : y + 4, x - 3 : x + 4].any()
    assert not changed[:100].any()
    assert changed.mean() < 0.1


def test_a_whole_picture_has_no_frame_drawn(plain: Portrait) -> None:
    face, _ = find_face(plain.rgb)
    assert np.array_equal(draw_preflight(plain, face, Box(0, 0, 768, 768)), draw_preflight(plain, face))


def test_a_small_portrait_is_enlarged_for_its_drawing(plain: Portrait) -> None:
    small = from_array(np.ascontiguousarray(plain.rgb[::6, ::6]))
    face, _ = find_face(small.rgb)
    drawn = draw_preflight(small, face)
    assert drawn.shape == (512, 512, 3)


def test_a_label_stays_in_the_picture(plain: Portrait) -> None:
    """A box that fills the picture leaves no room above: the plate is drawn inside."""
    face, _ = find_face(plain.rgb, box=(0, 0, 768, 768))
    drawn = draw_preflight(plain, face)
    plate = (drawn == (46, 204, 113)).all(axis=2)
    assert plate.sum() > 2000
