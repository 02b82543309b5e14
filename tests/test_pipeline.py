"""The one way through, on real media: portrait and speech to marked master and stamped preview."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from sonic_ext import pipeline
from sonic_ext.errors import BadAudio, BadSetting, Cancelled, Failed, NoFace, Tampered
from sonic_ext.media.image import from_array, read_portrait
from sonic_ext.media.video import probe, read_frames
from sonic_ext.pipeline import animate, frame_count, preflight
from sonic_ext.progress import Silent, Step
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take
from sonic_ext.provenance.watermark import ALGORITHM, version2

MEDIA = Path(__file__).parent / "data" / "media"
PORTRAIT = MEDIA / "portrait_02.jpg"
SMALL = {"min_resolution": 256, "seed": 7}


def clip(folder: Path, seconds: float, source: str = "short_en_flite_rms_2s3.wav") -> Path:
    """The first `seconds` of a shipped recording."""
    target = folder / f"speech_{seconds}.wav"
    with wave.open(str(MEDIA / source)) as reader, wave.open(str(target), "wb") as writer:
        writer.setparams(reader.getparams())
        writer.writeframes(reader.readframes(round(seconds * reader.getframerate())))
    return target


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    folder = tmp_path_factory.mktemp("take")
    return animate(PORTRAIT, clip(folder, 2.3), SMALL, store=Store(folder / "home"))


class Recorder(Silent):
    """Remembers every step; says stop after `limit` of them."""

    def __init__(self, limit: int = 10**9) -> None:
        self.steps: list[Step] = []
        self.limit = limit

    def report(self, step: Step) -> None:
        self.steps.append(step)

    def cancelled(self) -> bool:
        return len(self.steps) >= self.limit


def test_master_and_preview_last_as_long_as_the_speech(take: Take) -> None:
    assert (take.frames, take.seconds, take.engine, take.seed) == (58, 58 / 25, "preview", 7)
    for path, size in ((take.master, (256, 256)), (take.preview, (256, 256))):
        found = probe(path)
        assert (found.width, found.height, found.frames, found.fps) == (*size, 58, 25)
        assert found.seconds == pytest.approx(2.32, abs=0.001)
        assert found.container_seconds == pytest.approx(2.3, abs=0.04)
        assert found.audio_seconds == pytest.approx(2.3, abs=0.04)


def test_nothing_but_the_take_lies_in_its_folder(take: Take) -> None:
    names = {path.name for path in take.folder.iterdir()}
    assert names == {"master.mp4", "preview.mp4", "portrait.jpg", "speech.wav", "take.json"}


def test_every_frame_of_the_preview_is_stamped(take: Take) -> None:
    for marked, stamped in zip(read_frames(take.master), read_frames(take.preview), strict=True):
        assert np.abs(marked.astype(int) - stamped).mean() > 4


def test_the_label_shows_from_the_first_frame(take: Take) -> None:
    first = next(iter(read_frames(take.master)))
    portrait = np.asarray(read_portrait(PORTRAIT).rgb[::3, ::3])
    corners = [np.s_[rows, columns] for rows in np.s_[5:25, -25:-5] for columns in np.s_[8:90, -90:-8]]
    changed = sorted(np.abs(first[corner].astype(int) - portrait[corner]).mean() for corner in corners)
    assert changed[-1] > 40
    assert changed[-2] < 12


def test_the_watermark_was_read_from_the_finished_master(take: Take) -> None:
    assert (take.mark_read, take.mark_algorithm) == (True, ALGORITHM)
    assert 0 < take.mark_odds < 1e-12
    assert pipeline.NOT_READABLE not in take.warnings


def test_a_few_frames_are_enough_to_read_it(store: Store, tmp_path: Path) -> None:
    made = animate(PORTRAIT, clip(tmp_path, 0.2), SMALL, store=store)
    assert (made.mark_read, made.warnings) == (True, ())


def test_a_mark_that_cannot_be_read_is_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black from the first frame to the last."""
    monkeypatch.setattr(version2.MarkerV2, "embed", _blacken)
    made = animate(PORTRAIT, clip(tmp_path, 0.6), SMALL, store=store)
    assert (made.mark_read, made.mark_odds) == (False, 1.0)
    assert pipeline.NOT_READABLE in made.warnings
    assert store.load(made.id) == made


def _blacken(mark: object, planes: np.ndarray, index: int) -> None:
    planes[:256], planes[256:] = 16, 128


def test_the_mark_of_another_video_is_no_video(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.marker
    monkeypatch.setattr(pipeline, "marker", lambda payload, *rest: real(payload ^ 1, *rest))
    with pytest.raises(Failed, match="instead of its own"):
        animate(PORTRAIT, clip(tmp_path, 2.3), SMALL, store=store)
    assert list(store.folder.iterdir()) == []


def test_an_altered_ledger_is_told_before_the_work(store: Store, tmp_path: Path) -> None:
    store.ledger.revoke("a" * 64)
    (store.home / "consent" / "key").write_bytes(bytes(32))
    progress = Recorder()
    with pytest.raises(Tampered):
        animate(PORTRAIT, clip(tmp_path, 2.3), SMALL, store=store, progress=progress)
    assert progress.steps == []


def test_the_mouth_follows_the_voice(take: Take) -> None:
    assert take.sync_offset is not None
    assert abs(take.sync_offset) <= 0.04


def frames_of(store: Store, tmp_path: Path, **settings: object) -> np.ndarray:
    take = animate(PORTRAIT, clip(tmp_path, 0.6), {**SMALL, "label": "start", **settings}, store=store)
    return np.stack(list(read_frames(take.master))).astype(int)


def test_a_seed_repeats_itself_and_zero_is_a_seed(store: Store, tmp_path: Path) -> None:
    zero, again, one = (frames_of(store, tmp_path, seed=seed) for seed in (0, 0, 1))
    # The watermark carries another id in each video: a few grey levels.
    assert np.abs(zero - again).mean() < 3.0
    assert np.abs(zero - one).max() > 40
    assert np.abs(zero - one).mean() > 1.2 * np.abs(zero - again).mean()


def test_minus_one_draws_a_seed_and_says_which(store: Store, tmp_path: Path) -> None:
    speech = clip(tmp_path, 0.2)
    seeds = {animate(PORTRAIT, speech, {**SMALL, "seed": -1}, store=store).seed for _ in range(2)}
    assert len(seeds) == 2


@pytest.mark.parametrize("limit", [1, 3, 12])
def test_cancelling_stops_at_the_next_step_and_leaves_nothing(
    store: Store, tmp_path: Path, limit: int
) -> None:
    progress = Recorder(limit)
    with pytest.raises(Cancelled):
        animate(PORTRAIT, clip(tmp_path, 2.3), SMALL, store=store, progress=progress)
    assert len(progress.steps) == limit
    assert not list(store.folder.iterdir() if store.folder.exists() else [])


def test_an_engine_that_fails_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sonic_ext.pipeline.VideoWriter.write", broken)
    with pytest.raises(OSError, match="space"):
        animate(PORTRAIT, clip(tmp_path, 0.4), SMALL, store=store)
    assert not list(store.folder.iterdir())


def test_progress_counts_every_frame_and_foresees_the_end(store: Store, tmp_path: Path) -> None:
    progress = Recorder()
    animate(PORTRAIT, clip(tmp_path, 0.8), SMALL, store=store, progress=progress)
    drawn = [step for step in progress.steps if step.stage == "drawing frames"]
    assert [step.done for step in drawn] == list(range(21))
    assert all(step.total == 20 for step in drawn)
    assert drawn[-1].seconds_left == 0.0
    assert all(step.seconds_left is not None for step in drawn[1:])


def test_crop_and_fifty_frames(store: Store, tmp_path: Path) -> None:
    take = animate(PORTRAIT, clip(tmp_path, 0.5), {**SMALL, "framing": "crop", "fps": 50}, store=store)
    found = probe(take.master)
    assert (found.width, found.height, found.frames, found.fps) == (256, 256, 25, 50)


def test_duration_must_match_unless_told_how(store: Store, tmp_path: Path) -> None:
    speech = clip(tmp_path, 1.0)
    with pytest.raises(BadSetting, match="trim"):
        animate(PORTRAIT, speech, {**SMALL, "duration": 0.5}, store=store)
    for seconds, policy in ((0.4, "trim"), (1.4, "pad_silence")):
        settings = {**SMALL, "duration": seconds, "duration_policy": policy}
        take = animate(PORTRAIT, speech, settings, store=store)
        assert probe(take.master).container_seconds == pytest.approx(seconds, abs=0.04)


def test_bad_input_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NoFace):
        animate(MEDIA / "no_person.jpg", clip(tmp_path, 0.4), SMALL, store=store)
    with pytest.raises(BadAudio):
        animate(PORTRAIT, PORTRAIT, SMALL, store=store)
    with pytest.raises(BadSetting, match="no setting"):
        animate(PORTRAIT, clip(tmp_path, 0.4), {"sped": 1}, store=store)


def test_a_preflight_of_a_picture_on_its_side_speaks_in_its_own_pixels(tmp_path: Path) -> None:
    upright = preflight(PORTRAIT, MEDIA / "short_en_flite_rms_2s3.wav", SMALL)
    rgb = read_portrait(PORTRAIT).rgb[:700]
    turned = from_array(np.ascontiguousarray(np.rot90(rgb, 3)))
    told = preflight(turned, MEDIA / "short_en_flite_rms_2s3.wav", SMALL)
    assert any("set upright" in warning for warning in told.warnings)
    assert told.width > told.height
    assert told.picture.shape == (768, 700, 3)
    left, top, right, bottom = upright.face_box
    assert told.face_box == pytest.approx((700 - bottom, left, 700 - top, right), abs=30)


def test_preflight_foretells_what_animate_makes(take: Take) -> None:
    told = preflight(PORTRAIT, take.audio_file, SMALL)
    assert (told.frames, told.width, told.height, told.fps) == (
        take.frames,
        take.width,
        take.height,
        take.fps,
    )
    left, top, right, bottom = told.face_box
    assert 100 < left < right < 700
    assert 50 < top < bottom < 760
    assert told.picture.shape == (768, 768, 3)
    assert told.seconds_needed > 0
    assert 50e6 < told.memory_needed < 1e9
    assert "picture" not in told.to_dict()


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(0.001, 25, 1), (0.2, 25, 5), (1.0, 25, 25), (1.01, 25, 26), (7.31, 50, 366)],
)
def test_frames_cover_the_sound(seconds: float, fps: int, frames: int) -> None:
    assert frame_count(seconds, fps) == frames
