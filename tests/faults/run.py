"""Kill, start again, print figures; fails where faults are left: `python tests/faults/run.py --kills 500`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from animating import Animate
from exporting import SCENARIOS
from kills import kill
from recording import FirstRow
from working import WORKING


def main() -> int:
    """Returns 1 where anything was left or did not hold."""
    made = {scenario.name: scenario for scenario in (*SCENARIOS, FirstRow, Animate, *WORKING)}
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=500, help="in all, shared by the scenarios (%(default)s)")
    asked.add_argument("--seed", type=int, default=1, help="the same draws the same instants (%(default)s)")
    asked.add_argument("--scenario", action="append", choices=made, help="only this one; may be repeated")
    options = asked.parse_args()
    names = options.scenario or list(made)
    faults = 0
    for number, name in enumerate(names):
        kills = options.kills // len(names) + (number < options.kills % len(names))
        if kills:
            figures = kill(made[name](), kills, options.seed)
            print(figures.text(), flush=True)
            faults += figures.faults
    print(f"{options.kills} kills, {faults} faults left after the next start")
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
