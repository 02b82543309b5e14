"""What shows between parted lips: teeth, tongue and a dark cavity, in the portrait's own light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sonic_ext.engines.preview.fields import Motion
from sonic_ext.engines.preview.render import Renderer
from sonic_ext.media.face import LandmarkTracker
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB and its landmarks."""
    scene = compose(read_portrait(MEDIA / "portrait_05.jpg"), Settings(framing="crop"), 2)
    return scene.picture, scene.face.landmarks


def drawn(renderer: Renderer, picture: np.ndarray, **motions: float) -> tuple[np.ndarray, np.ndarray]:
    """A frame, and what of it is new, bool [h, w]: neither of the two lips."""
    mix = np.zeros(len(Motion))
    mix[Motion.REST] = 1.0
    for name, value in motions.items():
        mix[Motion[name]] = value
    frame = np.empty_like(picture)
    renderer.draw(mix, frame)
    part = renderer._mouth_part(mix)
    _, over = renderer._upper.draw(picture, mix, part)
    _, under = renderer._lower.draw(picture, mix, part)
    inside = np.zeros(picture.shape[:2], bool)
    part.cut(inside)[:] = over + under < 0.05
    return frame.astype(int), inside


def test_a_vowel_shows_teeth_over_a_dark_warm_cavity_and_rounded_lips_hide_them(
    portrait: tuple[np.ndarray, np.ndarray],
) -> None:
    renderer = Renderer(*portrait)
    frame, inside = drawn(renderer, portrait[0], JAW=0.9, GAP=0.9, UPPER=0.2)
    rows = np.flatnonzero(inside.any(axis=1))
    third = len(rows) // 3
    columns = np.flatnonzero(inside.any(axis=0))
    middle = np.s_[columns[0] + len(columns) // 3 : columns[-1] - len(columns) // 3]
    light = frame.sum(axis=2) / 3
    top, heart = light[rows[2 : third + 1], middle], light[rows[third + 4 : 2 * third], middle]
    assert top.max() > 2.5 * np.median(heart)
    assert np.median(heart) < 60
    red, green, blue = np.median(frame[rows[third + 4 : 2 * third], middle].reshape(-1, 3), axis=0)
    assert red > 1.5 * green and red > 1.5 * blue
    rounded, hole = drawn(renderer, portrait[0], JAW=0.5, GAP=0.5, ROUND=0.9)
    assert hole.sum() > 100
    assert np.percentile(rounded.sum(axis=2)[hole] / 3, 98) < 0.6 * top.max()


def test_teeth_get_darker_towards_the_corners(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    layer = Renderer(*portrait)._interior.upper
    row = layer[int(np.argmax(layer[..., 3].sum(axis=1)))]
    shown = np.flatnonzero(row[:, 3] > 250)
    light = row[shown, :3].sum(axis=1)
    edge = len(shown) // 6
    assert max(light[:edge].mean(), light[-edge:].mean()) < 0.6 * light[2 * edge : -2 * edge].mean()


def test_a_raised_tongue_shows(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    renderer = Renderer(*portrait)
    low, inside = drawn(renderer, portrait[0], JAW=0.5, GAP=0.5)
    high, _ = drawn(renderer, portrait[0], JAW=0.5, GAP=0.5, TONGUE=1.0)
    changed = np.abs(high - low).sum(axis=2) > 8
    around = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))) > 0
    assert changed.sum() > 30 and not (changed & ~around).any()
    rows = np.flatnonzero(inside.any(axis=1))
    inside[rows[len(rows) // 2] :] = False  # it comes up from below
    assert high[inside & changed].mean() > low[inside & changed].mean() + 5


def test_grey_faces_have_no_red_flesh(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(portrait[0], cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    frame, inside = drawn(Renderer(grey, portrait[1]), grey, JAW=0.9, GAP=0.9, UPPER=0.2)
    assert inside.sum() > 200
    assert np.ptp(frame[inside], axis=1).max() <= 6


def test_teeth_of_the_portrait_are_kept_and_none_stays_on_shut_lips(
    portrait: tuple[np.ndarray, np.ndarray],
) -> None:
    smiling, inside = drawn(Renderer(*portrait), portrait[0], JAW=0.35, GAP=0.35, SPREAD=0.8, UPPER=0.3)
    smiling = smiling.astype(np.uint8)
    smiling[inside] = (40, 220, 40)  # teeth that nobody would draw
    points, _ = LandmarkTracker().track(smiling, portrait[1])
    again = Renderer(smiling, points)

    def green(frame: np.ndarray) -> int:
        return int((frame[..., 1] - np.maximum(frame[..., 0], frame[..., 2]) > 40).sum())

    parted, _ = drawn(again, smiling, JAW=0.35, GAP=0.35, SPREAD=0.3, UPPER=0.3)
    shut, _ = drawn(again, smiling, JAW=0.08, PRESS=1.0)
    assert green(parted) > 0.25 * green(smiling.astype(int))
    assert green(shut) < 0.04 * green(smiling.astype(int))


def test_thin_openings_of_large_mouths_are_drawn() -> None:
    scene = compose(
        read_portrait(MEDIA / "portrait_05.jpg"), Settings(framing="crop", min_resolution=1024), 2
    )
    interior = Renderer(scene.picture, scene.face.landmarks)._interior
    still = np.zeros(2)
    for rows in range(1, 24):
        inside = np.zeros(interior.upper.shape[:2], np.float32)
        inside[100 : 100 + rows, 50:150] = 1.0
        shown = interior.draw(inside, still, still, still, 0.0)
        assert shown[100 : 100 + rows, 60:140].min() >= 0.0
        assert shown[:99].max() == 0.0
