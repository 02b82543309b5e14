"""Work on strangers' bytes in a process of its own, which can be ended whatever a library in it is doing.

    found = call(examine, {"path": "video.mp4"}, name="video.mp4", seconds=300, tick=tick)

A reader that hangs, crashes or asks for all memory takes this process down and not the caller's. Request and
answer are JSON: nothing that read foreign bytes is unpickled. It ends with its caller, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import queue
import signal
import subprocess
import threading
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from .. import errors
from ..errors import BadVideo, Failed, SonicError
from ..processes import start_python
from ..progress import Stage, Tick
from ..text import visible

MEMORY = 4 << 30
"""Bytes that the process may ask for, where the system can hold it to that (Linux)."""
MAX_ANSWER = 8 << 20
"""Bytes of an answer."""
POLL = 0.2
"""Seconds between two looks at whether to stop."""

Work = Callable[..., dict[str, Any]]
"""A function of a module: keyword arguments and `tick` in, JSON values out; raises `SonicError`."""
Made = TypeVar("Made")
_log = logging.getLogger(__name__)


def call(
    work: Work,
    given: Mapping[str, Any],
    *,
    name: str,
    seconds: float,
    tick: Tick | None = None,
    stage: Stage = Stage.READING_MARKS,
) -> dict[str, Any]:
    """What `work` makes of `given`, in another process.

    Args:
        work: found there by its module and name.
        given: its arguments, as JSON has them.
        name: of the file, for the user.
        seconds: after these it is ended.
        tick: told of its steps; asked at least every `POLL` seconds, and may stop it.
        stage: what it is told until the work says more.

    Raises:
        SonicError: what the work raises.
        BadVideo: it did not come to an end in time, or within its memory, or died of the file.
        Failed: Python cannot be started, or the work has a fault.
        Cancelled: from `tick`.
    """
    end = time.monotonic() + seconds
    step = (stage, 0, 1, "")
    with _process(work, given, seconds) as process:
        answers = _answers(process)
        while True:
            if time.monotonic() > end:
                raise BadVideo(f"{name} could not be checked within {seconds:.0f} s.", _STOPPED)
            if tick is not None:
                tick(*step)
            with contextlib.suppress(queue.Empty):
                answer = answers.get(timeout=POLL)
                if "step" not in answer:
                    return _result(answer, name)
                stage, *rest = answer["step"]
                step = (Stage(stage), *rest)


_STOPPED = "It may have been made to keep readers busy. Do not rely on what it says of itself."


@contextlib.contextmanager
def _process(work: Work, given: Mapping[str, Any], seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """A Python that does the work, and is gone after the block."""
    values = {"module": work.__module__, "name": work.__name__, "given": dict(given), "seconds": seconds}
    process = start_python(f"{__name__}:serve", values, 0, subprocess.PIPE, subprocess.DEVNULL)
    with process:
        try:
            yield process
        finally:
            process.kill()
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # nobody is there to take the rest
                process.stdin.close()


def _answers(process: subprocess.Popen[bytes]) -> queue.Queue[dict[str, Any]]:
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(process, answers), name="sonic-isolated").start()
    return answers


def _listen(process: subprocess.Popen[bytes], answers: queue.Queue[dict[str, Any]]) -> None:
    assert process.stdout is not None
    try:
        while line := process.stdout.readline(MAX_ANSWER):
            answers.put(dict(json.loads(line)))
    except ValueError:  # cut off, too long, or the pipe was closed
        pass
    answers.put({})


def _result(answer: dict[str, Any], name: str) -> dict[str, Any]:
    if "found" in answer:
        return dict(answer["found"])
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        raise kind(answer["message"], answer["hint"])
    if "fault" in answer:
        trace = "\n".join(map(visible, answer["fault"].splitlines()))
        _log.error("the check of a video met an error that it does not know\n%s", trace)
        raise Failed("Something went wrong inside.", "The log shows the details; please report them.")
    raise BadVideo(f"{name} could not be checked: its reader broke down.", _STOPPED)


def from_values(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """The dataclass that `dataclasses.asdict` and JSON were given."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in values.items()})


def _typed(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if isinstance(value, Mapping) and isinstance(option, type) and dataclasses.is_dataclass(option):
            return from_values(option, value)
        if isinstance(value, list) and typing.get_origin(option) is tuple:
            return tuple(value)
    return value


# In the process


def serve(module: str, name: str, given: dict[str, Any], seconds: float) -> None:
    """Do the work, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides
    threading.Thread(target=_end_with_caller, daemon=True).start()
    _limit(seconds)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        say({"step": [stage, done, total, detail]})

    try:
        work: Work = getattr(import_module(module), name)
        say({"found": work(**given, tick=tick)})
    except SonicError as error:
        say({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        say({})
    except Exception:
        say({"fault": traceback.format_exc()})
    os._exit(0)  # without waiting for threads of libraries


def _end_with_caller() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _limit(seconds: float) -> None:
    """Hold this process to its memory, and to its time where its caller is not there any more to do so."""
    try:
        import resource
    except ImportError:  # Windows
        return
    time_of_all = math.ceil(seconds) * (os.cpu_count() or 1)
    limits = ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CPU, time_of_all), (resource.RLIMIT_CORE, 0))
    for limit, wanted in limits:
        _, hard = resource.getrlimit(limit)
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS does not hold to every limit
            resource.setrlimit(limit, (allowed, hard))
