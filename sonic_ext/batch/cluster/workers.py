"""The workers of a cluster: started on its computers, lent to whoever has a video to be made, replaced.

Where an engine has a graphics card to itself there is a worker for each card; otherwise one for each core.
Each is put on a computer by name, so that one which does not fit is left out while the rest goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import Cancelled, Failed, Refused, SonicError, WorkerLost
from .connection import Connection, Node
from .drawer import DrawAnswer, Drawer, DrawOrder, step_of
from .fitness import Fingerprint, clock_problem, version_problem

if TYPE_CHECKING:
    from ...progress import Progress

LOOK = 0.5
"""Seconds between two looks at how a video stands."""
SILENCE = 60.0
"""Seconds after which a worker that says nothing is given up, whatever Ray believes of it."""
PING_SECONDS = 10.0
"""For an idle worker to say that it lives."""
STOP_SECONDS = 5.0
"""For a worker to let go of a video; nothing of it is kept there, so it may as well be ended."""
NODES_EVERY = 2.0
"""Seconds between two looks at which computers there are."""
REST_SECONDS = (1.0, 16.0)
"""How long none is started where the last ended before it had begun: at first, and at most. Ray may take a
minute to see that a computer is gone, and until then ends at once what is to start there."""
WAIT_SECONDS = 120.0
"""How long a batch waits for a computer that can make its videos."""


@dataclass(eq=False)
class RemoteDrawer:
    """A worker, and where it is."""

    handle: Any
    """Ray's, of a `Drawer`."""
    node: Node
    greeting: Any
    """What it says first: a reference to its `Fingerprint`."""
    asked: float = field(default_factory=time.time)
    """When it was asked for that, seconds since the epoch."""

    def ask(
        self,
        key: bytes,
        order: DrawOrder,
        expected: Mapping[str, str],
        inputs: Sequence[Any],
        progress: Progress,
    ) -> DrawAnswer:
        """Have a video made.

        Args:
            inputs: references to the encrypted files: portrait, and each voice.
            progress: told of the steps, and asked whether to stop.

        Raises:
            WorkerLost: it is gone, or says nothing any more; it must not be used again.
            Cancelled: as asked.
        """
        import ray

        try:
            answer = self.handle.draw.remote(order, expected, *inputs)
            standing, heard = self.handle.standing.remote(), time.monotonic()
            while not _is_ready(answer, LOOK):
                if _is_ready(standing, 0):
                    progress.report(step_of(ray.get(standing)))
                    standing, heard = self.handle.standing.remote(), time.monotonic()
                if time.monotonic() - heard > SILENCE:
                    raise self._lost()
                if progress.cancelled():
                    self._stop(order.take_id, answer)
            return DrawAnswer.unsealed(key, order.take_id, ray.get(answer))
        except ray.exceptions.RayError as error:
            raise self._lost() from error

    def lives(self) -> bool:
        """Whether it answers."""
        import ray

        try:
            ray.get(self.handle.standing.remote(), timeout=PING_SECONDS)
        except ray.exceptions.RayError:
            return False
        return True

    def end(self) -> None:
        """End its process, whatever it does."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):  # the cluster itself is gone
            ray.kill(self.handle)

    def _stop(self, take_id: str, answer: Any) -> None:
        """Have a worker let go of a video, or end it.

        Raises:
            Cancelled: always.
        """
        self.handle.stop.remote(take_id)
        if not _is_ready(answer, STOP_SECONDS):
            self.end()
        raise Cancelled

    def _lost(self) -> WorkerLost:
        return WorkerLost(
            f"A worker on {self.node.name} was lost while it made a video.", "It is made again by another."
        )


class _Rest:
    """Twice as long each time that it begins after it was over."""

    def __init__(self) -> None:
        self._next, self._until = REST_SECONDS[0], 0.0

    def lasts(self) -> bool:
        return time.monotonic() < self._until

    def lengthen(self) -> None:
        if not self.lasts():
            self._until = time.monotonic() + self._next
            self._next = min(2 * self._next, REST_SECONDS[1])


class DrawerPool:
    """Lends workers, each to one at a time; safe to use from several threads.

    Args:
        key: of the batch.
        limit: workers in all; None for as many as find room.
        heavy: an engine draws that has a device to itself.
        threads: that each may use; 0 leaves it to the libraries.
        note: told why a computer is left out.
        drawer: what a worker runs: `Drawer`, or another with its `fingerprint` and `standing`.
    """

    def __init__(
        self,
        connection: Connection,
        key: bytes,
        limit: int | None,
        heavy: bool,
        threads: int,
        note: Callable[[SonicError], None],
        drawer: type = Drawer,
    ) -> None:
        self._connection, self._key = connection, key
        self._limit, self._heavy, self._threads = limit, heavy, threads
        self._note = note
        self._class = _remote(drawer)
        self._here = Fingerprint.take()
        self._changed = threading.Condition()
        self._starting: list[RemoteDrawer] = []
        self._idle: deque[RemoteDrawer] = deque()
        self._lent: set[RemoteDrawer] = set()
        self._refused: set[str] = set()
        """Ids of computers that do not fit."""
        self._problems: deque[SonicError] = deque()
        """Why, not said yet."""
        self._dead = 0
        """Workers that died since `keep`."""
        self._nodes: tuple[Node, ...] = ()
        self._rests: dict[str, _Rest] = {}
        """Id of a computer → how long nothing is started there."""
        self._looked = float("-inf")
        self._useful = time.monotonic()
        """When there was a worker last."""

    @property
    def wanted(self) -> int:
        """Workers that there should be."""
        room = sum(slots for _, slots in self._places())
        return room if self._limit is None else min(room, self._limit)

    @property
    def size(self) -> int:
        """Workers that can draw."""
        with self._changed:
            return len(self._idle) + len(self._lent)

    def keep(self) -> int:
        """Start what is missing; how many died since the last time.

        Raises:
            Failed: no computer of the cluster can make the videos.
        """
        self._look_at_nodes()
        for drawer in list(self._starting):
            if _is_ready(drawer.greeting, 0):
                self._greet(drawer)
        self._start_missing()
        with self._changed:
            problems, dead = list(self._problems), self._dead
            self._problems.clear()
            self._dead = 0
        for problem in problems:
            self._note(problem)
        self._require_some()
        return dead

    def borrow(self, cancelled: Callable[[], bool]) -> RemoteDrawer:
        """Wait for a worker that nobody else has, and that lives.

        Raises:
            Cancelled: `cancelled` became true meanwhile.
        """
        while True:
            with self._changed:
                while not self._idle:
                    self._changed.wait(LOOK)
                    if cancelled():
                        raise Cancelled
                drawer = self._idle.popleft()
                self._lent.add(drawer)
            if drawer.lives():
                return drawer
            self.drop(drawer)

    def give_back(self, drawer: RemoteDrawer) -> None:
        """It may be lent to the next; one that was dropped stays so."""
        with self._changed:
            if drawer in self._lent:
                self._lent.remove(drawer)
                self._idle.append(drawer)
                self._changed.notify()

    def drop(self, drawer: RemoteDrawer) -> None:
        """It is dead, or as good as that."""
        with self._changed:
            self._dead += drawer in self._lent
            self._lent.discard(drawer)
        drawer.end()

    def refuse(self, drawer: RemoteDrawer, problem: SonicError) -> None:
        """Its computer does not fit: no worker is lent or started there any more."""
        with self._changed:
            if drawer.node.id not in self._refused:
                self._refused.add(drawer.node.id)
                self._problems.append(problem)
            self._lent.discard(drawer)
            others = [each for each in self._idle if each.node.id == drawer.node.id]
            self._idle = deque(each for each in self._idle if each.node.id != drawer.node.id)
        for each in (drawer, *others):
            each.end()

    def end(self) -> None:
        """End all of them."""
        with self._changed:
            drawers = [*self._starting, *self._idle, *self._lent]
            self._starting, self._idle, self._lent = [], deque(), set()
        for drawer in drawers:
            drawer.end()

    def _look_at_nodes(self) -> None:
        if time.monotonic() - self._looked <= NODES_EVERY:
            return
        self._nodes = self._connection.nodes()
        self._looked = time.monotonic()
        for node in self._nodes:
            try:
                self._connection.require_private(node.name, node.is_here)
            except Refused as error:  # it came later, from another network
                with self._changed:
                    if node.id not in self._refused:
                        self._refused.add(node.id)
                        self._problems.append(error)

    def _greet(self, drawer: RemoteDrawer) -> None:
        """Let a worker join that has started, if it fits."""
        import ray

        self._starting.remove(drawer)
        name = drawer.node.name
        try:
            there: Fingerprint = ray.get(drawer.greeting)
            problem = version_problem(name, there, self._here)
            problem = problem or clock_problem(name, there, drawer.asked, time.time())
        except ray.exceptions.RayTaskError as error:  # it could not even be made
            problem = Failed(
                f"{name} cannot run sonic-ext ({_first_line(error)}).",
                "Install the same version on every computer of the cluster.",
            )
        except ray.exceptions.RayError as error:
            if not _is_of_class(error):
                with self._changed:
                    self._dead += 1
                self._rests.setdefault(drawer.node.id, _Rest()).lengthen()
                drawer.end()
                return
            problem = Failed(
                f"{name} cannot run sonic-ext ({_first_line(error)}).",
                "Install the same version on every computer of the cluster.",
            )
        if problem is not None:
            self.refuse(drawer, problem)
            return
        with self._changed:
            if drawer.node.id in self._refused:
                drawer.end()
                return
            self._idle.append(drawer)
            self._changed.notify()
        self._rests.pop(drawer.node.id, None)

    def _start_missing(self) -> None:
        with self._changed:
            there = [*self._starting, *self._idle, *self._lent]
        at = Counter(drawer.node.id for drawer in there)
        room = len(there) if self._limit is None else self._limit - len(there)
        for node, slots in self._places():
            if node.id in self._rests and self._rests[node.id].lasts():
                continue
            for _ in range(slots - at[node.id]):
                if self._limit is not None and room <= 0:
                    return
                self._starting.append(self._started(node, slots))
                room -= 1

    def _places(self) -> list[tuple[Node, int]]:
        """Computers that fit, and how many workers find room on each."""
        nodes = [node for node in self._nodes if node.id not in self._refused]
        if not self._heavy:
            return [(node, node.cpus) for node in nodes if node.cpus]
        if any(node.gpus for node in self._nodes):
            return [(node, node.gpus) for node in nodes if node.gpus]
        return [(node, 1) for node in nodes if node.cpus]

    def _started(self, node: Node, slots: int) -> RemoteDrawer:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        handle = self._class.options(
            num_cpus=max(node.cpus // slots, 0) if self._heavy else 1,
            num_gpus=1 if self._heavy and node.gpus else 0,
            max_concurrency=4,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote(self._key, self._threads)
        return RemoteDrawer(handle, node, handle.fingerprint.remote())

    def _require_some(self) -> None:
        """Wait for computers only as long as some may come.

        Raises:
            Failed: all that there are were left out, or none came for too long.
        """
        now = time.monotonic()
        if self.size or self._starting:
            self._useful = now
        elif self._refused and not self._places():
            raise Failed(
                "No computer of the cluster can make these videos.", "What is wrong with each is said above."
            )
        elif now - self._useful > WAIT_SECONDS:
            raise Failed(
                "No computer of the cluster has room for a worker.",
                "Start some with cores or graphics cards of their own: ray start --address=HOST:PORT",
            )


def _remote(drawer: type) -> Any:
    import ray

    return ray.remote(drawer)


def _is_ready(reference: Any, seconds: float) -> bool:
    """Whether an answer is here within so many seconds."""
    import ray

    return bool(ray.wait([reference], timeout=seconds)[0])


def _is_of_class(error: Exception) -> bool:
    """Whether a worker could not be made of its class: of a package that is missing or another one."""
    return any(word in str(error) for word in ("ModuleNotFoundError", "ImportError", "AttributeError"))


def _first_line(error: Exception) -> str:
    words = [line.strip() for line in str(error).splitlines() if "Error" in line]
    return (words[-1] if words else type(error).__name__)[:200].rstrip(".")
