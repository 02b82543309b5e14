"""What travels through a cluster is encrypted with a key that is made for one batch and lies on no disk.

Ray keeps large objects in shared memory and may spill them to a disk of any computer; what lies there is then
of no use. AES-256-GCM, NIST SP 800-38D, with a random nonce for each message.
"""

from __future__ import annotations

import secrets

from ...errors import Failed

KEY_BYTES = 32
NONCE_BYTES = 12
OVERHEAD = NONCE_BYTES + 16
"""Bytes that a message grows by."""


def new_key() -> bytes:
    """A key for one batch."""
    return secrets.token_bytes(KEY_BYTES)


def seal(key: bytes, data: bytes, purpose: str) -> bytes:
    """Encrypt bytes for one purpose, such as "master of <take id>"."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, purpose.encode())


def unseal(key: bytes, sealed: bytes, purpose: str) -> bytes:
    """The bytes again.

    Raises:
        Failed: they were changed on their way, or are for another purpose.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise Failed(
            "What came over the cluster was changed on its way.", "Look at the network, then make it again."
        ) from error
