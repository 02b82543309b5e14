"""`sonic eval`: all figures of one finished video, and who is in it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_evaluations import (  # noqa: F401  (fixtures)
    FPS,
    MEDIA,
    PHONEMES,
    SMALL,
    STAND_IN,
    clip,
    no_packs_of_this_computer,
    talking_video,
)
from made_takes import drawn_frames
from safetensors.numpy import save_file
from test_sync_networks import toy_arrays
from tiny_arcface import write_arcface

from sonic_ext import weights
from sonic_ext.engines.detectors import recognisers
from sonic_ext.errors import BadAudio, BadInput, Cancelled, MissingPart, NoFace
from sonic_ext.evaluation import measuring
from sonic_ext.evaluation.closures import closure_figures
from sonic_ext.evaluation.folder import (
    evaluate,
)
from sonic_ext.evaluation.measuring import Measuring, VideoFigures, measure_figures
from sonic_ext.evaluation.metrics import BY_NAME
from sonic_ext.evaluation.naturalness import FaceTrack, Look, measure_video
from sonic_ext.media import video
from sonic_ext.media.arcface import PLACES, SIDE, ArcFace, laid_square
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.mesh import mean_face
from sonic_ext.media.video import VideoWriter, read_frames
from sonic_ext.sync import encoders
from sonic_ext.train.phonemes import Phoneme, read_phonemes

# Closures


def track_of(gaps: np.ndarray) -> FaceTrack:
    looks = np.full((len(gaps), len(Look._fields)), np.nan)
    looks[:, Look._fields.index("time")] = (np.arange(len(gaps)) + 0.5) / FPS
    looks[:, Look._fields.index("gap")] = gaps
    return FaceTrack(FPS, looks, 0.0)


SPOKEN = (Phoneme("a", 0.0, 0.4), Phoneme("p", 0.4, 0.52), Phoneme("a", 0.52, 1.0), Phoneme("m", 1.0, 1.12))


@pytest.mark.parametrize(("shut", "closed"), [((), 0.0), ((11,), 0.5), ((11, 26), 1.0), ((5,), 0.0)])
def test_lips_are_closed_where_a_frame_shows_it(shut: tuple[int, ...], closed: float) -> None:
    gaps = np.full(40, 0.2)
    gaps[[*shut]] = 0.02
    found = closure_figures(track_of(gaps), SPOKEN)
    assert (found["closures"], found["closed"]) == (2, closed)
    assert found["vowel_opening"] == pytest.approx(0.2)


def test_a_face_that_is_lost_for_a_moment_or_for_good() -> None:
    gaps = np.full(40, 0.2)
    gaps[[11, 26]], gaps[3:8] = 0.02, np.nan
    assert closure_figures(track_of(gaps), SPOKEN)["closed"] == 1.0
    gaps[:24] = np.nan
    assert closure_figures(track_of(gaps), SPOKEN) == {}
    assert closure_figures(track_of(np.full(40, 0.2)), [Phoneme("p", 9.0, 9.1)]) == {}
    assert closure_figures(track_of(np.zeros(0)), SPOKEN) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{}x", "7", '[{"phoneme": "a"}]', '[["a", 0, 1]]', '[{"phoneme": "a", "start_s": 2, "end_s": 1}]',
     '[{"phoneme": "a", "start_s": 0, "end_s": NaN}]', '[{"phoneme": "a", "start_s": 0, "end_s": "x"}]'],
)  # fmt: skip
def test_phonemes_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.phonemes.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"a\.phonemes\.json"):
        read_phonemes(tmp_path / "a.phonemes.json")


# One video


def test_a_video_has_all_its_figures(talking: Path) -> None:
    found = measure_figures(talking, STAND_IN)
    natural = measure_video(talking)
    for name in set(vars(natural)) & set(BY_NAME):
        assert found.values[name] == pytest.approx(getattr(natural, name), nan_ok=True), name
    for name, score in natural.scores().items():
        assert found.values[f"score_{name}"] == pytest.approx(score, nan_ok=True)
    assert found.values["closures"] == sum(
        each.end <= 1.6 and each.name in ("p", "b", "m") and each.end - each.start >= 0.06
        for each in read_phonemes(PHONEMES)
    )
    assert found.values["closed"] == 1.0
    assert 0.02 < found.values["vowel_opening"] < 0.5
    assert (found.values["sync_offset"], found.values["sync_error"]) == (-0.02, 0.02)
    assert math.isnan(found.values["identity"])
    assert (found.frames, found.seen) == (40, 40)


def late_face(path: Path, talking: Path, before: int) -> Path:
    """Noise without a face, for so many frames, and then the video."""
    frames = [cv2.resize(frame, (256, 256)) for frame in drawn_frames(before, SMALL)]
    frames += read_frames(talking)
    sound = read_speech(talking)
    with VideoWriter(path, 256, 256, FPS, sound) as writer:
        for frame in frames:
            writer.write(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420))
    return path


def test_a_face_that_comes_later_is_measured(talking: Path, tmp_path: Path) -> None:
    """It is looked for once a second."""
    found = measure_figures(late_face(tmp_path / "late.mp4", talking, 20), STAND_IN)
    assert (found.frames, found.seen) == (40 + 20, 40 - 5)
    assert not any("face" in note for note in found.notes)
    usual = measure_figures(talking, STAND_IN).values
    for name in ("yaw", "eyes_open", "lip_dynamics"):
        assert found.values[name] == pytest.approx(usual[name], rel=0.5), name
    assert math.isfinite(found.values["background"])


def test_pictures_are_decoded_once(talking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    real = video._pictures

    def counted(*arguments: Any) -> Any:
        passes.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(video, "_pictures", counted)
    judged = measure_figures(talking, Measuring())
    assert len(passes) == 1
    plain = measure_figures(talking, STAND_IN)
    for name in set(BY_NAME) - {each for each in BY_NAME if each.startswith("sync_")}:
        assert judged.values[name] == pytest.approx(plain.values[name], nan_ok=True), name
    assert judged.values["sync_confidence"] > 0


def test_stopping_while_lip_sync_is_measured(talking: Path) -> None:
    asked = iter([False] * 10)
    with pytest.raises(Cancelled):
        measure_figures(talking, Measuring(), lambda: next(asked, True))


def test_figures_are_the_same_after_json(talking: Path) -> None:
    found = measure_figures(talking, STAND_IN)
    again = VideoFigures.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False)))
    assert again.as_json() == found.as_json()
    for broken in ({}, found.as_json() | {"values": {}}, found.as_json() | {"notes": 3}):
        with pytest.raises((KeyError, TypeError)):
            VideoFigures.from_json(broken)


def test_phonemes_that_cannot_be_read_cost_closures_alone(talking: Path, tmp_path: Path) -> None:
    shutil.copy(talking, tmp_path / "hello.mp4")
    (tmp_path / "hello.phonemes.json").write_text("[1]", encoding="utf-8")
    found = measure_figures(tmp_path / "hello.mp4", STAND_IN)
    assert math.isnan(found.values["closed"]) and math.isfinite(found.values["lip_dynamics"])
    assert "Closures were not measured: hello.phonemes.json holds no phonemes with times." in found.notes


def test_a_video_without_sound_has_the_figures_of_its_picture(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "silent.mp4", sound=False, name="portrait_02.jpg"), STAND_IN)
    assert math.isfinite(found.values["yaw"])
    assert np.isnan(
        [found.values[name] for name in ("lip_sync", "silent_lips", "sync_offset", "score")]
    ).all()
    assert found.notes == ("Lip sync was not measured: silent.mp4 has no sound.",)


def test_an_offset_that_is_not_sure_is_told_and_counts_nowhere(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "unsure.mp4", sound=False, name="portrait_02.jpg"), STAND_IN)
    assert (found.offset, found.values["sync_confidence"]) == (-0.02, 0.3)
    assert math.isnan(found.values["sync_offset"]) and math.isnan(found.values["sync_error"])
    assert found.notes == ("An offset of -20 ms is not sure (confidence 0.30).",)


def test_lip_sync_is_the_judges(talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without training, which is 50 % sure of anything; what ships for calibration is not read."""
    judge = tmp_path / "judge.safetensors"
    arrays = {name: np.ascontiguousarray(array) for name, array in toy_arrays().items()}
    save_file(arrays, judge, {"format": encoders.FORMAT})
    places = {"judge": judge}
    monkeypatch.setattr(measuring, "weights_of", places.__getitem__)
    found = measure_figures(talking, Measuring())
    assert math.isfinite(found.offset) and found.values["sync_confidence"] == pytest.approx(0.5, abs=0.01)
    judge.unlink()
    encoders.load.cache_clear()
    without = measure_figures(talking, Measuring())
    assert math.isnan(without.offset) and math.isfinite(without.values["yaw"])
    assert any("judge.safetensors" in note for note in without.notes)


def test_why_lip_sync_could_not_be_measured_is_told(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "still.mp4", 2, sound=False, name="portrait_02.jpg"), STAND_IN)
    assert math.isnan(found.offset) and math.isnan(found.values["sync_confidence"])
    assert found.notes == ("The mouth does not move.", "One warning.")


def test_nothing_to_measure_is_an_error_and_a_face_is_not_everything(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no sound"):
        measure_figures(clip(tmp_path / "silent noise.mp4", 3, sound=False), STAND_IN)
    found = measure_figures(clip(tmp_path / "noise.mp4", 3), STAND_IN)
    assert found.values["sync_offset"] == -0.02 and found.seen == 0
    assert any(note.startswith("The face was not measured: ") for note in found.notes)


def test_measuring_stops_between_frames(talking: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        measure_figures(talking, STAND_IN, lambda: next(asked))


# Identity


def test_the_five_points_come_to_their_places() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    points = mean_face() * 80 + (200, 180, 0)
    for corner in points[[61, 291, 1], :2]:
        cv2.circle(picture, np.rint(corner).astype(int).tolist(), 4, (255, 255, 255), -1)
    square = laid_square(picture, points)
    assert square.shape == (SIDE, SIDE, 3)
    for x, y in PLACES[2:]:
        near = square[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, 0]
        assert near.max() > 200


def test_one_face_is_like_itself_and_less_like_another(tmp_path: Path) -> None:
    network = ArcFace(write_arcface(tmp_path / "肖像" / "w600k_tiny.onnx"))
    rgb = read_portrait(MEDIA / "portrait_01.jpg").rgb
    points = (mean_face() * 60 + (rgb.shape[1] / 2, rgb.shape[0] / 2, 0)).astype(np.float32)
    own, darker = network.direction(rgb, points), network.direction(255 - rgb, points)
    assert own.shape == (147,) and np.linalg.norm(own) == pytest.approx(1)
    assert own @ network.direction(rgb, points) == pytest.approx(1)
    assert own @ darker < 0.9


def test_recognisers_that_are_none(tmp_path: Path) -> None:
    points = mean_face() * 40 + 56
    with pytest.raises(MissingPart, match="cannot be read"):
        ArcFace(tmp_path / "gone.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x06nothing")
    with pytest.raises(MissingPart, match="face recogniser"):
        ArcFace(tmp_path / "broken.onnx").direction(np.zeros((112, 112, 3), np.uint8), points)
    other = ArcFace(write_arcface(tmp_path / "other.onnx", last="Relu"))
    with pytest.raises(MissingPart, match="does not answer as a face recogniser"):
        other.direction(np.zeros((112, 112, 3), np.uint8), points)


def test_recognisers_are_found_beside_detectors(tmp_path: Path) -> None:
    search = weights.Search(tmp_path / "own")
    assert recognisers(search) == []
    pack = tmp_path / "insightface" / "models" / "buffalo_s"
    pack.mkdir(parents=True)
    for name, size in (("det_500m.onnx", 9), ("w600k_mbf.onnx", 20), ("genderage.onnx", 90)):
        (pack / name).write_bytes(b"0" * size)
    (tmp_path / "insightface" / "glintr100.onnx").write_bytes(b"0" * 50)
    assert [path.name for path in recognisers(search)] == ["glintr100.onnx", "w600k_mbf.onnx"]


def test_identity_is_measured_against_the_first_frame_or_a_portrait(talking: Path, tmp_path: Path) -> None:
    network = write_arcface(tmp_path / "w600k_tiny.onnx")
    own = measure_figures(talking, Measuring("stand_in_sync:measure", network)).values
    assert 0.8 < own["identity_least"] <= own["identity"] <= 1 + 1e-6
    other = Measuring("stand_in_sync:measure", network, MEDIA / "portrait_03.jpg")
    assert measure_figures(talking, other).values["identity"] < own["identity"]


def test_what_would_fail_with_every_video_is_refused_at_once(talking: Path, tmp_path: Path) -> None:
    network = write_arcface(tmp_path / "w600k_tiny.onnx")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SMALL, SMALL, 3), 128, np.uint8))
    for how, error in (
        (Measuring(portrait=MEDIA / "portrait_01.jpg"), BadInput),
        (Measuring(recogniser=network, portrait=tmp_path / "grey.png"), NoFace),
        (Measuring(recogniser=tmp_path / "gone.onnx"), MissingPart),
    ):
        with pytest.raises(error):
            evaluate([talking.parent], tmp_path / "results", how)
    assert not (tmp_path / "results").exists()
