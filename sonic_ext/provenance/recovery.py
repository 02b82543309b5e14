"""What a start clears up: exports and takes that a killed process left, and takes whose time is over."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..configuration import Configuration
from ..errors import BadInput, ConsentRevoked, Refused, SonicError
from ..files.atomic import sync_folder
from ..files.home import home_errors, private_home, sweep_builds
from ..files.locks import held
from . import c2pa
from .intents import FOLDER, Intent, intent_file, log_failures
from .ledger import Ledger
from .records import Record
from .store import Store

_log = logging.getLogger(__name__)


def recover(home: str | os.PathLike[str] | None = None, configuration: Configuration | None = None) -> None:
    """Finish or undo the exports of processes that are gone; those of living ones are left alone.

    Called before whatever depends on it: an export, a look into the ledger. What cannot be done now, such as
    on a drive that is unplugged, goes to the log and is tried again next time. Nothing is raised.

    Args:
        home: the private home; see `files.home.private_home`.
        configuration: the environment's by default.
    """
    place = private_home(home)
    with _log_failures(), home_errors(place):
        sweep_builds(place)
        for folder in sorted({path.with_suffix("") for path in (place / FOLDER).glob("*")}):
            with held(folder) as gone:
                if gone:
                    shutil.rmtree(folder, ignore_errors=True)
                    _finish_or_undo(intent_file(folder), Ledger(place, configuration))


def clear_up(home: str | os.PathLike[str] | None = None, configuration: Configuration | None = None) -> None:
    """What every start does: `recover`, and delete takes that expired, were revoked or never finished."""
    recover(home, configuration)
    with _log_failures():
        store = Store(home, configuration)
        store.expire()
        sweep_revoked(store)


def sweep_revoked(store: Store) -> tuple[str, ...]:
    """Delete the takes of revoked portraits; returns their ids."""
    revoked = store.ledger.revoked()
    gone = tuple(take_id for take_id, hashes in store.portraits().items() if hashes & revoked)
    for take_id in gone:
        store.discard(take_id)
    return gone


def undo_failed_export(intent: Intent, ledger: Ledger) -> None:
    """After an error in an export: undo it, unless its row can be seen to be written."""
    with log_failures(intent):
        recorded = False
        with contextlib.suppress(SonicError):
            recorded = intent.in_place() and _is_recorded(intent, _record(intent, ledger))
        if recorded:
            intent.finish()
        else:
            intent.undo()


@contextlib.contextmanager
def _log_failures() -> Iterator[None]:
    try:
        yield
    except SonicError as error:
        _log.warning("What an interrupted process may have left was not cleared up: %s", error)


def _finish_or_undo(file: Path, ledger: Ledger) -> None:
    """Finish or undo the export whose intent is in `file`."""
    intent = Intent.read(file)
    if intent is None:
        file.unlink(missing_ok=True)
        return
    with log_failures(intent):
        if not intent.path.parent.is_dir():
            raise FileNotFoundError(f"{intent.path.parent} is not there")
        in_place, record = intent.in_place(), _record(intent, ledger)
        if _is_recorded(intent, record) or (in_place and _row_written(intent, record, ledger)):
            intent.finish(in_place)
            _log.warning("The export of %s, which was interrupted, is finished now.", intent.path)
        else:
            intent.undo()
            _log.warning("The export of %s, which was interrupted, was undone.", intent.path)


def _record(intent: Intent, ledger: Ledger) -> Record | None:
    """None where the ledger knows no such record: it is not the one that the export began with."""
    try:
        return ledger.show(intent.record)
    except BadInput:
        return None


def _is_recorded(intent: Intent, record: Record | None) -> bool:
    return record is not None and record.output_sha256 == intent.sha256


def _row_written(intent: Intent, record: Record | None, ledger: Ledger) -> bool:
    """Write the row that is missing, if it may be written: the video proves itself and the consent holds."""
    if record is None:
        return False
    try:
        c2pa.read_proven(intent.path, record, ledger)
        sync_folder(intent.path.parent)
        with ledger.exporting(record, intent.sha256, intent.path.name):
            return True
    except (Refused, ConsentRevoked):
        return False
