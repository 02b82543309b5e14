"""Computers as they are: users without name or home, folders that go away, names of any bytes and length."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_jobs import LANE, some_spec
from patience import PATIENCE
from spoken import MEDIA

import sonic_ext
from sonic_ext.batch.rows import Defaults, Row, couples
from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadInput, BadOutput, BadSetting
from sonic_ext.files.atomic import atomic_write, check_target, remove_temporaries, temporary_name
from sonic_ext.files.home import HOME_VARIABLE, private_home
from sonic_ext.files.names import expanded
from sonic_ext.jobs import Destination, Queue
from sonic_ext.jobs.inputs import staging
from sonic_ext.provenance import boundary, c2pa
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.take import Take
from sonic_ext.settings import Settings
from sonic_ext.weights import find

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sonic_ext.__file__).parent
SETPRIV = (
    *("setpriv", "--reuid", "12345", "--clear-groups"),
    # to read this Python, wherever it lies; the number has no name all the same
    *("--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search"),
)
INPUTS = (MEDIA / "portrait_01.jpg", MEDIA / "speech_en_espeak.wav")
posix = pytest.mark.skipif(os.name != "posix", reason="only POSIX has it")


def run(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment of its own, where nothing is known of a home."""
    known = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [*map(str, words)],
        env={**known, "PYTHONPATH": str(ROOT), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system knows as a number only, without $HOME."""
    if os.name != "posix":
        pytest.skip("on Windows the profile has another source")
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", HOME_VARIABLE):
        monkeypatch.delenv(name, raising=False)


class TestNoHome:
    def test_there_is_no_place_for_the_private_folder(self, homeless: None) -> None:
        with pytest.raises(BadOutput, match="no home folder") as caught:
            private_home()
        assert HOME_VARIABLE in caught.value.hint

    def test_a_named_one_is_taken(
        self, homeless: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
        assert private_home() == tmp_path
        monkeypatch.setenv(HOME_VARIABLE, "~/sonic")
        with pytest.raises(BadOutput, match="no home folder"):
            private_home()

    def test_places_below_a_home_are_only_not_found(self, homeless: None, tmp_path: Path) -> None:
        assert expanded("~/x") == Path("~/x") and expanded(tmp_path) == tmp_path
        assert find.cache_folder() == Path("~/.cache/huggingface/hub")
        assert Configuration(models="~/models").models_folders == (Path("~/models"),)

    @posix
    def test_a_home_of_another_user_holds_no_weights(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As where a container runs under a number, and $HOME is still root's."""
        look = Path.stat

        def closed(path: Path, **options: bool) -> os.stat_result:
            if path.is_relative_to(tmp_path / "root"):
                raise PermissionError(13, "Permission denied", str(path))
            return look(path, **options)

        monkeypatch.setattr(Path, "stat", closed)
        places = find.Search(own=tmp_path / "models", cache=tmp_path / "root" / ".cache")
        states = {finding.state for finding in find.survey(places).findings}
        assert states == {find.PartState.MISSING}

    def test_a_webui_goes_on(self, homeless: None, tmp_path: Path) -> None:
        assert not boundary.private(Configuration()).holds(tmp_path)
        assert boundary.private(Configuration(key=str(tmp_path))).holds(tmp_path / "key.pem")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes others")
    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
    def test_a_real_user_without_a_name(self, tmp_path: Path) -> None:
        python = (*SETPRIV, sys.executable, "-m", "sonic_ext")
        if run(*SETPRIV, sys.executable, "-c", "import sonic_ext").returncode:
            pytest.skip("this system gives no capabilities away")
        refused = run(*python, "jobs", "list", cwd=tmp_path)
        assert (refused.returncode, "no home folder" in refused.stderr) == (2, True), refused.stderr
        tmp_path.chmod(0o777)
        known = run(*python, "jobs", "list", cwd=tmp_path, SONIC_HOME=str(tmp_path / "sonic"))
        assert known.returncode == 0, known.stderr
        assert (tmp_path / "sonic").stat().st_uid == 12345
        shown = run(*python, "preflight", *INPUTS, cwd=tmp_path, SONIC_HOME=str(tmp_path / "sonic"))
        assert shown.returncode == 0, shown.stderr

    @posix
    @pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
    def test_a_home_that_nothing_can_be_made_in(self, home: str, tmp_path: Path) -> None:
        refused = run(sys.executable, "-m", "sonic_ext", "jobs", "list", cwd=tmp_path, HOME=home)
        assert refused.returncode == 2
        assert "cannot be used" in refused.stderr and HOME_VARIABLE in refused.stderr


class TestOptimised:
    """`PYTHONOPTIMIZE=2` takes docstrings and assertions away."""

    def test_nothing_reads_docstrings(self) -> None:
        for path in PACKAGE.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "__doc__" not in text and "getdoc" not in text, path

    def test_assertions_do_nothing(self) -> None:
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Assert):
                    assert ast.unparse(node.test).endswith("is not None"), (path, node.lineno)

    def test_help_is_whole(self) -> None:
        shown = run(sys.executable, "-m", "sonic_ext", "--help", PYTHONOPTIMIZE="2")
        assert shown.returncode == 0, shown.stderr
        assert "a portrait and a voice" in shown.stdout.lower() and "130  interrupted" in shown.stdout

    def test_a_forecast_is_made(self, tmp_path: Path) -> None:
        words = (sys.executable, "-m", "sonic_ext", "preflight", *INPUTS)
        shown = run(*words, PYTHONOPTIMIZE="2", SONIC_HOME=str(tmp_path / "sonic"))
        assert shown.returncode == 0, shown.stderr


class TestStrangeFolder:
    """A working folder that is full of strangers' files, or that nobody may look into."""

    SIGNATURE = (
        "import sys; from pathlib import Path; from sonic_ext.provenance import c2pa; "
        "c2pa.read(Path(sys.argv[1]), Path(sys.argv[2])); print(sys.modules['c2pa.c2pa']._lib._name)"
    )

    @pytest.mark.parametrize("place", [".", "libs", "artifacts"])
    def test_no_library_is_loaded_from_it(self, place: str, tmp_path: Path) -> None:
        found = importlib.util.find_spec("c2pa")
        assert found is not None and found.origin is not None
        own = Path(found.origin).parent / "libs" / c2pa.LIBRARY
        (tmp_path / place).mkdir(exist_ok=True)
        shutil.copyfile(own, tmp_path / place / c2pa.LIBRARY)
        words = (sys.executable, "-I", "-c", self.SIGNATURE, INPUTS[0], tmp_path / "home")
        loaded = run(*words, cwd=tmp_path)
        assert loaded.returncode == 0, loaded.stderr
        assert Path(loaded.stdout.strip()) == own

    @posix
    def test_nobody_has_to_look_into_it(self, tmp_path: Path) -> None:
        drop = "-dac_override,-dac_read_search"
        root = ("setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}") if os.geteuid() == 0 else ()
        if root and shutil.which("setpriv") is None:
            pytest.skip("root may look everywhere: this needs setpriv")
        shut = tmp_path / "shut"
        shut.mkdir()
        script = 'cd "$1" && chmod 000 "$1" && shift && exec "$@"'
        words = (sys.executable, "-I", "-c", self.SIGNATURE, INPUTS[0], tmp_path / "home")
        try:
            loaded = run(*root, "sh", "-c", script, "sh", shut, *words)
        finally:
            shut.chmod(0o700)
        assert loaded.returncode == 0, loaded.stderr


@posix
class TestFolderThatIsGone:
    def test_it_is_said(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
        words = (sys.executable, "-m", "sonic_ext", "animate", "a.jpg", "b.wav", "-o", "c.mp4",
                 "--consent-face", "self", "--consent-voice", "self")  # fmt: skip
        refused = run("sh", "-c", script, "sh", gone, *words, SONIC_HOME=str(tmp_path / "sonic"))
        assert refused.returncode == 2, refused.stderr
        assert "working folder is gone" in refused.stderr and "Traceback" not in refused.stderr


class TestNamesThatAreNoText:
    """On Linux a name is bytes; those that are no UTF-8 come as halves of characters."""

    NAME = "n\udcff.mp4"

    def test_the_queue_keeps_the_place_of_a_video(self, queue: Queue, tmp_path: Path) -> None:
        consent = Consent(face="self", voice="self")
        place = Destination(consent, path=str(tmp_path / self.NAME))
        with staging(queue.home) as staged:
            job = queue.submit(some_spec(staged, export=place), staged, lane=LANE, worker="w")
        assert queue.find(job.id).spec.export == place
        queue.record_output(job, tmp_path / self.NAME)
        assert queue.find(job.id).output == tmp_path / self.NAME

    def test_the_ledger_keeps_text(self, take: Take) -> None:
        ledger = Ledger()
        record = ledger.record(Consent(face="self", voice="self"), take)
        with ledger.exporting(record, "0" * 64, self.NAME):
            pass
        assert ledger.show(record.id).output_name == "n?.mp4"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
    def test_a_folder_with_such_files_becomes_rows(self, tmp_path: Path) -> None:
        defaults = Defaults(Settings(), {"face": "self", "voice": "self"})
        (row,) = couples([(tmp_path / "a\udcff.jpg", tmp_path / "a\udcff.wav")], defaults)
        assert isinstance(row, Row)
        assert (row.portrait.name, row.output) == ("a\udcff.jpg", "a_.mp4")

    def test_what_is_no_name_is_no_text_either(self) -> None:
        with pytest.raises(BadInput, match="subject holds characters that are none"):
            Consent(face="self", voice="self", subject="x\udcff")
        with pytest.raises(BadSetting, match="label_off_reason holds characters that are none"):
            Settings(label_off_reason="x\udcff")


class TestLongNames:
    LONGEST = "n" * 251 + ".mp4"

    @posix
    def test_the_longest_name_can_be_written(self, tmp_path: Path) -> None:
        path = tmp_path / self.LONGEST
        check_target(path)
        with atomic_write(path) as part:
            part.write_bytes(b"1")
            assert part.parent == tmp_path
        assert [each.name for each in tmp_path.iterdir()] == [self.LONGEST]

    @posix
    def test_what_was_left_beside_it_goes(self, tmp_path: Path) -> None:
        path = tmp_path / self.LONGEST
        temporary_name(path).write_bytes(b"1")
        temporary_name(tmp_path / ("m" + self.LONGEST[1:])).write_bytes(b"1")
        remove_temporaries(path)
        assert len(list(tmp_path.iterdir())) == 1

    @posix
    def test_a_longer_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadOutput, match="cannot be written"):
            check_target(tmp_path / f"n{self.LONGEST}")
        with pytest.raises(BadOutput, match=r"cannot be written|does not exist"):
            check_target(tmp_path / f"n{self.LONGEST}" / "out.mp4")
