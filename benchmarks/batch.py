"""Videos an hour of `sonic batch` with one process for each core against one single-threaded process.

    python benchmarks/batch.py [--quick] [--jobs 20] [--rounds 5]

Each round makes the same short preview videos twice, export included, in turn: with one process that is held
to one thread and, where the system can, to one core; and with as many processes as there are cores. The clock
runs from the first job that begins to the last that ends, so that starting Python is in neither. Prints one
JSON object: seconds of each round, the ratio of each round, their median, seconds of processor time for each
video (starting Python included), and the machine's load meanwhile: beside other work the ratio means little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sonic_ext.batch.planning import LANE, Planner
from sonic_ext.batch.processes import Processes
from sonic_ext.batch.rows import Row
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Queue, State
from sonic_ext.processes import cores
from sonic_ext.provenance.consent import Consent
from sonic_ext.settings import Settings

EXAMPLE = Path(__file__).resolve().parent.parent / "sonic_ext" / "assets" / "example"
SETTINGS = Settings(
    engine="preview", min_resolution=256, framing="crop", duration=1.0, duration_policy="trim", seed=1
)
CONSENT = Consent(face="synthetic", voice="synthetic")


def seconds(jobs: int, processes: int) -> tuple[float, float]:
    """From the first job that begins to the last that ends, in a private home of its own; and the processor
    time of all processes."""
    used = _used()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SONIC_HOME"] = str(Path(temporary) / "home")
        folder = Path(temporary) / "out"
        folder.mkdir()
        queue = Queue()
        planner = Planner(queue, Standalone(folder, lane=LANE), folder)
        planner.begin(hold=False)
        for number in range(jobs):
            name = f"{number}.mp4"
            row = Row(number, EXAMPLE / "portrait.jpg", EXAMPLE / "speech.wav", name, SETTINGS, CONSENT)
            planner.place(row)
        allowed = _held_to(1) if processes == 1 else None
        try:
            with Processes(queue, planner.batch, LANE, processes, 1) as running:
                while not all(state.ended for state, _ in queue.standing(planner.batch).values()):
                    running.keep()
                    time.sleep(0.2)
        finally:
            if allowed is not None:
                os.sched_setaffinity(0, allowed)
        made = queue.jobs(batch=planner.batch)
        bad = [job for job in made if job.state is not State.DONE or job.exported is None]
        if bad:
            raise SystemExit(f"{len(bad)} jobs failed: {bad[0].error}")
        ended = max(job.ended for job in made if job.ended)
        took = (ended - min(job.began for job in made if job.began)).total_seconds()
        return took, _used() - used


def _used() -> float:
    """Seconds of processor time of all processes that this one began and that ended."""
    times = os.times()
    return times.children_user + times.children_system


def _held_to(count: int) -> set[int] | None:
    """Hold this process, and those that it begins, to so many cores; the cores that it had."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    return before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="12 videos, one round")
    options = parser.parse_args()
    jobs, rounds = (12, 1) if options.quick else (options.jobs, options.rounds)
    alone: list[tuple[float, float]] = []
    together: list[tuple[float, float]] = []
    loads = [os.getloadavg()[0]] if hasattr(os, "getloadavg") else []
    for number in range(rounds):
        pair = {1: alone, cores(): together}
        for processes in sorted(pair, reverse=bool(number % 2)):
            pair[processes].append(seconds(jobs, processes))
            print(f"{processes} processes: {pair[processes][-1][0]:.1f} s", file=sys.stderr)
        if loads:
            loads.append(os.getloadavg()[0])
    ratios = [one / many for (one, _), (many, _) in zip(alone, together, strict=True)]
    per_hour = 3600 * jobs / statistics.median(took for took, _ in together)
    values = {
        "jobs": jobs,
        "cores": cores(),
        "one_process_seconds": [round(took, 1) for took, _ in alone],
        "a_process_each_seconds": [round(took, 1) for took, _ in together],
        "processor_seconds_a_video": [
            round(statistics.median(used for _, used in each) / jobs, 2) for each in (alone, together)
        ],
        "ratios": [round(each, 2) for each in ratios],
        "ratio": round(statistics.median(ratios), 2),
        "videos_per_hour": round(per_hour),
        "load": [round(each, 1) for each in loads],
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main()
