"""`python -m sonic_ext.train.corpus FOLDER --minutes 120 [--held-out]`: speak clean recordings."""

from __future__ import annotations

import argparse
from pathlib import Path

from .speech import HELD_OUT, TRAINING, make


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(description="Make speech with known phoneme times.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="the voices that are never trained on (take another seed, too)",
    )
    arguments = parser.parse_args()
    cast = HELD_OUT if arguments.held_out else TRAINING
    for _ in make(arguments.folder, cast, arguments.minutes, arguments.seed):
        pass


if __name__ == "__main__":
    main()
