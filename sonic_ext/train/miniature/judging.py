"""What a miniature reaches on faces and voices that nothing was learned from, through the engine's own code.

Frames are drawn for the very portrait and sound of a clip of footage and laid beside it. How far the lips
open is measured twice, and compared with what the clip was drawn from. By the shipped landmarks, which know
nothing of the footage, but read faces of this size with noise: in the footage itself their correlation with
the truth is 0.5 to 0.98, face by face. And by the picture (`picture_opening`): how far it changes as the
footage's picture changes with the opening of the mouth.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ... import weights
from ...engines.preview.speech import MouthTrack
from ...engines.runtime.checkpoints import Checkpoints
from ...engines.runtime.devices import Hardware, hardware
from ...engines.sonic.budget import Budget
from ...engines.sonic.networks import Networks
from ...engines.sonic.picture import clip_pixels
from ...engines.sonic.prepare import prepare_conditioning
from ...engines.sonic.profile import profile_of
from ...engines.sonic.run import SamplingRun, first_checkpoint
from ...engines.sonic.settings import DiffusionSettings
from ...engines.sonic.stream import CHUNK, VaeDecoder
from ...engines.sonic.vaes import PARTS
from ...engines.sonic.windows import BASE_FPS, RATE
from ...media.audio import Speech
from ...media.geometry import Box
from ...media.mesh import RIGID, MeshNetwork, eye_centres, mouth_opening
from ...nn.clip import embed
from ...progress import Tick
from ...settings import Settings
from ...sync import encoders
from ...sync.measure import mouth_sync
from ...sync.mouth import MouthMotion, mouth_geometry
from ...weights.overlays import Overlay
from ..corpus.sounds import Utterance, files_by_voice, load, voice_of
from ..phonemes import Phoneme, is_bilabial
from ..scores import correlation, score
from .codec import pixels, psnr
from .footage import FootageClip, draw_clip, lines_of_one, said
from .identities import FaceIdentity
from .sizes import SIDE

ENLARGED = 2
"""The landmarks are looked for in frames so many times as large."""
LONG_CLOSURE = 0.1
"""Seconds from which a p, b or m has to be seen: frames are 80 ms apart."""
LAGS = 5
"""Frames by which mouth and truth are shifted against each other, either way."""


@dataclass(frozen=True)
class JudgedClip:
    """A clip drawn by the miniature, beside the footage."""

    clip: FootageClip
    frames: NDArray[np.uint8]
    """uint8 RGB [n, SIDE, SIDE, 3]."""
    opening: NDArray[np.float64]
    """By landmarks in the drawn frames, [n]."""
    shown: NDArray[np.float64]
    """By landmarks in the footage, [n]."""

    @property
    def pictured(self) -> NDArray[np.float64]:
        """By the drawn picture, [n]."""
        return picture_opening(self.frames, self.clip)

    @property
    def wanted(self) -> NDArray[np.float32]:
        """What the clip was drawn from, [n]."""
        return self.clip.opening[: len(self.frames)]


def drawn_clip(
    folder: Path,
    clip: FootageClip,
    steps: int,
    seed: int,
    settings: Settings,
    tick: Tick,
    overlay: Overlay | None = None,
) -> NDArray[np.uint8]:
    """The clip's portrait saying what is heard in it, uint8 RGB [n, SIDE, SIDE, 3] at 12.5 a second.

    Args:
        folder: of the miniature's weights.
        clip: its frames are not looked at.
        steps: of inference, at least 1.
        seed: of the noise.
        settings: what else counts for the sonic engine.
        tick: called between the steps.
        overlay: adapters to draw with instead of the miniature's own.

    Raises:
        BadWeights: the adapters belong to other weights.
    """
    search = weights.Search.alone(folder)
    chosen, profile = hardware(DiffusionSettings.of(settings).precision, "cpu"), profile_of(search)
    paths = weights.prepare(search, PARTS, tick)
    if overlay is not None:
        overlay.require_base(paths)
    networks = Networks(paths, chosen, tick, overlay=overlay)
    settings = settings.with_values({"inference_steps": steps})
    face: Any = SimpleNamespace(box=clip.face)
    view: Any = SimpleNamespace(picture=clip.portrait, face=face, source=Box(0, 0, SIDE, SIDE))
    speech = Speech.from_samples(clip.sound, RATE)
    plan = profile.plan(len(clip.frames), DiffusionSettings.of(settings).windows == "even")
    budget = Budget(chosen, weights.shapes(weights.UNET, networks.paths["unet"]), SIDE, plan, steps)
    told = prepare_conditioning(networks, view, speech, plan.frames, tick)
    with tempfile.TemporaryDirectory() as kept:
        run = SamplingRun(
            networks,
            told.conditioning,
            settings,
            profile,
            budget,
            Checkpoints(Path(kept)),
            "clip",
            "together",
            tick,
        )
        done = run.complete(first_checkpoint(told.conditioning, plan, run.levels, seed, "together"))
    # A miniature has no VAE for pictures: its own is shown one frame at a time instead
    together = 1 if DiffusionSettings.of(settings).decoder == "image" else CHUNK
    decoder = VaeDecoder(networks.vae())
    with torch.inference_mode():
        pictures = torch.cat([decoder(part) for part in done.latents.split(together)])
    found = (255 * pictures.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.asarray(found.cpu().numpy(), np.uint8)


def openings(frames: NDArray[np.uint8], face: Box) -> NDArray[np.float64]:
    """How far the lips are apart in each frame, in eye distances, [n]."""
    return np.array([mouth_opening(points) for points in landmarks(frames, face)])


def picture_opening(frames: NDArray[np.uint8], clip: FootageClip) -> NDArray[np.float64]:
    """How far the lips are apart in each frame as the picture says, in half mouth widths, [n].

    Of all the ways in which the grey picture around the mouth can change, the footage has one that goes with
    the opening: the covariance of each pixel with it. Along that direction the opening is read, by the
    straight line that fits the footage best. What is drawn for another sound is read by it as well, so
    nothing of the truth is in the reading but what it looks like on this face.

    Args:
        frames: uint8 RGB [n, SIDE, SIDE, 3], drawn for the clip's portrait.
        clip: the footage, of which an opening is known in every frame.
    """
    left, top, right, bottom = (round(edge) for edge in clip.mouth)

    def mouths(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        shown = pictures[:, top:bottom, left:right].astype(np.float64).mean(axis=-1)
        return np.asarray(shown.reshape(len(pictures), -1))

    footage = mouths(clip.frames)
    count = min(len(footage), len(clip.opening))
    middle, truth = footage[:count].mean(axis=0), clip.opening[:count].astype(np.float64)
    changes, opened = footage[:count] - middle, truth - truth.mean()
    direction = changes.T @ opened
    along = changes @ direction
    slope = float(along @ opened) / max(float(along @ along), 1e-12)
    return np.asarray(truth.mean() + slope * ((mouths(frames) - middle) @ direction))


def landmarks(frames: NDArray[np.uint8], face: Box) -> NDArray[np.float32]:
    """The face's points in each frame, in pixels of frames `ENLARGED` times as large, [n, 468, 3]."""
    large = [_enlarged(frame) for frame in frames]
    network, box = MeshNetwork(), face.scaled(ENLARGED, ENLARGED)
    points, _ = network.find(large[0], box.centre, 1.5 * max(box.width, box.height), 0.0)
    return np.stack([*network.follow(large, points)])


def _enlarged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    large = cv2.resize(frame, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8)


def spoken_clips(
    faces: Sequence[FaceIdentity],
    files: Sequence[Path],
    count: int,
    seconds: float,
    seed: int,
    tries: int = 1,
) -> list[FootageClip]:
    """Clips of faces that say something, each of one voice.

    Args:
        tries: of so many voices and lines, a clip has those with the most long p, b and m.
    """
    voices, found = files_by_voice(files), []
    for number in range(count):
        rng = np.random.default_rng([seed, number, 11])
        voice, spoken = max(
            (_said_by_one(voices, seconds, rng) for _ in range(tries)),
            key=lambda each: _long_closures(each[1][1], seconds),
        )
        face = faces[number % len(faces)]
        found.append(draw_clip(face, voice, spoken, int(rng.integers(2**31))))
    return found


def _said_by_one(
    voices: Mapping[str, Sequence[Path]], seconds: float, rng: np.random.Generator
) -> tuple[str, Utterance]:
    """A voice and some of its lines, of that length."""
    lines = lines_of_one(voices, rng)
    return voice_of(lines[0]), said([load(line) for line in lines], rng, seconds)


def _long_closures(phonemes: Sequence[Phoneme], seconds: float) -> int:
    """Those that frames have to show."""
    return sum(each.end <= seconds and is_bilabial(each.name) and _is_shown(each) for each in phonemes)


def _is_shown(phoneme: Phoneme) -> bool:
    """Unless it is too short a closure to be seen."""
    return not is_bilabial(phoneme.name) or phoneme.end - phoneme.start >= LONG_CLOSURE


def clip_figures(folder: Path, clip: FootageClip, frames: NDArray[np.uint8]) -> dict[str, float]:
    """What a drawn clip reaches, figure by figure; nan where one cannot be told.

    Sync and offset are measured by the network that judges alone (`sync.encoders.weights_of("judge")`),
    against the clip's own sound, whatever was beside it when it was drawn.

    Args:
        folder: of the miniature's weights, whose image encoder tells people apart.
        clip: what was to be drawn.
        frames: what was drawn, at 12.5 a second.
    """
    points = landmarks(frames, clip.face)
    opening = np.array([mouth_opening(each) for each in points])
    times = np.asarray((np.arange(len(frames)) + 0.25) / BASE_FPS, np.float64)
    motion = MouthMotion(times, np.stack([mouth_geometry(each) for each in points]))
    network = encoders.load(encoders.weights_of("judge"))
    sync = mouth_sync(motion, [clip.sound], len(frames) / BASE_FPS, network)
    judged = JudgedClip(clip, frames, opening, opening)
    pictured = judged.pictured
    return {
        "sync": sync.score,
        "sync confidence": sync.confidence,
        "offset, ms": 1000 * abs(sync.seconds),
        "mouth, r": correlation(pictured, judged.wanted),
        "mouth by landmarks, r": correlation(opening, judged.wanted),
        "long p, b, m shut": _shut([pictured], [judged]),
        "identity": _identity(folder, clip, frames),
        "jitter": _jitter(points),
        "dB": psnr(pixels(frames), pixels(clip.frames[: len(frames)])),
    }


def _jitter(points: NDArray[np.float32]) -> float:
    """Mean second difference of the points that no expression moves, in thousandths of the eyes' distance."""
    left, right = eye_centres(points[0])
    still = points[:, list(RIGID), :2].astype(np.float64)
    changes = np.linalg.norm(np.diff(still, 2, axis=0), axis=-1)
    return float(1000 * changes.mean() / np.linalg.norm(np.subtract(right, left)))


@torch.no_grad()
def _identity(folder: Path, clip: FootageClip, frames: NDArray[np.uint8]) -> float:
    """Mean cosine of the portrait's embedding with those of every fifth frame."""
    encoder = _image_encoder(folder)
    looks = embed(encoder, torch.cat([clip_pixels(each) for each in (clip.portrait, *frames[::5])]))
    looks = torch.nn.functional.normalize(looks, dim=-1)
    return float((looks[1:] @ looks[0]).mean())


@lru_cache(maxsize=1)
def _image_encoder(folder: Path) -> Any:
    search = weights.Search.alone(folder)
    paths = weights.prepare(search, [weights.IMAGE_ENCODER])
    return Networks(paths, Hardware("cpu", torch.float32), lambda *_: None).clip()


def judge(
    folder: Path,
    clips: Sequence[FootageClip],
    tick: Tick,
    steps: int = 10,
    seed: int = 7,
    settings: Settings | None = None,
) -> list[JudgedClip]:
    """Draw the clips and measure them."""
    found = []
    for number, clip in enumerate(clips):
        frames = drawn_clip(folder, clip, steps, seed + number, settings or Settings(), tick)
        shown = openings(clip.frames, clip.face)
        found.append(JudgedClip(clip, frames, openings(frames, clip.face), shown))
    return found


def reached(judged: Sequence[JudgedClip]) -> dict[str, float]:
    """Figures over clips: correlation, lag, decibels, flicker."""
    own = [each.pictured for each in judged]
    swapped = [
        correlation(*_same_length(mine, other.clip.opening))
        for mine, other in zip(own, [*judged[1:], judged[0]], strict=True)
        if len(judged) > 1
    ]
    openings = {
        "opening": own,
        "opening of the footage": [picture_opening(each.clip.frames, each.clip) for each in judged],
        "opening by landmarks": [each.opening for each in judged],
        "opening of the footage by landmarks": [each.shown for each in judged],
    }
    lags = [_lag(mine, each.wanted) for mine, each in zip(own, judged, strict=True)]
    amplitude = [
        np.std(mine) / max(np.std(each.wanted), 1e-6) for mine, each in zip(own, judged, strict=True)
    ]
    decibels = [psnr(pixels(each.frames), pixels(each.clip.frames)) for each in judged]
    return {
        "frames": float(sum(len(each.frames) for each in judged)),
        **{f"{name}, r": _mean_correlation(found, judged) for name, found in openings.items()},
        "swapped, r": float(np.mean(swapped)) if swapped else math.nan,
        "lag, frames": float(np.median(lags)),
        "long p, b, m shut": _shut(own, judged),
        "long p, b, m shut in the footage": _shut(openings["opening of the footage"], judged),
        "amplitude": float(np.mean(amplitude)),
        "dB": float(np.mean(decibels)),
        "flicker": float(np.mean([_flicker(each.frames) for each in judged])),
        "flicker of the footage": float(np.mean([_flicker(each.clip.frames) for each in judged])),
    }


def sheet(judged: Sequence[JudgedClip], columns: int = 16, every: int = 3) -> NDArray[np.uint8]:
    """Frames of each clip as footage (above) and as drawn (below), uint8 RGB."""
    rows = []
    for each in judged:
        for frames in (each.clip.frames, each.frames):
            shown = [each.clip.portrait, *frames[::every][: columns - 1]]
            rows.append(np.concatenate(shown, axis=1))
    return np.concatenate(rows)


def _flicker(frames: NDArray[np.uint8]) -> float:
    """Mean change of the picture's mean colour from frame to frame, in levels."""
    means = frames.reshape(len(frames), -1, 3).mean(axis=1)
    return float(np.abs(np.diff(means, axis=0)).mean())


def _mean_correlation(found: Sequence[NDArray[np.float64]], judged: Sequence[JudgedClip]) -> float:
    """Of openings with what the clips were drawn from."""
    return float(
        np.mean(
            [
                correlation(*_same_length(mine, each.clip.opening))
                for mine, each in zip(found, judged, strict=True)
            ]
        )
    )


def _same_length(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    count = min(len(first), len(second))
    return first[:count], second[:count]


def _shut(openings: Sequence[NDArray[np.float64]], judged: Sequence[JudgedClip]) -> float:
    """Share of long closures that are seen, as `train.scores` has it."""
    tracks = []
    for opening, each in zip(openings, judged, strict=True):
        heard = len(opening) / BASE_FPS
        phonemes = [phoneme for phoneme in each.clip.phonemes if phoneme.end <= heard and _is_shown(phoneme)]
        tracks.append((MouthTrack.of_opening(opening.astype(np.float32)), phonemes))
    with warnings.catch_warnings():  # of sounds that a short clip lacks: nan, as it should be
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(score(tracks, BASE_FPS).closed)


def _lag(seen: NDArray[Any], truth: NDArray[Any]) -> int:
    """Frames by which what is seen comes after the truth."""

    def at(lag: int) -> float:
        late, early = (seen[lag:], truth[: len(truth) - lag]) if lag >= 0 else (seen[:lag], truth[-lag:])
        return correlation(late, early)

    return max(range(-LAGS, LAGS + 1), key=at)
