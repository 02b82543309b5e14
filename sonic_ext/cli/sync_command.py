"""`sonic sync FILE`: grammar, deed and words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled
from ..messages import joined, said
from .arguments import AddCommand
from .console import Console, with_progress
from .interrupt import Interrupts
from .outputs import check_picture, write_png

if TYPE_CHECKING:
    from ..sync.fix import SyncFix
    from ..sync.report import SyncReport

MOST_FACES = 12
"""That are told of one by one, the longest."""

_HELP = """\
The offset is told in milliseconds with the probability that it is right to within 40 ms. --fix writes a
copy with the sound moved and the picture's packets as they are; it never guesses: below a confidence of 0.5,
or where faces differ, it writes nothing unless told --unsure, and nothing is done within 20 ms.

exit codes: 0 mouth and voice agree to within 20 ms, or a copy was fixed; 9 they are further apart;
10 it cannot be measured, or not surely; 2 not a video, no sound, or OUT cannot be written; 3 FILE lies in
the private folder. --json says more under `verdict`, `reason` and `hint`."""


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command; `add` makes one."""
    made = add(commands, "sync", "Measure how far the mouth in a video is from the voice, and fix it.", _HELP)
    made.add_argument("file", metavar="FILE", help="a video in which somebody speaks")
    made.add_argument("--chart", metavar="OUT.png", help="draw sound, mouth and score over time")
    made.add_argument(
        "--fix", metavar="OUT", help="write a copy in which both agree; MP4, MOV, MKV or WebM as FILE is"
    )
    made.add_argument("--unsure", action="store_true", help="fix by an offset that is not sure, too")
    made.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `sync` command; returns the exit code. Errors are raised."""
    from ..progress import Ticker
    from ..sync.chart import chart
    from ..sync.fix import check_fix, fix_sync
    from ..sync.measure import measure_sync
    from ..sync.verdict import verdict, verdict_values

    signals.unwind()
    file = Path(options.file)
    picture = Path(options.chart) if options.chart else None
    copy = Path(options.fix) if options.fix else None
    if picture is not None:
        _check_chart(picture, options.overwrite)
    if copy is not None:
        check_fix(file, copy, options.overwrite)
    with signals.polite():
        report = with_progress(signals, lambda progress: measure_sync(file, Ticker(progress)))
    if signals.asked:  # after the last step of it
        raise Cancelled("Stopped as asked.", "Nothing was written.")
    if picture is not None:
        write_png(picture, chart(report, file.name), options.overwrite)
    fixed = None
    if copy is not None:
        fixed = fix_sync(file, copy, report, unsure=options.unsure, overwrite=options.overwrite)
    code = 0 if fixed is not None and fixed.path is not None else verdict(report.best).exit_code
    values = {
        "path": str(file),
        **verdict_values(report),
        **report.values(),
        "chart": str(picture) if picture else None,
        "fixed": str(fixed.path) if fixed and fixed.path else None,
        "notes": list(fixed.notes) if fixed else [],
        "exit_code": code,
    }
    console.warnings(report.warnings)
    console.result(values, *sync_lines(report, fixed))
    return code


def _check_chart(path: Path, overwrite: bool) -> None:
    from ..files.home import private_home
    from ..provenance.boundary import refuse_inside

    check_picture(path, overwrite)
    refuse_inside(path, private_home())


def sync_lines(report: SyncReport, fixed: SyncFix | None = None) -> list[str]:
    """The offset in plain words, a line for each face where there are several, and what came of a fix."""
    from ..sync.verdict import hint, reason, summary

    lines = [joined(*filter(None, (summary(report.best), reason(report), hint(report))))]
    if len(report.tracks) > 1:
        lines += [
            f"  {said(f'Face {number}, {track.start:.1f} to {track.end:.1f} s')}: "
            f"{said(summary(track) if track.measured else track.note or summary(track))}"
            for number, track in enumerate(report.tracks[:MOST_FACES], 1)
        ]
        if (more := len(report.tracks) - MOST_FACES) > 0:
            lines.append(f"  {said(f'… and {more} more; --json has them all.')}")
    if fixed is not None:
        lines += [str(fixed.path)] if fixed.path else []
        lines += [said(note) for note in fixed.notes]
    return lines
