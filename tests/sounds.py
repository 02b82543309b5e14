"""Makes sound files for tests, in any codec, with PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

MEDIA = Path(__file__).parent / "data/media"

CODECS = {
    ".wav": ("wav", "pcm_s16le"),
    ".mp3": ("mp3", "libmp3lame"),
    ".m4a": ("ipod", "aac"),
    ".opus": ("ogg", "libopus"),
    ".ogg": ("ogg", "flac"),
    ".flac": ("flac", "flac"),
    ".webm": ("webm", "libopus"),
}
MORE_CODECS = {
    ".aac": ("adts", "aac"),
    ".wma": ("asf", "wmav2"),
    ".ac3": ("ac3", "ac3"),
    ".mka": ("matroska", "pcm_f32le"),
    ".mkv": ("matroska", "aac"),
    ".mp4": ("mp4", "aac"),
    ".mov": ("mov", "pcm_f32le"),
    ".ts": ("mpegts", "aac"),
    ".aiff": ("aiff", "pcm_s24be"),
    ".caf": ("caf", "pcm_f64le"),
    ".w64": ("w64", "pcm_s32le"),
    ".au": ("au", "pcm_f32be"),
    ".wv": ("wv", "wavpack"),
    ".tta": ("tta", "tta"),
    ".flv": ("flv", "aac"),
    ".avi": ("avi", "pcm_s16le"),
}
LAYOUTS = {
    **{1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"},
    16: "hexadecagonal",
}


def tone(seconds: float, rate: int = 48000, channels: int = 1, level: float = 0.5) -> np.ndarray:
    """float32 [channels, samples]: a sine of 440 Hz."""
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(np.float32(level) * np.sin(2 * np.pi * 440 * time).astype(np.float32), (channels, 1))


def click(seconds: float, at: float, rate: int = 48000) -> np.ndarray:
    """float32 [1, samples]: silence with a burst of 20 ms."""
    sound = np.zeros((1, round(seconds * rate)), np.float32)
    burst = tone(0.02, rate, level=0.9)
    start = round(at * rate)
    sound[:, start : start + burst.shape[1]] = burst
    return sound


@lru_cache(maxsize=16)
def voice(rate: int = 16000) -> np.ndarray:
    """float32 [1, samples]: 2.3 seconds of a synthesised voice; not to be changed."""
    from sonic_ext.media.audio import read_speech

    blocks = read_speech(MEDIA / "short_en_flite_rms_2s3.wav").blocks(rate)
    sound = np.concatenate(list(blocks))[None]
    sound.setflags(write=False)
    return sound


def write(
    path: Path,
    sound: np.ndarray,
    rate: int = 48000,
    *,
    more: Sequence[np.ndarray] = (),
    gaps: Sequence[tuple[float, float]] = (),
    later: float = 0.0,
    codec: str = "",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode float32 [channels, samples]; the ending of the name chooses container and codec.

    Args:
        path: the file.
        sound: of the first track.
        rate: samples a second.
        more: further tracks.
        gaps: (where, how much): seconds of sound after which the time stamps jump by so many.
        later: seconds after the first that the further tracks begin.
        codec: instead of the ending's.
        options: of the encoder.
        container_options: of the container.
    """
    kind, usual = (CODECS | MORE_CODECS)[path.suffix]
    if options is None and usual == "wmav2":
        options = {"b": "128000"}
    with av.open(str(path.absolute()), "w", format=kind, options=container_options or {}) as container:
        tracks = []
        for each in (sound, *more):
            layout, encoder = LAYOUTS[len(each)], codec or usual
            tracks.append(
                (container.add_stream(encoder, rate=rate, layout=layout, options=options or {}), each)
            )
        for number, (stream, each) in enumerate(tracks):
            for frame in _frames(stream, each, rate, [(0.0, later if number else 0.0), *gaps]):
                container.mux(stream.encode(frame))
    return path


def _frames(
    stream: av.AudioStream, sound: np.ndarray, rate: int, gaps: Sequence[tuple[float, float]]
) -> Iterator[Any]:
    layout = LAYOUTS[len(sound)]
    if not stream.codec_context.is_open:
        stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T.reshape(1, -1)), "flt", layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    for part in (frame, None):
        for small in resampler.resample(part):
            small.pts += sum(round(length * rate) for at, length in gaps if small.pts >= at * rate)
            yield small
    yield None
