"""Users and passwords: from the command line, a file or the environment, and of a request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import BadSetting
from ..files.names import expanded

VARIABLE = "SONIC_AUTH"
"""Environment variable that stands in for `--auth`; other users do not see it in a list of processes."""

_FORM = "Write user:password, several with commas between them, or @FILE with one a line."


def credentials(given: str | None) -> dict[str, str]:
    """User → password; empty where none are asked for.

    Args:
        given: `user:password,…` or `@file`; None for what `VARIABLE` holds.

    Raises:
        BadSetting: not of this form, or the file cannot be read. The message holds no password.
    """
    text = os.environ.get(VARIABLE, "") if given is None else given
    if given is None and not text:
        return {}
    lines = _lines(expanded(text[1:])) if text.startswith("@") else text.split(",")
    pairs = dict(_pair(line.strip()) for line in lines if line.strip())
    if not pairs:
        raise BadSetting("--auth names no user.", _FORM)
    return pairs


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BadSetting(f"The file {path} of --auth cannot be read: {reason}.", _FORM) from error


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise BadSetting("--auth lacks a user or a password.", _FORM)
    return user, password


def known(header: str, credentials: Mapping[str, str]) -> bool:
    """Whether user and password of HTTP Basic are among the credentials.

    Takes as long whichever part is wrong.
    """
    scheme, _, value = header.partition(" ")
    try:
        given = base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return False
    # digests have one length, and every pair is compared, also after one that fits
    pairs = (_digest(f"{user}:{word}".encode()) for user, word in credentials.items())
    fits = [hmac.compare_digest(_digest(given), pair) for pair in pairs]
    return any(fits)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
