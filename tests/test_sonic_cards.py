"""Cards that the installed torch has no code for are not used, and it is said which torch has it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the sonic engine needs torch: install the extra `sonic`")

from sonic_ext.engines.context import EngineContext  # noqa: E402
from sonic_ext.engines.runtime import devices  # noqa: E402
from sonic_ext.engines.sonic import libraries, registration  # noqa: E402
from sonic_ext.errors import MissingPart  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

NO_IMAGE = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might …"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes torch see a card of a compute capability, where the smallest of sums fails with some words."""

    def made(capability: tuple[int, int], words: str = NO_IMAGE) -> None:
        def ones(*_: Any, **__: Any) -> None:
            raise RuntimeError(words)

        monkeypatch.setattr(devices.torch, "ones", ones)
        cuda = devices.torch.cuda
        monkeypatch.setattr(cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(cuda, "get_device_name", lambda _: "Card 9000")
        monkeypatch.setattr(cuda, "get_arch_list", lambda: ["sm_60", "sm_90a", "compute_90"])
        devices.unusable.cache_clear()

    yield made
    devices.unusable.cache_clear()


def test_a_card_newer_than_the_torch(card: Any) -> None:
    card((12, 0))
    told = devices.unusable("cuda:0")
    assert told is not None
    assert "Card 9000 is not used" in told.message and "12.0" in told.message
    assert torch.__version__ in told.message and "whl/cu128" in told.hint


def test_a_card_that_the_torch_has_given_up(card: Any) -> None:
    card((5, 2))
    told = devices.unusable("cuda:0")
    assert told is not None and "whl/cu126" in told.hint


def test_other_troubles_are_told_where_they_are_met(card: Any) -> None:
    card((9, 0), "CUDA out of memory")
    assert devices.unusable("cuda:0") is None
    assert devices.unusable("cpu") is None and devices.unusable("mps") is None


@pytest.mark.parametrize("automatic", [True, False])
def test_the_engine_is_not_made(card: Any, automatic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    card((12, 0))
    monkeypatch.setattr(devices, "best_device", lambda: "cuda:0")
    monkeypatch.setattr(libraries, "broken", lambda _: "")
    with pytest.raises(MissingPart, match="Card 9000 is not used") as caught:
        registration.make(EngineContext(Settings(), None, None, automatic=automatic, search=None))
    assert "pip install --upgrade torch" in caught.value.hint
