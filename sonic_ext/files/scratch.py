"""A private folder that is gone when its process is, however that ends.

    with Scratch() as scratch:
        (scratch.folder / "name").write_bytes(…)

A second process watches a pipe, whose other end the system closes when the first one dies. It is nobody's
child, as some programs end all of theirs with a process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from ..processes import start_python

PREFIX = "sonic-"
"""Of the folder's name, below the system's folder for temporary files ($TMPDIR)."""


class Scratch:
    """A context manager, or closed by `close`.

    Raises:
        OSError: the folder cannot be made.
        Failed: the second process cannot be started.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
        target = f"{__name__}:remove_afterwards"
        try:
            self._guard = start_python(
                target, {"folder": str(self.folder)}, 0, subprocess.DEVNULL, subprocess.DEVNULL
            )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the folder; once is enough."""
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()


def remove_afterwards(folder: str) -> None:
    """What the second process runs: delete the folder when standard input closes."""
    if hasattr(os, "fork") and os.fork():
        os._exit(0)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
