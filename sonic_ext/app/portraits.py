"""Portraits that the WebUI makes for the page: one at a time, looked at before anything is animated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import Response

from ..errors import Failed, WrongTime
from ..files.home import private_home
from ..jobs.inputs import staging
from ..jobs.submission import portraits_of
from ..progress import Stage, Step
from . import requests, schemas
from .background import BackgroundTask, TaskSlot

if TYPE_CHECKING:
    from ..ports import Host


class PortraitMaking:
    """The routes below /portraits."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._slot = TaskSlot(
            lambda: WrongTime("A portrait is being made already.", "Wait until it is there, or stop it.")
        )
        self._png = b""

    def samplers(self) -> dict[str, Any]:
        """None where there is no WebUI that could make a portrait."""
        maker = self._host.portraits
        return {"samplers": None if maker is None else list(maker.samplers())}

    def begin(self, body: schemas.GenerationRequest) -> dict[str, Any]:
        """By the WebUI's own txt2img or img2img, with its loaded checkpoint."""
        source = requests.named_source(body, requests.GENERATED)
        maker = portraits_of(self._host, source)
        with staging(private_home()) as staged:
            asked = requests.generation(source, getattr(body, source), staged)
            start = staged.path(asked.start).read_bytes() if asked.start else None
        maker.check(asked.parameters, start)

        def work(task: BackgroundTask) -> str:
            self._png = b""
            task.report(Step(Stage.WAITING_FOR_JOB, 0, 1))
            made = self._host.work(task, lambda progress: maker.make(asked.parameters, start, progress))
            if not made:
                raise Failed("The WebUI gave no picture.", "Its own window shows why; try again.")
            self._png = made[0].png
            known = made[0].synthetic
            return "Nobody's face, and known as such." if known else "Its source was an upload."

        return self._slot.begin("portrait", work)

    def task(self) -> dict[str, Any]:
        """How the newest one stands or ended."""
        return self._slot.task()

    def stop(self) -> dict[str, Any]:
        """The WebUI is asked to interrupt."""
        return self._slot.stop()

    def picture(self) -> Response:
        """PNG of the newest one, with the WebUI's infotext."""
        if not self._png:
            raise WrongTime("There is no portrait yet.", "Make one: POST /sonic/v1/portraits.")
        return Response(self._png, media_type="image/png", headers={"Cache-Control": "private, no-store"})
