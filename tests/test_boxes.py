"""The boxes of an MP4, counted and weighed before anything else reads them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from sonic_ext.errors import BadVideo
from sonic_ext.media.boxes import MAX_BOXES, MAX_DEPTH, MAX_INDEX, boxes, check_bounds, top_boxes

FTYP = struct.pack(">I4s", 16, b"ftyp") + b"isommp42"


def box(kind: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def kinds(data: bytes) -> list[bytes]:
    return [kind for kind, _, _ in top_boxes(io.BytesIO(data))]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "视频.mp4"
    path.write_bytes(data)
    return path


def test_an_exports_boxes(root: Path) -> None:
    path = root / "sonic_ext" / "assets" / "example" / "hello.mp4"
    with path.open("rb") as file:
        found = list(top_boxes(file))
        moov = next((start, end) for kind, start, end in found if kind == b"moov")
        assert [kind for kind, _, _ in boxes(file, *moov)][:2] == [b"mvhd", b"trak"]
    assert {kind for kind, _, _ in found} >= {b"ftyp", b"moov", b"mdat", b"uuid"}
    assert found[-1][2] == path.stat().st_size
    check_bounds(path)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (FTYP[:7], []),
        (FTYP, [b"ftyp"]),
        (FTYP + struct.pack(">I4s", 7, b"free"), [b"ftyp"]),  # shorter than its own header
        (FTYP + struct.pack(">I4s", 9, b"free"), [b"ftyp"]),  # longer than the file
        (FTYP + struct.pack(">I4s", 0, b"mdat") + bytes(99), [b"ftyp", b"mdat"]),  # to the end
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4), [b"ftyp", b"mdat"]),  # 64 bits
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 15), [b"ftyp"]),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1), [b"ftyp"]),
        (FTYP + struct.pack(">I4sI", 1, b"mdat", 0), [b"ftyp"]),  # cut inside the header
    ],
)
def test_the_walk_ends_where_the_structure_does(data: bytes, found: list[bytes]) -> None:
    assert kinds(data) == found


@pytest.mark.parametrize("where", ["top", "inside", "in fragments"])
def test_more_boxes_than_can_be_checked(where: str, tmp_path: Path) -> None:
    free = box(b"free")

    def made(count: int) -> bytes:
        if where == "top":
            return FTYP + free * (count - 1)
        if where == "inside":
            return FTYP + box(b"moov", box(b"udta", box(b"meta", bytes(4), free * (count - 4))))
        return FTYP + box(b"moof", box(b"traf", free * 7)) * (count // 9) + free * (count % 9 - 1)

    check_bounds(written(tmp_path, made(MAX_BOXES)))
    with pytest.raises(BadVideo, match="made of more than 20,000 boxes"):
        check_bounds(written(tmp_path, made(MAX_BOXES + 1)))


@pytest.mark.parametrize("kind", [b"uuid", b"moov", b"meta", bytes(4)])
def test_more_index_than_is_taken_into_memory(kind: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, FTYP + struct.pack(">I4s", MAX_INDEX - len(FTYP), kind))
    with path.open("r+b") as file:
        file.truncate(MAX_INDEX)
    check_bounds(path)
    with path.open("r+b") as file:
        file.truncate(MAX_INDEX + 1)
    with pytest.raises(BadVideo, match="more than 64 MB besides pictures and sound"):
        check_bounds(path)


@pytest.mark.parametrize("kind", [b"mdat", b"free", b"skip"])
def test_pictures_and_sound_have_no_bound(kind: bytes, tmp_path: Path) -> None:
    """Also when the file was cut short in them."""
    for length in (0, MAX_INDEX * 2, MAX_INDEX * 4):
        path = written(tmp_path, FTYP + struct.pack(">I4s", length, kind))
        with path.open("r+b") as file:
            file.truncate(len(FTYP) + MAX_INDEX * 2)
        check_bounds(path)


def test_boxes_in_boxes_end_somewhere(tmp_path: Path) -> None:
    deep = b""
    for _ in range(50 * MAX_DEPTH):
        deep = box(b"moov", deep)
    check_bounds(written(tmp_path, FTYP + deep))


def test_other_kinds_of_files_pass(tmp_path: Path) -> None:
    check_bounds(written(tmp_path, b"\x1aE\xdf\xa3" + box(b"free") * (MAX_BOXES + 1)))


def test_a_quicktime_meta_box_is_looked_into(tmp_path: Path) -> None:
    hdlr = box(b"hdlr", bytes(25))
    with pytest.raises(BadVideo, match="boxes"):
        check_bounds(written(tmp_path, FTYP + box(b"moov", box(b"meta", hdlr, box(b"free") * MAX_BOXES))))
