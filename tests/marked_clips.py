"""Clips for tests of the watermark: portraits that nod, marked, and encoded again."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sonic_ext.provenance.watermark import ALGORITHM, PROJECT_KEY, Detection, marker

Frame = NDArray[np.uint8]
"""I420: planes Y, U, V below each other."""
Picture = NDArray[np.uint8]
"""RGB, [height, width, 3]."""
ID = 0x0123456789ABCDEF
MEDIA = Path(__file__).parent / "data" / "media"


def picture(name: str, width: int, height: int) -> Picture:
    """A test picture at the given size."""
    data = np.frombuffer((MEDIA / name).read_bytes(), dtype=np.uint8)
    rgb = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def i420(rgb: Picture) -> Frame:
    """A picture as a frame."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)


def rgb_of(frame: Frame) -> Picture:
    """A frame as a picture."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)


def flat(width: int, height: int, level: int) -> Frame:
    """A frame of one grey."""
    frame = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    frame[:height] = level
    return frame


def luma(frame: Frame) -> Frame:
    """The frame's first plane."""
    return frame[: len(frame) * 2 // 3]


def chroma(frame: Frame) -> Frame:
    """The frame's second and third plane, as they lie."""
    return frame[len(frame) * 2 // 3 :]


def nodding(still: Picture, count: int) -> list[Frame]:
    """A head that moves before a background that stands quite still."""
    height, width = still.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    head = np.clip(
        1.6 - np.hypot((x - width / 2) / (width * 0.22), (y - height * 0.42) / (height * 0.3)), 0, 1
    )
    frames = []
    for index in range(count):
        down = (y + 3 * head * np.sin(index / 13)).astype(np.float32)
        moved = cv2.remap(still, x, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        frames.append(i420(np.asarray(moved, dtype=np.uint8)))
    return frames


def marked(
    frames: Iterable[Frame],
    fps: float = 25,
    key: bytes = PROJECT_KEY,
    algorithm: str = ALGORITHM,
    payload: int = ID,
) -> list[Frame]:
    """Copies of the frames with the mark."""
    copies = [frame.copy() for frame in frames]
    height, width = luma(copies[0]).shape
    mark = marker(payload, width, height, fps, key, algorithm)
    for index, frame in enumerate(copies):
        mark.embed(frame, index)
    return copies


def through_h264(frames: Iterable[Frame], crf: int, fps: int = 25) -> Iterator[Frame]:
    """Encode and decode again."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
        for index, planes in enumerate(frames):
            if not index:
                height, width = luma(planes).shape
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(io.BytesIO(target.getvalue())) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")


def assert_read(found: Detection | None, algorithm: str = ALGORITHM) -> Detection:
    """The clip's id was read, and surely."""
    assert found is not None
    assert (found.payload, found.algorithm) == (ID, algorithm)
    assert 0 < found.odds < 1e-9
    assert found.signal > 0.7
    return found
