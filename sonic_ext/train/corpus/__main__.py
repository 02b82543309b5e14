"""`python -m sonic_ext.train.corpus FOLDER --minutes 120 [--cast held-out]`: speak clean recordings."""

from __future__ import annotations

import argparse
from pathlib import Path

from .speech import CASTS, make


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(description="Make speech with known phoneme times.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cast", choices=CASTS, default="training", help="who speaks; take another seed for each"
    )
    arguments = parser.parse_args()
    for _ in make(arguments.folder, CASTS[arguments.cast], arguments.minutes, arguments.seed):
        pass


if __name__ == "__main__":
    main()
