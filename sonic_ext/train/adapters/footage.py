"""Real talking videos as latent clips: faces found, cut out, and run through everything that is held.

A clip is a stretch of one shot. Its square lies still around the median box of the face, as the engine frames
a portrait, and so the face moves in it as it will have to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ...engines.sonic.conditioning import mask_levels
from ...engines.sonic.networks import Networks
from ...engines.sonic.picture import clip_pixels, draw_mask, mask_values, reference
from ...engines.sonic.speech import encode_speech, whisper_states
from ...engines.sonic.windows import BASE_FPS, CHUNK, RATE, SAMPLES_PER_STEP
from ...errors import BadAudio, BadInput, BadVideo
from ...files.atomic import replace_file
from ...media.audio import Speech
from ...media.face import Face, find_face
from ...media.geometry import Box, crop_square, mask_box
from ...media.mesh import LIPS
from ...media.video import TimedFrame, timed_frames
from ...nn.clip import embed
from ...nn.vae import encode_mean
from ...progress import Stage, Tick
from ..clips import ClipRemark
from ..corpus.acoustics import noise
from ..corpus.mixtures import over
from ..phonemes import Phoneme
from ..prepare.examining import FAILED, SkippedVideo, long_shots, one_face, watch_video
from ..prepare.layouts import ClipSource, source_of, video_names
from .clips import TrainingClip, write_clip

LONGEST = 10.0
"""Seconds of a clip; a longer shot becomes several."""
MOUTH_ROOM = 0.35
"""Room around the lips of the portrait, as a share of their width: where they go while the head moves."""
BESIDE = 10.0
"""Decibels by which speech is louder than the noise of the second hearing."""


@dataclass(frozen=True)
class Framing:
    """How a face is cut out."""

    side: int
    """Pixels of the square, a multiple of 64 for the published weights."""
    margin: float
    """Room around the face, as a share of its sides."""


def encode_videos(
    folder: Path, output: Path, networks: Networks, framing: Framing, tick: Tick
) -> list[ClipRemark]:
    """Make clips of the videos in a folder, one file each; what is there is not made again.

    Args:
        folder: as `sonic train prepare` reads it.
        output: where the clips go, with a file for each video that is done.
        networks: of the weights.
        framing: how faces are cut out.
        tick: called for every video and for every few seconds of it.

    Returns:
        What there is to say of videos that gave no clip.

    Raises:
        BadInput: there are no videos.
        OSError: a clip cannot be written.
        Cancelled: from `tick`.
    """
    names, remarks = video_names(folder, output), []
    output.mkdir(parents=True, exist_ok=True)
    encoder: _ClipEncoder | None = None
    for number, name in enumerate(names):
        tick(Stage.PREPARING_CLIPS, number, len(names), name)
        stem = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
        done = output / f"{stem}.done"
        if done.exists():
            remarks += _kept_remark(name, done)
            continue
        encoder = encoder or _ClipEncoder(networks, framing)
        said = ""
        try:
            for place, clip in enumerate(encoder.clips(source_of(folder, name), tick)):
                write_clip(output / f"{stem}-{place:03d}.safetensors", clip)
        except SkippedVideo as skipped:
            said = f"{skipped.reason}: {skipped.detail}"
        except (BadVideo, BadAudio) as error:  # it may be readable the next time
            remarks.append(ClipRemark(name, False, FAILED, error.message))
            continue
        replace_file(done, said.encode())
        remarks += _kept_remark(name, done)
    return remarks


def _kept_remark(name: str, done: Path) -> list[ClipRemark]:
    reason, _, detail = done.read_text(encoding="utf-8").partition(": ")
    return [ClipRemark(name, False, reason, detail)] if reason else []


class _ClipEncoder:
    """The networks that the training does not change, loaded once."""

    def __init__(self, networks: Networks, framing: Framing) -> None:
        self.framing, self.hardware = framing, networks.hardware
        self.vae, self.clip, self.speech = networks.vae(), networks.clip(), networks.speech()
        self.levels = len(networks.unet_config().channels)

    def clips(self, source: ClipSource, tick: Tick) -> Iterator[TrainingClip]:
        """The clips of a video.

        Raises:
            SkippedVideo: it gives none.
            BadVideo, BadAudio: it cannot be read now.
        """
        speech, faces = watch_video(source, tick)
        frames, reason = _Frames(source.path), SkippedVideo("too_short", "no stretch shows one face")
        found = 0
        for name, number in long_shots(source.name, faces):
            try:
                seen = one_face(faces, number)
            except SkippedVideo as skipped:
                reason = skipped
                continue
            start, end = max(seen.start, 0.0), min(seen.end, speech.length)
            for begin in np.arange(start, end, LONGEST):
                shown = frames.between(float(begin), min(end, float(begin) + LONGEST))
                try:
                    yield self._clip(f"{name}@{begin:.2f}", source.speaker, shown, seen.box, speech, begin)
                    found += 1
                except SkippedVideo as skipped:
                    reason = skipped
        if not found:
            raise reason

    @torch.no_grad()
    def _clip(
        self, name: str, speaker: str, frames: list[NDArray[np.uint8]], box: Box, speech: Speech, begin: float
    ) -> TrainingClip:
        """One clip, of frames at 12.5 a second."""
        if not frames:
            raise SkippedVideo("too_short", "no frames")
        height, width = frames[0].shape[:2]
        square = crop_square(box, self.framing.margin, width, height)
        pictures = [_cut(frame, square, self.framing.side) for frame in frames]
        face = self._face(pictures[0], box, square)
        sound = _sound(speech, begin, len(frames))
        rng = np.random.default_rng(len(frames))
        around = over((sound, [Phoneme("a", 0.0, len(sound) / RATE)]), noise(len(sound), rng), BESIDE)[0]
        portrait = pictures[0]
        look = embed(self.clip, clip_pixels(portrait).to(self.hardware.device, self.hardware.dtype)).float()
        buckets = encode_speech(self.speech, sound, look, len(frames)).buckets.mean(dim=0)
        side = self.framing.side
        mask = mask_values(draw_mask(mask_box(face.box, side, side), (side, side), (side, side)))
        latents = [self._encode(picture) for picture in pictures]
        return TrainingClip(
            name,
            speaker,
            torch.cat(latents).cpu(),
            latents[0].cpu(),
            look[:, None].cpu(),
            tuple(self._states(heard).cpu() for heard in (sound, around)),
            torch.cat([torch.tensor([BASE_FPS]), buckets.cpu()]),
            mask_levels(mask, (side // 8, side // 8), self.levels, sparse=False),
            mouth_latents(face, side),
        )

    def _encode(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        weight = next(self.vae.parameters())
        return encode_mean(self.vae, reference(picture).to(weight.device, weight.dtype)).float()

    def _states(self, sound: NDArray[np.float32]) -> torch.Tensor:
        steps = 2 * (len(sound) // SAMPLES_PER_STEP)
        chunks = [sound[start : start + CHUNK] for start in range(0, len(sound), CHUNK)]
        return whisper_states(self.speech.whisper, chunks, steps)

    def _face(self, picture: NDArray[np.uint8], box: Box, square: tuple[int, int, int, int]) -> Face:
        """The face in the first picture; where it is not found again, it was turned away or blurred.

        Raises:
            SkippedVideo: it cannot be used.
        """
        scale = self.framing.side / (square[2] - square[0])
        inside = box.shifted(-square[0], -square[1]).scaled(scale, scale)
        try:
            return find_face(picture, inside.clipped(self.framing.side, self.framing.side))[0]
        except BadInput as error:
            raise SkippedVideo("no_face", error.message) from error


def mouth_latents(face: Face, side: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of where the mouth goes, in latents of a square of `side` pixels."""
    lips = face.landmarks[list(LIPS), :2]
    low, high = lips.min(axis=0), lips.max(axis=0)
    room = MOUTH_ROOM * float(high[0] - low[0])
    edges = (low[0] - room, low[1] - room, high[0] + room, high[1] + 1.6 * room)
    grid = side // 8
    left, top = (min(grid - 2, max(0, int(edge / 8))) for edge in edges[:2])
    right, bottom = (min(grid, math.ceil(float(edge) / 8)) for edge in edges[2:])
    return left, top, max(left + 2, right), max(top + 2, bottom)


class _Frames:
    """The frames of a video, read once: stretches are asked for in the order of their times."""

    def __init__(self, path: Path) -> None:
        self._coming = timed_frames(path)
        self._shown: TimedFrame | None = None

    def between(self, start: float, end: float) -> list[NDArray[np.uint8]]:
        """RGB frames at 12.5 a second, each the one that is shown a quarter into its time: as the engine has
        it, the first of the two at 25 that it stands for."""
        found: list[NDArray[np.uint8]] = []
        for number in range(int((end - start) * BASE_FPS)):
            at = start + (number + 0.25) / BASE_FPS
            while self._shown is None or self._shown.end <= at:
                following = next(self._coming, None)
                if following is None:
                    break
                self._shown = following
            if self._shown is not None:
                found.append(self._shown.rgb())
        return found


def _cut(frame: NDArray[np.uint8], square: tuple[int, int, int, int], side: int) -> NDArray[np.uint8]:
    left, top, right, bottom = square
    part = frame[top:bottom, left:right]
    how = cv2.INTER_AREA if part.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (side, side), interpolation=how), np.uint8)


def _sound(speech: Speech, start: float, frames: int) -> NDArray[np.float32]:
    """16 kHz samples of so many frames."""
    samples = np.concatenate(list(speech.blocks(RATE)))
    first, count = round(start * RATE), frames * 2 * SAMPLES_PER_STEP
    part = samples[first : first + count]
    return np.pad(part, (0, count - len(part))).astype(np.float32)
