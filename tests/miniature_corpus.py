"""Corpora of talking faces in miniature, in the layouts that VoxCeleb2 and LRS3 are published in.

The preview engine draws the faces from the shipped portraits and speech: no download, no synthesizer. Each
is drawn once in a process; all other clips are made of those frames.

    corpus = voxceleb2(folder)      # or lrs3(folder), or mixed(folder)
    corpus.good                     # names of videos that give clips
    corpus.bad                      # name → reason why another does not
"""

from __future__ import annotations

import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.media.audio import Speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
SIDE, FPS, RATE = 256, 25, 16000
SECONDS = 1.6
"""Length of every clip that says nothing else."""
FACES = ("portrait_01.jpg", "portrait_02.jpg", "portrait_03.jpg")
LATE = 0.16
"""Seconds that the late sound is late by."""

Frames = NDArray[np.uint8]
"""RGB [frames, height, width, 3]."""
Sound = NDArray[np.float32]
"""Mono at `RATE`."""


@dataclass
class Corpus:
    """Where it is and what is to be expected of it."""

    folder: Path
    good: list[str] = field(default_factory=list)
    """Names, relative to the folder."""
    bad: dict[str, str] = field(default_factory=dict)
    """Name → reason."""

    def put(self, name: str, frames: Frames, sound: Sound | None, reason: str = "", **how: object) -> Path:
        """Write a video, and remember what is to come of it."""
        path = write_video(self.folder / name, frames, sound, **how)  # type: ignore[arg-type]
        if reason:
            self.bad[name] = reason
        else:
            self.good.append(name)
        return path


def _quiet(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """A tick that nobody sees."""


@lru_cache(maxsize=1)
def _speech() -> Sound:
    with wave.open(str(MEDIA / "speech_en_flite_slt.wav")) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
    return (data / 32768).astype(np.float32)


@lru_cache(maxsize=8)
def talking(number: int, seconds: float = SECONDS) -> tuple[Frames, Sound]:
    """A face that talks; each number has its own portrait and its own part of the speech."""
    begin = round((0.3 + 0.9 * number) * RATE)
    sound = _speech()[begin : begin + round(seconds * RATE)]
    settings = Settings(min_resolution=SIDE, framing="crop", fps=FPS)
    scene = compose(read_portrait(MEDIA / FACES[number % len(FACES)]), settings, 2)
    speech, count = Speech.from_samples(sound, RATE), round(seconds * FPS)
    animation = PreviewEngine().prepare(scene, speech, settings, count, number, _quiet)
    frames = np.stack([_square(frame) for frame in animation.frames()])
    frames.setflags(write=False)
    return frames, sound


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def write_video(
    path: Path, frames: Frames, sound: Sound | None, times: Sequence[float] = (), late: float = 0.0
) -> Path:
    """An MP4 with H.264 and AAC.

    Args:
        times: seconds when each frame comes; 25 a second by default.
        late: seconds of silence before the sound, which loses as much at its end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    times = times or [index / FPS for index in range(len(frames))]
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt, picture.time_base = "yuv420p", Fraction(1, 1000)
        picture.codec_context.time_base = Fraction(1, 1000)
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for rgb, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if track is not None and sound is not None:
            moved = np.concatenate([np.zeros(round(late * RATE), np.float32), sound])[: len(sound)]
            _encode(container, track, moved)
    return path


def write_sound(path: Path, sound: Sound) -> Path:
    """An M4A with AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="ipod") as container:
        _encode(container, container.add_stream("aac", rate=RATE, layout="mono"), sound)
    return path


def _encode(container: av.container.OutputContainer, track: av.AudioStream, sound: Sound) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    container.mux(track.encode(frame))
    container.mux(track.encode())


# What is odd


def side_by_side(one: Frames, other: Frames) -> Frames:
    """Two people in one picture."""
    return np.concatenate([one, other], axis=2)


def leaving(frames: Frames) -> Frames:
    """The picture slides off to the side and is gone from the middle of the clip on."""
    count, out = len(frames), frames.copy()
    for index in range(count):
        gone = min(SIDE - 1, round(2.2 * SIDE * max(0.0, index / count - 0.15)))
        out[index, :, : SIDE - gone] = frames[index, :, gone:]
        out[index, :, SIDE - gone :] = frames[index, :, -1:]
    return out


def nobody(count: int) -> Frames:
    """A picture without a face."""
    rgb = read_portrait(MEDIA / "no_person.jpg").rgb
    return np.repeat(_square(rgb)[None], count, axis=0)


def uneven(count: int, seed: int = 1) -> NDArray[np.intp]:
    """Frames of a clip of 25 a second that are left by a recorder that drops some, at most two in a row."""
    kept = np.random.default_rng(seed).random(count) < 0.6
    kept[0] = kept[2::3] = True
    return np.flatnonzero(kept)


def transcript(words: Iterable[tuple[str, float, float]], conf: int = 5, table: bool = True) -> str:
    """A text as LRS3 has it beside a clip."""
    words = tuple(words)
    head = f"Text:  {' '.join(word for word, _, _ in words)}\nConf:  {conf}\n"
    rows = [f"{word} {start:.2f} {end:.2f} {7.1:.1f}" for word, start, end in words]
    return head + ("\n\nWORD START END ASDSCORE\n" + "\n".join(rows) + "\n" if table else "")


WORDS = (("A", 0.1, 0.2), ("MINIATURE", 0.24, 0.8), ("CORPUS", 0.9, 1.5))
"""Said by nobody, but at times that a clip has."""


# The layouts


def voxceleb2(folder: Path) -> Corpus:
    """`dev/mp4/<speaker>/<video>/<clip>.mp4`, for one clip also the sound in `dev/aac/…/<clip>.m4a`."""
    corpus = Corpus(folder)
    (one, said), (two, heard), (three, told) = (talking(number) for number in range(3))
    count, odd = len(one), "dev/mp4/id00027/oddoneshere"
    corpus.put("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", one, said)
    corpus.put("dev/mp4/id00012/21Uxsk56VDQ/00002.mp4", *talking(3))
    corpus.put("dev/mp4/id00015/0fijmz4vTVU/00001.mp4", two, None)
    write_sound(folder / "dev/aac/id00015/0fijmz4vTVU/00001.m4a", heard)
    kept = uneven(count)
    corpus.put("test/mp4/id00017/5MkXgwdrmJw/00001.mp4", three[kept], told, times=[*(kept / FPS)])
    corpus.put("test/mp4/id00017/5MkXgwdrmJw/00002.mp4", three, told, late=LATE)
    corpus.put(f"{odd}/00001.mp4", nobody(count), said, "no_face")
    corpus.put(f"{odd}/00002.mp4", side_by_side(one, two), said, "two_faces")
    half = count // 2
    corpus.put(f"{odd}/00003.mp4", np.concatenate([one[:half], two[half:]]), said, "cut")
    corpus.put(f"{odd}/00004.mp4", one, None, "no_sound")
    corpus.put(f"{odd}/00005.mp4", one, np.zeros_like(said), "no_sound")
    corpus.put(f"{odd}/00006.mp4", one[::5], said, "low_rate", times=[*np.arange(0, count, 5) / FPS])
    corpus.put(f"{odd}/00007.mp4", one[:15], said[: 15 * RATE // FPS], "too_short")
    corpus.put(f"{odd}/00008.mp4", leaving(three), said, "too_few_faces")
    whole = corpus.put(f"{odd}/00009.mp4", one, said, "damaged")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / odd / "00010.mp4").write_bytes(b"")
    corpus.bad[f"{odd}/00010.mp4"] = "damaged"
    return corpus


def lrs3(folder: Path) -> Corpus:
    """`pretrain`, `trainval` and `test`, each `<talk>/<clip>.mp4` beside `<clip>.txt`."""
    corpus = Corpus(folder)
    texts = {
        "pretrain/0Fi83BHQsMA/00001": transcript(WORDS),
        "trainval/0Fi83BHQsMA/50001": transcript(WORDS, table=False),
        "trainval/0akiEFwtkyA/50001": None,
        "trainval/0akiEFwtkyA/50002": "neither a text\n\x00nor a table",
        "test/00j9bKdiOjk/00001": transcript([("WRONG", 0.1, 0.4), ("CLIP", 8.0, 8.4)]),
    }
    for number, (name, text) in enumerate(texts.items()):
        corpus.put(f"{name}.mp4", *talking(number % 3))
        if text is not None:
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return corpus
