"""How long unfinished videos are kept. No torch: also asked for by who draws nothing."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from ...files.home import home_errors

FOLDER = "drafts"
"""Below the private home; its name never changed, so that what earlier versions left in it expires, too."""
KEPT_SECONDS = 7 * 24 * 3600
"""Checkpoints older than this are deleted."""


def expire(home: Path) -> int:
    """Delete checkpoints that are older than a week, and what a killed process left of one; says how many.

    Raises:
        BadOutput: the file system keeps the folder from being used.
    """
    count = 0
    with home_errors(home):
        for path in (home / FOLDER).glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    count += 1
    return count
