"""Colours of picture files as a viewer with colour management shows them on an sRGB screen.

What a file says of its colours is, in this order: coding-independent code points (ITU-T H.273: a PNG's
cICP chunk, the nclx of AVIF and HEIC, the tag "cicp" of an ICC profile), an ICC profile, a PNG's gAMA.
PQ and HLG (ITU-R BT.2100) are shown with diffuse white at 203 cd/m² (ITU-R BT.2408); what is brighter
is rolled off below white.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_XY = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""H.273's primaries → x, y of red, green and blue (BT.709, BT.2020, P3), white being D65."""
_D65 = (0.3127, 0.3290)
SRGB, LINEAR, PQ, HLG = 13, 8, 16, 18
"""H.273's transfer characteristics that matter here; those of video are shown as sRGB's."""
GAMMAS = {4: 2.2, 5: 2.8}
WHITE, HLG_PEAK, PQ_PEAK = 203.0, 1000.0, 10000.0
"""cd/m²: diffuse white, and the brightest that HLG and PQ can say."""
SHOULDER = 0.8
"""Light, in parts of diffuse white, from which that of PQ and HLG is rolled off."""
PNG_GAMMA = 0.45455
"""What a PNG in sRGB's curve says."""
SAME = 2
"""Levels of 255 by which colours may differ and still count as sRGB."""
ROWS = 256
"""Rows that are computed at a time, in floating point."""
UNUSABLE = "The picture's colour profile could not be used; colours may differ a little."

_EXACT = 0x0100
"""LittleCMS's flag against its own tables, which are too coarse for the shadows of linear grey."""
_CMS_ERRORS = (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What a damaged profile raises; ImportError from a Pillow without LittleCMS, at the first call."""


@dataclass(frozen=True)
class CodePoints:
    """H.273's numbers for a picture in RGB."""

    primaries: int
    transfer: int


@dataclass(frozen=True)
class Colours:
    """What a file says of its colours."""

    points: CodePoints | None = None
    profile: bytes | None = None
    """An ICC profile."""
    gamma: float | None = None
    """Of a PNG: light to this power is what is stored."""


def stated(picture: Image.Image, data: bytes) -> Colours:
    """What a picture file, opened and as bytes, says of its colours."""
    profile = picture.info.get("icc_profile") or None
    if picture.format == "PNG":
        chunks = dict(_png_chunks(data))
        if len(said := chunks.get(b"cICP", b"")) == 4:
            return Colours(CodePoints(said[0], said[1]), profile)
        gamma = picture.info.get("gamma") if profile is None and b"sRGB" not in chunks else None
        return Colours(_profile_points(profile), profile, gamma)
    points = _profile_points(profile)
    if points is None and profile is None and data[4:8] == b"ftyp":
        points = _nclx_points(data)
    return Colours(points, profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Types and contents of the chunks before the pixels."""
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            return
        yield kind, data[place + 8 : place + 8 + length]
        place += length + 12


def _nclx_points(data: bytes) -> CodePoints | None:
    """Of an AVIF or HEIC: the first colour box of its header."""
    place = data.find(b"colrnclx", 0, 1 << 16)
    if place < 0 or place + 12 > len(data):
        return None
    return CodePoints(*struct.unpack(">HH", data[place + 8 : place + 12]))


def _profile_points(profile: bytes | None) -> CodePoints | None:
    """Of a profile for PQ or HLG, whose curve would make diffuse white dark grey.

    Such profiles have the tag "cicp" (ICC.1:2022); older ones say so in their name only.
    """
    if profile is None or profile[16:20] != b"RGB " or len(profile) < 132:
        return None
    for number in range(min(100, struct.unpack(">I", profile[128:132])[0])):
        entry = profile[132 + 12 * number : 144 + 12 * number]
        if len(entry) == 12 and entry[:4] == b"cicp":
            place = struct.unpack(">I", entry[4:8])[0]
            primaries, transfer = (*profile[place + 8 : place + 10], 0, 0)[:2]
            return CodePoints(primaries, transfer) if transfer in (PQ, HLG) else None
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except _CMS_ERRORS:
        return None
    said = re.search(r"(?<![A-Za-z])(PQ|HLG)(?![A-Za-z])", name)
    if said is None:
        return None
    return CodePoints(12 if "P3" in name else 9, PQ if said[1] == "PQ" else HLG)


def in_srgb(picture: Image.Image, colours: Colours) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture as sRGB, and sentences for the user.

    Args:
        picture: of mode L, RGB, CMYK or LAB.
        colours: what its file says of them.

    Returns:
        A picture of mode RGB, or the one of mode L where grey stays as it is.
    """
    if picture.mode == "LAB":
        return _by_profile(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if colours.points is not None and picture.mode != "CMYK":
        return _by_light(picture, *_from_points(colours.points)), ()
    if colours.profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(colours.profile))
        except _CMS_ERRORS:
            return picture, (UNUSABLE,)
        return _by_profile(picture, source)
    gamma = colours.gamma
    if gamma is not None and picture.mode != "CMYK" and 0.05 < gamma < 5 and abs(gamma - PNG_GAMMA) > 0.02:
        return _by_light(picture, lambda stored: stored ** (1 / gamma), None, shoulder=False), ()
    return picture, ()


def grey_table(colours: Colours) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """What 65536 levels of grey become in sRGB, uint8 [65536, 3], and sentences for the user.

    LittleCMS is asked through Pillow for 256 of them; in light the curves between are nearly straight.
    """
    levels = np.arange(256, dtype=np.uint8)
    picture, notes = in_srgb(Image.fromarray(levels[None]), colours)
    ramp = np.asarray(picture.convert("RGB"))[0]
    fine = np.linspace(0, 255, 65536)
    if (ramp == levels[:, None]).all():
        return np.repeat(np.rint(fine).astype(np.uint8)[:, None], 3, axis=1), notes
    light = _srgb_light(ramp.astype(np.float32) / 255)
    between = np.stack([np.interp(fine, levels, light[:, channel]) for channel in range(3)], axis=-1)
    return np.rint(_srgb_stored(between.astype(np.float32)) * 255).astype(np.uint8), notes


def _by_profile(
    picture: Image.Image, source: ImageCms.ImageCmsProfile
) -> tuple[Image.Image, tuple[str, ...]]:
    """Colours of another profile turned into sRGB; left as they are, and said so, where that fails."""
    try:
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and picture.mode == "L":
            picture = picture.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        exact: Any = _EXACT if picture.mode == "L" else 0  # its class depends on the Pillow
        transform = ImageCms.buildTransform(source, target, picture.mode, "RGB", flags=exact)
        if picture.mode in ("RGB", "L") and _changes_nothing(transform, picture.mode):
            return picture, ()
        return ImageCms.applyTransform(picture, transform) or picture, ()
    except _CMS_ERRORS:
        return picture, (UNUSABLE,)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform shows sRGB as it is; that a profile is called so says little."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
    else:
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    shown = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform), np.int16)
    return bool(np.abs(shown - (probe[..., None] if mode == "L" else probe)).max() <= SAME)


Light = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What is stored, 0 to 1, → light in parts of diffuse white, same shape."""


def _from_points(points: CodePoints) -> tuple[Light | None, NDArray[np.float32] | None, bool]:
    """The curve (None: sRGB's), the matrix to sRGB's primaries (None: they are these), and whether light
    goes beyond white."""
    primaries, transfer = points.primaries, points.transfer
    xy = _XY.get(primaries)
    matrix = None if xy is None or primaries == 1 else (np.linalg.inv(_to_xyz(_XY[1])) @ _to_xyz(xy))
    to_srgb = None if matrix is None else matrix.astype(np.float32)
    if transfer == PQ:
        return pq_light, to_srgb, True
    if transfer == HLG:
        return hlg_light, to_srgb, True
    if transfer == LINEAR:
        return lambda stored: stored, to_srgb, False
    if transfer in GAMMAS:
        return lambda stored: stored ** np.float32(GAMMAS[transfer]), to_srgb, False
    return None, to_srgb, False


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """[3, 3]: RGB of these primaries, with D65 as white, to CIE XYZ."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in (*primaries, _D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def pq_light(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light of PQ (SMPTE ST 2084) in parts of diffuse white."""
    root = stored ** np.float32(32 / 2523)
    base = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
    return np.asarray(base ** np.float32(16384 / 2610) * (PQ_PEAK / WHITE), np.float32)


def hlg_light(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light of HLG (ITU-R BT.2100) [..., 3] in parts of diffuse white, on a screen of 1000 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(stored <= 0.5, stored**2 / 3, (np.exp((stored - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(scene * np.maximum(luminance, 1e-9)[..., None] ** 0.2 * (HLG_PEAK / WHITE), np.float32)


def _by_light(
    picture: Image.Image, light: Light | None, matrix: NDArray[np.float32] | None, shoulder: bool
) -> Image.Image:
    """Through linear light, some rows at a time."""
    if light is None and matrix is None:
        return picture
    stored = np.asarray(picture.convert("RGB"))
    shown = np.empty_like(stored)
    for top in range(0, len(stored), ROWS):
        rows = (stored[top : top + ROWS] / 255).astype(np.float32)
        rows = _srgb_light(rows) if light is None else light(rows)
        if matrix is not None:
            rows = rows @ matrix.T
        rows = np.maximum(rows, 0)
        if shoulder:
            brightest = rows.max(axis=-1, keepdims=True)
            over = np.maximum(brightest - SHOULDER, 0) / (1 - SHOULDER)
            rolled = SHOULDER + (1 - SHOULDER) * (1 - np.exp(-over))
            rows *= np.where(over > 0, rolled / np.maximum(brightest, SHOULDER), 1).astype(np.float32)
        shown[top : top + ROWS] = np.rint(_srgb_stored(np.minimum(rows, 1)) * 255)
    return Image.fromarray(shown)


def _srgb_light(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    bent = ((stored + 0.055) / 1.055) ** np.float32(2.4)
    return np.where(stored <= 0.04045, stored / 12.92, bent).astype(np.float32)


def _srgb_stored(light: NDArray[np.float32]) -> NDArray[np.float32]:
    bent = 1.055 * light ** np.float32(1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, bent).astype(np.float32)
