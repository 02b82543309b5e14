"""Middle frames by optical flow: better than averaging, still where nothing moved, whole everywhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sonic_ext.engines.preview.fields import Motion
from sonic_ext.engines.preview.render import Renderer
from sonic_ext.media.flow import FlowInterpolator
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
SIDE, PATCH = 192, 80


def texture(side: int, seed: int) -> np.ndarray:
    """uint8 [side, side, 3], coarse and fine detail as pictures have them."""
    drawn = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(drawn.standard_normal((side, side, 3)), (0, 0), blur) for blur in (2, 4, 8)]
    mixed = sum(layer / layer.std() for layer in layers)
    return np.clip(128 + 30 * mixed, 0, 255).astype(np.uint8)


BACK, FRONT = texture(SIDE, 1), texture(PATCH, 2)


def patched(x: int, y: int) -> np.ndarray:
    frame = BACK.copy()
    frame[y : y + PATCH, x : x + PATCH] = FRONT
    return frame


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(got.astype(float) - want).mean()))


def average(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.rint((first.astype(float) + second) / 2)


@pytest.mark.parametrize(("x", "y"), [(8, 0), (-8, 0), (0, 8), (0, -8), (4, 2)])
def test_a_moving_patch_is_drawn_half_way(x: int, y: int) -> None:
    """`x`, `y` are half of the way, so that the true middle frame is known."""
    first, want, second = (patched(56 + x * step, 56 + y * step) for step in (-1, 0, 1))
    got = FlowInterpolator().middle(first, second)
    assert psnr(got, want) > psnr(average(first, second), want) + 6


def test_what_a_moving_thing_uncovers_is_not_a_ghost() -> None:
    """Strips that only one frame shows come from that frame, not from a mix of both."""
    first, want, second = (patched(56 + step, 56) for step in (-8, 0, 8))
    got = FlowInterpolator().middle(first, second).astype(int)
    for strip in (slice(50, 55), slice(56 + PATCH + 2, 56 + PATCH + 7)):
        rows = slice(64, 56 + PATCH - 8)
        off = np.abs(got[rows, strip] - want[rows, strip]).mean()
        assert off < 0.5 * np.abs(average(first, second)[rows, strip] - want[rows, strip]).mean()


def test_equal_pixels_stay_to_the_bit() -> None:
    first, second = patched(48, 56), patched(64, 56)
    got = FlowInterpolator().middle(first, second)
    same = (first == second).all(axis=2)
    assert 0.5 < same.mean() < 1
    assert np.array_equal(got[same], first[same])


def test_equal_frames_give_themselves_in_new_memory() -> None:
    got = FlowInterpolator().middle(BACK, BACK.copy())
    assert np.array_equal(got, BACK)
    assert not np.shares_memory(got, BACK)


def test_noise_on_a_still_picture_is_no_motion() -> None:
    noise = np.random.default_rng(3).normal(0, 2, (2, *BACK.shape))
    first, second = np.clip(BACK + noise, 0, 255).astype(np.uint8)
    assert psnr(FlowInterpolator().middle(first, second), BACK) > psnr(average(first, second), BACK) - 1


@pytest.mark.parametrize("shape", [(64, 64, 3), (33, 47, 3), (17, 129, 3), (5, 9, 3)])
def test_any_size_is_taken(shape: tuple[int, int, int]) -> None:
    first = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    got = FlowInterpolator().middle(first, np.roll(first, 1, axis=1))
    assert got.shape == shape
    assert got.dtype == np.uint8


def test_frames_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        FlowInterpolator().middle(BACK, BACK[:-2])


def test_black_and_white_have_no_holes() -> None:
    """Every pixel of a sliding flat picture is explained: nothing falls to black."""
    first = np.full((96, 96, 3), 200, np.uint8)
    first[:, :40] = 90
    got = FlowInterpolator().middle(first, np.roll(first, 6, axis=1))
    assert got.min() >= 85
    assert got.max() <= 205


@pytest.mark.parametrize("name", ["portrait_01.jpg", "portrait_03.jpg", "portrait_05.jpg"])
def test_every_second_frame_of_a_talking_head_comes_back(name: str) -> None:
    scene = compose(read_portrait(MEDIA / name), Settings(min_resolution=384), 2)
    renderer = Renderer(scene.picture, scene.face.landmarks)

    def drawn(jaw: float, turn: float) -> np.ndarray:
        mix = np.zeros(len(Motion))
        mix[[Motion.REST, Motion.JAW, Motion.GAP, Motion.YAW, Motion.SHIFT_X]] = 1, jaw, jaw, turn, turn
        out = np.empty_like(scene.picture)
        renderer.draw(mix, out)
        return out

    frames = [drawn(0.1 + 0.5 * step, 0.01 * step) for step in (0, 0.5, 1)]
    flow = psnr(FlowInterpolator().middle(frames[0], frames[2]), frames[1])
    assert flow > psnr(average(frames[0], frames[2]), frames[1]) + 4
