"""Speech: any common sound file, streamed. Ten numbers a second are kept of it, for its loudness.

The length is what the decoder gives, sample by sample: encoder delay and padding (MP3, AAC, Opus) are
left out as the file's own marks say. Multichannel sound is mixed down, video gives its sound.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio, BadSetting
from ..files.digest import sha256_of
from ..progress import Stage, Tick
from ..settings import Settings
from .blocks import rechunked
from .container import advice, decoding, opened

MAX_SECONDS = 7200.0
"""Longest sound."""
MIN_SECONDS = 0.04
"""Shortest sound: one frame of video."""
RATES = (1000, 768_000)
"""Least and most samples a second: a file of other rates lies, and would swell when it is resampled."""
SILENCE = 10 ** (-60 / 20)
"""Peak, as a share of full scale, up to which sound counts as silence (-60 dBFS)."""
QUIET = -45.0
"""LUFS below which the user is told that the speech is faint."""
TOLERANCE = 0.1
"""Seconds that a wanted duration may differ from the sound's."""
MISSING = 0.2
"""Seconds that a file may hold less than its header says before that is worth a word."""
COVERS = ("mjpeg", "png", "webp", "bmp", "gif")
"""Codecs of pictures that come as a video stream (album covers)."""
MOST_PLANES = 7
"""Channels, each in a plane of its own, that PyAV may give to NumPy: from eight on it looks for one more and
reads memory that is none (`AudioFrame.planes` up to 18.1)."""
LEAST_BIT_RATE = 400
"""Bits a second: a header that needs fewer for its length is not believed."""


@dataclass(frozen=True)
class Speech:
    """A sound file as measured; its samples are decoded afresh whenever they are asked for."""

    path: Path
    """As given; of sound in memory a name only."""
    seconds: float
    """Samples over rate, exactly."""
    rate: int
    """Samples a second in the file."""
    channels: int
    """Channels in the file."""
    sha256: str
    """Hex digest of the file's bytes; of sound in memory those of `wav_bytes`."""
    loudness: float
    """LUFS, integrated (ITU-R BS.1770, EBU R 128), of the mono or stereo mix; -inf below its gate."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""
    limit: float | None = None
    """Seconds after trimming or padding; None leaves the sound as it is."""
    data: bytes | None = field(default=None, repr=False)
    """The file's bytes, of sound in memory."""

    @classmethod
    def from_samples(cls, samples: NDArray[np.float32] | NDArray[np.int16], rate: int) -> Speech:
        """Sound that is no file yet, held in memory.

        Args:
            samples: float32 (full scale is 1) or int16, [n] or [n, channels].
            rate: samples a second.

        Raises:
            BadAudio: of another type or shape, not finite; otherwise as `read_speech`.
        """
        data, path = wav_bytes(samples, rate), Path("speech.wav")
        if len(samples) > MAX_SECONDS * rate:
            raise BadAudio(*_too_long(len(samples) / rate))
        meter = _measure(path, len(samples) / rate, None, data)
        _check(meter, path)
        digest, notes = hashlib.sha256(data).hexdigest(), meter.notes(meter.seconds)
        return cls(path, meter.seconds, rate, meter.channels, digest, meter.loudness(), notes, data=data)

    @property
    def length(self) -> float:
        """Seconds of sound that `blocks` gives."""
        return self.seconds if self.limit is None else self.limit

    def fitted(self, settings: Settings) -> Speech:
        """Cut or padded to `settings.duration` as `settings.duration_policy` allows.

        Raises:
            BadSetting: the duration differs by more than `TOLERANCE` and the policy does not cover it.
        """
        wanted = settings.duration
        if wanted is None:
            return self
        if settings.duration_policy == "trim" and wanted < self.seconds:
            return replace(self, limit=wanted)
        if settings.duration_policy == "pad_silence" and wanted > self.seconds:
            return replace(self, limit=wanted)
        if abs(wanted - self.seconds) <= TOLERANCE + 1e-9:
            return self
        policy, verb = ("trim", "cut") if wanted < self.seconds else ("pad_silence", "fill up")
        raise BadSetting(
            f"duration={wanted:g} s differs from the audio's {self.seconds:.2f} s.",
            f"Set duration_policy={policy} to {verb} the audio, or leave duration empty.",
        )

    def blocks(self, rate: int, seconds: float = 5.0) -> Iterator[NDArray[np.float32]]:
        """Mono float32 blocks [samples] of `seconds` each, the last one shorter; decoded afresh.

        In all they hold `round(length * rate)` samples, silence after the end of the file.

        Raises:
            BadAudio: the file has gone or changed.
        """
        for block in self.sound(rate, 1, seconds):
            yield block[0]

    def sound(self, rate: int, channels: int, seconds: float = 5.0) -> Iterator[NDArray[np.float32]]:
        """Like `blocks`, float32 [channels, samples] with 1 or 2 channels."""
        total, size = round(self.length * rate), max(1, round(seconds * rate))
        return rechunked(_resampled(self.path, rate, channels, self.data), channels, total, size)


def read_speech(path: str | os.PathLike[str], tick: Tick | None = None) -> Speech:
    """Decode a sound file once to measure it.

    Args:
        path: WAV, MP3, M4A, FLAC, OGG, Opus, WebM or a video with sound.
        tick: called for every few seconds of sound.

    Raises:
        BadAudio: missing, empty, not sound, silent, shorter than `MIN_SECONDS`, longer than `MAX_SECONDS`.
        Cancelled: from `tick`.
    """
    path = Path(path)
    with opened(path, BadAudio, "sound") as container:
        stream = _sound_stream(container, path)
        expected = _declared_seconds(container, stream, path)
        notes = _kind_notes(container, path)
    if expected > MAX_SECONDS:
        raise BadAudio(*_too_long(expected))
    with decoding(path, BadAudio):
        meter = _measure(path, expected, tick)
        _check(meter, path)
        warnings = (*notes, *meter.notes(expected))
        digest = sha256_of(path, partial(tick, Stage.CHECKING_SPEECH) if tick else None)
    return Speech(path, meter.seconds, meter.rate, meter.channels, digest, meter.loudness(), warnings)


def wav_bytes(samples: NDArray[np.float32] | NDArray[np.int16], rate: int) -> bytes:
    """Samples as a WAV file: 44 bytes of header, then they themselves, little-endian, channel by channel.

    The same samples give the same bytes everywhere, so their SHA-256 identifies the sound.

    Args:
        samples: float32 (IEEE floating point) or int16 (PCM), [n] or [n, channels].
        rate: samples a second.

    Raises:
        BadAudio: of another type or shape, or not finite.
    """
    kind = {"float32": 3, "int16": 1}.get(samples.dtype.name)
    if kind is None or samples.ndim not in (1, 2) or not samples.size:
        raise BadAudio(
            f"Samples of type {samples.dtype.name} and shape {samples.shape} are no sound.",
            "Give float32 or int16, one number for each sample, or [samples, channels].",
        )
    if not np.isfinite(samples).all():
        raise BadAudio("The sound holds numbers that are not finite.", "Give samples from -1 to 1.")
    width, channels = samples.dtype.itemsize, 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    frame = width * channels
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, 8 * width)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", len(data)) + data


def _sound_stream(container: Any, path: Path) -> Any:
    streams = container.streams.audio
    if not streams:
        kind = "a video without sound" if container.streams.video else "a file without sound"
        raise BadAudio(f"{path.name} is {kind}.", "Give a file with speech in it.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise BadAudio(f"{path.name} holds sound of a kind that is not known here.", advice("sound"))
    best = container.streams.best("audio")
    return best if best in known else known[0]


def _declared_seconds(container: Any, stream: Any, path: Path) -> float:
    """Seconds that the header promises; 0 when it is silent about it or cannot be right."""
    seconds = 0.0
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / 1_000_000
    size = max(path.stat().st_size, 1)  # somebody may be emptying it right now
    seconds *= _announced_bytes(path) / size
    return seconds if 0 < seconds <= size * 8 / LEAST_BIT_RATE else 0.0


def _announced_bytes(path: Path) -> int:
    """Bytes that the file should have: a WAV says so, but FFmpeg takes its length from what is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
    promised = int.from_bytes(head[4:8], "little") + 8
    streamed = promised > 0xFFFFFF00
    return promised if head[:4] + head[8:] == b"RIFFWAVE" and promised > size and not streamed else size


def _kind_notes(container: Any, path: Path) -> tuple[str, ...]:
    kinds = [stream.codec_context and stream.codec_context.name for stream in container.streams.video]
    moving = [kind for kind in kinds if kind not in COVERS]
    return (f"{path.name} is a video; only its sound is used.",) if moving else ()


def _too_long(seconds: float) -> tuple[str, str]:
    return (
        f"The sound lasts {_clock(seconds)}; the limit is {_clock(MAX_SECONDS)}.",
        "Cut it into shorter parts.",
    )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _check(meter: _Meter, path: Path) -> None:
    if meter.seconds < MIN_SECONDS:
        what = f"only {meter.seconds * 1000:.0f} ms of sound" if meter.seconds else "no sound"
        raise BadAudio(f"{path.name} holds {what}.", "Give a file with speech in it.")
    if meter.peak <= SILENCE:
        level = "digital silence" if meter.peak == 0 else f"peak {20 * math.log10(meter.peak):.0f} dBFS"
        raise BadAudio(
            f"{path.name} holds only silence ({level}).",
            "Give a file with speech in it; check that the microphone was on.",
        )


# Decoding


def _frames(path: Path, damage: list[str], data: bytes | None = None) -> Iterator[Any]:
    """Decoded frames; packets that cannot be decoded are skipped and noted in `damage`."""
    with opened(path, BadAudio, "sound", data) as container:
        stream = _sound_stream(container, path)
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
                _check_rate(frame.sample_rate, path)
                frame = _without_padding(frame, packet, container)
                # Gaps between time stamps are closed: the length is that of the samples.
                frame.pts = None
                yield frame


def _check_rate(rate: int, path: Path) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise BadAudio(f"{path.name} has {rate:,} samples a second.", "Save it with 48,000.")


def _without_padding(frame: Any, packet: Any, container: Any) -> Any:
    """The frame without the encoder's padding at the end, which MP4 marks by a shorter last packet only."""
    if "mp4" not in container.format.name or not packet.duration or packet.time_base is None:
        return frame
    kept = round(packet.duration * packet.time_base * frame.sample_rate)
    if not 0 < kept < frame.samples:
        return frame
    channels = len(frame.layout.channels)
    if frame.format.is_planar and channels > MOST_PLANES:
        return frame
    values = frame.to_ndarray()
    per_sample = 1 if frame.format.is_planar else channels
    short = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(values[:, : kept * per_sample]), frame.format.name, frame.layout.name
    )
    short.sample_rate = frame.sample_rate
    return short


class _Filters:
    """Frames through FFmpeg filters; the graph is made anew when the file changes rate or channels midway."""

    def __init__(self, rate: int, channels: int, *more: tuple[str, str]) -> None:
        """Convert to planar float at `rate` with 1 or 2 channels, then apply `more` (name, arguments).

        Channels are mixed with weights that add up to 1, so that nothing clips.
        """
        layout = "mono" if channels == 1 else "stereo"
        form = f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"
        self._chain = (
            ("aresample", f"{rate}:rematrix_maxval=1"),
            ("aformat", form),
            *more,
            ("abuffersink", ""),
        )
        self._source: tuple[Any, ...] = ()
        self._graph: Any = None

    def __call__(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """float32 [channels, samples], as much as is ready."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            self._graph, self._source = self._graph_for(frame), source
        self._graph.push(frame)
        yield from self._drain()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What is left inside."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._drain()

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


def _resampled(path: Path, rate: int, channels: int, data: bytes | None) -> Iterator[NDArray[np.float32]]:
    """float32 [channels, samples] in pieces of any length."""
    filters = _Filters(rate, channels)
    with decoding(path, BadAudio):
        for frame in _frames(path, [], data):
            yield from filters(frame)
        yield from filters.flush()


# Measuring


def _measure(path: Path, expected: float, tick: Tick | None, data: bytes | None = None) -> _Meter:
    meter, said = _Meter(), 0.0
    for frame in _frames(path, meter.damage, data):
        meter.add(frame)
        if meter.seconds > MAX_SECONDS:
            raise BadAudio(*_too_long(meter.seconds))
        if tick is not None and meter.seconds - said >= 5:
            said = meter.seconds
            tick(Stage.READING_SPEECH, round(said), max(round(expected), round(said), 1))
    meter.finish()
    return meter


class _Meter:
    """Length, peak and loudness of frames as they pass by."""

    def __init__(self) -> None:
        self.rate = self.channels = 0
        self.seconds = 0.0
        self.peak = 0.0
        self.damage: list[str] = []
        self._samples: dict[int, int] = {}
        self._filters: _Filters | None = None
        self._powers: list[float] = []

    def add(self, frame: Any) -> None:
        """Count and measure one decoded frame."""
        if not self.rate:
            self.rate, self.channels = frame.sample_rate, len(frame.layout.channels)
            self._filters = _Filters(K_RATE, min(2, self.channels), *K_WEIGHTING)
        self._samples[frame.sample_rate] = self._samples.get(frame.sample_rate, 0) + frame.samples
        self.seconds = sum(count / rate for rate, count in self._samples.items())
        assert self._filters is not None
        for step in self._filters(frame):
            self._measured(step)

    def finish(self) -> None:
        """Take in what the filters still hold."""
        if self._filters is not None:
            for step in self._filters.flush():
                self._measured(step)

    def loudness(self) -> float:
        """LUFS, integrated; -inf when no block is above -70 LUFS. Under 0.4 s counts as one block.

        ITU-R BS.1770-4: 400 ms blocks every 100 ms, gated at -70 LUFS and at 10 LU below their mean.
        """
        steps = np.array(self._powers)
        if not len(steps):
            return -math.inf
        enough = len(steps) >= 4
        blocks = np.convolve(steps, np.full(4, 0.25), "valid") if enough else steps.mean(keepdims=True)
        loud = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
        if not len(loud):
            return -math.inf
        kept = loud[loud > loud.mean() / 10]
        return float(-0.691 + 10 * math.log10(kept.mean()))

    def notes(self, expected: float) -> tuple[str, ...]:
        """Sentences on what is odd about the sound."""
        notes = []
        if expected - self.seconds > max(MISSING, 0.02 * expected):
            notes.append(
                f"The sound ends after {self.seconds:.1f} s though its header says {expected:.1f} s: "
                "the file may be cut short or damaged. What is there is used."
            )
        if self.damage:
            notes.append("Parts of the sound are damaged and were left out.")
        if self.channels > 2:
            notes.append(f"The sound has {self.channels} channels; they are mixed down.")
        if self.loudness() < QUIET:
            notes.append("The sound is very quiet; the mouth may hardly move.")
        return tuple(notes)

    def _measured(self, step: NDArray[np.float32]) -> None:
        self.peak = max(self.peak, float(np.abs(step).max(initial=0.0)))
        if step.shape[1] == K_STEP or not self._powers:
            self._powers.append(float(np.vdot(step, step)) / step.shape[1])


K_RATE = 48000
K_STEP = K_RATE // 10
"""Samples of 100 ms."""
K_WEIGHTING = (
    (
        "biquad",
        "b0=1.53512485958697:b1=-2.69169618940638:b2=1.19839281085285:"
        "a0=1:a1=-1.69065929318241:a2=0.73248077421585",
    ),
    ("biquad", "b0=1:b1=-2:b2=1:a0=1:a1=-1.99004745483398:a2=0.99007225036621"),
    ("asetnsamples", f"n={K_STEP}:p=0"),
)
"""BS.1770's filters at 48 kHz, a shelf and a high pass, given out in steps of 100 ms."""
