"""How far mouth and voice of a clip are apart, by the network that ships for calibration."""

from __future__ import annotations

import numpy as np

from ...sync import encoders
from ...sync.encoders import SyncNetwork
from ...sync.offset import SURE, estimate, lag_scores
from ..clips import Clip

BY_NETWORK = f"{__name__}:by_network"
"""For `preparing.prepare`."""


def by_network(clip: Clip) -> float | None:
    """Seconds that the mouth comes after the voice; None where the network is not sure.

    Raises:
        MissingPart: it is missing or damaged.
    """
    return offset_by(shipped(), clip)


def shipped() -> SyncNetwork:
    """The network that is asked.

    Raises:
        MissingPart: it is missing or damaged.
    """
    return encoders.load(encoders.weights_of("calibration"))


def offset_by(network: SyncNetwork, clip: Clip) -> float | None:
    """The same by any network."""
    heard = network.hear(clip.sound.astype(np.float32))
    seen = network.see(clip.motion, 0.0, len(heard))
    found = estimate(*lag_scores(heard, seen), network.confidence)
    return found.seconds if found is not None and found.confidence >= SURE else None
