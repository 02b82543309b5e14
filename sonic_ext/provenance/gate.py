"""The gate: the only way for a video out of the private store.

The take's seal and consent are checked, the ledger's chain walked and a record written; then a copy of the
master gets its container tags, XMP and, last, its signature, all inside the private store. Only the finished
file is copied beside its destination and moved there in one step, while the ledger is held, together with the
row that says so.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import BadOutput, Refused
from ..media.video import check_target, remux
from . import c2pa
from .consent import Consent
from .ledger import Ledger, Record
from .metadata import append_xmp, digital_source_type, tags
from .private import home_errors, private_folder, private_home, refuse_inside, sha256_of
from .store import Store, Take

BLOCK = 1 << 20


@dataclass(frozen=True)
class Exported:
    """A video that passed the gate."""

    path: Path
    record: Record
    """The consent record, as it stands after the export."""
    sha256: str
    """Of the file."""
    signature: c2pa.Signature
    """As read back from the file before it was let out."""
    warnings: tuple[str, ...]
    """Sentences about the consent."""


def check_output(output: str | os.PathLike[str], overwrite: bool = False, home: Path | None = None) -> Path:
    """Refuse a place that an export could not be written to; for asking before minutes of work.

    Args:
        home: the private home; see `private.private_home`.

    Raises:
        BadOutput: not an .mp4, exists already, its folder is missing or not writable, or it lies in the
            private home.
    """
    path = Path(output)
    if path.suffix.lower() != ".mp4":
        raise BadOutput(f"{path} does not end in .mp4.", "Give a name such as out.mp4.")
    check_target(path, overwrite)
    refuse_inside(path, private_home(home))
    return path


def export(
    take: Take,
    output: str | os.PathLike[str],
    consent: Consent,
    *,
    overwrite: bool = False,
) -> Exported:
    """Mark, sign and move the video of a take to `output`. All of it happens, or nothing is left there.

    Args:
        take: from `pipeline.animate` or `Store.load`.
        output: the MP4 to make, in a folder that exists.
        consent: for the face and for the voice.
        overwrite: whether a file at `output` may be replaced.

    Raises:
        ConsentExpired, ConsentRevoked: the consent does not hold.
        LooksRevoked: the portrait looks like a revoked one, and the consent does not say why it is another.
        Tampered: the consent ledger was altered, or is older than a take in the store.
        BadOutput: `output` exists, cannot be written to, or lies in the private home.
        Refused: the take was altered in the store, or cannot be signed.
        MissingPart: a package that signing needs is not installed.
    """
    path = check_output(output, overwrite, take.home)
    store = Store(take.home)
    ledger = store.ledger
    consent.check()
    # First: a revoked take may be gone from the store, which is not what stops it.
    ledger.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
    _require_sealed(take, path, store)
    store.check()
    signer = c2pa.identity(ledger.home)
    with _scratch(take.folder) as folder:
        with home_errors(folder):
            copy = take.copied(folder)
        record = ledger.record(consent, take)
        signed = _marked_and_signed(copy, record, folder, signer)
        signature = _proven(signed, take, ledger.home)
        digest = sha256_of(signed)
        _let_out(signed, path, overwrite, ledger, record, digest)
    return Exported(path, ledger.show(record.id), digest, signature, consent.warnings())


def _require_sealed(take: Take, path: Path, store: Store) -> None:
    """Refuse a take that is not what its seal says, and `path` where it is a file of the take.

    Raises:
        Refused: the take was changed after it was loaded; otherwise as `Store.load`.
        BadOutput: `path` is another name for a file of the take.
    """
    if store.load(take.id) != take:
        raise Refused(f"Take {take.id} is not the one that was sealed.", "Load it from the store again.")
    for file in (take.master, take.preview, take.portrait_file, take.audio_file):
        if path.exists() and file.exists() and path.samefile(file):
            raise BadOutput(f"{path} is {file.name} of the take itself.", "Choose another name.")


@contextlib.contextmanager
def _scratch(take_folder: Path) -> Iterator[Path]:
    """A private folder that is gone afterwards, whatever happens."""
    folder = take_folder / f"export-{secrets.token_hex(4)}"
    with home_errors(take_folder):
        private_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _marked_and_signed(take: Take, record: Record, folder: Path, signer: c2pa.Identity) -> Path:
    """Tags, then XMP, then the signature over both."""
    marked, signed = folder / "marked.mp4", folder / "signed.mp4"
    source_type = digital_source_type(take, record.portrait_synthetic)
    remux(take.master, marked, tags(take))
    with home_errors(folder):
        append_xmp(marked, take, source_type)
        c2pa.sign(marked, signed, take, record, source_type, signer)
        marked.unlink()
    return signed


def _proven(signed: Path, take: Take, home: Path) -> c2pa.Signature:
    """Read the signature back: what cannot be verified does not leave."""
    signature = c2pa.read(signed, home)
    if signature.state != "valid" or signature.watermark != take.id:
        found = ", ".join(signature.problems) or signature.state
        raise Refused(
            f"The signature on the video does not hold ({found}).",
            f"Where {c2pa.CERT_VARIABLE} is set, check that its certificate suits C2PA.",
        )
    return signature


def _let_out(signed: Path, path: Path, overwrite: bool, ledger: Ledger, record: Record, digest: str) -> None:
    """Copy beside the destination, then move and write the export's row as one."""
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with _output_errors(path), signed.open("rb") as source, part.open("xb") as target:
            _copy(source, target)
            made = os.fstat(target.fileno())
        with _taken_back(path, made), ledger.exporting(record, digest, path.name), _output_errors(path):
            _move(part, path, overwrite)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _taken_back(path: Path, made: os.stat_result) -> Iterator[None]:
    """Where the block fails, the file `made` does not stay at `path`; any other file there does."""
    try:
        yield
    except BaseException:
        if path.exists() and os.path.samestat(path.stat(), made):
            path.unlink()
        raise


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy to the disk itself, so that a full disk shows here and not later."""
    while block := source.read(BLOCK):
        target.write(block)
    target.flush()
    os.fsync(target.fileno())


def _move(part: Path, path: Path, overwrite: bool) -> None:
    """Give the finished file its name in one step; `part` may stay as a second name of it.

    Without `overwrite` an existing file survives, also one that another process makes right now.
    """
    if overwrite:
        part.replace(path)
    elif os.name == "nt":
        part.rename(path)
    else:
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:
            # No hard links on this file system: take the name first, then fill it.
            _fill_reserved(part, path)


def _fill_reserved(part: Path, path: Path) -> None:
    path.open("xb").close()
    try:
        part.replace(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise BadOutput(
            f"{path} exists already.", "Choose another name, or allow overwriting (--overwrite)."
        ) from None
    except OSError as error:
        raise BadOutput(
            f"{path} cannot be written: {error.strerror or error}.", "Make room, or choose another folder."
        ) from error
