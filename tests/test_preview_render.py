"""The renderer on real portraits: what rests stays, what parts parts cleanly, what shuts is shut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sonic_ext.engines.preview.anatomy import read_anatomy
from sonic_ext.engines.preview.fields import Motion, curve_height, head_fields, lip_fields
from sonic_ext.engines.preview.render import Renderer
from sonic_ext.engines.preview.warp import Grid, Rect, Warp
from sonic_ext.media.face import LandmarkTracker, mouth_opening
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import Scene, compose
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
PORTRAITS = ["portrait_01.jpg", "portrait_03.jpg", "portrait_05.jpg"]


def scene_of(name: str, size: int = 384) -> Scene:
    return compose(read_portrait(MEDIA / name), Settings(min_resolution=size), 2)


@pytest.fixture(scope="module", params=PORTRAITS)
def stage(request: pytest.FixtureRequest) -> tuple[Scene, Renderer]:
    scene = scene_of(request.param)
    return scene, Renderer(scene.picture, scene.face.landmarks)


def drawn(stage: tuple[Scene, Renderer], blink: float = 0.0, **motions: float) -> np.ndarray:
    scene, renderer = stage
    mix = np.zeros(len(Motion))
    mix[Motion.REST] = 1.0
    for name, value in motions.items():
        mix[Motion[name]] = value
    mix[Motion.BLINK] = blink
    out = np.empty_like(scene.picture)
    renderer.draw(mix, out)
    return out


def eye_outlines(renderer: Renderer) -> list[np.ndarray]:
    """Of both eyes, int32 [n, 2] in the picture's pixels."""
    anatomy = renderer.anatomy
    rims = (np.concatenate([eye.upper, eye.lower[::-1]]) for eye in anatomy.eyes)
    return [np.rint(anatomy.axes.to_picture(rim)).astype(np.int32) for rim in rims]


def opening(stage: tuple[Scene, Renderer], frame: np.ndarray) -> float:
    return mouth_opening(LandmarkTracker().track(frame, stage[0].face.landmarks)[0])


def test_a_face_at_rest_is_the_portrait_to_the_pixel(stage: tuple[Scene, Renderer]) -> None:
    assert np.array_equal(drawn(stage), stage[0].picture)


def test_pixels_away_from_the_head_stay_identical(stage: tuple[Scene, Renderer]) -> None:
    moved = {"JAW": 1.0, "GAP": 1.0, "YAW": 0.2, "PITCH": 0.1, "ROLL": 0.1, "SHIFT_X": 0.03, "BROW": 1.0}
    frame = drawn(stage, 0.7, **moved, TORSO_X=0.03, SWING=0.03, GAZE_X=0.05)
    scene = stage[0]
    changed = np.abs(frame.astype(int) - scene.picture).max(axis=2) > 0
    assert changed.any()
    face = scene.face.box
    above = int(face.top - 0.8 * face.height)
    corners = changed[: max(0, above)], changed[: scene.height // 8, : scene.width // 12]
    assert not any(corner.any() for corner in corners)
    assert not changed[: scene.height // 8, -(scene.width // 12) :].any()


def test_the_mouth_opens_with_the_jaw_as_a_fresh_look_finds(stage: tuple[Scene, Renderer]) -> None:
    found = [opening(stage, drawn(stage, JAW=jaw, GAP=jaw)) for jaw in (0.0, 0.3, 0.6, 0.9)]
    assert all(a < b for a, b in pairwise(found))
    assert found[2] > 0.12


def test_pressed_lips_are_shut(stage: tuple[Scene, Renderer]) -> None:
    shut = opening(stage, drawn(stage, JAW=0.06, GAP=0.0, PRESS=1.0))
    vowel = opening(stage, drawn(stage, JAW=0.5, GAP=0.5))
    assert shut < vowel / 4


def test_rounding_narrows_and_spreading_widens(stage: tuple[Scene, Renderer]) -> None:
    def width(**motions: float) -> float:
        frame = drawn(stage, JAW=0.3, GAP=0.3, **motions)
        points = LandmarkTracker().track(frame, stage[0].face.landmarks)[0]
        return float(np.linalg.norm(points[61, :2] - points[291, :2]))

    plain = width()
    assert width(ROUND=1.0) < 0.9 * plain
    assert width(SPREAD=1.0) > 1.02 * plain


def test_a_blink_shuts_the_eyes_and_leaves_the_rest_alone(stage: tuple[Scene, Renderer]) -> None:
    scene, renderer = stage
    magenta = scene.picture.copy()
    cv2.fillPoly(magenta, eye_outlines(renderer), (255, 0, 255))
    stained = scene, Renderer(magenta, scene.face.landmarks)

    def seen(blink: float) -> int:
        red, green, blue = np.moveaxis(drawn(stained, blink=blink).astype(int), -1, 0)
        return int(((red - green > 60) & (blue - green > 60)).sum())

    assert seen(0.0) > 2 * seen(0.6) > 0
    assert seen(1.0) < 0.04 * seen(0.0)
    changed = np.abs(drawn(stage, blink=1.0).astype(int) - scene.picture).max(axis=2) > 0
    for eye in renderer._eyes:
        eye.rect.cut(changed)[:] = False
    assert not changed.any()


def test_a_gaze_moves_the_irises_and_nothing_else(stage: tuple[Scene, Renderer]) -> None:
    scene, renderer = stage
    aside = np.abs(drawn(stage, GAZE_X=0.08).astype(int) - scene.picture).max(axis=2) > 0
    assert aside.any()
    outline = np.zeros(aside.shape, np.uint8)
    cv2.fillPoly(outline, eye_outlines(renderer), 1)
    assert not (aside & (cv2.dilate(outline, np.ones((5, 5))) == 0)).any()


def test_lips_meet_without_a_gap_at_the_corners() -> None:
    scene = scene_of("portrait_02.jpg")
    anatomy = read_anatomy(scene.face.landmarks)
    x = np.array([-1.2 * anatomy.left, -anatomy.left, anatomy.right, 1.2 * anatomy.right])
    seam = (curve_height(anatomy.upper_lip, x) + curve_height(anatomy.lower_lip, x)) / 2
    beyond = anatomy.axes.to_picture(np.stack([x, seam], axis=-1))[None]
    upper, lower = (lip_fields(anatomy, beyond, side) for side in (False, True))
    assert np.abs(upper[Motion.GAP]).max() < 1e-6
    assert np.abs(lower[Motion.GAP]).max() < 1e-6


def test_parted_lips_move_apart_by_the_same_field_that_opens_the_jaw() -> None:
    anatomy = read_anatomy(scene_of("portrait_02.jpg").face.landmarks)
    middle = anatomy.axes.origin[None, None]
    shared = head_fields(anatomy, middle)[Motion.JAW]
    upper, lower = (lip_fields(anatomy, middle, side)[Motion.GAP] for side in (False, True))
    assert (shared + lower)[0, 0, 1] > 0.6 * anatomy.gape
    assert (shared + upper)[0, 0, 1] < 0.0


def test_a_turned_face_stays_whole() -> None:
    scene = scene_of("wide_threequarter.jpg")
    stage = scene, Renderer(scene.picture, scene.face.landmarks)
    assert np.array_equal(drawn(stage), scene.picture)
    assert opening(stage, drawn(stage, JAW=0.6, GAP=0.6)) > opening(stage, drawn(stage)) + 0.08


def test_an_open_mouth_can_be_shut() -> None:
    scene = scene_of("portrait_05.jpg", 512)
    gaping = drawn((scene, Renderer(scene.picture, scene.face.landmarks)), JAW=0.5, GAP=0.5)
    points, _ = LandmarkTracker().track(gaping, scene.face.landmarks)
    again = Renderer(gaping, points)
    mix = np.zeros(len(Motion))
    mix[Motion.REST] = 1.0
    out = np.empty_like(gaping)
    again.draw(mix, out)
    stage = scene, again
    assert opening(stage, gaping) > 0.1
    assert opening(stage, out) < 0.4 * opening(stage, gaping)


@pytest.mark.parametrize("size", [(200, 120), (64, 64)])
def test_inverse_undoes_the_forward_field(size: tuple[int, int]) -> None:
    rect = Rect(10, 20, 10 + size[0], 20 + size[1])
    grid = Grid.over(rect, 4)
    points = grid.points()
    wave = np.sin(points / 40.0)[None]
    warp = Warp(grid, wave)
    sources = warp.sources(np.array([6.0]))
    inner = sources[20:-20, 20:-20].astype(float)
    forward = inner + 6.0 * np.sin(inner / 40.0)
    y, x = np.mgrid[rect.top : rect.bottom, rect.left : rect.right][:, 20:-20, 20:-20]
    assert np.abs(forward - np.stack([x, y], axis=-1)).max() < 0.15
