"""Opens sound and video files with PyAV: local files only, any name, sane formats, errors in one place."""

from __future__ import annotations

import io
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error

from ..errors import BadInput
from .boxes import top_boxes

FORMATS = (
    "aac,aiff,amr,asf,au,avi,caf,flac,flv,h264,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,"
    "ogg,opus,w64,wav,wv,mxf,tta,ac3,eac3"
)
"""ffmpeg's names of the containers that are read. Playlists and scripts, which name other files, are not."""

XMP_UUID = uuid.UUID("BE7ACFCB-97A9-42E8-9C71-999491E3AFAC")
"""Type of the box that holds XMP in an MP4 (XMP specification part 3)."""


MAX_XMP = 1 << 20
"""Bytes of an XMP box that is read; a larger one is passed by."""
SHOWN = "a video or a picture"
"""Kind of file that can be verified."""
PATIENCE = 60.0
"""Seconds that a file may keep ffmpeg searching, for its beginning or for one packet: there may be none."""
BROKEN = (
    av.error.FFmpegError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
)
"""What PyAV and NumPy raise over files that are damaged or lie about themselves. An `OSError` that is not
FFmpeg's own comes from elsewhere, as from whoever is told how far it is, and says nothing of the file."""


def address(path: str | os.PathLike[str]) -> str:
    """The path in a form that ffmpeg takes for a file whatever its name ("-x.mp4", "http:b.wav")."""
    return str(Path(path).absolute())


@contextmanager
def opened(
    path: Path, error: type[BadInput], kind: str, data: bytes | None = None
) -> Iterator[av.container.InputContainer]:
    """An input container; trouble with it, also inside the block, becomes `error`, in words for the user.

    Args:
        path: local file.
        error: class to raise.
        kind: what the file should be: "sound", "video" or `SHOWN`.
        data: the file's bytes where they lie in memory; then only its name counts.
    """
    if data is None:
        check_file(path, error, kind)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(
            address(path) if data is None else io.BytesIO(data),
            metadata_errors="replace",
            container_options=options,
            timeout=PATIENCE,
        )
    except BROKEN as trouble:
        raise error(
            f"{path.name} is not {kind} in a format that can be read, or it is damaged.",
            advice(kind),
        ) from trouble
    try:
        with decoding(path, error):
            yield container
    finally:
        container.close()


@contextmanager
def decoding(path: Path, error: type[BadInput]) -> Iterator[None]:
    """Inside, whatever a decoder raises over the file becomes `error`."""
    try:
        yield
    except BROKEN as trouble:
        raise error(f"{path.name} is damaged.", "Save or download the file again.") from trouble


def may_pass(error: BadInput) -> bool:
    """Whether the drive, the rights, memory or time may be what was wrong, not the file: of an error that
    `opened`, `decoding` or `check_file` made."""
    return isinstance(error.__context__, (OSError, MemoryError, av.error.ExitError))


def append_xmp_box(path: Path, packet: bytes) -> None:
    """Append XMP to a finished MP4: as its last box, so that nothing in the file moves."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_UUID.bytes + packet)


def read_xmp_box(path: Path, limit: int = MAX_XMP) -> bytes:
    """The XMP packet in a box of its own in an MP4, of up to `limit` bytes; nothing where there is none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for kind, start, end in top_boxes(file):
            if kind == b"uuid" and end - start <= limit:
                file.seek(start)
                data = file.read(end - start)
                if data[:16] == XMP_UUID.bytes:
                    return data[16:]
    return b""


def check_file(path: Path, error: type[BadInput], kind: str) -> None:
    """Raise `error` unless the path leads to a file that can be opened and is not empty."""
    try:
        if path.is_dir():
            raise error(f"{path.name or path} is a folder, not {kind}.", "Give one file.")
        with path.open("rb") as file:
            if not file.read(1):
                raise error(f"{path.name} is empty (0 bytes).", "Save or download the file again.")
    except FileNotFoundError:
        raise error(f"There is no file at {path}.", "Check the path.") from None
    except PermissionError:
        raise error(f"{path.name} may not be read.", "Check the permissions of the file.") from None
    except (OSError, ValueError) as trouble:
        reason = getattr(trouble, "strerror", None) or str(trouble)
        raise error(f"{path} cannot be read ({reason}).", "Check the path.") from trouble


def advice(kind: str) -> str:
    """What to use instead."""
    if kind == "sound":
        return "Use WAV, MP3, M4A, FLAC, OGG or Opus."
    if kind == SHOWN:
        return "Use an MP4, MOV, WebM or MKV file, or a PNG, JPEG, WebP, GIF or BMP picture."
    return "Use an MP4, MOV, WebM or MKV file."
