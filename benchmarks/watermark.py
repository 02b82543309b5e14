"""Figures of the invisible watermark: `python benchmarks/watermark.py --help`.

Makes its own clips from the test pictures and from noise, always the same ones. None of them served to choose
the watermark's constants. Every attack starts from an export, H.264 CRF 18; most end in another, CRF 23.
A cell holds the signal (amplitude over noise of a coded bit) where the exact id was read, and "no" where not.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sonic_ext.provenance.watermark import Detection, Watermark, detect

MEDIA = Path(__file__).resolve().parent.parent / "tests" / "data" / "media"
ID = 0xC0FFEE0123456789
Frame = NDArray[np.uint8]
"""I420, uint8 [h * 3 // 2, w]."""
Frames = Iterable[Frame]


@dataclass(frozen=True)
class Clip:
    """A clip that draws itself: BGR frames, uint8 [h, w, 3]."""

    name: str
    fps: int
    draw: Callable[[int], Iterator[NDArray[np.uint8]]]

    def frames(self, seconds: float) -> list[Frame]:
        return [cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420) for bgr in self.draw(round(seconds * self.fps))]


@dataclass(frozen=True)
class Attack:
    """What happens to an export before it is read."""

    name: str
    apply: Callable[[list[Frame]], Frames]
    codec: str = "libx264"
    crf: int = 23
    required: bool = True
    fps: int | None = None


def picture(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """A test picture cut to the middle and scaled: BGR [height, width, 3]."""
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
    fps: int = 25,
) -> Callable[[int], Iterator[NDArray[np.uint8]]]:
    """A head that sways a little and a mouth that works, before a background that stands still."""

    def draw(count: int) -> Iterator[NDArray[np.uint8]]:
        still = np.clip(picture(name, width, height) * gain + lift, 0, 255).astype(np.uint8)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        head = np.clip(
            1.6 - np.hypot((x - width * 0.5) / (width * 0.22), (y - height * 0.42) / (height * 0.3)), 0, 1
        )
        below = y - height * 0.6
        mouth = np.clip(1.5 - np.hypot((x - width * 0.5) / (width * 0.09), below / (height * 0.06)), 0, 1)
        unit = height / 512
        for index in range(count):
            t = index / fps
            across = sway * unit * head * (2.4 * np.sin(1.1 * t) + 1.2 * np.sin(2.7 * t + 1))
            down = sway * unit * head * (1.9 * np.sin(1.6 * t + 2) + 0.8 * np.sin(3.9 * t))
            open_by = 4.0 * unit * max(0.0, np.sin(2.1 * t)) * np.sin(15 * t)
            down = down + mouth * open_by * np.sign(below)
            maps = (x + across).astype(np.float32), (y + down).astype(np.float32)
            yield cv2.remap(still, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    return draw


def travelling(
    name: str, width: int, height: int, pan: tuple[float, float], zoom: float
) -> Callable[[int], Iterator[NDArray[np.uint8]]]:
    """A camera that pans (pixels a frame) and zooms (share a frame): nothing stands still."""

    def draw(count: int) -> Iterator[NDArray[np.uint8]]:
        wide = picture(name, width * 3 // 2, height * 3 // 2)
        for index in range(count):
            scale = 1 + zoom * index
            shift = (-pan[0] * index - width * 0.1, -pan[1] * index - height * 0.1)
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float32)
            yield cv2.warpAffine(
                wide, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )

    return draw


def plain(width: int, height: int, low: float, high: float) -> Callable[[int], Iterator[NDArray[np.uint8]]]:
    """A smooth ramp and one soft disc that wanders: the emptiest of pictures."""

    def draw(count: int) -> Iterator[NDArray[np.uint8]]:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        ramp = low + (high - low) * (0.7 * x / width + 0.3 * y / height)
        for index in range(count):
            cx, cy = width * (0.5 + 0.25 * np.sin(index / 19)), height * (0.5 + 0.2 * np.cos(index / 23))
            disc = np.clip((width / 8 - np.hypot(x - cx, y - cy)) / 6, 0, 1)
            grey = (ramp + 40 * disc).astype(np.uint8)
            yield np.repeat(grey[:, :, None], 3, axis=2)

    return draw


def texture(width: int, height: int, seed: int) -> Callable[[int], Iterator[NDArray[np.uint8]]]:
    """Still leaf-like noise of many sizes with a patch that sways in front of it."""

    def draw(count: int) -> Iterator[NDArray[np.uint8]]:
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
    Clip("still head 512x512", 25, talking("portrait_04.jpg", 512, 512, sway=0.1)),
    Clip("head 512x512", 25, talking("portrait_05.jpg", 512, 512)),
    Clip("dark head 384x384", 25, talking("portrait_03.jpg", 384, 384, gain=0.3)),
    Clip("bright head 640x512", 25, talking("wide_threequarter.jpg", 640, 512, gain=0.5, lift=120)),
    Clip("pan and zoom 512x512", 25, travelling("wide_threequarter.jpg", 512, 512, (1.5, 0.4), 0.001)),
    Clip("plain 512x512", 25, plain(512, 512, 60, 190)),
    Clip("texture 512x384", 25, texture(512, 384, 11)),
    Clip("head 1024x1024", 25, talking("portrait_02.jpg", 1024, 1024)),
    Clip("head 256x256", 25, talking("portrait_04.jpg", 256, 256)),
    Clip("head 512x512, 50 fps", 50, talking("profile.jpg", 512, 512, fps=50)),
)


def luma(frame: Frame) -> Frame:
    return frame[: frame.shape[0] * 2 // 3]


def encode(
    frames: Frames, fps: int, codec: str = "libx264", crf: int = 18, preset: str = "veryfast"
) -> bytes:
    """A video file's bytes."""
    target = io.BytesIO()
    options = {"crf": str(crf)}
    options |= (
        {"preset": preset} if codec == "libx264" else {"b": "0", "deadline": "realtime", "cpu-used": "5"}
    )
    with av.open(target, "w", format="mp4" if codec == "libx264" else "webm") as container:
        stream = None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=options)
                stream.width, stream.height = frame.shape[1], frame.shape[0] * 2 // 3
                stream.pix_fmt = "yuv420p"
                stream.bit_rate = 0
                stream.thread_count = 2
            picture_ = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="yuv420p")
            picture_.pts = index
            container.mux(stream.encode(picture_))
        assert stream is not None
        container.mux(stream.encode())
    return target.getvalue()


def decode(data: bytes) -> Iterator[Frame]:
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")


def each(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Callable[[list[Frame]], Frames]:
    """An attack on BGR pictures as one on a list of I420 frames."""

    def apply(frames: list[Frame]) -> Frames:
        for frame in frames:
            bgr = change(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420))
            height, width = (side // 2 * 2 for side in bgr.shape[:2])
            yield cv2.cvtColor(np.ascontiguousarray(bgr[:height, :width]), cv2.COLOR_BGR2YUV_I420)

    return apply


def half(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def half_and_back(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(half(bgr), bgr.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def cut(share: float, *, back: bool = False) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Crop each side to 1 - share, off the middle; back: scaled to the old size again."""

    def change(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = bgr.shape[:2]
        tall, wide = int(height * (1 - share)), int(width * (1 - share))
        top, left = (height - tall) * 2 // 3, (width - wide) // 4
        kept = bgr[top : top + tall, left : left + wide]
        return cv2.resize(kept, (width, height), interpolation=cv2.INTER_CUBIC) if back else kept

    return change


def tone(gamma: float = 1.0, lift: float = 0.0) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    table = np.clip(255 * (np.arange(256) / 255) ** gamma + lift, 0, 255).astype(np.uint8)
    return lambda bgr: cv2.LUT(bgr, table)


def same(frames: list[Frame]) -> Frames:
    return frames


ATTACKS = (
    Attack("CRF 18", same, crf=18),
    Attack("CRF 23", same),
    Attack("CRF 28", same, crf=28),
    Attack("half", each(half)),
    Attack("half, back", each(half_and_back)),
    Attack("crop 10 %", each(cut(0.1))),
    Attack("crop, back", each(cut(0.1, back=True))),
    Attack("gamma 1.2", each(tone(1.2))),
    Attack("gamma 0.8", each(tone(0.8))),
    Attack("+20", each(tone(lift=20))),
    Attack("-20", each(tone(lift=-20))),
    Attack("VP9 33", same, codec="libvpx-vp9", crf=33),
    Attack("crop 20 %", each(cut(0.2)), required=False),
    Attack("CRF 31", same, crf=31, required=False),
    Attack("CRF 34", same, crf=34, required=False),
    Attack("last 2 s", lambda frames: frames[-len(frames) * 2 // 3 :], required=False),
    Attack("mirrored", each(lambda bgr: bgr[:, ::-1]), required=False),
    Attack("x1.5", each(lambda bgr: cv2.resize(bgr, None, fx=1.5, fy=1.5)), required=False),
)


def marked(frames: list[Frame], fps: int) -> list[Frame]:
    height, width = luma(frames[0]).shape
    watermark = Watermark(ID, width, height, fps)
    copies = [frame.copy() for frame in frames]
    for index, frame in enumerate(copies):
        watermark.embed(luma(frame), index)
    return copies


def read(frames: Frames, fps: int) -> Detection | None:
    return detect((luma(frame) for frame in frames), fps)


def cell(found: Detection | None) -> str:
    if found is None:
        return "no"
    return f"{found.signal:.1f}" if found.payload == ID else "WRONG"


def psnr(before: list[Frame], after: list[Frame]) -> float:
    """Worst frame's, luma, dB."""
    errors = [np.mean((luma(a).astype(float) - luma(b)) ** 2) for a, b in zip(before, after, strict=True)]
    return float(10 * np.log10(255**2 / max(errors)))


def flicker(before: list[Frame], after: list[Frame]) -> tuple[float, float]:
    """Temporal RMS of what the mark adds, over smooth and over all places that stand still; grey levels."""
    stack = np.stack([luma(frame) for frame in before[:: max(1, len(before) // 12)]]).astype(np.float32)
    still = stack.std(axis=0) < 0.5
    detail = cv2.absdiff(stack[0], cv2.blur(stack[0], (15, 15)))
    smooth = still & (cv2.blur(detail, (15, 15)) < 1.0)
    total = np.mean(
        [(luma(b).astype(np.float32) - luma(a)) ** 2 for a, b in zip(before, after, strict=True)], axis=0
    )
    return tuple(
        float(np.sqrt(total[place].mean())) if place.any() else float("nan") for place in (smooth, still)
    )


def embed_time(side: int) -> float:
    """Milliseconds a frame, median."""
    plane = luma(CLIPS[0].frames(0.04)[0])
    plane = cv2.resize(plane, (side, side))
    watermark, times = Watermark(ID, side, side), []
    for index in range(50):
        frame = plane.copy()
        start = time.perf_counter()
        watermark.embed(frame, index)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def table(clips: Iterable[Clip], seconds: float) -> None:
    for clip in clips:
        source = clip.frames(seconds)
        copy = marked(source, clip.fps)
        smooth, still = flicker(source, copy)
        costs = []
        for crf, preset in ((18, "veryfast"), (23, "medium")):
            bare, with_mark = (len(encode(f, clip.fps, crf=crf, preset=preset)) for f in (source, copy))
            rate = 8e-3 / seconds
            costs.append(
                f"CRF {crf}: {bare * rate:.0f} -> {with_mark * rate:.0f} kbit/s ({with_mark / bare - 1:+.0%})"
            )
        print(
            f"\n{clip.name}: PSNR {psnr(source, copy):.1f} dB, RMS {smooth:.2f} smooth {still:.2f} still;",
            ", ".join(costs),
        )
        export = list(decode(encode(copy, clip.fps)))
        for attack in ATTACKS:
            attacked = decode(encode(attack.apply(export), clip.fps, attack.codec, attack.crf, "medium"))
            result = cell(read(attacked, clip.fps))
            print(f"  {attack.name} {result}{'' if attack.required else ' (extra)'};", end="", flush=True)
    print()


def unmarked_clips(count: int) -> None:
    """How many clips without a mark give an id."""
    names = sorted(path.name for path in MEDIA.glob("*.jpg"))
    rng = np.random.default_rng(5)
    alarms = 0
    for index in range(count):
        name, crf = names[index % len(names)], int(rng.integers(15, 35))
        shift, zoom, lift = tuple(rng.uniform(-2, 2, 2)), rng.uniform(-0.001, 0.002), rng.uniform(-40, 40)
        still = talking(name, 192, 192, sway=abs(shift[0]), lift=lift)
        draw = travelling(name, 192, 192, shift, zoom) if index % 2 else still
        frames = Clip("unmarked", 25, draw).frames(2.0)
        alarms += read(decode(encode(frames, 25, crf=crf)), 25) is not None
        print(f"\rfound in {alarms} of {index + 1} unmarked clips", end="", flush=True)
    print()


def wrong_keys(count: int) -> None:
    """How many wrong keys read an id from a marked clip that the right key reads."""
    frames = marked(Clip("marked", 25, talking("portrait_04.jpg", 192, 192)).frames(2.0), 25)
    print("right key:", cell(read(frames, 25)))
    alarms = 0
    for index in range(count):
        alarms += detect(map(luma, frames), 25, f"wrong {index}".encode()) is not None
        print(f"\rfound under {alarms} of {index + 1} wrong keys", end="", flush=True)
    print(f"\na look costs 8 tries of a 48-bit MAC: odds of a false alarm at most {8 / 2**48:.1e} a look")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", nargs="*", default=[], help="only clips whose names hold one of these")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--alarms", type=int, default=200, help="clips and keys for the false-alarm count")
    args = parser.parse_args()
    print("embed, ms a frame:", ", ".join(f"{side}: {embed_time(side):.1f}" for side in (256, 512, 1024)))
    table(
        [clip for clip in CLIPS if not args.clips or any(part in clip.name for part in args.clips)],
        args.seconds,
    )
    if args.alarms:
        unmarked_clips(args.alarms)
        wrong_keys(args.alarms)


if __name__ == "__main__":
    main()
