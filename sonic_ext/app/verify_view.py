"""A video or a picture in, and where it comes from, readable."""

from __future__ import annotations

from collections.abc import Generator
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
            with gr.Column(scale=7, min_width=320):
                self.verdict = gr.HTML(_ASK, elem_id="sonic_verdict")
        # two events: gradio 3 drops one that comes while it answers the same for what was there before
        Relay(self.read, self.tab, [self.verdict]).at(self.file.upload, [self.file])
        self.file.clear(self.forget, self.tab, [self.verdict], **compat.prompt())

    def forget(self, tab: TabKey) -> Updates:
        """Without a file there is nothing to say."""
        self._tasks.cancel(tab, "verify")
        return {self.verdict: _ASK}

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
