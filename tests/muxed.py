"""Videos of every container that the sync command writes, with sound that can be found again: made with the
libraries themselves, measured by correlating samples, never by the networks under test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48000
CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "pcm_s16le"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx", "libopus"),
}
"""Container → its picture's and its sound's encoder."""


def noise_bursts(seconds: float, rate: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    """Sound whose place can be told to the sample: noise that comes and goes, float32 [samples]."""
    draw = np.random.default_rng(seed)
    count = round(seconds * rate)
    loud = np.interp(
        np.arange(count), np.arange(0, count, rate // 10), draw.random(-(-count // (rate // 10)))
    )
    return np.asarray((0.2 * loud * draw.standard_normal(count)).clip(-0.9, 0.9), np.float32)


def muxed(
    path: Path,
    sound: NDArray[np.float32] | None,
    frames: int = 75,
    fps: int = 25,
    encoders: tuple[str, str] | None = None,
    rate: int = RATE,
    stamps: list[int] | None = None,
    metadata: dict[str, str] | None = None,
    tracks: int = 1,
    begin: float = 0.0,
    pictures: Sequence[NDArray[np.uint8]] = (),
) -> Path:
    """A video with a bar that moves, or of `pictures`.

    Args:
        sound: float32 [samples] or [channels, samples]; None for none.
        encoders: of picture and sound; by default those of `CODECS`.
        stamps: times of the frames in milliseconds, of a variable frame rate.
        tracks: how many times the sound is in it.
        begin: seconds after the picture that the sound begins, by its time stamps alone.
    """
    picture, voice = encoders or CODECS[path.suffix[1:]]
    options = {"movflags": "+use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as target:
        target.metadata.update(metadata or {})
        shown: Any = target.add_stream(picture, rate=fps)
        shown.height, shown.width = pictures[0].shape[:2] if pictures else (64, 64)
        shown.pix_fmt = "yuv420p"
        shown.time_base = shown.codec_context.time_base = Fraction(1, 1000)
        sides = np.atleast_2d(sound) if sound is not None else np.zeros((1, 0), np.float32)
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sides)]
        count = tracks if sound is not None else 0
        voices: list[Any] = [target.add_stream(voice, rate=rate, layout=layout) for _ in range(count)]
        for number, rgb in enumerate(pictures or _bars(frames)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = stamps[number] if stamps else round(number * 1000 / fps)
            frame.time_base = Fraction(1, 1000)
            target.mux(shown.encode(frame))
        target.mux(shown.encode(None))
        for stream in voices:
            packed = np.ascontiguousarray(sides.T.reshape(1, -1))
            frame_ = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame_.sample_rate, frame_.pts, frame_.time_base = rate, round(begin * rate), Fraction(1, rate)
            target.mux(stream.encode(frame_))
            target.mux(stream.encode(None))
    return path


def _bars(frames: int) -> Iterator[NDArray[np.uint8]]:
    for number in range(frames):
        rgb = np.full((64, 64, 3), 40, np.uint8)
        rgb[:, number % 60 : number % 60 + 4] = 220
        yield rgb


def picture_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time from the beginning and bytes of each packet of the picture."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        found = [
            (float(each.pts * each.time_base), bytes(each))
            for each in source.demux(stream)
            if each.size and each.pts is not None
        ]
    first = min(time for time, _ in found)
    return [(round(time - first, 6), data) for time, data in found]


def heard(path: Path, track: int = 0, rate: int = RATE) -> NDArray[np.float32]:
    """The sound of a file in its place: sample 0 is when the first picture is shown. float32 [samples]."""
    with av.open(str(path)) as source:
        first = min(
            float(packet.pts * packet.time_base)
            for packet in source.demux(source.streams.video[0])
            if packet.pts is not None
        )
    line = np.zeros(0, np.float32)
    with av.open(str(path)) as source:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        begin = None
        for frame in source.decode(source.streams.audio[track]):
            if begin is None:
                begin = float(frame.pts * frame.time_base)
            for piece in resampler.resample(frame):
                line = np.concatenate([line, piece.to_ndarray()[0]])
        for piece in resampler.resample(None):
            line = np.concatenate([line, piece.to_ndarray()[0]])
    place = round(((begin or 0.0) - first) * rate)
    return np.concatenate([np.zeros(place, np.float32), line]) if place >= 0 else line[-place:]


def delay(before: NDArray[np.float32], after: NDArray[np.float32], rate: int = RATE) -> float:
    """Seconds by which the second sound comes later than the first: where their correlation peaks."""
    size = 1 << (len(before) + len(after)).bit_length()
    product = np.conj(np.fft.rfft(before, size)) * np.fft.rfft(after, size)
    place = int(np.argmax(np.fft.irfft(product, size)))
    return (place if place < size // 2 else place - size) / rate
