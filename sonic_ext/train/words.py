"""Everyday words in ten languages, and numbers for all others, from which `corpus` makes sentences to speak.

The sentences mean nothing; they only have to hold the sounds of a language in many neighbourhoods.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

NUMBERS = "numbers"
"""Key of what any language can say."""


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """Words by language code, from `words.txt`; Chinese and Japanese are in their own scripts.

    `numbers` are digits, which every voice reads in its own language.
    """
    found: dict[str, list[str]] = {}
    chosen: list[str] = []
    for word in Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split():
        if word.startswith("["):
            chosen = found.setdefault(word.strip("[]"), [])
        else:
            chosen.append(word)
    numbers = tuple(str(number) for number in range(7, 10_000, 37))
    return {**{language: tuple(some) for language, some in found.items()}, NUMBERS: numbers}
