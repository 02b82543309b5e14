"""Steps of an optimiser that stop and go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: install the extra `train`")

from sonic_ext.errors import BadInput, Cancelled, Failed  # noqa: E402
from sonic_ext.train.muon import LEAST, Muon, orthogonalized  # noqa: E402
from sonic_ext.train.steps import StepRecipe, optimise  # noqa: E402

RECIPE = StepRecipe(steps=12, rate=0.05, seed=4, mean=0.9)
MUON = replace(RECIPE, muon=True)


def module() -> Any:
    torch.manual_seed(1)
    return torch.nn.Linear(3, 2)


def wide() -> Any:
    """With a matrix large enough to be one to Muon."""
    torch.manual_seed(1)
    return torch.nn.Linear(48, 32)


def losses(learned: Any) -> Callable[[int], Mapping[str, Any]]:
    """Of a step, with chance in it."""
    return lambda step: {
        "error": ((learned(torch.randn(5, learned.in_features)) - step) ** 2).mean(),
        "size": 0.01 * learned.weight.abs().sum(),
    }


def silent(step: int, total: int, found: Mapping[str, float]) -> None:
    """Shows nothing."""


@pytest.mark.parametrize(("made", "recipe"), [(module, RECIPE), (module, MUON), (wide, MUON)])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    made: Callable[[], Any], recipe: StepRecipe, tmp_path: Path
) -> None:
    whole, parts = made(), made()
    optimise(whole, losses(whole), recipe, tmp_path / "whole.pt", "a key", silent)
    seen = []

    def stopping(step: int, total: int, found: Mapping[str, float]) -> None:
        seen.append(step)
        if step in (3, 7):
            raise Cancelled

    for _ in range(2):
        with pytest.raises(Cancelled):
            optimise(parts, losses(parts), recipe, tmp_path / "parts.pt", "a key", stopping)
        parts = made()
    optimise(parts, losses(parts), recipe, tmp_path / "parts.pt", "a key", stopping)
    assert seen == [*range(1, 13)]
    assert all(map(torch.equal, whole.parameters(), parts.parameters()))


def test_one_that_is_done_is_only_loaded(tmp_path: Path) -> None:
    first, again = module(), module()
    optimise(first, losses(first), RECIPE, tmp_path / "state.pt", "", silent)
    optimise(again, lambda step: pytest.fail("a step too many"), RECIPE, tmp_path / "state.pt", "", silent)
    assert all(map(torch.equal, first.parameters(), again.parameters()))


def test_it_ends_with_the_mean_of_the_weights(tmp_path: Path) -> None:
    learned, last = module(), []
    optimise(
        learned,
        losses(learned),
        RECIPE,
        tmp_path / "state.pt",
        "",
        lambda *_: last.append(learned.weight.detach().clone()),
    )
    mean = learned.weight.detach()
    assert not torch.equal(mean, last[-1])
    assert torch.stack(last).amin(dim=0).le(mean).all() and torch.stack(last).amax(dim=0).ge(mean).all()


def test_no_number_stops_it_and_what_was_learned_stays(tmp_path: Path) -> None:
    learned, state = module(), tmp_path / "state.pt"

    def stopping(step: int, total: int, found: Mapping[str, float]) -> None:
        if step == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        optimise(learned, losses(learned), RECIPE, state, "", stopping)
    kept = state.read_bytes()
    with pytest.raises(Failed, match="Step 6 gave a loss that is no number"):
        optimise(learned, lambda step: {"error": learned.weight.sum() * torch.nan}, RECIPE, state, "", silent)
    assert state.read_bytes() == kept
    optimise(learned, losses(learned), RECIPE, state, "", silent)
    assert learned.weight.isfinite().all()


@pytest.mark.parametrize("damage", ["another key", "cut off"])
def test_a_state_of_something_else_is_refused(tmp_path: Path, damage: str) -> None:
    learned, state = module(), tmp_path / "state.pt"
    optimise(learned, losses(learned), RECIPE, state, "a key", silent)
    if damage == "cut off":
        state.write_bytes(state.read_bytes()[:200])
    key = "another key" if damage == "another key" else "a key"
    with pytest.raises(BadInput, match="belongs to a training" if damage == "another key" else "be read"):
        optimise(learned, losses(learned), RECIPE, state, key, silent)


@pytest.mark.parametrize("shape", [(LEAST, 90), (90, LEAST)])
def test_an_orthogonal_update_moves_in_all_directions_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(2)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left @ torch.diag(torch.linspace(0.1, 5, LEAST)) @ right
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.6 and values.max() < 1.3
    assert torch.allclose(orthogonalized(3 * matrix), orthogonalized(matrix), atol=1e-4)


def test_what_is_no_matrix_learns_as_by_adamw() -> None:
    one, other = module(), module()
    ours = Muon(one.parameters(), lr=0.01, weight_decay=0.1)
    theirs = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1)
    for number in range(20):
        torch.manual_seed(number)
        given = torch.randn(5, 3)
        for learned, optimizer in ((one, ours), (other, theirs)):
            optimizer.zero_grad()
            (learned(given) ** 2).mean().backward()
            optimizer.step()
    for mine, wanted in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, wanted, atol=1e-6)


def test_convolutions_are_matrices_and_ends_are_none() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 64, 3), torch.nn.Conv2d(64, 3, 3)
    )
    groups = {
        group["matrices"]: {id(each) for each in group["params"]}
        for group in Muon(network.parameters(), lr=0.1, weight_decay=0).param_groups
    }
    assert groups[True] == {id(network[1].weight)}
    assert len(groups[False]) == 5
