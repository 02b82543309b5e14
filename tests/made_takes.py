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

from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.image import Portrait, from_array
from sonic_ext.media.video import VideoWriter
from sonic_ext.provenance.labels import PreviewStamp, VisibleLabel
from sonic_ext.provenance.ledger import Head
from sonic_ext.provenance.private import private_folder
from sonic_ext.provenance.store import MASTER_NAME, PREVIEW_NAME, Store, Take
from sonic_ext.provenance.watermark import Watermark
from sonic_ext.settings import Settings

TAKE_ID = "0123456789abcdef"
SIDE, FPS = 256, 25
SPEECH = Path(__file__).parent / "data" / "media" / "short_en_flite_rms_2s3.wav"


def no_tick(stage: str, done: int, total: int) -> None:
    """Progress for nobody."""


def some_portrait(seed: int = 0) -> Portrait:
    """Sixty-four pixels of noise; another seed is another person."""
    return from_array(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))


def some_speech() -> Speech:
    return read_speech(SPEECH, no_tick)


def drawn_frames(count: int, side: int = SIDE) -> Iterator[np.ndarray]:
    """Smooth texture that moves a little, uint8 RGB."""
    noise = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
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
        mark_read=True, mark_odds=1e-14, ledger=Head(0, "0" * 64), perceptual_hash="",
    )  # fmt: skip
    return replace(take, **changes)


def record_clip(folder: Path, settings: Settings, count: int, take_id: str = TAKE_ID) -> None:
    """Write a labelled, watermarked master and a stamped preview into `folder`."""
    label = VisibleLabel(settings, SIDE, SIDE, FPS)
    mark, stamp = Watermark(int(take_id, 16), SIDE, SIDE, FPS), PreviewStamp(SIDE, SIDE)
    speech = some_speech()
    with (
        VideoWriter(folder / MASTER_NAME, SIDE, SIDE, FPS, speech) as video,
        VideoWriter(folder / PREVIEW_NAME, stamp.width, stamp.height, FPS, speech) as small,
    ):
        for index, frame in enumerate(drawn_frames(count)):
            label.draw(frame, index)
            small.write(cv2.cvtColor(stamp.frame(frame), cv2.COLOR_RGB2YUV_I420))
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
            mark.embed(planes[:SIDE], index)
            video.write(planes)


def adopt_clip(
    store: Store,
    clip: Path,
    *,
    take_id: str = TAKE_ID,
    settings: Settings | None = None,
    portrait: Portrait | None = None,
    frames: int = 58,
) -> Take:
    """A take in `store` of the files that `record_clip` wrote into `clip`."""
    folder = store.folder / take_id
    private_folder(folder)
    for name in (MASTER_NAME, PREVIEW_NAME):
        (folder / name).write_bytes((clip / name).read_bytes())
    return store.adopt(
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
        mark=None,
        perceptual_hash="",
    )
