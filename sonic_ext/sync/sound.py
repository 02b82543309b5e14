"""Speech as the sync networks hear it: levelled log-mel, 50 rows a second."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..media import mel

ROWS_PER_SECOND = 50
"""Row `k` stands for the sound from `k / 50` to `(k + 1) / 50` seconds."""
BANDS = mel.BANDS
_TOGETHER = mel.ROWS_PER_SECOND // ROWS_PER_SECOND


def sound_rows(blocks: Iterable[NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
    """Log-mel of speech, float32 [rows, BANDS]: decibels relative to the speech around, see `mel.levelled`.

    Args:
        blocks: float32 mono at `mel.RATE`, -1..1, any sizes; silence follows their end.
        rows: how many; sound beyond them is not read.
    """
    fine = mel.levelled(mel.mel_rows(blocks, rows * _TOGETHER))
    heard = np.concatenate([*fine, np.zeros((0, BANDS), np.float32)])
    return np.asarray(heard.reshape(rows, _TOGETHER, BANDS).mean(axis=1), dtype=np.float32)
