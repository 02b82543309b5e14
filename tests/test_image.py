"""Portraits: every kind of picture file, and every kind of trouble with one."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from sonic_ext.errors import BadPortrait
from sonic_ext.media.colour import CodePoints, Colours, stated
from sonic_ext.media.image import GREY, MAX_PIXELS, from_array, pixel_digest, read_portrait

Image.init()
MEDIA = Path(__file__).parent / "data/media"


def gradient(width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 [height, width, 3] with smooth, distinct channels and four distinct corners."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.rint(np.stack([x, y, 1 - (x + y) / 2], axis=-1) * 255).astype(np.uint8)


def saved(folder: Path, picture: Image.Image, name: str, **options: object) -> Path:
    path = folder / name
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def png_of(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def cv2_png(values: np.ndarray) -> bytes:
    """A PNG of the array's own depth; colours in the order blue, green, red."""
    ok, data = cv2.imencode(".png", values)
    assert ok
    return bytes(data.tobytes())


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def with_profile(png: bytes, profile: bytes) -> bytes:
    return with_chunk(png, b"iCCP", b"own\0\0" + zlib.compress(profile))


def linear_profile(space: bytes, name: str = "Linear sRGB", points: bytes = b"") -> bytes:
    """An ICC profile with sRGB's primaries whose curve is a power of 2.2 away from what is stored: light to
    the power of one; for `space` b"GRAY" the white and the curve only."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    text = name.encode("ascii") + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)

    def xyz(*values: float) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {b"desc": described, b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7141), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    if points:
        tags[b"cicp"] = b"cicp" + bytes(4) + points
    table, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4s4s4s4s4s", start + len(body), b"    ", b"\2\x40\0\0", b"mntr", space, b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + table + body


def as_hdr(rgb: np.ndarray, curve: str, strength: float = 1.0) -> np.ndarray:
    """uint16 in BT.2020's primaries: sRGB at `strength` times 203 cd/m², by the formulas of BT.2100."""
    stored = rgb / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4) * strength
    wide = light @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    if curve == "PQ":
        root = (wide * 203 / 10000) ** 0.1593017578125
        out = ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375
    else:
        nits = wide * 203 / 1000
        luminance = np.maximum(nits @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)
        scene = nits * luminance[..., None] ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        out = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.rint(np.clip(out, 0, 1) * 65535).astype(np.uint16)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp"])
def test_lossless_formats_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    rgb = gradient()
    options = {"lossless": True} if name.endswith("webp") else {}
    portrait = read_portrait(saved(tmp_path, Image.fromarray(rgb), name, **options))
    assert np.array_equal(portrait.rgb, rgb)
    assert portrait.pixel_sha256 == pixel_digest(rgb)
    assert portrait.warnings == ()
    assert (portrait.width, portrait.height) == (96, 64)


def test_what_a_portrait_knows_of_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(gradient()), "a.jpg", quality=95)
    portrait = read_portrait(str(path))
    assert portrait.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert portrait.data == path.read_bytes()
    assert portrait.media_type == "image/jpeg"
    assert portrait.path == path
    assert np.abs(portrait.rgb.astype(int) - gradient()).mean() < 3
    with pytest.raises(ValueError, match="read-only"):
        portrait.rgb[0, 0] = 0


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="this Pillow has no AVIF")
def test_avif(tmp_path: Path) -> None:
    portrait = read_portrait(saved(tmp_path, Image.fromarray(gradient()), "a.avif", quality=95))
    assert np.abs(portrait.rgb.astype(int) - gradient()).mean() < 5


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    portrait = read_portrait(saved(tmp_path, Image.fromarray(ramp), "a.png"))
    assert np.abs(portrait.rgb[..., 0].astype(float) - ramp / 257).max() <= 0.5
    assert np.ptp(portrait.rgb[..., 1]) == 255


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    dark = np.full((64, 64), 2570, np.uint16)
    portrait = read_portrait(saved(tmp_path, Image.fromarray(dark), "a.png"))
    assert (portrait.rgb == 10).all()


def test_floating_point(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    portrait = read_portrait(saved(tmp_path, Image.fromarray(ramp), "a.tif"))
    assert np.abs(portrait.rgb[..., 2].astype(float) - ramp * 255).max() <= 0.51


def test_transparency_is_laid_on_grey(tmp_path: Path) -> None:
    rgba = np.dstack([gradient(), np.full((64, 96), 255, np.uint8)])
    rgba[:, :48, 3] = 0
    rgba[:, 48:60, 3] = 128
    portrait = read_portrait(saved(tmp_path, Image.fromarray(rgba), "a.png"))
    assert (portrait.rgb[:, :48] == GREY).all()
    half = (rgba[:, 48:60, :3].astype(float) * 128 + GREY * 127) / 255
    assert np.abs(portrait.rgb[:, 48:60] - half).max() <= 1
    assert np.array_equal(portrait.rgb[:, 60:], rgba[:, 60:, :3])
    assert "grey" in " ".join(portrait.warnings)


def test_an_opaque_alpha_channel_says_nothing(tmp_path: Path) -> None:
    rgba = np.dstack([gradient(), np.full((64, 96), 255, np.uint8)])
    portrait = read_portrait(saved(tmp_path, Image.fromarray(rgba), "a.png"))
    assert portrait.warnings == ()
    assert np.array_equal(portrait.rgb, gradient())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA"])
def test_modes(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(gradient()).convert("L").convert("RGB")
    name = "a.tif" if mode == "PA" else "a.png"
    if mode == "PA":
        path = saved(tmp_path, picture.convert("P"), "a.png", transparency=0)
    else:
        path = saved(tmp_path, picture.convert(mode), name)
    portrait = read_portrait(path)
    assert portrait.rgb.shape == (64, 96, 3)
    assert portrait.rgb.dtype == np.uint8
    assert portrait.rgb.std() > 20


def test_a_palette_keeps_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(gradient()).quantize(16)
    portrait = read_portrait(saved(tmp_path, picture, "a.png"))
    assert np.array_equal(portrait.rgb, np.array(picture.convert("RGB")))


def test_cmyk_comes_out_the_right_way_round(tmp_path: Path) -> None:
    colours = [(255, 255, 255), (200, 40, 40), (40, 60, 200), (20, 20, 20)]
    rgb = np.repeat(np.repeat(np.array(colours, np.uint8).reshape(2, 2, 3), 40, 0), 40, 1)
    picture = Image.fromarray(rgb).convert("CMYK")
    portrait = read_portrait(saved(tmp_path, picture, "a.jpg", quality=95))
    for row, column in ((20, 20), (20, 60), (60, 20), (60, 60)):
        difference = portrait.rgb[row, column].astype(int) - rgb[row, column]
        assert np.abs(difference).max() < 12


def test_a_profile_called_srgb_may_be_linear(tmp_path: Path) -> None:
    light = np.rint(255 * (gradient() / 255) ** 2.2).astype(np.uint8)
    for name in ("a.png", "a.jpg"):
        tagged = saved(
            tmp_path, Image.fromarray(light), name, icc_profile=linear_profile(b"RGB "), quality=98
        )
        shown = read_portrait(tagged)
        assert shown.warnings == ()
        assert np.abs(shown.rgb.astype(int) - gradient())[10:-10, 10:-10].mean() < 4


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_on_grey(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    light = np.rint(255 * (ramp / 255) ** 2.2).astype(np.uint8)
    picture = Image.fromarray(light).convert(mode)
    shown = read_portrait(saved(tmp_path, picture, "a.png", icc_profile=linear_profile(b"GRAY")))
    assert shown.warnings == ()
    assert np.abs(shown.rgb.astype(int) - ramp[..., None])[:, 16:].max() <= 6
    coloured = read_portrait(saved(tmp_path, picture, "b.png", icc_profile=linear_profile(b"RGB ")))
    assert np.abs(coloured.rgb.astype(int) - ramp[..., None])[:, 16:].max() <= 6


def test_a_profile_on_grey_of_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0.02, 1, 512), (64, 1))
    light = np.rint(65535 * ramp**2.2).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(with_profile(cv2_png(light), linear_profile(b"GRAY")))
    shown = read_portrait(tmp_path / "a.png").rgb[0, :, 0].astype(int)
    assert np.abs(shown - ramp[0] * 255).max() <= 9
    assert len(np.unique(shown)) > 200  # eight bits of light would leave bands in the shadows


def test_a_profile_on_a_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((64, 64, 3), (200, 60, 90), np.uint8)).quantize(4)
    path = saved(tmp_path, picture, "a.png", icc_profile=swapped_profile())
    assert np.abs(read_portrait(path).rgb.astype(int) - (60, 200, 90)).max() <= 2


def test_a_transparent_picture_with_a_profile_stands_on_mid_grey(tmp_path: Path) -> None:
    rgba = np.full((64, 64, 4), (200, 60, 90, 255), np.uint8)
    rgba[:32, :, 3] = 0
    shown = read_portrait(saved(tmp_path, Image.fromarray(rgba), "a.png", icc_profile=swapped_profile())).rgb
    assert (shown[:32] == GREY).all()
    assert np.abs(shown[32:].astype(int) - (60, 200, 90)).max() <= 2


@pytest.mark.parametrize(("transfer", "curve"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("how", ["chunk", "tag", "name"])
def test_high_dynamic_range_is_shown_with_its_white(
    tmp_path: Path, transfer: int, curve: str, how: str
) -> None:
    """A picture in sRGB, diffuse white at 203 cd/m², written as PQ and as HLG in BT.2020's primaries."""
    rgb = (gradient() * 0.85).astype(np.uint8)
    stored = as_hdr(rgb, curve)
    data = cv2_png(stored[..., ::-1])
    if how == "chunk":
        data = with_chunk(data, b"cICP", bytes((9, transfer, 0, 1)))
    else:
        points = bytes((9, transfer, 0, 1)) if how == "tag" else b""
        data = with_profile(data, linear_profile(b"RGB ", f"Rec2100{curve}", points))
    (tmp_path / "a.png").write_bytes(data)
    shown = read_portrait(tmp_path / "a.png")
    assert shown.warnings == ()
    difference = np.abs(shown.rgb.astype(int) - rgb)
    assert difference.mean() < 3
    assert np.percentile(difference, 95) < 12


def test_what_is_brighter_than_white_keeps_its_hue(tmp_path: Path) -> None:
    rgb = np.full((64, 64, 3), (255, 200, 160), np.uint8)
    data = with_chunk(cv2_png(as_hdr(rgb, "PQ", 3.0)[..., ::-1]), b"cICP", bytes((9, 16, 0, 1)))
    (tmp_path / "a.png").write_bytes(data)
    red, green, blue = read_portrait(tmp_path / "a.png").rgb[0, 0].astype(int)
    assert 240 < red <= 255
    assert red - 5 > green > blue + 5


def test_code_points_of_an_avif_are_read(tmp_path: Path) -> None:
    box = b"colrnclx" + struct.pack(">HHHB", 9, 16, 9, 128)
    header = b"\0\0\0\x18ftypavif" + bytes(40) + box
    picture = Image.new("RGB", (64, 64))
    picture.format = "AVIF"
    assert stated(picture, header) == Colours(CodePoints(9, 16))


def test_a_gamma_without_a_profile(tmp_path: Path) -> None:
    light = np.rint(255 * (gradient() / 255) ** 2.2).astype(np.uint8)
    data = with_chunk(png_of(light), b"gAMA", struct.pack(">I", 100000))
    (tmp_path / "a.png").write_bytes(data)
    assert np.abs(read_portrait(tmp_path / "a.png").rgb.astype(int) - gradient()).mean() < 4
    (tmp_path / "b.png").write_bytes(with_chunk(png_of(gradient()), b"gAMA", struct.pack(">I", 45455)))
    assert np.array_equal(read_portrait(tmp_path / "b.png").rgb, gradient())


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_fewer_bits_in_sixteen(tmp_path: Path, name: str, bits: int, colour: bool) -> None:
    rgb = gradient() if colour else gradient()[..., 0]
    values = np.rint(rgb.astype(float) * (2**bits - 1) / 255).astype(np.uint16)
    ok, data = cv2.imencode(Path(name).suffix, values[..., ::-1] if colour else values)
    assert ok
    (tmp_path / name).write_bytes(data.tobytes())
    portrait = read_portrait(tmp_path / name)
    assert np.abs(portrait.rgb.astype(int) - (rgb if colour else rgb[..., None])).max() <= 1
    assert f"{bits} of its bits" in portrait.warnings[0]


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("colour", [False, True])
def test_floating_point_has_a_white_of_its_own(tmp_path: Path, white: float, colour: bool) -> None:
    rgb = gradient() if colour else gradient()[..., 0]
    values = rgb.astype(np.float32) / 255 * white * 0.9
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    ok, data = cv2.imencode(".tif", values[..., ::-1] if colour else values, plain)
    assert ok
    (tmp_path / "a.tif").write_bytes(data.tobytes())
    portrait = read_portrait(tmp_path / "a.tif")
    assert np.abs(portrait.rgb - 0.9 * (rgb if colour else rgb[..., None])).max() <= 1
    assert portrait.warnings == ()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_is_told_or_refused(tmp_path: Path, odd: float) -> None:
    rgb, path = gradient(), tmp_path / "a.tif"
    values, plain = rgb.astype(np.float32) / 255, [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    values[10:20, 30:40] = odd
    path.write_bytes(cv2.imencode(".tif", values[..., ::-1], plain)[1].tobytes())
    portrait = read_portrait(path)
    assert ["not numbers" in told for told in portrait.warnings] == [True]
    assert not portrait.rgb[10:20, 30:40].any()
    assert np.abs(portrait.rgb[:, :30].astype(int) - rgb[:, :30]).max() <= 1
    values[:] = odd
    path.write_bytes(cv2.imencode(".tif", values, plain)[1].tobytes())
    with pytest.raises(BadPortrait, match="holds no numbers"):
        read_portrait(path)


def test_luma_and_chroma_in_a_tiff(tmp_path: Path) -> None:
    width, height = 96, 64
    pixels = np.asarray(Image.fromarray(gradient()).convert("YCbCr")).tobytes()
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + 2 + 12 * 10 + 4), (259, 3, 1, 1)),
        *((262, 3, 1, 6), (273, 4, 1, 200), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(pixels))),
        (530, 3, 2, 1 | 1 << 16),  # chroma as fine as luma
    ]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    header = b"II*\0" + struct.pack("<I", 8) + body + bytes(4) + struct.pack("<HHH", 8, 8, 8)
    (tmp_path / "a.tif").write_bytes(header.ljust(200, b"\0") + pixels)
    shown = read_portrait(tmp_path / "a.tif").rgb
    assert np.abs(shown.astype(int) - gradient()).max() <= 4


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and green exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table_end = 132 + 12 * struct.unpack(">I", profile[128:132])[0]
    table = profile[:table_end].replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return table + profile[table_end:].replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_another_colour_profile_is_converted(tmp_path: Path) -> None:
    rgb = np.full((64, 64, 3), (200, 60, 90), np.uint8)
    tagged = read_portrait(saved(tmp_path, Image.fromarray(rgb), "b.png", icc_profile=swapped_profile()))
    assert tagged.warnings == ()
    assert np.abs(tagged.rgb.astype(int) - (60, 200, 90)).max() <= 2


def test_a_broken_profile_is_said_and_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(gradient()), "a.png", icc_profile=b"not a profile" * 20)
    portrait = read_portrait(path)
    assert np.array_equal(portrait.rgb, gradient())
    assert "profile" in portrait.warnings[0]


def test_srgb_profiles_leave_pixels_alone(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path, Image.fromarray(gradient()), "a.png", icc_profile=profile)
    assert np.array_equal(read_portrait(path).rgb, gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    upright = gradient()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    portrait = read_portrait(saved(tmp_path, picture, "a.png", exif=exif))
    assert np.array_equal(portrait.rgb, upright)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((64, 64, 3), value, np.uint8)) for value in (200, 20, 90)]
    path = saved(tmp_path, frames[0], "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    portrait = read_portrait(path)
    assert (portrait.rgb == 200).all()
    assert "first frame" in portrait.warnings[0]


def test_the_same_pixels_are_known_again_from_any_file(tmp_path: Path) -> None:
    rgb = gradient()
    one = read_portrait(saved(tmp_path, Image.fromarray(rgb), "a.png"))
    other = read_portrait(saved(tmp_path, Image.fromarray(rgb), "a.bmp"))
    assert one.pixel_sha256 == other.pixel_sha256 == from_array(rgb).pixel_sha256
    assert one.sha256 != other.sha256
    assert pixel_digest(rgb.reshape(96, 64, 3)) != one.pixel_sha256


def test_from_array_copies_and_encodes() -> None:
    rgb = gradient()
    portrait = from_array(rgb, "made here.png")
    rgb[:] = 0
    assert np.array_equal(portrait.rgb, gradient())
    assert np.array_equal(np.array(Image.open(io.BytesIO(portrait.data))), gradient())
    assert portrait.sha256 == hashlib.sha256(portrait.data).hexdigest()
    assert (portrait.path, portrait.media_type) == (Path("made here.png"), "image/png")


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3), np.float32)],
)
def test_from_array_takes_only_rgb(wrong: np.ndarray) -> None:
    with pytest.raises(BadPortrait, match="uint8"):
        from_array(wrong)


@pytest.mark.skipif("HEIF" in Image.SAVE, reason="pillow-heif has been registered")
def test_heic_without_pillow_heif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(200))
    with pytest.raises(BadPortrait, match=r"phone\.heic is HEIC.*pillow-heif is installed") as caught:
        read_portrait(tmp_path / "phone.heic")
    assert "pip install pillow-heif" in caught.value.hint


def test_heic_with_pillow_heif(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    written = io.BytesIO()
    heif.from_pillow(Image.fromarray(gradient())).save(written, quality=95)
    (tmp_path / "a.heic").write_bytes(written.getvalue())
    portrait = read_portrait(tmp_path / "a.heic")
    assert np.abs(portrait.rgb.astype(int) - gradient()).mean() < 5
    assert portrait.media_type in ("image/heic", "image/heif")
    (tmp_path / "cut.heic").write_bytes(written.getvalue()[:-300])
    with pytest.raises(BadPortrait, match="damaged or cut short"):
        read_portrait(tmp_path / "cut.heic")


def test_a_file_of_too_many_bytes_is_named_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonic_ext.media.image.MAX_BYTES", 2 << 20)
    (tmp_path / "scan.tif").write_bytes(bytes(3 << 20))
    with pytest.raises(BadPortrait, match=r"scan\.tif is 3 MB large; the limit is 2 MB"):
        read_portrait(tmp_path / "scan.tif")


@pytest.mark.parametrize("name", ["with space.png", 'it\'s "quoted".png', "肖像 é.png", "-dash.png"])
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if sys.platform == "win32" and '"' in name:
        pytest.skip("Windows has no such names")
    saved(tmp_path, Image.fromarray(gradient()), name)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read_portrait(name).rgb, gradient())


def bad_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    jpeg = (MEDIA / "portrait_01.jpg").read_bytes()
    return {
        "text.jpg": (b"Dear reader, this is no picture.\n" * 20, "not a picture"),
        "short.jpg": (jpeg[: len(jpeg) // 2], "cut short"),
        "short.png": (png_header(100, 100), "cut short"),
        "stub.jpg": (jpeg[:20], "not a picture|cut short"),
        "empty.png": (b"", "empty"),
        "huge.png": (png_header(30000, 30000), "huge.png has 900 megapixels; the limit is 64 megapixels"),
        "large.png": (png_header(10000, 9000), "10000 × 9000.*limit"),
        "tiny.png": (png_header(20, 900), "only 20 × 900"),
        "sound.png": ((MEDIA / "speech_zh_espeak.m4a").read_bytes()[:4000], "sound or video"),
        "wave.png": ((MEDIA / "speech_en_espeak.wav").read_bytes()[:4000], "sound or video"),
        "vector.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "not a picture"),
    }


@pytest.mark.parametrize("name", list(bad_files(Path())))
def test_bad_files_are_told_apart(tmp_path: Path, name: str) -> None:
    data, said = bad_files(tmp_path)[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadPortrait, match=said) as caught:
        read_portrait(tmp_path / name)
    assert caught.value.hint


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadPortrait, match="no picture at"):
        read_portrait(tmp_path / "none.png")
    with pytest.raises(BadPortrait, match="is a folder"):
        read_portrait(tmp_path)
    with pytest.raises(BadPortrait, match="cannot be read"):
        read_portrait("nul\0byte.png")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_no_permission(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(gradient()), "a.png")
    path.chmod(0)
    with pytest.raises(BadPortrait, match="may not be read"):
        read_portrait(path)


def test_a_huge_picture_costs_no_memory(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    (tmp_path / "huge.png").write_bytes(png_header(8000, MAX_PIXELS // 8000 + 1))
    tracemalloc.start()
    try:
        with pytest.raises(BadPortrait):
            read_portrait(tmp_path / "huge.png")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
