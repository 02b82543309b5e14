"""`verify` on what came through the gate, on what was done to it since, and on everything else."""

from __future__ import annotations

import json
import os
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
from certificates import Certified, certified
from made_takes import FPS, SIDE, TAKE_ID, adopt_clip, drawn_frames, record_clip

from sonic_ext.errors import BadVideo, Cancelled
from sonic_ext.media.boxes import top_boxes
from sonic_ext.media.video import VideoWriter, read_frames, remux
from sonic_ext.provenance import c2pa, certificates, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import FIRST_WATERMARK
from sonic_ext.provenance.verdict import Verdict
from sonic_ext.provenance.verify import Labels, Mark, Verification, verify
from sonic_ext.provenance.watermark import ALGORITHM, LOOK
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
    assert (found.watermark.id, found.watermark.algorithm) == (TAKE_ID, ALGORITHM)
    assert found.watermark.odds < 1e-9
    assert found.to_dict()["watermark"]["algorithm"] == ALGORITHM
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
    assert not first.endswith(" ")
    assert [line.split(":")[0].strip() for line in lines] == [
        "Signature",
        "Time stamp",
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


def test_elsewhere_nobody_vouches(video: Path, sonic_home: Path) -> None:
    found = verify(video)
    assert (found.verdict, found.signature.trust) == ("unknown signer", "unknown")
    assert found.verdict.exit_code == 6
    assert found.summary.startswith("Says that this tool made it")
    assert found.summary.endswith("signed by somebody nobody here vouches for.")
    assert certificates.ANCHORS_VARIABLE in found.hint
    assert found.home.records == ()
    assert "not found on this computer" in found.text()
    assert not sonic_home.exists()


def test_elsewhere_it_is_intact_where_the_root_is_trusted(
    video: Path, made: tuple[Path, Exported], sonic_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(made[0] / "signing" / "root.pem"))
    found = verify(video)
    assert (found.verdict, found.signature.trust, found.hint) == ("intact", "trusted", "")


def test_the_ledger_vouches_for_what_was_exported_here(video: Path, home: Path) -> None:
    """A new certificate was made since; the ledger knows the file byte for byte."""
    (home / "signing").rename(home / "signing before")
    certificates.identity(home)
    found = verify(video)
    assert (found.verdict, found.signature.trust) == ("intact", "unknown")
    assert found.summary == f"Made by this tool, id {TAKE_ID}, unchanged since it was exported here."


def test_an_older_ledger_is_said_and_accuses_nobody(video: Path, home: Path) -> None:
    """Gone with every trace of it, and begun afresh."""
    shutil.rmtree(home / "consent")
    (home / "ledger-head.json").unlink()
    for ledger in ("none", "new"):
        found = verify(video)
        assert (found.verdict, found.home.records, found.home.outdated) == ("intact", (), True), ledger
        assert "the ledger is older" in found.text()
        Ledger().check()


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
    """Every step in its order; while nothing moves the last one is told again, so that it can be stopped."""
    steps: list[tuple[int, int]] = []

    def tick(stage: str, done: int, total: int, _: str) -> None:
        if stage == "looking for the watermark":
            steps.append((done, total))
        if done == 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        verify(video, tick=tick)
    # A step is told again while the next one takes its time. The newest watermark is looked for after a
    # second and at the end, the first one at the end.
    total = FRAMES + 3 * LOOK
    assert list(dict.fromkeys(steps)) == [(number, total) for number in range(1, 21)]


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
def test_a_changed_manifest_is_told(label: bytes, video: Path, home: Path) -> None:
    place = video.read_bytes().index(b"jumb")
    found = verify(flipped(video, video.read_bytes().index(label, place)))
    assert found.signature.state in ("altered", "damaged")
    assert (found.verdict, found.verdict.exit_code) == ("altered", 3)


def test_labels_alone_are_no_proof(home: Path, tmp_path: Path) -> None:
    plain, labelled = unmarked(tmp_path / "plain.mp4", FRAMES), tmp_path / "labelled.mp4"
    remux(plain, labelled, {"AIGC": metadata.aigc_label(TAKE_ID)})
    found = verify(labelled)
    assert (found.verdict, found.id) == ("contradiction", TAKE_ID)
    assert found.contradictions == (
        f"The AIGC label names the watermark {TAKE_ID}, which is not in the picture.",
    )


def test_a_label_on_a_video_too_short_to_search_accuses_nobody(home: Path, tmp_path: Path) -> None:
    plain, labelled = unmarked(tmp_path / "plain.mp4"), tmp_path / "labelled.mp4"
    remux(plain, labelled, {"AIGC": metadata.aigc_label(TAKE_ID), "comment": "Sonic version: 0.1.0"})
    found = verify(labelled)
    assert (found.verdict, found.verdict.exit_code) == ("labels only", 5)
    assert "nothing else shows it" in found.summary


def test_a_label_for_another_video_is_told(video: Path, home: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.mp4"
    remux(video, labelled, {"AIGC": metadata.aigc_label("f" * 16)})
    found = verify(labelled)
    assert found.verdict == "contradiction"
    assert f"{'f' * 16}, the picture carries {TAKE_ID}" in found.summary


# Signed by a stranger


def sign_as(
    who: certificates.Identity | Certified,
    source: Path,
    target: Path,
    made: tuple[Path, Exported],
    take_id: str = TAKE_ID,
    readable: bool = True,
) -> Path:
    """What a skilful stranger makes: all our marks but the watermark, and a signature that holds."""
    take = replace(Store(made[0]).load(TAKE_ID), id=take_id, mark_read=readable)
    tagged = target.with_suffix(".tagged.mp4")
    remux(source, tagged, metadata.tags(take))
    metadata.append_xmp(tagged, take, metadata.COMPOSITE)
    signer = who.identity() if isinstance(who, Certified) else who
    c2pa.sign(tagged, target, take, made[1].record, metadata.COMPOSITE, signer)
    return target


def test_a_strangers_video_without_our_watermark_is_not_intact(
    made: tuple[Path, Exported], sonic_home: Path, tmp_path: Path
) -> None:
    plain = unmarked(tmp_path / "plain.mp4", FRAMES)
    found = verify(sign_as(certified("Stranger"), plain, tmp_path / "forged.mp4", made))
    assert (found.signature.state, found.signature.trust) == ("valid", "unknown")
    assert (found.verdict, found.verdict.exit_code) == ("contradiction", 3)
    assert found.contradictions == (
        f"The signature names the watermark {TAKE_ID}, which is not in the picture.",
    )


def test_nor_is_one_in_the_form_of_version_0_1(sonic_home: Path, tmp_path: Path) -> None:
    plain = unmarked(tmp_path / "plain.mp4", FRAMES)
    found = verify(signed_as_0_1(certified("Stranger"), plain, tmp_path / "forged.mp4"))
    assert (found.signature.watermark, found.signature.readable) == (TAKE_ID, None)
    assert (found.verdict, found.verdict.exit_code) == ("contradiction", 3)


def test_a_stranger_who_says_that_it_was_never_readable_is_a_stranger(
    made: tuple[Path, Exported], sonic_home: Path, tmp_path: Path
) -> None:
    plain = unmarked(tmp_path / "plain.mp4", FRAMES)
    forged = sign_as(certified("Stranger"), plain, tmp_path / "forged.mp4", made, readable=False)
    found = verify(forged)
    assert (found.verdict, found.verdict.exit_code) == ("unknown signer", 6)
    assert "states that the watermark was not readable" in found.text()


def test_our_video_signed_by_a_stranger(
    made: tuple[Path, Exported], video: Path, sonic_home: Path, tmp_path: Path
) -> None:
    """The watermark is there. Elsewhere that is an unknown signer; where it was exported more is known."""
    forged = sign_as(certified("Stranger"), video, tmp_path / "forged.mp4", made)
    assert verify(forged).verdict == "unknown signer"
    shutil.copytree(made[0], sonic_home)
    found = verify(forged)
    assert (found.verdict, found.home.outdated) == ("contradiction", False)
    assert found.contradictions == ("It is not the file that was exported here under this id.",)


def test_a_known_signer_who_names_another_watermark(
    made: tuple[Path, Exported], video: Path, home: Path, tmp_path: Path
) -> None:
    forged = sign_as(certificates.identity(), video, tmp_path / "forged.mp4", made, take_id="f" * 16)
    found = verify(forged)
    assert (found.signature.state, found.signature.trust, found.verdict) == ("valid", "own", "contradiction")
    assert f"names the watermark {'f' * 16}, the picture carries {TAKE_ID}." in found.summary


def test_a_known_signer_whose_watermark_is_not_in_the_picture(
    made: tuple[Path, Exported], home: Path, tmp_path: Path
) -> None:
    """Stated as readable: a contradiction. Stated as not readable, such as in the dark: no reproach."""
    plain = unmarked(tmp_path / "plain.mp4", FRAMES)
    for readable, verdict in ((True, "contradiction"), (False, "intact")):
        target = tmp_path / f"{readable}.mp4"
        path = sign_as(certificates.identity(), plain, target, made, take_id="f" * 16, readable=readable)
        found = verify(path)
        assert (found.signature.trust, found.verdict) == ("own", verdict), readable
    assert found.home.records == ()


def test_a_file_signed_again_is_not_the_one_that_left(
    video: Path, home: Path, made: tuple[Path, Exported], tmp_path: Path
) -> None:
    take = Store().load(TAKE_ID)
    again = tmp_path / "again.mp4"
    stripped = encode_again(video, tmp_path / "stripped.mp4")
    metadata.append_xmp(stripped, take, metadata.TRAINED)
    c2pa.sign(stripped, again, take, made[1].record, metadata.COMPOSITE, certificates.identity())
    found = verify(again)
    assert (found.signature.state, found.verdict) == ("valid", "contradiction")
    assert found.contradictions == (
        "It is not the file that was exported here under this id.",
        "XMP and signature tell different sources.",
    )


def test_a_short_video_of_a_stranger_is_judged_by_its_signer(
    made: tuple[Path, Exported], sonic_home: Path, tmp_path: Path
) -> None:
    """Its watermark cannot be searched for."""
    plain = unmarked(tmp_path / "plain.mp4")
    found = verify(sign_as(certified("Stranger"), plain, tmp_path / "short.mp4", made))
    assert (found.verdict, found.contradictions) == ("unknown signer", ())


def signed_as_0_1(who: Certified, source: Path, target: Path) -> Path:
    """As version 0.1 did: the watermark as a soft binding."""
    made = {"action": "c2pa.created", "digitalSourceType": metadata.COMPOSITE}
    binding = {"alg": FIRST_WATERMARK, "blocks": [{"scope": {}, "value": TAKE_ID}]}
    manifest = {
        "claim_generator_info": [{"name": "sonic_ext", "version": "0.1.0"}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [made, {"action": "c2pa.watermarked"}]}},
            {"label": "c2pa.soft-binding", "data": binding},
        ],
    }
    return who.sign(manifest, source, target)


# Time


SIGNED = Path(__file__).parent / "data" / "signed"


def trusting(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setenv(
        certificates.ANCHORS_VARIABLE, os.pathsep.join(str(SIGNED / f"{name}.pem") for name in names)
    )


@pytest.mark.parametrize(
    ("name", "trusted", "verdict", "told", "cure"),
    [
        ("ended", (), "time problem", "its certificate ended on 2024-04-01", "clock"),
        ("ended", ("ended", "clock"), "time problem", "its certificate ended on 2024-04-01", "clock"),
        ("not_begun", ("not_begun",), "time problem", "its certificate begins only on 2120-01-01", "clock"),
        ("stamped", ("stamped",), "time problem", "its certificate ended on 2024-04-01", "authority Clock"),
        ("stamped", ("clock",), "unknown signer", "nobody here vouches for", "root certificate"),
        ("stamped", ("stamped", "clock"), "intact", "signed under a root that is trusted here", ""),
        ("stamped_late", ("stamped_late",), "time problem", "its certificate ended on 2024-04-01", "clock"),
        (
            "stamped_late",
            ("stamped_late", "clock"),
            "time problem",
            "it was signed on 2024-07-20 12:00 UTC, when its certificate was not valid",
            "signed with a valid certificate",
        ),
    ],
)
def test_time_accuses_no_file(
    name: str,
    trusted: tuple[str, ...],
    verdict: str,
    told: str,
    cure: str,
    sonic_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files that were signed at another time, see data/signed/make.py: nobody changed them."""
    trusting(monkeypatch, *trusted)
    found = verify(SIGNED / f"{name}.mp4")
    assert (found.verdict, found.id, found.contradictions) == (verdict, TAKE_ID, ())
    assert found.watermark.algorithm == FIRST_WATERMARK
    assert found.verdict.exit_code == {"time problem": 7, "unknown signer": 6, "intact": 0}[verdict]
    assert "unchanged since it was" in found.summary
    assert told in found.summary
    assert cure in found.hint and bool(cure) == bool(found.hint)
    assert "altered" not in found.text()


def test_the_time_stamp_is_shown(sonic_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SIGNED / "stamped.mp4"
    rows = dict(verify(path).rows)
    assert rows["Time stamp"].startswith("2024-01-02 12:00 UTC by Clock (not trusted here")
    assert rows["Signature"].startswith("whole, the certificate not valid at this time (Stamped, ")
    trusting(monkeypatch, "stamped", "clock")
    assert dict(verify(path).rows)["Time stamp"] == "2024-01-02 12:00 UTC by Clock (trusted here)"
    assert dict(verify(SIGNED / "ended.mp4").rows)["Time stamp"] == "none"


def test_a_changed_file_with_an_ended_certificate_is_altered(sonic_home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copyfile(SIGNED / "ended.mp4", tmp_path / "copy.mp4"))
    found = verify(flipped(copy, contents(copy, b"mdat")[0] + 3000))
    assert (found.verdict, found.verdict.exit_code) == ("altered", 3)


def test_a_portrait_that_was_signed_long_ago_accuses_nobody(
    made: tuple[Path, Exported], home: Path, tmp_path: Path
) -> None:
    """A certificate inside the manifest has ended; that of the video has not."""
    take = replace(Store().load(TAKE_ID), portrait_file=SIGNED / "ended.mp4")
    path = tmp_path / "out.mp4"
    c2pa.sign(take.master, path, take, made[1].record, metadata.COMPOSITE, certificates.identity())
    found = c2pa.read(path)
    assert (found.state, found.trust, found.problems) == ("valid", "own", ())


# What an earlier version or another step of this one made


def test_an_export_of_version_0_1_is_whole(sonic_home: Path, root: Path) -> None:
    """The file that the README shows, made on another computer."""
    found = verify(root / "tests" / "data" / "hello_0_1.mp4")
    assert (found.verdict, found.contradictions) == ("unknown signer", ())
    assert found.watermark.id == found.signature.watermark == found.labels.take == found.id
    assert found.watermark.algorithm == FIRST_WATERMARK


@pytest.mark.parametrize("known", [True, False])
def test_a_dark_video_of_version_0_1_is_believed_where_the_signer_is_known(
    known: bool, sonic_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not state whether its watermark was readable."""
    who = certified("Studio")
    (tmp_path / "root.pem").write_text(who.root_pem, encoding="ascii")
    if known:
        monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(tmp_path / "root.pem"))
    path = signed_as_0_1(who, unmarked(tmp_path / "plain.mp4", FRAMES), tmp_path / "old.mp4")
    assert verify(path).verdict == ("intact" if known else "contradiction")


def test_a_stamped_preview_is_called_one(made: tuple[Path, Exported], home: Path, tmp_path: Path) -> None:
    take = Store().load(TAKE_ID)
    path = tmp_path / "preview.mp4"
    remux(take.master, path, metadata.tags(take, preview=True))
    found = verify(path)
    assert (found.verdict, found.verdict.exit_code, found.contradictions) == ("preview", 5, ())
    assert found.summary == f"Says that it is a stamped preview by this tool, id {TAKE_ID}."


def test_the_verdicts_tell_codes_apart() -> None:
    """What accuses is 3, what is whole and known is 0, and no other verdict has these."""
    codes = {str(verdict): verdict.exit_code for verdict in Verdict}
    assert {name for name, code in codes.items() if code == 3} == {"altered", "contradiction"}
    assert {name for name, code in codes.items() if code == 0} == {"intact"}
    assert (codes["unknown signer"], codes["time problem"]) == (6, 7)


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
    assert "a watermark of version 0.1 could be read only in 2 s of video or more" in found.text()
    assert (found.watermark.id, found.watermark.algorithm) == ("", "")
    assert not sonic_home.exists()
    json.dumps(found.to_dict())


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_video_of_one_colour_is_searched(level: int, tmp_path: Path, sonic_home: Path) -> None:
    """As in the dark; nothing is there to be levelled."""
    plain = tmp_path / "plain.mp4"
    with VideoWriter(plain, SIDE, SIDE, FPS) as writer:
        for _ in range(30):
            writer.write(np.full((SIDE * 3 // 2, SIDE), level, np.uint8))
    found = verify(plain)
    assert (found.verdict, found.watermark.id, found.watermark.frames) == ("unmarked", "", 30)


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1)])
def test_a_video_of_one_line_is_searched(size: tuple[int, int], tmp_path: Path, sonic_home: Path) -> None:
    """No colour is left of it, nor a pair of rows."""
    path = tmp_path / "line.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        for number in range(5):
            picture = av.VideoFrame(*size, "rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    found = verify(path)
    assert (found.verdict, found.watermark.id) == ("unmarked", "")


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
    ended = replace(
        signature, state="untimely", begins="2020-01-01T00:00:00+00:00", ends="2021-01-01T00:00:00+00:00"
    )
    found = replace(found, signature=ended)
    assert found.verdict == "unmarked"
    assert "unchanged since; but its certificate ended on 2021-01-01" in found.summary


@pytest.mark.parametrize("name", ["LICENSES.md", "speech_en_espeak.wav", "missing.mp4", ""])
def test_what_is_neither_video_nor_picture(name: str, media: Path) -> None:
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
