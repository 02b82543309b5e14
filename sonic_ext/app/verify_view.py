"""A video or a picture in, and where it comes from, readable; and how well its lips are in sync."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, as_error
from ..progress import Stage, Step
from . import compat, html
from .compat import gr
from .relay import Relay
from .tasks import BackgroundTasks, TabKey, Updates, shown

if TYPE_CHECKING:
    from ..ports import Host

_ASK = html.banner(
    "note",
    "Add a video or a picture of one.",
    "Marks, signature and consent record are read on this computer.",
)
_NO_VIDEO = html.banner("note", "Add a video in which somebody speaks.")


class VerifyView:
    """The *Verify* tab."""

    def __init__(self, host: Host, tasks: BackgroundTasks) -> None:
        self._host = host
        self._tasks = tasks
        self.tab = gr.State(TabKey())
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                self.file = compat.file_input(
                    label="Video or picture",
                    file_types=["video", "image"],
                    elem_id="sonic_verify_file",
                    height=160,
                )
                self.measure = gr.Button("Measure the lip sync", size="sm", elem_id="sonic_sync_measure")
            with gr.Column(scale=7, min_width=320):
                self.verdict = gr.HTML(_ASK, elem_id="sonic_verdict")
                self.sync = gr.HTML("", elem_id="sonic_sync")
        # two events: gradio 3 drops one that comes while it answers the same for what was there before
        Relay(self.read, self.tab, [self.verdict]).at(self.file.upload, [self.file])
        Relay(self.read_sync, self.tab, [self.sync]).at(self.measure.click, [self.file])
        self.file.clear(self.forget, self.tab, [self.verdict, self.sync], **compat.prompt())

    def forget(self, tab: TabKey) -> Updates:
        """Without a file there is nothing to say."""
        self._tasks.cancel(tab, "verify")
        self._tasks.cancel(tab, "sync")
        return {self.verdict: _ASK, self.sync: ""}

    def read(self, tab: TabKey, given: Any) -> Generator[Updates, None, None]:
        """Say what the marks say."""
        path = compat.path_of(given)
        if path is None:
            return
        from ..progress import Ticker
        from ..provenance.verify import verify

        configuration = self._host.configuration()
        yield {self.verdict: html.progress(Step(Stage.READING_MARKS, 0, 1))}
        try:
            found = yield from shown(
                self._tasks.follow(
                    tab, "verify", lambda task: verify(path, tick=Ticker(task), configuration=configuration)
                ),
                lambda step: {self.verdict: html.progress(step)},
            )
            told = html.verdict(found)
        except Cancelled:
            told = gr.update()  # the file is another one, or gone
        except Exception as problem:
            told = html.error(as_error(problem))
        yield {self.verdict: told}

    def read_sync(self, tab: TabKey, given: Any) -> Generator[Updates, None, None]:
        """Say how far the mouth is from the voice, with the chart."""
        path = compat.path_of(given)
        if path is None:
            yield {self.sync: _NO_VIDEO}
            return
        from ..progress import Ticker
        from ..sync.apart import measured_apart

        yield {self.sync: html.progress(Step(Stage.READING, 0, 1))}
        try:
            values = yield from shown(
                self._tasks.follow(tab, "sync", lambda task: measured_apart(Path(path), Ticker(task))),
                lambda step: {self.sync: html.progress(step)},
            )
            told = html.sync(values)
        except Cancelled:
            told = gr.update()  # the file is another one, or gone
        except Exception as problem:
            told = html.error(as_error(problem))
        yield {self.sync: told}
