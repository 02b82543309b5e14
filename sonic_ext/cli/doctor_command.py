"""`sonic doctor`: what bad days left in the private folder, mended where that loses nothing."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ..messages import joined
from .arguments import AddCommand
from .console import Console
from .interrupt import Interrupts

LEFT = 8
"""Exit code where something needs a decision."""


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command; `add` makes one."""
    made = add(
        commands,
        "doctor",
        "Find what bad days left in the private folder, mend it, and say what was done.",
        "exit codes: 0 all is well now; 8 something is left that needs your decision.",
    )
    made.add_argument(
        "--delete-damaged",
        action="store_true",
        help="delete finished videos that cannot be used",
    )


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `doctor` command; returns the exit code."""
    from ..jobs import Queue
    from ..jobs.doctor import FindingState, examine

    signals.unwind()
    findings = list(examine(Queue(), delete_damaged=options.delete_damaged))
    values = [asdict(each) | {"state": str(each.state)} for each in findings]
    console.result(
        {"findings": values},
        *(f"{each.state!s:<8}{each.name:<13}{joined(each.text, each.hint)}" for each in findings),
    )
    return LEFT if any(each.state is FindingState.LEFT for each in findings) else 0
