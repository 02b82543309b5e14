"""Head motion and blinks."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sonic_ext.engines.preview.engine import mix_motions
from sonic_ext.engines.preview.fields import Motion
from sonic_ext.engines.preview.idle import FARTHEST, SYLLABLE, Pose, move_head, smoothed
from sonic_ext.engines.preview.speech import MouthTrack
from sonic_ext.settings import Settings

QUIET = np.zeros(1500)


def track_of(count: int, **values: float) -> MouthTrack:
    names = [field.name for field in fields(MouthTrack)]
    return MouthTrack(**{n: np.full(count, values.get(n, 0.0), dtype=np.float32) for n in names})


def moved(
    energy: np.ndarray,
    fps: float = 25,
    seed: int = 3,
    scale: float = 1.0,
    expression: float = 1.0,
    eyes: float = 1.0,
    speaking: np.ndarray | None = None,
) -> Pose:
    voiced = np.zeros(len(energy)) if speaking is None else speaking
    return move_head(energy, voiced, fps, seed, scale, expression, eyes)


def phrases(count: int, pauses: range, length: int = 15) -> np.ndarray:
    """Speech with silence of `length` frames from each of `pauses` on."""
    speaking = np.ones(count)
    for start in pauses:
        speaking[start : start + length] = 0.0
    return speaking


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_moves_the_same_way(seed: int) -> None:
    one, two = (moved(QUIET[:60], seed=seed) for _ in range(2))
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in vars(one))


def test_another_seed_moves_another_way_and_zero_is_a_seed() -> None:
    poses = [moved(QUIET, seed=seed) for seed in (0, 1, 2)]
    assert not np.allclose(poses[0].yaw, poses[1].yaw)
    assert not np.array_equal(poses[1].blink, poses[2].blink)


def test_a_longer_video_begins_like_a_shorter_one() -> None:
    short, long = (moved(np.zeros(n), seed=5) for n in (200, 800))
    assert np.allclose(short.yaw, long.yaw[:200])
    assert np.allclose(short.blink[:180], long.blink[:180])


def test_head_and_lids_never_stop() -> None:
    pose = moved(QUIET)
    for start in range(0, 1500, 150):
        assert np.degrees(np.ptp(pose.yaw[start : start + 150])) > 0.4
    shut = np.flatnonzero(np.diff((pose.blink > 0.5).astype(int)) == 1)
    assert 10 <= len(shut) <= 40
    assert np.diff(shut).max() < 25 * 6
    assert pose.blink.max() > 0.9


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2))
@settings(max_examples=40)
def test_a_head_stays_within_its_range_and_moves_as_people_do(seed: int, scale: float) -> None:
    pose = moved(QUIET, seed=seed, scale=scale, speaking=phrases(1500, range(60, 1500, 90)))
    for name, (lowest, highest) in FARTHEST.items():
        turned = np.degrees(getattr(pose, name))
        assert -lowest <= turned.min() and turned.max() <= highest
        assert np.abs(np.diff(turned)).max() <= 3.5 * scale + 0.01
    assert np.degrees(pose.yaw).std() >= 4.0 * min(scale, 1.0)


def test_a_scale_of_nought_keeps_the_head_still_and_the_eyes_alive() -> None:
    speaking = phrases(1500, range(60, 1500, 90))
    still = moved(QUIET, scale=0.0, speaking=speaking)
    for name in ("yaw", "pitch", "roll", "shift_x", "shift_y", "swing", "torso_x", "torso_y"):
        assert not getattr(still, name).any(), name
    assert still.blink.max() > 0.95 and still.gaze_x.std() > 0.01
    staring = moved(QUIET, scale=1.0, eyes=0.0, speaking=speaking)
    assert not staring.blink.any() and not staring.gaze_x.any() and staring.yaw.std() > 0.05


def test_eyes_blink_wholly_keep_their_aim_and_look_aside_in_pauses() -> None:
    speaking = phrases(1500, range(60, 1500, 150), 30)
    pose = moved(QUIET, speaking=speaking)
    assert (pose.blink > 0.98).any()
    assert np.corrcoef(pose.gaze_x, pose.yaw)[0, 1] < -0.3
    assert 0.02 < pose.gaze_x.std() < 0.06
    talking, silent = np.hypot(pose.gaze_x, pose.gaze_y)[speaking > 0], np.zeros(0)
    for start in range(60, 1500, 150):
        silent = np.append(silent, np.hypot(pose.gaze_x, pose.gaze_y)[start + 8 : start + 25])
    assert silent.mean() > talking.mean() + 0.01


def test_lips_rest_part_a_little_and_take_breath_before_a_phrase() -> None:
    speaking = phrases(1500, range(60, 1500, 150), 30)
    lips = moved(QUIET, speaking=speaking).lips
    assert not lips[speaking > 0].any()
    assert lips.max() <= SYLLABLE
    starts = [start + 30 for start in range(60, 1500, 150) if start + 30 < 1500]
    assert all(lips[start - 10 : start - 5].max() > 0.12 for start in starts)
    assert 0 < np.median(lips[speaking == 0]) < 0.15


def test_fifty_frames_a_second_move_as_far_as_twenty_five() -> None:
    slow, fast = (moved(np.zeros(10 * fps), fps) for fps in (25, 50))
    assert np.allclose(slow.yaw, (fast.yaw[::2] + fast.yaw[1::2]) / 2, atol=1e-3)


def test_a_stressed_syllable_nods() -> None:
    voice = np.zeros(100)
    voice[50:58] = 1.0
    nodded = moved(voice).pitch - moved(np.zeros(100)).pitch
    assert 45 <= int(nodded.argmax()) <= 62
    assert np.degrees(nodded.max()) > 0.5


def test_scales_act_on_their_own_part_alone() -> None:
    track = track_of(100, jaw=0.5, rounding=0.3, speaking=1.0)

    def mixed(**values: float) -> np.ndarray:
        chosen = Settings(**values)
        pose = moved(
            track.energy,
            scale=chosen.motion_scale,
            expression=chosen.dynamic_scale,
            speaking=track.speaking,
        )
        return mix_motions(track, pose, chosen)

    plain, strong, calm = mixed(), mixed(dynamic_scale=1.2), mixed(motion_scale=0.5)
    assert np.allclose(strong[:, Motion.GAP], 1.2 * plain[:, Motion.GAP])
    assert np.allclose(strong[:, Motion.YAW], plain[:, Motion.YAW])
    assert plain[:, Motion.YAW].std() > 1.4 * calm[:, Motion.YAW].std()
    assert np.allclose(calm[:, Motion.GAP], plain[:, Motion.GAP])


def test_pressed_lips_stay_pressed_at_any_strength() -> None:
    track = track_of(10, jaw=0.8, press=1.0)
    for strength in (0.5, 1.0, 2.0):
        chosen = Settings(dynamic_scale=strength)
        mix = mix_motions(track, moved(track.energy, expression=strength), chosen)
        assert np.all(mix[:, Motion.GAP] == 0.0)


def test_smoothing_keeps_level_and_length() -> None:
    for count in (1, 2, 7, 100):
        assert np.allclose(smoothed(np.full(count, 0.3), 0.1, 25), 0.3)
        assert len(smoothed(np.zeros(count), 0.9, 25)) == count
