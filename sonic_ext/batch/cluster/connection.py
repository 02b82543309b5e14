"""The connection to a Ray cluster: one that runs, or one of this computer alone for the length of a batch.

Whoever reaches a node of a Ray cluster can run code there and reads what its processes hold. So a network
that is not encrypted is used only if somebody says that it is private.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any

from ...errors import BadInput, Failed, MissingPart, Refused
from ...files.scratch import Scratch

LOCAL, FOUND = "local", "auto"
"""Addresses: a cluster of this computer alone, and the one that this computer is a node of."""
REACH_SECONDS = 5.0
"""For a connection to a port."""
ANSWER_SECONDS = 45.0
"""For Ray to answer there; Ray itself would try for minutes."""
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Node:
    """A computer of the cluster."""

    id: str
    name: str
    """Its address, for the user."""
    cpus: int
    gpus: int
    is_here: bool
    """It is this computer: nothing goes over a network."""


class Connection:
    """A context manager; what it started is gone afterwards.

    Args:
        address: `HOST:PORT`, `auto` or `local`.
        cpus: of a local cluster: so many workers find room.
        private_network: it is used unencrypted.
    """

    def __init__(self, address: str, cpus: int, private_network: bool = False) -> None:
        self._address, self._cpus = address, cpus
        self._may_be_open = private_network
        self._open = ExitStack()

    def __enter__(self) -> Connection:
        """Connect, or start a cluster here.

        Raises:
            MissingPart: Ray is not installed.
            BadInput: the address is none.
            Refused: the network is neither encrypted nor said to be private.
            Failed: Ray is not there, or cannot be started.
        """
        ray = imported_ray()
        with ExitStack() as stack:
            if self._address == LOCAL:
                self._start(ray, stack)
            else:
                self._connect(ray, stack)
            stack.callback(ray.shutdown)
            for node in self.nodes():
                self.require_private(node.name, node.is_here)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def nodes(self) -> tuple[Node, ...]:
        """The computers of the cluster that are there now."""
        import ray

        return tuple(_node(each) for each in ray.nodes() if each["Alive"])

    def require_private(self, name: str, is_here: bool) -> None:
        """Refuse to send to a computer what others could read on its way.

        Raises:
            Refused: the network is neither encrypted nor said to be private.
        """
        if is_here or self._may_be_open or is_encrypted():
            return
        raise Refused(
            f"The connection to {name} is not encrypted.",
            "Set up TLS (RAY_USE_TLS=1, see docs/cluster.md), or say --ray-private-network if nobody else is "
            "in that network.",
        )

    def _start(self, ray: Any, stack: ExitStack) -> None:
        """A cluster of this computer alone, that no other one can reach."""
        scratch = stack.enter_context(Scratch())
        own = {
            "RAY_AUTH_TOKEN": _token(),
            "RAY_USE_TLS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # theirs is 15: whatever else runs here would come first
        }
        stack.enter_context(_environment(own))
        folder = str(scratch.folder)
        with _ray_errors("Ray cannot be started on this computer"), _own_signals():
            ray.init(
                address=LOCAL,
                num_cpus=self._cpus,
                include_dashboard=False,
                _temp_dir=folder,
                object_spilling_directory=folder,
                _node_ip_address="127.0.0.1",
                **_QUIET,
            )

    def _connect(self, ray: Any, stack: ExitStack) -> None:
        """The cluster at the address, of which this computer has to be a node."""
        if self._address != FOUND:
            host, port = parsed(self._address)
            self.require_private(host, is_own_address(host))
            _require_port(host, port)
        _require_answer(self._address)
        stack.enter_context(_environment({}))
        with _ray_errors(f"The Ray cluster at {self._address} cannot be joined"), _own_signals():
            ray.init(address=self._address, **_QUIET)


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
"""What workers print is no answer of a command."""


def imported_ray() -> Any:
    """The module.

    Raises:
        MissingPart: it is not installed, or does not load.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of its own future
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a late question would start a cluster
    try:
        import ray
    except ImportError as error:
        raise MissingPart(
            f"--ray needs Ray, which does not load ({error}).",
            'Bring it with: python -m pip install "sonic-ext[cluster]"',
        ) from error
    # Workers that die are told of on stdout, whatever `log_to_driver` says, and no public switch ends that.
    with contextlib.suppress(ImportError):
        importlib.import_module("ray._private.worker").__dict__["_worker_logs_enabled"] = False
    return ray


def parsed(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        BadInput: it is no address of a node.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        raise BadInput(
            f"{address!r} is no address of a Ray cluster.",
            "Give HOST:PORT of its head node, auto on one of its nodes, or local. In place of ray://, make "
            "this computer a node: ray start --address=HOST:PORT --num-cpus=0",
        )
    return found["host"].strip("[]"), int(found["port"])


def is_own_address(host: str) -> bool:
    """Whether a name or an address is this computer's: only those can be listened at."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(_can_listen(family, place) for family, _, _, _, place in found)


def _can_listen(family: int, place: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as own:
            own.bind(place)
    except OSError:
        return False
    return True


def is_encrypted() -> bool:
    """Whether Ray encrypts what it sends, and asks who the other one is."""
    return os.environ.get("RAY_USE_TLS", "").strip().lower() in ("1", "true")


def _require_port(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), REACH_SECONDS).close()
    except OSError as error:
        raise Failed(
            f"Nothing answers at {host}:{port} ({error.strerror or error}).",
            "Look at the address that `ray start --head` named, and whether that computer can be reached.",
        ) from error


def _require_answer(address: str) -> None:
    """Ask in a process of its own, which can be ended: Ray tries for minutes, and then ends its process."""
    asked = (sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address)
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        told = "" if done.returncode == 0 else _last_line(done.stderr or done.stdout)
    except subprocess.TimeoutExpired:
        told = "it does not answer"
    if told:
        raise Failed(
            f"There is no Ray cluster to be found at {address} ({told}).",
            "Look at the address that `ray start --head` named; Ray's version, TLS and token "
            "(RAY_AUTH_TOKEN) have to be the same here.",
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].partition(". ")[0][:160].rstrip(".") if lines else "it says nothing"


@cache
def _token() -> str:
    """Of every local cluster of this process: Ray reads it once."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _ray_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # Ray ends its process where it cannot connect
        raise Failed(
            f"{what}: {_last_line(str(error))}.",
            "Look at the versions of Python and Ray; this computer has to be a node of the cluster itself: "
            "ray start --address=HOST:PORT --num-cpus=0",
        ) from error


def _node(values: dict[str, Any]) -> Node:
    resources, address = values["Resources"], values["NodeManagerAddress"]
    return Node(
        id=values["NodeID"],
        name=address,
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        is_here=is_own_address(address),
    )
