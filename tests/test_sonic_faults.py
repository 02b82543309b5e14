"""The sonic engine on a card that fails: the error is torch's own, at random calls of its networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sonic_ext.errors import DeviceLost, as_error  # noqa: E402

RUN = Path(__file__).parent / "faults" / "run.py"


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="this torch says it by a RuntimeError")
def test_torchs_own_error_is_known() -> None:
    assert isinstance(
        as_error(torch.AcceleratorError("CUDA error: device-side assert triggered")), DeviceLost
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that forks is needed")
def test_a_card_that_fails_at_some_instants(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    words = [
        sys.executable,
        str(RUN),
        "--fault",
        "card gone",
        "--kills",
        "3",
        "--seed",
        "3",
        "--log",
        str(log),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [json.loads(line) for line in log.read_text().splitlines()]
    told = [text for each in trials for text in each["said"]]
    assert told and all(
        text.startswith("DeviceLost: The graphics card failed (CUDA error: ") for text in told
    )
