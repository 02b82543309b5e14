"""Taking a consent back: exports of the portrait stop, and what lies here of it is deleted.

A picture is the revoked one if its file or its pixels are the same, or if this installation made it from that
one. Those are refused and deleted at once, whichever process holds them. A picture that only looks like it is
asked about at its export (`LooksRevoked`), never refused for good or deleted.
"""

from __future__ import annotations

import dataclasses

from .records import Revocation
from .recovery import recover, sweep_revoked
from .store import Store


def revoke(target: str, reason: str = "", store: Store | None = None) -> Revocation:
    """Stop exports of a portrait, and delete the takes that were made of it.

    Args:
        target: id of a consent record (or its beginning) or of a take, or SHA-256 of a portrait's file or
            pixels.
        reason: kept in the ledger.
        store: the user's own by default, with the ledger beside it.

    Raises:
        BadInput: neither a known record or take nor a hash.
        Tampered: the ledger was altered.
        BadOutput: a take cannot be deleted. The revocation stands, and the take is swept later.
    """
    store = store or Store()
    done = store.ledger.revoke(target, reason, store.takes())
    recover(
        store.home, store.configuration
    )  # afterwards: an interrupted export of this portrait is to be undone, not finished
    return dataclasses.replace(done, takes=sweep_revoked(store))
