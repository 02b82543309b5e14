"""A video's sound moved against its picture: the picture's packets are copied, tags and the rest stay.

The sound is decoded, moved by whole samples and encoded anew, in its own codec where there is an encoder of
it; lossless sound stays lossless. Time stamps alone (an edit list) would do in a player, but programs that
take the sound out of a file drop them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio, BadOutput, BadVideo
from ..files.atomic import check_target, discard, flush_into_place, temporary_name
from .container import address, append_xmp_box, opened, read_xmp_box
from .samples import Filters, Piece, decoded, sound_start
from .video import MOVFLAGS, SOUND_BITS, VideoInfo, copy_stream, probe, writing

KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Endings of names that are written, and FFmpeg's names of their containers."""
FARTHEST = 2.0
"""Seconds that sound may be moved."""
MOST_BITS = 320_000
"""A second of sound, whatever it had before."""
ENCODERS = {"opus": "libopus", "mp3": "libmp3lame", "vorbis": "libopus"}
"""Codecs whose encoder has another name; Vorbis has only an experimental one and becomes Opus."""
KEPT = {"aac", "ac3", "alac", "eac3", "flac", "mp2", *ENCODERS}
"""Codecs that sound is encoded in again; PCM of every kind as well. Other sound becomes AAC or Opus."""
OPUS_RATE = 48000
_BRANDS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
"""What FFmpeg tells of a container among its tags, and writes by itself."""


def shift_sound(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    seconds: float,
    overwrite: bool = False,
) -> None:
    """Copy a video with its sound moved; there whole or not at all.

    The picture's packets and their times are the same to the bit; tags, chapters, subtitles, the XMP box of
    an MP4 and every sound track come along, a C2PA signature does not. The sound keeps its length: later, it
    begins with silence and ends no later than the longer of both did; earlier, what would come before the
    picture is cut off and silence follows.

    Args:
        source: MP4, MOV, MKV or WebM.
        target: with an ending of `KINDS`, of the source's family; may be `source` with `overwrite`.
        seconds: that the sound comes later (< 0: earlier), up to `FARTHEST`.
        overwrite: whether a file at `target` may be replaced.

    Raises:
        BadVideo: `source` cannot be read.
        BadAudio: it has no sound, or none that can be decoded.
        BadOutput: `target` cannot be written or is of another kind, or `seconds` are too many.
    """
    source, target = Path(source), Path(target)
    check_shift(source, target, overwrite)
    if not math.isfinite(seconds) or abs(seconds) > FARTHEST:
        raise BadOutput(f"The sound cannot be moved by {seconds:g} s.", f"Stay within {FARTHEST:g} s.")
    info, part = probe(source), temporary_name(target)
    try:
        with opened(source, BadVideo, "video") as reader:
            _copy_shifted(reader, source, part, target, seconds, info)
        with writing(target):
            if packet := read_xmp_box(source):
                append_xmp_box(part, packet)
            flush_into_place(part, target, overwrite)  # the target may be the source, and the only one
    finally:
        discard(part)


def check_shift(source: Path, target: Path, overwrite: bool = False) -> None:
    """Refuse a target that `shift_sound` could not make of the source; for asking before minutes of work.

    Raises:
        BadVideo: `source` cannot be read, or is of a kind that is not written.
        BadOutput: `target` exists, cannot be written, or is of another kind.
    """
    with opened(source, BadVideo, "video") as reader:
        family = set(reader.format.name.split(","))
    fitting = [ending for ending, kind in KINDS.items() if kind in family]
    if not fitting:
        raise BadVideo(
            f"{source.name} is no MP4, MOV, MKV or WebM file: its sound cannot be moved.",
            "Convert it to one of these first.",
        )
    if target.suffix.lower() not in fitting:
        raise BadOutput(
            f"{target.name} is to be made of {source.name}, which is another kind of file.",
            f"Give a name that ends in {' or '.join(fitting)}.",
        )
    check_target(target, overwrite)


def _copy_shifted(
    reader: Any, source: Path, part: Path, target: Path, seconds: float, info: VideoInfo
) -> None:
    kind = KINDS[target.suffix.lower()]
    if not reader.streams.audio:
        raise BadAudio(f"{source.name} is a video without sound.", "Give a video in which somebody speaks.")
    with writing(target):
        options = {"movflags": MOVFLAGS} if kind in ("mp4", "mov") else {}
        writer = av.open(address(part), "w", format=kind, options=options)
    try:
        copied = {stream.index: _copy_of(writer, stream, target) for stream in _copied(reader, writer)}
        tracks = [
            _MovedTrack(writer, source, number, stream, seconds, max(0, reader.start_time or 0), info, target)
            for number, stream in enumerate(reader.streams.audio)
            if stream.codec_context is not None
        ]
        writer.metadata.update({key: text for key, text in reader.metadata.items() if key not in _BRANDS})
        if hasattr(writer, "set_chapters"):  # not in the oldest PyAV that is supported
            writer.set_chapters(reader.chapters())
        for packet in reader.demux([reader.streams[index] for index in copied]):
            if not packet.size:
                continue
            moment = float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
            for track in tracks:
                track.advance(moment)
            packet.stream = copied[packet.stream.index]
            with writing(target):
                writer.mux(packet)
        for track in tracks:
            track.finish()
        with writing(target):
            writer.close()
    except BaseException:
        _abandon(writer)
        raise


def _abandon(writer: Any) -> None:
    """Close a file that is thrown away: how that fails says nothing new."""
    with suppress(av.error.FFmpegError, OSError, ValueError):
        writer.close()


def _copied(reader: Any, writer: Any) -> Iterator[Any]:
    """Streams whose packets are copied: the first picture, as everywhere, and subtitles that fit."""
    yield reader.streams.video[0]
    for stream in reader.streams.subtitles:
        if stream.codec_context is not None and stream.codec_context.name in writer.supported_codecs:
            yield stream


def _copy_of(writer: Any, stream: Any, target: Path) -> Any:
    codec = stream.codec_context.codec.canonical_name
    if stream.type == "video" and codec not in writer.supported_codecs:
        raise BadOutput(
            f"{target.name} cannot hold the picture of the source ({codec}).",
            "Give a name with the same ending as the source.",
        )
    copy = copy_stream(writer, stream)
    copy.metadata.update(stream.metadata)
    return copy


@dataclass(frozen=True)
class _SoundForm:
    """What a sound track is encoded as."""

    encoder: str
    rate: int
    layout: str
    channels: int
    bits: int
    """A second; 0 for lossless."""
    sample_format: str
    """FFmpeg's name; empty for the encoder's own."""

    @classmethod
    def of(cls, stream: Any, writer: Any) -> _SoundForm:
        """As close to the source's as the container and its encoders allow."""
        context = stream.codec_context
        name = context.codec.canonical_name
        known = name in KEPT or name.startswith("pcm_")
        encoder = _encoder(ENCODERS.get(name, name), writer) if known else ""
        encoder = encoder or _encoder("aac", writer) or "libopus"
        codec = av.Codec(encoder, "w")
        rates = sorted(codec.audio_rates or ())
        rate = next((each for each in rates if each >= context.sample_rate), max(rates, default=0))
        lossless = codec.lossless and not codec.lossy
        forms = [form.name for form in codec.audio_formats or ()]
        return cls(
            encoder,
            OPUS_RATE if encoder == "libopus" else rate or context.sample_rate,
            context.layout.name,
            len(context.layout.channels),
            0 if lossless else min(max(SOUND_BITS, stream.bit_rate or context.bit_rate or 0), MOST_BITS),
            context.format.name if lossless and context.format and context.format.name in forms else "",
        )


def _encoder(name: str, writer: Any) -> str:
    """The name where there is such an encoder and the container takes what it makes, else ""."""
    try:
        made = av.Codec(name, "w").canonical_name
    except ValueError:  # this FFmpeg has none
        return ""
    return name if made in writer.supported_codecs else ""


class _MovedTrack:
    """One sound track, moved and encoded as far as the picture has come."""

    def __init__(
        self,
        writer: Any,
        source: Path,
        number: int,
        stream: Any,
        shift: float,
        start: int,
        info: VideoInfo,
        target: Path,
    ) -> None:
        """`start`: where the sound is to begin on the container's clock, microseconds."""
        self._form = form = _SoundForm.of(stream, writer)
        self._writer, self._target = writer, target
        with writing(target):
            made = writer.add_stream(form.encoder, rate=form.rate, layout=form.layout)
        if form.bits:
            made.bit_rate = form.bits
        if form.sample_format:
            made.codec_context.format = form.sample_format
        made.time_base = made.codec_context.time_base = Fraction(1, form.rate)
        made.metadata.update(stream.metadata)
        self._stream = made
        self._blocks = moved(
            _samples(decoded(source, number, []), form),
            round((shift + sound_start(source, number) - start / 1_000_000) * form.rate),
            form.channels,
            round(info.seconds * form.rate),
        )
        self._begin = round(start / 1_000_000 * form.rate)
        self._done = 0

    def advance(self, moment: float) -> None:
        """Encode the sound up to this moment of the source's time."""
        while self._begin + self._done < moment * self._form.rate and self._put():
            pass

    def finish(self) -> None:
        """Encode the rest."""
        while self._put():
            pass
        with writing(self._target):
            self._writer.mux(self._stream.encode(None))

    def _put(self) -> bool:
        """Encode a block; False where there is none any more."""
        block = next((block for block in self._blocks if block.shape[1]), None)
        if block is None:
            return False
        frame = _packed(block, self._form.rate, self._form.layout)
        frame.pts = self._begin + self._done
        self._done += block.shape[1]
        with writing(self._target):
            self._writer.mux(self._stream.encode(frame))
        return True


def _samples(pieces: Iterator[Piece], form: _SoundForm) -> Iterator[NDArray[np.float32]]:
    """The track at one rate and layout, float32 [channels, samples]."""
    chain = f"sample_fmts=flt:sample_rates={form.rate}:channel_layouts={form.layout}"
    filters = Filters(("aresample", str(form.rate)), ("aformat", chain))
    for piece in pieces:
        if (piece.rate, piece.layout) == (form.rate, form.layout):
            ready: Iterator[NDArray[np.float32]] = filters.flush()
        else:
            ready = filters(_packed(piece.samples, piece.rate, piece.layout))
        for made in ready:
            yield made.reshape(-1, form.channels).T
        if (piece.rate, piece.layout) == (form.rate, form.layout):
            yield piece.samples
    for made in filters.flush():
        yield made.reshape(-1, form.channels).T


def _packed(samples: NDArray[np.float32], rate: int, layout: str) -> Any:
    """A frame of float32 [channels, samples], channel beside channel: PyAV takes any number of them."""
    packed = np.ascontiguousarray(samples.T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    return frame


def moved(
    blocks: Iterator[NDArray[np.float32]], shift: int, channels: int, picture: int
) -> Iterator[NDArray[np.float32]]:
    """Sound moved by `shift` samples (> 0: later) in blocks of float32 [channels, samples].

    It keeps its length; later, it may use what of the picture's length, in samples, it did not fill before.
    """
    if shift > 0:
        yield np.zeros((channels, shift), np.float32)
        done, held = shift, np.zeros((channels, 0), np.float32)
        for block in blocks:
            held = np.concatenate([held, block], axis=1)
            ready = held.shape[1] - shift
            if ready > 0:
                yield held[:, :ready]
                held, done = held[:, ready:], done + ready
        if done < picture:
            yield held[:, : picture - done]
        return
    skip = -shift
    for block in blocks:
        kept = block[:, skip:]
        skip -= min(skip, block.shape[1])
        if kept.shape[1]:
            yield kept
    yield np.zeros((channels, -shift), np.float32)
