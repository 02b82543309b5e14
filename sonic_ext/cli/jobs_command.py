"""`sonic jobs list | show | cancel | resume`: what waits, what came of it, and what was left behind."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Cancelled, MissingPart, NotFound
from .arguments import AddCommand
from .console import Console, ProgressLine, spoken
from .interrupt import Interrupts

if TYPE_CHECKING:
    from ..jobs import Job, Queue

SHOWN = 40
"""Jobs that `list` names without `--all`."""
LANE = "cli"
"""Of the jobs of `sonic animate`, see `ports.Host.lane`."""


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command and its actions; `add` makes one."""
    made = add(commands, "jobs", "Say which videos wait and what came of them; go on with what was left.")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = add(actions, "list", f"List jobs, newest first: those that have not ended, then up to {SHOWN}.")
    listed.add_argument("--all", action="store_true", help="all that are remembered")
    for name, help in (
        ("show", "Show one job."),
        ("cancel", "Stop a job, or take it out of the line."),
        ("resume", "Carry out what killed `sonic animate` and `sonic batch` left, or one job."),
    ):
        one = add(actions, name, help)
        one.add_argument(
            "id", metavar="ID", nargs="?" if name == "resume" else None, help="its beginning is enough"
        )


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `jobs` command; returns the exit code. Errors are raised."""
    from ..jobs import Queue

    signals.unwind()
    queue = Queue()
    queue.recover()
    return _ACTIONS[options.action](options, queue, console, signals)


def _list(options: argparse.Namespace, queue: Queue, console: Console, signals: Interrupts) -> int:
    jobs = queue.jobs()
    if not options.all:
        jobs = tuple(job for number, job in enumerate(jobs) if number < SHOWN or not job.state.ended)
    lines = [job_line(job) for job in jobs] or ["There is no job."]
    console.result({"jobs": [job_values(job) for job in jobs]}, *lines)
    return 0


def _show(options: argparse.Namespace, queue: Queue, console: Console, signals: Interrupts) -> int:
    values = job_values(_found(queue, options.id))
    console.result(values, *(f"{name}: {value}" for name, value in values.items() if value not in ("", None)))
    return 0


def _cancel(options: argparse.Namespace, queue: Queue, console: Console, signals: Interrupts) -> int:
    job = _found(queue, options.id)
    if job.state.ended:
        raise BadInput(f"Job {job.id[:8]} is over: {job.state}.", "List what waits with: sonic jobs list")
    job = queue.cancel(job.id)
    said = "It is cancelled." if job.state.ended else "It stops within about a second, or after a step."
    console.result(job_values(job), said)
    return 0


def _resume(options: argparse.Namespace, queue: Queue, console: Console, signals: Interrupts) -> int:
    """One after the other, in their order; the exit code is that of the last one that failed."""
    from ..batch.planning import LANE as BATCH_LANE

    jobs = [_found(queue, options.id)] if options.id else [*reversed(queue.jobs(ended=False))]
    if options.id and not jobs[0].state.ended and jobs[0].portrait is None and _is_painted(jobs[0]):
        raise MissingPart("A WebUI makes the portrait of this job.", "Start the WebUI and continue it there.")
    ours = (LANE, BATCH_LANE)  # a server goes on with its own
    waiting = [job for job in jobs if options.id or (job.lane in ours and not job.worker)]
    if not options.id:
        made_now = {batch for batch in {job.batch for job in waiting} if batch and _is_made(queue, batch)}
        waiting = [job for job in waiting if job.batch not in made_now]
    code, over = 0, []
    with signals.polite():
        for job in waiting:
            ended = None if signals.asked else _carried_out(job, queue, signals)
            if ended is not None and ended.state.ended:
                over.append(ended)
                console.note(job_line(ended))
                code = ended.error.exit_code if ended.error else code
    values = {"jobs": [job_values(job) for job in over], "exit_code": code}
    if signals.asked:
        return console.error(Cancelled("Stopped as asked.", "The rest waits; resume it again."), values)
    console.result(values, f"{len(over)} of {len(waiting)} jobs are over.")
    return code


def _is_painted(job: Job) -> bool:
    from ..jobs import PortraitRequest

    return isinstance(job.spec.portrait, PortraitRequest)


def _is_made(queue: Queue, batch: str) -> bool:
    """A command is at it, and decides what of it is still wanted."""
    from ..batch.planning import alone

    with alone(queue, batch) as nobody_else:
        return not nobody_else


def _carried_out(job: Job, queue: Queue, signals: Interrupts) -> Job | None:
    """The job, over, or waiting again where a signal came; None where somebody else has it."""
    from ..hosts.standalone import Standalone
    from ..jobs import Worker

    def asked() -> bool:
        if signals.asked:
            worker.close(0.0)  # unlike a job that is cancelled, this one goes on another time
        return False

    line = ProgressLine(asked)
    with (
        Worker(Standalone(Path(), lane=f"resume-{job.id}"), queue) as worker,
        contextlib.closing(line),
    ):
        return worker.adopt(job.id, line)


_ACTIONS = {"list": _list, "show": _show, "cancel": _cancel, "resume": _resume}


def _found(queue: Queue, beginning: str) -> Job:
    """The one job whose id begins so.

    Raises:
        NotFound: there is none.
        BadInput: there are several.
    """
    found = [job for job in queue.jobs() if beginning and job.id.startswith(beginning.lower())]
    if not found:
        raise NotFound(f"There is no job {beginning}.", "List them with: sonic jobs list")
    if len(found) > 1:
        raise BadInput(f"Several jobs begin with {beginning}.", "Give more of the id.")
    return found[0]


def job_line(job: Job) -> str:
    """Id, time, state and what it is about."""
    state = f"{job.state} {job.progress:.0%}" if str(job.state) == "running" else str(job.state)
    about = job.label or getattr(job.spec.portrait, "name", "a portrait of the WebUI's")
    place = f" → {job.exported.path}" if job.exported else ""
    error = f"  {spoken(job.error)}" if job.error else ""
    when = f"{job.created.astimezone():%Y-%m-%d %H:%M}"
    return (
        f"{job.id[:8]}  {when}  {job.origin:<6}  {state:<12}  {about} + {job.spec.audio.name}{place}{error}"
    )


def job_values(job: Job) -> dict[str, Any]:
    """Plain JSON values."""
    export = job.spec.export
    return {
        "id": job.id,
        "origin": str(job.origin),
        "lane": job.lane,
        "batch": job.batch,
        "state": str(job.state),
        "held": job.held,
        "progress": round(job.progress, 4),
        "attempts": job.attempts,
        "stage": job.step.text,
        "created": job.created.isoformat(),
        "began": job.began.isoformat() if job.began else None,
        "ended": job.ended.isoformat() if job.ended else None,
        "portrait": getattr(job.spec.portrait, "name", None),
        "audio": job.spec.audio.name,
        **({"audio_2": job.spec.audio_2.name} if job.spec.audio_2 else {}),
        "engine": job.spec.engine,
        "seed": job.spec.seed,
        "output": str(job.exported.path)
        if job.exported
        else (export.path or export.folder if export else ""),
        "take": job.take.id if job.take else None,
        "record": job.exported.record if job.exported else None,
        "sha256": job.exported.sha256 if job.exported else None,
        "error": str(job.error) if job.error else None,
    }
