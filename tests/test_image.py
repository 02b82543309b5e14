"""Portraits: every kind of picture file, and every kind of trouble with one."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from sonic_ext.errors import BadPortrait
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
        "huge.png": (png_header(30000, 30000), "limit is 64 megapixels"),
        "large.png": (png_header(10000, 9000), "10000 × 9000.*limit"),
        "tiny.png": (png_header(20, 900), "only 20 × 900"),
        "sound.png": ((MEDIA / "speech_zh_espeak.m4a").read_bytes()[:4000], "sound or video"),
        "wave.png": ((MEDIA / "speech_en_espeak.wav").read_bytes()[:4000], "sound or video"),
        "phone.heic": (b"\x00\x00\x00\x18ftypheic" + bytes(200), "HEIC"),
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
