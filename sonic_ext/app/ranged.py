"""Files over HTTP with byte ranges, which players need to jump and which older Starlettes lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastapi.responses import Response, StreamingResponse

from .routing import problem

BLOCK = 1 << 18
"""Bytes that are read at once."""


def ranged(path: Path, media_type: str, header: str | None) -> Response:
    """A file, or the part of it that the header `Range` asks for.

    Args:
        path: of the file.
        media_type: such as video/mp4.
        header: forms other than one range of bytes are answered with the whole file.

    Raises:
        FileNotFoundError: it is gone.
    """
    size = path.stat().st_size
    # said aloud, or a WebUI's gzip would pack the video and part company with the range
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store", "Content-Encoding": "identity"}
    part = part_of(header, size) if header else None
    start, stop = part or (0, size)
    if part and start >= stop:
        unknown = {"Content-Range": f"bytes */{size}"}
        return problem(416, "BadInput", "The file ends before this range.", f"It has {size} bytes.", unknown)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    path.open("rb").close()  # what cannot be read is an error now, not a broken answer
    blocks = _blocks(path, start, stop)
    return StreamingResponse(blocks, 206 if part else 200, headers, media_type=media_type)


def part_of(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a `Range` header; None for a form that is not heeded.

    Where the file has no such bytes, the first lies at or after the other.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = stop - start
        while left > 0 and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
