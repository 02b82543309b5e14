"""Throws hostile bytes at every parser of foreign bytes; no part of the tests, which hold what was found.

    PYTHONPATH=. python tests/fuzz/run.py --cases 1000000 --seed 1
    PYTHONPATH=. python tests/fuzz/run.py --only portrait sound --cases 20000

A find is an error outside of the package's tree, a broken promise on a result, a crash, a case that takes
more processor time or memory than its target allows, or one that does not come to an end. It goes to `--out`
with its traceback, made as small as it will get; the same line of code is told once. Cases depend on seed,
target and number alone: `--only TARGET --from N --cases 1` runs one again. Targets whose libraries are not
installed are told and left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz.mutate import mutated
from fuzz.targets import TARGETS, Target

from sonic_ext.errors import SonicError

PATIENCE = 300.0
"""Seconds by the clock without a case coming to an end; the machine may be busy."""
MEMORY = 3 << 30
"""Bytes that a worker may ask for."""


@dataclass
class Tally:
    """What came of a target."""

    taken: int = 0
    refused: int = 0
    seconds: float = 0.0
    finds: Counter[str] = field(default_factory=Counter)


def case(target: Target, seeds: list[bytes], seed: int, number: int) -> bytes:
    """The bytes of one case."""
    return mutated(seeds, target.words, random.Random(f"{seed} {target.name} {number}"), target.longest)


def outcome(target: Target, data: bytes, folder: Path) -> tuple[str, str]:
    """`taken`, `refused`, or the name of a find with its traceback."""
    began, before = time.process_time(), _peak()
    try:
        target.call(data, folder)
        said, trace = "taken", ""
    except SonicError:
        said, trace = "refused", ""
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if "sonic_ext" in frame.filename]
        where = own[-1] if own else last
        return f"{type(error).__name__} {Path(where.filename).name}:{where.lineno}", traceback.format_exc()
    if time.process_time() - began > target.seconds:
        return "slow", f"{time.process_time() - began:.1f} s"
    if _peak() - before > target.memory:
        return "memory", f"{(_peak() - before) >> 20} MB"
    return said, trace


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def smaller(target: Target, data: bytes, name: str, folder: Path, tries: int = 400) -> bytes:
    """Less bytes that lead to the same find."""
    piece = len(data) // 2
    while piece and tries > 0:
        place = 0
        while place < len(data) and tries > 0:
            shorter = data[:place] + data[place + piece :]
            tries -= 1
            if outcome(target, shorter, folder)[0] == name:
                data = shorter
            else:
                place += piece
        piece //= 2
    return data


def work(name: str, seed: int, numbers: range, at: Any, said: Any) -> None:
    """Run cases; tell the number of each before it begins, and what came of it."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=_fast_folder()))
    os.environ["SONIC_HOME"] = str(folder / "home")
    try:
        seeds, counts, known = target.seeds(folder), Counter[str](), set[str]()
        for seed_file in seeds:
            outcome(target, seed_file, folder)  # what is loaded once is nobody's memory or time
        for number in numbers:
            at.value = number
            data = case(target, seeds, seed, number)
            found, trace = outcome(target, data, folder)
            counts[found] += 1
            if trace and found not in known:
                known.add(found)
                small = data if found in ("slow", "memory") else smaller(target, data, found, folder)
                said.put(("find", found, number, small, trace))
        said.put(("counts", dict(counts)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fast_folder() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


class Worker:
    """Some cases of a target in a process; one that dies or hangs is begun again behind that case."""

    def __init__(self, target: Target, seed: int, numbers: range, out: Path, tally: Tally) -> None:
        self._target, self._seed, self._numbers = target, seed, numbers
        self._out, self._tally = out, tally
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._at, self._said = context.Value("q", -1), context.Queue()
        arguments = (self._target.name, self._seed, self._numbers, self._at, self._said)
        self._process = context.Process(target=work, args=arguments)
        self._process.start()
        self._last, self._moved = -1, time.monotonic()

    def over(self) -> bool:
        """Look after it; whether all cases are done."""
        self._listen()
        if self._at.value != self._last:
            self._last, self._moved = self._at.value, time.monotonic()
        if self._process.is_alive() and time.monotonic() - self._moved < PATIENCE:
            return False
        hung = self._process.is_alive()
        self._process.kill()
        self._process.join()
        self._listen()
        if self._process.exitcode == 0:
            return True
        name = "hang" if hung else f"crash {self._process.exitcode}"
        number = self._at.value
        if number < 0:
            raise SystemExit(f"{self._target.name} cannot begin")
        self._tally.finds[name] += 1
        print(f"  {self._target.name} case {number}: {name}", flush=True)
        (self._out / f"{self._target.name}-{name.replace(' ', '-')}-{number}.txt").write_text(
            f"case {number}\n"
        )
        self._numbers = self._numbers[self._numbers.index(number) + 1 :]
        if not self._numbers:
            return True
        self._begin()
        return False

    def _listen(self) -> None:
        while not self._said.empty():
            kind, *rest = self._said.get()
            if kind == "find":
                self._keep(*rest)
                continue
            counts = Counter(rest[0])
            self._tally.taken += counts.pop("taken", 0)
            self._tally.refused += counts.pop("refused", 0)
            self._tally.finds.update(counts)

    def _keep(self, found: str, number: int, data: bytes, trace: str) -> None:
        path = self._out / f"{self._target.name}-{found.replace(' ', '-').replace(':', '-')}.bin"
        print(f"  {self._target.name} case {number}: {found}", flush=True)
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"case {number}\n{trace}")


def run(target: Target, seed: int, numbers: range, jobs: int, out: Path) -> Tally:
    """All cases of a target."""
    tally, began = Tally(), time.monotonic()
    jobs = max(1, min(jobs, len(numbers)))
    workers = [Worker(target, seed, numbers[part::jobs], out, tally) for part in range(jobs)]
    while workers:
        workers = [worker for worker in workers if not worker.over()]
        time.sleep(0.05)
    tally.seconds = time.monotonic() - began
    return tally


def wanted(names: list[str], cases: int) -> Iterator[tuple[Target, int]]:
    """Targets with their cases: by share among all that are named, which add up to `cases`."""
    chosen = [TARGETS[name] for name in names or TARGETS]
    whole = sum(target.share for target in chosen)
    for target in chosen:
        yield target, max(1, round(cases * target.share / whole))


def lacks(target: Target) -> str:
    """What keeps a target from beginning; "" for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            target.call(target.seeds(Path(folder))[0], Path(folder))
        except ImportError as error:
            return str(error)
        except SonicError:
            pass
    return ""


def main() -> None:
    """Run the targets one after the other and tell what came of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="over all targets; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--from", dest="first", type=int, default=0, metavar="N", help="number of the first case"
    )
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=[], metavar="TARGET")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-finds"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-home-") as home:
        os.environ["SONIC_HOME"] = home
        sys.exit(1 if run_all(options) else 0)


def run_all(options: argparse.Namespace) -> int:
    """The table; how many finds there were."""
    total, finds, began = 0, 0, time.monotonic()
    print(f"{'target':<12}{'cases':>9}{'taken':>9}{'refused':>9}{'finds':>7}{'seconds':>9}", flush=True)
    for target, cases in wanted(options.only, options.cases):
        if missing := lacks(target):
            print(f"{target.name:<12}left out: {missing}", flush=True)
            continue
        numbers = range(options.first, options.first + cases)
        tally = run(target, options.seed, numbers, options.jobs, options.out)
        count = sum(tally.finds.values())
        print(
            f"{target.name:<12}{cases:>9}{tally.taken:>9}{tally.refused:>9}{count:>7}{tally.seconds:>9.0f}",
            *(f"\n    {times} × {name}" for name, times in tally.finds.items()),
            flush=True,
        )
        total, finds = total + cases, finds + count
    print(f"{total:,} cases in {time.monotonic() - began:.0f} s, {finds} finds, seed {options.seed}")
    return finds


if __name__ == "__main__":
    main()
