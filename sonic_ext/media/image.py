"""Portraits and animations: any common picture file → 8-bit RGB, the right way up.

Files are decoded from bytes, so that any path that Python can open works. The header is judged before
a pixel is decoded: pictures of more than `MAX_PIXELS` are refused without the memory ever being asked for.
Pillow decodes; HEIC needs `pillow-heif`, and what Pillow cannot read of TIFF and of 16 bits OpenCV does.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import itertools
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from ..errors import BadPortrait
from .colour import Colours, grey_table, in_srgb, stated

MAX_PIXELS = 64_000_000
"""Largest picture, in pixels; a 50-megapixel photograph fits."""
MAX_BYTES = 256 * 2**20
"""Largest picture file."""
MIN_SIDE = 48
"""Smallest side, in pixels: no smaller picture can hold a usable face."""
GREY = 128
"""What transparent parts are laid on."""
SHOWN_SIDE = 900
"""Longest side in pixels of a picture that is only looked at."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000")
"""Pillow's names of what is read; formats that start other programs (EPS) are left out."""
ANIMATED = ("GIF", "PNG", "WEBP")
"""Formats whose further pictures follow the first in time; those of others are pages or other sizes."""
UNTIMED = 10.0
"""Frames a second of an animation that does not say how long one is shown; browsers show it so."""

NARROW = (255.0, 1023.0, 4095.0)
"""What white is in numbers of 8, 10 and 12 bits that are stored in more."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_ORIENTATION, _MAX_SAMPLE_VALUE = 0x0112, 0x0119
_NOTES = (-1, -1)
"""Key in a picture's `info` of what `_tiff` has to say about it: one that no file can set."""
_BEGINNINGS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|GIF8[79]a|BM", re.DOTALL)
"""Of the formats that `is_picture` knows."""
_OTHER_FORMAT = "Use a JPEG, PNG or WebP picture."
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, AttributeError),
    *(MemoryError, NotImplementedError, RecursionError, struct.error, zlib.error),
)
"""What Pillow raises for damaged files, depending on the format."""


@dataclass(frozen=True)
class AnimatedPicture:
    """A picture file as it is shown in time: one frame, or a sequence."""

    frames: Iterator[NDArray[np.uint8]]
    """uint8 RGB [height, width, 3] each, decoded when asked for; all but the first may be of another size."""
    fps: float
    """Frames a second, as the first one tells; 0 where there is one only."""


@dataclass(frozen=True)
class Portrait:
    """A picture as pixels, with what is needed to recognise it again."""

    rgb: NDArray[np.uint8] = field(repr=False)
    """uint8 [height, width, 3], read-only; EXIF rotation applied, transparency laid on mid grey."""
    path: Path
    """As given."""
    data: bytes = field(repr=False)
    """The bytes of the file, as read; PNG when the portrait came as an array."""
    sha256: str
    """Hex digest of `data`."""
    pixel_sha256: str
    """Hex digest of the shape and the pixels, see `pixel_digest`."""
    media_type: str
    """Such as image/jpeg."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.rgb.shape[0])


def read_portrait(path: str | os.PathLike[str]) -> Portrait:
    """Read a picture file.

    Raises:
        BadPortrait: missing, not a picture, damaged, over `MAX_PIXELS` or under `MIN_SIDE`.
    """
    path = Path(path)
    data = _file_bytes(path)
    with _quiet():
        picture = _open(data, path.name)
        _check_side(*picture.size, path.name)
        own = getattr(picture, "custom_mimetype", None) or "application/octet-stream"  # HEIC has only this
        media_type = Image.MIME.get(picture.format or "", own)
        rgb, notes = _first_frame(picture, data, path.name)
    return _portrait(rgb, path, data, media_type, notes)


def read_animation(path: str | os.PathLike[str]) -> AnimatedPicture:
    """Read a picture file, still or animated, up to `MAX_PIXELS`; the first frame is decoded at once.

    A file that is cut short after its first frame gives the frames that it has.

    Raises:
        BadPortrait: missing, not a picture, its first frame damaged, or over `MAX_PIXELS`.
    """
    path = Path(path)
    data = _file_bytes(path)
    with _quiet():
        picture = _open(data, path.name)
        first, _ = _decoded(picture, data, path.name)
        fps = _fps(picture)
    return AnimatedPicture(itertools.chain([first], _further_frames(picture, data, path.name)), fps)


def is_picture(path: Path) -> bool:
    """Whether a file begins as PNG, JPEG, WebP, GIF and BMP do, whatever its name.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _BEGINNINGS.match(file.read(12)) is not None


def from_array(rgb: NDArray[Any], name: str = "portrait.png") -> Portrait:
    """A portrait from pixels that are in memory already.

    Args:
        rgb: uint8 [height, width, 3]; copied.
        name: stands in for the path in messages and records.

    `sha256` is that of the PNG that the pixels encode to (`data`).

    Raises:
        BadPortrait: not 8-bit RGB, or too large or small.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise BadPortrait(
            f"The picture is {rgb.dtype} {list(rgb.shape)}.", "Give uint8 [height, width, 3] in RGB order."
        )
    _check_size(rgb.shape[1], rgb.shape[0], name)
    _check_side(rgb.shape[1], rgb.shape[0], name)
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(encoded, "PNG", compress_level=1)
    return _portrait(rgb.copy(), Path(name), encoded.getvalue(), "image/png", ())


def turned(portrait: Portrait, quarters: int) -> Portrait:
    """The portrait with its pixels turned anticlockwise; it is recognised by the file as it was read."""
    if quarters % 4 == 0:
        return portrait
    rgb = np.ascontiguousarray(np.rot90(portrait.rgb, quarters))
    rgb.setflags(write=False)
    return replace(portrait, rgb=rgb)


def thumbnail(rgb: NDArray[np.uint8], side: int = SHOWN_SIDE) -> Image.Image:
    """The picture, uint8 RGB [height, width, 3], made smaller where its longest side is over `side`."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((side, side))
    return picture


def pixel_digest(rgb: NDArray[np.uint8]) -> str:
    """SHA-256 of "height×width×channels" and the pixels of a uint8 array; the same for any file format."""
    digest = hashlib.sha256("x".join(map(str, rgb.shape)).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def _portrait(
    rgb: NDArray[np.uint8], path: Path, data: bytes, media_type: str, notes: tuple[str, ...]
) -> Portrait:
    rgb.setflags(write=False)
    return Portrait(rgb, path, data, hashlib.sha256(data).hexdigest(), pixel_digest(rgb), media_type, notes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; both are judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _file_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise BadPortrait(f"{path.name or path} is a folder, not a picture.", "Give one picture file.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadPortrait(
                f"{path.name} is {-(-size >> 20)} MB large; the limit is {MAX_BYTES >> 20} MB.",
                "Save the picture as JPEG, or scale it down.",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadPortrait(f"There is no picture at {path}.", "Check the path.") from None
    except PermissionError:
        raise BadPortrait(f"{path.name} may not be read.", "Check the permissions of the file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadPortrait(f"The picture {path} cannot be read ({reason}).", "Check the path.") from error
    if not data:
        raise BadPortrait(f"{path.name} is empty (0 bytes).", "Save or download the picture again.")
    return data


def _open(data: bytes, name: str) -> Image.Image:
    """The picture with its header read and its size allowed, pixels not decoded yet."""
    Image.init()
    formats = [known for known in FORMATS if known in Image.OPEN]
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=formats)
        if _is_foreign_tiff(picture):
            picture = _tiff(data, name)
    except Image.DecompressionBombError as error:
        raise BadPortrait(*_bomb(name, error)) from None
    except _BROKEN as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data, name)
        if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
            return _heic(data, name)
        raise BadPortrait(*_not_a_picture(data, name)) from error
    _check_size(*picture.size, name)
    return picture


def _is_foreign_tiff(picture: Image.Image) -> bool:
    """Uncompressed luma and chroma, which Pillow reads as something else or, subsampled, not at all."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 6 and (
        picture.tag_v2.get(TiffImagePlugin.COMPRESSION, 1) not in (6, 7)  # JPEG's own kinds
    )


def _tiff(data: bytes, name: str) -> Image.Image:
    """A TIFF that Pillow cannot read, decoded by OpenCV once its header says that it is not too large.

    Raises:
        BadPortrait: OpenCV cannot read it either, or it is over `MAX_PIXELS`.
    """
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        width, height = int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH])
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    _check_size(width, height, name)
    values = _by_opencv(data)
    if values is None:
        raise BadPortrait(f"{name} is a TIFF of a kind that cannot be read.", _OTHER_FORMAT)
    picture, picture.info[_NOTES] = _from_levels(values)
    picture.format = "TIFF"
    if profile := tags.get(TiffImagePlugin.ICCPROFILE):
        picture.info["icc_profile"] = profile
    picture.getexif()[_ORIENTATION] = tags.get(_ORIENTATION, 1)
    return picture


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    """[height, width] or RGB [height, width, 3] in the file's own numbers; None where it cannot be read."""
    import cv2  # slow to load, and hardly ever needed here

    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return values if values is None or values.ndim == 2 else values[..., 2::-1]


def _heic(data: bytes, name: str) -> Image.Image:
    """With its header read and its size allowed.

    Raises:
        BadPortrait: `pillow-heif` is not installed, or cannot read it either; or it is over `MAX_PIXELS`.
    """
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise BadPortrait(
            f"{name} is HEIC, which is read only where pillow-heif is installed.",
            "Try: python -m pip install pillow-heif. Or save the picture as JPEG or PNG.",
        ) from error
    try:
        picture: Image.Image = heif.HeifImageFile(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise BadPortrait(*_bomb(name, error)) from None
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    _check_size(*picture.size, name)
    return picture


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadPortrait(*_too_large(name, f"{width} × {height} pixels"))


def _check_side(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise BadPortrait(
            f"{name} has only {width} × {height} pixels.",
            f"Use a picture whose face alone is at least {MIN_SIDE} pixels wide; 512 or more looks good.",
        )


def _too_large(name: str, size: str) -> tuple[str, str]:
    limit = MAX_PIXELS // 1_000_000
    return f"{name} has {size}; the limit is {limit} megapixels.", "Scale the picture down or crop it."


def _bomb(name: str, error: Image.DecompressionBombError) -> tuple[str, str]:
    """Pillow says how many pixels there are in words only."""
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    return _too_large(name, f"{int(pixels[1]) // 1_000_000} megapixels" if pixels else "far more")


def _not_a_picture(data: bytes, name: str) -> tuple[str, str]:
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis"):
        return (
            f"{name} is AVIF, which this Pillow cannot read.",
            "Save it as PNG, or use Pillow 11.3 or newer.",
        )
    if brand or data[:4] in (b"RIFF", b"\x1aE\xdf\xa3"):
        return f"{name} is not a picture but looks like sound or video.", _OTHER_FORMAT
    return f"{name} is not a picture in a format that can be read.", _OTHER_FORMAT


def _first_frame(picture: Image.Image, data: bytes, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The picture that a portrait is, and sentences for the user."""
    try:
        animated = picture.format != "MPO" and _is_animated(picture)
    except Image.DecompressionBombError as error:
        raise BadPortrait(*_bomb(name, error)) from None
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    rgb, notes = _decoded(picture, data, name)
    return rgb, ((f"{name} is animated: its first frame is used.",) if animated else ()) + notes


def _further_frames(picture: Image.Image, data: bytes, name: str) -> Iterator[NDArray[np.uint8]]:
    """The frames after the first, as far as they can be decoded."""
    for number in itertools.count(1) if picture.format in ANIMATED else ():
        try:
            with _quiet():
                picture.seek(number)
                frame, _ = _decoded(picture, data, name)
        except (BadPortrait, Image.DecompressionBombError, *_BROKEN):  # EOFError where there are no more
            return
        yield frame


def _fps(picture: Image.Image) -> float:
    """By how long the frame that was decoded is shown; 0 where no other one follows."""
    milliseconds = picture.info.get("duration") or 0
    try:
        animated = picture.format in ANIMATED and getattr(picture, "is_animated", False)
    except _BROKEN:
        return 0.0
    return (1000 / milliseconds if milliseconds > 0 else UNTIMED) if animated else 0.0


def _decoded(picture: Image.Image, data: bytes, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The frame that the picture stands at, and sentences for the user."""
    _check_size(*picture.size, name)  # frames of a GIF may be larger than the first
    told: tuple[str, ...] = picture.info.get(_NOTES, ())
    try:
        picture.load()
        colours = stated(picture, data)
        white = _declared_white(picture)
        picture, notes = _deepened(picture, data)
        upright = ImageOps.exif_transpose(picture) or picture
        rgb, more = _to_rgb(upright, colours, white)
    except Image.DecompressionBombError as error:
        raise BadPortrait(*_bomb(name, error)) from None
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    return rgb, told + notes + more


def _declared_white(picture: Image.Image) -> float:
    """The largest number that a TIFF says its samples have; 0 where it says nothing."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 0.0
    said: Any = picture.tag_v2.get(_MAX_SAMPLE_VALUE, 0)
    return float(max(said) if isinstance(said, tuple) else said)


def _deepened(picture: Image.Image, data: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """A colour picture of 16 bits that seems black because it uses fewer, in the bits that it uses.

    Pillow keeps the upper 8 bits of such pictures only: of 12 in 16 four are left.
    """
    # OpenCV, which is asked below, reads the first frame of a file
    bits: Any = data[24] if picture.format == "PNG" and not picture.tell() else 0
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (0,))[0]
    if bits != 16 or picture.mode not in ("RGB", "RGBA") or np.asarray(picture)[..., :3].max() > 15:
        return picture, ()
    values = _by_opencv(data)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != picture.size[::-1]:
        return picture, ()
    deep, notes = _from_levels(values)
    deep.getexif()[_ORIENTATION] = picture.getexif().get(_ORIENTATION, 1)
    return deep, notes


def _damaged(name: str) -> tuple[str, str]:
    return f"{name} is damaged or cut short.", "Save or download it again."


def _is_animated(picture: Image.Image) -> bool:
    """Whether another frame follows the first; Pillow's `n_frames` would walk through all of them."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    finally:
        picture.seek(0)
    return True


def _to_rgb(
    picture: Image.Image, colours: Colours, white: float
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [height, width, 3] in sRGB, and sentences for the user.

    Args:
        picture: the right way up.
        colours: what its file says of them.
        white: the number that its file says is white, where that is more than 8 bits; else 0.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        levels, notes = _levels(np.asarray(picture), white)
        table, more = grey_table(colours)
        return table[levels], notes + more
    alpha = picture.convert("RGBA").getchannel("A") if _has_alpha(picture) else None
    if picture.mode in ("1", "LA", "La"):
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("L")
    elif picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        picture = (picture.convert("RGBA") if picture.mode == "RGBa" else picture).convert("RGB")
    shown, notes = in_srgb(picture, colours)
    shown = shown.convert("RGB")
    if alpha is not None and alpha.getextrema()[0] != 255:
        shown = Image.composite(shown, Image.new("RGB", shown.size, (GREY, GREY, GREY)), alpha)
        notes = ("The picture's transparent parts were filled with grey.", *notes)
    return np.array(shown, dtype=np.uint8), notes


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _levels(values: NDArray[Any], declared: float = 0.0) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """Numbers of any kind as levels of 65535, scaled rather than clipped, and sentences for the user.

    Args:
        values: of any shape and type.
        declared: the number that the file says is white; 0 where it says none.

    Numbers that fill the bits that a camera or program might have used, and no more, are taken to mean those
    bits; a picture in 16 bits that is only dark keeps its darkness.

    Raises:
        BadPortrait: none of them is finite.
    """
    known = np.isfinite(values)
    if not known.any():
        raise BadPortrait("The picture holds no numbers, only NaN.", "Save it again, as PNG or JPEG.")
    notes: tuple[str, ...] = ()
    if not known.all():
        notes = ("Parts of the picture are not numbers (NaN or infinity); they are shown black.",)
    clean = np.where(known, values, 0).astype(np.float32)
    low, high = float(clean.min()), float(clean.max())
    if values.dtype.kind == "f" and low > -0.5 and high <= 4:
        low, white = 0.0, 1.0  # sharpening overshoots
    elif low >= -0.05 * high and high <= 65535:
        used = next((white for white in NARROW if high <= white and high - low > white / 4), 65535.0)
        white = declared if high <= declared < 65535 else used
        low = 0.0
        if white < 65535 and values.dtype.kind != "f" and not declared:
            bits = round(math.log2(white + 1))
            notes += (f"The picture uses only {bits} of its bits and was made brighter accordingly.",)
    else:
        white = high
    scaled = (clean - low) * (65535 / max(white - low, 1e-9))
    return np.rint(np.clip(scaled, 0, 65535)).astype(np.uint16), notes


def _from_levels(values: NDArray[Any]) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture from numbers of any kind, [height, width] or [height, width, 3], and sentences."""
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(values)), ()
    if values.ndim == 2:
        return Image.fromarray(values.astype(np.float32)), ()
    levels, notes = _levels(values)
    return Image.fromarray(np.rint(levels / 257).astype(np.uint8)), notes
