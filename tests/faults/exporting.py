"""Scenarios of the gate: a take is exported, and killed on the way."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import stat
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from instants import in_a_copy
from made_takes import FPS, SIDE, TAKE_ID, adopt_clip, some_speech
from trials import EXPIRED, NO_SIGNATURE, NOT_YET, Scenario

from sonic_ext.errors import ConsentRevoked, Refused, SonicError
from sonic_ext.media.video import VideoWriter, probe
from sonic_ext.provenance import c2pa, certificates
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.records import Record
from sonic_ext.provenance.store import MASTER_NAME, PREVIEW_NAME, Store

AGREED = Consent(face="authorised", voice="synthetic", purpose="a test of faults")
FRAMES = 25
BEFORE = b"what was there before"
KNOWN = re.compile(
    r"ledger-head\.json|consent/(key|head\.json|ledger\.sqlite3(-wal|-shm)?)|signing/(root|chain|key)\.pem"
    r"|jobs/queue\.sqlite3(-wal|-shm)?"
    r"|takes/[0-9a-f]{16}/(master\.mp4|preview\.mp4|portrait\.\w+|speech\.\w+|take\.json)"
)
"""Files that belong into a private home."""
TEMPORARY = "temporary file in the output folder"
OPEN = "unfinished video that others may read"
NO_ROW = "video in the output folder without its row"
NO_FILE = "row without its video"
LOST = "overwritten file gone"
PRIVATE = "unfinished work in the private home"
NOT_ARRIVED = "the next export did not arrive"
ELSEWHERE = "file in the system's temporary folder"


class Export(Scenario):
    """Into an empty place; the home has a ledger and a certificate already."""

    name = "export"
    fresh = False
    overwrite = False
    next_name = "again.mp4"

    def prepare(self, place: Path) -> None:
        clip = place / "clip"
        clip.mkdir()
        _record_noise(clip)
        adopt_clip(Store(), clip, frames=FRAMES)
        shutil.rmtree(clip)
        (place / "outputs").mkdir()
        if not self.fresh:
            certificates.identity(Store().home)
        if self.overwrite:
            self.output(place).write_bytes(BEFORE)
            self.output(place).chmod(0o640)

    def act(self, place: Path) -> None:
        export(Store().load(TAKE_ID), self.output(place), AGREED, overwrite=self.overwrite)

    def beside(self, place: Path) -> None:
        """The same, to the same place."""
        with contextlib.suppress(SonicError):
            self.act(place)

    def resume(self, place: Path) -> None:
        if Store().holds(TAKE_ID):  # what should have come of one that is gone, `problems` says
            export(Store().load(TAKE_ID), place / "outputs" / self.next_name, AGREED)

    def left(self, place: Path) -> dict[str, int]:
        found: Counter[str] = Counter()
        rows = {record.output_sha256: record for record in records(place) if record.exported_at}
        for path in (place / "outputs").iterdir():
            if path.name.startswith("."):
                found[TEMPORARY] += 1
            found.update(state(path, rows))
        found[NO_FILE] = sum(not (place / "outputs" / row.output_name).is_file() for row in rows.values())
        found[LOST] = self.overwrite and not self.output(place).exists()
        found[PRIVATE] = private_left(place / "home", {TAKE_ID})
        found[ELSEWHERE] = len(list((place / "tmp").iterdir()))
        return dict(found)

    def problems(self, place: Path) -> list[str]:
        said = [f"ledger: {problem}" for problem in Ledger().problems()]
        exported = {record.output_sha256: record for record in Ledger().records() if record.exported_at}
        there = {path.name: path for path in (place / "outputs").iterdir()}
        if self.next_name not in there:
            said.append(NOT_ARRIVED if Store().holds(TAKE_ID) else EXPIRED)
        for name, path in there.items():
            if path.read_bytes() == BEFORE:
                mode = stat.S_IMODE(path.stat().st_mode)
                said += [] if mode == 0o640 else [f"{name}: the old file's mode became {mode:o}"]
            elif digest_of(path) not in exported:
                said.append(f"{name} is there without its row")
            else:
                kept = 0o640 if self.overwrite and path == self.output(place) else None
                said += faults_of(path, exported[digest_of(path)], FRAMES, kept)
        return said

    def outcome(self, place: Path) -> str:
        there = self.output(place)
        return "exported" if there.exists() and there.read_bytes() != BEFORE else "not exported"

    def output(self, place: Path) -> Path:
        return place / "outputs" / "x.mp4"


class FirstExport(Export):
    """The certificate is made on the way."""

    name = "first export"
    fresh = True

    def resume(self, place: Path) -> None:
        try:
            super().resume(place)
        except Refused as refused:
            if not refused.message.startswith(NOT_YET):
                raise
            shutil.rmtree(place / "home" / "signing")  # as it is told, since the clock is right
            super().resume(place)


class Overwrite(Export):
    """Over a file that was there."""

    name = "export over a file"
    overwrite = True


class WithoutLinks(Export):
    """As `Export`, on a file system that has no hard links (FAT, some network drives)."""

    name = "export without hard links"

    def act(self, place: Path) -> None:
        with _no_links():
            super().act(place)


class OverwriteWithoutLinks(Overwrite):
    name = "export over a file without hard links"

    def act(self, place: Path) -> None:
        with _no_links():
            super().act(place)


class Revoked(Export):
    """The consent is taken back between the kill and the next start."""

    name = "export, then revoked"

    def resume(self, place: Path) -> None:
        if not Store().holds(TAKE_ID):
            return
        take = Store().load(TAKE_ID)
        Ledger().revoke(take.portrait_sha256)
        try:
            export(take, place / "outputs" / self.next_name, AGREED)
        except ConsentRevoked:
            return
        raise AssertionError("exported although revoked")

    def problems(self, place: Path) -> list[str]:
        meant = (NOT_ARRIVED, EXPIRED)  # doctor deletes what was revoked
        return [problem for problem in super().problems(place) if problem not in meant]


class KilledAgain(Export):
    """The process that finds a video in its place without the row is killed, too."""

    name = "next start after a kill"
    next_name = "third.mp4"

    def prepare(self, place: Path) -> None:
        in_a_copy(lambda: super(KilledAgain, self).prepare(place))
        in_a_copy(lambda: self._die_once_linked(place))

    def act(self, place: Path) -> None:
        export(Store().load(TAKE_ID), place / "outputs" / "again.mp4", AGREED)

    def _die_once_linked(self, place: Path) -> None:
        real = os.link

        def last(source: Any, target: Any, **named: Any) -> None:
            real(source, target, **named)
            if Path(target) == self.output(place):
                os.kill(os.getpid(), signal.SIGKILL)

        os.link = last
        export(Store().load(TAKE_ID), self.output(place), AGREED)


SCENARIOS = (Export, FirstExport, Overwrite, WithoutLinks, OverwriteWithoutLinks, Revoked, KilledAgain)


def private_left(home: Path, takes: Collection[str]) -> int:
    """How much lies in a private home beyond what belongs to these takes, the ledger and the certificate."""
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir()]
    folders = [path for path in home.glob("*/*") if path.is_dir() and path.name not in takes]
    return sum(not KNOWN.fullmatch(name) for name in files) + len(folders)


def faults_of(path: Path, record: Record, frames: int, mode: int | None = None) -> list[str]:
    """What is not as it should be with an exported file.

    Args:
        mode: its permission bits; None for those of any new file beside it.
    """
    signature, found = c2pa.read(path), stat.S_IMODE(path.stat().st_mode)
    new_file = path.with_name("plain")
    new_file.write_bytes(b"")
    usual = stat.S_IMODE(new_file.stat().st_mode) if mode is None else mode
    new_file.unlink()
    facts = {
        "its digest is not the row's": digest_of(path) != record.output_sha256,
        NO_SIGNATURE: signature.state != "valid",
        "it is signed for another consent": signature.consent_sha256 != record.digest,
        "it is not whole": probe(path).frames != frames,
        f"its mode is {found:o} and not {usual:o}": found != usual,
    }
    return [f"{path.name}: {what}" for what, wrong in facts.items() if wrong]


def _record_noise(clip: Path) -> None:
    """Pictures that cannot be compressed: more than a block to copy, too much for c2pa to keep in memory."""
    chance, speech = np.random.default_rng(1), some_speech()
    for name in (MASTER_NAME, PREVIEW_NAME):
        with VideoWriter(clip / name, SIDE, SIDE, FPS, speech) as writer:
            for _ in range(FRAMES):
                writer.write(chance.integers(0, 256, (SIDE * 3 // 2, SIDE), np.uint8))


def records(place: Path) -> tuple[Record, ...]:
    """Read from a copy: looking must not mend anything."""
    source = place / "home" / "consent"
    if not source.is_dir():
        return ()
    with tempfile.TemporaryDirectory(dir=place) as copy:
        shutil.copytree(source, Path(copy) / "consent")
        return Ledger(copy).records()


def state(path: Path, rows: dict[str, Record]) -> list[str]:
    """What is wrong with a file in the output folder that may be half-done."""
    data = path.read_bytes()
    if not data and path.name.startswith("."):
        return []
    if data == BEFORE or hashlib.sha256(data).hexdigest() in rows:
        return []
    readable = [OPEN] if path.stat().st_mode & 0o077 and data else []
    return [*readable, *([] if path.name.startswith(".") else [NO_ROW])]


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _no_links:  # noqa: N801
    """While the block runs, the file system makes no hard links."""

    def __enter__(self) -> None:
        self._real = os.link

        def unsupported(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        os.link = unsupported  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        os.link = self._real
