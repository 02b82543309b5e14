"""The head of a batch on a cluster: claims jobs, has them drawn, takes in what comes back, and exports it.

The queue, the ledger, the consents and the keys are this process's alone. A job is claimed by a `jobs.Worker`
of this process, so its lease ends with it, and a worker that dies is treated as any process that dies.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...errors import Failed, MissingPart, SonicError, WorkerLost
from ...hosts.standalone import Standalone
from ...jobs import Queue, Worker
from ...jobs.receiving import receive
from ...jobs.submission import search_of
from ...ports import Result
from ...progress import Progress, Stage, Step
from ..processes import STOP_SECONDS, DeathCount
from .connection import Connection
from .drawer import DrawAnswer, DrawOrder, suffix_of
from .fitness import weight_hashes, weights_problem
from .sealing import OVERHEAD, new_key, seal
from .workers import DrawerPool, RemoteDrawer

if TYPE_CHECKING:
    from ...media.image import Portrait
    from ...provenance.store import Store
    from ...provenance.take import Take
    from ...settings import Settings

KEPT_INPUTS = 64
"""Inputs that stay in the cluster's memory for the next videos which need them …"""
KEPT_BYTES = 256 << 20
"""… and their bytes, together."""


@dataclass(frozen=True)
class HandOver:
    """What one video cost beside its drawing."""

    sent: int
    """Bytes of both inputs; 0 for those that were in the cluster already."""
    received: int
    """Bytes of master and preview."""
    drawing: float
    """Seconds that the worker took."""
    waiting: float
    """Seconds from the order to the answer, without those."""
    receiving: float
    """Seconds to verify the answer and take it into the store."""


class Cluster:
    """In place of `batch.processes.Processes`, with the same methods; nothing of it is left after the block.

    Args:
        batch: id of the batch whose jobs it carries out.
        lane: of its jobs.
        connection: to the cluster.
        count: workers at most; None for as many as find room.
        threads: that each of them may use; 0 leaves it to the libraries.
        heavy: an engine draws that has a device to itself.
        note: told why a computer of the cluster is left out.
    """

    def __init__(
        self,
        queue: Queue,
        batch: str,
        lane: str,
        connection: Connection,
        count: int | None,
        threads: int,
        heavy: bool,
        note: Callable[[SonicError], None],
    ) -> None:
        self._queue, self._batch, self._lane = queue, batch, lane
        self._connection = connection
        self._pool_of: tuple[Any, ...] = (count, heavy, threads, note)
        self._key = new_key()
        self._deaths = DeathCount(queue, batch)
        self._open = ExitStack()
        self.handed_over: list[HandOver] = []
        """What each video cost beside its drawing."""

    def __enter__(self) -> Cluster:
        """Connect, and be ready to start workers.

        Raises:
            SonicError: as `Connection` does.
        """
        with ExitStack() as stack:
            stack.enter_context(self._connection)
            self._pool = DrawerPool(self._connection, self._key, *self._pool_of)
            stack.callback(self._pool.end)
            self._host = ClusterHost(self._lane, self._pool)
            self._inputs = SentInputs(self._key)
            self._worker = Worker(self._host, self._queue, batch=self._batch, animate=self._animate)
            self._worker.start()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0 if error is not None else STOP_SECONDS)

    def keep(self) -> None:
        """Start workers that are missing, and let them work. Call it while there is work.

        Raises:
            Failed: they die again and again and nothing comes of it, or no computer fits.
        """
        dead = self._pool.keep()
        if dead and self._deaths.is_hopeless(dead, self._pool.wanted):
            raise Failed(
                "The workers of the cluster end as soon as they begin.",
                "Look at their logs: `ray logs` on the head node.",
            )
        self._host.slots = 2 * self._pool.size  # one video is taken in while the next is drawn
        self._worker.wake()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let what is being made wait for another time, and end all workers.

        Args:
            seconds: after these they are ended without further ado.
        """
        try:
            self._worker.close(seconds)
        finally:
            self._pool.end()
            self._worker.close()  # those who waited for an answer have one now
            self._open.close()
            self._queue.recover()

    def _animate(
        self,
        portrait: Portrait,
        audio: Path,
        settings: Settings,
        *,
        progress: Progress,
        store: Store,
        engine: str,
        seed: int,
        take_id: str,
        voice_2: Path | None = None,
    ) -> Take:
        """As `pipeline.animate`, on a worker of the cluster; see `jobs.making.Animate`."""
        from ...media.voices import read_voices
        from ...progress import Ticker

        speech = read_voices(audio, voice_2, settings, Ticker(progress)).fitted(settings)
        files = (audio,) if voice_2 is None else (audio, voice_2)
        heard = (speech.sha256,) if voice_2 is None else tuple(each.sha256 for each in speech.voices)
        order = DrawOrder(
            take_id=take_id,
            settings=settings.to_dict(),
            engine=engine,
            seed=seed,
            producer=store.configuration.producer,
            portrait=portrait.sha256,
            voices=heard,
            suffixes=tuple(map(suffix_of, files)),
        )
        progress.report(Step(Stage.CHECKING, 0, 1))
        expected = weight_hashes(engine, settings, search_of(self._host))
        face, face_bytes = self._inputs.sent(portrait.sha256, lambda: portrait.data)
        voices = [
            self._inputs.sent(sha256, path.read_bytes) for sha256, path in zip(heard, files, strict=True)
        ]
        began = time.monotonic()
        while True:
            drawer = self._host.drawer()
            try:
                answer = drawer.ask(
                    self._key, order, expected, (face, *(each for each, _ in voices)), progress
                )
                if isinstance(answer.error, WorkerLost):  # its card failed, and would at the next video
                    raise answer.error
            except WorkerLost:
                self._pool.drop(drawer)
                raise
            problem = _misfit(drawer.node.name, answer, expected)
            if problem is None:
                break
            self._pool.refuse(drawer, problem)
            self._host.change(progress)
        answered = time.monotonic()
        self._host.give_back()  # the next video is drawn while this one is taken in
        if answer.error is not None:
            raise answer.error
        assert answer.video is not None
        take = receive(store, take_id, portrait, speech, settings, engine, answer.video, progress)
        self.handed_over.append(
            HandOver(
                sent=face_bytes + sum(size for _, size in voices),
                received=len(answer.video.master) + len(answer.video.preview),
                drawing=answer.seconds,
                waiting=answered - began - answer.seconds,
                receiving=time.monotonic() - answered,
            )
        )
        return take


def _misfit(name: str, answer: DrawAnswer, expected: Mapping[str, str]) -> SonicError | None:
    """Why a computer cannot make a video that this one could."""
    error = answer.error
    if error is None:
        return weights_problem(name, answer.weights, expected)
    if isinstance(error, MissingPart):
        return MissingPart(f"{name} cannot make the videos: {error.message}", error.hint)
    return None


class ClusterHost(Standalone):
    """Where a video is made: on a worker that is this thread's until it has answered.

    Args:
        pool: lends the workers.
    """

    name = "cluster"

    def __init__(self, lane: str, pool: DrawerPool) -> None:
        super().__init__(Path(), lane=lane)
        self._pool = pool
        self._own = threading.local()

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """Wait for a worker, then run the task. See `Host.work`."""
        self.change(progress)
        try:
            return task(progress)
        finally:
            self.give_back()

    def drawer(self) -> RemoteDrawer:
        """The worker that this thread has."""
        found: RemoteDrawer = self._own.drawer
        return found

    def change(self, progress: Progress) -> None:
        """Take another one; the last was given up.

        Raises:
            Cancelled: as asked.
        """
        self._own.drawer = None
        self._own.drawer = self._pool.borrow(progress.cancelled)

    def give_back(self) -> None:
        """Let others have it; once is enough."""
        drawer, self._own.drawer = self._own.drawer, None
        if drawer is not None:
            self._pool.give_back(drawer)


class SentInputs:
    """Files in the cluster's memory, encrypted: the newest stay, as many rows share a portrait or a voice.

    Args:
        key: of the batch.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def sent(self, sha256: str, read: Callable[[], bytes]) -> tuple[Any, int]:
        """A reference to a file's encrypted bytes, and how many went there now."""
        import ray

        with self._lock:
            if sha256 in self._kept:
                self._kept.move_to_end(sha256)
                return self._kept[sha256][0], 0
            data = seal(self._key, read(), sha256)
            reference = ray.put(data)
            self._kept[sha256] = reference, len(data)
            while len(self._kept) > KEPT_INPUTS or self._bytes() > KEPT_BYTES:
                self._kept.popitem(last=False)
            return reference, len(data) - OVERHEAD

    def _bytes(self) -> int:
        return sum(size for _, size in self._kept.values())
