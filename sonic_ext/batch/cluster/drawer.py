"""What each worker of a cluster runs: it draws, marks and encodes under an id that the head gave.

It knows no ledger, no consent and no key but the one that messages are encrypted with. What it needs for a
video lies in a private home of its own that is gone with the video, or with its process; only marked files go
back.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...configuration import Configuration
from ...errors import Cancelled, SonicError, as_error, error_from, error_values
from ...files.scratch import Scratch
from ...jobs.receiving import DrawnVideo
from ...progress import Stage, Step
from ...provenance.store import Store
from ...settings import Settings
from ...weights import Search
from .fitness import Fingerprint, weight_hashes
from .sealing import seal, unseal

HEADER, MASTER, PREVIEW = "header", "master", "preview"


@dataclass(frozen=True)
class DrawOrder:
    """A video that is to be made; its inputs go beside it, each by its content."""

    take_id: str
    """16 hex digits: the watermark's payload, as the head's queue gave it."""
    settings: Mapping[str, Any]
    """`Settings.to_dict`."""
    engine: str
    seed: int
    producer: str
    """Of the AIGC label, see `Configuration.producer`."""
    portrait: str
    """Its SHA-256."""
    voices: tuple[str, ...]
    """SHA-256 of the file with the voice, or of those of two persons …"""
    suffixes: tuple[str, ...]
    """… and the end of each name, which tells its kind."""


@dataclass(frozen=True)
class DrawAnswer:
    """What came of an order."""

    seconds: float
    """That it took."""
    error: SonicError | None
    weights: Mapping[str, str]
    """Part → SHA-256 of what it was drawn with, or would have been; empty where the drawing failed before."""
    video: DrawnVideo | None
    """None with an error, and where the head has other weights."""

    def sealed(self, key: bytes, take_id: str) -> tuple[bytes, bytes, bytes]:
        """Header, master and preview, encrypted."""
        header = {
            "seconds": self.seconds,
            "error": error_values(self.error) if self.error else None,
            "weights": dict(self.weights),
            "facts": self.video.facts() if self.video else None,
        }
        files = (self.video.master, self.video.preview) if self.video else (b"", b"")
        parts = zip((HEADER, MASTER, PREVIEW), (json.dumps(header).encode(), *files), strict=True)
        header_bytes, master, preview = (seal(key, data, f"{name} {take_id}") for name, data in parts)
        return header_bytes, master, preview

    @classmethod
    def unsealed(cls, key: bytes, take_id: str, sealed: tuple[bytes, bytes, bytes]) -> DrawAnswer:
        """The answer that `sealed` came from.

        Raises:
            Failed: it was changed on its way.
        """
        parts = zip((HEADER, MASTER, PREVIEW), sealed, strict=True)
        header, master, preview = (unseal(key, data, f"{name} {take_id}") for name, data in parts)
        values = json.loads(header)
        facts, error = values["facts"], values["error"]
        return cls(
            seconds=values["seconds"],
            error=error_from(error) if error else None,
            weights=values["weights"],
            video=DrawnVideo.from_facts(facts, master, preview) if facts else None,
        )


class Drawer:
    """Makes one video at a time; `standing` and `stop` may be called meanwhile, from other threads.

    Args:
        key: that orders and answers are encrypted with.
        threads: that OpenCV and the encoders may use; 0 leaves it to them.
    """

    def __init__(self, key: bytes, threads: int) -> None:
        import cv2

        if threads:
            cv2.setNumThreads(threads)
        self._key, self._threads = key, threads
        self._scratch = Scratch()
        self._progress = DrawerProgress()

    def fingerprint(self) -> Fingerprint:
        """What this computer has to make videos with."""
        return Fingerprint.take()

    def standing(self) -> dict[str, Any]:
        """The last step, as plain values."""
        return asdict(self._progress.step)

    def stop(self, take_id: str) -> None:
        """Let go of a video, at once where it is being drawn."""
        self._progress.stop(take_id)

    def draw(
        self, order: DrawOrder, expected: Mapping[str, str], portrait: bytes, *voices: bytes
    ) -> tuple[bytes, bytes, bytes]:
        """Make a video.

        Args:
            expected: part → SHA-256 of the weights that the head has; with others nothing is drawn.
            portrait, voices: the files, encrypted.

        Returns:
            A `DrawAnswer`, encrypted; what goes wrong is in it, not raised.
        """
        began = time.monotonic()
        weights: Mapping[str, str] = {}
        video, error = None, None
        try:
            self._progress.begin(order.take_id)
            settings = Settings.from_mapping(order.settings)
            configuration = _configuration(order)
            weights = weight_hashes(order.engine, settings, Search.default(configuration=configuration))
            if weights == expected:
                video = self._drawn(order, settings, configuration, portrait, voices)
        except Exception as problem:
            error = as_error(problem)
        answer = DrawAnswer(time.monotonic() - began, error, weights, video)
        return answer.sealed(self._key, order.take_id)

    def close(self) -> None:
        """Leave nothing behind."""
        self._scratch.close()

    def _drawn(
        self,
        order: DrawOrder,
        settings: Settings,
        configuration: Configuration,
        portrait: bytes,
        voices: tuple[bytes, ...],
    ) -> DrawnVideo:
        from ... import pipeline

        folder = self._scratch.folder / order.take_id
        folder.mkdir(mode=0o700)
        try:
            face = folder / "portrait"
            face.write_bytes(unseal(self._key, portrait, order.portrait))
            files = [folder / f"voice-{number}{suffix}" for number, suffix in enumerate(order.suffixes)]
            for path, sealed, sha256 in zip(files, voices, order.voices, strict=True):
                path.write_bytes(unseal(self._key, sealed, sha256))
            take = pipeline.animate(
                face,
                files[0],
                settings,
                voice_2=files[1] if len(files) > 1 else None,
                progress=self._progress,
                store=Store(folder / "home", configuration),
                engine=order.engine,
                seed=order.seed,
                take_id=order.take_id,
                threads=self._threads,
                read_back=False,  # the head does
            )
            return DrawnVideo.of_take(take)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class DrawerProgress:
    """The `Progress` of a video on a worker: remembers the last step, and what is to stop."""

    def __init__(self) -> None:
        self.step = Step(Stage.STARTING, 0, 1)
        self._take_id = self._stopped = ""
        self._lock = threading.Lock()

    def begin(self, take_id: str) -> None:
        """The next video is this one.

        Raises:
            Cancelled: it was stopped before it began.
        """
        with self._lock:
            self.step, self._take_id = Step(Stage.STARTING, 0, 1), take_id
        if self.cancelled():
            raise Cancelled

    def stop(self, take_id: str) -> None:
        """It is to stop, whenever it is begun."""
        with self._lock:
            self._stopped = take_id

    def report(self, step: Step) -> None:
        """Remember the step."""
        self.step = step

    def cancelled(self) -> bool:
        """Whether this video is to stop."""
        return self._stopped == self._take_id != ""


def step_of(values: Mapping[str, Any]) -> Step:
    """The step that `Drawer.standing` told."""
    with suppress(KeyError, TypeError, ValueError):
        return Step(**{**values, "stage": Stage(values["stage"])})
    return Step(Stage.STARTING, 0, 1)


def _configuration(order: DrawOrder) -> Configuration:
    """Where this computer keeps weights; whatever else its user set is the head's to say."""
    own, none = Configuration.from_environment(), Configuration()
    return replace(none, models=own.models, comfyui=own.comfyui, producer=order.producer)


def suffix_of(path: Path) -> str:
    """The end of a file's name, as far as it tells a kind."""
    suffix = path.suffix.lower()
    return suffix if suffix[1:].isalnum() else ""
