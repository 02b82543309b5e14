"""Takes made without an engine, for tests of what comes after one: a marked master of moving noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonic_ext.files.home import private_folder
from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.face import Face, box_of
from sonic_ext.media.geometry import Box
from sonic_ext.media.image import Portrait, from_array
from sonic_ext.media.mesh import mean_face
from sonic_ext.media.scene import FaceRange
from sonic_ext.media.video import VideoWriter
from sonic_ext.progress import Stage
from sonic_ext.provenance import metadata
from sonic_ext.provenance.chain import Head
from sonic_ext.provenance.labels import VisibleLabel
from sonic_ext.provenance.stamp import PreviewStamp
from sonic_ext.provenance.store import MASTER_NAME, PREVIEW_NAME, Store
from sonic_ext.provenance.take import Take
from sonic_ext.provenance.watermark import ALGORITHM, Detection, marker
from sonic_ext.settings import Settings

TAKE_ID = "0123456789abcdef"
SIDE, FPS = 256, 25
SPEECH = Path(__file__).parent / "data" / "media" / "short_en_flite_rms_2s3.wav"


def no_tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """Progress for nobody."""


def some_portrait(seed: int = 0) -> Portrait:
    """Sixty-four pixels of noise; another seed is another person."""
    return from_array(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))


def some_speech() -> Speech:
    return read_speech(SPEECH, no_tick)


def drawn_frames(count: int, side: int = SIDE) -> Iterator[np.ndarray]:
    """Smooth texture, about as colourful as a photograph, that moves a little, uint8 RGB."""
    noise = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
    grey = np.repeat(noise.mean(axis=2, keepdims=True), 3, axis=2)
    texture = cv2.GaussianBlur((0.8 * grey + 0.2 * noise).astype(np.uint8), (0, 0), 3)
    for index in range(count):
        yield np.roll(texture, index // 5, axis=1)


def undrawn_take(number: int = 0, **changes: Any) -> Take:
    """A take that was never drawn: the ledger reads its facts only."""
    file, pixels, sound, video = (hashlib.sha256(f"{name}{number}".encode()).hexdigest() for name in "pxav")
    folder, fitted = Path("nowhere"), Settings()
    take = Take(
        f"{number + 1:016x}", folder, folder, folder, "preview", "0.1.0", fitted, 7,
        file, pixels, sound, video, preview_sha256="",
        created=datetime.now(timezone.utc), width=256, height=256, fps=25, frames=25, seconds=1.0,
        framing="whole", warnings=(), sync_offset=None, portrait_file=folder, audio_file=folder,
        mark_read=True, mark_algorithm=ALGORITHM, mark_odds=1e-14, ledger=Head(0, "0" * 64),
        perceptual_hash="",
    )  # fmt: skip
    return replace(take, **changes)


def mean_face_at(x: float, y: float, eyes_apart: float) -> Face:
    """The mean face looking at the viewer, x, y between its eyes."""
    landmarks = (mean_face() * eyes_apart + (x, y, 0)).astype(np.float32)
    return Face(box_of(landmarks), landmarks, 1.0, 0.0, 0.0, 0.0)


def face_range(face: Face | Box) -> FaceRange:
    """Of a face that keeps still."""
    box = face if isinstance(face, Box) else face.box
    return FaceRange(box, box)


def record_clip(
    folder: Path, settings: Settings, count: int, take_id: str = TAKE_ID, algorithm: str = ALGORITHM
) -> None:
    """Write a labelled, watermarked master and a stamped preview into `folder`, with all their tags."""
    face = mean_face_at(SIDE / 2, SIDE * 0.45, SIDE / 6)
    label = VisibleLabel(settings, SIDE, SIDE, FPS, face_range(face))
    stamp = PreviewStamp(settings, face, face_range(face), SIDE, SIDE, FPS)
    marks = [marker(int(take_id, 16), SIDE, SIDE, FPS, algorithm=algorithm) for _ in range(2)]
    origin = metadata.TakeProvenance(take_id, "preview", "0.1.0", settings, 7)
    packet = metadata.xmp(origin, metadata.COMPOSITE)
    tags = [metadata.tags(origin, preview) for preview in (False, True)]
    speech = some_speech()
    with (
        VideoWriter(folder / MASTER_NAME, SIDE, SIDE, FPS, speech, tags[0], xmp=packet) as video,
        VideoWriter(folder / PREVIEW_NAME, SIDE, SIDE, FPS, speech, tags[1], xmp=packet) as small,
    ):
        for index, frame in enumerate(drawn_frames(count)):
            stamped = stamp.frame(frame, index)
            label.draw(frame, index)
            for rgb, mark, writer in zip((frame, stamped), marks, (video, small), strict=True):
                planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
                mark.embed(planes, index)
                writer.write(planes)


def adopt_clip(
    store: Store,
    clip: Path,
    *,
    take_id: str = TAKE_ID,
    settings: Settings | None = None,
    portrait: Portrait | None = None,
    frames: int = 58,
    mark_algorithm: str = ALGORITHM,
    mark: Detection | None = None,
) -> Take:
    """A take in `store` of the files that `record_clip` wrote into `clip`."""
    folder = store.folder / take_id
    private_folder(folder)
    for name in (MASTER_NAME, PREVIEW_NAME):
        (folder / name).write_bytes((clip / name).read_bytes())
    return store.create(
        take_id,
        portrait or some_portrait(),
        some_speech(),
        settings=settings or Settings(seed=-1),
        engine="preview",
        engine_version="0.1.0",
        seed=7,
        frames=frames,
        size=(SIDE, SIDE),
        warnings=("One warning.",),
        sync_offset=0.02,
        created=datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
        mark_algorithm=mark_algorithm,
        mark=mark,
        perceptual_hash="",
    )
