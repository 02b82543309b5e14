"""Many videos at once: rows, plans, processes that die, and the report."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_jobs import some_spec, submitted
from patience import PATIENCE, until

from sonic_ext.batch import report, rows
from sonic_ext.batch.planning import LANE, Planned, Planner, alone, batch_id
from sonic_ext.batch.processes import Processes
from sonic_ext.batch.report import Entry
from sonic_ext.batch.rows import Defaults, Row, WrongRow
from sonic_ext.batch.watching import Folder, being_written
from sonic_ext.cli import batch_command
from sonic_ext.cli import main as cli
from sonic_ext.errors import BadInput, BadOutput, BadSetting, ConsentExpired, ConsentMissing, Failed
from sonic_ext.files.digest import sha256_of
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import ExportedFile, Job, PortraitRequest, Queue, State
from sonic_ext.messages import translated
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take
from sonic_ext.settings import Settings

EXAMPLE = Path(__file__).parents[1] / "sonic_ext" / "assets" / "example"
ROOT = Path(__file__).parents[1]
AGREED = {"face": "synthetic", "voice": "synthetic"}
QUICK = Settings(
    engine="preview",
    min_resolution=256,
    framing="crop",
    duration=0.2,
    duration_policy="trim",
    lip_sync_calibration=False,
)
DEFAULTS = Defaults(QUICK, AGREED)
OPTIONS = (
    *("--engine", "preview", "--set", "min_resolution=256", "--set", "framing=crop"),
    *("--set", "duration=0.2", "--set", "duration_policy=trim", "--set", "lip_sync_calibration=off"),
)
CONSENT = ("--consent-face", "synthetic", "--consent-voice", "synthetic")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a portrait and a voice, each under a name that is not ASCII."""
    (tmp_path / "Gesicht ä.jpg").write_bytes((EXAMPLE / "portrait.jpg").read_bytes())
    (tmp_path / "声音.wav").write_bytes((EXAMPLE / "speech.wav").read_bytes())
    return tmp_path


def read(folder: Path, text: str | bytes, name: str = "jobs.csv", defaults: Defaults = DEFAULTS) -> Any:
    """The rows of a file with this text."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return rows.read_file(path, defaults)


class TestRows:
    """What is to be made, as files and folders say it."""

    @pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
    def test_csv(self, tmp_path: Path, mark: str, separator: str, end: str) -> None:
        lines = (
            ("portrait", "audio", "output", "FPS ", "consent_purpose"),
            ("a ä.jpg", '"b, c; d.wav"', "", "50", '"two' + end + 'lines"'),
            ("", "", "", "", ""),
            ("/x/声.png", "sub/v.mp3", "named", "", ""),
        )
        one, two = read(tmp_path, mark + end.join(separator.join(line) for line in lines) + end)
        assert (one.number, one.portrait, one.audio) == (2, tmp_path / "a ä.jpg", tmp_path / "b, c; d.wav")
        assert (one.settings, one.consent.purpose) == (replace(QUICK, fps=50), "two" + end + "lines")
        assert (two.number, two.portrait, two.audio) == (5, Path("/x/声.png"), tmp_path / "sub" / "v.mp3")
        assert (one.output, two.output, two.settings) == ("a ä-b, c; d.mp4", "named.mp4", QUICK)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("portrait,audo\na,b", "Did you mean audio?"),
            ("portrait,audio,consent_fase\na,b,c", "Did you mean consent_face?"),
            ("portrait,audio,colour of the hair\na,b,c", "Columns: portrait, audio, output"),
            ("portrait,audio,audio\na,b,c", "twice"),
            ("portrait,output\na,b", "no column audio"),
            ("a.jpg,b.wav\n", "no column 'a.jpg'"),
            ("portrait,audio\n", "no rows"),
            ("", "no header"),
            ('portrait,audio\na,b\na,"b\na,b\n', "begins in line 3 is no CSV"),
            ('portrait,audio\na,"b" c\n', "begins in line 2 is no CSV"),
            (b"portrait,audio\n" + b"\xff\xfe,b", "not text in UTF-8"),
            ("portrait,audio\nä,b".encode("cp1252"), "not text in UTF-8"),
            ("portrait,audio\n照片,声音".encode("gb18030"), "not text in UTF-8"),
            ("portrait,audio\na,b".encode("utf-16"), "not text in UTF-8"),
            ("portrait,audio\na,b".encode("utf-16-le"), "Line 1 of "),
            ("portrait,audio\na,b\na\0,b", "holds a zero byte"),
        ],
    )
    def test_a_file_that_cannot_be_read_at_all(self, tmp_path: Path, text: str | bytes, said: str) -> None:
        with pytest.raises(BadInput) as caught:
            read(tmp_path, text)
        assert said in str(caught.value)
        assert caught.value.hint and translated("zh", caught.value.message)

    def test_no_file(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.csv", tmp_path):
            with pytest.raises(BadInput, match="cannot be read"):
                rows.read_file(path, DEFAULTS)

    def test_wrong_rows_stay_alone(self, tmp_path: Path) -> None:
        lines = [
            "portrait,audio,output,fps,consent_face,consent_expires",
            "a.jpg,b.wav,,,,",
            "a.jpg,,,,,",
            "a.jpg,b.wav,,24,,",
            "a.jpg,b.wav,,,nobody,",
            "a.jpg,b.wav,,,,2020-01-01",
            "a.jpg,b.wav,../up,,,",
            "a.jpg,b.wav,A-B.MP4,,,",
            "a.jpg,b.wav,a-b,,,",
            "a.jpg,b.wav,,,,,one too many",
        ]
        found = read(tmp_path, "\n".join(lines))
        errors = {row.number: type(row.error) for row in found if isinstance(row, WrongRow)}
        assert errors == {
            3: BadInput,
            4: BadSetting,
            5: ConsentMissing,
            6: ConsentExpired,
            7: BadOutput,
            9: BadOutput,
            10: BadInput,
        }
        names = {row.number: row.output for row in found if isinstance(row, Row)}
        assert names == {2: "a-b-2.mp4", 8: "A-B.mp4"}
        assert [row.number for row in found] == list(range(2, 11))

    def test_many_rows_of_the_same_files(self, tmp_path: Path) -> None:
        count = 3000
        found = read(tmp_path, "portrait,audio,seed\n" + "".join(f"a,b,{n}\n" for n in range(count)))
        names = {row.output for row in found}
        assert len(names) == count and {"a-b.mp4", "a-b-2.mp4", f"a-b-{count}.mp4"} <= names

    def test_consent_is_each_rows_own(self, tmp_path: Path) -> None:
        (tmp_path / "form.pdf").write_bytes(b"signed")
        text = "portrait,audio,consent_face,consent_evidence\na,b,self,form.pdf\na,b,,"
        none = Defaults(QUICK, {"voice": "self"})
        agreed, silent = read(tmp_path, text, defaults=none)
        assert (agreed.consent.face, agreed.consent.voice) == ("self", "self")
        assert agreed.consent.evidence == tmp_path / "form.pdf"
        assert isinstance(silent.error, ConsentMissing)

    def test_json_lines(self, tmp_path: Path) -> None:
        lines = [
            json.dumps(
                {"portrait": "a.jpg", "audio": "ü.wav", "fps": 50, "face_box": [1, 2, 3, 4], "seed": None}
            ),
            "",
            "{",
            "[]",
            '{"portrait": "a", "audio": "b", "fsp": 50}',
            '{"portrait": 7, "audio": "b"}',
            '{"portrait": "a\\u0000", "audio": "b"}',
            '{"portrait": "\\ud800", "audio": "b"}',
            '{"portrait": "a", "audio": "b", "label_off_reason": "\\udfff"}',
        ]
        found = read(tmp_path, "\n".join(lines), "jobs.jsonl")
        assert found[0].settings == replace(QUICK, fps=50, face_box=(1, 2, 3, 4))
        assert [row.number for row in found] == [1, 3, 4, 5, 6, 7, 8, 9]
        assert all(isinstance(row, WrongRow) for row in found[1:])
        assert "Did you mean fps?" in found[3].error.message

    def test_folders(self, tmp_path: Path) -> None:
        for folder, names in (("p", "b.png a.jpg .hidden.jpg c.txt"), ("v", "a.wav d.mp3 notes.txt")):
            (tmp_path / folder).mkdir()
            for name in names.split():
                (tmp_path / folder / name).write_bytes(b"")
        all_of_them = rows.crossed(tmp_path / "p", tmp_path / "v", DEFAULTS)
        assert [row.output for row in all_of_them] == ["a.mp4", "a-d.mp4", "b-a.mp4", "b-d.mp4"]
        pairs = rows.crossed(tmp_path / "p", tmp_path / "v", DEFAULTS, pair=True)
        assert [(type(row), row.output) for row in pairs] == [(Row, "a.mp4"), (WrongRow, ""), (WrongRow, "")]
        assert "no voice" in str(pairs[1].error) and "no portrait" in str(pairs[2].error)  # type: ignore[union-attr]
        (tmp_path / "empty").mkdir()
        for bad in (tmp_path / "empty", tmp_path / "none"):
            with pytest.raises(BadInput):
                rows.crossed(bad, tmp_path / "v", DEFAULTS)

    @given(
        cells=st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1
        ),
        separator=st.sampled_from(",;"),
        end=st.sampled_from(["\n", "\r\n"]),
        mark=st.booleans(),
    )
    def test_any_csv_says_what_was_written(
        self, cells: list[str], separator: str, end: str, mark: bool
    ) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(["portrait", "audio"])
        writer.writerows([[cell, "b"] for cell in cells])
        found = [values for _, values in rows.csv_rows(text.getvalue())]
        assert found == [{"audio": "b"} | ({"portrait": cell} if cell.strip() else {}) for cell in cells]

    @given(text=st.text(max_size=400))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        for reader in (rows.csv_rows, rows.json_lines):
            try:
                found = rows.built(reader(text), Path("/base"), DEFAULTS)
            except BadInput:
                continue
            assert all(isinstance(row, (Row, WrongRow)) for row in found)

    @given(text=st.text(max_size=400))
    def test_names_are_safe_everywhere(self, text: str) -> None:
        stem = rows.safe_stem(text)
        assert rows.safe_stem(stem) == stem
        assert rows.checked_name(stem) == f"{stem.removesuffix('.mp4')}.mp4" or stem.lower().endswith(".mp4")
        assert stem.strip(" .") == stem != ""
        assert not set(stem) & set('<>:"/\\|?*\0\n')
        assert len(stem.encode()) <= rows.MOST_NAME
        assert unicodedata.normalize("NFC", stem) == stem

    @pytest.mark.parametrize("name", ["a/b", "..", ".", "", "CON", "nul.mp4", "a?", "x" * 300, "a\x00", " "])
    def test_names_that_are_none(self, name: str) -> None:
        with pytest.raises(BadOutput):
            rows.checked_name(name)

    @given(stems=st.lists(st.sampled_from(["a", "A", "ä", "a\u0308", "b:", "b_", "con"]), max_size=12))
    def test_no_name_twice(self, stems: list[str]) -> None:
        given_rows = [
            (n, {"portrait": f"/p/{stem}.jpg", "audio": f"/v/{stem}.wav"}) for n, stem in enumerate(stems)
        ]
        names = [row.output.casefold() for row in rows.built(given_rows, Path("/"), DEFAULTS)]
        assert len(set(names)) == len(stems)


def entry(**values: Any) -> Entry:
    """One that is done."""
    some = Entry(1, "p.jpg", "v.wav", "o.mp4", "done", "", "ab" * 8, "cd" * 8, "ef" * 32, 1.0, 2.0)
    return replace(some, **values)


class Tags(HTMLParser):
    """Elements and attributes that a browser would see."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += attrs


HOSTILE = (
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    "＝1",
    '"><script>alert(1)</script>',
    "' onerror='x",
    "a\u202eb",
    "a\r\n=1",
    "\x1b[2J",
)


class TestReport:
    """Table, JSON and page."""

    @pytest.mark.parametrize("text", HOSTILE)
    def test_strangers_words_stay_words(self, text: str) -> None:
        one = entry(portrait=text, audio=text, output=text, error=text)
        (_, cells) = csv.reader(io.StringIO(report.as_csv([one]).decode("utf-8-sig"), newline=""))
        for cell in cells:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝"))
            assert "\n" not in cell and "\x1b" not in cell
        assert json.loads(report.as_json([one]))["rows"][0]["portrait"] == text
        page, plain = Tags(report.as_html([one], [b""])), Tags(report.as_html([entry(error="x")], [b""]))
        assert page.found == plain.found
        assert {name for name, _ in page.attributes} == {name for name, _ in plain.attributes}
        assert all(value and value.startswith("./") for name, value in page.attributes if name == "href")

    @given(text=st.text(max_size=60))
    def test_no_formula(self, text: str) -> None:
        table = report.as_csv([entry(error=text)]).decode("utf-8-sig")
        _, cells = csv.reader(io.StringIO(table, newline=""))
        assert not cells[5].lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))

    def test_a_strangers_report_stays(self, tmp_path: Path) -> None:
        report.require_ours(tmp_path, overwrite=False)
        (tmp_path / "report.csv").write_text("my own")
        with pytest.raises(BadOutput):
            report.require_ours(tmp_path, overwrite=False)
        report.require_ours(tmp_path, overwrite=True)
        (tmp_path / "report.json").write_bytes(report.as_json([]))
        report.require_ours(tmp_path, overwrite=False)

    def test_what_a_kill_left_goes_with_the_next_one(self, tmp_path: Path, queue: Queue) -> None:
        (tmp_path / ".report.html.0123abcd").write_text("<!doc")
        report.write(tmp_path, (), queue)
        assert {path.name for path in tmp_path.iterdir()} == {*report.NAMES}


class TestWatching:
    """Pairs in a folder, as soon as they are complete."""

    def test_complete_pairs_once(self, tmp_path: Path) -> None:
        folder = Folder(tmp_path, DEFAULTS)
        assert folder.look() == ()
        (tmp_path / "a.jpg").write_bytes(b"1")
        (tmp_path / "b.jpg").write_bytes(b"1")
        (tmp_path / "a.wav").write_bytes(b"")
        assert (folder.look(), folder.look()) == ((), ())  # nothing is in the voice yet
        (tmp_path / "a.wav").write_bytes(b"12")
        assert folder.look() == ()
        (row,) = folder.look()
        assert (row.number, row.output) == (1, "a.mp4")
        assert folder.look() == ()
        (tmp_path / "a.wav").write_bytes(b"123")
        (tmp_path / "b.wav").write_bytes(b"1")
        assert folder.look() == ()
        assert [(row.number, row.output) for row in folder.look()] == [(1, "a.mp4"), (2, "b.mp4")]

    def test_names_that_become_one(self, tmp_path: Path) -> None:
        for name in ("A.jpg", "A.wav", "a.png", "a.mp3"):
            (tmp_path / name).write_bytes(b"1")
        if len(list(tmp_path.iterdir())) < 4:
            pytest.skip("this file system does not tell A from a")
        folder = Folder(tmp_path, DEFAULTS)
        folder.look()
        first, second = folder.look()
        assert isinstance(first, Row) and isinstance(second, WrongRow)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
    def test_somebody_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"1")
        assert not being_written(path)
        writer = [sys.executable, "-c", f"f = open({str(path)!r}, 'ab'); print(1, flush=True); input()"]
        with subprocess.Popen(writer, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout and other.stdin
            other.stdout.readline()
            assert being_written(path)
            other.communicate(b"\n", timeout=PATIENCE)
        assert not being_written(path)


def ended(queue: Queue, job: Job, take: Take, video: bytes | None = b"a video") -> None:
    """The job as it stands when its video was made, and exported unless there is None."""
    claimed = queue.adopt(job.id, "a worker")
    assert claimed is not None and job.spec.export is not None
    queue.begin(claimed)
    queue.record_take(claimed, take, synthetic=False)
    if video is not None:
        path = Path(job.spec.export.path)
        path.write_bytes(video)
        queue.record_output(claimed, path)
        queue.record_export(claimed, ExportedFile(path, "ab" * 8, sha256_of(path)))
    queue.finish(claimed)


class TestPlanning:
    """Only what is missing or was changed."""

    @pytest.fixture
    def planner(self, queue: Queue, work: Path) -> Callable[..., Planner]:
        """As each new command has one."""

        def begun(**more: Any) -> Planner:
            made = Planner(queue, Standalone(work / "out", lane=LANE), work / "out", **more)
            made.begin(hold=True)
            return made

        (work / "out").mkdir()
        return begun

    @pytest.fixture
    def row(self, work: Path) -> Row:
        """One that can be made."""
        (found,) = read(work, "portrait,audio\nGesicht ä.jpg,声音.wav")
        assert isinstance(found, Row)
        return found

    def test_done_is_done(
        self, planner: Callable[..., Planner], row: Row, queue: Queue, take: Take, work: Path
    ) -> None:
        first = planner().place(row)
        job = queue.find(first.job_id)
        assert (job.lane, job.batch, job.label) == (LANE, batch_id(work / "out"), row.output)
        ended(queue, job, take)
        assert planner().place(row) == Planned(row, job.id, fresh=False)
        assert planner(overwrite=True).place(row) == Planned(row, job.id, fresh=False)
        (work / "out" / row.output).write_bytes(b"something else")
        changed = planner().place(row)
        assert isinstance(changed.row, WrongRow) and isinstance(changed.row.error, BadOutput)
        (work / "out" / row.output).unlink()
        again = planner().place(row)
        assert again.fresh and again.job_id != job.id

    @pytest.mark.parametrize("change", ["settings", "consent", "portrait"])
    def test_what_changed_is_made_again(
        self, planner: Callable[..., Planner], row: Row, queue: Queue, take: Take, work: Path, change: str
    ) -> None:
        job = queue.find(planner().place(row).job_id)
        ended(queue, job, take)
        if change == "settings":
            row = replace(row, settings=replace(row.settings, fps=50))
        elif change == "consent":
            row = replace(row, consent=replace(row.consent, purpose="another"))
        else:
            row.portrait.write_bytes((ROOT / "tests/data/media/portrait_02.jpg").read_bytes())
        planned = planner().place(row)
        assert planned.fresh and planned.job_id != job.id
        export = queue.find(planned.job_id).spec.export
        assert export is not None and export.overwrite  # what lies there is of this batch

    def test_a_strangers_file_stays(
        self, planner: Callable[..., Planner], row: Row, queue: Queue, work: Path
    ) -> None:
        (work / "out" / row.output).write_bytes(b"a stranger's")
        planned = planner().place(row)
        assert isinstance(planned.row, WrongRow) and not planned.job_id
        assert planner(overwrite=True).place(row).fresh
        assert (work / "out" / row.output).read_bytes() == b"a stranger's"

    def test_what_waits_goes_on_or_is_dropped(
        self, planner: Callable[..., Planner], row: Row, queue: Queue
    ) -> None:
        waits = planner().place(row).job_id
        other = planner().place(replace(row, output="other.mp4")).job_id
        again = planner()
        assert [queue.find(job_id).held for job_id in (waits, other)] == [True, True]
        changed = again.place(replace(row, output="other.mp4", settings=Settings()))
        assert queue.find(other).state is State.CANCELLED
        assert (again.place(row).job_id, queue.find(waits).held) == (waits, False)
        last = planner()
        last.drop_others([last.place(row)])
        assert queue.find(changed.job_id).state is State.CANCELLED
        assert queue.find(waits).state is State.QUEUED

    def test_what_the_gate_refused_is_not_made_again(
        self, planner: Callable[..., Planner], row: Row, queue: Queue, take: Take, work: Path
    ) -> None:
        job = queue.find(planner().place(row).job_id)
        ended(queue, job, take, video=None)
        planned = planner().place(row)
        assert (planned.job_id, planned.fresh) == (job.id, True)
        found = queue.find(job.id).exported
        assert found is not None and found.path == work / "out" / row.output and found.path.is_file()

    def test_looking_makes_nothing(self, planner: Callable[..., Planner], row: Row, queue: Queue) -> None:
        assert planner().place(row, submit=False) == Planned(row, "", fresh=True)
        assert queue.jobs() == ()

    def test_wrong_files_are_said(self, planner: Callable[..., Planner], row: Row, work: Path) -> None:
        (work / "no.wav").write_bytes(b"no sound")
        for bad in (replace(row, audio=work / "no.wav"), replace(row, portrait=work / "none.jpg")):
            planned = planner().place(bad)
            assert isinstance(planned.row, WrongRow)
            assert planned.row.output == row.output


@pytest.fixture
def sonic(sonic_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Calls the command line in this process; code, values, stderr."""

    def call(*words: str | Path) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = cli.main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return call


Sonic = Callable[..., tuple[int, Any, str]]


def begun(home: Path, *words: str | Path) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sonic_ext", *map(str, words), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"SONIC_HOME": str(home), "PYTHONPATH": str(ROOT)},
    )


def states(found: Any) -> dict[str, str]:
    """Output → state, of the JSON that the command prints."""
    return {row["output"]: row["state"] for row in found["rows"]}


class TestCommand:
    """`sonic batch`, with real jobs of five frames."""

    def test_again_makes_only_what_is_missing(self, sonic: Sonic, work: Path, sonic_home: Path) -> None:
        text = "portrait;audio;output;consent_purpose\n" + "".join(
            f"{face};声音.wav;{name};{purpose}\n"
            for face, name, purpose in (
                ("Gesicht ä.jpg", "", "one"),
                ("Gesicht ä.jpg", "=two", "two"),
                ("nobody.jpg", "three", "three"),
            )
        )
        (work / "jobs.csv").write_text(text, encoding="utf-8-sig")
        command = ("batch", work / "jobs.csv", "-o", work / "out", "--jobs", "2", *OPTIONS, *CONSENT)
        code, found, err = sonic(*command)
        assert (code, found["exit_code"], found["counts"]) == (8, 8, {"done": 2, "wrong": 1}), err
        assert states(found) == {"Gesicht ä-声音.mp4": "done", "=two.mp4": "done", "three.mp4": "wrong"}
        assert "Row 4 (three.mp4): " in err
        for row in found["rows"][:2]:
            assert sha256_of(work / "out" / row["output"]) == row["sha256"]
            assert len(row["take"]) == len(row["record"]) == 16
        page = (work / "out" / "report.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == 2 and "<script" not in page
        assert len(Store().takes()) == 2

        before = {path.name: path.stat().st_mtime_ns for path in (work / "out").glob("*.mp4")}
        assert sonic(*command)[1]["rows"] == found["rows"]
        assert {path.name: path.stat().st_mtime_ns for path in (work / "out").glob("*.mp4")} == before
        assert len(Store().takes()) == 2

        (work / "jobs.csv").write_text(
            text.replace(";two\n", ";changed\n").replace("nobody", "Gesicht ä"), "utf-8"
        )
        code, again, err = sonic(*command)
        assert (code, again["counts"]) == (0, {"done": 3}), err
        assert again["rows"][0] == found["rows"][0]
        assert again["rows"][1]["record"] != found["rows"][1]["record"]
        assert len(Store().takes()) == 4
        assert (sonic_home / "inputs").is_dir() and list((sonic_home / "inputs").iterdir()) == []

    def test_check_makes_nothing(self, sonic: Sonic, work: Path) -> None:
        for folder, file in (("p", "Gesicht ä.jpg"), ("v", "声音.wav")):
            (work / folder).mkdir()
            (work / file).rename(work / folder / file)
        folders = ("--portraits", work / "p", "--voices", work / "v")
        code, found, _ = sonic("batch", *folders, "-o", work / "out", "--check", *OPTIONS, *CONSENT)
        assert (code, states(found)) == (0, {"Gesicht ä-声音.mp4": "missing"})
        assert {path.name for path in (work / "out").iterdir()} == set(report.NAMES)
        assert sonic("jobs", "list")[1] == {"jobs": []}

    @pytest.mark.parametrize(
        ("words", "code", "error"),
        [
            ((), 2, "BadInput"),
            (("none.csv",), 2, "BadInput"),
            (("jobs.csv", "--watch", "p"), 2, "BadInput"),
            (("--portraits", "p", *CONSENT), 2, "BadInput"),
            (("--portraits", "p", "--voices", "v"), 3, "ConsentMissing"),
            (("--watch", "none", *CONSENT), 2, "BadInput"),
            (("out/report.csv",), 2, "BadInput"),
            (("jobs.csv", "--jobs", "0"), 2, "BadUsage"),
        ],
    )
    def test_refused_before_anything_is_done(
        self,
        sonic: Sonic,
        work: Path,
        words: tuple[str, ...],
        code: int,
        error: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(work)
        (work / "jobs.csv").write_text("portrait,audio\na,b")
        found = sonic("batch", *words, "-o", "out")
        assert (found[0], found[1]["error"]) == (code, error)
        assert not (work / "out").exists()

    def test_one_command_for_a_folder(self, sonic: Sonic, work: Path, queue: Queue) -> None:
        (work / "jobs.csv").write_text("portrait,audio\na,b")
        (work / "out").mkdir()
        batch = batch_id(work / "out")
        job = submitted(queue, lane=LANE, batch=batch)
        with alone(queue, batch) as mine:
            assert mine
            code, found, _ = sonic("batch", work / "jobs.csv", "-o", work / "out")
            assert (code, found["error"]) == (1, "Busy")
            assert sonic("jobs", "resume")[:2] == (0, {"jobs": [], "exit_code": 0})
        assert queue.find(job.id).state is State.QUEUED

    def test_jobs(self, sonic: Sonic, queue: Queue) -> None:
        assert sonic("jobs", "list")[:2] == (0, {"jobs": []})
        one, two = submitted(queue, 0), submitted(queue, 1)
        assert [each["id"] for each in sonic("jobs", "list")[1]["jobs"]] == [two.id, one.id]
        shown = sonic("jobs", "show", one.id[:10].upper())[1]
        assert (shown["id"], shown["state"], shown["audio"]) == (one.id, "queued", "voice.wav")
        assert sonic("jobs", "cancel", two.id)[1]["state"] == "cancelled"
        assert sonic("jobs", "show", "no such")[1]["error"] == "NotFound"
        code, found, _ = sonic("jobs", "resume", one.id)  # whose files are no picture and no sound
        assert (code, found["jobs"][0]["state"]) == (2, "failed")

    def test_what_a_webui_paints_waits_for_it(self, sonic: Sonic, queue: Queue) -> None:
        with queue.staging() as staged:
            spec = replace(some_spec(staged), portrait=PortraitRequest("txt2img", {"prompt": "a face"}))
            job = queue.submit(spec, staged, lane="webui somewhere")
        assert sonic("jobs", "resume", job.id)[1]["error"] == "MissingPart"
        assert queue.find(job.id).state is State.QUEUED


def test_what_takes_long_is_done_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at 100,000 rows or files takes a tenth of the time."""
    for took, pause in ((0.0, 0.25), (2.0, 18.0)):
        moments = iter((10.0, 10.0 + took))
        monkeypatch.setattr(batch_command, "time", SimpleNamespace(monotonic=lambda: next(moments)))  # noqa: B023
        assert batch_command._again(lambda: None, 0.25) == 10.0 + took + pause


class TestDeath:
    """Processes that are killed, and a command that is."""

    @pytest.fixture
    def long(self, work: Path) -> tuple[str | Path, ...]:
        """A command whose job can be caught in the middle."""
        (work / "jobs.csv").write_text(
            "portrait,audio,duration\nGesicht ä.jpg,声音.wav,3\n", encoding="utf-8"
        )
        return ("batch", work / "jobs.csv", "-o", work / "out", "--jobs", "1", *OPTIONS, *CONSENT)

    def running(self, queue: Queue) -> Job:
        """The job, once frames are drawn."""

        def drawn() -> Job | None:
            return next((job for job in queue.jobs() if job.step.stage == "drawing frames"), None)

        found = until(drawn)
        assert found is not None
        return found

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    def test_a_killed_command_goes_on(
        self, long: tuple[str | Path, ...], queue: Queue, sonic: Sonic, work: Path
    ) -> None:
        with begun(queue.home, *long) as command:
            job = self.running(queue)
            command.kill()
            command.wait()
        waits = until(lambda: queue.find(job.id), lambda found: not found.worker)
        assert (waits.state, waits.attempts) == (State.QUEUED, 0)  # the process let go of it by itself
        code, found, err = sonic(*long)
        assert (code, found["counts"]) == (0, {"done": 1}), err
        assert [each.id for each in queue.jobs()] == [job.id]
        assert len(Store().takes()) == 1

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    def test_interrupt_loses_nothing(
        self, long: tuple[str | Path, ...], queue: Queue, sonic: Sonic, work: Path
    ) -> None:
        with begun(queue.home, *long) as command:
            job = self.running(queue)
            command.send_signal(signal.SIGTERM)
            out, err = command.communicate(timeout=PATIENCE)
        found = json.loads(out)
        assert (command.returncode, found["error"], states(found)) == (
            130,
            "Cancelled",
            {"Gesicht ä-声音.mp4": "waiting"},
        ), err
        assert queue.find(job.id).state is State.QUEUED
        assert sonic("jobs", "list")[1]["jobs"][0]["state"] == "queued"
        code, resumed, err = sonic("jobs", "resume")
        assert (code, [each["id"] for each in resumed["jobs"]]) == (0, [job.id]), err
        assert sonic("jobs", "show", job.id[:8])[1]["output"] == str(work / "out" / "Gesicht ä-声音.mp4")
        assert sonic("jobs", "cancel", job.id[:8])[0] == 2  # it is over
        assert sonic(*long)[1]["counts"] == {"done": 1}
        assert len(Store().takes()) == 1

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    def test_interrupt_counts_what_was_not_reached(self, queue: Queue, work: Path) -> None:
        rows = "".join(f"Gesicht ä.jpg,声音.wav,{number}\n" for number in range(300))
        (work / "jobs.csv").write_text(f"portrait,audio,seed\n{rows}", encoding="utf-8")
        words = ("batch", work / "jobs.csv", "-o", work / "out", "--jobs", "1", *OPTIONS, *CONSENT)
        with begun(queue.home, *words) as command:
            until(queue.jobs)
            command.send_signal(signal.SIGTERM)
            out, err = command.communicate(timeout=PATIENCE)
        found = json.loads(out)
        assert command.returncode == 130 and "of 300 videos are made" in found["hint"], err
        assert sum(found["counts"].values()) == len(found["rows"]) == 300
        assert found["counts"]["missing"] > 0 and set(found["counts"]) <= {"missing", "waiting", "done"}

    def test_a_killed_process_is_replaced(
        self, long: tuple[str | Path, ...], queue: Queue, work: Path
    ) -> None:
        (work / "out").mkdir()
        planner = Planner(queue, Standalone(work / "out", lane=LANE), work / "out")
        planner.begin(hold=False)
        (row,) = read(work, "portrait,audio\nGesicht ä.jpg,声音.wav")
        job_id = planner.place(replace(row, settings=replace(QUICK, duration=1.0))).job_id
        with Processes(queue, planner.batch, LANE, 1, 1) as processes:
            processes.keep()
            self.running(queue)
            (first,) = processes._running
            first.kill()
            first.wait()

            def over() -> bool:
                processes.keep()
                return queue.find(job_id).state.ended

            until(over)
            assert processes._running != [first]
        found = queue.find(job_id)
        assert (found.state, found.attempts, found.exported is not None) == (State.DONE, 2, True)

    def test_processes_that_never_begin(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sonic_ext.batch.processes.CHILD", "no_such_module")

        def keep() -> bool:
            processes.keep()
            return False

        with Processes(queue, "ab" * 16, LANE, 1, 1) as processes, pytest.raises(Failed, match="as soon as"):
            until(keep)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_watch(work: Path, queue: Queue) -> None:
    """A pair is made when it is complete; another command does not make it again."""
    (work / "in").mkdir()
    words = ("batch", "--watch", work / "in", "-o", work / "out", "--jobs", "1", *OPTIONS, *CONSENT)
    video = work / "out" / "ä.mp4"

    def watched(until_there: Callable[[], object]) -> Any:
        with begun(queue.home, *words) as command:
            until(until_there)
            command.send_signal(signal.SIGINT)
            out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 130, err
        return json.loads(out)

    def copied() -> None:
        (work / "Gesicht ä.jpg").rename(work / "in" / "ä.jpg")
        (work / "声音.wav").rename(work / "in" / "ä.wav")

    copied()
    (work / "in" / "alone.jpg").write_bytes(b"1")
    report_file = work / "out" / "report.json"
    first = watched(lambda: video.is_file() and report_file.is_file())
    assert states(first) == {"ä.mp4": "done"}
    report_file.unlink()
    for name in report.NAMES:
        (work / "out" / name).unlink(missing_ok=True)
    made = video.stat().st_mtime_ns
    with begun(queue.home, *words) as command:
        (work / "in" / "later.jpg").write_bytes((work / "in" / "ä.jpg").read_bytes())
        (work / "in" / "later.wav").write_bytes((work / "in" / "ä.wav").read_bytes())
        until((work / "out" / "later.mp4").is_file)
        until(report_file.is_file)
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=PATIENCE)
    assert states(json.loads(out)) == {"ä.mp4": "done", "later.mp4": "done"}
    assert video.stat().st_mtime_ns == made
