"""The bench over the API: what the sonic engine takes here, and what each of its savings changes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import engines
from ..errors import BadInput, WrongTime
from ..files.home import private_home
from ..jobs.inputs import staging
from ..jobs.submission import search_of
from ..progress import Stage, Step, Ticker
from ..settings import Settings
from . import answers, requests, schemas
from .background import BackgroundTask, TaskSlot

if TYPE_CHECKING:
    from ..evaluation.bench import Bench
    from ..ports import Host
    from ..progress import Progress

MOST_MINUTES = 1440
"""A day: nobody waits for more of a bench."""


class Benching:
    """The routes below /bench."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._slot = TaskSlot(
            lambda: WrongTime("A bench is running already.", "Wait until it ends, or stop it.")
        )
        self._bench: Bench | None = None

    def begin(self, body: schemas.BenchRequest) -> dict[str, Any]:
        """What `sonic bench` does, in turn with the videos. No video is made."""
        from ..evaluation.bench import check, planned_bench

        if not 1 <= body.minutes <= MOST_MINUTES:
            raise BadInput(f"minutes={body.minutes:g} is out of range.", f"Use 1 to {MOST_MINUTES}.")
        settings = self._settings(body.settings)
        check(settings, body.trades)
        engines.choose("sonic", private_home(), self._host.devices, settings, search_of(self._host))
        portrait = audio = None
        with ExitStack() as stack:  # what cannot be used is said at once
            staged = stack.enter_context(staging(private_home()))
            if body.portrait:
                portrait = staged.path(requests.staged_portrait(staged, body.portrait))
            if body.audio:
                audio = staged.path(requests.staged_speech(staged, body.audio))
            kept = stack.pop_all()

        def measured(progress: Progress) -> str:
            tick = Ticker(progress)
            with tempfile.TemporaryDirectory() as home:
                self._bench = planned_bench(
                    settings,
                    minutes=body.minutes,
                    portrait=portrait,
                    audio=audio,
                    names=body.trades,
                    search=search_of(self._host),
                    devices=self._host.devices,
                    home=Path(home),
                    tick=tick,
                )
                for _ in self._bench.run(tick):  # each is in the answer at once
                    pass
            return "The bench is over."

        def work(task: BackgroundTask) -> str:
            task.report(Step(Stage.WAITING_FOR_JOB, 0, 1))
            with kept:
                return self._host.work(task, measured)

        try:
            return self._slot.begin("bench", work)
        except WrongTime:
            kept.close()
            raise

    def task(self) -> dict[str, Any]:
        """How the newest one stands or ended."""
        return self._slot.task()

    def stop(self) -> dict[str, Any]:
        """What was measured so far stays."""
        return self._slot.stop()

    def result(self) -> dict[str, Any]:
        """Figures of the newest one, as far as they are there: no path, no picture, no name."""
        if self._bench is None:
            raise WrongTime("Nothing has been measured yet.", "Begin a bench: POST /sonic/v1/bench.")
        return answers.spoken(self._bench.as_json(), "notes")

    def _settings(self, given: Any) -> Settings:
        """As requested; the user's own defaults where the bench does not vary them itself."""
        from ..evaluation.bench import varied

        asked = requests.settings_of(self._host, given)
        own = {name: getattr(Settings(), name) for name in varied() if name not in given}
        return asked.with_values(own)
