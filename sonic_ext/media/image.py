"""Portraits and animations: any common picture file → 8-bit RGB, the right way up.

Files are decoded from bytes, so that any path that Python can open works. The header is judged before
a pixel is decoded: pictures of more than `MAX_PIXELS` are refused without the memory ever being asked for.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from ..errors import BadPortrait

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

    rgb: NDArray[np.uint8]
    """uint8 [height, width, 3], read-only; EXIF rotation applied, transparency laid on mid grey."""
    path: Path
    """As given."""
    data: bytes
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
        media_type = Image.MIME.get(picture.format or "", "application/octet-stream")
        rgb, notes = _first_frame(picture, path.name)
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
        first, _ = _decoded(picture, path.name)
        fps = _fps(picture)
    return AnimatedPicture(itertools.chain([first], _further_frames(picture, path.name)), fps)


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
            limit = f"{MAX_BYTES >> 20} MB"
            raise BadPortrait(f"{path.name} is larger than {limit}.", "Use a smaller picture file.")
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
        picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise BadPortrait(*_too_large(name)) from None
    except _BROKEN as error:
        raise BadPortrait(*_not_a_picture(data, name)) from error
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


def _too_large(name: str, size: str = "far more") -> tuple[str, str]:
    limit = MAX_PIXELS // 1_000_000
    return f"{name} has {size}; the limit is {limit} megapixels.", "Scale the picture down or crop it."


def _not_a_picture(data: bytes, name: str) -> tuple[str, str]:
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis"):
        return (
            f"{name} is AVIF, which this Pillow cannot read.",
            "Save it as PNG, or use Pillow 11.3 or newer.",
        )
    if brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return f"{name} is HEIC, which is not read here.", "Save the picture as JPEG or PNG."
    if brand or data[:4] in (b"RIFF", b"\x1aE\xdf\xa3"):
        return f"{name} is not a picture but looks like sound or video.", _OTHER_FORMAT
    return f"{name} is not a picture in a format that can be read.", _OTHER_FORMAT


def _first_frame(picture: Image.Image, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The picture that a portrait is, and sentences for the user."""
    try:
        animated = picture.format != "MPO" and _is_animated(picture)
    except Image.DecompressionBombError:
        raise BadPortrait(*_too_large(name)) from None
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    rgb, notes = _decoded(picture, name)
    return rgb, ((f"{name} is animated: its first frame is used.",) if animated else ()) + notes


def _further_frames(picture: Image.Image, name: str) -> Iterator[NDArray[np.uint8]]:
    """The frames after the first, as far as they can be decoded."""
    for number in itertools.count(1) if picture.format in ANIMATED else ():
        try:
            with _quiet():
                picture.seek(number)
                frame, _ = _decoded(picture, name)
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


def _decoded(picture: Image.Image, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The frame that the picture stands at, and sentences for the user."""
    _check_size(*picture.size, name)  # frames of a GIF may be larger than the first
    try:
        picture.load()
        upright = ImageOps.exif_transpose(picture) or picture
        rgb, notes = _to_rgb(upright, picture.info.get("icc_profile"))
    except Image.DecompressionBombError:
        raise BadPortrait(*_too_large(name)) from None
    except _BROKEN as error:
        raise BadPortrait(*_damaged(name)) from error
    return rgb, notes


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


def _to_rgb(picture: Image.Image, profile: bytes | None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [height, width, 3] in sRGB, and sentences for the user."""
    notes: list[str] = []
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit(picture)
    if _has_alpha(picture):
        picture, opaque = _flattened(picture.convert("RGBA"))
        if not opaque:
            notes.append("The picture's transparent parts were filled with grey.")
    if profile and picture.mode in ("RGB", "CMYK"):
        picture = _in_srgb(picture, profile, notes)
    return np.array(picture.convert("RGB"), dtype=np.uint8), tuple(notes)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits or floating point, scaled to 8 bits rather than clipped."""
    values = np.asarray(picture).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if picture.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _flattened(rgba: Image.Image) -> tuple[Image.Image, bool]:
    """RGB on mid grey, and whether the picture was opaque all along."""
    opaque = rgba.getchannel("A").getextrema()[0] == 255
    ground = Image.new("RGBA", rgba.size, (GREY, GREY, GREY, 255))
    ground.alpha_composite(rgba)
    return ground.convert("RGB"), bool(opaque)


def _in_srgb(picture: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Colours of another profile turned into sRGB; left as they are, and said so, where that fails."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, *_BROKEN):
        # ImportError: a Pillow built without LittleCMS says so at the first call.
        notes.append("The picture's colour profile could not be used; colours may differ a little.")
        return picture
    return converted or picture
