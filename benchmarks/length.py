"""Peak memory against the length of the speech: `python benchmarks/length.py --engine sonic`.

The sonic engine has the tests' tiny networks with random weights (needs torch, diffusers and transformers):
what grows with the length does not depend on their size, and beside large ones it would not show. It takes
one step, and an hour takes three quarters of one on an idle core. Every command, `sonic animate`, is a
process of its own with an empty private store; the speech is the example's, over and over.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline import CONSENT, PEAK, PORTRAIT, looped

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

SETTINGS = {
    "preview": ("min_resolution=256",),
    "sonic": ("min_resolution=256", "inference_steps=1", "motion_smoothing=false"),
}
SMALL = """
from dataclasses import replace
from sonic_ext.cli.main import main
from sonic_ext.engines.sonic import profile
profile.PUBLISHED = replace(profile.PUBLISHED, side=64, margin=0.2)
raise SystemExit(main())
"""
"""The command line, with weights that ask for pictures of 64 pixels: an hour has 45,000 of them."""


def measured(folder: Path, engine: str, seconds: float) -> tuple[int, float]:
    """Bytes at the peak, and seconds, of one video."""
    output = folder / f"{seconds:g}.mp4"
    program = ["-c", SMALL] if engine == "sonic" else ["-m", "sonic_ext"]
    words = [sys.executable, "-c", PEAK, sys.executable, *program, "animate", str(PORTRAIT)]
    words += [str(looped(folder / f"{seconds:g}.wav", seconds)), "-o", str(output), "--engine", engine]
    words += [word for setting in SETTINGS[engine] for word in ("--set", setting)]
    places = {"SONIC_HOME": str(folder / f"home-{seconds:g}"), "SONIC_MODELS": str(folder / "models")}
    began = time.perf_counter()
    done = subprocess.run([*words, *CONSENT], capture_output=True, text=True, env=os.environ | places)
    if done.returncode or not output.is_file():
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return int(done.stderr.splitlines()[-1].split()[0]), time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--engine", choices=SETTINGS, default="preview")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 3600])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.engine == "sonic":
            import tiny_sonic

            tiny_sonic.write(Path(name) / "models")
        first = 0
        for seconds in options.seconds:
            peak, spent = measured(Path(name), options.engine, seconds)
            first = first or peak
            print(
                f"{options.engine}, {seconds:g} s: {peak / 1e6:.0f} MB, {peak / first:.3f} of the first; "
                f"{spent:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
