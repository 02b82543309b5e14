"""The experiment's tables: arms, pairs and intervals, from results that were made up."""

from __future__ import annotations

import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

for library in ("torch", "diffusers", "transformers", "accelerate"):
    pytest.importorskip(library, reason=f"the experiment needs {library}: install the extra `train`")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import contrastive  # noqa: E402


def write(output: Path, arm: str, seed: int, better: float) -> None:
    """Results of an arm that is better by so much than clips and seeds vary it."""
    rng = np.random.default_rng(seed)
    clips = {
        f"{group} / clean / {number}": {
            figure: number + float(rng.normal(0, 0.01)) + better for figure in contrastive.FIGURES
        }
        for group in ("voices", "languages")
        for number in range(4)
    }
    clips["voices / clean / 0"]["offset, ms"] = math.nan
    path = output / arm / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": seed, "clips": clips}))


def test_arms_are_compared_with_arms() -> None:
    assert {arm.against for arm in contrastive.ARMS.values()} <= {*contrastive.ARMS}
    assert len(contrastive.ARMS) == 10


def test_tables_and_plots(tmp_path: Path) -> None:
    for seed in range(5):
        write(tmp_path, "reconstruction", seed, 0.0)
        if seed != 3:
            write(tmp_path, "frame 0.1", seed, 0.5)
            write(tmp_path, "frame 0.2", seed, 0.0)
    contrastive.report(tmp_path)
    values = json.loads((tmp_path / "contrastive.json").read_text())
    better = values["figures"]["frame 0.1 / voices / clean / sync"]["difference"]
    assert better["mean"] == pytest.approx(0.5, abs=1e-6)
    assert better["low"] <= better["mean"] <= better["high"] and better["low"] > 0.4
    same = values["figures"]["frame 0.2 / voices / clean / sync"]["difference"]
    assert same["mean"] == pytest.approx(0, abs=1e-6)
    assert values["seeds"] == {
        "reconstruction": [0, 1, 2, 3, 4],
        "frame 0.1": [0, 1, 2, 4],
        "frame 0.2": [0, 1, 2, 4],
    }
    page = (tmp_path / "contrastive.md").read_text()
    assert page.count("| frame 0.1 |") == len(contrastive.FIGURES)
    plots = sorted(tmp_path.glob("*.svg"))
    assert len(plots) == 2 * len(contrastive.PLOTTED)
    for plot in plots:
        assert ElementTree.fromstring(plot.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_nothing_is_written_of_nothing(tmp_path: Path) -> None:
    contrastive.report(tmp_path)
    assert not [*tmp_path.iterdir()]
