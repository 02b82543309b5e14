"""What mouths look like: the viseme classes and the mouth shape that each one aims at.

A viseme is a group of speech sounds that look alike on the lips. The network names one for every
10 ms; `motion` turns the names into motion. Targets are chosen by hand after the usual descriptions
(Parke & Waters, Computer Facial Animation, ch. 12); the dominance of each sound over its neighbours
follows Cohen & Massaro, "Modeling coarticulation in synthetic visual speech", 1993.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Viseme(IntEnum):
    """Classes in the order of the network's outputs."""

    SILENCE = 0
    CLOSED = 1
    """p b m"""
    TUCKED = 2
    """f v"""
    OPEN = 3
    """a ɑ æ"""
    HALF_OPEN = 4
    """ɛ ʌ"""
    MID = 5
    """ə e ɜ"""
    FRONT = 6
    """i ɪ j"""
    ROUND_MID = 7
    """o ɔ"""
    ROUND_CLOSE = 8
    """u ʊ w y ø"""
    HISS = 9
    """s z"""
    HUSH = 10
    """ʃ ʒ tʃ dʒ"""
    DENTAL = 11
    """θ ð"""
    TIP = 12
    """t d n l ɾ"""
    BACK = 13
    """k g ŋ x h"""
    RHOTIC = 14
    """ɹ r"""


@dataclass(frozen=True)
class Shape:
    """Where the mouth goes for a viseme, and how strongly it insists."""

    jaw: float
    """0 shut .. 1 widest vowel."""
    rounding: float = 0.0
    spread: float = 0.0
    upper: float = 0.0
    """-1..1, upper lip up."""
    lower: float = 0.0
    """-1..1, lower lip down; negative tucks it under the upper teeth."""
    tongue: float = 0.0
    """0..1, its tip up behind the upper teeth."""
    jaw_rule: float = 1.0
    """Dominance over the jaw, relative to neighbours."""
    lip_rule: float = 1.0
    """Dominance over the lips, relative to neighbours."""


SHAPES: dict[Viseme, Shape] = {
    Viseme.SILENCE: Shape(0.0, jaw_rule=1.2, lip_rule=0.5),
    Viseme.CLOSED: Shape(0.14, jaw_rule=0.7, lip_rule=0.3),
    Viseme.TUCKED: Shape(0.14, upper=0.35, lower=-0.7, spread=0.1, jaw_rule=1.2, lip_rule=1.6),
    Viseme.OPEN: Shape(0.95, spread=0.1, upper=0.25, lower=0.3, tongue=0.1),
    Viseme.HALF_OPEN: Shape(0.74, spread=0.25, upper=0.2, lower=0.25, tongue=0.15),
    Viseme.MID: Shape(0.56, spread=0.2, upper=0.1, lower=0.15, jaw_rule=0.8, lip_rule=0.6),
    Viseme.FRONT: Shape(0.38, spread=0.8, upper=0.25, lower=0.3, tongue=0.3),
    Viseme.ROUND_MID: Shape(0.66, rounding=0.75, upper=0.1, lower=0.1, lip_rule=1.3),
    Viseme.ROUND_CLOSE: Shape(0.34, rounding=1.0, upper=0.1, lower=0.1, lip_rule=1.5),
    Viseme.HISS: Shape(0.12, spread=0.35, upper=0.3, lower=0.4, tongue=0.5, jaw_rule=1.2, lip_rule=0.6),
    Viseme.HUSH: Shape(0.16, rounding=0.5, upper=0.4, lower=0.4, jaw_rule=1.1, lip_rule=1.0),
    Viseme.DENTAL: Shape(0.26, spread=0.15, upper=0.15, lower=0.2, tongue=0.75, jaw_rule=0.8, lip_rule=0.5),
    Viseme.TIP: Shape(0.24, spread=0.15, upper=0.1, lower=0.15, tongue=1.0, jaw_rule=0.5, lip_rule=0.3),
    Viseme.BACK: Shape(0.32, jaw_rule=0.35, lip_rule=0.2),
    Viseme.RHOTIC: Shape(0.28, rounding=0.35, upper=0.05, lower=0.1, jaw_rule=0.6, lip_rule=0.6),
}
"""One shape for every class."""

COLUMNS = ("jaw", "rounding", "spread", "upper", "lower", "tongue")


def targets() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Target values and dominances, float32 [classes, 6] each, columns as in `COLUMNS`."""
    values = [[getattr(SHAPES[v], column) for column in COLUMNS] for v in Viseme]
    rules = [[SHAPES[v].jaw_rule] + [SHAPES[v].lip_rule] * 4 + [1.0] for v in Viseme]
    return np.array(values, dtype=np.float32), np.array(rules, dtype=np.float32)
