"""`sonic bench`: grammar, progress, a table, and JSON to pass on."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled
from ..messages import said
from ..settings import Settings
from ..text import bytes_text, duration_text
from .arguments import AddCommand, number_from
from .console import Console, with_progress
from .interrupt import Interrupts
from .outputs import write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..evaluation.bench import Bench, TradeFigures
    from ..progress import Tick

_HELP = """\
A short clip is drawn by the sonic engine as published, then with every preset and saving; time, memory and
the share of this device's speed are measured, how far frames and mouth lie from the published ones, and what
the judge of lip sync says. No video is made. -o keeps the figures as JSON, to be pasted into an issue: it
names device, libraries, weights and settings, no paths and nothing of you.

exit codes: 0 done, also if some trades cannot be had here; 130 interrupted, what was measured is told.
"""


def grammar(commands: Any, add: AddCommand, add_settings: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command; `add` makes one."""
    made = add(
        commands, "bench", "Measure what the sonic engine takes here, and what each saving costs.", _HELP
    )
    made.add_argument("portrait", metavar="PORTRAIT", nargs="?", help="default: the example that ships")
    made.add_argument("audio", metavar="AUDIO", nargs="?", help="default: the example that ships")
    made.add_argument(
        "--minutes",
        type=number_from(1, 1440),
        default=10,
        metavar="N",
        help="that it may take, by forecast; default: %(default)s",
    )
    made.add_argument(
        "--trade",
        action="append",
        default=[],
        metavar="NAME",
        dest="trades",
        help="this one beside the published way; may be repeated",
    )
    made.add_argument("-o", "--output", metavar="OUT.json", help="where the figures go")
    made.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_settings(made)


def run(options: argparse.Namespace, settings: Settings, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `bench` command; returns the exit code. Errors are raised."""
    from ..evaluation.bench import planned_bench
    from ..files.atomic import check_target
    from ..progress import Ticker

    signals.unwind()
    output = Path(options.output).absolute() if options.output else None
    if output is not None:
        check_target(output, options.overwrite)
    with tempfile.TemporaryDirectory() as home, signals.polite():

        def planned(tick: Tick) -> Bench:
            return planned_bench(
                settings,
                minutes=options.minutes,
                portrait=Path(options.portrait) if options.portrait else None,
                audio=Path(options.audio) if options.audio else None,
                names=options.trades,
                home=Path(home),
                tick=tick,
            )

        bench = with_progress(signals, lambda progress: planned(Ticker(progress)))
        needed = duration_text(bench.seconds_needed)
        console.note(f"{len(bench.trades)} trades on {bench.about['device']}: about {needed}.")
        stopped = False
        try:
            with_progress(signals, lambda progress: [*bench.run(Ticker(progress))])
        except Cancelled:
            stopped = True
    values = bench.as_json()
    if output is not None and bench.figures:
        write_json(output, values, options.overwrite)
    console.warnings(tuple(bench.notes))
    if stopped:
        console.note(*bench_lines(bench))
        kept = f"What was measured is in {output}." if output and bench.figures else "Nothing was written."
        raise Cancelled("Stopped as asked.", kept)
    console.result(values, *bench_lines(bench))
    return 0


def bench_lines(bench: Bench) -> list[str]:
    """A line for each trade, and what is recommended."""
    width = max(map(len, bench.trades))
    lines = [
        f"{'':{width}}  {'time':>9} {'step':>8} {'peak':>5} {'memory':>8}  {'dB':>5} {'SSIM':>6} "
        f"{'mouth':>5} {'sync':>5}"
    ]
    lines += [_line(each, width) for each in bench.figures]
    if bench.recommended:
        lines.append(said(f"Recommended here: {bench.recommended_words}"))
    return lines


def _line(figures: TradeFigures, width: int) -> str:
    if figures.note:
        return f"{figures.name:{width}}  {figures.note}"
    memory = bytes_text(figures.device_memory or figures.memory)
    return (
        f"{figures.name:{width}}  {figures.seconds:7.1f} s {figures.step_seconds:6.2f} s "
        f"{100 * figures.share_of_peak:3.0f} % {memory:>8}  {figures.psnr:5.1f} {figures.ssim:6.3f} "
        f"{figures.mouth:5.2f} {figures.sync:5.2f}"
    )
