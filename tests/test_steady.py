"""The jitter filter: tremble goes, everything else stays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sonic_ext.engines.preview.fields import Motion
from sonic_ext.engines.preview.render import Renderer
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import Scene, compose
from sonic_ext.media.steady import Steady
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"


@pytest.fixture(scope="module", params=["crop", "whole"])
def scene(request: pytest.FixtureRequest) -> Scene:
    settings = Settings(min_resolution=320, framing=request.param)
    return compose(read_portrait(MEDIA / "portrait_03.jpg"), settings, 2)


def moved(scene: Scene, x: float, y: float, degrees: float = 0.0) -> np.ndarray:
    """The picture turned about the face and shifted, by pixels right and down."""
    matrix = cv2.getRotationMatrix2D(tuple(map(float, scene.face.box.centre)), -degrees, 1.0)
    matrix[:, 2] += x, y
    size = scene.width, scene.height
    lanczos, border = cv2.INTER_LANCZOS4, cv2.BORDER_REPLICATE
    return cv2.warpAffine(scene.picture, matrix, size, flags=lanczos, borderMode=border)


def measured(scene: Scene, frames: list[np.ndarray]) -> np.ndarray:
    """Where the upper face lies in each frame, pixels [frames, 2]; found by OpenCV's own alignment."""
    box = scene.face.box
    left, top, right, bottom = box._replace(bottom=box.top + 0.6 * box.height).rounded()
    upper = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[top:bottom, left:right] for frame in frames]
    rest = cv2.cvtColor(np.array(scene.picture), cv2.COLOR_RGB2GRAY)[top:bottom, left:right]
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-5)
    found = []
    warp = np.eye(2, 3, dtype=np.float32)
    for frame in upper:
        _, warp = cv2.findTransformECC(rest, frame, warp.copy(), cv2.MOTION_TRANSLATION, stop, None, 5)
        found.append(warp[:, 2].copy())
    return np.array(found)


def energy(path: np.ndarray) -> float:
    return float(path.var(axis=0).sum())


def steadied(scene: Scene, frames: list[np.ndarray]) -> list[np.ndarray]:
    return list(Steady(scene.face.box).frames(iter(frames)))


def shaken(count: int) -> np.ndarray:
    """Pixels [count, 2], each within one of rest."""
    return np.random.default_rng(5).uniform(-1, 1, (count, 2))


def test_most_of_a_shake_goes(scene: Scene) -> None:
    frames = [moved(scene, x, y) for x, y in shaken(28)]
    before, after = (measured(scene, kind) for kind in (frames, steadied(scene, frames)))
    assert energy(after) < 0.4 * energy(before)
    assert energy(np.diff(after, axis=0)) < 0.12 * energy(np.diff(before, axis=0))


def test_the_shake_goes_from_a_moving_head_too(scene: Scene) -> None:
    """Measured against the motion without the shake."""
    drift = np.stack([np.linspace(-6, 6, 28), 3 * np.sin(np.arange(28) / 5)], axis=1)
    frames = [moved(scene, x, y) for x, y in drift + shaken(28)]
    before, after = (measured(scene, kind) - drift for kind in (frames, steadied(scene, frames)))
    assert energy(after) < 0.4 * energy(before)


def test_a_pan_and_a_nod_stay(scene: Scene) -> None:
    pan = [moved(scene, 1.5 * (step - 10), 0) for step in range(20)]
    assert np.abs(measured(scene, steadied(scene, pan)) - measured(scene, pan)).max() < 0.25
    swing = np.sin(2 * np.pi * np.arange(26) / 25)
    nod = [moved(scene, 0, 4 * s, 1.5 * s) for s in swing]
    assert np.abs(measured(scene, steadied(scene, nod)) - measured(scene, nod)).max() < 0.25


def test_a_turn_that_trembles_is_held_still(scene: Scene) -> None:
    """Pixels at the forehead's edge, 1.5° being about two of them."""
    turns = np.random.default_rng(1).uniform(-0.6, 0.6, 20)
    frames = [moved(scene, 0, 0, turn) for turn in turns]
    left, top, right, bottom = scene.face.box.rounded()
    upper = slice(top + 4, (top + bottom) // 2), slice(left + 4, right - 4)

    def flicker(kind: list[np.ndarray]) -> float:
        return float(np.std([frame[upper] for frame in kind], axis=0).mean())

    assert flicker(steadied(scene, frames)) < 0.75 * flicker(frames)


def test_a_still_video_is_the_same_to_the_bit(scene: Scene) -> None:
    for frame in steadied(scene, [scene.picture] * 11):
        assert np.array_equal(frame, scene.picture)


def test_noise_alone_moves_nothing(scene: Scene) -> None:
    noise = np.random.default_rng(2).normal(0, 2, (10, *scene.picture.shape))
    frames = [np.clip(scene.picture + one, 0, 255).astype(np.uint8) for one in noise]
    assert all(map(np.array_equal, steadied(scene, frames), frames))


def test_speaking_and_blinking_are_left_alone(scene: Scene) -> None:
    renderer = Renderer(scene.picture, scene.face.landmarks)
    frames = []
    for step in range(14):
        mix = np.zeros(len(Motion))
        jaw = 0.35 - 0.35 * np.cos(2 * np.pi * step / 6)
        mix[[Motion.REST, Motion.JAW, Motion.GAP]] = 1, jaw, jaw
        frames.append(np.empty_like(scene.picture))
        mix[Motion.BLINK] = float(step in (5, 6))
        renderer.draw(mix, frames[-1])
    assert not np.array_equal(frames[0], frames[3])
    assert all(map(np.array_equal, steadied(scene, frames), frames))


def test_a_still_background_stays_behind_a_trembling_head() -> None:
    scene = compose(read_portrait(MEDIA / "wide_threequarter.jpg"), Settings(min_resolution=320), 2)
    left, top, right, bottom = scene.face.box.expanded(0.3).rounded()
    frames = []
    for x, y in shaken(28):
        frame = scene.picture.copy()
        frame[top:bottom, left:right] = moved(scene, x, y)[top:bottom, left:right]
        frames.append(frame)
    after = steadied(scene, frames)
    far = slice(None), slice(0, scene.width // 2)
    assert all(np.array_equal(frame[far], scene.picture[far]) for frame in after)
    before, now = measured(scene, frames), measured(scene, after)
    assert energy(now) < 0.45 * energy(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 9, 10])
def test_as_many_frames_come_out_in_order(scene: Scene, count: int) -> None:
    frames = [np.clip(scene.picture.astype(int) + 3 * step, 0, 255).astype(np.uint8) for step in range(count)]
    after = steadied(scene, frames)
    assert len(after) == count
    assert [np.abs(a.astype(int) - b).mean() < 1 for a, b in zip(after, frames, strict=True)] == [
        True
    ] * count


def test_the_array_that_comes_in_may_be_reused(scene: Scene) -> None:
    frames = [moved(scene, x, y) for x, y in shaken(8)]

    def reusing() -> Iterator[np.ndarray]:
        held = np.empty_like(frames[0])
        for frame in frames:
            held[:] = frame
            yield held

    again = list(Steady(scene.face.box).frames(reusing()))
    assert all(map(np.array_equal, again, steadied(scene, frames)))


def test_frames_come_after_a_bounded_look_ahead(scene: Scene) -> None:
    taken = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(12):
            taken += 1
            yield scene.picture

    for given, _ in enumerate(Steady(scene.face.box, 4).frames(counted()), start=1):
        assert taken <= given + 4


def test_memory_does_not_grow_with_length() -> None:
    scene = compose(read_portrait(MEDIA / "portrait_01.jpg"), Settings(min_resolution=256), 2)
    kinds = [moved(scene, x, 0) for x in (0, 1)]

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in Steady(scene.face.box).frames(kinds[step % 2] for step in range(count)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(3)
    assert peak(60) < 1.05 * peak(15)
