"""`verify` on what came through the gate, on what was done to it since, and on everything else."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made_takes import FPS, SIDE, TAKE_ID, adopt_clip, drawn_frames, record_clip

from sonic_ext.errors import BadVideo, Cancelled
from sonic_ext.media.video import VideoWriter, read_frames, remux
from sonic_ext.provenance import c2pa, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.metadata import top_boxes
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.verify import Labels, Mark, Verification, verify
from sonic_ext.settings import Settings

FRAMES = 75
STATED = Consent(face="self", voice="self", subject="Ada Example", operator="O. Perator", purpose="a test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """An export of three seconds, and the home it came from."""
    folder = tmp_path_factory.mktemp("made")
    home = folder / "home"
    record_clip(folder, Settings(), FRAMES)
    take = adopt_clip(Store(home), folder, frames=FRAMES)
    return home, export(take, folder / "out.mp4", STATED)


@pytest.fixture
def home(made: tuple[Path, Exported], sonic_home: Path) -> Path:
    """A copy of the home, to tamper with."""
    shutil.copytree(made[0], sonic_home)
    return sonic_home


@pytest.fixture
def video(made: tuple[Path, Exported], tmp_path: Path) -> Path:
    """A copy of the exported file."""
    return Path(shutil.copyfile(made[1].path, tmp_path / "视频 video.mp4"))


def encode_again(source: Path, target: Path, metadata: dict[str, str] | None = None) -> Path:
    with VideoWriter(target, SIDE, SIDE, FPS, metadata=metadata, crf=23) as writer:
        for frame in read_frames(source):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
    return target


def unmarked(target: Path, count: int = 12) -> Path:
    with VideoWriter(target, SIDE, SIDE, FPS) as writer:
        for frame in drawn_frames(count):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
    return target


def flipped(path: Path, place: int) -> Path:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    return path


def contents(path: Path, kind: bytes) -> tuple[int, int]:
    with path.open("rb") as file:
        return next((start, end) for found, start, end in top_boxes(file) if found == kind)


# Untouched


def test_an_export_is_intact(video: Path, home: Path, made: tuple[Path, Exported]) -> None:
    found = verify(video)
    assert (found.verdict, found.contradictions, found.id) == ("intact", (), TAKE_ID)
    assert (found.signature.state, found.signature.trust) == ("valid", "own")
    assert found.watermark.id == TAKE_ID
    assert found.watermark.odds < 1e-9
    assert found.labels.aigc is not None
    assert found.labels.aigc.take == TAKE_ID
    assert found.labels.aigc.problems == ()
    assert found.labels.source_type == metadata.COMPOSITE
    assert "Sonic seed: 7" in found.labels.comment
    assert found.home.records == (made[1].record,)
    assert found.home.same_file
    assert not found.home.revoked
    assert found.sha256 == made[1].sha256


def test_the_text_holds_every_answer(video: Path, home: Path) -> None:
    text = verify(video).text()
    first, *lines = text.splitlines()
    assert first.startswith(
        f"Made by this tool, id {TAKE_ID}, unchanged since it was signed by this installation"
    )
    assert "untrusted elsewhere" in first
    assert [line.split(":")[0].strip() for line in lines] == [
        "Signature",
        "Watermark",
        "AIGC label",
        "XMP source",
        "Comment",
        "Consent record",
        "SHA-256",
    ]
    assert "this very file was exported here" in text
    assert "odds of a false alarm below" in text


def test_the_dictionary_is_json_and_names_nobody(video: Path, home: Path) -> None:
    text = json.dumps(verify(video).to_dict())
    values = json.loads(text)
    assert values["verdict"] == "intact"
    assert values["record"]["found"][0]["state"] == "exported"
    assert "Ada Example" not in text
    assert "O. Perator" not in text


def test_elsewhere_it_is_intact_but_nobody_vouches(video: Path, sonic_home: Path) -> None:
    found = verify(video)
    assert (found.verdict, found.signature.trust) == ("intact", "unknown")
    assert found.summary.startswith("Says that this tool made it")
    assert found.home.records == ()
    assert "not found on this computer" in found.text()
    assert not sonic_home.exists()


def test_revoking_shows(video: Path, home: Path) -> None:
    Ledger().revoke(TAKE_ID)
    found = verify(video)
    assert found.verdict == "intact"
    assert found.home.revoked
    assert "revoked" in found.text()


def test_an_altered_ledger_shows(video: Path, home: Path) -> None:
    with closing(sqlite3.connect(home / "consent" / "ledger.sqlite3")) as db:
        db.execute("DROP TRIGGER events_no_update")
        db.execute("UPDATE events SET body = replace(body, 'a test', 'a film') WHERE seq = 1")
        db.commit()
    found = verify(video)
    assert found.verdict == "intact"
    assert "other tables or triggers than expected: trigger events_no_update" in found.text()
    assert found.home.records == ()


def test_the_search_can_be_stopped_and_is_reported(video: Path, home: Path) -> None:
    steps: list[tuple[int, int]] = []

    def tick(stage: str, done: int, total: int) -> None:
        steps.append((done, total))
        if done == 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        verify(video, tick=tick)
    assert steps == [(number, FRAMES) for number in range(1, 21)]


# Altered


@pytest.mark.parametrize("share", [*np.linspace(0, 0.999999, 23)])
def test_any_byte_of_the_media_data_counts(share: float, video: Path) -> None:
    start, end = contents(video, b"mdat")
    place = start + int(share * (end - start))
    assert c2pa.read(flipped(video, place)).state == "altered"


@pytest.mark.parametrize("share", [0.0, 0.999999])
def test_a_changed_byte_is_told(share: float, video: Path, home: Path) -> None:
    start, end = contents(video, b"mdat")
    found = verify(flipped(video, start + int(share * (end - start))))
    assert found.verdict == "altered"
    assert "assertion.bmffHash.mismatch" in found.signature.problems
    assert found.summary.endswith("altered: the signature does not fit the file.")
    assert not found.home.same_file
    assert found.home.records


def test_changed_metadata_is_told(video: Path, home: Path) -> None:
    data = video.read_bytes()
    video.write_bytes(data.replace(b"Sonic seed: 7", b"Sonic seed: 8"))
    found = verify(video)
    assert found.verdict == "altered"
    assert "Sonic seed: 8" in found.labels.comment


def test_changed_xmp_is_told(video: Path, home: Path) -> None:
    data = video.read_bytes()
    assert data.count(b"compositeWithTrained") >= 2
    place = data.rindex(b"compositeWithTrained")
    video.write_bytes(data[:place] + b"xomposite" + data[place + 9 :])
    assert verify(video).verdict == "altered"


@pytest.mark.parametrize(
    "label", [b"local.sonic.consent", b"c2pa.actions.v2", b"c2pa.signature", TAKE_ID.encode()]
)
def test_a_changed_manifest_is_told(label: bytes, video: Path) -> None:
    place = video.read_bytes().index(b"jumb")
    assert c2pa.read(flipped(video, video.read_bytes().index(label, place))).state == "altered"


def test_a_manifest_for_another_video_is_told(
    video: Path, home: Path, made: tuple[Path, Exported], tmp_path: Path
) -> None:
    """Signed properly, by the same hand, but the picture carries another id."""
    record = made[1].record
    take = replace(Store().load(TAKE_ID), id="f" * 16)
    forged = tmp_path / "forged.mp4"
    stripped = encode_again(video, tmp_path / "stripped.mp4")
    metadata.append_xmp(stripped, take, metadata.COMPOSITE)
    c2pa.sign(stripped, forged, take, record, metadata.COMPOSITE, c2pa.identity())
    found = verify(forged)
    assert (found.signature.state, found.verdict) == ("valid", "altered")
    assert found.contradictions == ("The watermark is that of another video.",)


def test_a_file_signed_again_is_not_the_one_that_left(
    video: Path, home: Path, made: tuple[Path, Exported], tmp_path: Path
) -> None:
    take = Store().load(TAKE_ID)
    again = tmp_path / "again.mp4"
    stripped = encode_again(video, tmp_path / "stripped.mp4")
    metadata.append_xmp(stripped, take, metadata.TRAINED)
    c2pa.sign(stripped, again, take, made[1].record, metadata.COMPOSITE, c2pa.identity())
    found = verify(again)
    assert (found.signature.state, found.verdict) == ("valid", "altered")
    assert len(found.contradictions) == 2


def test_labels_alone_are_no_proof(home: Path, tmp_path: Path) -> None:
    plain = unmarked(tmp_path / "plain.mp4")
    labelled = tmp_path / "labelled.mp4"
    remux(plain, labelled, {"AIGC": metadata.aigc_label(TAKE_ID)})
    found = verify(labelled)
    assert (found.verdict, found.id) == ("altered", TAKE_ID)
    assert "labels remain" in found.summary


# Metadata lost


def _encoded(source: Path, target: Path) -> None:
    encode_again(source, target)


def _copied(source: Path, target: Path) -> None:
    remux(source, target, {})


@pytest.mark.parametrize("lose", [_encoded, _copied])
def test_the_watermark_is_what_remains(
    lose: Callable[[Path, Path], None], video: Path, home: Path, tmp_path: Path
) -> None:
    lost = tmp_path / "lost.mp4"
    lose(video, lost)
    found = verify(lost)
    assert (found.verdict, found.signature.state) == ("metadata lost", "absent")
    assert found.summary == f"Marked by this tool, id {TAKE_ID}, metadata lost."
    assert [record.take for record in found.home.records] == [TAKE_ID]
    assert "this file differs from the exported one" in found.text()


def test_another_container_keeps_the_watermark(video: Path, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "lost.mov"
    with av.open(str(video)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    assert verify(target).verdict == "metadata lost"


# From elsewhere


def test_a_video_without_marks(tmp_path: Path, sonic_home: Path) -> None:
    found = verify(unmarked(tmp_path / "plain.mp4"))
    assert (found.verdict, found.id) == ("unmarked", "")
    assert found.summary == "No mark of this tool was found."
    assert "too short for the watermark" in found.text()
    assert not sonic_home.exists()
    json.dumps(found.to_dict())


def test_a_foreign_aigc_label_is_shown(tmp_path: Path, sonic_home: Path) -> None:
    plain, labelled = unmarked(tmp_path / "plain.mp4"), tmp_path / "labelled.mp4"
    remux(plain, labelled, {"AIGC": '{"Label":"1","ContentProducer":"somebody"}'})
    found = verify(labelled)
    assert found.verdict == "unmarked"
    assert "ContentProducer=somebody" in found.text()
    assert "ProduceID is missing" in found.text()


def test_a_foreign_signature_is_told(tmp_path: Path) -> None:
    signature = c2pa.Signature("valid", trust="unknown", signer="Camera 9")
    found = Verification(tmp_path, "", signature, Mark(frames=9), Labels())
    assert found.verdict == "unmarked"
    assert "signed by Camera 9" in found.summary


@pytest.mark.parametrize(
    "name", ["portrait_01.jpg", "LICENSES.md", "speech_en_espeak.wav", "missing.mp4", ""]
)
def test_what_is_no_video(name: str, media: Path) -> None:
    with pytest.raises(BadVideo):
        verify(media / name)


def test_a_picture_that_cannot_be_searched_is_told(tmp_path: Path, sonic_home: Path) -> None:
    plain = unmarked(tmp_path / "plain.mp4")
    start, end = contents(plain, b"mdat")
    data = plain.read_bytes()
    plain.write_bytes(data[:start] + bytes(end - start) + data[end:])
    found = verify(plain)
    assert (found.verdict, found.watermark.frames) == ("unmarked", 0)
    assert "could not be searched" in found.summary


def test_a_cut_video_is_altered(video: Path, home: Path) -> None:
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 2 // 3])
    found = verify(video)
    assert found.verdict == "altered"
