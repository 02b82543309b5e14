"""The parts of a batch on a cluster that need no cluster: what travels, who fits, what comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_takes import TAKE_ID, no_tick, record_clip, some_portrait, some_speech
from patience import PATIENCE, until

from sonic_ext.batch.cluster import connection, fitness
from sonic_ext.batch.cluster.drawer import DrawAnswer, Drawer, DrawOrder, step_of
from sonic_ext.batch.cluster.fitness import Fingerprint
from sonic_ext.batch.cluster.sealing import new_key, seal, unseal
from sonic_ext.cli import main as cli
from sonic_ext.errors import BadInput, Cancelled, ConsentRevoked, Failed, MissingPart, Refused
from sonic_ext.files.scratch import Scratch
from sonic_ext.jobs.receiving import DrawnVideo, receive
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.video import probe, remux
from sonic_ext.media.voices import read_voices
from sonic_ext.progress import Silent, Stage, Step
from sonic_ext.provenance import metadata
from sonic_ext.provenance.store import MASTER_NAME, PREVIEW_NAME, Store
from sonic_ext.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "sonic_ext" / "assets" / "example"
QUICK = Settings(
    engine="preview",
    min_resolution=256,
    framing="crop",
    duration=0.2,
    duration_policy="trim",
    lip_sync_calibration=False,
)
MEDIA = ROOT / "tests" / "data" / "media"
VOICES = ("short_en_flite_rms_2s3.wav", "speech_en_flite_slt.wav")
OTHER_ID = "00000000000000ab"


class TestSealing:
    """What lies on somebody's disk says nothing, and comes back as it was or not at all."""

    def test_there_and_back(self) -> None:
        key = new_key()
        sealed = seal(key, b"a face", "face")
        assert b"a face" not in sealed
        assert unseal(key, sealed, "face") == b"a face"
        assert seal(key, b"a face", "face") != sealed

    def test_changed_cut_or_meant_for_something_else(self) -> None:
        key = new_key()
        sealed = seal(key, b"a face", "face")
        changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        for made, purpose in ((changed, "face"), (sealed[:5], "face"), (sealed, "voice")):
            with pytest.raises(Failed, match="changed on its way"):
                unseal(key, made, purpose)
        with pytest.raises(Failed):
            unseal(new_key(), sealed, "face")


class TestFitness:
    """Who makes the same videos."""

    def test_the_same_computer_fits(self) -> None:
        one, other = Fingerprint.take(), Fingerprint.take()
        assert fitness.version_problem("here", one, other) is None
        assert fitness.clock_problem("here", other, one.clock, other.clock) is None
        assert len(one.files) == 64

    def test_other_packages(self) -> None:
        here = Fingerprint.take()
        for there, said in ((replace(here, version="9"), "version 9"), (replace(here, files="0"), "files")):
            problem = fitness.version_problem("10.0.0.7", there, here)
            assert problem is not None and said in problem.message and "10.0.0.7" in problem.message

    @pytest.mark.parametrize("apart", [-400.0, 400.0])
    def test_another_clock(self, apart: float) -> None:
        there = Fingerprint("", "", 1000.0 + apart)
        problem = fitness.clock_problem("10.0.0.7", there, 1000.0, 1001.0)
        assert problem is not None and "7 minutes" in problem.message
        assert fitness.clock_problem("10.0.0.7", there, 1000.0 + apart - 299, 1000.0 + apart) is None

    def test_other_weights(self) -> None:
        here = {"unet": "a", "vae": "b"}
        assert fitness.weights_problem("x", dict(here), here) is None
        lacks = fitness.weights_problem("x", {"vae": "b"}, here)
        other = fitness.weights_problem("x", {"unet": "a", "vae": "c"}, here)
        assert lacks is not None and "lacks" in lacks.message and "unet" in lacks.message
        assert other is not None and "other weights" in other.message and "vae" in other.message

    def test_weights_are_told_by_what_is_in_them(self, tmp_path: Path) -> None:
        path = tmp_path / "unet.safetensors"
        path.write_bytes(b"one")
        first = fitness._file_hash(path)
        assert len(first) == 64 and fitness._file_hash(path) == first
        path.write_bytes(b"two, longer")
        assert fitness._file_hash(path) != first
        assert fitness.weight_hashes("preview", QUICK, None) == {}  # type: ignore[arg-type]


def order(**changes: Any) -> DrawOrder:
    """Of the example's portrait and speech."""
    some = DrawOrder(TAKE_ID, QUICK.to_dict(), "preview", 7, "studio", "face", ("voice",), (".wav",))
    return replace(some, **changes)


@pytest.fixture
def drawer() -> Any:
    """A worker, in this process."""
    made = Drawer(KEY, threads=1)
    yield made
    made.close()


KEY = new_key()


def drawn(drawer: Drawer, wanted: DrawOrder, expected: dict[str, str] | None = None) -> DrawAnswer:
    """What comes of an order."""
    face, voice = ((EXAMPLE / name).read_bytes() for name in ("portrait.jpg", "speech.wav"))
    sealed = drawer.draw(wanted, expected or {}, seal(KEY, face, "face"), seal(KEY, voice, "voice"))
    assert all(b"ftyp" not in part for part in sealed)
    return DrawAnswer.unsealed(KEY, wanted.take_id, sealed)


class TestDrawer:
    """What a worker does, without Ray around it."""

    def test_a_video_under_the_heads_id(self, drawer: Drawer, sonic_home: Path, tmp_path: Path) -> None:
        answer = drawn(drawer, order())
        assert answer.error is None and answer.video is not None and answer.seconds > 0
        assert list(drawer._scratch.folder.iterdir()) == [], "nothing of it stays"
        assert not sonic_home.exists(), "the user's own home is not touched"
        portrait = read_portrait(EXAMPLE / "portrait.jpg")
        speech = read_speech(EXAMPLE / "speech.wav", no_tick).fitted(QUICK)
        take = receive(Store(), TAKE_ID, portrait, speech, QUICK, "preview", answer.video, Silent())
        assert (take.id, take.frames, take.seed) == (TAKE_ID, 5, 7)
        assert Store().load(TAKE_ID) == take
        assert '"ContentProducer":"studio"' in probe(take.master).metadata["AIGC"]

    def test_two_persons(self, drawer: Drawer) -> None:
        """Each with a voice in a file of its own: both come back with the take."""
        files = [MEDIA / "two_people.jpg", *(MEDIA / name for name in VOICES)]
        settings = replace(QUICK, framing="whole")
        wanted = order(voices=("one", "two"), suffixes=(".wav", ".wav"), settings=settings.to_dict())
        sealed = [
            seal(KEY, path.read_bytes(), name)
            for path, name in zip(files, ("face", "one", "two"), strict=True)
        ]
        answer = DrawAnswer.unsealed(KEY, TAKE_ID, drawer.draw(wanted, {}, *sealed))
        assert answer.error is None and answer.video is not None and len(answer.video.looks) == 2
        portrait, speech = (
            read_portrait(files[0]),
            read_voices(*files[1:], settings, no_tick).fitted(settings),
        )
        take = receive(Store(), TAKE_ID, portrait, speech, settings, "preview", answer.video, Silent())
        assert take.persons == 2 and take.looks == answer.video.looks
        assert take.second is not None and take.second.audio_file.read_bytes() == files[2].read_bytes()

    def test_other_weights_draw_nothing(self, drawer: Drawer) -> None:
        answer = drawn(drawer, order(), {"unet": "ab" * 32})
        assert (answer.video, answer.error, answer.weights) == (None, None, {})

    def test_what_goes_wrong_comes_back(self, drawer: Drawer) -> None:
        answer = drawn(drawer, order(portrait="another file"))
        assert isinstance(answer.error, Failed) and answer.video is None
        assert list(drawer._scratch.folder.iterdir()) == []

    def test_stopped_before_it_begins(self, drawer: Drawer) -> None:
        drawer.stop(TAKE_ID)
        assert isinstance(drawn(drawer, order()).error, Cancelled)
        assert drawn(drawer, order(take_id=OTHER_ID)).error is None

    def test_steps_travel_as_plain_values(self, drawer: Drawer) -> None:
        step = Step(Stage.DRAWING, 3, 9, 1.5)
        drawer._progress.report(step)
        assert step_of(drawer.standing()) == step
        assert step_of({"stage": "of a later version"}).stage is Stage.STARTING


@pytest.fixture(scope="module")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marked master and a preview as long as their speech, so that the watermark can be read."""
    folder = tmp_path_factory.mktemp("whole")
    record_clip(folder, Settings(seed=-1), 58)
    return folder


def returned(folder: Path, **changes: Any) -> DrawnVideo:
    """What a worker would send of a clip."""
    master, preview = ((folder / name).read_bytes() for name in (MASTER_NAME, PREVIEW_NAME))
    return replace(DrawnVideo(master, preview, 7, 58, (256, 256), None, ("",), ()), **changes)


def taken(video: DrawnVideo, take_id: str = TAKE_ID) -> Any:
    """The clip, received as the take of this id."""
    return receive(
        Store(), take_id, some_portrait(), some_speech(), Settings(seed=-1), "preview", video, Silent()
    )


class TestReceiving:
    """Verified, not believed."""

    def test_a_video_as_it_was_asked_for(self, whole_clip: Path) -> None:
        take = taken(returned(whole_clip, warnings=("One warning.",)))
        assert take.mark_read and take.warnings == ("One warning.",)
        assert Store().load(TAKE_ID) == take

    def test_another_watermark(self, whole_clip: Path, tmp_path: Path) -> None:
        """Labels of one id and frames of another."""
        origin = metadata.TakeProvenance(OTHER_ID, "preview", "0.1.0", Settings(seed=-1), 7)
        for name, preview in ((MASTER_NAME, False), (PREVIEW_NAME, True)):
            tags = metadata.tags(origin, preview)
            remux(whole_clip / name, tmp_path / name, tags, xmp=metadata.xmp(origin, metadata.COMPOSITE))
        with pytest.raises(Failed, match="carries the watermark"):
            taken(returned(tmp_path), OTHER_ID)
        assert not Store().holds(OTHER_ID) and not (Store().folder / OTHER_ID).exists()

    def test_another_label_or_none(self, whole_clip: Path) -> None:
        for video in (
            returned(whole_clip, master=returned(whole_clip).preview),
            returned(whole_clip, preview=returned(whole_clip).master),
            returned(whole_clip, master=(EXAMPLE / "hello.mp4").read_bytes()),
        ):
            with pytest.raises(Failed, match="labels"):
                taken(video)
        with pytest.raises(Failed, match="labels"):
            taken(returned(whole_clip), OTHER_ID)

    @pytest.mark.parametrize("changes", [{"frames": 57}, {"size": (128, 128)}, {"frames": 0}])
    def test_another_length_or_size(self, whole_clip: Path, changes: dict[str, Any]) -> None:
        with pytest.raises(Failed, match="size or length"):
            taken(returned(whole_clip, **changes))

    def test_more_persons_than_speak(self, whole_clip: Path) -> None:
        with pytest.raises(Failed, match="other persons than speak"):
            taken(returned(whole_clip, looks=("", "")))

    def test_revoked_meanwhile(self, whole_clip: Path) -> None:
        Store().ledger.revoke(some_portrait().sha256)
        with pytest.raises(ConsentRevoked):
            taken(returned(whole_clip))
        assert not (Store().folder / TAKE_ID).exists()

    @pytest.mark.parametrize(
        "changes",
        [
            {"size": [1]},
            {"seed": "x"},
            {"sync_offset": float("inf")},
            {"looks": ["no hash"]},
            {"looks": ["00" * 1000]},
            {"warnings": None},
        ],
    )
    def test_facts_that_are_none(self, whole_clip: Path, changes: dict[str, Any]) -> None:
        facts = returned(whole_clip).facts() | changes
        with pytest.raises(Failed, match="cannot be read"):
            DrawnVideo.from_facts(facts, b"", b"")
        assert DrawnVideo.from_facts(returned(whole_clip).facts(), b"1", b"2").facts()["frames"] == 58


class TestScratch:
    """Gone with its process."""

    def test_closed(self) -> None:
        with Scratch() as scratch:
            (scratch.folder / "x").write_bytes(b"1")
            assert scratch.folder.stat().st_mode & 0o077 == 0 or os.name == "nt"
        assert not scratch.folder.exists()

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    def test_killed(self) -> None:
        code = (
            "from sonic_ext.files.scratch import Scratch; s = Scratch(); (s.folder / 'x').write_bytes(b'1'); "
            "print(s.folder, flush=True); input()"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as owner:
            assert owner.stdout is not None
            folder = Path(owner.stdout.readline().decode().strip())
            assert (folder / "x").is_file()
            owner.send_signal(signal.SIGKILL)
            owner.wait(PATIENCE)
        until(lambda: not folder.exists())


class TestConnection:
    """Addresses, and who may listen."""

    @pytest.mark.parametrize(
        "address",
        ["jobs.csv", "ray://10.0.0.1:10001", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "a b:1", ":1"],
    )
    def test_no_addresses(self, address: str) -> None:
        with pytest.raises(BadInput, match="no address"):
            connection.parsed(address)

    def test_addresses(self) -> None:
        assert connection.parsed("gpu-1.lan:6379") == ("gpu-1.lan", 6379)
        assert connection.parsed("[::1]:6379") == ("::1", 6379)

    def test_what_is_here(self) -> None:
        assert connection.is_own_address("127.0.0.1") and connection.is_own_address("localhost")
        assert not connection.is_own_address("192.0.2.77")
        assert not connection.is_own_address("no such name.invalid")

    def test_an_open_network_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RAY_USE_TLS", raising=False)
        closed, private = connection.Connection("auto", 1), connection.Connection("auto", 1, True)
        with pytest.raises(Refused, match="not encrypted"):
            closed.require_private("10.0.0.7", is_here=False)
        closed.require_private("10.0.0.7", is_here=True)
        private.require_private("10.0.0.7", is_here=False)
        monkeypatch.setenv("RAY_USE_TLS", "1")
        closed.require_private("10.0.0.7", is_here=False)

    def test_without_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingPart) as caught:
            connection.imported_ray()
        assert "python -m pip install" in caught.value.hint

    def test_the_command_without_ray(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        (tmp_path / "jobs.csv").write_text("portrait,audio\na,b")
        words = ("batch", tmp_path / "jobs.csv", "-o", tmp_path / "out", "--ray")
        assert cli.main([*map(str, words)]) == 4
        assert "sonic-ext[cluster]" in capsys.readouterr().err
