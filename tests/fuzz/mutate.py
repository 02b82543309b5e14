"""Bytes made hostile: a few changes of the kinds that parsers stumble over, on top of a good file."""

from __future__ import annotations

import random
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 7, 8, 9, 15, 16, 127, 128, 255, 256, 1024, 32767, 32768, 65535, 65536)
NUMBERS += (2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r\n",
        b"\x1b[2J\x1b]0;x\x07",
        b"\xc2\x9b31m",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\xed\xa0\x80",
        b"\xff\xfe",
        b"\xf4\x90\x80\x80",
        b"%s%n",
        b"../../",
        b"<script>",
        b"</td>",
        b"&amp;",
        b"'\"",
        b"\\",
    ),
    *(
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"[" * 2000,
        b"{" * 300,
        b'{"a":' * 300,
        b"\\ud800",
        b"\\u0000",
    ),
    *(b"null", b"true", b"[]", b"{}", b'""', b"0x10", b"1_0", b" ", b",", b":", b"=", b";"),
)


def mutated(
    seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random, longest: int = 1 << 20
) -> bytes:
    """A seed with one to eight changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 4, 8))):
        rng.choice(_CHANGES)(data, seeds, words, rng)
        del data[longest:]
    return bytes(data)


def _flip(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 4, 16))):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    """A length, an offset, a count: wherever one may stand, in any width and order."""
    width, order = rng.choice((1, 2, 4, 4, 8)), rng.choice(("big", "little"))
    value = rng.choice((*NUMBERS, len(data), len(data) + 1, rng.randrange(1 << 16))) % (1 << 8 * width)
    place = _place(data, rng)
    data[place : place + width] = value.to_bytes(width, "big" if order == "big" else "little")


def _delete(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    del data[place : place + _size(data, rng)]


def _repeat(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    piece = bytes(data[place : place + _size(data, rng)])
    data[place:place] = piece * rng.choice((1, 1, 2, 10, 300))


def _insert(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 16, 64)))


def _word(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    place, word = _place(data, rng), rng.choice((*WORDS, *words, *words))
    end = place + (len(word) if rng.random() < 0.5 else 0)
    data[place:end] = word


def _splice(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    data[_place(data, rng) :] = other[_place(other, rng) :]


def _cut(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _place(data: bytes | bytearray, rng: random.Random) -> int:
    """Anywhere, the beginning more often: headers stand there."""
    reach = rng.choice((32, 256, len(data), len(data)))
    return rng.randrange(max(1, min(reach, len(data))))


def _size(data: bytes | bytearray, rng: random.Random) -> int:
    return rng.choice((1, 2, 4, 8, rng.randrange(64) + 1, rng.randrange(len(data) + 1) + 1))


_CHANGES = (_flip, _flip, _set, _number, _number, _delete, _repeat, _insert, _word, _word, _splice, _cut)
