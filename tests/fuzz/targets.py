"""A target for each parser of foreign bytes: good files to start from, a call that raises `SonicError` alone.

It also checks what must hold of a result: that it can be written as UTF-8, that what is shown of it is
one line each and hides nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import pickle
import re
import shutil
import sqlite3
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True)
class Target:
    """A parser."""

    name: str
    seeds: Callable[[Path], list[bytes]]
    """Good files, made in a folder."""
    call: Callable[[bytes, Path], object]
    """Parse the bytes; the folder is the target's own and lasts."""
    share: float
    """Of all cases."""
    words: tuple[bytes, ...] = ()
    """What the format is made of."""
    seconds: float = 2.0
    """Processor time that one case may take."""
    memory: int = 400 << 20
    """Bytes that all cases together may add to the process."""
    longest: int = 1 << 18
    """Bytes of a case."""


def kept(folder: Path, data: bytes, name: str = "case.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def texts(values: Any) -> Iterator[str]:
    """Every text in a result."""
    if isinstance(values, str):
        yield values
    elif dataclasses.is_dataclass(values) and not isinstance(values, type):
        yield from texts([getattr(values, field.name) for field in dataclasses.fields(values)])
    elif isinstance(values, dict):
        yield from texts([*values, *values.values()])
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from texts(value)


def check_whole(values: Any) -> None:
    """Every text can be written."""
    for text in texts(values):
        text.encode("utf-8")


def check_shown(lines: Iterable[str]) -> None:
    """Each is one line in which nothing hides."""
    for line in lines:
        hidden = {unicodedata.category(letter) for letter in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert not hidden, f"{hidden} in {line!r}"


def as_text(data: bytes) -> str:
    """Also with the halves of characters that JSON and file names can bring."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


# The container


def box(kind: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _box_seeds(folder: Path) -> list[bytes]:
    hdlr = box(b"hdlr", bytes(25))
    track = box(
        b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"minf", box(b"stbl", box(b"stts", bytes(8)))))
    )
    udta = box(b"udta", box(b"meta", bytes(4), hdlr, box(b"ilst", box(b"data", b"text"))))
    plain = box(b"ftyp", b"isommp42") + box(b"moov", box(b"mvhd", bytes(100)), track, track, udta)
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 64) + bytes(64)
    parts = box(b"moof", box(b"traf", box(b"tfhd", bytes(8)))) + box(b"mdat", bytes(32))
    return [plain + long, plain + parts * 20, plain + struct.pack(">I4s", 0, b"mdat") + bytes(50)]


def _boxes(data: bytes, folder: Path) -> object:
    from sonic_ext.media.boxes import check_bounds, top_boxes

    found = list(top_boxes(io.BytesIO(data)))
    assert all(0 <= start <= end <= len(data) for _, start, end in found)
    check_bounds(kept(folder, data))
    return found


def _xmp_seeds(folder: Path) -> list[bytes]:
    from sonic_ext.media.container import XMP_UUID
    from sonic_ext.provenance.metadata import _XMP, TRAINED

    packet = _XMP.format(tool="sonic_ext", source=TRAINED).encode()
    attribute = b'<rdf:Description Iptc4xmpExt:DigitalSourceType = "http://example.org/x"/>'
    boxes = [box(b"uuid", XMP_UUID.bytes, text) for text in (packet, attribute)]
    return [box(b"ftyp", b"isom") + box(b"mdat", bytes(9)) + found for found in boxes]


def _xmp(data: bytes, folder: Path) -> object:
    from sonic_ext.provenance.metadata import read_source_type

    found = read_source_type(kept(folder, data))
    check_whole(found)
    assert len(found) < 1000
    return found


def _aigc_seeds(folder: Path) -> list[bytes]:
    from sonic_ext.provenance.metadata import aigc_label

    return [aigc_label("0123456789abcdef").encode(), b'{"Label":1,"x":{"y":[1,2.5,null,true,"\\u00e9"]}}']


def _aigc(data: bytes, folder: Path) -> object:
    from sonic_ext.provenance.metadata import read_aigc

    found = read_aigc(as_text(data))
    check_whole(found)
    assert re.fullmatch("([0-9a-f]{16})?", found.take)
    return found


def _comment_seeds(folder: Path) -> list[bytes]:
    return [b"Sonic engine: preview, Sonic seed: 7, Sonic version: 0.1.0", b"A comment\nSignature: valid"]


def _comment(data: bytes, folder: Path) -> object:
    """What any tag says, shown in every way."""
    from sonic_ext.provenance.c2pa import Signature
    from sonic_ext.provenance.metadata import AigcLabel, read_comment
    from sonic_ext.provenance.verify import Labels, Mark, Verification

    said = as_text(data)
    text = read_comment(said)
    check_whole(text)
    label = AigcLabel({said: said}, (said,))
    signature = Signature("valid", "unknown", said, problems=(said,), source_type=said)
    shown = Verification(folder / said[:20], said, signature, Mark(note=said), Labels(label, said, text))
    check_shown(shown.lines())
    assert len(shown.lines()) == 1 + len(shown.rows) == len(shown.text().split("\n"))
    json.dumps(shown.to_dict())
    return shown


# The private home


@cache
def _home(folder: Path) -> Path:
    """A private home with a take and a ledger of three rows."""
    from made_takes import adopt_clip

    from sonic_ext.provenance.consent import Consent
    from sonic_ext.provenance.ledger import Ledger
    from sonic_ext.provenance.store import Store

    clip = folder / "clip"
    clip.mkdir(parents=True)
    (clip / "master.mp4").write_bytes(b"master")
    (clip / "preview.mp4").write_bytes(b"preview")
    home = folder / "home"
    take = adopt_clip(Store(home), clip)
    ledger = Ledger(home)
    record = ledger.record(Consent(face="self", voice="self", subject="Ada", expires="2099-01-01"), take)
    with ledger.exporting(record, "ab" * 32, "out.mp4"):
        pass
    ledger.revoke("cd" * 32, "a test")
    return home


def _take_seeds(folder: Path) -> list[bytes]:
    from made_takes import TAKE_ID

    sealed = (_home(folder) / "takes" / TAKE_ID / "take.json").read_bytes()
    return [sealed, json.dumps(json.loads(sealed)["take"]).encode()]


def _take(data: bytes, folder: Path) -> object:
    """The file as it is, or, where it holds values alone, sealed: a parser must hold behind the seal too."""
    from made_takes import TAKE_ID

    from sonic_ext.provenance.store import FORMAT, Store

    store = Store(_home(folder))
    try:
        values = json.loads(data)
        if isinstance(values, dict) and "mac" not in values:
            data = json.dumps({"format": FORMAT, "mac": store._mac(values), "take": values}).encode()
    except (ValueError, RecursionError):
        pass
    kept(store.folder / TAKE_ID, data, "take.json")
    return store.load(TAKE_ID), store.takes()


def _ledger_seeds(folder: Path) -> list[bytes]:
    home = _home(folder)
    with closing(sqlite3.connect(home / "consent" / "ledger.sqlite3")) as db:
        rows = db.execute("SELECT seq, kind, body, prev, hash FROM events").fetchall()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    head = (home / "consent" / "head.json").read_bytes()
    cells = [
        json.dumps([row[0], name, value]).encode()
        for row in rows
        for name, value in zip(_CELLS, row, strict=True)
    ]
    return [b"head" + head, *(b"cell" + cell for cell in cells), *(b"body" + row[2].encode() for row in rows)]


_CELLS = ("seq", "kind", "body", "prev", "hash")


def _ledger(data: bytes, folder: Path) -> object:
    """A cell of a row or the head changed; a body that is sealed again; else the bytes of the database."""
    from sonic_ext.provenance.ledger import Ledger

    source, home = _home(folder), folder / "changed"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(source, home)
    ledger = Ledger(home)
    path = home / "consent" / "ledger.sqlite3"
    kind, rest = data[:4], data[4:]
    if kind == b"head":
        kept(home / "consent", rest, "head.json")
    elif kind == b"cell":
        _change_cell(path, rest)
    elif kind == b"body":
        _append(ledger, as_text(rest))
    else:
        with path.open("r+b") as file:
            file.seek(int.from_bytes(kind, "big") % path.stat().st_size)
            file.write(rest[:64])
    problems = ledger.problems()
    check_whole(problems)
    return problems, [record.to_dict() for record in ledger.records()], ledger.show("0123456789abcdef")


def _change_cell(path: Path, data: bytes) -> None:
    try:
        seq, name, value = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        seq, name, value = 1, "body", data
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER events_no_update")
        try:
            db.execute(
                f"UPDATE events SET {name if name in _CELLS else 'body'} = ? WHERE seq = ?", (value, seq)
            )
            db.commit()
        except (sqlite3.Error, OverflowError, UnicodeError):
            db.execute("UPDATE events SET body = ? WHERE seq = 1", (data,))
            db.commit()


def _append(ledger: Any, text: str) -> None:
    """A row with any values, by whoever has the key."""
    try:
        values = json.loads(text)
        if isinstance(values, dict):
            with ledger._writing() as chain:
                chain.append(
                    "consent" if "nonce" in values else "export" if "record" in values else "revoke", values
                )
    except (ValueError, RecursionError):
        pass


# Settings


def _settings_seeds(folder: Path) -> list[bytes]:
    from sonic_ext.settings import Settings

    values = Settings(face_box=(1, 2, 3, 4), duration=2.5, label_off_reason="a film").to_dict()
    return [
        json.dumps(values).encode(),
        *(json.dumps({name: value}).encode() for name, value in values.items()),
    ]


def _settings(data: bytes, folder: Path) -> object:
    from sonic_ext.settings import Settings

    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        name, _, value = as_text(data).partition(":")
        values = {name.strip(' "{'): value}
    made = Settings.from_mapping(values if isinstance(values, dict) else {"engine": values})
    assert Settings.from_mapping(made.to_dict()) == made
    return made.infotext(), made.warnings()


def _infotext_seeds(folder: Path) -> list[bytes]:
    from sonic_ext.settings import Settings

    made = Settings(min_resolution=768, framing="crop", seed=5, duration=3, label_off_reason="a, b: c")
    return [
        b"a face\nNegative prompt: none\nSteps: 20, Seed: 1, Sonic pictures: all, "
        + made.infotext().encode(),
        b"Sonic pictures: first, Sonic engine: preview, Sonic fps: 50",
    ]


def _infotext(data: bytes, folder: Path) -> object:
    """Parameters as a WebUI takes them from a text, into the accordion's controls."""
    from sonic_ext.app import one_click

    parts = re.findall(r'([\w \-/]{1,99}):\s{0,9}("(?:\\.|[^\\"]){0,9999}"|[^,]{0,9999})', as_text(data))
    parameters: dict[str, Any] = {one_click.PICTURES_KEY: "all"}
    for name, value in parts:
        try:
            parameters[name.strip()] = json.loads(value) if value.startswith('"') else value
        except ValueError:
            parameters[name.strip()] = value
    readers = [one_click._reader(name) for name in one_click.MAIN]
    return (
        one_click._asked(parameters),
        one_click._pictures(parameters),
        [read(parameters) for read in readers],
    )


# Requests


def _request_seeds(folder: Path) -> list[bytes]:
    """Host, Origin and Authorization, one a line."""
    hosts = (b"localhost:7870", b"[::1%25lo]:7870", b"127.0.0.1", b"EXAMPLE.org.:65535", b"")
    basic = b"Basic " + base64.b64encode("é:pass".encode())
    return [b"\n".join((host, b"http://" + host, basic)) for host in hosts]


def _request(data: bytes, folder: Path) -> object:
    from sonic_ext.app.access import Names, stranger
    from sonic_ext.app.credentials import known

    names = (b"host", b"origin", b"authorization", b"host")
    headers = list(zip(names, data.split(b"\n"), strict=False))
    scope = {"type": "http", "scheme": "http", "headers": headers}
    allowed = Names(True, frozenset(("example.org",)))
    return stranger(scope, allowed), known(as_text(headers[-1][1]), {"é": "pass"})


# Model files


def _header(table: dict[str, Any], data: int) -> bytes:
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + bytes(data)


def _safetensors_seeds(folder: Path) -> list[bytes]:
    rows = {
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b.bias": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
        "empty": {"dtype": "F32", "shape": [0], "data_offsets": [32, 32]},
    }
    tensors = _header({"__metadata__": {"format": "pt"}} | rows, 32)
    pickled = b"\x80\x02}."  # leads to PyTorch, which takes seconds to load
    return [tensors, _header({}, 0), pickled]


def _safetensors(data: bytes, folder: Path) -> object:
    from sonic_ext.weights.contents import read_contents
    from sonic_ext.weights.formats import format_of
    from sonic_ext.weights.identify import has_image_decoder, identify, svd_version

    # The mutator would seldom repair a length that no longer fits.
    if len(data) > 8 and data[0] % 2:
        end = data.rfind(b"}") + 1
        data = struct.pack("<Q", max(0, end - 8)) + data[8:]
    path = kept(folder, data, "case.safetensors")
    format_of(path)
    found = read_contents(path)
    svd_version(path, found.metadata)
    return identify(found.entries), has_image_decoder(found.entries)


def _pickle_seeds(folder: Path) -> list[bytes]:
    import torch

    state = {"a.weight": torch.ones(2, 3), "b": {"c": torch.zeros(4, dtype=torch.float16)}, "n": 3}
    made = []
    for zipped in (True, False):
        for held in (state, {"state_dict": state, "epoch": 2}):
            path = folder / "seed.pt"
            torch.save(held, path, _use_new_zipfile_serialization=zipped)
            made.append(path.read_bytes())
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("seed/data.pkl", pickle.dumps({"x": print}))
        archive.writestr("seed/version", "3\n")
    return [*made, evil.getvalue()]


def _pickles(data: bytes, folder: Path) -> object:
    from sonic_ext.weights import pickles
    from sonic_ext.weights.identify import identify

    held = pickles.read_pickle(kept(folder, data, "case.pt"))
    tensors = pickles.MappedTensors(held)
    assert all(tuple(tensors[key].shape) == tensor.shape for key, tensor in held.stored.items())
    return identify(held.entries)


# Media


def _portrait_seeds(folder: Path) -> list[bytes]:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    grain, plain = Image.fromarray(noise), Image.fromarray(noise[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = _profile()
    made = []
    for picture, kind, more in (
        (plain, "JPEG", {"quality": 60, "exif": exif, "icc_profile": profile}),
        (plain.convert("CMYK"), "JPEG", {"progressive": True}),
        (grain, "PNG", {"icc_profile": profile}),
        (plain.convert("P"), "PNG", {"transparency": 3}),
        (Image.fromarray(noise[..., 0].astype(np.uint16) * 256), "PNG", {}),
        (plain.convert("P"), "GIF", {"save_all": True, "append_images": [plain.convert("P")]}),
        (plain, "BMP", {}),
        (grain, "WEBP", {"lossless": True, "exif": exif}),
        (plain, "TIFF", {"compression": "tiff_lzw"}),
        (Image.fromarray(noise[..., 0].astype(np.float32)), "TIFF", {}),
        (plain, "JPEG2000", {}),
    ):
        file = io.BytesIO()
        picture.save(file, kind, **more)
        made.append(file.getvalue())
    return made


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def _portrait(data: bytes, folder: Path) -> object:
    from sonic_ext.media.image import read_portrait

    found = read_portrait(kept(folder, data, "case.png"))
    assert found.rgb.shape == (found.height, found.width, 3)
    check_whole(found.warnings)
    return found


def _animation_seeds(folder: Path) -> list[bytes]:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    first, *others = map(Image.fromarray, noise)
    made = []
    for kind, more in (("GIF", {"disposal": 2}), ("GIF", {"duration": 0}), ("PNG", {}), ("WEBP", {})):
        file = io.BytesIO()
        first.save(file, kind, save_all=True, append_images=others, **more)
        made.append(file.getvalue())
    return [*made, *_portrait_seeds(folder)]


def _animation(data: bytes, folder: Path) -> object:
    from sonic_ext.media.image import is_picture, read_animation

    path = kept(folder, data, "case.png")
    is_picture(path)
    found = read_animation(path)
    assert 0 <= found.fps <= 1000
    return [frame.shape for frame in islice(found.frames, 50)], found.fps


def _sound_seeds(folder: Path) -> list[bytes]:
    from sounds import tone, write

    made = []
    for ending, channels in (
        (".wav", 1),
        (".wav", 2),
        (".mp3", 1),
        (".m4a", 1),
        (".opus", 2),
        (".flac", 1),
        (".webm", 1),
    ):
        made.append(write(folder / f"seed{ending}", tone(0.2, channels=channels)).read_bytes())
    return made


def _sound(data: bytes, folder: Path) -> object:
    from sonic_ext.media.audio import read_speech

    found = read_speech(kept(folder, data, "case.wav"))
    check_whole(found.warnings)
    samples = 0
    for block in found.blocks(16000):
        samples += len(block)
        if samples > 16000 * 60:
            return found
    assert samples == round(found.length * 16000)
    return found


def _video_seeds(folder: Path) -> list[bytes]:
    import av
    import numpy as np

    from sonic_ext.media.video import VideoWriter

    frames = np.random.default_rng(1).integers(16, 235, (4, 96, 64), np.uint8)
    made = []
    for name, speech in (("plain", None), ("tagged", _short_speech(folder))):
        path = folder / f"{name}.mp4"
        with VideoWriter(path, 64, 64, 25, speech, {"AIGC": '{"Label":"1"}', "comment": "hello"}) as writer:
            for frame in frames:
                writer.write(frame)
        made.append(path.read_bytes())
    for ending, codec in (("mkv", "mpeg4"), ("avi", "mjpeg"), ("webm", "libvpx"), ("mov", "rawvideo")):
        path = folder / f"seed.{ending}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for pts, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, "yuv420p").reformat(format=stream.pix_fmt)
                picture.pts = pts
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        made.append(path.read_bytes())
    return made


def _short_speech(folder: Path) -> Any:
    from sounds import tone, write

    from sonic_ext.media.audio import read_speech

    return read_speech(write(folder / "short.wav", tone(0.16)))


def _video(data: bytes, folder: Path) -> object:
    from sonic_ext.media.video import probe, read_frames, read_planes

    path = kept(folder, data, "case.mp4")
    info = probe(path)
    check_whole(info)
    for planes, rgb in zip(read_planes(path, 6), read_frames(path, 6), strict=False):
        height, width = (side // 2 * 2 for side in rgb.shape[:2])
        assert planes.shape == (height * 3 // 2, width)
        assert rgb.shape[2] == 3
    return info


def _signature_seeds(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((DATA / "signed").glob("*.mp4"))]


def _signature(data: bytes, folder: Path) -> object:
    from sonic_ext.media.boxes import check_bounds
    from sonic_ext.provenance import c2pa

    path = kept(folder, data, "case.mp4")
    check_bounds(path)
    found = c2pa.read(path, folder / "nobody")
    check_whole(found)
    json.dumps(dataclasses.asdict(found))
    return found


_KINDS = tuple(
    b"ftyp moov trak mdia minf stbl stsd stts stsc stsz stco co64 udta meta ilst keys mdat free uuid".split()
)
_NAMES = tuple(b"duration face_box label_text fps seed engine mouth settings warnings created".split())
_XML = (b"Iptc4xmpExt:DigitalSourceType", b"<![CDATA[", b"]]>", b"<!--", b"&#x0;", b"='", b"\xbe\x7a\xcf\xcb")
_TABLE = (b"dtype", b"shape", b"data_offsets", b"__metadata__")
_STACK = (b"cposix\nsystem\n", b"\x8c", b"}q\x01", b"ctorch\nTensor\n", b".")
_ROWS = (b"hashes", b"record", b"nonce", b"expires", b"2026-01-01")

_CHUNKS = (b"IHDR", b"IDAT", b"acTL", b"iCCP", b"Exif\0\0", b"VP8X")
_SOUNDS = (b"fmt ", b"data", b"LIST", b"OpusHead", b"fLaC", b"Xing")
_LINES = (b"\nSignature: valid", b"</table>", b"\xe2\x80\x8d")
_LABEL = (b"Label", b"ProduceID", b"ReservedCode1", b"sonic_ext")

TARGETS = {
    target.name: target
    for target in (
        Target("boxes", _box_seeds, _boxes, 0.19, _KINDS),
        Target("xmp", _xmp_seeds, _xmp, 0.11, (*_KINDS, *_XML)),
        Target("aigc", _aigc_seeds, _aigc, 0.18, _LABEL),
        Target("comment", _comment_seeds, _comment, 0.03, _LINES),
        Target("take", _take_seeds, _take, 0.02, _NAMES),
        Target("ledger", _ledger_seeds, _ledger, 0.0105, _ROWS),
        Target("settings", _settings_seeds, _settings, 0.14, _NAMES),
        Target("infotext", _infotext_seeds, _infotext, 0.08, _NAMES),
        Target("request", _request_seeds, _request, 0.06, (b"http://", b"[::1]", b"Basic ", b":65536", b"%")),
        Target("weights", _safetensors_seeds, _safetensors, 0.11, _TABLE),
        Target("pickles", _pickle_seeds, _pickles, 0.0105, _STACK),
        Target("portrait", _portrait_seeds, _portrait, 0.0125, _CHUNKS),
        Target("animation", _animation_seeds, _animation, 0.0125, _CHUNKS),
        Target("sound", _sound_seeds, _sound, 0.0105, _SOUNDS, seconds=8),
        Target("video", _video_seeds, _video, 0.0105, _KINDS, seconds=8),
        Target("signature", _signature_seeds, _signature, 0.0105, (*_KINDS, b"jumb", b"c2pa"), seconds=8),
    )
}
