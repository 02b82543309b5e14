"""Whether another computer makes the same videos as this one: package, weights, clock."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from ... import __version__
from ...engines.registry import spec_of
from ...errors import Failed, MissingPart, SonicError
from ...files.digest import sha256_of
from ...settings import Settings
from ...weights import Search

CLOCK_SECONDS = 300.0
"""How far two clocks may be apart: consents, certificates and takes bear times."""
_PACKAGE = Path(__file__).resolve().parents[2]
_LEFT_OUT = {"__pycache__"}


@dataclass(frozen=True)
class Fingerprint:
    """What a computer has to make videos with."""

    version: str
    """Of this package."""
    files: str
    """SHA-256 of its files, see `package_hash`."""
    clock: float
    """Seconds since the epoch when it was asked."""

    @classmethod
    def take(cls) -> Fingerprint:
        """This computer's, now."""
        return cls(__version__, package_hash(), time.time())


@cache
def package_hash() -> str:
    """SHA-256, in hex, over names and contents of the package's files: code and the networks that ship."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and not _LEFT_OUT & set(path.parts):
            digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
            digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def weight_hashes(engine: str, settings: Settings, search: Search) -> Mapping[str, str]:
    """Part → SHA-256 of the file that an engine draws with, read once; empty for an engine without weights.

    Raises:
        MissingPart: the settings name weights that are not there.
    """
    identities = spec_of(engine).identities
    if identities is None:
        return {}
    found: Mapping[str, str] = identities(settings, search, _file_hash)
    return found


def _file_hash(path: Path) -> str:
    found = path.stat()
    return _hash_of(os.fspath(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_of(path: str, size: int, modified: int) -> str:
    return sha256_of(Path(path))


def version_problem(name: str, there: Fingerprint, here: Fingerprint) -> SonicError | None:
    """Why a computer's package is not this one's.

    Args:
        name: of the computer.
    """
    if there.version != here.version:
        return Failed(
            f"{name} has version {there.version} of sonic-ext, not {here.version}.",
            "Install the same version on every computer of the cluster.",
        )
    if there.files != here.files:
        return Failed(
            f"{name} has other files of sonic-ext {here.version} than this computer.",
            "Install the same version on every computer of the cluster.",
        )
    return None


def clock_problem(name: str, there: Fingerprint, asked: float, answered: float) -> SonicError | None:
    """Why a computer's clock cannot be relied on.

    Args:
        asked, answered: seconds since the epoch here, before and after it was asked.
    """
    apart = max(asked - there.clock, there.clock - answered)
    if apart <= CLOCK_SECONDS:
        return None
    return Failed(
        f"The clock of {name} is {apart / 60:.0f} minutes from this computer's.",
        "Set the clocks right, such as by NTP.",
    )


def weights_problem(name: str, there: Mapping[str, str], here: Mapping[str, str]) -> SonicError | None:
    """Why a computer's weights are not this one's."""
    if missing := sorted(here.keys() - there.keys()):
        return MissingPart(
            f"{name} lacks weights that this computer draws with: {', '.join(missing)}.",
            "Bring the same files to every computer of the cluster.",
        )
    if others := sorted(part for part in there if there[part] != here.get(part)):
        return MissingPart(
            f"{name} has other weights than this computer: {', '.join(others)}.",
            "Bring the same files to every computer of the cluster.",
        )
    return None
