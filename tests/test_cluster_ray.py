"""A batch on Ray: here, on several nodes of one machine, and on what is taken away from it meanwhile."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import PATIENCE, until

from sonic_ext.batch.cluster import connection, workers
from sonic_ext.batch.cluster.connection import Node
from sonic_ext.batch.cluster.fitness import Fingerprint
from sonic_ext.batch.cluster.workers import DrawerPool, RemoteDrawer
from sonic_ext.errors import Failed
from sonic_ext.jobs import Job, Queue, State
from sonic_ext.progress import Stage
from sonic_ext.provenance.store import Store

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them"),
]
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "sonic_ext" / "assets" / "example"
OPTIONS = (
    *("--engine", "preview", "--set", "min_resolution=256", "--set", "framing=crop"),
    *("--set", "duration_policy=trim", "--set", "lip_sync_calibration=off"),
    *("--consent-face", "synthetic", "--consent-voice", "synthetic", "--json"),
)
MARK = "CLUSTER_TEST"
"""Variable of the environment by which a test knows all processes that came of it."""


class Bench:
    """A folder with rows, a command that makes them, and what it leaves."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.queue = Queue(home)
        self.mark = secrets.token_hex(8)
        self.temporary = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))  # sockets have short names
        self.environment = os.environ | {
            "SONIC_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
            "RAY_worker_niceness": "0",
            MARK: self.mark,
        }

    def rows(self, count: int, seconds: float) -> Path:
        """A file with so many rows."""
        path = self.folder / "jobs.csv"
        files = f"{EXAMPLE / 'portrait.jpg'},{EXAMPLE / 'speech.wav'}"
        lines = [f"{files},{number}.mp4,{seconds}" for number in range(count)]
        path.write_text("\n".join(["portrait,audio,output,duration", *lines]), encoding="utf-8")
        return path

    def command(self, *words: str | Path, code: str = "") -> subprocess.Popen[str]:
        """`sonic batch` on the rows, in a process of its own; `code` runs before it."""
        start = f"{code}; import sys; from sonic_ext.cli.main import main; sys.exit(main(sys.argv[1:]))"
        asked = ("batch", self.folder / "jobs.csv", "-o", self.out, *OPTIONS, *words)
        return subprocess.Popen(
            [sys.executable, "-c", start.lstrip("; "), *map(str, asked)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def done(self, *words: str | Path, code: str = "") -> tuple[int, Any, str]:
        """The same, to its end: exit code, values, what it told."""
        with self.command(*words, code=code) as command:
            out, err = command.communicate(timeout=PATIENCE)
        return command.returncode, json.loads(out), err

    def processes(self) -> dict[int, str]:
        """Ids and command lines of all that came of this test and that runs."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if words:
                        found[int(folder.name)] = words
        return found

    def drawers(self) -> set[int]:
        """Ids of the workers' processes."""
        return {pid for pid, words in self.processes().items() if words.startswith("ray::Drawer")}

    def running(self) -> list[Job]:
        """Jobs of which frames are drawn."""
        return [job for job in self.queue.jobs() if job.step.stage == "drawing frames"]

    def is_clean(self) -> bool:
        """Nothing runs, and nothing lies in the folder for temporary files."""
        return not self.processes() and not list(self.temporary.iterdir())


@pytest.fixture
def bench(tmp_path: Path, sonic_home: Path) -> Iterator[Bench]:
    """A folder to work in; what is left of its processes ends."""
    made = Bench(tmp_path, sonic_home)
    yield made
    for pid in made.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not made.processes())
    shutil.rmtree(made.temporary, ignore_errors=True)


class TestHere:
    """`--ray` alone: a cluster of this computer, for the length of the command."""

    def test_made_once_and_nothing_stays(self, bench: Bench) -> None:
        bench.rows(3, 0.2)
        code, found, err = bench.done("--ray", "--jobs", "2")
        assert (code, found["counts"]) == (0, {"done": 3}), err
        takes = Store(bench.queue.home).takes()
        assert {take.id for take in takes} == {row["take"] for row in found["rows"]} and len(takes) == 3
        until(bench.is_clean)
        before = {path.name: path.stat().st_mtime_ns for path in bench.out.glob("*.mp4")}
        code, again, err = bench.done("--jobs", "1")  # without Ray: it is the same batch
        assert (code, again["rows"]) == (0, found["rows"]), err
        assert {path.name: path.stat().st_mtime_ns for path in bench.out.glob("*.mp4")} == before

    def test_interrupt_loses_nothing_and_leaves_nothing(self, bench: Bench) -> None:
        bench.rows(1, 4.0)
        with bench.command("--ray", "--jobs", "1") as command:
            until(bench.running)
            command.send_signal(signal.SIGINT)
            out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 130, err
        (job,) = bench.queue.jobs()
        assert (job.state, job.attempts, job.worker) == (State.QUEUED, 0, "")
        assert json.loads(out)["counts"] == {"waiting": 1}
        until(bench.is_clean)
        code, found, err = bench.done("--jobs", "1")
        assert (code, found["counts"]) == (0, {"done": 1}), err
        assert [each.id for each in bench.queue.jobs()] == [job.id]

    def test_a_killed_head_leaves_nothing(self, bench: Bench) -> None:
        bench.rows(1, 4.0)
        with bench.command("--ray", "--jobs", "1") as command:
            (job,) = until(bench.running)
            command.kill()
            command.wait(PATIENCE)
        until(bench.is_clean)
        bench.queue.recover()
        found = bench.queue.find(job.id)
        assert (found.state, found.attempts) == (State.QUEUED, 1)

    def test_a_job_that_kills_three_workers_is_given_up(self, bench: Bench) -> None:
        bench.rows(1, 4.0)
        killed: set[int] = set()

        def worker_of_attempt(attempt: int, share: float) -> int | None:
            """Of the only job, once that much of it is done."""
            at_work = [
                job
                for job in bench.queue.jobs()
                if job.state == State.RUNNING and job.attempts == attempt and job.progress >= share
            ]
            begun = any(job.step.stage not in (Stage.WAITING, Stage.STARTING) for job in at_work)
            return next(iter(bench.drawers() - killed), None) if begun else None

        with bench.command("--ray", "--jobs", "1") as command:
            for attempt, share in ((1, 0.3), (2, 0.0), (3, 0.0)):  # what comes further counts anew
                pid = until(lambda attempt=attempt, share=share: worker_of_attempt(attempt, share))
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 8, err
        assert json.loads(out)["counts"] == {"failed": 1}
        assert "3 times at the same point" in err
        until(bench.is_clean)

    def test_other_weights_everywhere(self, bench: Bench) -> None:
        bench.rows(1, 0.2)
        other = (
            "import sonic_ext.batch.cluster.head as head; "
            "head.weight_hashes = lambda *asked: {'unet': '00' * 32}"
        )
        code, found, err = bench.done("--ray", "--jobs", "1", code=other)
        assert (code, found["error"]) == (1, "Failed")
        assert "lacks weights that this computer draws with: unet." in err
        assert "No computer of the cluster can make these videos." in err
        assert [job.state for job in bench.queue.jobs()] == [State.QUEUED]
        until(bench.is_clean)


class Nodes:
    """Several nodes of one cluster, all on this machine; the head node has no core to draw with."""

    def __init__(self, bench: Bench, patch: pytest.MonkeyPatch) -> None:
        from ray.cluster_utils import Cluster

        for name in ("TMPDIR", "PYTHONPATH", MARK, "RAY_worker_niceness"):
            patch.setenv(name, bench.environment[name])
        bench.environment["RAY_AUTH_MODE"] = "disabled"
        arguments = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=arguments)
        self.address: str = self._cluster.address

    def add(self, **environment: str) -> Any:
        """One with a core, whose workers have these variables."""
        return self._cluster.add_node(num_cpus=1, env_vars=environment)

    def kill(self, node: Any) -> None:
        """At once, with all that runs there."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        """All of them."""
        self._cluster.shutdown()


@pytest.fixture
def nodes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster without a node that draws."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Nodes(bench, monkeypatch)
    yield made
    made.end()


class TestNodes:
    """`--ray ADDRESS`."""

    def test_who_does_not_fit_is_left_out(self, bench: Bench, nodes: Nodes, tmp_path: Path) -> None:
        shutil.copytree(
            ROOT / "sonic_ext", tmp_path / "old" / "sonic_ext", ignore=shutil.ignore_patterns("__pycache__")
        )
        old = tmp_path / "old" / "sonic_ext" / "__init__.py"
        old.write_text(old.read_text(encoding="utf-8").replace('"0.1.0"', '"0.0.9"'), encoding="utf-8")
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "sitecustomize.py").write_text(
            "import time; now = time.time; time.time = lambda: now() - 3600", encoding="utf-8"
        )
        nodes.add()
        nodes.add(PYTHONPATH=str(tmp_path / "old"))
        nodes.add(PYTHONPATH=f"{tmp_path / 'late'}:{ROOT}")
        bench.rows(3, 0.2)
        code, found, err = bench.done("--ray", nodes.address)
        assert (code, found["counts"]) == (0, {"done": 3}), err
        assert "has version 0.0.9 of sonic-ext, not 0.1.0." in err
        assert "is 60 minutes from this computer's." in err

    def test_a_lost_nodes_work_is_done_elsewhere(self, bench: Bench, nodes: Nodes) -> None:
        lost = nodes.add()
        nodes.add()
        bench.rows(4, 2.0)
        with bench.command("--ray", nodes.address) as command:
            until(lambda: len(bench.running()) == 2)
            nodes.kill(lost)
            out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 0, err
        assert json.loads(out)["counts"] == {"done": 4}
        assert len(Store(bench.queue.home).takes()) == len(list(bench.out.glob("*.mp4"))) == 4
        assert sorted(job.attempts for job in bench.queue.jobs()) == [1, 1, 1, 2]


class TestAddresses:
    """Where there is no Ray."""

    def test_nothing_is_there(self, bench: Bench) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
            bench.rows(1, 0.2)
            code, found, _ = bench.done("--ray", address)
        assert (code, found["error"]) == (1, "Failed")
        assert f"Nothing answers at {address}" in found["message"]
        assert bench.queue.jobs() == ()

    def test_something_else_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "ANSWER_SECONDS", 3.0)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with (
                pytest.raises(Failed, match="no Ray cluster to be found"),
                connection.Connection(address, 1),
            ):
                pass

    def test_an_open_network(self, bench: Bench) -> None:
        bench.rows(1, 0.2)
        bench.environment.pop("RAY_USE_TLS", None)
        code, found, _ = bench.done("--ray", "192.0.2.77:6379")
        assert (code, found["error"]) == (3, "Refused")


class TestPool:
    """Who is started where."""

    def test_where_workers_end_before_they_begin_fewer_are_started(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As Ray has it for a minute on a computer that is gone; the others go on."""
        import ray

        clock, gone = [0.0], True
        here, lost = Node("a", "here", 1, 0, True), Node("b", "lost", 1, 0, True)

        def answer(greeting: str) -> Fingerprint:
            if greeting == "lost" and gone:
                raise ray.exceptions.ActorUnschedulableError("the node doesn't exist any more")
            return Fingerprint.take()

        begun = Counter[str]()

        def started(_: DrawerPool, node: Node, slots: int) -> RemoteDrawer:
            begun[node.name] += slots
            return RemoteDrawer(None, node, node.name)

        monkeypatch.setattr(
            workers, "time", SimpleNamespace(monotonic=lambda: clock[0], time=workers.time.time)
        )
        monkeypatch.setattr(workers, "_is_ready", lambda *_: True)
        monkeypatch.setattr(ray, "get", answer)
        monkeypatch.setattr(ray, "kill", lambda _: None)
        monkeypatch.setattr(DrawerPool, "_started", started)
        there = SimpleNamespace(nodes=lambda: (here, lost), require_private=lambda *_: None)
        pool = DrawerPool(there, b"", None, False, 1, pytest.fail)  # type: ignore[arg-type]

        def deaths(seconds: float) -> int:
            dead, end = 0, clock[0] + seconds
            while clock[0] < end:
                dead += pool.keep()
                clock[0] += 0.25
            return dead

        assert 5 <= deaths(60.0) <= 8 and pool.size == 1 and pool.wanted == 2
        gone = False
        assert deaths(20.0) == 0 and pool.size == 2 and begun["here"] == 1


def test_the_file_for_ray_up_is_one() -> None:
    """As far as Ray itself tells without going to the computers."""
    import yaml  # Ray's own
    from ray.autoscaler._private.util import prepare_config, validate_config

    file = (ROOT / "cluster" / "on-premise.yaml").read_text(encoding="utf-8")
    validate_config(prepare_config(yaml.safe_load(file)))
