"""A 64-bit id on its way to coded bits and back: keyed MAC, convolutional code, soft Viterbi.

A message is 64 payload bits and 48 bits of HMAC-SHA256 over them, then MEMORY zero bits that bring the coder
home. Random input passes the MAC once in 2**48 tries, whatever the picture was.

Source of the generators: J. G. Proakis, "Digital Communications", table 8.2-2 (maximum free distance codes).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS = 64
MAC_BITS = 48
MESSAGE_BITS = PAYLOAD_BITS + MAC_BITS


def stream(key: bytes, purpose: str, count: int, domain: bytes) -> NDArray[np.uint64]:
    """`count` keyed random words, uint64 [count]: SHAKE-256, hence the same under every numpy and machine."""
    head = domain + purpose.encode("ascii") + b"\0"
    raw = hashlib.shake_256(head + hashlib.sha256(key).digest()).digest(8 * count)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


def mac(payload: int, key: bytes) -> int:
    """The first MAC_BITS bits of HMAC-SHA256 over the payload's eight big-endian bytes."""
    digest = hmac.new(key, b"id" + payload.to_bytes(PAYLOAD_BITS // 8, "big"), hashlib.sha256).digest()
    return int.from_bytes(digest[: MAC_BITS // 8], "big")


@dataclass(frozen=True)
class Code:
    """A convolutional code over whole messages, ended by zeros."""

    memory: int
    """Older bits that each coded bit depends on; the Viterbi search has 2**memory states."""
    generators: tuple[int, ...]
    """One polynomial per coded bit of a step, newest bit lowest."""

    @property
    def steps(self) -> int:
        """Bits that go through the coder, the zeros at the end included."""
        return MESSAGE_BITS + self.memory

    @property
    def bits(self) -> int:
        """Coded bits of a message."""
        return self.steps * len(self.generators)

    def encode(self, payload: int, key: bytes) -> NDArray[np.int8]:
        """Coded bits of one id as signs: int8 [bits] of +1 (bit 0) and -1 (bit 1)."""
        if not 0 <= payload < 1 << PAYLOAD_BITS:
            raise ValueError(f"a watermark id has {PAYLOAD_BITS} bits, got {payload:#x}")
        word = payload << MAC_BITS | mac(payload, key)
        register, out = 0, []
        for step in range(self.steps):
            bit = word >> (MESSAGE_BITS - 1 - step) & 1 if step < MESSAGE_BITS else 0
            register = (register << 1 | bit) & ((2 << self.memory) - 1)
            out.append(self._outputs[:, register])
        return np.concatenate(out).astype(np.int8)

    def decode(self, soft: NDArray[np.float32], key: bytes) -> int | None:
        """The id in `soft`, float [bits], positive where +1 is likelier; None if the MAC disagrees."""
        word = int("".join(map(str, self.viterbi(soft).tolist())), 2)
        payload, tag = word >> MAC_BITS, word & ((1 << MAC_BITS) - 1)
        return payload if tag == mac(payload, key) else None

    def viterbi(self, soft: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Likeliest message, uint8 [MESSAGE_BITS], for soft values [bits]; starts and ends in state 0."""
        states = 1 << self.memory
        # An edge is its register: oldest bit * states + state reached. Less its newest bit: the state before.
        gains = np.asarray(soft, dtype=np.float32).reshape(self.steps, -1) @ self._outputs
        score = np.full(states, -np.inf, dtype=np.float32)
        score[0] = 0.0
        choices = np.empty((self.steps, states), dtype=np.bool_)
        for step in range(self.steps):
            paths = (gains[step].reshape(-1, 2) + score[:, None]).reshape(2, states)
            np.greater(paths[1], paths[0], out=choices[step])
            score = np.maximum(paths[0], paths[1])
        state = 0
        bits = np.empty(self.steps, dtype=np.uint8)
        for step in range(self.steps - 1, -1, -1):  # a state's lowest bit is the one that led into it
            bits[step] = state & 1
            state = state >> 1 | int(choices[step, state]) << (self.memory - 1)
        return bits[:MESSAGE_BITS]

    @cached_property
    def _outputs(self) -> NDArray[np.float32]:
        """Signs sent for each register (older bits high, newest bit lowest): float32 [rate, 2 << memory]."""
        registers = np.arange(2 << self.memory, dtype=np.uint32)
        signs = np.empty((len(self.generators), registers.size), dtype=np.float32)
        for row, generator in zip(signs, self.generators, strict=True):
            parity = registers & np.uint32(generator)
            for shift in (16, 8, 4, 2, 1):
                parity ^= parity >> np.uint32(shift)
            row[:] = 1 - 2 * (parity & np.uint32(1)).astype(np.float32)
        return signs
