"""Talking faces to train on: identities drawn by the preview engine, mouths from the phonemes' own times.

The viseme network has no part in it. A clip is kept as the engine would see it: frames at 12.5 a second, each
in the middle of the first of the two frames at 25 that it stands for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.preview import motion
from ...engines.preview.engine import mix_motions
from ...engines.preview.fields import lip_fields
from ...engines.preview.idle import move_head
from ...engines.preview.limits import Limits
from ...engines.preview.render import Renderer
from ...engines.preview.speech import MouthTrack
from ...engines.preview.warp import Rect
from ...engines.sonic.windows import BASE_FPS
from ...errors import BadInput
from ...files.atomic import replace_file
from ...media import mel
from ...media.geometry import Box, crop_square
from ...media.mesh import LIPS
from ...settings import Settings
from ..corpus.mixtures import joined
from ..corpus.sounds import RATE, Utterance
from ..phonemes import Phoneme
from ..visemes import labels
from .identities import CANVAS, FaceIdentity
from .sizes import MARGIN, SIDE

DRAWN = 3 * SIDE // 2
"""Pixels at which faces are drawn before they are reduced."""
FPS = 2 * BASE_FPS
SECONDS = 6.0
"""Of a clip."""
LINES = 6
"""Recordings that a clip is put together from, at most."""
SPREAD = 0.04
"""By how much the room around a face differs from `MARGIN`, either way."""
HEADS, EXPRESSIONS = (0.0, 0.2), (0.7, 1.1)
"""Ranges of motion_scale and dynamic_scale, drawn for each clip: the buckets tell the network which. Heads
that turn as far as the preview's take all that so small a network learns: nothing is left for the mouth."""
FORMAT = "sonic-footage-3"


@dataclass(frozen=True, eq=False)
class FootageClip:
    """One identity that says something."""

    identity: str
    voice: str
    frames: NDArray[np.uint8]
    """uint8 RGB [n, SIDE, SIDE, 3] at 12.5 a second."""
    portrait: NDArray[np.uint8]
    """uint8 RGB [SIDE, SIDE, 3], at rest."""
    sound: NDArray[np.float32]
    """float32 [samples] at 16 kHz."""
    phonemes: tuple[Phoneme, ...]
    """What is said in it."""
    opening: NDArray[np.float32]
    """Gap between the lips at every frame, in half mouth widths, float32 [n]."""
    shapes: NDArray[np.float32]
    """What the mouth does, float32 [n, 9], columns of `motion.MOTION`."""
    strength: NDArray[np.float32]
    """motion_scale and dynamic_scale that it was drawn with, float32 [2]."""
    face: Box
    """Of the face at rest, pixels of a frame."""
    mouth: Box
    """Around the mouth in any frame, pixels of a frame."""


def lines_of_one(voices: Mapping[str, Sequence[Path]], rng: np.random.Generator) -> list[Path]:
    """Recordings of one voice, as many as a clip is put together from."""
    names = sorted(voices)
    lines = voices[names[int(rng.integers(len(names)))]]
    return [lines[int(place)] for place in rng.integers(len(lines), size=LINES)]


def said(utterances: Sequence[Utterance], rng: np.random.Generator, seconds: float = SECONDS) -> Utterance:
    """Lines one after the other, cut or filled up to a length."""
    sound, phonemes = joined(utterances, rng)
    count = round(seconds * RATE)
    return np.pad(sound[:count], (0, max(0, count - len(sound)))), phonemes


def mouth_track(utterance: Utterance, count: int) -> MouthTrack:
    """What the mouth does at 25 frames a second, from phonemes with times."""
    sound, phonemes = utterance
    rows = math.ceil(count / FPS * mel.ROWS_PER_SECOND) + 1
    wanted = [each for each in phonemes if each.start < rows / mel.ROWS_PER_SECOND]
    named = labels(
        wanted, max(rows, math.ceil(mel.ROWS_PER_SECOND * max((p.end for p in wanted), default=0)))
    )
    heard = np.concatenate([*mel.levelled(mel.mel_rows([np.asarray(sound, np.float32)], rows))])
    moves = motion.motion(named[:rows], mel.loudness(heard))
    middles = (np.arange(count) + 0.5) / FPS * mel.ROWS_PER_SECOND - 0.5
    taken = motion.sampled(moves, middles, mel.ROWS_PER_SECOND / FPS)
    return MouthTrack(**{name: taken[:, index].copy() for index, name in enumerate(motion.MOTION)})


def draw_clip(identity: FaceIdentity, voice: str, utterance: Utterance, seed: int) -> FootageClip:
    """Draw an identity saying something; the same seed gives the same clip."""
    rng = np.random.default_rng([seed, 5])
    count = 2 * int(len(utterance[0]) / RATE * BASE_FPS)
    square = crop_square(identity.box, MARGIN + rng.uniform(-SPREAD, SPREAD), CANVAS, CANVAS)
    side = square[2] - square[0]
    scale = DRAWN / side
    picture = cv2.resize(identity.picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    landmarks = identity.landmarks * np.float32(scale)
    left, top = (min(round(edge * scale), picture.shape[0] - DRAWN) for edge in square[:2])
    view = Rect(left, top, left + DRAWN, top + DRAWN)
    renderer = Renderer(np.asarray(picture, np.uint8), landmarks, view)
    strength = np.array([rng.uniform(*HEADS), rng.uniform(*EXPRESSIONS)], np.float32)
    settings = Settings(motion_scale=float(strength[0]), dynamic_scale=float(strength[1]))
    track = mouth_track(utterance, count)
    pose = move_head(
        track.energy,
        track.speaking,
        FPS,
        int(rng.integers(2**31)),
        settings.motion_scale,
        settings.dynamic_scale,
        1.0,
    )
    limits = Limits(renderer.anatomy, (picture.shape[1], picture.shape[0]))
    mixes, _ = limits.narrowed(mix_motions(track, pose, settings), settings.fps)
    drawn, frames = np.empty((DRAWN, DRAWN, 3), np.uint8), []
    for mix in mixes[::2]:
        renderer.draw(mix, drawn)
        frames.append(_reduced(drawn))
    shrunk = SIDE / DRAWN
    face = identity.box.scaled(scale, scale).shifted(-left, -top).scaled(shrunk, shrunk)
    lips = landmarks[list(LIPS), :2] - (left, top)
    low, high = lips.min(axis=0), lips.max(axis=0)
    room = 0.35 * (high[0] - low[0])
    mouth = Box(low[0] - room, low[1] - room, high[0] + room, high[1] + 1.6 * room)
    flipped = rng.random() < 0.5
    clip = FootageClip(
        identity.name + ("'" if flipped else ""),
        voice,
        np.stack(frames),
        _reduced(view.cut(np.asarray(picture, np.uint8))),
        np.asarray(utterance[0], np.float32),
        tuple(each for each in utterance[1] if each.end <= len(frames) / BASE_FPS),
        (mixes[::2] @ _gap(renderer)).astype(np.float32),
        np.stack([getattr(track, name) for name in motion.MOTION], axis=1)[::2],
        strength,
        face.clipped(SIDE, SIDE),
        mouth.scaled(shrunk, shrunk).clipped(SIDE, SIDE),
    )
    return _flipped(clip) if flipped else clip


def _reduced(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _gap(renderer: Renderer) -> NDArray[np.float64]:
    """What each coefficient adds to the lips' gap in the middle, in half mouth widths, [motions]."""
    anatomy = renderer.anatomy
    middle = np.asarray(anatomy.axes.origin, np.float64)[None, None]
    lower, upper = (lip_fields(anatomy, middle, lower=side)[:, 0, 0] for side in (True, False))
    return np.asarray((lower - upper) @ anatomy.axes.down / anatomy.mouth)


def _flipped(clip: FootageClip) -> FootageClip:
    """Its mirror image."""

    def mirrored(box: Box) -> Box:
        return Box(SIDE - box.right, box.top, SIDE - box.left, box.bottom)

    return replace(
        clip,
        frames=np.ascontiguousarray(clip.frames[:, :, ::-1]),
        portrait=np.ascontiguousarray(clip.portrait[:, ::-1]),
        face=mirrored(clip.face),
        mouth=mirrored(clip.mouth),
    )


def write_footage(path: Path, clips: Sequence[FootageClip]) -> None:
    """Clips into one file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    for number, clip in enumerate(clips):
        arrays[f"{number}.frames"], arrays[f"{number}.portrait"] = clip.frames, clip.portrait
        arrays[f"{number}.sound"] = clip.sound.astype(np.float16)
        arrays[f"{number}.opening"], arrays[f"{number}.shapes"] = clip.opening, clip.shapes
        arrays[f"{number}.strength"] = clip.strength
        arrays[f"{number}.boxes"] = np.array([clip.face, clip.mouth], np.float32)
    about = [
        {
            "identity": clip.identity,
            "voice": clip.voice,
            "phonemes": [[each.name, each.start, each.end] for each in clip.phonemes],
        }
        for clip in clips
    ]
    replace_file(path, save(arrays, {"format": FORMAT, "clips": json.dumps(about)}))


def read_footage(path: Path) -> Iterator[FootageClip]:
    """The clips of one file.

    Raises:
        BadInput: it is no footage, or cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ValueError("another format")
            for number, each in enumerate(json.loads(about["clips"])):
                values: dict[str, Any] = {
                    name: file.get_tensor(f"{number}.{name}")
                    for name in ("frames", "portrait", "sound", "opening", "shapes", "strength")
                }
                values["sound"] = values["sound"].astype(np.float32)
                values["phonemes"] = tuple(Phoneme(*phoneme) for phoneme in each.pop("phonemes"))
                face, mouth = (Box(*map(float, box)) for box in file.get_tensor(f"{number}.boxes"))
                yield FootageClip(**each, **values, face=face, mouth=mouth)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no footage, or cut off.", "Delete it: it is drawn again.") from error
