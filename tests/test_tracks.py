"""Faces through the shots of a video: cuts, times, who is followed and where they are lost."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from miniature_corpus import (
    FPS,
    MEDIA,
    RATE,
    SIDE,
    Frames,
    leaving,
    nobody,
    side_by_side,
    talking,
    uneven,
    write_video,
)

from sonic_ext.errors import BadVideo, Cancelled
from sonic_ext.media.audio import read_speech
from sonic_ext.media.samples import sound_start
from sonic_ext.media.video import timed_frames
from sonic_ext.progress import Stage
from sonic_ext.sync.measure import measure_sync
from sonic_ext.sync.mouth import FEATURES
from sonic_ext.sync.tracks import FASTEST, CutFinder, VideoFaces, face_tracks


def seen(folder: Path, frames: Frames, *more: object, **how: object) -> VideoFaces:
    """The faces of a video of these frames."""
    return face_tracks(write_video(folder / "clip.mp4", frames, *(more or (None,)), **how))  # type: ignore[arg-type]


# Time stamps


def test_frames_have_the_times_of_their_stamps(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.4, 0.42]
    path = write_video(tmp_path / "clip.mp4", talking(0)[0][:5], None, times=times)
    frames = list(timed_frames(path))
    assert [frame.start for frame in frames] == pytest.approx(times, abs=1e-3)
    assert [frame.end for frame in frames[:-1]] == pytest.approx(times[1:], abs=1e-3)
    assert frames[-1].end > frames[-1].start
    assert frames[2].middle == pytest.approx(0.25, abs=1e-3)


def test_a_video_taken_on_its_side_is_set_upright(tmp_path: Path) -> None:
    """As phones do it: the matrix in the track's header says which way up."""
    frames = np.rot90(talking(0)[0][:3], 1, axes=(1, 2))
    path = write_video(tmp_path / "clip.mp4", frames, None)
    data = path.read_bytes()
    plain = b"".join(value.to_bytes(4, "big") for value in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    none = bytes(4)
    turned = none + one + none + minus + none + none + (SIDE << 16).to_bytes(4, "big") + none + plain[-4:]
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    upright = next(timed_frames(path)).rgb()
    assert np.abs(upright.astype(int) - talking(0)[0][0]).mean() < 6


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libopus"), ("a.mp4", "aac"), ("a.mov", "pcm_s16le")])
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_where_the_sound_begins(tmp_path: Path, name: str, codec: str, delay: float) -> None:
    """A click at a known time of the container's clock is heard at that time less `sound_start`."""
    path, rate = tmp_path / name, 48000
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        for index, rgb in enumerate(talking(0)[0][:25]):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = index
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        samples = np.zeros(rate // 960 * 960, np.float32)
        click = round(0.4 * rate)
        samples[click : click + 480] = np.sin(np.arange(480) * 0.4) * 0.8
        for start in range(0, len(samples), 960):
            block = (samples[None, start : start + 960] * 32767).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            piece.sample_rate, piece.pts = rate, start + round(delay * rate)
            container.mux(sound.encode(piece))
        container.mux(sound.encode())
    heard = np.concatenate(list(read_speech(path).blocks(rate)))
    first = float(np.argmax(np.abs(heard) > 0.2)) / rate
    assert first + sound_start(path) == pytest.approx(delay + 0.4, abs=2e-3)


def test_faces_are_on_the_clock_of_the_sound_track_that_is_measured(tmp_path: Path) -> None:
    """The first one is silent and begins with the picture; the voice in the second one begins a bit later."""
    path, rate = tmp_path / "two.mkv", RATE
    frames, spoken = talking(0)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "yuv420p"
        tracks = [container.add_stream("pcm_s16le", rate=rate, layout="mono") for _ in range(2)]
        for index, rgb in enumerate(frames[:40]):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = index
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        for track, level, delay in zip(tracks, (0, 32767), (0.0, 0.012), strict=True):
            for start in range(0, len(spoken), 960):
                block = (spoken[None, start : start + 960] * level).astype(np.int16)
                piece = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                piece.sample_rate, piece.pts = rate, start + round(delay * rate)
                container.mux(track.encode(piece))
            container.mux(track.encode())
    assert read_speech(path).mix.track == 1
    assert face_tracks(path).shots[0].start == pytest.approx(0.0, abs=2e-3)
    assert face_tracks(path, track=1).shots[0].start == pytest.approx(-0.012, abs=2e-3)
    assert measure_sync(path).tracks[0].start == pytest.approx(-0.012, abs=2e-3)


# Cuts


def test_a_cut_from_face_to_face_is_found_and_nothing_else() -> None:
    for one, other in combinations(range(3), 2):
        frames = [*talking(one)[0], *talking(other)[0]]
        cuts = CutFinder()
        assert [index for index, frame in enumerate(frames) if cuts.is_cut(frame)] == [len(frames) // 2]


def test_flashes_pans_and_fades_are_no_cuts() -> None:
    frames = talking(1)[0]
    bright = [
        cv2.convertScaleAbs(frame, alpha=1.5, beta=30) if 8 <= i < 10 else frame
        for i, frame in enumerate(frames)
    ]
    fading = [cv2.convertScaleAbs(frame, alpha=max(0.1, 1 - i / 44)) for i, frame in enumerate(frames)]
    for shown in (bright, fading, list(leaving(talking(0)[0]))):
        cuts = CutFinder()
        assert not any(cuts.is_cut(frame) for frame in shown)


def test_to_black_and_back_are_cuts() -> None:
    frames = [*talking(0)[0][:5], *([np.zeros((SIDE, SIDE, 3), np.uint8)] * 3), *talking(0)[0][5:9]]
    cuts = CutFinder()
    assert [index for index, frame in enumerate(frames) if cuts.is_cut(frame)] == [5, 8]


# Faces


def test_a_face_is_followed_from_the_first_to_the_last_frame(tmp_path: Path) -> None:
    frames, sound = talking(0)
    found = seen(tmp_path, frames, sound)
    (face,), (shot,) = found.faces, found.shots
    assert (found.frames, found.fps, shot.frames) == (len(frames), pytest.approx(FPS), len(frames))
    assert found.seconds == shot.end == face.end == pytest.approx(len(frames) / FPS, abs=2e-3)
    assert face.start == pytest.approx(0, abs=2e-3)
    assert face.motion.times == pytest.approx((np.arange(len(frames)) + 0.5) / FPS, abs=2e-3)
    assert face.found == 1.0 and face.motion.found.all()
    assert face.motion.geometry.shape == (len(frames), len(FEATURES))
    assert np.ptp(face.motion["gap"]) > 0.05, "its mouth moves"
    assert 0.2 * SIDE < face.box.width < SIDE


def test_times_are_those_of_the_sound(tmp_path: Path) -> None:
    """Where the picture begins later than the sound, its frames are late, too."""
    frames, sound = talking(0)
    found = seen(tmp_path, frames[:20], sound, times=[0.5 + index / FPS for index in range(20)])
    assert found.faces[0].motion.times[0] == pytest.approx(0.52, abs=3e-3)


def test_a_variable_frame_rate_moves_nothing(tmp_path: Path) -> None:
    frames, sound = talking(2)
    kept = uneven(len(frames))
    whole = seen(tmp_path, frames, sound).faces[0].motion
    found = seen(tmp_path, frames[kept], sound, times=[*(kept / FPS)])
    motion = found.faces[0].motion
    assert len(motion) == len(kept) and found.fps < 0.9 * FPS
    ends = np.append(kept[1:], motion.times[-1] * 2 * FPS - kept[-1]) / FPS
    assert motion.times == pytest.approx((kept / FPS + ends) / 2, abs=2e-3)
    assert np.corrcoef(motion["gap"], whole["gap"][kept])[0, 1] > 0.9


def test_of_many_frames_a_second_some_are_looked_at(tmp_path: Path) -> None:
    frames = talking(0)[0]
    found = seen(tmp_path, frames, times=[index / 50 for index in range(len(frames))])
    assert found.fps == pytest.approx(50, rel=0.05) and found.frames == len(frames)
    assert found.shots[0].frames == len(frames) // 2
    assert (np.diff(found.faces[0].motion.times) > 0.9 / FASTEST).all()


def test_each_shot_has_its_own_face(tmp_path: Path) -> None:
    one, two = talking(0)[0][:20], talking(1)[0][:30]
    found = seen(tmp_path, np.concatenate([one, two]))
    assert [shot.frames for shot in found.shots] == [20, 30]
    assert [face.shot for face in found.faces] == [1, 0], "longest first"
    assert found.shots[0].end == found.shots[1].start == pytest.approx(20 / FPS, abs=2e-3)
    assert [len(found.of_shot(number)) for number in range(3)] == [1, 1, 0]


def test_two_faces_are_two(tmp_path: Path) -> None:
    one, two = talking(0)[0], talking(1)[0]
    found = seen(tmp_path, side_by_side(one, two))
    assert [face.found for face in found.faces] == [1.0, 1.0]
    left, right = sorted(found.faces, key=lambda face: face.box.left)
    assert left.box.right < right.box.left
    alone = seen(tmp_path, two).faces[0].motion
    assert np.corrcoef(right.motion["gap"], alone["gap"])[0, 1] > 0.9


def test_a_face_that_leaves_and_comes_back(tmp_path: Path) -> None:
    frames = leaving(talking(0)[0])
    found = seen(tmp_path, frames)
    (face,) = found.faces
    assert face.end < 0.75 * found.seconds and face.found > 0.9
    back = seen(tmp_path, np.concatenate([frames, frames[::-1]]))
    assert len(back.shots) == 1
    # One face or, where the detector sees it again somewhere else than it was lost, two in turn.
    faces = sorted(back.faces, key=lambda face: face.start)
    assert 1 <= len(faces) <= 2
    assert faces[0].start < 0.1 and faces[-1].end > back.seconds - 0.1
    assert all(face.found == pytest.approx(face.motion.found.mean()) for face in faces)
    seen_frames = sum(int(face.motion.found.sum()) for face in faces)
    assert 0.25 < seen_frames / (2 * len(frames)) < 0.75


def test_a_covered_face_is_lost_and_found_again(tmp_path: Path) -> None:
    frames = talking(0)[0].copy()
    frames[12:20, 40:230, 40:220] = (120, 90, 80)
    (face, *_) = sorted(seen(tmp_path, frames).faces, key=lambda face: face.start)
    assert not face.motion.found[12:20].any()


def test_nobody_is_there(tmp_path: Path) -> None:
    found = seen(tmp_path, nobody(30))
    assert found.faces == () and len(found.shots) == 1


def test_a_small_face_in_a_large_picture(tmp_path: Path) -> None:
    canvas = np.full((8, 720, 1280, 3), 90, np.uint8)
    small = [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in talking(0)[0][:8]]
    canvas[:, 300:396, 900:996] = small
    (face,) = seen(tmp_path, canvas).faces
    assert face.found == 1.0 and 900 <= face.box.centre[0] <= 996


def test_a_tick_stops_it(tmp_path: Path) -> None:
    steps: list[tuple[Stage, int, int]] = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        steps.append((stage, done, total))
        if done == 5:
            raise Cancelled

    path = write_video(tmp_path / "clip.mp4", talking(0)[0], None)
    with pytest.raises(Cancelled):
        face_tracks(path, tick)
    assert steps == [(Stage.FOLLOWING_FACES, done, len(talking(0)[0])) for done in range(1, 6)]


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    for path in (tmp_path / "text.mp4", tmp_path / "none.mp4", tmp_path, MEDIA / "speech_en_flite_slt.wav"):
        with pytest.raises(BadVideo):
            face_tracks(path)


def test_times_grow(tmp_path: Path) -> None:
    """Also where stamps are missing or go back, as in cut-up recordings."""
    path = write_video(tmp_path / "clip.mp4", talking(0)[0][:10], None)
    frames = list(timed_frames(path))
    assert all(one.end == other.start and one.start < one.end for one, other in pairwise(frames))
