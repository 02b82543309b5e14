"""The gate: the only way for a video out of the private store.

The take's seal and consent are checked, the ledger's chain walked and a record written; then a copy of the
master gets its container tags, XMP and, last, its signature, all inside the private store. Only the finished
file is copied beside its destination and moved there in one step, while the ledger is held, together with the
row that says so. An intent is written before (`intents`), by which the next start finishes or undoes what was
killed (`recovery`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..configuration import Configuration
from ..errors import BadOutput, Refused
from ..files.atomic import check_target, copy_to_disk, open_new
from ..files.digest import sha256_of
from ..files.home import home_errors, private_home, working_folder
from ..media.video import remux
from . import c2pa
from .boundary import refuse_inside
from .certificates import Identity, Trust, identity
from .consent import Consent
from .intents import FOLDER, Intent, log_failures
from .ledger import Ledger
from .metadata import append_xmp, digital_source_type, tags
from .records import Record
from .recovery import recover, undo_failed_export
from .store import Store
from .take import Take


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
    """Sentences about the consent, and about a time stamp that was asked for and not to be had."""


def check_output(output: str | os.PathLike[str], overwrite: bool = False, home: Path | None = None) -> Path:
    """Refuse a place that an export could not be written to; for asking before minutes of work.

    Args:
        home: the private home; see `files.home.private_home`.

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
    configuration: Configuration | None = None,
) -> Exported:
    """Mark, sign and move the video of a take to `output`. All of it happens, or nothing is left there.

    Args:
        take: from `pipeline.animate` or `Store.load`.
        output: the MP4 to make, in a folder that exists.
        consent: for the face and for the voice, of each person who is shown.
        overwrite: whether a file at `output` may be replaced.
        configuration: who signs, whom to trust; the environment's by default.

    Raises:
        ConsentExpired, ConsentRevoked: the consent does not hold.
        ConsentMissing: two persons are shown and heard, and it does not speak for both.
        LooksRevoked: the portrait looks like a revoked one, and the consent does not say why it is another.
        Tampered: the consent ledger was altered, or is older than a take in the store.
        BadOutput: `output` exists, cannot be written to, or lies in the private home.
        BadInput: certificate, key or a trust list cannot be read.
        BadSetting: the time-stamp authority has no address of the web.
        Refused: the take was altered in the store, or cannot be signed.
        MissingPart: a package that signing needs is not installed.
    """
    store = Store(take.home, configuration)
    recover(store.home, store.configuration)
    path = check_output(output, overwrite, take.home)
    ledger = store.ledger
    consent.check()
    consent.require_each(take.persons)
    # First: a revoked take may be gone from the store, which is not what stops it.
    ledger.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
    _require_sealed(take, path, store)
    store.check()
    signer = identity(ledger.home, store.configuration)
    Trust.load(
        ledger.home, store.configuration
    )  # a trust list that cannot be read is said before anything is recorded
    with working_folder(ledger.home, FOLDER) as folder:
        with home_errors(folder):
            copy = take.copied(folder)
        record = ledger.record(consent, take)
        signed, left_out = _tag_and_sign(copy, record, folder, signer, store.configuration)
        signature = c2pa.read_proven(signed, record, ledger)
        digest = sha256_of(signed)
        intent = Intent.create(folder, record.id, digest, path, overwrite)
        _move_out(signed, intent, ledger, record)
    warnings = (*consent.warnings(), *left_out)
    return Exported(path, ledger.show(record.id), digest, signature, warnings)


def _require_sealed(take: Take, path: Path, store: Store) -> None:
    """Refuse a take that is not what its seal says, and `path` where it is a file of the take.

    Raises:
        Refused: the take was changed after it was loaded; otherwise as `Store.load`.
        BadOutput: `path` is another name for a file of the take.
    """
    if store.load(take.id) != take:
        raise Refused(f"Take {take.id} is not the one that was sealed.", "Load it from the store again.")
    for file in take.files:
        if path.exists() and file.exists() and path.samefile(file):
            raise BadOutput(f"{path} is {file.name} of the take itself.", "Choose another name.")


def _tag_and_sign(
    take: Take, record: Record, folder: Path, signer: Identity, configuration: Configuration
) -> tuple[Path, tuple[str, ...]]:
    """Tags, then XMP, then the signature over both; and sentences on what the signature lacks."""
    marked, signed = folder / "marked.mp4", folder / "signed.mp4"
    source_type = digital_source_type(take, record.portrait_synthetic)
    remux(take.master, marked, tags(take, producer=configuration.producer))
    with home_errors(folder):
        append_xmp(marked, take, source_type)
        left_out = c2pa.sign(marked, signed, take, record, source_type, signer, configuration)
        marked.unlink()
    return signed, left_out


def _move_out(signed: Path, intent: Intent, ledger: Ledger, record: Record) -> None:
    """Copy beside the destination, then move and write the export's row as one; `intents` tells the order."""
    try:
        with home_errors(ledger.home):
            intent.write()
        with _output_errors(intent.path), signed.open("rb") as source, open_new(intent.part) as target:
            copy_to_disk(source, target)
        with ledger.exporting(record, intent.sha256, intent.path.name), _output_errors(intent.path):
            intent.move()
    except BaseException:
        undo_failed_export(intent, ledger)
        raise
    with log_failures(intent):
        intent.finish()


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
