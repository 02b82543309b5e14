"""Head motion and blinks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.engines.preview.engine import mix_motions
from sonic_ext.engines.preview.fields import Motion
from sonic_ext.engines.preview.idle import move_head, smoothed
from sonic_ext.engines.preview.speech import MouthTrack
from sonic_ext.settings import Settings

QUIET = np.zeros(1500)


def track_of(count: int, **values: float) -> MouthTrack:
    names = ("jaw", "rounding", "spread", "press", "upper", "lower", "energy", "speaking")
    return MouthTrack(**{n: np.full(count, values.get(n, 0.0), dtype=np.float32) for n in names})


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_moves_the_same_way(seed: int) -> None:
    one, two = (move_head(QUIET[:60], 25, seed, 1.0, 1.0) for _ in range(2))
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in vars(one))


def test_another_seed_moves_another_way_and_zero_is_a_seed() -> None:
    poses = [move_head(QUIET, 25, seed, 1.0, 1.0) for seed in (0, 1, 2)]
    assert not np.allclose(poses[0].yaw, poses[1].yaw)
    assert not np.array_equal(poses[1].blink, poses[2].blink)


def test_a_longer_video_begins_like_a_shorter_one() -> None:
    short, long = (move_head(np.zeros(n), 25, 5, 1.0, 1.0) for n in (200, 800))
    assert np.allclose(short.yaw, long.yaw[:200])
    assert np.allclose(short.blink[:180], long.blink[:180])


def test_head_and_lids_never_stop() -> None:
    pose = move_head(QUIET, 25, 3, 1.0, 1.0)
    for start in range(0, 1500, 150):
        assert np.degrees(np.ptp(pose.yaw[start : start + 150])) > 0.4
    shut = np.flatnonzero(np.diff((pose.blink > 0.5).astype(int)) == 1)
    assert 10 <= len(shut) <= 40
    assert np.diff(shut).max() < 25 * 6
    assert pose.blink.max() > 0.9
    assert np.abs(np.degrees(pose.yaw)).max() < 12


def test_fifty_frames_a_second_move_as_far_as_twenty_five() -> None:
    slow, fast = (move_head(np.zeros(10 * fps), fps, 3, 1.0, 1.0) for fps in (25, 50))
    assert np.allclose(slow.yaw, (fast.yaw[::2] + fast.yaw[1::2]) / 2, atol=1e-3)


def test_a_stressed_syllable_nods() -> None:
    voice = np.zeros(100)
    voice[50:58] = 1.0
    moved = move_head(voice, 25, 3, 1.0, 1.0).pitch - move_head(np.zeros(100), 25, 3, 1.0, 1.0).pitch
    assert 45 <= int(moved.argmax()) <= 62
    assert np.degrees(moved.max()) > 0.5


def test_scales_act_on_their_own_part_alone() -> None:
    track = track_of(100, jaw=0.5, rounding=0.3)

    def mixed(**settings: float) -> np.ndarray:
        chosen = Settings(**settings)
        pose = move_head(track.energy, 25, 3, chosen.motion_scale, chosen.dynamic_scale)
        return mix_motions(track, pose, chosen)

    plain, strong, restless = mixed(), mixed(dynamic_scale=1.2), mixed(motion_scale=2.0)
    assert np.allclose(strong[:, Motion.GAP], 1.2 * plain[:, Motion.GAP])
    assert np.allclose(strong[:, Motion.YAW], plain[:, Motion.YAW])
    assert np.allclose(restless[:, Motion.YAW], 2.0 * plain[:, Motion.YAW], atol=1e-6)
    assert np.allclose(restless[:, Motion.GAP], plain[:, Motion.GAP])


def test_pressed_lips_stay_pressed_at_any_strength() -> None:
    track = track_of(10, jaw=0.8, press=1.0)
    for strength in (0.5, 1.0, 2.0):
        settings = Settings(dynamic_scale=strength)
        mix = mix_motions(track, move_head(track.energy, 25, 3, 1.0, strength), settings)
        assert np.all(mix[:, Motion.GAP] == 0.0)


def test_smoothing_keeps_level_and_length() -> None:
    for count in (1, 2, 7, 100):
        assert np.allclose(smoothed(np.full(count, 0.3), 0.1, 25), 0.3)
        assert len(smoothed(np.zeros(count), 0.9, 25)) == count
