"""Video files: written frame by frame, read frame by frame, never held in memory.

Written are MP4 files that play everywhere: H.264 High, yuv420p, constant frame rate, AAC, index in front.
Picture, sound and container last as long as the speech to within one frame.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ..errors import BadOutput, BadVideo
from ..files.atomic import check_target, discard, flush_into_place, temporary_name
from .audio import Speech, read_speech
from .container import BROKEN, address, advice, append_xmp_box, decoding, opened

SOUND_RATE = 48000
SOUND_BITS = 128_000
AAC_FRAME = 1024
"""Samples per frame of AAC."""
MAX_SHIFT = 0.5
"""Seconds that sound may be moved against the picture."""
MOVFLAGS = "+faststart+use_metadata_tags"
"""Index in front; keys of our own (AIGC) are kept, in moov.udta.meta."""
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".3gp"),
    *(".mxf", ".wmv", ".ogv"),
)
"""How names of video files end, in lower case: by these videos are found in folders."""
MAX_PIXELS = 64_000_000
"""Largest picture that is decoded; 8K has half of it."""
I420 = ("yuv420p", "yuvj420p")
"""Pixel formats that are I420 as they are."""
SRGB, BT709, BT601, LIMITED = 13, 1, 6, 1
"""H.273 code points: transfer, primaries, matrix, and FFmpeg's code of the limited range."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself."""

    width: int
    height: int
    fps: float
    """Average frame rate."""
    frames: int
    """Pictures, counted where the file does not say."""
    seconds: float
    """Length of the picture."""
    audio_seconds: float
    """Length of the sound, 0 without."""
    container_seconds: float
    """Length of the file as a player shows it."""
    codec: str
    """Such as h264."""
    profile: str
    """Such as High; empty where the codec has none."""
    pixel_format: str
    """Such as yuv420p."""
    audio_codec: str = ""
    """Such as aac; empty without sound, or with sound of a kind that is not known."""
    audio_rate: int = 0
    """Samples a second."""
    audio_channels: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    """The container's tags."""


class VideoWriter:
    """Writes one video; a context manager.

    The file grows under a temporary name beside `path` and takes its place when the block ends well;
    after any exception, Ctrl-C included, nothing is left.

        with VideoWriter(path, 512, 512, 25, speech) as writer:
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: int,
        speech: Speech | None = None,
        metadata: Mapping[str, str] | None = None,
        crf: int = 18,
        sound_shift: float = 0.0,
        overwrite: bool = False,
        xmp: bytes = b"",
        threads: int = 0,
    ) -> None:
        """Prepare; nothing is created before the block is entered.

        Args:
            path: the MP4 to write, in a folder that exists.
            width: pixels, even.
            height: pixels, even.
            fps: frames a second, constant.
            speech: its sound is encoded beside the picture, mono or stereo as it comes.
            metadata: tags of the container; any key.
            crf: x264's quality, 0 best to 51.
            sound_shift: seconds that the sound comes later (< 0: earlier); the length stays.
            overwrite: whether a file at `path` may be replaced.
            xmp: packet for a box of its own at the end of the file.
            threads: of the encoder; 0 takes as many as there are cores.

        Raises:
            BadOutput: odd sides, the file exists, its folder is missing or cannot be written to.
        """
        self.path = Path(path)
        self.width, self.height, self.fps = width, height, fps
        self.frames = 0
        """Pictures written so far."""
        self._speech, self._metadata, self._crf = speech, dict(metadata or {}), crf
        self._xmp, self._threads = xmp, threads
        self._shift = _checked_shift(sound_shift)
        self._overwrite = overwrite
        self._part = temporary_name(self.path)
        self._container: Any = None
        if width % 2 or height % 2 or min(width, height) < 16:
            raise BadOutput(
                f"A video of {width} × {height} cannot be made.", "Use even sides of at least 16."
            )
        check_target(self.path, overwrite)

    def __enter__(self) -> VideoWriter:
        try:
            self._container = av.open(address(self._part), "w", format="mp4", options={"movflags": MOVFLAGS})
            self._container.metadata.update(self._metadata)
            self._picture = self._picture_stream()
            self._sound = _SoundTrack(self._container, self._speech, self._shift) if self._speech else None
        except BaseException as error:
            self._abandon()
            _raise_as_bad_output(error, self.path)
        return self

    def write(self, i420: NDArray[np.uint8]) -> None:
        """Encode the next frame, and the sound that goes with it.

        Args:
            i420: uint8 [height * 3 // 2, width], planes Y, U, V below each other as
                `cv2.COLOR_RGB2YUV_I420` gives them (BT.601, limited range). Not kept.

        Raises:
            BadOutput: the disk is full or the file cannot be written to.
            ValueError: an array of another shape.
        """
        if i420.shape != (self.height * 3 // 2, self.width) or i420.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 [{self.height * 3 // 2}, {self.width}], got {i420.dtype} {i420.shape}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(i420), format="yuv420p")
        frame.pts, frame.time_base = self.frames, Fraction(1, self.fps)
        self._guarded(self._encode, frame)
        self.frames += 1
        if self._sound is not None:
            self._guarded(self._sound.advance, self.frames / self.fps)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon()
            return
        try:
            self._finish()
        except BaseException as trouble:
            self._abandon()
            _raise_as_bad_output(trouble, self.path)

    def _picture_stream(self) -> Any:
        stream = self._container.add_stream(
            "libx264",
            rate=self.fps,
            options={"preset": "veryfast", "crf": str(self._crf)},
        )
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        stream.time_base = Fraction(1, self.fps)
        context = stream.codec_context
        context.time_base, context.thread_count = Fraction(1, self.fps), self._threads
        context.color_range, context.colorspace = LIMITED, BT601
        context.color_primaries, context.color_trc = BT709, SRGB
        return stream

    def _encode(self, frame: Any) -> None:
        for packet in self._picture.encode(frame):
            # Every picture lasts one frame, the last one too.
            packet.duration = round(1 / self.fps / packet.time_base)
            self._container.mux(packet)

    def _guarded(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except (av.error.FFmpegError, OSError) as error:
            _raise_as_bad_output(error, self.path)

    def _finish(self) -> None:
        if not self.frames:
            raise BadOutput("No frame was drawn.", "Report this: the engine gave no picture.")
        self._encode(None)
        if self._sound is not None:
            self._sound.finish()
        self._container.close()
        self._container = None
        if self._xmp:
            append_xmp_box(self._part, self._xmp)
        flush_into_place(self._part, self.path, self._overwrite)

    def _abandon(self) -> None:
        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        except (av.error.FFmpegError, OSError, ValueError):
            # The file is thrown away: how its closing failed says nothing new.
            pass
        finally:
            discard(self._part)


class _SoundTrack:
    """AAC beside the picture, encoded as far as the picture has come."""

    def __init__(self, container: Any, speech: Speech, shift: float) -> None:
        channels = 1 if speech.channels == 1 else 2
        self._layout = "mono" if channels == 1 else "stereo"
        self._container = container
        self._stream = container.add_stream("aac", rate=SOUND_RATE, layout=self._layout)
        self._stream.bit_rate = SOUND_BITS
        self._stream.time_base = Fraction(1, SOUND_RATE)
        self._blocks = shifted(speech, SOUND_RATE, channels, shift)
        self._open: NDArray[np.float32] = np.zeros((channels, 0), np.float32)
        self._done = 0

    def advance(self, seconds: float) -> None:
        """Encode the sound up to this moment."""
        while self._done < seconds * SOUND_RATE and self._filled(AAC_FRAME):
            self._put(AAC_FRAME)

    def finish(self) -> None:
        """Encode the rest, the last short frame included."""
        while self._filled(AAC_FRAME):
            self._put(AAC_FRAME)
        if self._open.shape[1]:
            self._put(self._open.shape[1])
        self._mux(None)

    def _filled(self, size: int) -> bool:
        """Whether a full frame waits."""
        while self._open.shape[1] < size:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._open = np.concatenate([self._open, block], axis=1)
        return True

    def _put(self, size: int) -> None:
        samples, self._open = self._open[:, :size], self._open[:, size:]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts = SOUND_RATE, self._done
        frame.time_base = Fraction(1, SOUND_RATE)
        self._done += size
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def shifted(speech: Speech, rate: int, channels: int, shift: float) -> Iterator[NDArray[np.float32]]:
    """The sound moved by `shift` seconds (> 0: later), as long as before.

    Blocks of float32 [channels, samples].
    """
    moved = round(shift * rate)
    left = round(speech.length * rate)
    if moved > 0:
        silence = min(moved, left)
        yield np.zeros((channels, silence), np.float32)
        left -= silence
    skip = max(0, -moved)
    for block in speech.sound(rate, channels, 1.0):
        kept = block[:, skip:][:, :left]
        skip = max(0, skip - block.shape[1])
        left -= kept.shape[1]
        yield kept
    if left:
        yield np.zeros((channels, left), np.float32)


def _checked_shift(shift: float) -> float:
    if not math.isfinite(shift) or abs(shift) > MAX_SHIFT:
        raise BadOutput(f"The sound cannot be moved by {shift:g} s.", f"Stay within {MAX_SHIFT:g} s.")
    return shift


# Files


def _raise_as_bad_output(error: BaseException, path: Path) -> NoReturn:
    """Raise trouble with a file as `BadOutput`, anything else as it is."""
    if not isinstance(error, (av.error.FFmpegError, OSError)):
        raise error
    reason = getattr(error, "strerror", None) or str(error)
    advice = "Check the free space and the permissions of the folder."
    raise BadOutput(f"{path.name} cannot be written ({reason}).", advice) from error


# Reading


def probe(path: str | os.PathLike[str], kind: str = "video") -> VideoInfo:
    """Sizes, lengths, codecs and tags of a video file.

    Args:
        path: local file.
        kind: what the file should be, in the words of an error; see `container.opened`.

    Raises:
        BadVideo: missing, not a video, damaged.
    """
    path = Path(path)
    with opened(path, BadVideo, kind) as container:
        stream = _picture_of(container, path)
        sound = next((each for each in container.streams.audio if each.codec_context is not None), None)
        context, heard = stream.codec_context, sound.codec_context if sound is not None else None
        frames = stream.frames or _count(container, stream)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(
            width=context.width,
            height=context.height,
            fps=fps,
            frames=frames,
            seconds=_length(stream) or (frames / fps if fps else 0.0),
            audio_seconds=_length(sound) if sound is not None else 0.0,
            container_seconds=(container.duration or 0) / 1_000_000,
            codec=context.name,
            profile=context.profile or "",
            pixel_format=context.pix_fmt or "",
            audio_codec=heard.name if heard is not None else "",
            audio_rate=heard.sample_rate if heard is not None else 0,
            audio_channels=heard.channels if heard is not None else 0,
            metadata=dict(container.metadata),
        )


def _picture_of(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise BadVideo(f"{path.name} holds no video.", advice("video"))
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise BadVideo(f"{path.name} holds video of a kind that is not known here.", advice("video"))
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise BadVideo(
            f"{path.name} has pictures of {width} × {height} pixels.",
            f"Scale them down: the limit is {MAX_PIXELS // 10**6} megapixels.",
        )
    return stream


def _length(stream: Any) -> float:
    if stream.duration is None or stream.time_base is None:
        return 0.0
    return float(stream.duration * stream.time_base)


def _count(container: Any, stream: Any) -> int:
    return sum(1 for packet in container.demux(stream) if packet.size)


def read_planes(path: str | os.PathLike[str], limit: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Frames as I420, planes Y, U, V below each other: uint8 [height * 3 // 2, width]; at most `limit`.

    The last row or column of an odd side is left out.

    Raises:
        BadVideo: missing, not a video, or damaged from the first frame on. A file that is cut short
            gives the frames that it has.
    """
    for frame in _pictures(path, limit):
        with decoding(Path(path), BadVideo):
            planes = _planes(frame)
        yield planes


def _planes(frame: Any) -> NDArray[np.uint8]:
    if frame.format.name not in I420:
        frame = frame.reformat(format="yuv420p")
    height, width = frame.height // 2 * 2, frame.width // 2 * 2
    found = np.empty((height * 3 // 2, width), np.uint8)
    chroma = found[height:].reshape(2, height // 2, width // 2)
    for target, plane in zip((found[:height], *chroma), frame.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        target[...] = rows[: target.shape[0], : target.shape[1]]
    return found


def read_frames(path: str | os.PathLike[str], limit: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Frames, uint8 RGB [height, width, 3]; otherwise like `read_planes`."""
    for frame in _pictures(path, limit):
        with decoding(Path(path), BadVideo):
            rgb = frame.to_ndarray(format="rgb24")
        yield rgb


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A picture of a video and when it is on screen."""

    start: float
    """Seconds on the container's clock."""
    end: float
    """When the next one comes; the last one stays as long as its packet says, or as the one before."""
    path: Path
    picture: Any
    """PyAV's frame."""

    @property
    def middle(self) -> float:
        """Seconds, of the time that it is on screen."""
        return (self.start + self.end) / 2

    def rgb(self) -> NDArray[np.uint8]:
        """uint8 RGB [height, width, 3], set upright where the file says that it was taken on its side.

        Raises:
            BadVideo: damaged.
        """
        with decoding(self.path, BadVideo):
            rgb: NDArray[np.uint8] = self.picture.to_ndarray(format="rgb24")
            quarters = round(self.picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb


def timed_frames(path: str | os.PathLike[str]) -> Iterator[TimedFrame]:
    """Frames with their times, by the time stamps, at whatever distances; otherwise like `read_frames`.

    One without a stamp, or with one that goes back, follows the one before at the file's average rate.
    """
    path, before, start, usual = Path(path), None, 0.0, 0.04
    for frame in _pictures(path, None):
        usual = _usual_seconds(frame, usual)
        stamp = frame.pts * float(frame.time_base) if frame.pts is not None and frame.time_base else None
        if before is None:
            before, start = frame, stamp or 0.0
            continue
        end = stamp if stamp is not None and stamp > start else start + usual
        yield TimedFrame(start, end, path, before)
        before, start = frame, end
    if before is not None:
        yield TimedFrame(start, start + usual, path, before)


def _usual_seconds(frame: Any, otherwise: float) -> float:
    """How long a frame stays, as its packet says."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return otherwise


def _pictures(path: str | os.PathLike[str], limit: int | None) -> Iterator[Any]:
    path, given = Path(path), 0
    with opened(path, BadVideo, "video") as container:
        stream = _picture_of(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the first picture may be small
        try:
            for frame in container.decode(stream):
                if limit is not None and given >= limit:
                    return
                given += 1
                yield frame
        except BROKEN:
            if not given:
                raise
    if not given and limit != 0:
        raise BadVideo(f"{path.name} holds no picture.", "Save or download the file again.")


# Copying


def remux(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    metadata: Mapping[str, str],
    sound_shift: float = 0.0,
    speech: Speech | None = None,
    overwrite: bool = False,
    xmp: bytes = b"",
) -> None:
    """Copy a video with new tags, its pictures and (without a shift) its sound untouched.

    Args:
        source: MP4 with H.264, as `VideoWriter` makes it.
        target: MP4 to write, index in front.
        metadata: tags of the container, instead of the old ones; any key.
        sound_shift: seconds that the sound comes later (< 0: earlier). It is then encoded anew, and
            lasts as long as before.
        speech: where to take that sound from; the source's own when None.
        overwrite: whether a file at `target` may be replaced.
        xmp: packet for a box of its own at the end; that of the source is not copied.

    Raises:
        BadVideo: `source` cannot be read.
        BadOutput: `target` cannot be written.
    """
    source, target = Path(source), Path(target)
    shift = _checked_shift(sound_shift)
    check_target(target, overwrite)
    part = temporary_name(target)
    try:
        with opened(source, BadVideo, "video") as reader, writing(target):
            _copy(reader, source, part, metadata, shift, speech)
        with writing(target):
            if xmp:
                append_xmp_box(part, xmp)
            flush_into_place(part, target, overwrite)
    finally:
        discard(part)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Inside, what FFmpeg and the disk say of a file that is written becomes `BadOutput`."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        _raise_as_bad_output(error, target)


def _copy(
    reader: Any, source: Path, part: Path, metadata: Mapping[str, str], shift: float, speech: Speech | None
) -> None:
    picture = _picture_of(reader, source)
    own = reader.streams.audio[0] if reader.streams.audio else None
    with av.open(address(part), "w", format="mp4", options={"movflags": MOVFLAGS}) as writer:
        writer.metadata.update(metadata)
        copies = {picture.index: copy_stream(writer, picture)}
        track = None
        if own is not None and not shift:
            copies[own.index] = copy_stream(writer, own)
        elif own is not None:
            track = _SoundTrack(writer, speech or read_speech(source), shift)
        for packet in reader.demux([stream for stream in (picture, own) if stream is not None]):
            if packet.dts is None or packet.stream.index not in copies:
                continue
            if track is not None and packet.pts is not None:
                track.advance(float(packet.pts * packet.time_base))
            packet.stream = copies[packet.stream.index]
            writer.mux(packet)
        if track is not None:
            track.finish()


def copy_stream(writer: Any, stream: Any) -> Any:
    """A stream of another file to which packets are copied as they are."""
    # Opaque: without an encoder of its own, which would put another header in front of copied packets.
    return writer.add_stream_from_template(stream, opaque=True)
