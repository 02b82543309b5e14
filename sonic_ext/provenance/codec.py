"""The 64-bit id on its way to coded bits and back: keyed MAC, convolutional code, soft Viterbi.

A message is 64 payload bits and 48 bits of HMAC-SHA256 over them, then 6 zero bits that bring the coder home:
118 bits. The rate-1/3, constraint-length-7 code (generators 133, 171, 165 octal; free distance 15) makes
CODED_BITS = 354 of them. Random input passes the MAC once in 2**48 tries, whatever the picture was.

Source: J. G. Proakis, "Digital Communications", table 8.2-2 (maximum free distance codes).
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS = 64
MAC_BITS = 48
MEMORY = 6
STATES = 1 << MEMORY
GENERATORS = (0o133, 0o171, 0o165)
MESSAGE_BITS = PAYLOAD_BITS + MAC_BITS
STEPS = MESSAGE_BITS + MEMORY
CODED_BITS = STEPS * len(GENERATORS)


def stream(key: bytes, purpose: str, count: int) -> NDArray[np.uint64]:
    """`count` keyed random words, uint64 [count]: SHAKE-256, hence the same under every numpy and machine."""
    head = b"sonic watermark 1\0" + purpose.encode("ascii") + b"\0"
    raw = hashlib.shake_256(head + hashlib.sha256(key).digest()).digest(8 * count)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


def mac(payload: int, key: bytes) -> int:
    """The first MAC_BITS bits of HMAC-SHA256 over the payload's eight big-endian bytes."""
    digest = hmac.new(key, b"id" + payload.to_bytes(PAYLOAD_BITS // 8, "big"), hashlib.sha256).digest()
    return int.from_bytes(digest[: MAC_BITS // 8], "big")


def encode(payload: int, key: bytes) -> NDArray[np.int8]:
    """Coded bits of one id as signs: int8 [CODED_BITS] of +1 (bit 0) and -1 (bit 1)."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"a watermark id has {PAYLOAD_BITS} bits, got {payload:#x}")
    return _convolve(_bits(payload << MAC_BITS | mac(payload, key), MESSAGE_BITS))


def decode(soft: NDArray[np.float32], key: bytes) -> int | None:
    """The id in `soft`, float [CODED_BITS], positive where +1 is likelier; None if the MAC disagrees."""
    bits = viterbi(soft)
    word = int("".join(map(str, bits.tolist())), 2)
    payload, tag = word >> MAC_BITS, word & ((1 << MAC_BITS) - 1)
    return payload if tag == mac(payload, key) else None


def viterbi(soft: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Likeliest message, uint8 [MESSAGE_BITS], for soft values [CODED_BITS]; starts and ends in state 0."""
    gains = (
        np.asarray(soft, dtype=np.float32).reshape(STEPS, len(GENERATORS)) @ _OUTPUTS
    )  # [STEPS, 2 * STATES]
    score = np.full(STATES, -np.inf, dtype=np.float32)
    score[0] = 0.0
    choices = np.empty((STEPS, STATES), dtype=np.uint8)
    for step in range(STEPS):
        paths = (score[_SOURCES] + gains[step][_EDGES]).reshape(2, STATES)
        choices[step] = paths[1] > paths[0]
        score = np.maximum(paths[0], paths[1])
    return _trace(choices)


def _trace(choices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Walk back from state 0; a state's lowest bit is the message bit that led into it."""
    state = 0
    bits = np.empty(STEPS, dtype=np.uint8)
    for step in range(STEPS - 1, -1, -1):
        bits[step] = state & 1
        state = state >> 1 | int(choices[step, state]) << (MEMORY - 1)
    return bits[:MESSAGE_BITS]


def _bits(value: int, count: int) -> NDArray[np.uint8]:
    """The `count` bits of value, highest first: uint8 [count]."""
    raw = value.to_bytes((count + 7) // 8, "big")
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8))[-count:]


def _convolve(message: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Coded signs of a message, int8 [CODED_BITS]."""
    register, out = 0, []
    for bit in [*message.tolist(), *[0] * MEMORY]:
        register = (register << 1 | bit) & (2 * STATES - 1)
        out.append(_OUTPUTS[:, register])
    return np.concatenate(out).astype(np.int8)


def _outputs() -> NDArray[np.float32]:
    """Signs sent for each 7-bit register (older bits high, newest bit lowest): float32 [3, 2 * STATES]."""
    return np.array(
        [[1 - 2 * (bin(r & g).count("1") & 1) for r in range(2 * STATES)] for g in GENERATORS],
        dtype=np.float32,
    )


def _edges() -> NDArray[np.intp]:
    """Registers of the two edges into each state, intp [2 * STATES]: first those whose oldest bit is 0."""
    return np.arange(2 * STATES, dtype=np.intp)


# An edge is its register: oldest bit * 64 + state reached. Less the newest bit it is the state it came from.
_OUTPUTS = _outputs()
_EDGES = _edges()
_SOURCES = _EDGES >> 1
