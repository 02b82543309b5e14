"""Figures of the invisible watermark: what it costs, what it survives, what it takes to embed and to read.

    python benchmarks/watermark.py                   the table, about 10 minutes on two cores
    python benchmarks/watermark.py --curve           cost against robustness, over strength and carrier

Makes its own clips from the test pictures and from noise, always the same ones; the pattern was chosen on
others, the last of the strengths on these. Every attack starts from an export, H.264 CRF 18; most end in
another, CRF 23. A cell holds the signal (amplitude over noise of a coded bit) where the exact id was read,
"no" where none was, and WRONG where another one was. False alarms have a script of their own,
`watermark_alarms.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonic_ext.provenance.watermark import ALGORITHM, PROJECT_KEY, Detection, detect, marker
from sonic_ext.provenance.watermark.seam import luma_of
from sonic_ext.provenance.watermark.version2 import SHIPPED, MarkerV2, Strength

MEDIA = Path(__file__).resolve().parent.parent / "tests" / "data" / "media"
ID, OTHER_ID = 0xC0FFEE0123456789, 0x0123456789ABCDEF
FPS, SECONDS = 25, 5.0
COSTS = ((18, "veryfast"), (23, "medium"), (28, "medium"))
"""CRF and preset; the first is what the product writes."""
Bgr = NDArray[np.uint8]
Frame = NDArray[np.uint8]
"""I420, uint8 [h * 3 // 2, w]."""
Frames = Iterable[Frame]
Draw = Callable[[int], Iterator[Bgr]]


# Clips


@dataclass(frozen=True)
class Clip:
    """A clip that draws itself."""

    name: str
    draw: Draw

    def frames(self, seconds: float = SECONDS) -> list[Frame]:
        return [i420(bgr) for bgr in self.draw(round(seconds * FPS))]


def picture(name: str, width: int, height: int) -> Bgr:
    """A test picture cut to the middle and scaled."""
    image = cv2.imdecode(np.fromfile(MEDIA / name, np.uint8), cv2.IMREAD_COLOR)
    scale = max(width / image.shape[1], height / image.shape[0])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def talking(
    name: str,
    width: int,
    height: int,
    *,
    sway: float = 1.0,
    gain: float = 1.0,
    lift: float = 0.0,
    crop: float = 1,
) -> Draw:
    """A head that sways a little and a mouth that works, before a background that stands still.

    crop: share of the picture's sides that is shown, around the face.
    """

    def draw(count: int) -> Iterator[Bgr]:
        large = picture(name, round(width / crop), round(height / crop))
        top, left = (large.shape[0] - height) // 3, (large.shape[1] - width) // 2
        part = large[top : top + height, left : left + width]
        still = np.clip(part * gain + lift, 0, 255).astype(np.uint8)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        head = np.clip(
            1.6 - np.hypot((x - width * 0.5) / (width * 0.22), (y - height * 0.42) / (height * 0.3)), 0, 1
        )
        below = y - height * 0.6
        mouth = np.clip(1.5 - np.hypot((x - width * 0.5) / (width * 0.09), below / (height * 0.06)), 0, 1)
        unit = height / 512
        for index in range(count):
            t = index / FPS
            across = sway * unit * head * (2.4 * np.sin(1.1 * t) + 1.2 * np.sin(2.7 * t + 1))
            down = sway * unit * head * (1.9 * np.sin(1.6 * t + 2) + 0.8 * np.sin(3.9 * t))
            open_by = 4.0 * unit * max(0.0, np.sin(2.1 * t)) * np.sin(15 * t)
            down = down + mouth * open_by * np.sign(below)
            maps = (x + across).astype(np.float32), (y + down).astype(np.float32)
            yield cv2.remap(still, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    return draw


def travelling(name: str, width: int, height: int, pan: tuple[float, float], zoom: float) -> Draw:
    """A camera that pans (pixels a frame) and zooms (share a frame): nothing stands still."""

    def draw(count: int) -> Iterator[Bgr]:
        wide = picture(name, width * 3 // 2, height * 3 // 2)
        for index in range(count):
            scale = 1 + zoom * index
            shift = (-pan[0] * index - width * 0.1, -pan[1] * index - height * 0.1)
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float32)
            yield cv2.warpAffine(
                wide, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )

    return draw


def wall(width: int, height: int) -> Draw:
    """A painted wall in soft light with a faint grain, and a disc that wanders before it."""

    def draw(count: int) -> Iterator[Bgr]:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        paint = np.stack(
            [150 - 20 * x / width, 165 - 15 * x / width - 8 * y / height, 180 - 10 * y / height], -1
        )
        grain = np.random.default_rng(4).standard_normal((height, width)).astype(np.float32)
        ground = paint + 3 * cv2.GaussianBlur(grain, (0, 0), 1.2)[..., None]
        for index in range(count):
            frame = ground.copy()
            middle = (width // 2 + int(8 * np.sin(index / 9)), height // 2)
            cv2.ellipse(frame, middle, (width // 6, height // 4), 0, 0, 360, (120, 140, 190), -1, cv2.LINE_AA)
            yield np.clip(frame, 0, 255).astype(np.uint8)

    return draw


def texture(width: int, height: int, seed: int) -> Draw:
    """Still leaf-like noise of many sizes with a patch that sways in front of it."""

    def draw(count: int) -> Iterator[Bgr]:
        rng = np.random.default_rng(seed)
        ground = np.full((height, width), 128.0, dtype=np.float32)
        for size, gain in ((2, 12), (5, 18), (14, 26), (50, 30)):
            noise = rng.standard_normal((height // size + 2, width // size + 2)).astype(np.float32)
            ground += gain * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        patch = np.clip(1.5 - np.hypot((x - width / 2) / (width / 5), (y - height / 2) / (height / 4)), 0, 1)
        for index in range(count):
            moved = (x + 5 * patch * np.sin(index / 9)).astype(np.float32)
            grey = cv2.remap(ground, moved, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            yield np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)

    return draw


CLIPS = (
    Clip("head 512x512", talking("portrait_05.jpg", 512, 512)),
    Clip("still head 512x512", talking("portrait_04.jpg", 512, 512, sway=0.1)),
    Clip("crop 512x512", talking("portrait_02.jpg", 512, 512, crop=0.6)),
    Clip("crop 384x384", talking("portrait_03.jpg", 384, 384, crop=0.7)),
    Clip("dark head 384x384", talking("portrait_01.jpg", 384, 384, gain=0.3)),
    Clip("light head 640x512", talking("wide_threequarter.jpg", 640, 512, gain=0.5, lift=120)),
    Clip("profile 384x512", talking("profile.jpg", 384, 512)),
    Clip("two heads 512x384", talking("two_people.jpg", 512, 384)),
    Clip("head 768x768", talking("portrait_02.jpg", 768, 768)),
    Clip("crop 768x768", talking("portrait_04.jpg", 768, 768, crop=0.6)),
    Clip("room, pan and zoom 512x512", travelling("no_person.jpg", 512, 512, (1.5, 0.4), 0.001)),
    Clip("wall 512x512", wall(512, 512)),
    Clip("texture 512x384", texture(512, 384, 11)),
)


# What happens to an export


@dataclass(frozen=True)
class Attack:
    """What happens to an export before it is read."""

    name: str
    apply: Callable[[list[Frame]], Frames]
    codec: str = "libx264"
    crf: int = 23
    fps: float = FPS
    asked: bool = True
    """Whether every clip must be read after it."""


def same(frames: list[Frame]) -> Frames:
    return frames


def each(change: Callable[[Bgr], Bgr]) -> Callable[[list[Frame]], Frames]:
    """An attack on BGR pictures as one on I420 frames."""

    def apply(frames: list[Frame]) -> Frames:
        for frame in frames:
            bgr = change(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420))
            height, width = (side // 2 * 2 for side in bgr.shape[:2])
            yield i420(np.ascontiguousarray(bgr[:height, :width]))

    return apply


def sized(across: float, down: float | None = None) -> Callable[[Bgr], Bgr]:
    """Scaled by these factors."""

    def change(bgr: Bgr) -> Bgr:
        size = round(bgr.shape[1] * across), round(bgr.shape[0] * (down or across))
        smaller = across * (down or across) < 1
        return cv2.resize(bgr, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)

    return change


def half_and_back(bgr: Bgr) -> Bgr:
    return cv2.resize(sized(0.5)(bgr), bgr.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def cut(share: float, *, back: bool = False) -> Callable[[Bgr], Bgr]:
    """Crop each side to 1 - share, off the middle; back: scaled to the old size again."""

    def change(bgr: Bgr) -> Bgr:
        height, width = bgr.shape[:2]
        tall, wide = int(height * (1 - share)), int(width * (1 - share))
        top, left = (height - tall) * 2 // 3, (width - wide) // 4
        kept = bgr[top : top + tall, left : left + wide]
        return cv2.resize(kept, (width, height), interpolation=cv2.INTER_CUBIC) if back else kept

    return change


def turned(degrees: float) -> Callable[[Bgr], Bgr]:
    def change(bgr: Bgr) -> Bgr:
        height, width = bgr.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        return cv2.warpAffine(
            bgr, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )

    return change


def tone(gamma: float = 1.0, lift: float = 0.0) -> Callable[[Bgr], Bgr]:
    table = np.clip(255 * (np.arange(256) / 255) ** gamma + lift, 0, 255).astype(np.uint8)
    return lambda bgr: cv2.LUT(bgr, table)


def noisy(sigma: float) -> Callable[[Bgr], Bgr]:
    rng = np.random.default_rng(2)
    return lambda bgr: np.clip(bgr + rng.normal(0, sigma, bgr.shape), 0, 255).astype(np.uint8)


def inset(share: float) -> Callable[[Bgr], Bgr]:
    """The video small in a corner of another picture."""

    def change(bgr: Bgr) -> Bgr:
        height, width = bgr.shape[:2]
        whole = picture("no_person.jpg", width, height)
        small = sized(share)(bgr)
        top, left = height // 8, width // 7
        whole[top : top + small.shape[0], left : left + small.shape[1]] = small
        return whole

    return change


def phone(bgr: Bgr) -> Bgr:
    """Filmed off a screen: perspective, softness, another tone, noise."""
    height, width = bgr.shape[:2]
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    seen = corners + np.float32([[0.03, 0.02], [-0.03, 0], [-0.01, -0.02], [0.01, 0]]) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    soft = cv2.GaussianBlur(cv2.warpPerspective(bgr, matrix, (width, height)), (0, 0), 0.8)
    return noisy(3)(np.clip(tone(1.15)(soft) * 0.95 + 6, 0, 255).astype(np.uint8))


def recorded(bgr: Bgr) -> Bgr:
    """A screen recording: shown larger, stored smaller."""
    shown = cv2.resize(bgr, None, fx=1.37, fy=1.37, interpolation=cv2.INTER_LINEAR)
    return cv2.resize(shown, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)


def grey(frames: list[Frame]) -> Frames:
    for frame in frames:
        copy = frame.copy()
        copy[frame.shape[0] * 2 // 3 :] = 128
        yield copy


def at_rate(fps: float, *, blended: bool = False) -> Callable[[list[Frame]], Frames]:
    """Another frame rate: frames dropped, doubled or blended."""

    def apply(frames: list[Frame]) -> Frames:
        for index in range(int(len(frames) * fps / FPS)):
            place = index * FPS / fps
            first, share = int(place), place % 1
            last = min(first + 1, len(frames) - 1)
            yield (
                cv2.addWeighted(frames[first], 1 - share, frames[last], share, 0)
                if blended
                else frames[first]
            )

    return apply


def at_speed(factor: float) -> Callable[[list[Frame]], Frames]:
    return lambda frames: [frames[int(index * factor)] for index in range(int(len(frames) / factor))]


def shuffled(frames: list[Frame]) -> Frames:
    """Pieces of a second in another order."""
    for piece in np.random.default_rng(3).permutation(len(frames) // FPS):
        yield from frames[piece * FPS : (piece + 1) * FPS]


def twice(frames: list[Frame]) -> Frames:
    """CRF 28, then at half size, which the caller encodes with CRF 28 again."""
    return each(sized(0.5))(list(decode(encode(frames, crf=28, preset="medium"))))


def blended(frames: list[Frame]) -> Frames:
    """Half another marked video."""
    height, width = luma_of(frames[0]).shape
    others = marked(Clip("", talking("portrait_01.jpg", width, height)).frames(len(frames) / FPS), OTHER_ID)
    return (cv2.addWeighted(one, 0.5, other, 0.5, 0) for one, other in zip(frames, others, strict=True))


ATTACKS = (
    Attack("CRF 28", same, crf=28),
    Attack("CRF 28, half CRF 28", twice, crf=28),
    Attack("half", each(sized(0.5))),
    Attack("half, back", each(half_and_back)),
    Attack("x1.5", each(sized(1.5))),
    Attack("crop 10 %", each(cut(0.1))),
    Attack("crop, back", each(cut(0.1, back=True))),
    Attack("turned 3", each(turned(3))),
    Attack("turned -3", each(turned(-3))),
    Attack("mirrored", each(lambda bgr: bgr[:, ::-1])),
    Attack("upside down", each(lambda bgr: bgr[::-1])),
    Attack("4:3 to 16:9", each(sized(4 / 3, 1))),
    Attack("16:9 to 4:3", each(sized(3 / 4, 1))),
    Attack("gamma 1.2", each(tone(1.2))),
    Attack("gamma 0.8", each(tone(0.8))),
    Attack("+20", each(tone(lift=20))),
    Attack("-20", each(tone(lift=-20))),
    Attack("grey", grey),
    Attack("24/s", at_rate(24), fps=24),
    Attack("30/s", at_rate(30), fps=30),
    Attack("60/s", at_rate(60), fps=60),
    Attack("30/s blended", at_rate(30, blended=True), fps=30),
    Attack("speed 0.9", at_speed(0.9)),
    Attack("speed 1.25", at_speed(1.25)),
    Attack("speed 1.5", at_speed(1.5)),
    Attack("1 s cuts", shuffled),
    Attack("inset 50 %", each(inset(0.5))),
    Attack("phone", each(phone)),
    Attack("screen recording", each(recorded)),
    Attack("noise 5", each(noisy(5))),
    Attack("blur 1.5", each(lambda bgr: cv2.GaussianBlur(bgr, (0, 0), 1.5))),
    Attack("x265 28", same, "libx265", 28),
    Attack("VP9 33", same, "libvpx-vp9", 33),
    Attack("VP9 40", same, "libvpx-vp9", 40),
    Attack("AV1 35", same, "libsvtav1", 35),
    Attack("CRF 32", same, crf=32, asked=False),
    Attack("CRF 35", same, crf=35, asked=False),
    Attack("x0.33", each(sized(0.33)), asked=False),
    Attack("turned 5", each(turned(5)), asked=False),
    Attack("turned -5", each(turned(-5)), asked=False),
    Attack("crop 20 %", each(cut(0.2)), asked=False),
    Attack("inset 40 %", each(inset(0.4)), asked=False),
    Attack("last 1 s", lambda frames: frames[-FPS:], asked=False),
    Attack("two marked, blended", blended, asked=False),
)


# Files


def i420(bgr: Bgr) -> Frame:
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)


OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {},
    "libx265": {"preset": "fast", "x265-params": "log-level=none:pools=1"},
    "libvpx-vp9": {"b": "0", "deadline": "realtime", "cpu-used": "6"},
    "libsvtav1": {"preset": "10", "svtav1-params": "lp=1"},
}


def encode(
    frames: Frames, codec: str = "libx264", crf: int = 18, preset: str = "veryfast", fps: float = FPS
) -> bytes:
    """A video file's bytes."""
    target = io.BytesIO()
    options = {"crf": str(crf), **OPTIONS[codec]} | ({"preset": preset} if codec == "libx264" else {})
    with av.open(target, "w", format="matroska") as container:
        stream = None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=round(fps), options=options)
                stream.width, stream.height = frame.shape[1], frame.shape[0] * 2 // 3
                stream.pix_fmt, stream.bit_rate, stream.thread_count = "yuv420p", 0, 1
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="yuv420p")
            shown.pts = index
            container.mux(stream.encode(shown))
        assert stream is not None
        container.mux(stream.encode())
    if hasattr(os, "sched_setscheduler"):  # SVT-AV1 leaves its caller with real-time priority
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return target.getvalue()


def decode(data: bytes) -> Iterator[Frame]:
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")


def stills(frames: Frames, kind: str, **options: object) -> list[Frame]:
    """Frames through an animated GIF or WebP, or each through a picture."""
    shown = [Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)) for frame in frames]
    target = io.BytesIO()
    shown[0].save(target, kind, save_all=True, append_images=shown[1:], duration=80, **options)
    found = []
    with Image.open(target) as file:
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            found.append(cv2.cvtColor(np.asarray(file.convert("RGB")), cv2.COLOR_RGB2YUV_I420))
    return found


# Marking, reading, measuring


def marked(frames: list[Frame], payload: int = ID, strength: Strength = SHIPPED) -> list[Frame]:
    height, width = luma_of(frames[0]).shape
    mark = MarkerV2(payload, width, height, FPS, PROJECT_KEY, strength)
    copies = [frame.copy() for frame in frames]
    for index, frame in enumerate(copies):
        mark.embed(frame, index)
    return copies


def cell(found: Detection | None, *ids: int) -> str:
    if found is None:
        return "no"
    return f"{found.signal:.1f}" if found.payload in (ID, *ids) else "WRONG"


def psnr(one: Frames, other: Frames, *, worst: bool = False) -> float:
    """Luma, dB; over all frames, or the worst frame's."""
    pairs = zip(one, other, strict=True)
    errors = [float(np.mean((luma_of(a).astype(np.float32) - luma_of(b)) ** 2)) for a, b in pairs]
    return float(10 * np.log10(255**2 / max(1e-9, max(errors) if worst else np.mean(errors))))


def flat_blocks(one: Frame, other: Frame) -> float:
    """Largest change of an 8 x 8 block's mean luma where the picture is smooth, grey levels."""
    before, after = luma_of(one).astype(np.float32), luma_of(other).astype(np.float32)
    rough = cv2.blur(cv2.absdiff(before, cv2.blur(before, (9, 9))), (17, 17))
    moved = np.abs(cv2.blur(after - before, (8, 8)))[rough < 1.0]
    return float(moved.max()) if moved.size else float("nan")


def growth(bare: list[Frame], copy: list[Frame]) -> tuple[list[float], list[float]]:
    """How much larger files are: at equal CRF, and at equal PSNR to what was encoded; for each of COSTS."""
    sizes, quality, more = [], [], []
    for crf, preset in COSTS:
        for frames in (bare, copy):
            data = encode(frames, crf=crf, preset=preset)
            sizes.append(len(data))
            quality.append(psnr(frames, decode(data)))
        more.append(sizes[-1] / sizes[-2] - 1)
    # Of the unmarked clip: size over quality, between the CRFs.
    line = np.polyfit(quality[2::2], np.log(sizes[2::2]), 1)
    slopes = [
        np.log(1 + each) - line[0] * (quality[2 * k + 1] - quality[2 * k]) for k, each in enumerate(more)
    ]
    return more, [float(np.expm1(each)) for each in slopes]


@dataclass
class Row:
    """What was measured on one clip."""

    name: str
    psnr: float
    block: float
    equal_crf: list[float]
    equal_quality: list[float]
    cells: dict[str, str]
    singles: tuple[int, int]
    """Of so many single frames as PNG so many were read: (read, all)."""


def measured(clip: Clip, attacks: Iterable[Attack] = ATTACKS, strength: Strength = SHIPPED) -> Row:
    """All figures of one clip."""
    cv2.setNumThreads(1)
    bare = clip.frames()
    copy = marked(bare, strength=strength)
    more, at_quality = growth(bare, copy)
    export = list(decode(encode(copy)))
    cells = {}
    read = partial(detect, algorithms=[ALGORITHM])
    for attack in attacks:
        frames = decode(encode(attack.apply(export), attack.codec, attack.crf, "medium", attack.fps))
        cells[attack.name] = cell(read(frames, attack.fps), *(OTHER_ID,) * (attack.apply is blended))
    every = export[::2]
    if attacks is ATTACKS:
        cells["GIF 12.5/s"] = cell(read(stills(every, "GIF"), 12.5))
        cells["WebP 75 12.5/s"] = cell(read(stills(every, "WEBP", quality=75), 12.5))
    picked = copy[:: FPS // 2]
    singles = sum(cell(read([frame])) not in ("no", "WRONG") for frame in picked), len(picked)
    block = max(flat_blocks(a, b) for a, b in zip(bare[::FPS], copy[::FPS], strict=True))
    return Row(clip.name, psnr(bare, copy, worst=True), block, more, at_quality, cells, singles)


def embed_time(side: int) -> float:
    """Milliseconds a frame, median."""
    frame = cv2.resize(picture("portrait_04.jpg", 512, 512), (side, side))
    mark, planes, times = marker(ID, side, side, FPS), i420(frame), []
    for index in range(60):
        start = time.perf_counter()
        mark.embed(planes.copy(), index)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def unmarked_time() -> float:
    """Seconds of processor time until a 10 s clip of 512 x 512 is known to hold nothing, decoding too."""
    data = encode(Clip("", talking("portrait_05.jpg", 512, 512)).frames(10.0), crf=23)
    start = time.process_time()
    assert detect(decode(data), FPS) is None
    return time.process_time() - start


def table(rows: Iterable[Row]) -> None:
    found = []
    for row in rows:
        found.append(row)
        crf, quality = (
            ", ".join(f"{more:+.1%}" for more in each) for each in (row.equal_crf, row.equal_quality)
        )
        print(f"\n{row.name}: luma {row.psnr:.1f} dB, flat blocks {row.block:.2f}")
        print(f"  file size at CRF 18, 23, 28: {crf}; at equal quality: {quality}")
        print("  " + "; ".join(f"{name} {value}" for name, value in row.cells.items()))
        print(f"  single frames {row.singles[0]} of {row.singles[1]}", flush=True)
    print("\nall clips")
    growths = [row.equal_crf for row in found], [row.equal_quality for row in found]
    for index, (crf, _preset) in enumerate(COSTS):
        more, quality = ([each[index] for each in kind] for kind in growths)
        print(
            f"  CRF {crf}: mean {np.mean(more):+.1%}, worst {max(more):+.1%}; "
            f"at equal quality {np.mean(quality):+.1%}, {max(quality):+.1%}"
        )
    print(f"  least luma {min(row.psnr for row in found):.1f} dB, most in a flat block", end=" ")
    print(f"{np.nanmax([row.block for row in found]):.2f}")
    asked = {attack.name for attack in ATTACKS if attack.asked}
    for name in found[0].cells:
        values = [row.cells[name] for row in found]
        missed = [row.name for row in found if row.cells[name] in ("no", "WRONG")]
        least = min((float(value) for value in values if value not in ("no", "WRONG")), default=0)
        text = f"  {name}{' (asked)' if name in asked else ''}: {len(values) - len(missed)} of {len(values)}"
        print(text + f", least signal {least:.1f}" + (f"; not {', '.join(missed)}" if missed else ""))
    read, total = np.sum([row.singles for row in found], axis=0)
    print(f"  single frames: {read} of {total}")
    wrong = sum(value == "WRONG" for row in found for value in row.cells.values())
    print(f"  wrong ids: {wrong}")


CURVE_ATTACKS = ("CRF 28", "CRF 28, half CRF 28", "grey", "x0.33", "CRF 35", "inset 50 %")


def curve(clips: list[Clip], jobs: int) -> None:
    """Cost and robustness over strength and carrier: mean growth, how many of the clips are read."""
    attacks = [attack for attack in ATTACKS if attack.name in CURVE_ATTACKS]
    print("growth at CRF 18, 23, 28 | " + ", ".join(attack.name for attack in attacks))
    for carrier in ("both", "chroma", "luma"):
        for factor in (0.5, 0.7, 1.0, 1.4):
            luma, chroma = factor * (carrier != "chroma"), factor * (carrier != "luma")
            strength = dataclasses.replace(
                SHIPPED,
                luma=SHIPPED.luma * luma,
                luma_gain=SHIPPED.luma_gain * luma,
                luma_read=SHIPPED.luma_read * luma,
                chroma=SHIPPED.chroma * chroma,
                chroma_gain=SHIPPED.chroma_gain * chroma,
                chroma_most=SHIPPED.chroma_most * chroma,
            )
            with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
                work = partial(_measured, names=CURVE_ATTACKS, strength=strength)
                rows = list(pool.map(work, map(CLIPS.index, clips)))
            more = ", ".join(
                f"{np.mean(each):+.1%}" for each in zip(*(row.equal_crf for row in rows), strict=True)
            )
            read = [sum(row.cells[attack.name] != "no" for row in rows) for attack in attacks]
            print(f"{carrier} x{factor}: {more} | {', '.join(map(str, read))} of {len(rows)}", flush=True)


def _measured(number: int, names: Sequence[str], strength: Strength = SHIPPED) -> Row:
    """`measured`, asked for by what can be sent to another process."""
    attacks = [attack for attack in ATTACKS if attack.name in names]
    return measured(CLIPS[number], attacks, strength)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", nargs="*", default=[], help="only clips whose names hold one of these")
    parser.add_argument("--curve", action="store_true", help="cost against robustness instead of the table")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    args = parser.parse_args()
    clips = [clip for clip in CLIPS if not args.clips or any(part in clip.name for part in args.clips)]
    began = time.monotonic()
    if args.curve:
        curve(clips, args.jobs)
    else:
        print("embed, ms a frame:", ", ".join(f"{side}: {embed_time(side):.2f}" for side in (384, 512, 768)))
        print(f"unmarked 10 s of 512x512: {unmarked_time():.1f} s of processor time")
        with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
            work = partial(_measured, names=[attack.name for attack in ATTACKS])
            table(pool.map(work, map(CLIPS.index, clips)))
    print(f"{(time.monotonic() - began) / 60:.1f} min")


if __name__ == "__main__":
    main()
