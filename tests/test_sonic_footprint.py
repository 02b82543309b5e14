"""Forecasts of memory and work: the known figures, and a count of the real networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sonic_ext.engines.sonic import footprint

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)


def test_weights_are_those_of_the_published_files() -> None:
    assert footprint.unet_weights(2) == 2 * 1_575_741_162
    assert footprint.small_weights(2, 4) == 2 * (97_742_847 + 632_076_800) + 4 * (
        8_208_384 + 54_300_672 + 21_762_050
    )


def test_a_call_is_what_is_known_of_it() -> None:
    """100 TFLOP with all that is published; less what is not computed again: 4.7 % and more."""
    call = 3 * footprint.unet_operations(512, 512, 25)
    assert 0.88e14 < call < 1.0e14
    assert footprint.vae_decode_operations(512, 512) == pytest.approx(3.0e12, rel=0.1)


@pytest.mark.parametrize("rung", ["together", "branches", "offload"])
def test_more_of_anything_needs_more(rung: str) -> None:
    usual = footprint.unet_activations(512, 512, 25, rung, 2)
    assert footprint.unet_activations(512, 576, 25, rung, 2) > usual
    assert footprint.unet_activations(512, 512, 26, rung, 2) > usual
    assert footprint.unet_activations(512, 512, 25, rung, 4) > usual
    assert footprint.unet_activations(512, 512, 25, "together", 2) >= usual
    assert footprint.unet_activations(512, 512, 25, "branches", 2) <= usual
    assert footprint.unet_activations(512, 896, 25, rung, 2) == footprint.unet_activations(
        896, 512, 25, rung, 2
    )


@pytest.fixture
def counter(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark that counts."""
    torch = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 4):
        pytest.skip("this torch cannot count without computing")
    monkeypatch.syspath_prepend(str(Path(root) / "benchmarks"))
    monkeypatch.delitem(sys.modules, "footprint", raising=False)
    import footprint as benchmark

    return benchmark


def test_the_decoder_is_counted_as_forecast(counter: Any) -> None:
    count = counter.count_decode(320, 448, 2, 2)
    assert footprint.vae_decode_activations(320, 448, 2, 2) == pytest.approx(count.bytes, rel=0.1)
    assert 2 * footprint.vae_decode_operations(320, 448) == pytest.approx(count.operations, rel=0.1)


def test_the_encoder_is_counted_as_forecast(counter: Any) -> None:
    count = counter.count_encode(448, 320, 4)
    assert footprint.vae_encode_activations(448, 320, 4) == pytest.approx(count.bytes, rel=0.1)
    assert footprint.vae_encode_operations(448, 320) == pytest.approx(count.operations, rel=0.1)


def test_the_speech_networks_are_counted_as_forecast(counter: Any) -> None:
    count = counter.count_audio(50)
    assert footprint.audio_activations(50) == pytest.approx(count.bytes, rel=0.1)
    assert footprint.audio_operations(50) == pytest.approx(count.operations, rel=0.1)


@pytest.mark.parametrize("rung", ["together", "branches", "offload"])
def test_the_unet_is_counted_as_forecast(counter: Any, rung: str) -> None:
    count = counter.count_unet(384, 384, 25, rung, 2)
    assert footprint.unet_activations(384, 384, 25, rung, 2) == pytest.approx(count.bytes, rel=0.1)
    if rung == "branches":
        operations = 3 * footprint.unet_operations(384, 384, 25)
        assert 0.9 * operations < count.operations < operations  # first layers are shared
