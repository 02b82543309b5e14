"""The one way through: check → prepare → engine → mark → encode; export passes the gate.

Frames go from the engine through the label and the watermark straight into the encoder, one at a time, and
the preview's through the stamp, too. The tags are in both files from the moment there are any: an unmarked
video never exists as a file. At most two frames exist beside those that the engine holds.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import __version__, engines
from .configuration import Configuration
from .engines import registry
from .engines.detectors import detector
from .engines.registry import AUTO
from .errors import Failed
from .media.audio import Speech
from .media.face import Face
from .media.image import Portrait, read_portrait
from .media.mel import RATE
from .media.perceptual import perceptual_hash
from .media.scene import FaceRange, Scene, compose, draw_preflight
from .media.video import VideoWriter, read_planes, remux
from .media.voices import read_voices, voice_count
from .ports import Animation, DeviceManager, Engine, WindowPool
from .progress import Progress, Silent, Tick, Ticker
from .provenance.gate import export as export
from .provenance.labels import VisibleLabel, label_warnings
from .provenance.metadata import TakeProvenance, digital_source_type, tags, xmp
from .provenance.recovery import clear_up
from .provenance.stamp import PreviewStamp
from .provenance.store import MASTER_NAME, PREVIEW_NAME, Store
from .provenance.take import Take
from .provenance.watermark import ALGORITHM, Detection, Marker, detect, marker
from .settings import Settings
from .sync.calibration import Calibration, correction
from .sync.offset import Estimate
from .weights import Search

PathLike = str | os.PathLike[str]

UNASKED = 300.0
"""Seconds that a video may take without anybody having named the engine that takes them."""
MARK_SECONDS = 10.0
"""How much of a finished master is searched for its own watermark; the first 2.4 s are enough for most."""
NOT_READABLE = (
    "The invisible watermark cannot be read from this video, as happens under 2 seconds or in black "
    "pictures: where signature and labels are lost, nothing tells what it is."
)


@dataclass(frozen=True)
class Preflight:
    """What a job will be, told before it starts."""

    engine: str
    """Engine that will draw: preview or sonic."""
    seconds: float
    """Length of the video in seconds."""
    frames: int
    """Frames to draw."""
    width: int
    """Width of the video in pixels."""
    height: int
    """Height of the video in pixels."""
    fps: int
    """Frames per second."""
    face_box: tuple[int, int, int, int]
    """left, top, right, bottom of the face in pixels of the portrait."""
    face_confidence: float
    """0 to 1, the landmark network's own score."""
    yaw: float
    """Turn of the head in degrees, 0 looks at the viewer."""
    loudness: float
    """Loudness of the speech in LUFS (EBU R 128)."""
    seconds_needed: float
    """Forecast of the working time in seconds."""
    memory_needed: int
    """Forecast of the peak main memory in bytes."""
    device_memory_needed: int
    """Forecast of the graphics card's peak memory in bytes; 0 where none is used."""
    warnings: tuple[str, ...]
    """Sentences for the user."""
    picture: NDArray[np.uint8]
    """The portrait with the face box drawn on it, uint8 RGB [height, width, 3]."""
    faces: int = 1
    """Faces that were seen in the portrait."""
    face_box_2: tuple[int, int, int, int] | None = None
    """Of the face that speaks with the second voice, where there is one."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the picture."""
        values = {name: value for name, value in vars(self).items() if name != "picture"}
        boxes = {
            "face_box": list(self.face_box),
            "face_box_2": list(self.face_box_2) if self.face_box_2 else None,
        }
        return values | boxes | {"warnings": list(self.warnings)}


def frame_count(seconds: float, fps: int) -> int:
    """Frames that cover `seconds` of sound: the last spoken sound is kept, at least one frame."""
    return max(1, math.ceil(seconds * fps - 1e-6))


def animate(
    portrait: PathLike | Portrait,
    audio: PathLike | Speech,
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    devices: DeviceManager | None = None,
    engine: str = "",
    seed: int | None = None,
    take_id: str = "",
    threads: int = 0,
    voice_2: PathLike | Speech | None = None,
    read_back: bool = True,
    window_pool: WindowPool | None = None,
) -> Take:
    """Animate a portrait with speech into the private store.

    Args:
        portrait: picture file, or a `Portrait`.
        audio: sound file or video with sound, or a `Speech`.
        settings: `Settings`, or names and values that differ from the defaults.
        progress: told of every step; asked whether to stop.
        store: private store, and what the user configured; the user's own by default.
        devices: the WebUI's VAE and memory, where there is a WebUI.
        engine: the one that engine=auto is to mean; the settings decide by default.
        seed: 0 to 2**32 - 1, the one that seed=-1 is to mean; drawn by default.
        take_id: of the take; a new one by default.
        threads: of the encoders; 0 leaves it to them, 1 also draws and encodes in turn.
        voice_2: what the second of two persons in the portrait says.
        read_back: read the watermark from the finished master; not needed where another computer does that.
        window_pool: other processes that compute windows of the video, for an engine that has any.

    Returns:
        The take: a marked master and a stamped preview. `export` lets it out.

    Raises:
        BadInput: portrait, audio or settings cannot be used; the message says what to do.
        ConsentRevoked: exports of this portrait were stopped.
        MissingPart: an engine or a part that is not installed.
        Cancelled: `progress` asked to stop; nothing is left behind but a draft of the sonic engine.
        Tampered: the consent ledger, which the take is sealed by, was altered.
    """
    tick = Ticker(progress or Silent())
    settings = _settings(settings)
    home = store or Store()
    clear_up(home.home, home.configuration)
    home.check()
    search = Search.default(configuration=home.configuration)
    choose = partial(
        engines.choose,
        home=home.home,
        devices=devices,
        settings=settings,
        search=search,
        faces=voice_count(settings, voice_2),
        window_pool=window_pool,
    )
    asked = engine or settings.engine
    drawer = choose(asked)
    speech = read_voices(audio, voice_2, settings, tick).fitted(settings)
    picture = _portrait(portrait)
    home.ledger.refuse_revoked(picture.sha256, picture.pixel_sha256)
    count = frame_count(speech.length, settings.fps)
    composed = partial(_composed, picture, settings, search, tick, len(speech.voices))
    scene = composed(drawer)
    if asked == AUTO:
        drawer, scene = _within_minutes(drawer, scene, settings, count, choose, composed)
    looks, *others = (
        perceptual_hash(picture.rgb, _face_in_portrait(scene, face).landmarks).hex() for face in scene.faces
    )
    face_range = scene.face_range(settings.motion_scale * drawer.head_motion)
    drawn = secrets.randbelow(2**32) if seed is None else seed
    seed = drawn if settings.seed == -1 else settings.seed
    with (
        closing(drawer.prepare(scene, speech, settings, count, seed, tick)) as animation,
        home.new_take(take_id) as (take_id, folder),
    ):
        origin = TakeProvenance(take_id, drawer.name, __version__, settings, animation.seed, len(scene.faces))
        offset = _record(
            folder,
            origin,
            home.configuration.producer,
            scene,
            speech,
            face_range,
            animation,
            count,
            tick,
            threads,
        )
        mark = None
        if read_back:
            mark = read_own_watermark(folder / MASTER_NAME, int(take_id, 16), settings.fps, count, tick)
        unread = () if mark or not read_back else (NOT_READABLE,)
        take = home.create(
            take_id,
            scene.portrait,
            speech,
            settings=settings,
            engine=drawer.name,
            engine_version=__version__,
            seed=animation.seed,
            frames=count,
            size=(scene.width, scene.height),
            warnings=_warnings(
                settings.for_engine(drawer.name),
                scene,
                speech,
                face_range,
                *animation.warnings,
                *unread,
                *lookalike_warning(home, looks, *others),
            ),
            sync_offset=offset.seconds if offset else None,
            created=datetime.now(timezone.utc),
            mark_algorithm=ALGORITHM,
            mark=mark,
            perceptual_hash=looks,
            second=(speech.voices[1], others[0]) if others else None,
        )
        # Revoked meanwhile: either this sees it, or whoever revoked saw the finished take.
        home.ledger.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
        animation.forget()
        return take


def preflight(
    portrait: PathLike | Portrait,
    audio: PathLike | Speech,
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
    devices: DeviceManager | None = None,
    configuration: Configuration | None = None,
    voice_2: PathLike | Speech | None = None,
) -> Preflight:
    """What `animate` would make of the same arguments, in about a second.

    Raises what `animate` would raise of portrait, audio, settings and parts; the ledger is not asked.
    """
    tick = Ticker(progress or Silent())
    settings = _settings(settings)
    search = Search.default(configuration=configuration)
    wanted = voice_count(settings, voice_2)
    choose = partial(engines.choose, devices=devices, settings=settings, search=search, faces=wanted)
    engine = choose(settings.engine)
    speech = read_voices(audio, voice_2, settings, tick).fitted(settings)
    picture = _portrait(portrait)
    count = frame_count(speech.length, settings.fps)
    composed = partial(_composed, picture, settings, search, tick, wanted)
    scene = composed(engine)
    if settings.engine == AUTO:
        engine, scene = _within_minutes(engine, scene, settings, count, choose, composed)
    face_range = scene.face_range(settings.motion_scale * engine.head_motion)
    cost = engine.forecast(scene, settings, count)
    face, *others = (_face_in_portrait(scene, face) for face in scene.faces)
    crop = scene.crop.turned(-scene.quarters, scene.portrait.width, scene.portrait.height)
    return Preflight(
        engine=engine.name,
        seconds=count / settings.fps,
        frames=count,
        width=scene.width,
        height=scene.height,
        fps=settings.fps,
        face_box=face.box.rounded(),
        face_confidence=face.confidence,
        yaw=face.yaw,
        loudness=speech.loudness,
        seconds_needed=cost.seconds,
        memory_needed=cost.memory,
        device_memory_needed=cost.device_memory,
        warnings=_warnings(settings.for_engine(engine.name), scene, speech, face_range, *cost.warnings),
        picture=draw_preflight(picture, face, crop, *others),
        faces=scene.count,
        face_box_2=others[0].box.rounded() if others else None,
    )


def _composed(
    picture: Portrait, settings: Settings, search: Search, tick: Tick, wanted: int, engine: Engine
) -> Scene:
    """The scene at a size that the engine takes, with so many faces."""
    find = detector(settings.face_detector, search)
    return compose(picture, settings, engine.size_multiple, tick, find, wanted)


def _within_minutes(
    engine: Engine,
    scene: Scene,
    settings: Settings,
    count: int,
    choose: Callable[..., Engine],
    composed: Callable[[Engine], Scene],
) -> tuple[Engine, Scene]:
    """What engine=auto means for this video: the first engine that takes no minutes that nobody asked for."""
    slow: dict[str, str] = {}
    while engine.name != registry.ENGINES[-1].name:
        seconds = engine.forecast(scene, settings, count).seconds
        if seconds <= UNASKED:
            break
        slow[engine.name] = (
            f"The {engine.name} engine would take about {math.ceil(seconds / 60)} minutes for this: "
            f"engine={engine.name} has it draw all the same."
        )
        engine = choose(AUTO, too_slow=slow)
        scene = composed(engine)
    return engine, scene


def _record(
    folder: Path,
    origin: TakeProvenance,
    producer: str,
    scene: Scene,
    speech: Speech,
    face_range: FaceRange,
    animation: Animation,
    count: int,
    tick: Ticker,
    threads: int,
) -> Estimate | None:
    """Draw, mark and encode every frame into master and stamped preview; measure the lip sync meanwhile."""
    settings, payload = origin.settings, int(origin.id, 16)
    width, height, fps = scene.width, scene.height, settings.fps
    label = VisibleLabel(settings, width, height, fps, face_range)
    stamp = PreviewStamp(settings, scene.face, face_range, width, height, fps, scene.second)
    mark, small_mark = (
        marker(payload, width, height, fps),
        marker(payload, stamp.width, stamp.height, fps),
    )
    syncs = [
        Calibration(face, voice.blocks(RATE), count / fps, fps)
        for face, voice in zip(scene.faces, speech.voices, strict=True)
        if settings.lip_sync_calibration
    ]
    master, preview = folder / MASTER_NAME, folder / PREVIEW_NAME
    told = {master: tags(origin, False, producer), preview: tags(origin, True, producer)}
    # Whether the portrait is known as synthetic is asked at the export; until then it is not.
    packet = xmp(origin, digital_source_type(origin, synthetic=False))
    with (
        VideoWriter(master, width, height, fps, speech, told[master], xmp=packet, threads=threads) as video,
        VideoWriter(
            preview, stamp.width, stamp.height, fps, speech, told[preview], xmp=packet, threads=threads
        ) as small,
    ):

        def write(frame: NDArray[np.uint8], index: int) -> None:
            stamped = _mark_frame(stamp.frame(frame, index), small_mark, index)
            small.write(stamped)
            tick.show(cv2.cvtColor(stamped, cv2.COLOR_YUV2RGB_I420))
            label.draw(frame, index)
            video.write(_mark_frame(frame, mark, index))

        # One frame is marked and encoded while the next is drawn; never more than these two exist.
        with ThreadPoolExecutor(1, "encoder") as beside:
            written: Future[None] | None = None
            tick(animation.stage, 0, count)
            for index, drawn in enumerate(animation.frames()):
                for sync in syncs:
                    sync.see(drawn)
                frame = drawn.copy()
                if written:
                    written.result()
                written = beside.submit(write, frame, index)
                if threads == 1:
                    written.result()
                tick(animation.stage, index + 1, count)
            if written:
                written.result()
    found = [each for each in (sync.offset() for sync in syncs) if each]
    # Of two who speak, whoever is measured best
    offset = max(found, key=lambda each: each.confidence, default=None)
    shift = correction(offset) if offset else 0.0
    if shift:
        for path, metadata in told.items():
            remux(path, path, metadata, sound_shift=shift, overwrite=True, xmp=packet)
    return offset


def _mark_frame(rgb: NDArray[np.uint8], mark: Marker, index: int) -> NDArray[np.uint8]:
    """A frame as it is encoded, planes Y, U, V below each other, with the watermark in it."""
    planes: NDArray[np.uint8] = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    mark.embed(planes, index)
    return planes


def read_own_watermark(master: Path, payload: int, fps: int, count: int, tick: Tick) -> Detection | None:
    """The watermark as it reads from the finished master; None where it cannot be read.

    Raises:
        Failed: another one is read.
    """

    looked = min(count, round(MARK_SECONDS * fps))
    found = detect(read_planes(master, looked), fps, algorithms=[ALGORITHM], count=looked, tick=tick)
    if found is not None and found.payload != payload:
        raise Failed(
            f"The finished video carries the watermark {found.payload:016x} instead of its own.",
            "Make it again, from a portrait that is not a frame of a marked video.",
        )
    return found


def lookalike_warning(store: Store, *looks: str) -> tuple[str, ...]:
    alike = store.ledger.revoked_lookalikes(*looks)
    if not alike:
        return ()
    return (
        f"The portrait looks like one whose consent was revoked ({', '.join(alike)}); "
        "its export will ask why it is another one.",
    )


def _face_in_portrait(scene: Scene, face: Face) -> Face:
    """A face of the scene in the pixels of the portrait as it was read."""
    sx, sy = scene.crop.width / scene.width, scene.crop.height / scene.height
    face = face.scaled(sx, sy, scene.crop.left, scene.crop.top)
    return face.turned(-scene.quarters, scene.portrait.width, scene.portrait.height)


def _settings(settings: Settings | Mapping[str, Any] | None) -> Settings:
    return settings if isinstance(settings, Settings) else Settings.from_mapping(settings or {})


def _portrait(portrait: PathLike | Portrait) -> Portrait:
    return portrait if isinstance(portrait, Portrait) else read_portrait(portrait)


def _warnings(
    settings: Settings, scene: Scene, speech: Speech, face_range: FaceRange, *more: str
) -> tuple[str, ...]:
    label = label_warnings(settings, scene.width, scene.height, face_range)
    return (*scene.warnings, *speech.warnings, *settings.warnings(), *label, *more)
