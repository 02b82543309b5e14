"""Words and their times from the texts of LRS3.

    Text:  AND THAT IS ALL
    Conf:  5

    WORD START END ASDSCORE
    AND 0.11 0.23 7.9

`ASDSCORE` is the score of an active speaker detector. What was published for speech recognition alone has the
first two lines without the table: then the words have no times and are not kept.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import BadInput
from ..clips import Word

TABLE = ("WORD", "START", "END")
LATEST = 0.5
"""Seconds that a word may end after its clip: more, and the text is another clip's."""
LARGEST = 1 << 20
"""Bytes of a text."""


def read_transcript(path: Path, seconds: float) -> tuple[Word, ...]:
    """The words of a text with their times; none where it has none.

    Args:
        seconds: how long its clip is.

    Raises:
        FileNotFoundError: there is none.
        BadInput: it cannot be read, is no such text, or its words cannot be said in this clip.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
        lines = data.decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    if not lines or not lines[0].lower().startswith("text:"):
        raise _unreadable(path, "it does not begin with Text:")
    begin = next((n for n, line in enumerate(lines) if tuple(line.split()[:3]) == TABLE), len(lines))
    words = tuple(_word(path, line) for line in lines[begin + 1 :] if line.strip())
    before = 0.0
    for word in words:
        if not before <= word.start <= word.end:
            raise _unreadable(path, f"the times of {word.text} are out of order")
        before = word.start
    if words and words[-1].end > seconds + LATEST:
        raise _unreadable(path, f"its words end at {words[-1].end:.1f} s, the clip at {seconds:.1f} s")
    return words


def _word(path: Path, line: str) -> Word:
    try:
        text, start, end = line.split()[:3]
        return Word(text, float(start), float(end))
    except ValueError as error:
        raise _unreadable(path, f"a line of its table is {line[:40]!r}") from error


def _unreadable(path: Path, reason: str) -> BadInput:
    return BadInput(
        f"The transcript {path.name} cannot be used ({reason}).", "The clip is kept without words."
    )
