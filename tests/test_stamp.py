"""The stamped preview: marked itself, and what is left to whoever tries to get the clean video out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_takes import face_range, mean_face_at, no_tick

from sonic_ext.engines.preview.anatomy import FACE_OVAL
from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.media.audio import read_speech
from sonic_ext.media.face import LandmarkTracker
from sonic_ext.media.image import read_portrait
from sonic_ext.media.mesh import EYES, LIPS
from sonic_ext.media.scene import Scene, compose
from sonic_ext.media.video import VideoWriter, read_frames, read_planes
from sonic_ext.provenance.labels import VisibleLabel
from sonic_ext.provenance.stamp import PreviewStamp, preview_size
from sonic_ext.provenance.watermark import detect, marker
from sonic_ext.provenance.watermark.version1_pattern import HALF_PERIOD
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
SPEECH = MEDIA / "short_en_flite_rms_2s3.wav"
COUNT, FPS, PAYLOAD = 57, 25, 0x5EED
SIZES = [(256, 256), (512, 512), (256, 448), (640, 256), (1024, 576), (258, 1024)]
sides = st.integers(128, 640).map(lambda half: half * 2)


def stamp_for(width: int, height: int, asked: Settings | None = None) -> PreviewStamp:
    """On a face in the middle of the picture."""
    face = mean_face_at(width / 2, height * 0.45, min(width, height) / 7)
    return PreviewStamp(asked or Settings(), face, face_range(face), width, height, FPS)


@settings(max_examples=50, deadline=None)
@given(width=sides, height=sides)
def test_previews_are_small_even_and_of_the_same_shape(width: int, height: int) -> None:
    small = preview_size(width, height)
    assert min(small) <= 256
    assert not small[0] % 2
    assert not small[1] % 2
    assert abs(small[0] / small[1] - width / height) < 0.03 * width / height


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_part_of_a_preview_is_free_of_tape(width: int, height: int) -> None:
    """No third of the short side can be cut out clean, but for the mouth."""
    stamp = stamp_for(width, height)
    assert stamp.covered.shape == (stamp.height, stamp.width)
    side = min(stamp.covered.shape) // 3
    for top in range(0, stamp.height - side + 1, side):
        for left in range(0, stamp.width - side + 1, side):
            assert stamp.covered[top : top + side, left : left + side].mean() > 0.15


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_shines_through_the_tape(width: int, height: int) -> None:
    """Black and white frames are the same to the last level where the tape lies; elsewhere, themselves."""
    stamp = stamp_for(width, height)
    grounds = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 255, np.uint8)
    black, white = (stamp.frame(ground, 5) for ground in grounds)
    assert np.array_equal(black[stamp.covered], white[stamp.covered])
    assert (black[~stamp.covered] == 0).all() and (white[~stamp.covered] == 255).all()
    assert (grounds[0] == 0).all() and (grounds[1] == 255).all()


def test_the_tape_stays_and_its_texture_moves() -> None:
    """All of it, a little less under the label; it comes back when the watermark's reader compares frames."""
    stamp = stamp_for(512, 512)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (512, 512, 3), np.uint8) for _ in range(HALF_PERIOD)]
    frames = np.stack([stamp.frame(frame, index) for index, frame in enumerate(frames)])
    change = np.ptp(frames.astype(int), axis=0).max(axis=2)
    letters = frames.min(axis=(0, 3)) > 200
    plain = cv2.erode((stamp.covered & ~letters).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert np.percentile(change[plain], 10) >= 8
    assert (frames[0][letters & stamp.covered] > 200).all()
    again = stamp.frame(np.zeros((512, 512, 3), np.uint8), HALF_PERIOD)
    assert np.array_equal(again[stamp.covered], frames[0][stamp.covered])


@pytest.mark.parametrize("label", ["start", "throughout", "off"])
def test_the_label_is_on_every_frame_of_the_preview(label: str) -> None:
    """Whatever the setting, and in the place that it has in the video."""
    asked = Settings(label=label, label_off_reason="told in the credits")
    stamp, face = stamp_for(512, 512, asked), mean_face_at(256, 512 * 0.45, 512 / 7)
    box = VisibleLabel(Settings(), 256, 256, FPS, face_range(face).scaled(0.5, 0.5)).box
    left, top, right, bottom = box.rounded()
    first, late = (stamp.frame(np.zeros((512, 512, 3), np.uint8), index) for index in (0, 40 * HALF_PERIOD))
    assert np.array_equal(first[top:bottom, left:right], late[top:bottom, left:right])
    assert first[top:bottom, left:right].max() > 250
    assert stamp.covered[top:bottom, left:right].all()


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("apart", [8, 40, 160])
def test_the_eyes_are_covered_and_the_lips_are_not(apart: float, upside_down: bool) -> None:
    """Of faces small and large, whichever way up."""
    face = mean_face_at(256, 230, apart if not upside_down else -apart)
    stamp = PreviewStamp(Settings(), face, face_range(face), 512, 512, FPS)
    points = np.rint(face.landmarks[:, :2] / 2 - 0.5).astype(int)
    eyes, lips = points[[*EYES[0], *EYES[1]]], points[list(LIPS)]
    assert stamp.covered[eyes[:, 1], eyes[:, 0]].all()
    lips = lips[((lips >= 0) & (lips < 256)).all(axis=1)]
    assert len(lips) == 20
    assert not stamp.covered[lips[:, 1], lips[:, 0]].any()


# Attacks


@dataclass(frozen=True)
class Clip:
    """A preview as an attacker has it, and the frames that it hides."""

    scene: Scene
    stamp: PreviewStamp
    seen: np.ndarray
    """uint8 [frames, height, width, 3], as decoded."""
    truth: np.ndarray
    """The same without stamp and marks."""
    path: Path

    @property
    def points(self) -> np.ndarray:
        """The face's points in its place, float32 [468, 2], pixels of the preview."""
        return self.scene.face.landmarks[:, :2] * (self.stamp.width / self.scene.width)

    @property
    def face(self) -> np.ndarray:
        """Which pixels are face, bool."""
        drawn = np.zeros(self.stamp.covered.shape, np.uint8)
        outline = cv2.convexHull(self.points[list(FACE_OVAL)])
        return cv2.fillConvexPoly(drawn, np.rint(outline).astype(np.int32), 1) > 0

    @property
    def hidden(self) -> np.ndarray:
        """Which pixels of the face are under the tape, bool."""
        return self.stamp.covered & self.face

    def eyes_agree(self, frame: np.ndarray, index: int) -> float:
        """Correlation of grey levels about the eyes with the truth: 1 where they were got back."""
        points = self.points[[*EYES[0], *EYES[1]]]
        (left, top), (right, bottom) = (
            (points.min(axis=0) - 3).astype(int),
            (points.max(axis=0) + 4).astype(int),
        )
        greys = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (frame, self.truth[index]))
        found, true = (grey[top:bottom, left:right].ravel().astype(float) for grey in greys)
        return float(np.corrcoef(found, true)[0, 1])


def psnr(found: np.ndarray, true: np.ndarray) -> float:
    """Decibels."""
    return float(10 * np.log10(255**2 / np.mean((found.astype(float) - true.astype(float)) ** 2)))


@pytest.fixture(scope="module", params=["portrait_03 crop 1", "portrait_04 whole 2"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A preview as the pipeline makes it; the second one of a head that moves as much as it ever may."""
    name, framing, motion = request.param.split()
    asked = Settings(framing=framing, motion_scale=float(motion), min_resolution=384)
    scene = compose(read_portrait(MEDIA / f"{name}.jpg"), asked, 2)
    stamp = PreviewStamp(asked, scene.face, scene.face_range(float(motion)), scene.width, scene.height, FPS)
    mark = marker(PAYLOAD, stamp.width, stamp.height, FPS)
    animation = PreviewEngine().prepare(scene, read_speech(SPEECH), asked, COUNT, 3, no_tick)
    path, truth = tmp_path_factory.mktemp("preview") / "preview.mp4", []
    with VideoWriter(path, stamp.width, stamp.height, FPS) as writer:
        for index, frame in enumerate(animation.frames()):
            truth.append(cv2.resize(frame, (stamp.width, stamp.height), interpolation=cv2.INTER_AREA))
            planes = cv2.cvtColor(stamp.frame(frame, index), cv2.COLOR_RGB2YUV_I420)
            mark.embed(planes, index)
            writer.write(planes)
    return Clip(scene, stamp, np.stack(list(read_frames(path))), np.stack(truth), path)


def test_the_watermark_is_read_from_a_preview(clip: Clip) -> None:
    """Of a second at 256 pixels, under the tape and after the encoder."""
    found = detect(read_planes(clip.path), FPS)
    assert found is not None
    assert (found.payload, found.signal > 1.2) == (PAYLOAD, True)


def test_lips_can_be_judged_and_half_of_the_face_cannot_be_seen(clip: Clip) -> None:
    free = ~clip.stamp.covered
    assert psnr(clip.seen[:, free], clip.truth[:, free]) > 33
    assert 0.4 < clip.hidden.sum() / clip.face.sum() < 0.6
    lips = np.rint(clip.points[list(LIPS)]).astype(int)
    assert free[lips[:, 1], lips[:, 0]].all()


def best_inversion(seen: np.ndarray, stamp: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The best that a weighted sum of picture, known stamp and a constant gives, all [n, 3].

    Weights are fitted to the truth itself, which no attacker has: what this does not find, no blend undoes.
    """
    found = np.empty(true.shape)
    for channel in range(3):
        known = np.stack([seen[:, channel], stamp[:, channel], np.ones(len(seen))], axis=1)
        found[:, channel] = known @ np.linalg.lstsq(known, true[:, channel], rcond=None)[0]
    return found


def test_inversion_finds_nothing(clip: Clip) -> None:
    """No more than one colour for all of it does."""
    shape = (clip.scene.height, clip.scene.width, 3)
    stamps = np.stack([clip.stamp.frame(np.zeros(shape, np.uint8), index) for index in range(COUNT)])
    seen, stamp, true = (
        frames[:, clip.hidden].reshape(-1, 3).astype(float) for frames in (clip.seen, stamps, clip.truth)
    )
    one_colour = psnr(np.broadcast_to(true.mean(axis=0), true.shape), true)
    assert psnr(best_inversion(seen, stamp, true), true) < one_colour + 0.2
    # A blend that keeps three sevenths of the picture gives way to the same attack.
    blended = np.rint((true * 110 + stamp * 146) / 256)
    assert psnr(best_inversion(blended, stamp, true), true) > one_colour + 20


def test_a_median_over_time_finds_nothing(clip: Clip) -> None:
    """Every frame hides the same; what is seen there is the tape, far from the face."""
    median = np.median(clip.seen, axis=0)
    middle = np.median(clip.truth, axis=0)
    assert psnr(median[clip.hidden], middle[clip.hidden]) < 12
    assert clip.eyes_agree(median.astype(np.uint8), 0) < 0.5


def followed(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """All frames laid on the face of the first, by points of the unstamped frames, which no attacker has.

    Returns:
        The mean of what shows in any of them, uint8 [height, width, 3], and where that is, bool.
    """
    height, width = clip.stamp.covered.shape
    tracker, scale = LandmarkTracker(), 2 * clip.stamp.width / clip.scene.width
    shows, total, times = (~clip.stamp.covered).astype(np.uint8), np.zeros((height, width, 3)), 0
    first: np.ndarray | None = None
    for seen, true in zip(clip.seen, clip.truth, strict=True):
        large = cv2.resize(true, None, fx=2, fy=2)
        points = tracker.track(large, clip.scene.face.scaled(scale, scale))[0][:, :2] / 2
        first = points if first is None else first
        onto = cv2.estimateAffine2D(points, first)[0]
        free = cv2.warpAffine(shows, onto, (width, height), flags=cv2.INTER_NEAREST)
        total += cv2.warpAffine(seen, onto, (width, height)) * free[..., None]
        times = times + free
    return (total / np.maximum(times, 1)[..., None]).astype(np.uint8), np.asarray(times > 0)


@pytest.mark.parametrize("method", [cv2.INPAINT_TELEA, cv2.INPAINT_NS])
def test_inpainting_does_not_bring_the_eyes_back(clip: Clip, method: int) -> None:
    """With the mask known, of one frame and of all frames laid on one another."""
    mosaic, known = followed(clip)
    assert (known & clip.hidden).sum() < 0.35 * clip.hidden.sum()
    single = clip.seen[10], ~clip.stamp.covered, 10
    for frame, free, index in (single, (mosaic, known, 0)):
        guessed = cv2.inpaint(np.ascontiguousarray(frame), (~free).astype(np.uint8), 5, method)
        assert psnr(guessed[clip.hidden], clip.truth[index][clip.hidden]) < 21
        assert clip.eyes_agree(guessed, index) < 0.5
        assert clip.eyes_agree(clip.truth[index], index) > 0.999
