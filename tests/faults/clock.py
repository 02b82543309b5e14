"""A clock that can be set, for this process and all that it starts: `clock.c` stands before the system's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "SONIC_TEST_CLOCK"
"""Names the file with the seconds; set where the clock can be set."""
SOURCE = Path(__file__).with_name("clock.c")


def enter(folder: Path) -> Path:
    """Begin this program anew, under a clock that can be set. Returns where that is so, or cannot be: no
    Linux, no compiler.

    Args:
        folder: an empty one, where what is needed is kept.

    Returns:
        The folder that was given the first time.
    """
    compiler = shutil.which("cc")
    if can_be_set():
        folder.rmdir()
        return Path(os.environ[VARIABLE]).parent
    if sys.platform == "linux" and compiler is not None:
        library, file = folder / "clock.so", folder / "clock"
        file.write_bytes(bytes(8))
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
        environment = {**os.environ, VARIABLE: str(file), "LD_PRELOAD": str(library)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    return folder


def can_be_set() -> bool:
    """Whether it can."""
    return VARIABLE in os.environ


@contextlib.contextmanager
def ahead_by(seconds: int) -> Iterator[None]:
    """The clock is so far ahead while the block runs, and is set right at its end."""
    file = Path(os.environ[VARIABLE])
    with file.open("r+b", buffering=0) as writing:
        writing.write(seconds.to_bytes(8, sys.byteorder, signed=True))
        try:
            yield
        finally:
            writing.seek(0)
            writing.write(bytes(8))
