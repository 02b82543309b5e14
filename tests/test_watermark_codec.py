"""The coder of the watermarks: every id comes back, from much noise, and noise gives none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonic_ext.provenance.watermark import codec, version1_pattern, version2_pattern
from sonic_ext.provenance.watermark.codec import Code

ID = 0x0123456789ABCDEF
DISTANCES = {version1_pattern.CODE: 15, version2_pattern.CODE: 24}
"""Coded bits in which two messages differ at least."""
ids = st.integers(0, 2**64 - 1)
every = pytest.mark.parametrize("code", DISTANCES, ids=["first", "second"])


@every
@given(ids, st.binary(min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_every_id_comes_back(code: Code, payload: int, key: bytes) -> None:
    assert code.decode(code.encode(payload, key).astype(np.float32), key) == payload


@every
@given(ids, st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_coded_bit_in_thirteen_may_be_wrong_when_they_lie_apart(
    code: Code, payload: int, seed: int
) -> None:
    soft = code.encode(payload, b"key").astype(np.float32)
    start = seed % 13
    soft[start::13] *= -1
    assert code.decode(soft, b"key") == payload


@every
@given(ids, st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_half_of_the_coded_bits_may_be_unknown(code: Code, payload: int, seed: int) -> None:
    soft = code.encode(payload, b"key").astype(np.float32)
    soft[seed % 2 :: 2] = 0
    assert code.decode(soft, b"key") == payload


@every
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_noise_decodes_to_nothing(code: Code, seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal(code.bits).astype(np.float32)
    assert code.decode(noise, b"key") is None


@every
def test_another_key_does_not_decode(code: Code) -> None:
    assert code.decode(code.encode(ID, b"key").astype(np.float32), b"other") is None


@every
@given(ids, ids)
@settings(max_examples=30, deadline=None)
def test_two_ids_differ_in_many_coded_bits(code: Code, one: int, other: int) -> None:
    if one != other:
        assert np.sum(code.encode(one, b"k") != code.encode(other, b"k")) >= DISTANCES[code]


@every
@pytest.mark.parametrize("payload", [-1, 2**64])
def test_an_id_has_64_bits(code: Code, payload: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        code.encode(payload, b"key")


@every
@pytest.mark.parametrize("level", [0, 1, -1, 1e30])
def test_values_that_say_nothing_decode_to_nothing(code: Code, level: float) -> None:
    assert code.decode(np.full(code.bits, level, dtype=np.float32), b"key") is None


@every
def test_the_distance_is_reached(code: Code) -> None:
    """A single bit's answer: the coder goes out of state 0 and comes home by the shortest way."""
    ones = sum(bin(generator).count("1") for generator in code.generators)
    assert ones >= DISTANCES[code]
    assert code.bits == 3 * (codec.MESSAGE_BITS + code.memory)
    assert all(generator.bit_length() == code.memory + 1 for generator in code.generators)
    assert all(generator & 1 for generator in code.generators)
