"""What the sonic engine does on this machine's graphics card, in minutes: `python benchmarks/device.py`.

Parity with the recorded numbers, the card's peaks, the UNet rung by rung, a whole video by stage, offload on
8 GB, weights in 8 bits, a profile, compiling; each with a deadline of its own, within eight minutes. Random
weights of the published size are made on the card. Prints tables, and after every row writes
`benchmarks/results/DATE-CARD.json`; `python docs/cards.py` makes docs/cards.md of these files.

Without a card it says so and does everything once with tiny networks on the processor.
On a machine without diffusers, bring it along: `python benchmarks/device.py --fetch` before, with an index.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from card import report
from card.runner import BENCHMARKS, ROOT, Record, Section, Worker, measured

SECTIONS = (
    Section("parity", "Recorded numbers of the published inference", 50, "card.parity:measure"),
    Section("peaks", "What the card reaches", 30, "card.peaks:measure"),
    Section("unet", "One guided UNet call, by rung", 60, "card.calls:rungs"),
    Section("path", "From picture and speech to frames, by stage", 80, "card.way:measure"),
    Section("offload", "One guided UNet call on 8 GB", 50, "card.calls:offload"),
    Section("fp8", "Weights in 8 bits", 30, "card.calls:eight_bits"),
    Section("profile", "One guided UNet call taken apart", 30, "card.calls:profile"),
    Section("ladder", "One guided UNet call, saving by saving", 60, "card.calls:steps_of_the_ladder"),
    Section("training", "One step of adapter training", 20, "card.training:measure"),
    Section("compile", "torch.compile off and on", 60, "card.calls:compiled"),
)
"""In their order; the last one may take what the others leave."""
BUDGET = 470.0
"""Seconds for all of them."""
DRY = 10.0
"""Deadlines of a dry run are so many times as long: a processor is not lent by the minute."""
RESULTS = BENCHMARKS / "results"
WHEELS = BENCHMARKS / "wheels"
CARRIED = (
    "diffusers==0.42.1",
    "importlib_metadata",
    "zipp",
    "platformdirs",
    "requests",
    "urllib3",
    "idna",
    "charset-normalizer",
    "certifi",
)
"""What a machine with torch and transformers may lack: pure Python, 9 MB. What it has itself comes first."""


def fetch() -> None:
    """Bring the wheels into the folder that travels with the tree."""
    own = ("--python-version", "3.12", "--implementation", "py", "--abi", "none", "--platform", "any")
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *own]
    with tempfile.TemporaryDirectory(dir=BENCHMARKS) as folder:
        subprocess.run([*words, "-d", folder, *CARRIED], check=True)
        shutil.rmtree(WHEELS, ignore_errors=True)  # two versions of one would mix
        shutil.copytree(folder, WHEELS)
    size = sum(path.stat().st_size for path in WHEELS.glob("*.whl"))
    print(f"{WHEELS.relative_to(ROOT)}: {len(list(WHEELS.glob('*.whl')))} wheels, {size / 1e6:.1f} MB")


def unpacked(folder: Path) -> list[str]:
    """The wheels, where Python can import them; nothing where there are none."""
    for wheel in sorted(WHEELS.glob("*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)
    return [str(folder)] if WHEELS.is_dir() else []


def place(folder: Path, date: str, card: Mapping[str, Any]) -> Path:
    """The file of a card's results; small cards that another stood in for have their memory in the name."""
    name = re.sub(r"[^a-z0-9]+", "-", str(card["name"]).lower()).strip("-")
    limit = f"-{card['limit'] / 1e9:.0f}gb" if card.get("limit") else ""
    return folder / f"{date}-{name}{limit}{'-dry-run' if card.get('tiny') else ''}.json"


def chosen(names: Sequence[str]) -> list[Section]:
    """Sections by name, in their usual order."""
    return [section for section in SECTIONS if not names or section.name in names]


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=[each.name for each in SECTIONS], default=[])
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--memory", type=float, help="GB: use no more of the card, as if it had no more")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all sections")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--fetch", action="store_true", help="bring the libraries that a machine may lack")
    parser.add_argument("--bench", default="card.bench:opened", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and tell by the exit code: 0 well, 1 something failed, 130 stopped."""
    options = parsed(words)
    if options.fetch:
        fetch()
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    now = datetime.now(timezone.utc)
    facts = {"form": 1, "date": now.date().isoformat(), "began": now.isoformat(timespec="seconds")}
    record = Record(partial(place, options.out, facts["date"]), {**facts, "command": shlex.join(sys.argv)})
    stopped = False
    with tempfile.TemporaryDirectory() as folder:
        told = {**vars(options), "carried": unpacked(Path(folder))}
        told.update(out=str(options.out), memory=options.memory and round(options.memory * 1e9))
        try:
            measured(chosen(options.sections), partial(Worker.start, told), record, options.budget, patience)
        except KeyboardInterrupt:
            stopped = True
    for line in said(record, stopped):
        print(line, flush=True)
    return 130 if stopped else 0 if record.well else 1


def patience(card: Mapping[str, Any]) -> float:
    """How much longer than a card's a section's deadline is."""
    return DRY if card.get("device") == "cpu" else 1.0


def said(record: Record, stopped: bool) -> Iterator[str]:
    """For people."""
    if record.card.get("device") == "cpu":
        yield "No card is used: a dry run with tiny networks on the processor. Its figures mean nothing.\n"
    yield from report.text(record.value)
    path = record.write()
    yield f"\n{'Stopped; what was measured is kept: ' if stopped else ''}{path or 'nothing was written'}"


if __name__ == "__main__":
    sys.exit(main())
