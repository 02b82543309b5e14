"""Contrastive losses against direct computations, and over two processes against one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch: install the extra `train`")

from sonic_ext.sync import losses  # noqa: E402  (torch first)

SCALE = 7.0


def vectors(seed: int, *shape: int) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def direct(first: np.ndarray, second: np.ndarray, scale: float) -> float:
    """Symmetric InfoNCE, number by number."""
    total, n = 0.0, len(first)
    for a, b in ((first, second), (second, first)):
        for i in range(n):
            likely = [math.exp(scale * float(a[i] @ b[j])) for j in range(n)]
            total -= math.log(likely[i] / sum(likely))
    return total / (2 * n)


@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(0.1, 30.0))
def test_info_nce(seed: int, n: int, scale: float) -> None:
    first, second = vectors(seed, n, 5), vectors(seed + 1, n, 5)
    expected = direct(first.numpy(), second.numpy(), scale)
    assert float(losses.info_nce(first, second, scale)) == pytest.approx(expected, abs=1e-9)


def test_info_nce_of_what_is_not_told_apart_is_log_n() -> None:
    same = vectors(1, 1, 5).repeat(8, 1)
    assert float(losses.info_nce(same, same, SCALE)) == pytest.approx(math.log(8))


def test_frames_of_all_clips_are_negatives() -> None:
    sound, mouth = vectors(2, 3, 4, 6), vectors(3, 3, 4, 6)
    expected = direct(sound.reshape(12, 6).numpy(), mouth.reshape(12, 6).numpy(), SCALE)
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    assert float(losses.frame_info_nce(sound, mouth, everywhere, SCALE)) == pytest.approx(expected)


def test_moments_without_a_mouth_are_neither_positives_nor_negatives() -> None:
    sound, mouth = vectors(2, 3, 4, 6), vectors(3, 3, 4, 6)
    visible = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    sound.requires_grad_(), mouth.requires_grad_()
    found = losses.frame_info_nce(sound, mouth, visible, SCALE)
    at = [(0, 0), (0, 1), (0, 3), (2, 0), (2, 2), (2, 3)]
    parts = (np.stack([part.detach().numpy()[clip, row] for clip, row in at]) for part in (sound, mouth))
    assert float(found.detach()) == pytest.approx(direct(*parts, SCALE))
    found.backward()
    assert not sound.grad[~visible].any() and not mouth.grad[~visible].any()


def test_shifted_pairs() -> None:
    sound, mouth = vectors(4, 3, 6, 5), vectors(5, 3, 10, 5)
    everywhere = torch.ones(3, 10, dtype=torch.bool)
    expected = directly_shifted(sound.numpy(), mouth.numpy(), everywhere.numpy())
    assert float(losses.shifted_info_nce(sound, mouth, everywhere, SCALE)) == pytest.approx(expected)


def test_shifts_whose_mouth_is_not_visible() -> None:
    sound, mouth = vectors(4, 4, 6, 5), vectors(5, 4, 10, 5)
    visible = torch.ones(4, 10, dtype=torch.bool)
    visible[0, 4:7] = False  # half of the stretch itself is left
    visible[1, :5] = False  # so it is with its shift 1; shift 0 has one moment less
    visible[2, 3:7] = False  # the stretch itself is not visible enough
    visible[3, :] = False
    expected = directly_shifted(sound.numpy(), mouth.numpy(), visible.numpy())
    mouth.requires_grad_()
    found = losses.shifted_info_nce(sound, mouth, visible, SCALE)
    assert float(found.detach()) == pytest.approx(expected)
    found.backward()
    assert torch.isfinite(mouth.grad).all()
    assert not mouth.grad[~visible].any() and not mouth.grad[2:].any()


def directly_shifted(sound: np.ndarray, mouth: np.ndarray, visible: np.ndarray) -> float:
    """Shifts of every clip, number by number."""
    total, clips, moments = 0.0, 0, sound.shape[1]
    shifts = mouth.shape[1] - moments + 1
    for heard, seen, there in zip(sound, mouth, visible, strict=True):
        scores: dict[int, float] = {}
        for s in range(shifts):
            at = [t for t in range(moments) if there[t + s]]
            if len(at) >= moments / 2:
                scores[s] = sum(float(heard[t] @ seen[t + s]) for t in at) / len(at)
        if shifts // 2 in scores:
            likely = {s: math.exp(SCALE * score) for s, score in scores.items()}
            total -= math.log(likely[shifts // 2] / sum(likely.values()))
            clips += 1
    return total / clips


def test_nothing_is_learned_where_no_mouth_is_visible() -> None:
    sound, mouth = vectors(4, 3, 6, 5), vectors(5, 3, 10, 5).requires_grad_()
    nowhere = torch.zeros(3, 10, dtype=torch.bool)
    found = losses.shifted_info_nce(sound, mouth, nowhere, SCALE)
    found = found + losses.frame_info_nce(sound, mouth[:, 2:8], nowhere[:, 2:8], SCALE)
    found.backward()
    assert float(found.detach()) == 0.0
    assert not mouth.grad.any()


def test_semantic_level_is_three_pairs() -> None:
    sound, mouth, text = (vectors(seed, 5, 4) for seed in (6, 7, 8))
    pairs = ((sound, mouth), (sound, text), (mouth, text))
    expected = sum(direct(a.numpy(), b.numpy(), SCALE) for a, b in pairs) / 3
    assert float(losses.semantic_info_nce(sound, mouth, text, SCALE)) == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(2, 10))
def test_disentangling(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    content, style = rng.integers(0, 3, n), rng.integers(0, 3, n)
    rows = vectors(seed, n, 4)
    total, anchors = 0.0, 0
    for i in range(n):
        positives = [j for j in range(n) if content[j] == content[i] and style[j] != style[i]]
        if not positives:
            continue
        among = positives + [j for j in range(n) if content[j] != content[i]]
        likely = {j: math.exp(SCALE * float(rows[i] @ rows[j])) for j in among}
        total -= sum(math.log(likely[j] / sum(likely.values())) for j in positives) / len(positives)
        anchors += 1
    expected = total / anchors if anchors else 0.0
    found = losses.disentangling(rows, torch.from_numpy(content), torch.from_numpy(style), SCALE)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_disentangling_has_a_gradient_without_nan() -> None:
    rows = vectors(9, 6, 4).requires_grad_()
    content, style = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 0])
    losses.disentangling(rows, content, style, SCALE).backward()
    assert torch.isfinite(rows.grad).all()
    assert rows.grad.abs().sum() > 0


def test_temperature_is_learned_and_bounded() -> None:
    temperature = losses.Temperature(10.0)
    assert float(temperature().detach()) == pytest.approx(10.0)
    torch.nn.init.constant_(temperature.logarithm, 50.0)
    assert float(temperature().detach()) == losses.LARGEST_SCALE


TWO = """
import sys
import torch
from sonic_ext.sync import losses

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.manual_seed(3)
layer = torch.nn.Linear(6, 4).double()
inputs = torch.randn(2, 8, 6, dtype=torch.float64)[:, 4 * rank : 4 * rank + 4]
sound, mouth = (losses.gathered(torch.nn.functional.normalize(layer(x), dim=-1)) for x in inputs)
losses.info_nce(sound, mouth, 5.0).backward()
for parameter in layer.parameters():  # as DistributedDataParallel does
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= 2
if rank == 0:
    torch.save([parameter.grad for parameter in layer.parameters()], f"{folder}/gradient.pt")
torch.distributed.destroy_process_group()
"""


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait() for process in running] == [0, 0]
    torch.manual_seed(3)
    layer = torch.nn.Linear(6, 4).double()
    inputs = torch.randn(2, 8, 6, dtype=torch.float64)
    sound, mouth = (torch.nn.functional.normalize(layer(x), dim=-1) for x in inputs)
    losses.info_nce(sound, mouth, 5.0).backward()
    together = torch.load(tmp_path / "gradient.pt", weights_only=True)
    for parameter, gradient in zip(layer.parameters(), together, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-12)
