"""Rows of a batch: what each video is made of, where it goes and who agreed.

Whatever is wrong with a row stays with that row (`WrongRow`); only a file that cannot be read at all raises.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, BadOutput, SonicError
from ..fields import did_you_mean, quoted
from ..files.names import cut, is_name, portable
from ..provenance.consent import Consent
from ..settings import Settings, describe
from ..text import is_whole

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
"""Suffixes of what counts as a portrait in a folder."""
SOUNDS = (
    *(".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma", ".aif", ".aiff"),
    *(".mp4", ".mov", ".mkv", ".webm"),
)
"""Suffixes of what counts as a voice in a folder."""
PREFIX = "consent_"
"""Before the names of the consent's fields."""
CONSENT = tuple(field.name for field in dataclasses.fields(Consent) if field.name != "notice_version")
COLUMNS = ("portrait", "audio", "output", *describe(), *(PREFIX + name for name in CONSENT))
"""What a row may say."""
NEEDED = ("portrait", "audio")
"""What every row has to say."""
FILES = ("portrait", "audio", f"{PREFIX}evidence")
"""What of that are paths."""
MOST_BYTES = 64 << 20
"""Of a jobs file."""
MOST_NAME = 200
"""Bytes of a video's name without its suffix; file systems hold 255, and a name in the making is longer."""


@dataclass(frozen=True)
class Row:
    """One video that is to be made."""

    number: int
    """Line of the file that it begins in; in folders, which one it is; from 1."""
    portrait: Path
    audio: Path
    output: str
    """Name of the video, in the folder of the batch."""
    settings: Settings
    consent: Consent


@dataclass(frozen=True)
class WrongRow:
    """One that cannot be made."""

    number: int
    """As `Row.number`."""
    portrait: str
    """As the row has it; "" where it says nothing that could be read."""
    audio: str
    output: str
    error: SonicError


AnyRow = Row | WrongRow


@dataclass(frozen=True)
class Defaults:
    """What counts where a row says nothing."""

    settings: Settings
    consent: Mapping[str, str]
    """Field of `Consent` → text."""


def read_file(path: Path, defaults: Defaults) -> tuple[AnyRow, ...]:
    """The rows of a jobs file: JSON lines where its name ends in .jsonl or .ndjson, otherwise CSV.

    Raises:
        BadInput: it cannot be read at all: no such file, no text, no or unknown columns, no rows.
    """
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise BadInput(f"{path} is larger than {MOST_BYTES >> 20} MB.", "Split it.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Give a CSV file or one of JSON lines."
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(
            f"{path} is not text in UTF-8.", 'Save it as "CSV UTF-8", or as UTF-8 in a text editor.'
        ) from None
    read = json_lines if path.suffix.lower() in (".jsonl", ".ndjson") else csv_rows
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput(
            f"Line {line} of {path} holds a zero byte.",
            'Save it as "CSV UTF-8", or as UTF-8 in a text editor.',
        )
    rows = built(read(text), path.parent, defaults)
    if not rows:
        raise BadInput(f"{path} has no rows.", "Write one for each video.")
    return rows


def csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | SonicError]]:
    """Line and named cells of each row; cells that are empty are left out.

    Raises:
        BadInput: quotes that do not close, no header, or columns in it that are not known or doubled.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    names: list[str] = []
    begins = 1
    try:
        for cells in reader:
            begins, number = reader.line_num + 1, begins
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(cells)
                continue
            if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
                yield (
                    number,
                    BadInput(
                        f"The row has {len(cells)} cells and the header {len(names)}.",
                        'Put what holds the separator into quotes: "a, b".',
                    ),
                )
                continue
            yield number, {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}
    except csv.Error as error:
        raise BadInput(
            f"The row that begins in line {begins} is no CSV: {error}.",
            "Look at its quotes: each that opens has to close, and one inside is written twice.",
        ) from error
    if not names:
        raise BadInput("The file has no header.", "Begin it with a line such as: portrait,audio")


def json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | SonicError]]:
    """Line and values of each object; null counts as left out."""
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
            yield number, BadInput(f"The line is not JSON: {said}.", "Write one object on each line.")
            continue
        if not isinstance(values, dict):
            yield number, BadInput("The line is not an object.", 'For example {"portrait": "a.jpg", …}.')
            continue
        try:
            _require_known(values)
        except BadInput as error:
            yield number, error
            continue
        yield number, {name: value for name, value in values.items() if value is not None}


def crossed(portraits: Path, voices: Path, defaults: Defaults, pair: bool = False) -> tuple[AnyRow, ...]:
    """Every portrait of a folder with every voice of another, or with the voice of the same name.

    Args:
        pair: by name without suffix; what has no partner is a wrong row.

    Raises:
        BadInput: a folder cannot be read, or has no such file.
    """
    faces, sounds = _files(portraits, PICTURES, "portrait"), _files(voices, SOUNDS, "voice")
    if not pair:
        return couples(itertools.product(faces, sounds), defaults)
    members = paired(faces, sounds).values()
    return couples(itertools.chain.from_iterable(itertools.starmap(itertools.zip_longest, members)), defaults)


def couples(given: Iterable[tuple[Path | None, Path | None]], defaults: Defaults) -> tuple[AnyRow, ...]:
    """A row for each portrait and voice; a wrong one where one of them is missing."""
    rows: list[tuple[int, Mapping[str, Any] | SonicError]] = []
    lonely: list[AnyRow] = []
    for number, (face, sound) in enumerate(given, 1):
        if face is not None and sound is not None:
            rows.append((number, {"portrait": str(face.absolute()), "audio": str(sound.absolute())}))
            continue
        there, lacking = (face, "voice") if face is not None else (sound, "portrait")
        error = BadInput(f"{there and there.name} has no {lacking} of the same name.", "Add one.")
        lonely.append(WrongRow(number, str(face or ""), str(sound or ""), "", error))
    return tuple(sorted([*built(rows, Path(), defaults), *lonely], key=lambda row: row.number))


def paired(faces: Iterable[Path], sounds: Iterable[Path]) -> dict[str, tuple[list[Path], list[Path]]]:
    """Name without suffix → the portraits and the voices of that name."""
    groups: dict[str, tuple[list[Path], list[Path]]] = {}
    for kind, files in enumerate((faces, sounds)):
        for file in files:
            groups.setdefault(unicodedata.normalize("NFC", file.stem), ([], []))[kind].append(file)
    return dict(sorted(groups.items()))


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of these kinds, by name; hidden ones do not count.

    Raises:
        BadInput: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:  # there may be 100,000 of them
            kept = (each for each in entries if each.name.lower().endswith(tuple(suffixes)))
            names = sorted(each.name for each in kept if each.name[0] != "." and each.is_file())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror or error}.", "Give a folder.") from error
    return [folder / name for name in names]


def built(
    given: Iterable[tuple[int, Mapping[str, Any] | SonicError]], base: Path, defaults: Defaults
) -> tuple[AnyRow, ...]:
    """Rows, checked as far as they can be without reading what they name.

    Args:
        base: what their paths are relative to.
    """
    made: list[AnyRow] = []
    for number, values in given:
        if isinstance(values, SonicError):
            made.append(WrongRow(number, "", "", "", values))
            continue
        try:
            made.append(_row(number, values, base, defaults))
        except SonicError as error:
            portrait, audio, output = (_shown(values.get(name)) for name in ("portrait", "audio", "output"))
            made.append(WrongRow(number, portrait, audio, output, error))
    return tuple(_with_own_names(made))


def checked_name(text: str) -> str:
    """The name of a video as any file system takes it, `.mp4` added where it lacks.

    Raises:
        BadOutput: a path, or letters or a length that some file system does not take.
    """
    name = unicodedata.normalize("NFC", text.strip())
    stem = name[:-4] if name.lower().endswith(".mp4") else name
    if stem != safe_stem(stem):
        raise BadOutput(
            f"{text!r} is no name for a video.",
            f'Use a name of up to {MOST_NAME} bytes, without folders and without any of < > : " / \\ | ? *',
        )
    return f"{stem}.mp4"


def safe_stem(text: str) -> str:
    """The text as a video's name without suffix, see `files.names`."""
    return cut(portable(text) or "_", MOST_NAME)


def _row(number: int, values: Mapping[str, Any], base: Path, defaults: Defaults) -> Row:
    for name in NEEDED:
        if name not in values:
            raise BadInput(f"The row names no {name}.", f"Give a file under {name}.")
    for name, value in values.items():
        if isinstance(value, str):
            _text(name, value, name in FILES)
    portrait, audio = (_path(base, name, values[name]) for name in NEEDED)
    stated = dict(defaults.consent)
    for name in CONSENT:
        if PREFIX + name in values:
            stated[name] = _text(PREFIX + name, values[PREFIX + name], PREFIX + name in FILES)
            if name == "evidence":
                stated[name] = str(_path(base, PREFIX + name, stated[name]))
    changes = {name: value for name, value in values.items() if name in describe()}
    settings = _settings(defaults.settings, json.dumps(changes))
    consent = Consent.from_mapping(stated)
    consent.check()
    output = checked_name(_text("output", values["output"])) if "output" in values else ""
    return Row(number, portrait, audio, output, settings, consent)


@functools.lru_cache(maxsize=1024)
def _settings(defaults: Settings, changes: str) -> Settings:
    """The same for all rows that change the same, as JSON."""
    return defaults.with_values(json.loads(changes))


def _with_own_names(rows: Sequence[AnyRow]) -> Iterator[AnyRow]:
    """Names for those that have none, from their files; none twice, however a file system compares them."""
    taken: dict[str, int] = {}
    numbers: dict[str, Iterator[int]] = {}
    for named in rows:
        if isinstance(named, Row) and named.output:
            taken.setdefault(named.output.casefold(), named.number)
    for row in rows:
        if isinstance(row, WrongRow):
            yield row
        elif row.output:
            first = taken[row.output.casefold()]
            if first == row.number:
                yield row
                continue
            error = BadOutput(f"Row {first} has the output {row.output} already.", "Give it another name.")
            yield WrongRow(row.number, str(row.portrait), str(row.audio), row.output, error)
        else:
            stem = _stem(row)
            names = (f"{name}.mp4" for name in _variants(stem, numbers.setdefault(stem, itertools.count(1))))
            output = next(name for name in names if name.casefold() not in taken)
            taken[output.casefold()] = row.number
            yield dataclasses.replace(row, output=output)


def _stem(row: Row) -> str:
    face, sound = row.portrait.stem, row.audio.stem
    return safe_stem(face if face == sound else f"{face}-{sound}")


def _variants(stem: str, numbers: Iterator[int]) -> Iterator[str]:
    """Names for one stem, by numbers that are not used yet; the first has none."""
    short = cut(stem, MOST_NAME - 10)
    yield from (stem if number == 1 else f"{short}-{number}" for number in numbers)


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: the one that the header has most of, quoted parts aside."""
    header = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    return max(",;\t", key=re.sub(r'"[^"]*"', "", header).count)


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()  # a separator at the end of the line
    _require_known(names)
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise BadInput(f"The column {doubled[0]} is there twice.", "Keep one of them.")
    for name in NEEDED:
        if name not in names:
            raise BadInput(
                f"The header has no column {name}.", "Begin it with a line such as: portrait,audio"
            )
    return names


def _require_known(names: Iterable[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise BadInput(
                f"There is no column {quoted(name)}.{did_you_mean(name, COLUMNS)}",
                f"Columns: {', '.join(COLUMNS)}.",
            )


def _text(name: str, value: Any, is_path: bool = False) -> str:
    """Text that a database can hold; or the path of a file, which may be no text."""
    if not isinstance(value, str):
        raise BadInput(f"{name} is not text.", "Write it in quotes.")
    if not (is_whole(value) or (is_path and is_name(value))):
        raise BadInput(f"{name} holds characters that are none.", "Write whole characters.")
    if "\0" in value:
        raise BadInput(f"{name} holds a zero byte.", "Take it out.")
    return value


def _path(base: Path, name: str, value: Any) -> Path:
    return (base / _text(name, value, is_path=True).strip()).absolute()


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    if found := files_in(folder, suffixes):
        return found
    raise BadInput(f"There is no {what} in {folder}.", f"Files that count: {', '.join(suffixes)}.")
