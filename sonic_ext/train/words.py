"""Everyday words in ten languages, from which `corpus` makes sentences to speak.

The sentences mean nothing; they only have to hold the sounds of a language in many neighbourhoods.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """Words by language code, from `words.txt`; Chinese and Japanese are in their own scripts."""
    found: dict[str, list[str]] = {}
    chosen: list[str] = []
    for word in Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split():
        if word.startswith("["):
            chosen = found.setdefault(word.strip("[]"), [])
        else:
            chosen.append(word)
    return {language: tuple(some) for language, some in found.items()}
