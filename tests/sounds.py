"""Makes sound files for tests, in any codec, with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    ".wav": ("wav", "pcm_s16le"),
    ".mp3": ("mp3", "libmp3lame"),
    ".m4a": ("ipod", "aac"),
    ".opus": ("ogg", "libopus"),
    ".ogg": ("ogg", "flac"),
    ".flac": ("flac", "flac"),
    ".webm": ("webm", "libopus"),
}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


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


def write(path: Path, sound: np.ndarray, rate: int = 48000) -> Path:
    """Encode float32 [channels, samples]; the ending of the name chooses the codec."""
    kind, codec = CODECS[path.suffix]
    with av.open(str(path.absolute()), "w", format=kind) as container:
        layout = LAYOUTS[len(sound)]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(wanted, layout, rate, frame_size=_frame_size(stream))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for part in (frame, None):
            for small in resampler.resample(part):
                container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return path


def _frame_size(stream: av.AudioStream) -> int:
    stream.codec_context.open()
    return stream.codec_context.frame_size or 1024
