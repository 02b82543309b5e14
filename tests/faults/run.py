"""Let things go wrong at random instants, start again, print figures; fails where faults are left:

    python tests/faults/run.py --kills 500
    python tests/faults/run.py --kills 10000 --log faults.jsonl     goes on where it was stopped

Each trial is a line of the log and can be had again by its number: `--only NUMBER`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

import av  # noqa: F401
import c2pa  # noqa: F401
import clock
import cryptography.hazmat.primitives.asymmetric.ec
import cryptography.hazmat.primitives.kdf.hkdf
import cryptography.x509  # noqa: F401  (all of them loaded once, and not by each copy of this process)
import namespace
from animating import Animate
from batching import Batch
from exporting import SCENARIOS
from faults import FAULTS, Fault
from instants import adopt_orphans
from recording import FirstRow
from trials import Cases, Scenario, Trial, trial
from working import WORKING

made: list[Scenario] = [scenario() for scenario in (*SCENARIOS, FirstRow, Animate, *WORKING, Batch)]
with suppress(ImportError):  # no torch here: no card either
    from denoising import Denoise

    made.append(Denoise())
EVERY = 50
"""Trials after which it is said how it goes."""


def main() -> int:
    """Returns 1 where anything was left or did not hold."""
    options = _grammar().parse_args()
    folder = clock.enter(Path(tempfile.mkdtemp(prefix="sonic-faults-")))
    log = _read(options.log)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        writing = stack.enter_context(options.log.open("a")) if options.log else None
        for done in stack.enter_context(closing(_trials(options, folder, log))):
            log.append(done)
            if writing is not None:
                print(json.dumps(asdict(done)), file=writing, flush=True)
            for problem in done.problems:
                print(f"PROBLEM {done.number} {done.fault}, {done.scenario}: {problem}", flush=True)
            if len(log) % EVERY == 0:
                print(_line(log), flush=True)
    print(_table(log), _line(log), sep="\n")
    return int(any(done.problems for done in log))


def _grammar() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument(
        "--kills", type=int, default=500, help="instants at which something goes wrong (%(default)s)"
    )
    asked.add_argument("--seed", type=int, default=1, help="the same draws the same (%(default)s)")
    asked.add_argument(
        "--scenario",
        action="append",
        choices=[each.name for each in made],
        help="only this one; may be repeated",
    )
    asked.add_argument(
        "--fault",
        action="append",
        choices=[each.name for each in FAULTS],
        help="only this one; may be repeated",
    )
    asked.add_argument("--log", type=Path, help="a line for each trial; those that are there count")
    asked.add_argument("--only", type=int, metavar="NUMBER", help="the one trial with this number")
    return asked


def _trials(options: argparse.Namespace, folder: Path, log: Sequence[Trial]) -> Generator[Trial, None, None]:
    """As many as are wanted, one after another."""
    adopt_orphans()
    mounts = namespace.enter()
    scenarios = [each for each in made if each.name in (options.scenario or [each.name])]
    faults = [each for each in FAULTS if each.name in (options.fault or [each.name])]
    pairs = {fault: chosen for fault in faults if (chosen := _chosen(fault, scenarios, mounts))}
    for fault in set(faults) - set(pairs):
        print(f"left out, as it cannot be had here: {fault.name}", flush=True)
    disk = folder / "disk"
    disk.mkdir()
    with namespace.disk(disk) if mounts else nullcontext():
        cases: dict[str, Cases] = {}
        struck, number = sum(done.struck for done in log), len(log) if options.only is None else options.only
        while struck < options.kills:
            chance = random.Random(f"{options.seed} {number}")
            fault = chance.choice(list(pairs))
            scenario = chance.choice(pairs[fault])
            if scenario.name not in cases:
                (folder / str(len(cases))).mkdir()
                cases[scenario.name] = Cases(scenario, folder / str(len(cases)), disk)
            done = trial(cases[scenario.name], fault, chance, number)
            yield done
            struck, number = struck + done.struck, number + 1
            if options.only is not None:
                return


def _chosen(fault: Fault, scenarios: Iterable[Scenario], mounts: bool) -> list[Scenario]:
    if (fault.mounts and not mounts) or (fault.sets_clock and not clock.can_be_set()):
        return []
    return [each for each in scenarios if not fault.needs or fault.needs in each.has]


def _read(log: Path | None) -> list[Trial]:
    if log is None or not log.exists():
        return []
    return [Trial(**json.loads(line)) for line in log.read_text().splitlines()]


def _table(log: Sequence[Trial]) -> str:
    lines = []
    for fault in dict.fromkeys(done.fault for done in log):
        hit = [done for done in log if done.fault == fault and done.struck]
        lying, told = sum(bool(done.at_once) for done in hit), sum(bool(done.said) for done in hit)
        mended, wrong = sum(bool(done.mended) for done in hit), sum(bool(done.problems) for done in hit)
        lines.append(
            f"{fault}: {len(hit)} times; {lying} left something lying about, {told} were told to the user, "
            f"{mended} mended by doctor; {wrong} with faults after that"
        )
        said = Counter(text.partition(":")[0] for done in hit for text in done.said)
        lines += [f"  {count:5} {name}" for name, count in said.most_common()]
    return "\n".join(lines)


def _line(log: Sequence[Trial]) -> str:
    kills, wrong = sum(done.struck for done in log), sum(len(done.problems) for done in log)
    ended = len(log) - kills
    seconds = sum(done.seconds for done in log)
    return (
        f"{kills} instants ({ended} came too late), {wrong} faults left after the next start; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
