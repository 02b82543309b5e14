"""`verify` on pictures of marked videos: every format, animations, and files that were made to do harm."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from certificates import certified
from marked_clips import ID, Picture, marked, nodding, picture, rgb_of
from PIL import Image

from sonic_ext.errors import BadVideo
from sonic_ext.media.image import read_animation
from sonic_ext.provenance import c2pa
from sonic_ext.provenance.verify import SEARCHED_SECONDS, verify
from sonic_ext.provenance.watermark import ALGORITHM

SIDE, TAKE_ID = 512, f"{ID:016x}"
UNSOUGHT = "not looked for in pictures"

pytestmark = pytest.mark.usefixtures("sonic_home")


@pytest.fixture(scope="module")
def clip() -> list[Picture]:
    """Frames of a marked video."""
    return list(map(rgb_of, marked(nodding(picture("portrait_01.jpg", SIDE, SIDE), 8))))


@pytest.fixture(scope="module")
def shot(clip: list[Picture]) -> Image.Image:
    """One frame of it."""
    return Image.fromarray(clip[0])


def assert_marked(path: Path) -> None:
    found = verify(path)
    assert (found.verdict, found.id, found.watermark.algorithm) == ("metadata lost", TAKE_ID, ALGORITHM)
    assert found.watermark.odds < 1e-9


# Stills


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {"quality": 90}),
        ("a.webp", {"quality": 85}),
        ("a.gif", {}),
        ("a.bmp", {}),
        ("屏幕截图 é.png", {}),
        ("named wrongly.mp4", {"format": "PNG"}),
    ],
)
def test_one_frame_in_any_format(
    name: str, options: dict[str, object], shot: Image.Image, tmp_path: Path
) -> None:
    shot.save(tmp_path / name, **options)  # type: ignore[arg-type]
    assert_marked(tmp_path / name)


@pytest.mark.parametrize(("mode", "name"), [("P", "a.png"), ("CMYK", "a.jpg"), ("RGBA", "a.webp")])
def test_one_frame_in_other_colours(mode: str, name: str, shot: Image.Image, tmp_path: Path) -> None:
    shot.convert(mode).save(tmp_path / name, quality=90)
    assert_marked(tmp_path / name)


def test_one_frame_of_sixteen_bits(clip: list[Picture], tmp_path: Path) -> None:
    deep = clip[0][..., ::-1].astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    assert_marked(tmp_path / "a.png")


def test_one_frame_in_a_transparent_margin(shot: Image.Image, tmp_path: Path) -> None:
    """What lies under it is not seen."""
    around = Image.effect_noise((SIDE + 200, SIDE + 200), 90).convert("RGBA")
    around.putalpha(0)
    around.paste(shot.convert("RGBA"), (100, 100))
    around.save(tmp_path / "a.png")
    assert_marked(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("turn", [3, 6, 8])
def test_one_frame_that_lies_on_its_side(turn: int, name: str, shot: Image.Image, tmp_path: Path) -> None:
    """EXIF says how it is held."""
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = turn
    shot.transpose(turned[turn]).save(tmp_path / name, quality=90, exif=exif)
    assert_marked(tmp_path / name)


# Animations


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation(name: str, clip: list[Picture], tmp_path: Path) -> None:
    first, *others = map(Image.fromarray, clip)
    first.save(tmp_path / name, save_all=True, append_images=others, duration=40)
    animation = read_animation(tmp_path / name)
    assert animation.fps == pytest.approx(25)
    assert len(list(animation.frames)) == len(clip)
    found = verify(tmp_path / name)
    assert (found.id, found.watermark.frames) == (TAKE_ID, len(clip))


def test_the_mark_is_found_in_a_later_frame(clip: list[Picture], tmp_path: Path) -> None:
    others = [Image.fromarray(frame) for frame in clip]
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "a.gif", save_all=True, append_images=others, duration=200)
    assert_marked(tmp_path / "a.gif")


def test_an_animation_that_is_cut_short_gives_what_it_has(clip: list[Picture], tmp_path: Path) -> None:
    first, *others = map(Image.fromarray, clip)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=40)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) // 2])
    assert 0 < len(list(read_animation(tmp_path / "a.gif").frames)) < len(clip)
    assert_marked(tmp_path / "a.gif")


# Without a mark


def test_a_picture_without_marks(tmp_path: Path) -> None:
    Image.fromarray(picture("portrait_01.jpg", SIDE, SIDE)).save(tmp_path / "a.png")
    found = verify(tmp_path / "a.png")
    assert (found.verdict, found.verdict.exit_code, found.id) == ("unmarked", 5, "")
    assert found.summary == "No mark of this tool was found."
    rows = dict(found.rows)
    assert rows["Watermark"] == (
        "none found in 1 frame (a watermark of version 0.1 could be read only in 2 s of video or more)"
    )
    assert rows["Signature"] == "absent"
    assert {rows[name] for name in ("AIGC label", "XMP source", "Comment")} == {UNSOUGHT}
    assert found.to_dict()["labels"]["sought"] is False


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (63, 65), (65, 63)])
def test_a_picture_of_any_size_is_searched(size: tuple[int, int], tmp_path: Path) -> None:
    Image.effect_noise(size, 50).convert("RGB").save(tmp_path / "a.png")
    assert verify(tmp_path / "a.png").watermark.frames == 1


# Signed


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
def test_a_signature_in_a_picture_is_read(name: str, shot: Image.Image, tmp_path: Path) -> None:
    shot.save(tmp_path / name, quality=90)
    signed = sign(tmp_path / name, tmp_path / f"signed {name}")
    found = verify(signed)
    assert (found.signature.state, found.signature.trust, found.id) == ("valid", "unknown", TAKE_ID)
    cut = tmp_path / f"cut {name}"
    cut.write_bytes(signed.read_bytes()[:-1])
    assert c2pa.read(cut).state in ("altered", "damaged")


def test_a_changed_picture_is_altered(shot: Image.Image, tmp_path: Path) -> None:
    shot.save(tmp_path / "a.jpg", quality=90)
    signed = sign(tmp_path / "a.jpg", tmp_path / "signed.jpg")
    data = bytearray(signed.read_bytes())
    data[-500] ^= 1
    signed.write_bytes(data)
    assert verify(signed).verdict == "altered"


def sign(source: Path, target: Path) -> Path:
    """What a camera or an editor makes."""
    created = {"action": "c2pa.created", "digitalSourceType": "http://example.org/x"}
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]}
    return certified("Camera").sign(manifest, source, target, c2pa.ingredient_type(source))


# Made to do harm


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png() -> bytes:
    """Of 60,000 x 60,000 pixels, it says."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def gif(frames: int, x: int = 0) -> bytes:
    """Of frames that draw one pixel each, at `x`, for a tenth of a second."""
    head = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04\x04\x0a\0\0\0"
    pixel = b"," + struct.pack("<HHHHB", x, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + (control + pixel) * frames + b";"


def processor_time() -> float:
    """Seconds that processes took which this one started; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def cut_png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()[:-1000]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


@pytest.mark.parametrize(
    ("data", "said", "cure"),
    [
        (cut_png(), "damaged or cut short", "again"),
        (cut_png()[:20], "not a picture in a format that can be read", "PNG"),
        (huge_png(), "64 megapixels", "Scale"),
        (b"renamed\n" * 50, "not a video or a picture", "PNG, JPEG"),
        (SVG, "not a video or a picture", "PNG, JPEG"),
        (b"", "empty", "again"),
    ],
    ids=["cut", "header", "huge", "text", "svg", "empty"],
)
def test_what_cannot_be_read_is_told_at_once(data: bytes, said: str, cure: str, tmp_path: Path) -> None:
    path = tmp_path / "图 a.png"
    path.write_bytes(data)
    began = processor_time()
    with pytest.raises(BadVideo, match=said) as refused:
        verify(path)
    assert cure in refused.value.hint
    assert processor_time() - began < 10


def test_a_hundred_thousand_frames_are_searched_as_long_as_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif(100_000))
    assert verify(tmp_path / "a.gif").watermark.frames == 10 * SEARCHED_SECONDS


def test_frames_that_outgrow_the_first_do_no_harm(tmp_path: Path) -> None:
    """With newer versions of Pillow a GIF's canvas grows with what is drawn beyond it."""
    first, last = gif(3), gif(1, 60_000)
    (tmp_path / "a.gif").write_bytes(first[:-1] + last[19:])
    found = verify(tmp_path / "a.gif")
    assert (found.verdict, found.watermark.frames) == ("unmarked", 4)


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux tells it")
@pytest.mark.parametrize("make", [huge_png, lambda: gif(100_000)], ids=["huge", "frames"])
def test_they_take_no_more_memory_than_others(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(make())
    program = (
        "import resource, sys\n"
        "from sonic_ext.errors import BadVideo\n"
        "from sonic_ext.provenance.verify import verify\n"
        "try: verify(sys.argv[1])\n"
        "except BadVideo: pass\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "a.gif")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400 << 10, "kB"
