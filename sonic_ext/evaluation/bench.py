"""What the sonic engine does on this computer with these weights, and what each of its trades changes.

    bench = planned_bench(settings, minutes=10)
    for figures in bench.run(tick):
        print(figures.name, figures.seconds, figures.mouth)

A short clip is drawn by the engine's own way, first as published, then with one trade after another, each
in the same words as in the settings; time, memory and the frames are compared. Frames stay in memory and no
video comes of them: only numbers are left. How the mouth moves is read by the shipped landmarks, how it fits
the voice by the network that judges alone (`sync.encoders.weights_of("judge")`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, engines
from ..engines.registry import spec_of
from ..engines.sonic.settings import DiffusionSettings
from ..errors import BadInput, BadSetting, Cancelled, OutOfMemory, SonicError
from ..fields import Affects, did_you_mean, quoted
from ..files.home import private_home
from ..media.audio import Speech, read_speech
from ..media.face import Face
from ..media.image import read_portrait
from ..media.mel import RATE
from ..media.mesh import MeshNetwork, mouth_opening
from ..media.scene import Scene, compose
from ..messages import joined
from ..pipeline import frame_count
from ..ports import DeviceManager, Engine, Forecast
from ..progress import Stage, Tick
from ..settings import PRESETS, Settings, describe
from ..sync import encoders
from ..sync.measure import mouth_sync
from ..sync.mouth import MouthMotion, mouth_geometry
from ..text import duration_text
from ..train.scores import correlation
from ..weights import Search
from .pictures import psnr, ssim

EXAMPLE = Path(__file__).resolve().parent.parent / "assets" / "example"
"""Portrait and speech that are drawn where none are given."""
PUBLISHED = "published"
"""The trade that is none."""
RECOMMENDED = ("draft", "fast", "balanced", PUBLISHED)
"""Presets, the fastest first."""
TRADES: Mapping[str, Mapping[str, Any]] = {
    **{
        name: {setting: value for setting, value in PRESETS[name].items() if setting != "min_resolution"}
        for name in reversed(RECOMMENDED)
    },
    "inference_steps=10": {"inference_steps": 10},
    "10 aligned steps": {"inference_steps": 10, "schedule": "align_your_steps"},
    "10 aligned steps, unipc": {
        "inference_steps": 10,
        "schedule": "align_your_steps",
        "solver": "unipc",
    },
    "image_guidance_interval=0.5,100": {"image_guidance_interval": [0.5, 100.0]},
    "audio_guidance_interval=1,100": {"audio_guidance_interval": [1.0, 100.0]},
    "shortcuts=null_branch": {"shortcuts": "null_branch"},
    "shortcuts=deep_features": {"shortcuts": "deep_features"},
    "shortcuts=both, cache_interval=3": {"shortcuts": "both", "cache_interval": 3},
    "shortcuts=deep_features, cache_interval=10, cache_tolerance=0.1": {
        "shortcuts": "deep_features",
        "cache_interval": 10,
        "cache_tolerance": 0.1,
    },
    "windows=even": {"windows": "even"},
    "precision=bf16": {"precision": "bf16"},
    "precision=fp8": {"precision": "fp8"},
    "precision=int8": {"precision": "int8"},
    "decoder=image": {"decoder": "image"},
}
"""Name → settings beside those of `published`. What is recommended comes first: a bench may be stopped."""
LENGTHS = (4.0, 2.0, 1.0)
"""Seconds of the clip: the longest for which there is time."""
LEAST_MOUTH, LEAST_SYNC = 0.9, 0.1
"""What a preset must keep to be recommended: correlation of the mouth's opening with the published one's,
and by how much the judge may believe less in its lip sync."""


@dataclass(frozen=True)
class TradeFigures:
    """What a trade gave; nan where it was not measured."""

    name: str
    settings: Mapping[str, Any]
    """Beside those of the bench."""
    seconds: float = math.nan
    """From the portrait to the last frame, loading included."""
    denoising: float = math.nan
    """Seconds of all steps of the UNet."""
    steps: int = 0
    share_of_peak: float = math.nan
    """Operations that count, in a second of denoising, as a share of those of a matrix product here."""
    memory: int = 0
    """Peak of the main memory in bytes, as far as it was seen between the calls."""
    device_memory: int = 0
    """Peak of the card's in bytes; 0 on a processor."""
    psnr: float = math.nan
    """Of its frames beside the published ones, dB; inf for the same."""
    ssim: float = math.nan
    mouth: float = math.nan
    """Correlation of the mouth's opening with the published one's."""
    amplitude: float = math.nan
    """Standard deviation of the opening as a share of the published one's."""
    sync: float = math.nan
    """How much the judge believes in the lip sync, 0 to 1."""
    offset: float = math.nan
    """Seconds by which it finds the mouth late."""
    error: str = ""
    """Kind of the error for which it could not be measured."""
    note: str = ""
    """What happened, and what to do about it, for who sits here: it may name files."""

    @property
    def step_seconds(self) -> float:
        """Of one step."""
        return self.denoising / self.steps if self.steps else math.nan

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, nan and infinity as null; without the note, which is for this computer's user."""
        values = asdict(self) | {"step_seconds": self.step_seconds}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
            if name != "note"
        }


@dataclass
class Bench:
    """A bench that is planned, and what has come of it so far."""

    engine: Engine
    scene: Scene
    speech: Speech
    settings: Settings
    trades: Mapping[str, Mapping[str, Any]]
    """In their order, `PUBLISHED` first."""
    seconds_needed: float
    """Forecast for all of them."""
    deadline: float
    """Seconds after which none is begun any more."""
    device: str
    """As torch names it."""
    peak: float
    """Operations of a matrix product in a second, in the numbers that the network computes with here."""
    about: Mapping[str, Any]
    """Of computer, libraries and weights."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user."""
    figures: list[TradeFigures] = field(default_factory=list)
    _published: _Drawn | None = field(default=None, repr=False)

    def run(self, tick: Tick) -> Iterator[TradeFigures]:
        """Draw and compare, trade by trade; a trade that cannot be had here has a `note`.

        Videos that are made on the device meanwhile wait, and are waited for.

        Raises:
            Cancelled: from `tick`; what was measured stays in `figures`.
            SonicError: nothing can be drawn at all.
        """
        from ..engines.runtime.lock import device_lock

        with device_lock(private_home(), self.device, tick):
            yield from self._every(tick)

    def _every(self, tick: Tick) -> Iterator[TradeFigures]:
        began, slowness = time.monotonic(), 1.0  # as long as was forecast, until it is known better
        for name, values in self.trades.items():
            settings = self.settings.with_values(values)
            try:
                forecast = self.engine.forecast(self.scene, settings, self._count)
                needed = forecast.seconds * slowness
                if self.figures and time.monotonic() - began + needed > self.deadline:
                    self.notes.append(
                        f"There was no time for {name}, which takes about {duration_text(needed)}."
                    )
                    continue
                made = self._measured(name, values, settings, forecast, tick)
                if name == PUBLISHED:
                    slowness = made.seconds / max(forecast.seconds, 1e-9)
            except Cancelled:
                raise
            except SonicError as error:
                if name == PUBLISHED and not isinstance(error, OutOfMemory):
                    raise
                told = joined(error.message, error.hint)
                made = TradeFigures(name, values, error=type(error).__name__, note=told)
            self.figures.append(made)
            yield made

    @property
    def recommended(self) -> str:
        """The fastest preset that keeps what `LEAST_MOUTH` and `LEAST_SYNC` ask for; "" for none."""
        by_name = {each.name: each for each in self.figures if not each.error}
        published = by_name.get(PUBLISHED)
        if published is None:
            return ""
        return next(
            name
            for name in RECOMMENDED
            if (each := by_name.get(name)) is not None
            and (
                each is published or (each.mouth >= LEAST_MOUTH and each.sync >= published.sync - LEAST_SYNC)
            )
        )

    @property
    def recommended_words(self) -> str:
        """The same for a command line, at the resolution that was measured."""
        name, size = self.recommended, self.settings.min_resolution
        if not name:
            return ""
        usual = PRESETS[name].get("min_resolution", Settings().min_resolution)
        return f"--preset {name}" + (f" --set min_resolution={size}" if usual != size else "")

    def as_json(self) -> dict[str, Any]:
        """Everything, to be kept or shown: no path, no picture, no name."""
        return {
            "form": 1,
            **self.about,
            "width": self.scene.width,
            "height": self.scene.height,
            "frames": self._count,
            "peak": self.peak,
            "settings": self.settings.affecting(Affects.LATENTS),
            "finished": len(self.figures) == len(self.trades),
            "trades": [each.as_json() for each in self.figures],
            "recommended": self.recommended or None,
            "notes": self.notes,
        }

    @property
    def _count(self) -> int:
        return frame_count(self.speech.length, self.settings.fps)

    def _measured(
        self, name: str, values: Mapping[str, Any], settings: Settings, forecast: Forecast, tick: Tick
    ) -> TradeFigures:
        from ..engines.runtime import devices

        watched = _Watched(tick, name, self.device)
        began = time.perf_counter()
        frames = _frames(self.engine, self.scene, self.speech, settings, self._count, watched)
        seconds = time.perf_counter() - began
        drawn = _Drawn.of(frames, self.scene.face)
        if name == PUBLISHED:
            self._published = drawn
        motion = MouthMotion((np.arange(self._count) + 0.5) / settings.fps, drawn.geometry)
        judge = encoders.load(encoders.weights_of("judge"))
        sync = mouth_sync(motion, self.speech.blocks(RATE), self._count / settings.fps, judge)
        own = DiffusionSettings.of(settings)
        peak = devices.speed(self.device, devices.hardware(own.precision, self.device).dtype)
        made = TradeFigures(
            name,
            dict(values),
            seconds,
            watched.denoising,
            own.inference_steps,
            forecast.denoising / watched.denoising / peak if watched.denoising else math.nan,
            watched.memory,
            watched.device_memory,
            sync=sync.confidence,
            offset=sync.seconds,
        )
        return replace(made, **drawn.beside(self._published)) if self._published else made


def planned_bench(
    settings: Settings,
    *,
    minutes: float = 10.0,
    portrait: Path | None = None,
    audio: Path | None = None,
    names: Sequence[str] = (),
    search: Search | None = None,
    devices: DeviceManager | None = None,
    home: Path,
    tick: Tick,
) -> Bench:
    """Look at what there is and at how long it takes.

    Args:
        settings: what all trades share, such as resolution, framing and weights.
        minutes: that it may take, by forecast.
        portrait, audio: what is drawn; the example that ships by default.
        names: of the trades beside `PUBLISHED`; all by default.
        search: where weights are looked for; this computer's places by default.
        devices: the WebUI's memory and VAE, where there is a WebUI.
        home: an empty folder, for unfinished runs; not the user's, whose own would be gone on with.
        tick: called while the face is found.

    Raises:
        MissingPart: weights or libraries of the sonic engine.
        BadInput: portrait, audio, settings; or the shortest bench takes longer than `minutes`.
        BadSetting: there is no trade of that name; or `settings` say what trades are about.
    """
    check(settings, names)
    engine = engines.choose("sonic", home, devices, settings=settings, search=search)
    from ..engines.runtime import devices as runtime  # what the engine has by now: torch ...
    from ..engines.runtime.lock import device_lock  # ... and filelock

    settings = settings.with_values({"engine": "sonic"} | dict(TRADES[PUBLISHED]))
    hardware = runtime.hardware(
        DiffusionSettings.of(settings).precision, devices.device() if devices else None
    )
    speech = read_speech(audio or EXAMPLE / "speech.wav", tick)
    scene = compose(read_portrait(portrait or EXAMPLE / "portrait.jpg"), settings, engine.size_multiple, tick)
    trades = {name: TRADES[name] for name in dict.fromkeys((PUBLISHED, *(names or TRADES)))}
    presets = {name: trades[name] for name in trades if name in RECOMMENDED}
    choices = [trades] if names else [trades, presets]
    with device_lock(private_home(), hardware.device, tick):  # else it would be measured beside a video
        peak = runtime.speed(hardware.device, hardware.dtype)
        found = _fitting(engine, scene, speech, settings, choices, 60 * minutes)
    identities = spec_of("sonic").identities
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "sonic": __version__,
        "torch": version("torch"),
        "device": hardware.title,
        "numbers": str(hardware.dtype).removeprefix("torch."),
        "weights": dict(identities(settings, search or Search.default())) if identities else {},
    }
    notes = (
        []
        if found.trades.keys() == trades.keys()
        else ["There is time for the presets alone; more minutes bring the single trades."]
    )
    return Bench(
        engine,
        scene,
        found.speech,
        found.settings,
        found.trades,
        found.seconds,
        60 * minutes,
        hardware.device,
        peak,
        about,
        notes,
    )


def check(settings: Settings, names: Sequence[str] = ()) -> None:
    """Raise `BadSetting` for a trade that there is not, and for settings that the trades are about."""
    if strange := [name for name in names if name not in TRADES]:
        raise BadSetting(
            f"There is no trade {quoted(strange[0])}.{did_you_mean(strange[0], TRADES)}",
            f"Known trades: {'; '.join(TRADES)}.",
        )
    if taken := [name for name in sorted(varied()) if getattr(settings, name) != describe()[name].default]:
        raise BadSetting(
            f"The bench measures {taken[0]} itself, beside the published way.", "Leave it, and presets, out."
        )


def varied() -> set[str]:
    """Settings that the trades change."""
    return {name for values in TRADES.values() for name in values}


@dataclass(frozen=True)
class _Plan:
    """How long a clip, and which trades."""

    trades: Mapping[str, Mapping[str, Any]]
    speech: Speech
    settings: Settings
    seconds: float
    """That they take."""


def _fitting(
    engine: Engine,
    scene: Scene,
    speech: Speech,
    settings: Settings,
    choices: Sequence[Mapping[str, Mapping[str, Any]]],
    limit: float,
) -> _Plan:
    """The most trades and the longest clip for which there is time.

    Raises:
        BadInput: for none.
    """
    for trades in choices:
        for length in LENGTHS:
            cut = settings.with_values({"duration": min(length, speech.length), "duration_policy": "trim"})
            fitted = speech.fitted(cut)
            count, needed = frame_count(fitted.length, cut.fps), 0.0
            for values in trades.values():
                try:
                    needed += engine.forecast(scene, cut.with_values(values), count).seconds
                except SonicError:  # is told when its turn comes
                    continue
            if needed <= limit:
                return _Plan(trades, fitted, cut, needed)
    raise BadInput(
        f"The shortest bench takes about {duration_text(needed)} here.",
        f"Give it {math.ceil(needed / 60)} minutes (--minutes), or use small weights (weights=miniature).",
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The frames of a trade and the mouth in them."""

    frames: Sequence[NDArray[np.uint8]]
    opening: NDArray[np.float64]
    geometry: NDArray[np.float32]

    @classmethod
    def of(cls, frames: Sequence[NDArray[np.uint8]], face: Face) -> _Drawn:
        """Frames in which this face is followed by its landmarks."""
        found = [*MeshNetwork().follow(frames, np.asarray(face.landmarks, np.float32))]
        openings = np.array([mouth_opening(each) for each in found])
        return cls(frames, openings, np.stack([mouth_geometry(each) for each in found]))

    def beside(self, published: _Drawn) -> Mapping[str, Any]:
        """How far it lies from the published way, by the names of `TradeFigures`."""
        pairs = [*zip(published.frames, self.frames, strict=True)]
        return {
            "psnr": float(np.mean([psnr(*pair) for pair in pairs])),
            "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
            "mouth": 1.0 if self is published else correlation(self.opening, published.opening),
            "amplitude": float(self.opening.std() / max(published.opening.std(), 1e-9)),
        }


def _frames(
    engine: Engine, scene: Scene, speech: Speech, settings: Settings, count: int, tick: Tick
) -> list[NDArray[np.uint8]]:
    """Everything that the engine does for a video, but no video.

    Raises:
        SonicError: whatever the engine says.
    """
    seed = max(0, settings.seed)
    with closing(engine.prepare(scene, speech, settings, count, seed, tick)) as animation:
        frames = []
        for number, frame in enumerate(animation.frames()):
            frames.append(frame.copy())
            tick(animation.stage, number + 1, count)
        animation.forget()
    return frames


class _Watched:
    """A `Tick` that also looks at the clock and at the memory."""

    def __init__(self, tick: Tick, name: str, device: str) -> None:
        from psutil import Process

        from ..engines.runtime import devices

        self._tick, self._name, self._device = tick, name, device
        self._process, self._devices = Process(), devices
        self._times: list[float] = []
        self.memory = 0
        devices.forget_peak(device)

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING:
            self._times.append(time.perf_counter())
        self.memory = max(self.memory, self._process.memory_info().rss)
        self._tick(stage, done, total, detail or self._name)

    @property
    def denoising(self) -> float:
        """Seconds from the first to the last step."""
        return self._times[-1] - self._times[0] if self._times else 0.0

    @property
    def device_memory(self) -> int:
        """Peak since the beginning, bytes."""
        return self._devices.peak_memory(self._device)
