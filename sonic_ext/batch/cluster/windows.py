"""One long video drawn by a cluster: the windows of a step scattered over its workers, and gathered in order.

Portrait, speech, VAE, marks and export are this process's; a worker that is lost has its windows taken by
others. What comes of it is the same to the bit, whichever worker took which window.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from ...errors import Cancelled, Failed, MissingPart, SonicError, WorkerLost
from ...settings import Settings
from ...weights import Search
from .connection import Connection
from .fitness import weight_hashes
from .sealing import new_key, seal
from .window_drawer import ORDER, RECIPE, WindowDrawer, opened
from .workers import LOOK, DrawerPool, RemoteDrawer

MOST = 256
"""Windows under way at once, at most."""
DEATHS = 3
"""Workers that a window may lose before it is given up."""
NEEDED = ("unet", "adapters")
"""Weights that windows are drawn with."""


@dataclass(frozen=True)
class SentRecipe:
    """A recipe in the cluster's memory; a worker keeps its network as long as it has the same."""

    digest: bytes
    reference: Any
    """Ray's, to its encrypted bytes."""


class WindowCluster:
    """A `ports.WindowPool` on Ray; a context manager, nothing of it is left after the block.

    Args:
        connection: to the cluster.
        engine: that draws.
        settings: of the video.
        search: where this computer's weights lie.
        count: workers at most; None for as many as find room, one for each card, else one for each core.
        note: told why a computer of the cluster is left out.
    """

    def __init__(
        self,
        connection: Connection,
        engine: str,
        settings: Settings,
        search: Search,
        count: int | None,
        note: Callable[[SonicError], None],
    ) -> None:
        self._connection, self._engine, self._settings = connection, engine, settings.to_dict()
        self._count, self._note = count, note
        self._key = new_key()
        self._wanted = settings, search
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._numbers = ""
        self._begun: dict[RemoteDrawer, bytes] = {}
        """The digest of the recipe that each worker has."""
        self._recipe = SentRecipe(b"", None)

    def __enter__(self) -> WindowCluster:
        """Connect, and find out what the workers compute with.

        Raises:
            SonicError: as `Connection` does; no worker can draw.
        """
        with ExitStack() as stack:
            stack.enter_context(self._connection)
            cards = any(node.gpus for node in self._connection.nodes())
            self._pool = DrawerPool(
                self._connection,
                self._key,
                self._count,
                heavy=cards,
                threads=0 if cards else 1,
                note=self._note,
                drawer=WindowDrawer,
            )
            stack.callback(self._pool.end)
            settings, search = self._wanted
            have = weight_hashes(self._engine, settings, search)
            self._expected = {part: have[part] for part in NEEDED if part in have}
            while not self._pool.size:
                time.sleep(LOOK)
                self._pool.keep()
            drawer = self._pool.borrow(lambda: False)
            self._numbers = self._numbers_of(drawer)
            self._pool.give_back(drawer)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def numbers(self) -> str:
        """See `ports.WindowPool.numbers`."""
        return self._numbers

    def standings(self) -> list[dict[str, Any]]:
        """What each worker tells of itself, see `WindowDrawer.standing`; while nothing is carried out."""
        import ray

        return ray.get([drawer.handle.standing.remote() for drawer in self._begun])

    def carry_out(self, recipe: bytes, orders: Iterable[bytes], poll: Callable[[], None]) -> Iterator[bytes]:
        """See `ports.WindowPool.carry_out`.

        Raises:
            Failed: a window loses worker after worker, or no computer fits any more.
        """
        import ray

        digest = hashlib.sha256(recipe).digest()
        if digest != self._recipe.digest:
            self._recipe = SentRecipe(digest, ray.put(seal(self._key, recipe, RECIPE)))
        sent = self._recipe
        left, waiting = iter(orders), deque[Future[bytes]]()
        stopped = threading.Event()
        with ThreadPoolExecutor(MOST) as threads:
            try:
                while True:
                    most = min(MOST, 2 * max(1, self._pool.size))  # fewer once workers were lost
                    more = islice(left, max(0, most - len(waiting)))
                    waiting.extend(threads.submit(self._taken, sent, order, stopped) for order in more)
                    if not waiting:
                        return
                    poll()
                    self._pool.keep()
                    try:
                        answer = waiting[0].result(LOOK)
                    except NotYet:
                        continue
                    waiting.popleft()
                    yield answer
            finally:
                stopped.set()
                for each in waiting:
                    each.cancel()

    def _taken(self, recipe: SentRecipe, order: bytes, stopped: threading.Event) -> bytes:
        """One window, by whichever worker is free; again by another if that one is lost."""
        import ray

        sealed = seal(self._key, order, ORDER)
        for _ in range(DEATHS):
            drawer = self._borrowed(recipe, stopped)
            try:
                answer = drawer.handle.take.remote(sealed)
                while not ray.wait([answer], timeout=LOOK)[0]:
                    if stopped.is_set():
                        self._drop(drawer)
                        raise Cancelled
                return opened(self._key, ray.get(answer))
            except (ray.exceptions.RayError, WorkerLost):  # the process is gone, or its card
                self._drop(drawer)
            finally:
                self._pool.give_back(drawer)
        raise Failed(
            f"A window of the video ended {DEATHS} workers of the cluster.",
            "Look at their logs: `ray logs` on the head node.",
        )

    def _borrowed(self, recipe: SentRecipe, stopped: threading.Event) -> RemoteDrawer:
        """A worker that has the recipe."""
        import ray

        while True:
            drawer = self._pool.borrow(stopped.is_set)
            try:
                if self._begun.get(drawer) == recipe.digest:
                    return drawer
                if self._numbers_of(drawer) != self._numbers:
                    raise MissingPart(
                        f"{drawer.node.name} computes with another device or other libraries than the first "
                        "computer of the cluster.",
                        "Use computers of one kind: windows of other numbers would not fit together.",
                    )
                begun = drawer.handle.begin.remote(
                    self._engine, self._settings, self._expected, drawer.node.name, recipe.reference
                )
                opened(self._key, ray.get(begun))
            except MissingPart as problem:
                self._pool.refuse(drawer, problem)
                continue
            except (ray.exceptions.RayError, WorkerLost):
                self._drop(drawer)
                continue
            except BaseException:
                self._pool.give_back(drawer)
                raise
            self._begun[drawer] = recipe.digest
            return drawer

    def _numbers_of(self, drawer: RemoteDrawer) -> str:
        import ray

        return opened(self._key, ray.get(drawer.handle.numbers.remote(self._engine, self._settings))).decode()

    def _drop(self, drawer: RemoteDrawer) -> None:
        self._begun.pop(drawer, None)
        self._pool.drop(drawer)
