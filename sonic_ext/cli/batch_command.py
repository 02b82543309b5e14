"""`sonic batch`: grammar, and the one loop that places rows, keeps processes, and says how it goes."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadInput, Busy, Cancelled, NotFound, SonicError
from ..text import duration_text
from .arguments import AddCommand, AddOptions, add_ray, number_from
from .console import Console, ProgressLine, spoken
from .interrupt import Interrupts

if TYPE_CHECKING:
    from ..batch.planning import Planned, Planner
    from ..batch.report import Entry
    from ..batch.rows import AnyRow
    from ..batch.watching import Folder
    from ..jobs import Queue, State
    from ..settings import Settings

SOME_FAILED = 8
"""Exit code: not every row has its video."""
LOOK = 0.25
"""Seconds between two looks at the queue, and that rows are placed for in between, at least."""
IDLE = 9.0
"""As many times as long as a look took passes until the next: at 100,000 rows, or files, it takes a while."""


def grammar(commands: Any, add: AddCommand, options: Iterable[AddOptions], epilog: str) -> None:
    """Add the command.

    Args:
        add: makes one.
        options: that it shares with `animate`: consent and settings.
    """
    made = add(commands, "batch", "Make and export many videos: those of a file, or of folders.", epilog)
    made.add_argument(
        "rows", metavar="JOBS", nargs="?", help="a CSV file or JSON lines (.jsonl), a row for each video"
    )
    made.add_argument("--portraits", metavar="FOLDER", help="every portrait in it …")
    made.add_argument("--voices", metavar="FOLDER", help="… with every voice in this one")
    made.add_argument("--pair", action="store_true", help="… or with the voice of the same name")
    made.add_argument("--watch", metavar="FOLDER", help="pairs of the same name as they appear, until Ctrl-C")
    made.add_argument("-o", "--output", required=True, metavar="FOLDER", help="videos and report go there")
    made.add_argument("--overwrite", action="store_true", help="replace files that somebody else put there")
    made.add_argument("--check", action="store_true", help="check the rows, write the report, make nothing")
    made.add_argument(
        "--jobs",
        type=number_from(1, 256),
        metavar="N",
        help="videos at a time; default: one for each core, one for an engine on a graphics card",
    )
    add_ray(made)
    for each in options:
        each(made)


def run(options: argparse.Namespace, settings: Settings, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `batch` command; returns the exit code. Errors are raised."""
    from ..batch import report
    from ..batch.planning import LANE, Planner, alone
    from ..hosts.standalone import Standalone
    from ..jobs import Queue
    from ..provenance.boundary import refuse_inside

    signals.unwind()
    rows, watched = _source(options, settings)
    folder = Path(options.output).absolute()
    queue = Queue()
    refuse_inside(folder, queue.home)
    host = Standalone(folder, lane=LANE)
    host.outputs()
    report.require_ours(folder, options.overwrite)
    planner = Planner(queue, host, folder, options.overwrite)
    with alone(queue, planner.batch) as mine, signals.polite():
        if not mine:
            raise Busy(f"Another command makes videos in {folder}.", "Wait for it, or take another folder.")
        batch = _Batch(console, signals, queue, planner, folder)
        if options.check:
            batch.check(rows)
        else:
            crew = partial(_crew, options, settings, rows, queue, planner.batch, batch.note)
            try:
                batch.make(rows, watched, crew)
            except SonicError:
                with contextlib.suppress(SonicError):
                    batch.write()  # as far as it came
                raise
        return batch.told()


def _source(options: argparse.Namespace, settings: Settings) -> tuple[tuple[AnyRow, ...], Folder | None]:
    """The rows of a file or of folders, or a folder to watch; each of them alone.

    Raises:
        BadInput: none or several of them, or one that cannot be read.
        Refused: folders without a consent that holds.
    """
    from ..batch import report, rows
    from ..batch.watching import Folder
    from ..provenance.consent import Consent

    folders = bool(options.portraits or options.voices or options.pair)
    if [bool(options.rows), folders, bool(options.watch)].count(True) != 1:
        raise BadInput(
            "A batch takes its rows from one place.",
            "Give a file, or --portraits FOLDER --voices FOLDER, or --watch FOLDER.",
        )
    stated = {name: str(getattr(options, rows.PREFIX + name)) for name in rows.CONSENT}
    if stated["evidence"]:
        stated["evidence"] = str(Path(stated["evidence"]).absolute())
    defaults = rows.Defaults(settings, stated)
    output = Path(options.output).absolute()
    if options.rows:
        path = Path(options.rows).absolute()
        if path.parent == output and path.name in report.NAMES:
            raise BadInput(f"{path} would be replaced by the report.", "Give the file another name.")
        return rows.read_file(path, defaults), None
    Consent.from_mapping(stated).check()
    if options.watch:
        if options.check or Path(options.watch).absolute() == output:
            raise BadInput(
                "--watch goes with another folder for the videos, and not with --check.",
                "Give another folder with -o.",
            )
        rows.files_in(Path(options.watch), ())
        return (), Folder(Path(options.watch), defaults)
    if not (options.portraits and options.voices):
        raise BadInput("Portraits and voices are needed.", "Give --portraits FOLDER and --voices FOLDER.")
    return rows.crossed(Path(options.portraits), Path(options.voices), defaults, options.pair), None


class Crew(Protocol):
    """What makes the videos of a batch while the block runs: processes here, or workers of a cluster."""

    def __enter__(self) -> Crew: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def keep(self) -> None:
        """Replace what died. Called while there is work."""


def _crew(
    options: argparse.Namespace,
    settings: Settings,
    rows: Sequence[AnyRow],
    queue: Queue,
    batch: str,
    note: Callable[[SonicError], None],
) -> Crew:
    """As many as `--jobs` says. By default one for each core, and one alone for an engine that has a device
    to itself, as those with weights do; on a cluster that runs, one for each core or card of it.

    Args:
        batch: its id.
        note: told what does not stop the batch.
    """
    from ..batch.planning import LANE
    from ..batch.processes import Processes
    from ..processes import cores

    heavy = _has_device(settings, rows)
    count = options.jobs or (1 if heavy else min(cores(), len(rows) or cores()))
    threads = max(1, cores() // count) if count > 1 else 0
    if options.ray is None:
        return Processes(queue, batch, LANE, count, threads)
    from ..batch.cluster.connection import LOCAL, Connection
    from ..batch.cluster.head import Cluster

    here = options.ray == LOCAL
    connection = Connection(options.ray, cores() if heavy else count, options.ray_private_network)
    most = count if here else options.jobs
    return Cluster(queue, batch, LANE, connection, most, threads if here else int(not heavy), heavy, note)


def _again(look: Callable[[], None], least: float) -> float:
    """Look; when to do so again, on the monotonic clock.

    Args:
        least: seconds until then.
    """
    began = time.monotonic()
    look()
    now = time.monotonic()
    return now + max(least, IDLE * (now - began))


def _has_device(settings: Settings, rows: Sequence[AnyRow]) -> bool:
    """Whether one of the rows, or what they would be by default, is drawn by an engine with weights."""
    from .. import engines
    from ..batch.rows import Row
    from ..engines.registry import spec_of

    wanted = {row.settings.engine: row.settings for row in rows if isinstance(row, Row)}
    for name, its in (wanted or {settings.engine: settings}).items():
        with contextlib.suppress(SonicError):  # its rows say so
            if spec_of(engines.choose(name, settings=its).name).parts:
                return True
    return False


class _Batch:
    """The batch of this command while it is made."""

    def __init__(
        self, console: Console, signals: Interrupts, queue: Queue, planner: Planner, folder: Path
    ) -> None:
        self._console, self._signals = console, signals
        self._queue, self._planner, self._folder = queue, planner, folder
        self._line = ProgressLine(lambda: signals.asked)
        self._todo: deque[AnyRow] = deque()
        """Rows that have no job yet …"""
        self._planned: dict[int, Planned] = {}
        """… and those that have, by their numbers."""
        self._over: set[int] = set()
        """Numbers of rows of which nothing more will come …"""
        self._failed: set[int] = set()
        """… and of those that have no video."""
        self._fresh: set[str] = set()
        """Ids of jobs that are being done …"""
        self._began = 0.0
        """… since then."""

    def check(self, rows: Iterable[AnyRow]) -> None:
        """Look at every row, and make nothing."""
        self._planner.begin(hold=False)
        self._todo.extend(rows)
        while self._todo and not self._signals.asked:
            self._place(self._todo.popleft(), submit=False)

    def make(self, rows: Sequence[AnyRow], watched: Folder | None, crew: Callable[[], Crew]) -> None:
        """Place every row and see it through; with a folder that is watched, until a signal comes.

        Args:
            crew: makes the videos.
        """
        from ..batch.watching import EVERY

        others = watched is None  # jobs of earlier commands that no row asks for any more may be there
        todo, next_look, look = self._todo, 0.0, time.monotonic() + LOOK
        todo.extend(rows)
        self._planner.begin(hold=watched is None)
        with contextlib.closing(self._line), crew() as processes:
            while not self._signals.asked:
                if watched is not None and time.monotonic() >= next_look:
                    next_look = _again(lambda: todo.extend(watched.look()), EVERY)
                while todo and time.monotonic() < look and not self._signals.asked:
                    if self._place(todo.popleft(), submit=True):
                        processes.keep()
                look = _again(self._look, LOOK)
                if todo:
                    continue
                if others:
                    self._planner.drop_others(self._planned.values())
                    others = False
                if len(self._over) == len(self._planned):
                    if watched is None:
                        return
                    if self._fresh:
                        self.write()
                        self._fresh.clear()
                else:
                    processes.keep()
                time.sleep(max(0.0, look - time.monotonic()))

    def note(self, problem: SonicError) -> None:
        """Say what does not stop the batch."""
        self._line.close()
        self._console.note(spoken(problem))

    def told(self) -> int:
        """Write the report and say what came of it; the exit code."""
        from ..batch import report

        found, paths = self.write()
        counts = report.counts(found)
        values = {
            "folder": str(self._folder),
            "batch": self._planner.batch,
            "counts": counts,
            "report": [str(path) for path in paths],
            "rows": report.as_values(found),
        }
        done = f"{counts.get('done', 0)} of {len(found)} videos"
        if self._signals.asked:
            asked = Cancelled(
                "Stopped as asked.", f"{done} are made; the same command goes on with the rest."
            )
            return self._console.error(asked, values)
        code = SOME_FAILED if self._failed else 0
        rest = ", ".join(f"{count} {state}" for state, count in counts.items() if state != "done")
        lines = (f"{done} are in {self._folder}" + (f"; {rest}." if rest else "."), f"Report: {paths[-1]}")
        self._console.result(values | {"exit_code": code}, *lines)
        return code

    def _place(self, row: AnyRow, submit: bool) -> bool:
        """Whether something is to be done for the row."""
        from ..batch.rows import WrongRow

        planned = self._planner.place(row, submit)
        self._planned[row.number] = planned
        self._over.discard(row.number)
        self._failed.discard(row.number)
        if isinstance(planned.row, WrongRow):
            self._fail(row.number, planned.row.error)
        elif not planned.fresh:
            self._over.add(row.number)
        elif planned.job_id:
            self._began = self._began if self._fresh else time.monotonic()
            self._fresh.add(planned.job_id)
        return planned.fresh

    def _look(self) -> None:
        """See which jobs ended, and draw the line of progress."""
        standing = self._queue.standing(self._planner.batch)
        for number, planned in self._planned.items():
            if number not in self._over and (
                planned.job_id not in standing or standing[planned.job_id][0].ended
            ):
                with contextlib.suppress(NotFound):  # somebody had it forgotten
                    job = self._queue.find(planned.job_id)
                    if job.exported is None:
                        self._fail(number, job.error or Cancelled())
                self._over.add(number)
        total, failed = len(self._planned) + len(self._todo), len(self._failed)
        if total:
            text = f"{len(self._over) - failed} of {total} videos" + (f", {failed} failed" if failed else "")
            left = self._seconds_left(standing, len(self._todo))
            self._line.say(text + (f"  {duration_text(left)} left" if left is not None else ""))

    def _seconds_left(self, standing: Mapping[str, tuple[State, float]], todo: int) -> float | None:
        """By what was done since the first job began; rows that are not placed yet count as work."""
        here = [standing[job_id] for job_id in self._fresh if job_id in standing]
        done = sum(1.0 if state.ended else share for state, share in here)
        left = len(here) + todo - done
        return (time.monotonic() - self._began) / done * left if done >= 0.5 and left else None

    def _fail(self, number: int, error: SonicError) -> None:
        row = self._planned[number].row
        self._over.add(number)
        self._failed.add(number)
        self._line.close()
        name = row.output or f"{row.portrait} + {row.audio}".strip(" +")
        self._console.note(f"Row {number}{f' ({name})' if name else ''}: {spoken(error)}")

    def write(self) -> tuple[tuple[Entry, ...], tuple[Path, ...]]:
        """The report, as things stand: its rows, and its files."""
        from ..batch import report
        from ..batch.planning import Planned

        known = self._planned | {row.number: Planned(row) for row in self._todo}
        planned = (known[number] for number in sorted(known))
        found = report.entries(planned, self._planner.batch, self._queue)
        return found, report.write(self._folder, found, self._queue)
