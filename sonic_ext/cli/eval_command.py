"""`sonic eval`: grammar, progress, and what came of it in a few lines."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Cancelled
from ..messages import joined
from ..text import duration_text
from .arguments import AddCommand, number_from
from .console import Console, ProgressLine, spoken
from .interrupt import Interrupts

if TYPE_CHECKING:
    from ..evaluation.folder import Evaluation, EvaluationProgress, FolderComparison
    from ..evaluation.measuring import Measuring

SOME_FAILED = 8
"""Exit code: not every video could be measured."""
SHOWN = ("sync_error", "closed", "score", "identity")
"""Figures that are said beside the report."""
EPILOG = """\
Of every video: lip sync, p b m closed where NAME.phonemes.json lies beside NAME.mp4, how lips, brows,
eyes and head move beside people, THEval's scores, and identity where an insightface pack is installed.
OUT gets a CSV, a JSON and a page of plots; docs/evaluation.md says what each figure is. Called again, it
measures only what is new or was changed.

exit codes: 0 all are measured; 8 some are not; 130 interrupted, the same command goes on.
"""


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command; `add` makes one."""
    made = add(commands, "eval", "Measure every video of a folder: lip sync, motion, identity.", EPILOG)
    made.add_argument("folder", metavar="DIR", help="the videos that lie in it, not in folders below")
    made.add_argument(
        "--against",
        metavar="OTHER",
        help="compare with the videos of the same names in this folder, in pairs",
    )
    made.add_argument("-o", "--output", metavar="OUT", help="where the report goes; default: DIR/evaluation")
    made.add_argument(
        "--portrait", metavar="FILE", help="whom the videos show; default: the first frame of each"
    )
    made.add_argument("--models", metavar="FOLDER", help="look here, too, for insightface packs")
    made.add_argument("--overwrite", action="store_true", help="replace reports that somebody else put there")
    made.add_argument(
        "--jobs", type=number_from(1, 256), metavar="N", help="videos at a time; default: one for each core"
    )


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `eval` command; returns the exit code. Errors are raised."""
    from ..evaluation import report
    from ..evaluation.folder import compare, evaluate
    from ..processes import cores

    signals.unwind()
    folders = [Path(each).absolute() for each in (options.folder, options.against) if each]
    if len(folders) == 2 and folders[0].resolve() == folders[1].resolve():
        raise BadInput("A folder was given beside itself.", "Give another one with --against.")
    output = Path(options.output).absolute() if options.output else folders[0] / "evaluation"
    how = _measuring(options)
    report.require_ours(output, options.overwrite)
    shown = _Shown(ProgressLine(lambda: signals.asked))
    with contextlib.closing(shown.line), signals.polite():
        try:
            found = evaluate(
                folders,
                output / report.RESULTS,
                how,
                options.jobs or cores(),
                shown.tell,
                lambda: signals.asked,
            )
        except Cancelled:
            raise Cancelled("Stopped as asked.", f"{shown.state}; the same command goes on.") from None
        compared = compare(*found) if len(found) == 2 else None
        paths = report.write(output, found, compared)
    return _told(console, found, compared, how, paths)


def _measuring(options: argparse.Namespace) -> Measuring:
    from .. import weights
    from ..engines.detectors import recognisers
    from ..evaluation import measuring

    packs = recognisers(weights.Search.default(options.models))
    return measuring.Measuring(
        sync=measuring.SYNC,
        recogniser=packs[0] if packs else None,
        portrait=Path(options.portrait).absolute() if options.portrait else None,
    )


class _Shown:
    """The line of progress."""

    def __init__(self, line: ProgressLine) -> None:
        self.line = line
        self.state = "Nothing was measured"
        self._began = time.monotonic()

    def tell(self, step: EvaluationProgress) -> None:
        self.state = f"{step.done} of {step.total} videos are measured"
        text = f"{step.done} of {step.total} videos" + (f", {step.failed} failed" if step.failed else "")
        if 0 < step.measured < step.to_measure:
            left = (time.monotonic() - self._began) / step.measured * (step.to_measure - step.measured)
            text += f"  {duration_text(left)} left"
        self.line.say(text, at_once=step.done == step.total)


def _told(
    console: Console,
    found: tuple[Evaluation, ...],
    compared: FolderComparison | None,
    how: Measuring,
    paths: tuple[Path, ...],
) -> int:
    """Say what came of it; the exit code."""
    from ..evaluation.measuring import NO_RECOGNISER, RECOGNISER_HINT
    from ..evaluation.report import as_values

    lines = []
    for each in found:
        for video in each.failed:
            assert video.error is not None
            console.note(f"{video.name}: {spoken(video.error)}")
        total = len(each.videos)
        lines.append(f"{total - len(each.failed)} of {total} videos of {each.folder} are measured.")
        lines += _summary(each)
    if compared is not None:
        first, second = len(compared.only_first), len(compared.only_second)
        lines.append(f"{len(compared.names)} pairs; only in one of the folders: {first} and {second}.")
    if how.recogniser is None:
        console.note(joined(NO_RECOGNISER, RECOGNISER_HINT))
    code = SOME_FAILED if any(each.failed for each in found) else 0
    values = as_values(found, compared) | {"report": [str(path) for path in paths], "exit_code": code}
    console.result(values, *lines, f"Report: {paths[-1]}")
    return code


def _summary(evaluation: Evaluation) -> list[str]:
    from ..evaluation.metrics import BY_NAME

    lines = []
    for name, found in evaluation.summary().items():
        if name in SHOWN:
            metric = BY_NAME[name]
            spread = (
                f" ({metric.text(found.low)} to {metric.text(found.high)})" if found.low == found.low else ""
            )
            lines.append(f"  {metric.label}: {metric.text(found.mean)}{spread} {metric.unit}".rstrip())
    return lines
