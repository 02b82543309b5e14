"""User and password of the API, from the command line, a file or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BadSetting

VARIABLE = "SONIC_API_AUTH"
"""Environment variable that stands in for `--api-auth`; other users do not see it in a list of processes."""

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
    lines = _lines(Path(text[1:]).expanduser()) if text.startswith("@") else text.split(",")
    pairs = dict(_pair(line.strip()) for line in lines if line.strip())
    if not pairs:
        raise BadSetting("--api-auth names no user.", _FORM)
    return pairs


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BadSetting(f"The file {path} of --api-auth cannot be read: {reason}.", _FORM) from error


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise BadSetting("--api-auth lacks a user or a password.", _FORM)
    return user, password
