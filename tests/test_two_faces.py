"""Two people in one picture, each with a voice of their own: what is drawn, heard, stated and taken back."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from made_takes import face_range, mean_face_at, no_tick, some_speech, undrawn_take
from numpy.typing import NDArray
from PIL import Image
from toy_engine import SPEC as TOY

from sonic_ext import engines, pipeline
from sonic_ext.engines import registry
from sonic_ext.engines.preview.engine import PairAnimation, PreviewEngine
from sonic_ext.engines.preview.speech import VisemeNet
from sonic_ext.errors import (
    BadAudio,
    BadPortrait,
    BadSetting,
    ConsentMissing,
    ConsentRevoked,
    LooksRevoked,
    NoFace,
)
from sonic_ext.evaluation.eyes import Lids
from sonic_ext.jobs import Input, JobSpec, Origin
from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.face import LandmarkTracker
from sonic_ext.media.image import from_array, read_portrait
from sonic_ext.media.mesh import eye_centres, mouth_opening
from sonic_ext.media.perceptual import BYTES
from sonic_ext.media.scene import FaceRange, Scene, compose
from sonic_ext.media.sides import sides_of
from sonic_ext.media.video import probe, read_frames
from sonic_ext.media.voices import Dialogue, read_voices, voice_count
from sonic_ext.provenance.c2pa import salted_sha256
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, export
from sonic_ext.provenance.labels import lay_out
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.revocation import revoke
from sonic_ext.provenance.stamp import PreviewStamp
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import SecondSpeaker, Take
from sonic_ext.provenance.verify import verify
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
TWO_PEOPLE = MEDIA / "two_people.jpg"
LEFT, RIGHT = "portrait_01", "portrait_02"
SPOKEN = ("short_en_flite_rms_2s3.wav", "speech_en_flite_slt.wav")
RATE, FPS = 16000, 25
TURN = 1.9
"""Seconds that each of them speaks."""
PAUSE = 0.5
SMALL = {"min_resolution": 384, "seed": 7, "engine": "preview"}
ONE = Consent(face="synthetic", voice="synthetic")
BOTH = replace(ONE, face_2="self", voice_2="authorised")


def side_by_side(folder: Path, cut: int = 0) -> Path:
    """Two of the portraits in one picture; `cut` pixels of either are left out where they meet."""
    left, right = (np.asarray(Image.open(MEDIA / f"{name}.jpg").convert("RGB")) for name in (LEFT, RIGHT))
    target = folder / f"pair_{cut}.png"
    Image.fromarray(np.concatenate([left[:, : left.shape[1] - cut], right[:, cut:]], axis=1)).save(target)
    return target


def heard(speech: Speech, rate: int = RATE) -> NDArray[np.float32]:
    return np.concatenate(list(speech.blocks(rate)))


def turns() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Real speech of two persons who speak one after the other."""
    first, second = (heard(read_speech(MEDIA / name))[: round(TURN * RATE)] for name in SPOKEN)
    silence, pause = np.zeros(round(TURN * RATE), np.float32), np.zeros(round(PAUSE * RATE), np.float32)
    return np.concatenate([first, pause, silence]), np.concatenate([silence, pause, second])


def stereo() -> Speech:
    return Speech.from_samples(np.stack(turns(), axis=1), RATE)


def written(folder: Path) -> tuple[Path, Path]:
    """The voices as files."""
    paths = folder / "first.wav", folder / "second.wav"
    for path, samples in zip(paths, turns(), strict=True):
        path.write_bytes(Speech.from_samples(samples, RATE).data or b"")
    return paths


@dataclass(frozen=True)
class Talk:
    """A finished video of two, and what was measured in it."""

    take: Take
    store: Store
    openings: NDArray[np.float64]
    """How far each mouth is open, [frames, 2]."""
    lids: NDArray[np.float64]
    """How far their eyes are, [frames, 2]."""
    noses: NDArray[np.float64]
    """Where their noses are, pixels, [frames, 2, 2]."""

    def while_speaking(self, who: int) -> NDArray[np.float64]:
        """`openings` in the turn of one of them, its edges left out."""
        start = round(who * (TURN + PAUSE) * FPS)
        return self.openings[start + 5 : start + round(TURN * FPS) - 3]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    folder = tmp_path_factory.mktemp("talk")
    store = Store(folder / "home")
    first, second = written(folder)
    take = pipeline.animate(side_by_side(folder), first, SMALL, store=store, voice_2=second)
    scene = compose(read_portrait(take.portrait_file), take.settings, 2, wanted=2)
    tracker = LandmarkTracker()
    lids = [Lids(scene.picture, face.landmarks) for face in scene.faces]
    openings, open_eyes, noses = [], [], []
    for frame in read_frames(take.master):
        points = [tracker.track(frame, face)[0] for face in scene.faces]
        openings.append([mouth_opening(each) for each in points])
        open_eyes.append([lid.look(frame, each)[0] for lid, each in zip(lids, points, strict=True)])
        noses.append([each[4, :2] for each in points])
    return Talk(take, store, np.array(openings), np.array(open_eyes), np.array(noses))


# What is drawn


def test_the_video_lasts_as_long_as_the_longer_voice(talk: Talk) -> None:
    assert talk.take.seconds == pytest.approx(2 * TURN + PAUSE, abs=1 / FPS)
    assert probe(talk.take.master).audio_seconds == pytest.approx(2 * TURN + PAUSE, abs=1 / FPS)


@pytest.mark.parametrize("who", [0, 1])
def test_each_mouth_follows_its_own_voice_and_is_shut_meanwhile(talk: Talk, who: int) -> None:
    spoken, quiet = talk.while_speaking(who)[:, who], talk.while_speaking(1 - who)[:, who]
    assert spoken.max() > 0.15
    assert spoken.std() > 4 * quiet.std()
    assert quiet.max() < 0.06
    assert quiet.max() < 0.3 * spoken.max()


@pytest.mark.parametrize("who", [0, 1])
def test_a_mouth_opens_with_what_its_own_person_says(talk: Talk, who: int) -> None:
    """Syllable for syllable: as the network hears that voice, and not as it hears the other."""
    own, other = (
        VisemeNet().read(iter([turns()[each]]), len(talk.openings), FPS, no_tick) for each in (who, 1 - who)
    )
    seen = talk.openings[:, who]
    assert np.corrcoef(own.jaw * (1.0 - own.press), seen)[0, 1] > 0.8
    assert np.corrcoef(other.jaw, seen)[0, 1] < 0.1


@pytest.mark.parametrize("who", [0, 1])
def test_whoever_listens_is_alive(talk: Talk, who: int) -> None:
    lids = talk.lids[:, who]
    assert lids.min() < 0.7 * np.median(lids) > 0.1, "eyes that blink"
    start = round((1 - who) * (TURN + PAUSE) * FPS)
    moved = talk.noses[start : start + round(TURN * FPS), who].std(axis=0)
    assert 0.2 < moved.max() < 12


def test_they_do_not_move_as_one(talk: Talk) -> None:
    first, second = talk.lids.argmin(axis=0)
    assert abs(first - second) > 5
    ways = talk.noses - talk.noses.mean(axis=0)
    assert abs(np.corrcoef(ways[:, 0, 0], ways[:, 1, 0])[0, 1]) < 0.9


def animated(scene: Scene, count: int = 12, **settings: Any) -> PairAnimation:
    voices = read_voices(stereo(), None, Settings(voices="channels"))
    made = PreviewEngine().prepare(scene, voices, Settings(**settings), count, 7, no_tick)
    assert isinstance(made, PairAnimation)
    return made


@pytest.mark.parametrize("cut", [0, 150, 200])
def test_there_is_no_seam_between_the_faces(tmp_path: Path, cut: int) -> None:
    """Where the sides meet every frame is the portrait itself, and to either side of it hardly changed."""
    scene = compose(read_portrait(side_by_side(tmp_path, cut)), Settings(min_resolution=384), 2, wanted=2)
    frames = [frame.copy() for frame in animated(scene, 40).frames()]
    line = round(float(sides_of((scene.face, scene.faces[1]))[0].edge[0]))
    for frame in frames[::6]:
        changed = np.abs(frame.astype(int) - scene.picture)
        assert changed[:, line - 1 : line + 1].max() <= 2
        steps = np.abs(np.diff(frame.astype(int), axis=1)) - np.abs(
            np.diff(scene.picture.astype(int), axis=1)
        )
        assert steps[:, line - 2 : line + 2].max() <= 16
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 20


def test_each_side_is_drawn_as_that_face_alone_would_be(tmp_path: Path) -> None:
    scene = compose(read_portrait(side_by_side(tmp_path)), Settings(min_resolution=384), 2, wanted=2)
    pair = animated(scene)
    both, one, other = (
        next(iter(each.frames())).copy() for each in (pair, animated(scene).first, animated(scene).second)
    )
    assert (np.where(pair.mask[..., None] > 0, other, one) == both).all()


def test_faces_that_nearly_touch_move_less_and_those_that_do_are_refused(tmp_path: Path) -> None:
    near, touching = (
        compose(read_portrait(side_by_side(tmp_path, cut)), Settings(), 2, wanted=2) for cut in (200, 245)
    )
    assert any("close together" in note for note in animated(near).warnings)
    for tried in (lambda: animated(touching), lambda: PreviewEngine().forecast(touching, Settings(), 9)):
        with pytest.raises(BadPortrait, match="too close together"):
            tried()


def test_label_and_tape_heed_both_faces() -> None:
    width, height = 640, 384
    faces = mean_face_at(160, 150, 60), mean_face_at(480, 120, 60)
    ranges = replace(face_range(faces[0]), second=face_range(faces[1]))
    label = lay_out(Settings().label_text, "auto", width, height, ranges).box
    assert not any(label.overlap(each.moving) for each in ranges.each)
    stamp = PreviewStamp(Settings(), faces[0], ranges, width, height, FPS, faces[1])
    scale = stamp.width / width
    for face in faces:
        for x, y in (scale * eye[:2] for eye in eye_centres(face.landmarks)):
            assert stamp.covered[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].all()
        x, y = scale * face.landmarks[13, :2]
        assert not stamp.covered[round(y), round(x)]


def test_a_range_of_two_faces_grows_with_both() -> None:
    scene = compose(read_portrait(TWO_PEOPLE), Settings(), 2, wanted=2)
    found = scene.face_range(1.0)
    assert isinstance(found.second, FaceRange)
    assert found.second == replace(scene, face=scene.faces[1], second=None).face_range(1.0)
    assert found.scaled(0.5, 0.5).second == found.second.scaled(0.5, 0.5)


# Which face is which


def places(scene: Scene) -> list[str]:
    middle = scene.width / 2
    return ["left" if face.box.centre[0] < middle else "right" for face in scene.faces]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["left", "right"]),
        ({"framing": "crop"}, ["left", "right"]),
        ({"face_box": (713, 184, 880, 411)}, ["right", "left"]),
        ({"face_box_2": (128, 222, 299, 437)}, ["right", "left"]),
        ({"face_box": (128, 222, 299, 437), "face_box_2": (713, 184, 880, 411)}, ["left", "right"]),
        ({"eyes": (760, 270, 838, 268)}, ["right", "left"]),
    ],
)
def test_the_left_face_speaks_first_unless_a_box_says_otherwise(
    given: Mapping[str, Any], expected: list[str]
) -> None:
    scene = compose(read_portrait(TWO_PEOPLE), Settings(**given), 2, wanted=2)
    assert places(scene) == expected
    assert scene.count == 2


def test_faces_that_cannot_be_told_apart_are_refused() -> None:
    box, near = (713, 184, 880, 411), (720, 190, 890, 420)
    for settings in (Settings(face_box=box, face_box_2=box), Settings(face_box=box, face_box_2=near)):
        with pytest.raises(BadSetting, match="hold the same face"):
            compose(read_portrait(TWO_PEOPLE), settings, 2, wanted=2)
    with pytest.raises(NoFace, match="One face was found in the picture, and there are two voices"):
        compose(read_portrait(MEDIA / "portrait_01.jpg"), Settings(), 2, wanted=2)


def test_of_three_faces_the_largest_two_speak(tmp_path: Path) -> None:
    pair = np.asarray(Image.open(side_by_side(tmp_path)))
    small = np.asarray(Image.open(MEDIA / "portrait_03.jpg").convert("RGB").resize((384, 384)))
    small = np.concatenate([small, np.full((pair.shape[0] - 384, 384, 3), 128, np.uint8)])
    scene = compose(from_array(np.concatenate([small, pair], axis=1)), Settings(), 2, wanted=2)
    assert scene.count == 3
    assert min(face.box.left for face in scene.faces) > scene.width / 5
    assert scene.warnings[0].startswith("3 faces were found; the largest speak.")


def test_a_picture_on_its_side_is_set_upright_for_both() -> None:
    turned = from_array(np.rot90(read_portrait(TWO_PEOPLE).rgb).copy())
    scene = compose(turned, Settings(), 2, wanted=2)
    assert (scene.quarters, places(scene)) == (3, ["left", "right"])
    assert all(abs(face.roll) < 15 for face in scene.faces)


# What is heard


def test_the_sound_is_the_sum_of_both_and_never_clips() -> None:
    loud = [Speech.from_samples(0.9 * each / np.abs(each).max(), RATE) for each in turns()]
    apart = read_voices(*loud, Settings())
    assert isinstance(apart, Dialogue)
    assert np.allclose(heard(apart), sum(map(heard, loud)), atol=1e-6)
    at_once = read_voices(loud[0], loud[0], Settings())
    assert np.abs(heard(at_once)).max() == pytest.approx(1.0, abs=0.02)
    assert np.corrcoef(heard(at_once), heard(loud[0]))[0, 1] > 0.9999


def test_channels_and_files_are_the_same_voices() -> None:
    files = read_voices(*(Speech.from_samples(each, RATE) for each in turns()), Settings())
    channels = read_voices(stereo(), None, Settings(voices="channels"))
    assert [np.allclose(heard(a), heard(b)) for a, b in zip(files.voices, channels.voices, strict=True)] == [
        True,
        True,
    ]
    assert np.allclose(heard(files), heard(channels), atol=1e-6)
    assert (files.length, files.channels) == (channels.length, channels.channels) == (2 * TURN + PAUSE, 1)
    assert files.loudness == pytest.approx(channels.loudness, abs=0.01)


def test_the_length_is_the_longer_voice_and_the_settings_fit_it() -> None:
    first, second = turns()
    both = read_voices(
        Speech.from_samples(first[: round(TURN * RATE)], RATE), Speech.from_samples(second, RATE), Settings()
    )
    assert both.length == pytest.approx(2 * TURN + PAUSE)
    cut = both.fitted(Settings(duration=1.0, duration_policy="trim"))
    assert (cut.length, len(cut.voices), len(heard(cut))) == (1.0, 2, RATE)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (turns()[0], "needs two channels, and speech.wav has 1"),
        (np.stack([turns()[0]] * 3, axis=1), "needs two channels, and speech.wav has 3"),
        (np.stack([turns()[0]] * 2, axis=1), "Both channels of speech.wav hold the same sound"),
    ],
)
def test_one_file_with_no_two_voices_is_refused(samples: NDArray[np.float32], told: str) -> None:
    with pytest.raises(BadAudio, match=told):
        read_voices(Speech.from_samples(samples, RATE), None, Settings(voices="channels"))


def test_a_silent_voice_listens_and_two_are_refused(tmp_path: Path) -> None:
    first, _ = written(tmp_path)
    silent = tmp_path / "silent.wav"
    samples = np.zeros(RATE, np.int16)
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("pcm_s16le", RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert read_voices(first, silent, Settings()).warnings == (
        "The second voice is silent: that person only listens.",
    )
    one_sided = Speech.from_samples(np.stack([np.zeros_like(turns()[0]), turns()[0]], axis=1), RATE)
    assert read_voices(one_sided, None, Settings(voices="channels")).warnings == (
        "The first voice is silent: that person only listens.",
    )
    with pytest.raises(BadAudio, match="Both voices are silent"):
        read_voices(silent, silent, Settings())


def test_what_does_not_go_together_is_said() -> None:
    box = (713, 184, 880, 411)
    assert [
        voice_count(Settings()),
        voice_count(Settings(), "a.wav"),
        voice_count(Settings(voices="channels")),
    ] == [
        1,
        2,
        2,
    ]
    with pytest.raises(BadSetting, match="there is a second one"):
        voice_count(Settings(voices="channels"), "a.wav")
    with pytest.raises(BadSetting, match="there is no second voice"):
        voice_count(Settings(face_box_2=box))


def test_an_engine_with_one_face_is_refused_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ENGINES", (TOY, *registry.ENGINES[-1:]))
    with pytest.raises(BadSetting, match="The toy engine animates one face, and there are two voices"):
        engines.choose("toy", faces=2)
    assert [engines.choose("auto", faces=faces).name for faces in (1, 2)] == ["toy", "preview"]


def test_preflight_tells_of_both_faces() -> None:
    one = pipeline.preflight(TWO_PEOPLE, some_speech(), SMALL)
    two = pipeline.preflight(TWO_PEOPLE, stereo(), {**SMALL, "voices": "channels"})
    assert (one.faces, one.face_box_2, two.faces) == (2, None, 2)
    assert two.face_box[0] < 512 < (two.face_box_2 or (0,))[0]
    assert two.seconds_needed > 0


# Consent of each, and its end


@pytest.fixture(scope="module")
def exported(talk: Talk, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(talk.take, tmp_path_factory.mktemp("out") / "talk.mp4", BOTH)


@pytest.mark.parametrize(
    ("consent", "lacks"),
    [
        (ONE, "second face"),
        (replace(BOTH, voice_2=""), "second voice"),
        (replace(BOTH, face_2=""), "second face"),
    ],
)
def test_nothing_gets_out_without_the_consent_of_each(
    talk: Talk, tmp_path: Path, consent: Consent, lacks: str
) -> None:
    with pytest.raises(ConsentMissing, match=f"Consent for the {lacks} is missing"):
        export(talk.take, tmp_path / "out.mp4", consent)
    with pytest.raises(ConsentMissing, match=lacks):
        talk.store.ledger.record(consent, talk.take)
    assert not (tmp_path / "out.mp4").exists()


def test_a_second_person_needs_a_basis_that_is_one() -> None:
    with pytest.raises(ConsentMissing, match="is no basis for using a second voice"):
        replace(BOTH, voice_2="because")


def test_record_manifest_and_infotext_tell_of_both(talk: Talk, exported: Exported) -> None:
    record, second = exported.record, talk.take.second
    assert second is not None
    assert (record.face, record.voice, record.face_2, record.voice_2) == (
        "synthetic",
        "synthetic",
        "self",
        "authorised",
    )
    assert record.audio_2_sha256 == second.audio_sha256 != record.audio_sha256
    assert record.perceptual_hash_2 == second.perceptual_hash != record.perceptual_hash
    found = verify(exported.path, ledger=talk.store.ledger)
    assert found.signature.take["persons"] == "2"
    assert found.signature.take["speech_2_salted"] == salted_sha256(record.nonce, second.audio_sha256)
    assert {"speech_2 (inputTo)", "voice_2 (componentOf)"} < set(found.signature.ingredients)
    assert "Sonic speakers: 2" in found.labels.comment
    assert "face_box_2" not in found.labels.comment


def test_a_sealed_take_of_two_is_read_again(talk: Talk) -> None:
    again = talk.store.load(talk.take.id)
    assert again == talk.take
    assert again.persons == 2
    assert {path.name for path in again.files} == {
        "master.mp4",
        "preview.mp4",
        "portrait.png",
        "first.wav".replace("first", "speech"),
        "speech_2.wav",
    }


def test_a_take_that_says_nothing_of_a_second_is_of_one(take: Take) -> None:
    """As takes were written before there were two."""
    values = take.to_dict()
    del values["second"]
    assert Take.from_dict(values, take.folder) == take
    assert (take.persons, take.looks) == (1, (take.perceptual_hash,))


def second_of(number: int, looks: str) -> SecondSpeaker:
    sound = hashlib.sha256(f"second{number}".encode()).hexdigest()
    return SecondSpeaker(looks, sound, Path("nowhere else"))


def test_the_row_of_one_person_is_as_it_was(sonic_home: Path) -> None:
    """Of a video with one person it holds nothing of a second, even where the consent speaks of one."""
    ledger = Ledger()
    one, two = (
        ledger.record(BOTH, undrawn_take()),
        ledger.record(BOTH, undrawn_take(1, second=second_of(1, "ab" * BYTES))),
    )
    more = {"face_2", "voice_2", "audio_2_sha256", "perceptual_hash_2"}
    assert set(two.to_dict()) - set(one.to_dict()) == more
    assert ledger.show(two.id) == two
    assert "face_2" not in ONE.to_dict()


def test_either_look_is_remembered(sonic_home: Path) -> None:
    """Who is revoked in a portrait of their own is asked about as the second in another, and the reverse."""
    looks = [bytes((n * i * i + 3 * i) % 251 for i in range(BYTES)).hex() for n in (7, 11, 13)]
    ledger = Ledger()
    alone = ledger.record(ONE, undrawn_take(perceptual_hash=looks[1]))
    ledger.revoke(alone.id)
    both = undrawn_take(1, perceptual_hash=looks[0], second=second_of(1, looks[1]))
    with pytest.raises(LooksRevoked, match=alone.id):
        ledger.record(BOTH, both)
    said = ledger.record(replace(BOTH, unlike_reason="a twin"), both)
    assert said.alike == (alone.id,)
    ledger.revoke(said.id)
    with pytest.raises(LooksRevoked, match=said.id):
        ledger.record(ONE, undrawn_take(2, perceptual_hash=looks[0]))
    ledger.record(ONE, undrawn_take(3, perceptual_hash=looks[2]))


def test_revoking_takes_the_video_of_both(talk: Talk, exported: Exported, tmp_path: Path) -> None:
    """The last of this file's tests with that take: it is gone then."""
    done = revoke(exported.record.id, "the second person", talk.store)
    assert done.takes == (talk.take.id,)
    assert not talk.take.folder.exists()
    assert talk.store.ledger.show(exported.record.id).state == "revoked"
    with pytest.raises(ConsentRevoked):
        export(talk.take, tmp_path / "again.mp4", BOTH)
    with pytest.raises(ConsentRevoked):
        pipeline.animate(side_by_side(tmp_path), stereo(), {**SMALL, "voices": "channels"}, store=talk.store)


# Jobs and command line


def some_job(**more: Any) -> JobSpec:
    portrait, audio = Input("a" * 64, "pair.png", 3), Input("b" * 64, "one.wav", 4)
    return JobSpec(
        Origin.CLI, portrait, audio, **{"settings": Settings(), "seed": 7, "engine": "preview"} | more
    )


def test_a_job_of_two_is_written_and_read_again() -> None:
    spec = some_job(audio_2=Input("c" * 64, "two.wav", 5), settings=Settings(face_box_2=(1, 2, 30, 40)))
    assert JobSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.to_dict()["version"] == 2
    assert spec.audio_2 in set(spec.inputs)
    others = [
        some_job(),
        some_job(audio_2=Input("d" * 64, "two.wav", 5)),
        some_job(settings=Settings(voices="channels")),
    ]
    assert len({spec.digest, *(each.digest for each in others)}) == 4
    assert replace(spec, audio_2=Input("c" * 64, "other name.wav", 5)).digest == spec.digest


def test_the_digest_of_one_voice_is_what_it_was_before_there_were_two() -> None:
    values = some_job().to_dict()
    assert (values["version"], "audio_2" in values) == (1, False)
    for name in ("origin", "seed"):
        del values[name]
    for name in ("voices", "face_box_2"):
        del values["settings"][name]
    for name in ("portrait", "audio"):
        del values[name]["name"]
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    assert some_job().digest == hashlib.sha256(text.encode()).hexdigest()


def sonic(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sonic_ext", *map(str, words)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_command_line_makes_a_video_of_two(tmp_path: Path, sonic_home: Path) -> None:
    first, second = written(tmp_path)
    out = tmp_path / "talk.mp4"
    words = ("animate", TWO_PEOPLE, first, "--voice-2", second, "-o", out, "--engine", "preview", "--json")
    words += ("--set", "min_resolution=256", "--set", "duration=0.4", "--set", "duration_policy=trim")
    words += ("--consent-face", "self", "--consent-voice", "self")
    refused = sonic(*words)
    assert refused.returncode == 3
    assert "Consent for the second face is missing" in refused.stdout
    assert not out.exists()
    made = sonic(*words, "--consent-face-2", "synthetic", "--consent-voice-2", "synthetic")
    assert made.returncode == 0, made.stdout + made.stderr
    record = Ledger().show(json.loads(made.stdout)["record"])
    assert (record.face_2, record.voice_2, record.state) == ("synthetic", "synthetic", "exported")
    told = sonic("preflight", TWO_PEOPLE, first, "--voice-2", second, "--engine", "preview")
    assert "Second face box:" in told.stdout
