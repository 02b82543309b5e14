"""No tear and no fold: what is drawn stays a smooth picture of a face, whatever is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sonic_ext.engines.preview.engine import PreviewAnimation, PreviewEngine, mix_motions
from sonic_ext.engines.preview.fields import Motion, head_fields
from sonic_ext.engines.preview.idle import move_head
from sonic_ext.engines.preview.limits import Limits
from sonic_ext.engines.preview.render import Renderer
from sonic_ext.engines.preview.speech import MouthTrack
from sonic_ext.engines.preview.warp import Rect
from sonic_ext.media.audio import read_speech
from sonic_ext.media.face import LandmarkTracker
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import Scene, compose, surroundings
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
PORTRAITS = [f"portrait_0{number}.jpg" for number in range(1, 6)]
STEEPEST = 0.6
"""Pixels of displacement from one pixel to the next."""


@cache
def prepared(name: str, framing: str) -> tuple[Scene, Renderer, Limits]:
    scene = compose(read_portrait(MEDIA / name), Settings(min_resolution=320, framing=framing), 2)
    picture, left, top = surroundings(scene, 80)
    view = Rect(left, top, left + scene.width, top + scene.height)
    renderer = Renderer(picture, scene.face.scaled(1.0, 1.0, left, top).landmarks, view)
    return scene, renderer, Limits(renderer.anatomy, (picture.shape[1], picture.shape[0]))


def skin(renderer: Renderer, rect: Rect) -> np.ndarray:
    """Face and neck of the portrait without lips and what is near them, bool [h, w] of a rectangle."""
    anatomy = renderer.anatomy
    unit, m = anatomy.unit, anatomy.mouth
    neck = np.array([[-0.7, -0.3], [0.7, -0.3], [0.7, 0.8], [-0.7, 0.8]]) * unit + [0, anatomy.chin]
    angle = np.linspace(0, 2 * np.pi, 40)
    across = np.where(np.cos(angle) > 0, anatomy.right, anatomy.left) * 1.2 * np.cos(angle)
    down = np.sin(angle) * (0.25 * m + max(-anatomy.lip_top, anatomy.lip_bottom))
    lips = np.stack([across, down], axis=-1)
    mask = np.zeros((rect.bottom, rect.right), np.uint8)
    for outline, value in ((anatomy.oval, 1), (neck, 1), (lips, 0)):
        cv2.fillPoly(mask, [np.rint(anatomy.axes.to_picture(outline)).astype(np.int32)], value)
    return rect.cut(mask) > 0


def steepest(renderer: Renderer, mix: np.ndarray) -> float:
    """The largest change of what is drawn from pixel to pixel, in face and neck of a frame."""
    worst = 0.0
    upper, lower = renderer._upper.warp, renderer._lower.warp
    for warp, side in ((renderer._head, 0), (upper, -1), (lower, 1)):
        sources = warp.sources(mix)
        rect = warp.rect
        y, x = np.mgrid[rect.top : rect.bottom, rect.left : rect.right]
        moved = sources - np.stack([x, y], axis=-1)
        steps = np.maximum(
            np.abs(np.diff(moved, axis=0)).max(-1)[:, :-1], np.abs(np.diff(moved, axis=1)).max(-1)[:-1]
        )
        inside = cv2.remap(
            skin(renderer, rect).astype(np.float32),
            (sources - [rect.left, rect.top]).astype(np.float32),
            None,
            cv2.INTER_NEAREST,
        )[:-1, :-1]
        if side:  # only where this lip is drawn: on its own side of the line between the lips
            face = renderer.anatomy.axes.to_face(sources.astype(float))[:-1, :-1]
            seam = np.interp(face[..., 0], *renderer.anatomy.upper_lip.T)
            inside = inside * (np.sign(face[..., 1] - seam) == side)
        else:  # the lips' own warps are drawn over it
            mouth = renderer._mouth_part(mix).relative(rect)
            mouth.cut(inside)[:] = 0
        worst = max(worst, float((steps * inside).max()))
    return worst


def voice(rng: np.random.Generator, count: int) -> MouthTrack:
    """The wildest mouth that a reader may give."""
    names = {"jaw": 1.0, "rounding": 1.0, "spread": 1.0, "press": 1.0, "energy": 1.0, "speaking": 1.0}
    return MouthTrack(
        **{name: rng.uniform(0, most, count).astype(np.float32) for name, most in names.items()},
        upper=rng.uniform(-1, 1, count).astype(np.float32),
        lower=rng.uniform(-1, 1, count).astype(np.float32),
        tongue=np.zeros(count, np.float32),
    )


@given(
    st.sampled_from(PORTRAITS),
    st.sampled_from(["whole", "crop"]),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 2.0),
    st.floats(0.0, 2.0),
)
@example("portrait_01.jpg", "crop", 1_000_001, 1.0, 1.0)
@settings(max_examples=25, deadline=None)
def test_skin_neither_tears_nor_folds(name: str, framing: str, seed: int, mouth: float, head: float) -> None:
    _, renderer, limits = prepared(name, framing)
    chosen = Settings(dynamic_scale=mouth, motion_scale=head)
    track = voice(np.random.default_rng(seed), 40)
    pose = move_head(track.energy, track.speaking, 25, seed, head, mouth, 1.0)
    mixes, kept = limits.narrowed(mix_motions(track, pose, chosen), 25)
    assert kept.min() > 0.2
    for mix in mixes[:: len(mixes) // 4]:
        assert steepest(renderer, mix) <= STEEPEST


@pytest.mark.parametrize("framing", ["whole", "crop"])
def test_without_limits_it_would(framing: str) -> None:
    _, renderer, limits = prepared("portrait_05.jpg", framing)
    mix = np.zeros((1, len(Motion)))
    mix[0, [Motion.JAW, Motion.GAP, Motion.YAW, Motion.REST]] = 1.4, 1.4, 0.5, 1.0
    assert steepest(renderer, mix[0]) > STEEPEST
    narrowed, kept = limits.narrowed(mix, 25)
    assert kept[0] < 0.9
    assert steepest(renderer, narrowed[0]) <= STEEPEST
    assert narrowed[0, Motion.REST] == 1.0


def test_usual_strengths_are_left_as_they_are_and_more_is_said() -> None:
    scene, _, _ = prepared("portrait_02.jpg", "whole")
    speech = read_speech(MEDIA / "speech_en_flite_slt.wav", lambda *_: None)

    def animated(**values: float) -> PreviewAnimation:
        chosen = Settings(min_resolution=320, **values)
        return PreviewEngine().prepare(scene, speech, chosen, 120, 1, lambda *_: None)

    assert animated().warnings == ()
    (said,) = animated(dynamic_scale=2.0, motion_scale=2.0).warnings
    assert "narrowed" in said and "dynamic_scale" in said


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize(
    "turn", [{"YAW": 0.26}, {"YAW": -0.26, "ROLL": 0.12}, {"PITCH": 0.2, "SHIFT_X": 0.06}]
)
def test_the_mouth_goes_on_where_its_patch_ends(name: str, turn: dict[str, float]) -> None:
    _, renderer, _ = prepared(name, "whole")
    mix = np.zeros(len(Motion))
    mix[[Motion.REST, Motion.JAW, Motion.GAP]] = 1.0, 0.9, 0.9
    for motion, value in turn.items():
        mix[Motion[motion]] = value
    part, head = renderer._mouth_part(mix), renderer._head
    around = part.relative(head.rect).cut(head.sources(mix))
    for lip, side in ((renderer._upper, -1), (renderer._lower, 1)):
        rect = lip.warp.rect
        sources = part.relative(rect).cut(lip.warp.sources(mix))
        apart = np.abs(sources - around).max(axis=-1)
        face = renderer.anatomy.axes.to_face(sources.astype(float))
        shown = np.sign(face[..., 1] - np.interp(face[..., 0], *renderer.anatomy.upper_lip.T)) == side
        rim = np.ones(shown.shape, bool)
        rim[1:-1, 1:-1] = False
        assert (apart * (shown & rim)).max() < 0.35


def test_a_mouth_that_gapes_in_the_portrait_does_not_freeze_the_video() -> None:
    _, renderer, _ = prepared("portrait_05.jpg", "crop")
    picture = renderer._picture
    mix = np.zeros(len(Motion))
    mix[[Motion.REST, Motion.JAW, Motion.GAP, Motion.UPPER]] = 1.0, 1.1, 1.1, 0.5
    gaping = np.empty_like(renderer._view.cut(picture))
    renderer.draw(mix, gaping)
    points, _ = LandmarkTracker().track(gaping, prepared("portrait_05.jpg", "crop")[0].face.landmarks)
    again = Renderer(gaping, points)
    track = voice(np.random.default_rng(1), 40)
    pose = move_head(track.energy, track.speaking, 25, 1, 1.0, 1.0, 1.0)
    _, kept = Limits(again.anatomy, (gaping.shape[1], gaping.shape[0])).narrowed(
        mix_motions(track, pose, Settings()), 25
    )
    assert kept.min() > 0.1


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_turn_moves_the_nose_as_far_before_the_eyes_as_it_stands_out(name: str) -> None:
    _, renderer, _ = prepared(name, "whole")
    anatomy = renderer.anatomy
    eyes = np.stack([eye.centre for eye in anatomy.eyes])
    tip = anatomy.depth_points[1]
    places = anatomy.axes.to_picture(np.concatenate([tip[None, :2], eyes]))
    ways = head_fields(anatomy, places[None])[Motion.YAW, 0] @ anatomy.axes.right
    stands_out = tip[2] - np.mean([nearest(anatomy.depth_points, eye) for eye in eyes])
    assert 0.75 < (ways[0] - ways[1:].mean()) / stands_out < 1.1


def nearest(points: np.ndarray, place: np.ndarray) -> float:
    """Depth of the landmarks around a place: mean of the eight nearest."""
    order = np.argsort(np.linalg.norm(points[:, :2] - place, axis=1))
    return float(points[order[:8], 2].mean())


def test_a_syllable_is_kept_where_a_turn_can_give_way() -> None:
    _, _, limits = prepared("portrait_02.jpg", "whole")
    mixes = np.zeros((40, len(Motion)))
    mixes[:, [Motion.YAW, Motion.PITCH, Motion.REST]] = 0.25, 0.2, 1.0
    mixes[20, [Motion.JAW, Motion.GAP]] = 0.7
    narrowed, kept = limits.narrowed(mixes, 25)
    assert kept[20] < 1.0
    assert narrowed[20, Motion.JAW] / 0.7 > kept[20] + 0.05
    assert np.abs(np.diff(narrowed[:, Motion.YAW])).max() < 0.25 * 0.06
