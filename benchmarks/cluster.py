"""Videos an hour of `sonic batch --ray` with local workers against as many local processes.

    python benchmarks/cluster.py [--quick] [--jobs 20] [--rounds 3] [--workers 2]
    python benchmarks/cluster.py --kills 3 [--jobs 50]

Each round makes the same short preview videos twice, export included, in turn: by processes, and by
workers of a local Ray cluster. The clock runs from the first job that begins to the last that ends, so that
starting Python and Ray is in neither. Prints one JSON object: seconds of each round, the ratio of each round,
their median, and what one video cost beside its drawing: bytes that were sent and received, seconds on the
way, seconds to take it in. Beside other work the ratio means little; that of the processor's seconds means
more: all processes of a run are counted, Ray's own with them, from the first job on.

With `--kills` workers are killed while they draw, one after the other at even distances, and it is counted
how often each video was made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sonic_ext.batch.cluster.connection import LOCAL, Connection
from sonic_ext.batch.cluster.head import Cluster, HandOver
from sonic_ext.batch.planning import LANE, Planner
from sonic_ext.batch.processes import Processes
from sonic_ext.batch.rows import Row
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Job, Queue, State
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.store import Store
from sonic_ext.settings import Settings

EXAMPLE = Path(__file__).resolve().parent.parent / "sonic_ext" / "assets" / "example"
SETTINGS = Settings(
    engine="preview", min_resolution=256, framing="crop", duration=1.0, duration_policy="trim", seed=1
)
"""Of each video; `--seconds` is another duration."""
CONSENT = Consent(face="synthetic", voice="synthetic")


@contextmanager
def planned(jobs: int, seconds: float) -> Iterator[tuple[Queue, str]]:
    """The queue of a private home of its own, with a batch of so many jobs that wait."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SONIC_HOME"] = str(Path(temporary) / "home")
        folder = Path(temporary) / "out"
        folder.mkdir()
        queue = Queue()
        planner = Planner(queue, Standalone(folder, lane=LANE), folder)
        planner.begin(hold=False)
        files = EXAMPLE / "portrait.jpg", EXAMPLE / "speech.wav"
        settings = replace(SETTINGS, duration=seconds)
        for number in range(jobs):
            planner.place(Row(number, *files, f"{number}.mp4", settings, CONSENT))
        yield queue, planner.batch


def finished(queue: Queue, batch: str) -> tuple[Job, ...]:
    """The jobs, when nothing more will come of any.

    Raises:
        SystemExit: some have no video.
    """
    made = queue.jobs(batch=batch)
    bad = [job for job in made if job.state is not State.DONE or job.exported is None]
    if bad:
        raise SystemExit(f"{len(bad)} jobs failed: {bad[0].error}")
    return made


def is_over(queue: Queue, batch: str) -> bool:
    """Whether all jobs of a batch ended."""
    return all(state.ended for state, _ in queue.standing(batch).values())


def took(made: tuple[Job, ...]) -> float:
    """Seconds from the first job that began to the last that ended."""
    ended = max(job.ended for job in made if job.ended)
    return (ended - min(job.began for job in made if job.began)).total_seconds()


def by_processes(jobs: int, seconds: float, workers: int) -> tuple[float, float]:
    """Seconds with processes of this computer, and processor seconds."""
    with planned(jobs, seconds) as (queue, batch):
        with Processes(queue, batch, LANE, workers, 1) as crew:
            used = worked_off(queue, batch, crew)
        return took(finished(queue, batch)), used


def by_cluster(jobs: int, seconds: float, workers: int) -> tuple[float, float, list[HandOver]]:
    """The same with workers of a local cluster, and what each video cost beside its drawing."""
    with planned(jobs, seconds) as (queue, batch):
        with local_cluster(queue, batch, workers) as crew:
            used = worked_off(queue, batch, crew)
        return took(finished(queue, batch)), used, crew.handed_over


def worked_off(queue: Queue, batch: str, crew: Processes | Cluster) -> float:
    """See a batch through; processor seconds of this process and all below it, from the first job on."""
    before: float | None = None
    while not is_over(queue, batch):
        crew.keep()
        if before is None and any(job.began for job in queue.jobs(batch=batch)):
            before = processor_seconds()
        time.sleep(0.25)
    return processor_seconds() - (before or 0.0)


def processor_seconds() -> float:
    """Of this process and all below it that run, as Linux tells; NaN elsewhere."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(words[1])
            used[int(folder.name)] = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(used.get(pid, 0.0) for pid in own) if used else math.nan


def local_cluster(queue: Queue, batch: str, workers: int) -> Cluster:
    """As `sonic batch --ray --jobs N` starts it."""
    return Cluster(queue, batch, LANE, Connection(LOCAL, workers), workers, 1, False, note=print)


def killed(jobs: int, seconds: float, workers: int, kills: int) -> dict[str, Any]:
    """What came of a batch of which workers were killed while they drew."""
    with planned(jobs, seconds) as (queue, batch), local_cluster(queue, batch, workers) as crew:
        dead: list[int] = []
        while not is_over(queue, batch):
            crew.keep()
            done = sum(state.ended for state, _ in queue.standing(batch).values())
            if len(dead) < kills and done >= jobs * (len(dead) + 1) / (kills + 1):
                dead += _kill_one(dead)
            time.sleep(0.1)
        made = finished(queue, batch)
        ids = [job.take_id for job in made]
        records = Store(queue.home).ledger.records()
        return {
            "jobs": jobs,
            "workers": workers,
            "killed": len(dead),
            "done": len(made),
            "takes": len(Store(queue.home).takes()),
            "exports": sum(bool(record.exported_at) for record in records),
            "twice": len(ids) - len(set(ids)) + len(records) - len({record.take for record in records}),
            "begun_again": sum(job.attempts - 1 for job in made),
            "seconds": round(took(made), 1),
        }


def _kill_one(dead: list[int]) -> list[int]:
    """Kill a worker of this cluster that draws, if one is found; its id."""
    home = f"SONIC_HOME={os.environ['SONIC_HOME']}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            draws = b"Drawer.draw" in (folder / "cmdline").read_bytes()
            if draws and int(folder.name) not in dead and home in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
                return [int(folder.name)]
    return []


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=0, help="of each round; default: 20, with --kills 50")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each video; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="workers that are killed meanwhile")
    parser.add_argument("--quick", action="store_true", help="8 videos, one round")
    options = parser.parse_args()
    if options.kills:
        print(json.dumps(killed(options.jobs or 50, options.seconds, options.workers, options.kills)))
        return
    jobs, rounds = (8, 1) if options.quick else (options.jobs or 20, options.rounds)
    here: list[tuple[float, float]] = []
    there: list[tuple[float, float]] = []
    costs: list[HandOver] = []
    loads = [os.getloadavg()[0]]
    for number in range(rounds):
        for ray in (False, True) if number % 2 == 0 else (True, False):
            if ray:
                *both, handed = by_cluster(jobs, options.seconds, options.workers)
                there.append((both[0], both[1]))
                costs += handed
            else:
                here.append(by_processes(jobs, options.seconds, options.workers))
            print(
                f"{'Ray' if ray else 'processes'}: {(there if ray else here)[-1][0]:.1f} s", file=sys.stderr
            )
        loads.append(os.getloadavg()[0])
    ratios = [one / other for (one, _), (other, _) in zip(here, there, strict=True)]
    used = [statistics.median(each for _, each in runs) / jobs for runs in (here, there)]
    sent = [cost for cost in costs if cost.sent]
    a_video = {
        name: round(statistics.median(asdict(cost)[name] for cost in costs), 3) for name in asdict(costs[0])
    }
    values = {
        "jobs": jobs,
        "workers": options.workers,
        "processes_seconds": [round(each, 1) for each, _ in here],
        "ray_seconds": [round(each, 1) for each, _ in there],
        "ratios": [round(each, 2) for each in ratios],
        "ratio": round(statistics.median(ratios), 2),
        "processor_seconds_a_video": [round(each, 2) for each in used],
        "processor_ratio": round(used[0] / used[1], 2),
        "a_video": a_video | {"sent": max((cost.sent for cost in sent), default=0)},
        "inputs_sent": len(sent),
        "load": [round(each, 1) for each in loads],
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main()
