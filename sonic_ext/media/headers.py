"""What a sound file's header says of its length, where it says it and can be believed.

FFmpeg always gives a length. For many formats it is a guess, the size over the bit rate of the first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

COVERS = ("mjpeg", "png", "webp", "bmp", "gif")
"""Codecs of pictures that come as a video stream (album covers)."""
STATING = {"wav", "w64", "aiff", "au", "caf", "flac", "ogg", "asf", "avi", "wv", "tta"}
"""FFmpeg's names of containers that always state their length, or imply it by that of their data."""
LEAST_BIT_RATE = 400
"""Bits a second: a header that needs fewer for its length is not believed."""
HEAD = 1 << 16
"""Bytes in which a header is looked for."""


def stated_seconds(container: Any, stream: Any, path: Path) -> float:
    """Seconds of sound that the header promises; 0 when it is silent about it or cannot be right."""
    if not states_length(container, path):
        return 0.0
    seconds = _stream_seconds(container, stream)
    size = max(path.stat().st_size, 1)  # somebody may be emptying it right now
    seconds *= _announced_bytes(path) / size
    return seconds if 0 < seconds <= size * 8 / LEAST_BIT_RATE else 0.0


def states_length(container: Any, path: Path) -> bool:
    """Whether the length that FFmpeg gives was read from the file."""
    names = set(container.format.name.split(","))
    if "matroska" in names:
        return _matroska_states_duration(path)
    if "mp3" in names:
        return _mp3_misses_bytes(path)
    if "mov" in names:
        return not _is_fragmented(path)
    return bool(names & STATING)


def moving_pictures(container: Any) -> bool:
    """Whether there is a video in the file, not only a cover."""
    kinds = [stream.codec_context and stream.codec_context.name for stream in container.streams.video]
    return any(kind not in COVERS for kind in kinds)


def _stream_seconds(container: Any, stream: Any) -> float:
    whole = (container.duration or 0) / 1_000_000
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska has one length for all that is in it, and may have tags for each stream.
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return min(whole, int(hours) * 3600 + int(minutes) * 60 + float(seconds))
    except ValueError:
        others = len(container.streams) - len(container.streams.video) > 1 or moving_pictures(container)
        return 0.0 if others else whole


def _announced_bytes(path: Path) -> int:
    """Bytes that the file should have: a WAV says so, but FFmpeg takes its length from what is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
    promised = int.from_bytes(head[4:8], "little") + 8
    streamed = promised > 0xFFFFFF00
    return promised if head[:4] + head[8:] == b"RIFFWAVE" and promised > size and not streamed else size


def _matroska_states_duration(path: Path) -> bool:
    """Whether there is a Duration, of 4 or 8 bytes, before the first cluster; a live stream has none."""
    with path.open("rb") as file:
        head = file.read(HEAD).partition(b"\x1f\x43\xb6\x75")[0]
    return b"\x44\x89\x84" in head or b"\x44\x89\x88" in head


def _is_fragmented(path: Path) -> bool:
    """Whether an MP4 was written while it was recorded: FFmpeg gives the length of its first fragment."""
    with path.open("rb") as file:
        return b"mvex" in file.read(HEAD)


def _mp3_misses_bytes(path: Path) -> bool:
    """Whether a Xing or VBRI header counts more bytes than there are.

    Its count of frames, which FFmpeg takes the length from, is wrong in many files; without such a header
    FFmpeg takes the first frame's bit rate for that of all.
    """
    with path.open("rb") as file:
        start = 0
        while (tag := file.read(10))[:3] == b"ID3":
            start += 10 + sum(
                (byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True)
            )
            file.seek(start)
        head = tag + file.read(4096)
    for name in (b"Xing", b"Info", b"VBRI"):
        at = head.find(name)
        if at < 0:
            continue
        if name == b"VBRI":
            counted = head[at + 10 : at + 14]
        else:
            flags = int.from_bytes(head[at + 4 : at + 8], "big")
            counted = head[at + 8 + 4 * (flags & 1) :][:4] if flags & 2 else b""
        return int.from_bytes(counted, "big") > path.stat().st_size - start
    return False
