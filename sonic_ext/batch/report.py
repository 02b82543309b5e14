"""What came of a batch: report.csv, report.json and a page with a picture of each video.

They are replaced whole. File names, errors and whatever else strangers wrote stay text: no formula in the
table, no markup in the page.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import lru_cache
from html import escape as without_markup
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from ..errors import BadOutput, SonicError
from ..files.atomic import replace_files
from ..jobs import Job, Queue, State
from ..provenance.store import PREVIEW_NAME
from ..text import table_cell, visible, whole
from .planning import Planned
from .rows import WrongRow

NAMES = ("report.csv", "report.json", "report.html")
FORMAT = "sonic batch 1"
"""By which a report of ours is known again."""
PICTURE_SIDE = 240
"""Longest side of a picture in the page, in pixels."""
MOST_PICTURES = 1000
"""The page is to open in any browser."""


@dataclass(frozen=True)
class Entry:
    """One row of the report."""

    row: int
    portrait: str
    audio: str
    output: str
    """Name of the video in the folder."""
    state: str
    """done, failed, cancelled, waiting, running, missing (looked at only), or wrong: the row itself."""
    error: str
    """What happened and what to do."""
    take: str
    """Id of the take, which the video's watermark carries."""
    record: str
    """Id of the consent record."""
    sha256: str
    """Of the video."""
    seconds: float | None
    """Length of the video."""
    worked: float | None
    """Seconds that were needed to make it."""


def entries(planned: Iterable[Planned], batch: str, queue: Queue) -> tuple[Entry, ...]:
    """How each row of a batch stands now."""
    jobs = {job.id: job for job in queue.jobs(batch=batch)}  # without those that somebody had forgotten
    return tuple(_entry(each, jobs.get(each.job_id)) for each in planned)


def require_ours(folder: Path, overwrite: bool) -> None:
    """Refuse to replace reports that somebody else wrote.

    Raises:
        BadOutput: there is such a file, and `overwrite` is not set.
    """
    there = [name for name in NAMES if (folder / name).exists()]
    if there and not overwrite and not _is_ours(folder / "report.json"):
        raise BadOutput(
            f"{folder / there[0]} is there already and is no report of an earlier batch.",
            "Choose another folder, or allow overwriting (--overwrite).",
        )


def write(folder: Path, found: Sequence[Entry], queue: Queue) -> tuple[Path, ...]:
    """Write all three files; where they are. Nobody else writes them meanwhile (`planning.alone`).

    Raises:
        BadOutput: one of them cannot be written.
    """
    texts = (as_csv(found), as_json(found), as_html(found, _pictures(found, folder, queue)))
    return replace_files(folder, dict(zip(NAMES, texts, strict=True)))


def as_csv(found: Iterable[Entry]) -> bytes:
    """A table that spreadsheets read as UTF-8, and in which nothing is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Entry.__dataclass_fields__)
    for entry in found:
        writer.writerow([_cell(value) for value in asdict(entry).values()])
    return text.getvalue().encode("utf-8-sig")


def as_json(found: Sequence[Entry]) -> bytes:
    """The same for programs."""
    values = {"format": FORMAT, "written": _now(), "counts": counts(found), "rows": as_values(found)}
    return json.dumps(values, indent=1).encode()


def as_values(found: Iterable[Entry]) -> list[dict[str, object]]:
    """Plain JSON values."""
    return [asdict(entry) for entry in found]


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """State → rows in it."""
    return dict(Counter(entry.state for entry in found))


def as_html(found: Sequence[Entry], pictures: Sequence[bytes]) -> bytes:
    """The page: no script, nothing from elsewhere.

    Args:
        pictures: a JPEG for each row, or nothing.
    """
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    total, done = len(found), counts(found).get("done", 0)
    rest = ", ".join(f"{count} {state}" for state, count in counts(found).items() if state != "done")
    cards = "".join(_card(entry, picture) for entry, picture in zip(found, pictures, strict=True))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{done} of {total} videos</title><style>{style}</style></head><body>"
        f"<header><h1>{done} of {total} videos</h1>"
        f"<p>{_text(rest and rest + ' · ')}{_now()[:16].replace('T', ' ')} UTC</p></header>"
        f"<main>{cards}</main></body></html>"
    ).encode()


def _card(entry: Entry, picture: bytes) -> str:
    inner = (
        f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">' if picture else ""
    )
    title = _text(entry.output or f"row {entry.row}")
    if entry.state == "done":
        address = without_markup(quote(whole(entry.output)))
        inner, title = f'<a href="./{address}">{inner}</a>', f'<a href="./{address}">{title}</a>'
    facts = [
        f"row {entry.row}",
        f"{entry.seconds:.1f} s" if entry.seconds is not None else "",
        f"record {entry.record}" if entry.record else "",
    ]
    sources = f"{Path(entry.portrait).name} + {Path(entry.audio).name}".strip(" +")
    error = f'<p class="error">{_text(entry.error)}</p>' if entry.error else ""
    return (
        f'<article class="{entry.state}"><div class="picture">{inner}</div><h2>{title}</h2>'
        f'<p class="state">{_text(entry.state)}</p><p>{_text(sources)}</p>'
        f"<p>{_text(' · '.join(filter(None, facts)))}</p>{error}</article>"
    )


def _entry(planned: Planned, job: Job | None) -> Entry:
    row = planned.row
    error = row.error if isinstance(row, WrongRow) else job and job.error
    state = "wrong" if isinstance(row, WrongRow) else "missing"
    take = exported = None
    if job is not None:
        take, exported = job.take, job.exported
        state = {State.QUEUED: "waiting", State.DONE: "done" if exported else "failed"}.get(
            job.state, str(job.state)
        )
    timed = job is not None and job.began is not None and job.ended is not None
    return Entry(
        row=row.number,
        portrait=whole(str(row.portrait)),
        audio=whole(str(row.audio)),
        output=whole(row.output),
        state=state,
        error=whole(str(error)) if error and state != "done" else "",
        take=take.id if take else "",
        record=exported.record if exported else "",
        sha256=exported.sha256 if exported else "",
        seconds=round(take.seconds, 3) if take else None,
        worked=round((job.ended - job.began).total_seconds(), 3) if timed else None,  # type: ignore[union-attr, operator]
    )


def _pictures(found: Iterable[Entry], folder: Path, queue: Queue) -> list[bytes]:
    """A JPEG of each video's first frame, label and marks in it; of the stamped preview where it was not let
    out; nothing where there is neither."""
    made: list[bytes] = []
    for number, entry in enumerate(found):
        picture = b""
        if number < MOST_PICTURES and entry.state == "done":
            picture = _picture_of(folder / entry.output, entry.sha256)
        elif number < MOST_PICTURES and entry.take:
            picture = _first_frame(queue.home / "takes" / entry.take / PREVIEW_NAME)
        made.append(picture)
    return made


@lru_cache(maxsize=MOST_PICTURES)
def _picture_of(video: Path, sha256: str) -> bytes:
    """The first frame of the file with that hash: the report is written anew as often as a folder that is
    watched comes to rest."""
    return _first_frame(video)


def _first_frame(video: Path) -> bytes:
    from ..media.image import thumbnail
    from ..media.video import read_frames

    encoded = io.BytesIO()
    try:
        for frame in read_frames(video, limit=1):
            thumbnail(frame, PICTURE_SIDE).save(encoded, "JPEG", quality=80)
    except (SonicError, OSError):
        return b""  # it expired, or was moved since
    return encoded.getvalue()


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and json.loads(path.read_bytes()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def _cell(value: object) -> str:
    return "" if value is None else table_cell(str(value))


def _text(text: str) -> str:
    return without_markup(visible(text))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
