"""The command line, with real files through the real pipeline and gate."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from patience import PATIENCE
from spoken import MEDIA, SPEECH, one_minute, one_second, write_wav

import sonic_ext
from sonic_ext.cli import console, interrupt
from sonic_ext.cli import main as cli
from sonic_ext.errors import Cancelled
from sonic_ext.progress import Step
from sonic_ext.provenance.verdict import Verdict
from sonic_ext.settings import describe

PORTRAIT = MEDIA / "portrait_01.jpg"
CONSENT = ("--consent-face", "synthetic", "--consent-voice", "synthetic")
SMALL = ("--set", "min_resolution=256", "--set", "seed=7")
ROOT = Path(__file__).parents[1]


@dataclass
class Run:
    """What one call of the command line did."""

    code: int
    out: str
    err: str
    values: dict[str, Any] = field(default_factory=dict)


Sonic = Callable[..., Run]


@pytest.fixture
def home(sonic_home: Path) -> Path:
    """An empty private home."""
    return sonic_home


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An empty folder for results."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def sonic(home: Path, capsys: pytest.CaptureFixture[str]) -> Sonic:
    """Calls the command line in this process, with `--json`; checks that stdout is one JSON object."""

    def call(*words: str | Path) -> Run:
        capsys.readouterr()
        code = cli.main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        values = json.loads(out)
        assert out.count("\n") == 1
        assert isinstance(values, dict)
        return Run(code, out, err, values)

    return call


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the shipped speech."""
    return one_second(tmp_path_factory.mktemp("speech") / "one second.wav")


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of speech: long enough to be caught in the middle."""
    return one_minute(tmp_path_factory.mktemp("long") / "minute.wav")


@dataclass(frozen=True)
class Made:
    """A finished export and the home that knows it."""

    home: Path
    video: Path
    values: dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, spoken: Path) -> Made:
    """One video through the whole command line, as a process of its own."""
    folder = tmp_path_factory.mktemp("made")
    video = folder / "out put.mp4"
    done = _process(
        "animate", PORTRAIT, spoken, "-o", video, *CONSENT, *SMALL, "--json", home=folder / "home"
    )
    assert done.returncode == 0, done.stderr
    return Made(folder / "home", video, json.loads(done.stdout))


@pytest.fixture
def made_home(made: Made, home: Path) -> Path:
    """A copy of the home that knows `made`, free to be changed."""
    shutil.copytree(made.home, home)
    return home


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"sonic {sonic_ext.__version__}"


def test_help_names_every_setting_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["animate", "--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in describe() if f"  {name} = " not in text] == []
    assert cli.main(["--help"]) == 0
    codes = capsys.readouterr().out
    assert all(f"\n    {code} " in codes for code in (0, 1, 2, 3, 4, 5, 130))


def test_sonic_alone_prints_the_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    (example,) = (line for line in out.splitlines() if line.startswith("    sonic animate "))
    options = cli.parser().parse_args(example.split()[1:])
    assert (options.command, options.output, err) == ("animate", "hello.mp4", "")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("animte", "a.jpg"), "animate"),
        (("wieghts", "list"), "weights"),
        (("consent", "rewoke"), "revoke"),
        (("preflight", "a.jpg", "b.wav", "--engine", "previw"), "preview"),
    ],
    ids=["animte", "wieghts", "rewoke", "previw"],
)
def test_what_was_meant_is_named(sonic: Sonic, words: tuple[str, ...], meant: str) -> None:
    run = sonic(*words)
    assert (run.code, run.values["error"]) == (2, "BadUsage")
    assert run.values["hint"].startswith(f"Did you mean {meant}? See: sonic")


@pytest.mark.parametrize("words", [("--min_resolution", "256"), ("--motion-scale=1.2",)])
def test_a_setting_among_the_options_is_sent_to_set(sonic: Sonic, words: tuple[str, ...]) -> None:
    run = sonic("batch", "jobs.csv", "-o", "videos", *words)
    name = words[0].lstrip("-").partition("=")[0].replace("-", "_")
    assert (run.code, run.values["error"]) == (2, "BadUsage")
    assert run.values["hint"] == f"Settings are given as --set {name}=VALUE. See: sonic --help"


@pytest.mark.parametrize(
    "words",
    [(), ("dance",), ("verify",), ("animate", "a.jpg"), ("serve", "--port", "seventy"), ("consent",)],
    ids=" ".join,
)
def test_usage_errors_are_bad_input(sonic: Sonic, words: tuple[str, ...]) -> None:
    run = sonic(*words)
    assert run.code == 2
    assert run.values["error"] == "BadUsage"
    assert "--help" in run.values["hint"]


def _animate(sonic: Sonic, outputs: Path, *more: str | Path, **changed: str | Path) -> Run:
    portrait, audio = changed.get("portrait", PORTRAIT), changed.get("audio", SPEECH)
    output = changed.get("output", outputs / "out.mp4")
    return sonic("animate", portrait, audio, "-o", output, *SMALL, *more)


def _takes(home: Path) -> list[str]:
    folder = home / "takes"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _assert_refused(run: Run, code: int, error: str) -> None:
    assert (run.code, run.values["exit_code"], run.values["error"]) == (code, code, error)
    assert run.values["message"].endswith(".")
    assert run.values["hint"]
    assert "Traceback" not in run.err
    assert run.values["message"] in run.err


@pytest.mark.parametrize(
    ("stated", "error"),
    [
        ((), "ConsentMissing"),
        (("--consent-face", "self"), "ConsentMissing"),
        (("--consent-voice", "self"), "ConsentMissing"),
        (("--consent-face", "friend", "--consent-voice", "self"), "ConsentMissing"),
        ((*CONSENT, "--consent-expires", "2020-02-29"), "ConsentExpired"),
    ],
    ids=["none", "face only", "voice only", "unknown basis", "expired"],
)
def test_consent_is_refused_before_work_begins(
    sonic: Sonic, outputs: Path, home: Path, stated: tuple[str, ...], error: str
) -> None:
    run = _animate(sonic, outputs, *stated, portrait=outputs / "not even looked at.jpg")
    _assert_refused(run, 3, error)
    assert list(outputs.iterdir()) == []
    assert _takes(home) == []


@pytest.mark.parametrize(
    "more",
    [
        ("--consent-expires", "next year"),
        ("--consent-evidence", "no such file.pdf"),
        ("--set", "fps"),
        ("--set", "fps=24"),
        ("--set", "colour=red"),
        ("--set", "duration=nan"),
        ("--preset", "heroic"),
        ("--engine", "dream"),
    ],
    ids=" ".join,
)
def test_bad_values_are_bad_input(sonic: Sonic, outputs: Path, home: Path, more: tuple[str, ...]) -> None:
    run = _animate(sonic, outputs, *CONSENT, *more)
    assert run.code == 2
    assert run.values["hint"]
    assert list(outputs.iterdir()) == []
    assert _takes(home) == []


def test_output_that_exists_is_kept(sonic: Sonic, outputs: Path) -> None:
    (outputs / "out.mp4").write_text("mine")
    _assert_refused(_animate(sonic, outputs, *CONSENT), 2, "BadOutput")
    assert (outputs / "out.mp4").read_text() == "mine"


@pytest.mark.parametrize("name", ["out.avi", "out", "folder.mp4", "gone/out.mp4"])
def test_output_that_cannot_be(sonic: Sonic, outputs: Path, home: Path, name: str) -> None:
    (outputs / "folder.mp4").mkdir()
    _assert_refused(_animate(sonic, outputs, *CONSENT, output=outputs / name), 2, "BadOutput")
    assert [path.name for path in outputs.iterdir()] == ["folder.mp4"]
    assert _takes(home) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_output_folder_that_is_read_only(sonic: Sonic, outputs: Path) -> None:
    outputs.chmod(0o500)
    _assert_refused(_animate(sonic, outputs, *CONSENT), 2, "BadOutput")


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD_PORTRAITS: dict[str, Callable[[Path], Path]] = {
    "missing": lambda folder: folder / "gone.jpg",
    "a folder": lambda folder: folder,
    "text": lambda folder: _write(folder / "text.jpg", b"not a picture at all\n" * 50),
    "empty": lambda folder: _write(folder / "empty.png", b""),
    "truncated": lambda folder: _write(folder / "half.jpg", PORTRAIT.read_bytes()[:20_000]),
    "no face": lambda folder: MEDIA / "no_person.jpg",
}

BAD_AUDIO: dict[str, Callable[[Path], Path]] = {
    "missing": lambda folder: folder / "gone.wav",
    "text": lambda folder: _write(folder / "text.mp3", b"not sound\n" * 400),
    "empty": lambda folder: _write(folder / "empty.wav", b""),
    "no samples": lambda folder: write_wav(folder / "none.wav", b""),
    "silent": lambda folder: write_wav(folder / "silent.wav", bytes(2 * 16000)),
}


@pytest.mark.parametrize("case", BAD_PORTRAITS)
def test_bad_portraits(sonic: Sonic, outputs: Path, home: Path, tmp_path: Path, case: str) -> None:
    run = _animate(sonic, outputs, *CONSENT, portrait=BAD_PORTRAITS[case](tmp_path))
    assert run.values["error"] in ("BadPortrait", "NoFace")
    _assert_refused(run, 2, run.values["error"])
    assert list(outputs.iterdir()) == []
    assert _takes(home) == []


@pytest.mark.parametrize("case", BAD_AUDIO)
def test_bad_audio(sonic: Sonic, outputs: Path, home: Path, tmp_path: Path, case: str) -> None:
    run = _animate(sonic, outputs, *CONSENT, audio=BAD_AUDIO[case](tmp_path))
    _assert_refused(run, 2, "BadAudio")
    assert list(outputs.iterdir()) == []
    assert _takes(home) == []


@pytest.mark.parametrize(("seconds", "way"), [(60, "pad_silence"), (1, "trim")])
def test_duration_that_differs_offers_a_way(sonic: Sonic, outputs: Path, seconds: int, way: str) -> None:
    run = _animate(sonic, outputs, *CONSENT, "--set", f"duration={seconds}")
    _assert_refused(run, 2, "BadSetting")
    assert way in run.values["hint"]


def test_animate_says_what_it_made(made: Made) -> None:
    values = made.values
    assert Path(values["path"]) == made.video
    assert made.video.stat().st_size > 10_000
    assert (values["width"], values["height"], values["fps"], values["seed"]) == (256, 256, 25, 7)
    assert values["frames"] == 25
    assert values["engine"] == "preview"
    assert len(values["take"]) == 16
    assert [path.name for path in made.video.parent.iterdir() if path.is_file()] == [made.video.name]


def test_verify_of_an_export(sonic: Sonic, made: Made, made_home: Path) -> None:
    run = sonic("verify", made.video)
    assert run.code == 0
    assert run.values["exit_code"] == 0
    assert made.values["take"] in run.out


def test_verify_of_an_altered_export(sonic: Sonic, made: Made, made_home: Path, tmp_path: Path) -> None:
    data = bytearray(made.video.read_bytes())
    place = data.index(b"mdat") + 2000
    data[place] ^= 0xFF
    run = sonic("verify", _write(tmp_path / "altered.mp4", bytes(data)))
    assert run.code == 3


def test_verify_of_a_strangers_video(sonic: Sonic, made: Made, home: Path) -> None:
    """Its own exit code: another computer's certificate is vouched for by nobody here."""
    run = sonic("verify", made.video)
    assert (run.code, run.values["exit_code"], run.values["verdict"]) == (6, 6, "unknown signer")
    assert "nobody here vouches for" in run.values["summary"]
    assert "SONIC_C2PA_ANCHORS" in run.values["hint"]


@pytest.mark.parametrize("name", ["ended", "not_begun", "stamped"])
def test_verify_of_a_certificate_that_is_not_valid_now(sonic: Sonic, home: Path, name: str) -> None:
    run = sonic("verify", Path(__file__).parent / "data" / "signed" / f"{name}.mp4")
    assert (run.code, run.values["verdict"]) == (7, "time problem")
    assert run.values["hint"]


def test_exit_codes_are_told_as_they_are() -> None:
    told = dict(re.findall(r"^ {4}(\d+) +(.+)$", cli.CODES, re.MULTILINE))
    for verdict in Verdict:
        assert "verify" in told[str(verdict.exit_code)], verdict


def test_verify_of_what_was_never_marked(sonic: Sonic, tmp_path: Path) -> None:
    assert sonic("verify", _unmarked(tmp_path / "plain.mp4")).code == 5


@pytest.mark.parametrize("name", ["gone.mp4", "text.mp4", "text.png"])
def test_verify_of_what_is_neither_video_nor_picture(sonic: Sonic, tmp_path: Path, name: str) -> None:
    for text in ("text.mp4", "text.png"):
        _write(tmp_path / text, b"not a video\n" * 100)
    run = sonic("verify", tmp_path / name)
    _assert_refused(run, 2, "BadVideo")


def test_verify_of_a_picture(sonic: Sonic) -> None:
    run = sonic("verify", PORTRAIT)
    assert run.code == 5


def test_consent_can_be_listed_shown_and_revoked(
    sonic: Sonic, made: Made, made_home: Path, outputs: Path
) -> None:
    record = made.values["record"]
    assert [entry["id"] for entry in sonic("consent", "list").values["records"]] == [record]
    shown = sonic("consent", "show", record[:6])
    assert (shown.values["take"], shown.values["state"]) == (made.values["take"], "exported")

    revoked = sonic("consent", "revoke", record, "--reason", "asked to")
    assert (revoked.code, revoked.values["records"]) == (0, [record])
    assert sonic("consent", "show", record).values["state"] == "revoked"
    assert (revoked.values["takes"], _takes(made_home)) == ([made.values["take"]], [])
    _assert_refused(_animate(sonic, outputs, *CONSENT), 3, "ConsentRevoked")
    assert _takes(made_home) == []
    _assert_refused(
        sonic("export", made.values["take"], "-o", outputs / "again.mp4", *CONSENT), 3, "ConsentRevoked"
    )
    assert list(outputs.iterdir()) == []


def test_record_that_is_not_there(sonic: Sonic) -> None:
    for action, error in (("show", "NotFound"), ("revoke", "BadInput")):
        _assert_refused(sonic("consent", action, "0123456789abcdef"), 2, error)


def test_altered_ledger_is_said(sonic: Sonic, made_home: Path, outputs: Path) -> None:
    import sqlite3

    database = sqlite3.connect(next(made_home.rglob("ledger.sqlite3")))
    with database:
        database.execute("DROP TRIGGER events_no_delete")
        database.execute("DELETE FROM events WHERE seq = 1")
    database.close()
    _assert_refused(sonic("consent", "list"), 3, "Tampered")
    _assert_refused(_animate(sonic, outputs, *CONSENT), 3, "Tampered")
    assert list(outputs.iterdir()) == []


def test_finished_take_can_still_be_exported(
    sonic: Sonic, made: Made, made_home: Path, outputs: Path
) -> None:
    run = sonic("export", made.values["take"], "-o", outputs / "later.mp4", *CONSENT)
    assert run.code == 0
    assert sonic("verify", outputs / "later.mp4").code == 0


def test_take_that_is_not_there(sonic: Sonic, outputs: Path) -> None:
    run = sonic("export", "0123456789abcdef", "-o", outputs / "out.mp4", *CONSENT)
    _assert_refused(run, 2, "BadInput")


def test_private_folder_is_no_place_for_a_video(sonic: Sonic, home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _assert_refused(sonic("export", "0123456789abcdef", "-o", home / "out.mp4", *CONSENT), 2, "BadOutput")
    _assert_refused(_animate(sonic, home, *CONSENT), 2, "BadOutput")
    assert _takes(home) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_home_that_others_may_read_is_refused_before_the_work(
    sonic: Sonic, home: Path, outputs: Path
) -> None:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    run = _animate(sonic, outputs, *CONSENT)
    _assert_refused(run, 2, "BadOutput")
    assert f"chmod 700 {home}" in run.err
    assert list(outputs.iterdir()) == []


def test_refusal_at_the_gate_says_which_take_is_kept(
    sonic: Sonic, outputs: Path, home: Path, spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonic_ext import pipeline

    animate = pipeline.animate

    def slow_animate(*given: Any, **named: Any) -> Any:
        """Another process writes the output while this one still draws."""
        take = animate(*given, **named)
        (outputs / "out.mp4").write_text("theirs")
        return take

    monkeypatch.setattr(pipeline, "animate", slow_animate)
    monkeypatch.setenv("SONIC_RETENTION_DAYS", "30")
    run = _animate(sonic, outputs, *CONSENT, audio=spoken)
    _assert_refused(run, 2, "BadOutput")
    assert "kept for 30 days" in run.err
    assert (outputs / "out.mp4").read_text() == "theirs"
    assert _takes(home) == [run.values["take"]]
    assert f"sonic export {run.values['take']}" in run.err


def test_preflight(sonic: Sonic, outputs: Path, home: Path, spoken: Path) -> None:
    from PIL import Image

    run = sonic("preflight", PORTRAIT, spoken, *SMALL, "--picture", outputs / "box.png")
    assert run.code == 0
    assert (run.values["width"], run.values["height"], run.values["frames"]) == (256, 256, 25)
    left, top, right, bottom = run.values["face_box"]
    with Image.open(outputs / "box.png") as drawn, Image.open(PORTRAIT) as plain:
        assert drawn.size == plain.size
        assert 0 <= left < right <= drawn.width
        assert 0 <= top < bottom <= drawn.height
    assert _takes(home) == []
    again = sonic("preflight", PORTRAIT, spoken, "--picture", outputs / "box.png")
    _assert_refused(again, 2, "BadOutput")
    assert [path.name for path in outputs.iterdir()] == ["box.png"]


@pytest.mark.parametrize(
    "name", ["with space", "it's", 'say "hi"', "肖像 你好", "-dash", "ünï%20#?&", "no text \udcff"], ids=ascii
)
def test_any_file_name(sonic: Sonic, tmp_path: Path, spoken: Path, name: str, monkeypatch: Any) -> None:
    if os.name == "nt" and set(name) & set('"?'):
        pytest.skip("Windows has no such file names")
    if sys.platform != "linux" and "\udcff" in name:
        pytest.skip("only Linux has names that are no text")
    monkeypatch.chdir(tmp_path)
    shutil.copy(PORTRAIT, f"{name}.jpg")
    shutil.copy(spoken, f"{name}.wav")
    arguments = ["animate", f"-o={name}.mp4", *CONSENT, *SMALL, "--json", "--"]
    assert cli.main([*arguments, f"{name}.jpg", f"{name}.wav"]) == 0
    assert (tmp_path / f"{name}.mp4").is_file()


def test_missing_module_says_what_brings_it(
    sonic: Sonic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    run = sonic("serve", "--port", "0", "--output-dir", tmp_path / "out")
    _assert_refused(run, 4, "MissingPart")
    assert "pip install" in run.values["hint"]


def test_port_in_use_leaves_nothing(
    sonic: Sonic, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = sonic("serve", "--port", port, "--output-dir", tmp_path / "out")
        _assert_refused(run, 2, "BadInput")
        assert f"port {port}" in run.values["message"]
    assert not (tmp_path / "out").exists() and not home.exists()
    assert list(temporary.iterdir()) == []


def test_outputs_may_not_hold_the_private_home(sonic: Sonic, home: Path) -> None:
    _assert_refused(sonic("serve", "--port", "0", "--output-dir", home.parent), 2, "BadSetting")


def test_unforeseen_error_is_one_line_and_still_json(sonic: Sonic, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonic_ext.provenance import ledger

    def broken(self: object) -> NoReturn:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(ledger.Ledger, "records", broken)
    run = sonic("consent", "list")
    _assert_refused(run, 1, "SonicError")
    assert "the disk is on fire" in run.err


def test_console_that_cannot_print_chinese(tmp_path: Path) -> None:
    name = "没有这个文件.mp4"
    run = _process("verify", tmp_path / name, home=tmp_path, PYTHONIOENCODING="cp1252")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert r"\u6ca1" in run.stderr


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        run = subprocess.run(
            _command("consent", "list"), env=_environment(tmp_path), stdout=closed, stderr=subprocess.PIPE
        )
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console, tests included")
class TestInterrupted:
    """Signals to a real process."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_while_drawing(
        self, tmp_path: Path, outputs: Path, long_speech: Path, number: signal.Signals
    ) -> None:
        words = ["animate", PORTRAIT, long_speech, "-o", outputs / "out.mp4", *CONSENT, *SMALL, "--json"]
        code, out, err = self._stopped(tmp_path / "home", number, "drawing", words)
        assert code == 130, err
        assert json.loads(out)["error"] == "Cancelled"
        assert "Traceback" not in err
        assert list(outputs.iterdir()) == []
        assert _takes(tmp_path / "home") == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_while_lip_sync_is_measured(self, tmp_path: Path, number: signal.Signals) -> None:
        video = Path(__file__).parents[1] / "sonic_ext" / "assets" / "example" / "hello.mp4"
        words = ["sync", video, "--fix", tmp_path / "fixed.mp4", "--chart", tmp_path / "chart.png", "--json"]
        code, out, err = self._stopped(tmp_path / "home", number, "following faces", words)
        assert code == 130, err
        assert json.loads(out)["error"] == "Cancelled"
        assert "Traceback" not in err
        assert {path.name for path in tmp_path.iterdir()} <= {"home"}

    @pytest.mark.parametrize("module", ["numpy", "cv2", "sonic_ext.media"])
    def test_while_modules_load(self, tmp_path: Path, outputs: Path, long_speech: Path, module: str) -> None:
        words = ["animate", PORTRAIT, long_speech, "-o", outputs / "out.mp4", *CONSENT]
        code, _, err = self._stopped(
            tmp_path / "home", signal.SIGINT, rf"\| +{re.escape(module)}", words, "-X", "importtime"
        )
        assert code == 130, err
        assert "Traceback" not in err
        assert err.rstrip().endswith("Nothing was exported.")
        assert list(outputs.iterdir()) == []
        assert _takes(tmp_path / "home") == []

    @staticmethod
    def _stopped(
        home: Path, number: signal.Signals, when: str, words: list[Any], *flags: str
    ) -> tuple[int, str, str]:
        """Run a command and send the signal once stderr says `when`."""
        process = subprocess.Popen(
            _command(*words, flags=flags),
            env=_environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if re.search(when, line):
                process.send_signal(number)
                break
        else:
            pytest.fail(f"stderr never said {when!r}: {seen}")
        out, rest = process.communicate(timeout=PATIENCE)
        return process.returncode, out, seen + rest


class TestInterrupts:
    """The three manners of a signal, without a process."""

    def test_first_signal_is_polite_and_the_second_unwinds(self) -> None:
        with interrupt.interrupts(json_wanted=False) as signals:
            signals.unwind()
            with signals.polite():
                signal.raise_signal(signal.SIGINT)
                assert signals.asked
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)

    def test_handlers_are_put_back(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with interrupt.interrupts(json_wanted=False):
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before

    def test_cancelled_is_130(self) -> None:
        assert interrupt.as_dict(Cancelled())["exit_code"] == interrupt.EXIT_CODE == 130


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line() -> None:
    stream = _Terminal()
    line = console.ProgressLine(lambda: False, stream)
    line.report(Step("drawing frames", 1, 4, 9.0))
    line.report(Step("drawing frames", 4, 4, 0.0))
    line.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert "drawing frames  25 %  9.0 s left" in text
    assert "drawing frames  100 %" in text
    assert text.endswith("\r")


def test_progress_elsewhere_is_sparse() -> None:
    stream = io.StringIO()
    line = console.ProgressLine(lambda: False, stream)
    for done in range(1000):
        line.report(Step("drawing frames", done, 1000))
    line.report(Step("signing", 0, 1))
    line.close()
    assert [text.split("  ")[0] for text in stream.getvalue().splitlines()] == ["drawing frames", "signing"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration_text(seconds) == text


def _command(*words: str | Path, flags: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *flags, "-m", "sonic_ext", *map(str, words)]


def _environment(home: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"SONIC_HOME": str(home), "PYTHONPATH": path} | more


def _process(*words: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*words), env=_environment(home, **more), capture_output=True, text=True, timeout=PATIENCE
    )


def _unmarked(path: Path) -> Path:
    """A plain video, made without this package's marks."""
    import av
    import numpy as np

    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for index in range(30):
            pixels = np.full((128, 128, 3), 4 * index, np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        video.mux(stream.encode())
    return path
