"""Decoded sound: float samples of one track, each in its place in time.

The length is what the decoder gives, sample by sample, and where a container's time stamps leave a gap
(discontinuous transmission, a muted microphone, packets that were lost) silence of that length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio
from .blocks import split
from .container import opened
from .headers import states_length

MAX_SECONDS = 7200.0
"""Longest sound."""
RATES = (1000, 768_000)
"""Least and most samples a second: a file of other rates lies, and would swell when it is resampled."""
BLOCKS_PER_SECOND = 10
"""Blocks in which sound is looked at and mixed."""
WHOLE_NUMBERS = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
"""Full scale of FFmpeg's formats of whole numbers."""
FLOATS = {"flt", "dbl"}
MOST_PLANES = 7
"""Channels, each in a plane of its own, that PyAV may give to NumPy: from eight on it looks for one more and
reads memory that is none (`AudioFrame.planes` up to 18.1)."""
TIMED = {"matroska", "webm", "mov", "mp4", "ogg", "flv", "asf", "mpegts", "mpeg", "mxf"}
"""FFmpeg's names of containers that stamp packets with a time; elsewhere it is counted from the bytes."""
JUMPING = {"mpegts", "mpeg", "flv"}
"""Those whose time may jump for no reason that concerns the sound (an edited broadcast)."""
LONGEST_JUMP = 10.0
"""Seconds that such a jump counts as a gap, as FFmpeg has it."""
GAP = 0.015
"""Seconds between time stamps from which there is silence between them; less is rounding."""
OPEN_END = 0.1
"""The same after the last packet, whose padding is no silence."""
RESTART = 1.0
"""Seconds that time stamps jump back when they begin anew; less is an overlap."""


@dataclass(frozen=True)
class Piece:
    """Some samples of a track."""

    samples: NDArray[np.float32]
    """float32 [channels, samples], full scale is 1; of files with floats, whatever is in them."""
    rate: int
    """Samples a second."""
    layout: str
    """FFmpeg's name of the channels' places, such as "stereo", "5.1", "16 channels"."""


def decoded(path: Path, track: int, damage: list[str], data: bytes | None = None) -> Iterator[Piece]:
    """The samples of a sound track from its beginning.

    Args:
        path: the file.
        track: number among its sound tracks, from 0.
        damage: gets a line for every packet that cannot be decoded and is skipped.
        data: the file's bytes where they lie in memory.

    Raises:
        BadAudio: cannot be read, longer than `MAX_SECONDS`, or another rate than `RATES`.
    """
    with opened(path, BadAudio, "sound", data) as container:
        stream = container.streams.audio[track]
        timeline, piece = _Timeline(container, stream, path), None
        marks_padding = "mp4" in container.format.name
        to_floats = Filters(("aformat", "sample_fmts=flt"))
        for packet, frame in _frames(container, stream, damage):
            rate, layout = frame.sample_rate, frame.layout.name
            if not RATES[0] <= rate <= RATES[1]:
                raise BadAudio(f"{path.name} has {rate:,} samples a second.", "Save it with 48,000.")
            early = timeline.delay_in(frame)
            if early == frame.samples:
                continue
            stamp = 0 if early else frame.pts
            for samples in _floats(frame, to_floats):
                samples, early = samples[:, early:], 0
                if marks_padding:
                    samples = samples[:, : _without_padding(packet, rate)]
                silence = timeline.place(stamp, samples.shape[1] / rate)
                check_length(timeline.position)
                yield from _silence(silence, len(samples), rate, layout)
                piece = Piece(samples, rate, layout)
                yield piece
            timeline.note_packet(packet)
        if piece is not None:
            yield from _silence(timeline.open_end(), len(piece.samples), piece.rate, piece.layout)


def sound_start(path: Path, track: int = 0) -> float:
    """Where on the container's clock, in seconds, the sound that `decoded` gives begins; pictures have their
    time stamps on the same clock. Where the file begins, if it has no sound.

    Raises:
        BadAudio: cannot be read.
    """
    with opened(path, BadAudio, "sound") as container:
        start = (container.start_time or 0) / 1_000_000
        if not container.streams.audio:
            return start
        stream = container.streams.audio[track]
        timeline = _Timeline(container, stream, path)
        for _, frame in _frames(container, stream, []):
            early = timeline.delay_in(frame)
            if early == frame.samples:
                continue
            stamp = 0 if early else frame.pts
            silence = timeline.place(stamp, (frame.samples - early) / frame.sample_rate)
            return timeline.time_of(stamp, start) - silence
        return start


def runs(pieces: Iterator[Piece]) -> Iterator[tuple[int, str, Iterator[NDArray[np.float32]]]]:
    """Rate, layout and blocks [channels, rate / `BLOCKS_PER_SECOND`] of each stretch that keeps both.

    A file may change them midway. The last block of a stretch is shorter.
    """
    for (rate, layout, _), same in groupby(pieces, lambda each: (each.rate, each.layout, len(each.samples))):
        yield rate, layout, split((each.samples for each in same), max(1, rate // BLOCKS_PER_SECOND))


class Filters:
    """Frames through a chain of FFmpeg's filters; made anew when rate, channels or format change midway."""

    def __init__(self, *chain: tuple[str, str]) -> None:
        """`chain`: name and arguments of each filter."""
        self._chain = (*chain, ("abuffersink", ""))
        self._source: tuple[Any, ...] = ()
        self._graph: Any = None

    def __call__(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """What is ready, as PyAV gives it: float32 [channels, samples], or [1, all] of packed samples."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            self._graph, self._source = self._graph_for(frame), source
        frame.pts = None  # filters would fill and cut by it
        self._graph.push(frame)
        yield from self._drain()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What is left inside; afterwards it begins anew."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._drain()
        self._graph, self._source = None, ()

    def _graph_for(self, frame: Any) -> Any:
        graph = av.filter.Graph()
        last = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        for name, arguments in self._chain:
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        graph.configure()
        return graph

    def _drain(self) -> Iterator[NDArray[np.float32]]:
        # The graph says by these errors that it wants more, or has no more.
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield self._graph.pull().to_ndarray()


def frame_of(samples: NDArray[np.float32], rate: int) -> Any:
    """A frame for `Filters` of float32 [1 or 2, samples]."""
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples), "fltp", "mono" if len(samples) == 1 else "stereo"
    )
    frame.sample_rate = rate
    return frame


def _frames(container: Any, stream: Any, damage: list[str]) -> Iterator[tuple[Any, Any]]:
    """Packets and the frames in them."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.FFmpegError as error:
            damage.append(str(error))
            if len(damage) > 1000:
                return
            continue
        for frame in frames:
            yield packet, frame


def check_length(seconds: float) -> None:
    """Refuse sound longer than `MAX_SECONDS`.

    Raises:
        BadAudio: it is.
    """
    if seconds > MAX_SECONDS:
        raise BadAudio(
            f"The sound lasts {_clock(seconds)}; the limit is {_clock(MAX_SECONDS)}.",
            "Cut it into shorter parts.",
        )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _floats(frame: Any, convert: Filters) -> Iterator[NDArray[np.float32]]:
    """A frame's samples as float32 [channels, samples]; `convert` does rare formats."""
    channels, form = len(frame.layout.channels), frame.format
    kind = form.name.removesuffix("p") if form.is_planar else form.name
    if (form.is_planar and channels > MOST_PLANES) or kind not in (*WHOLE_NUMBERS, *FLOATS):
        yield from (values.reshape(-1, channels).T for values in convert(frame))
        return
    values = frame.to_ndarray()
    values = values if form.is_planar else values.reshape(-1, channels).T
    if kind in WHOLE_NUMBERS:
        values = values.astype(np.float32) / WHOLE_NUMBERS[kind] - (1.0 if kind == "u8" else 0.0)
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32, copy=False)
    yield floats


def _without_padding(packet: Any, rate: int) -> int | None:
    """Where the encoder's padding at the end begins, which MP4 marks by a shorter last packet only."""
    if not packet.duration or packet.time_base is None:
        return None
    return round(packet.duration * packet.time_base * rate) or None


def _silence(seconds: float, channels: int, rate: int, layout: str) -> Iterator[Piece]:
    left = round(seconds * rate)
    while left:
        size = min(left, rate)
        yield Piece(np.zeros((channels, size), np.float32), rate, layout)
        left -= size


class _Timeline:
    """Where in time frames lie by their time stamps, and how much silence is before them."""

    def __init__(self, container: Any, stream: Any, path: Path) -> None:
        names = set(container.format.name.split(","))
        self._unit = float(stream.time_base) if names & TIMED and stream.time_base else 0.0
        self._longest = LONGEST_JUMP if names & JUMPING else math.inf
        self._first = (stream.start_time or 0) * self._unit
        begin = (container.start_time or 0) / 1_000_000
        self._from_zero = "matroska" in names
        if self._from_zero:
            self._first, begin = max(0.0, self._first), max(0.0, begin)
        # Sound may begin later than the rest of the file.
        self._lead = max(0.0, self._first - begin)
        self._swallows = "asf" in names
        self._origin: float | None = None
        # What is stamped later than the end of the file is a slip.
        known = container.duration if states_length(container, path) else None
        self._latest = known / 1_000_000 + RESTART if known else math.inf
        self.position = 0.0
        """Seconds given out so far."""
        self._end = self._stated_end = 0.0

    def delay_in(self, frame: Any) -> int:
        """Samples at a frame's beginning that are the encoder's delay: in Matroska what is stamped before 0.

        FFmpeg drops them since 8.1. Stamps are rounded: what remains within a step of theirs is delay, too.
        """
        if not self._from_zero or frame.pts is None or frame.pts >= 0:
            return 0
        early = round(-frame.pts * self._unit * frame.sample_rate)
        left = frame.samples - early
        return int(frame.samples if left < self._unit * frame.sample_rate else early)

    def place(self, stamp: int | None, seconds: float) -> float:
        """Take in a frame of `seconds` stamped `stamp`, in the stream's unit; seconds of silence before it.

        Both its distance from the frame before and that from what was given out so far must be a gap: stamps
        that jitter, or run faster than the samples, leave none.
        """
        silence = 0.0
        if self._unit and stamp is not None:
            if self._origin is None:
                # What a decoder keeps back at first is padding, but WMA's also keeps back the first frame.
                frame = stamp * self._unit - self._first - seconds if self._swallows else 0.0
                self._origin = stamp * self._unit - self._lead - min(max(frame, 0.0), seconds)
            start = stamp * self._unit - self._origin
            if start - self._end < -RESTART:
                self._origin, start = stamp * self._unit - self.position, self.position
            gap = min(start - self._end, start - self.position)
            if GAP < gap <= self._longest and start + seconds <= self._latest:
                silence = gap
            self._end = start
        self.position += silence + seconds
        self._end += seconds
        return silence

    def time_of(self, stamp: int | None, otherwise: float) -> float:
        """Seconds of a time stamp on the container's clock; `otherwise` where it stamps no times."""
        return stamp * self._unit if self._unit and stamp is not None else otherwise

    def note_packet(self, packet: Any) -> None:
        """Take in what the container says of the packet that the last frame came from."""
        if self._origin is not None and packet.pts is not None and packet.duration is not None:
            self._stated_end = (packet.pts + packet.duration) * self._unit - self._origin

    def open_end(self) -> float:
        """Seconds of silence after the last frame, which its packet was said to cover."""
        gap = self._stated_end - self.position
        return gap if OPEN_END < gap <= self._longest and self._stated_end <= self._latest else 0.0
