"""The sonic engine's weights on the page: what is there, what lacks, licences, fetching, converting."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import weights
from ..errors import BadInput, Cancelled, as_error
from ..ports import DeviceManager
from ..progress import Stage, Step
from ..text import bytes_text
from ..weights import Finding, Licence, Part, PartState, Search, Survey
from . import compat, html
from .compat import gr
from .latest import on_choice
from .relay import Relay
from .tasks import BackgroundTask, BackgroundTasks, TabKey, Updates, shown

PURPOSE = "weights"
"""Of the one task that a browser tab has here."""
SOURCE = 'python -m pip install "sonic-ext[sonic]"'


class WeightsView:
    """The *Weights* tab.

    Args:
        tasks: the page's register of running tasks.
        search: says where to look; asked anew at each look.
        devices: the WebUI, where there is one: its VAE may take the place of one that lacks.
    """

    def __init__(
        self,
        tasks: BackgroundTasks,
        search: Callable[[], Search] = Search.default,
        devices: DeviceManager | None = None,
    ) -> None:
        self._tasks = tasks
        self._devices = devices
        self._search = search
        self._busy = threading.Lock()
        self.licences = tuple(dict.fromkeys(part.licence for part in weights.PARTS))
        self.tab = gr.State(TabKey())
        self.summary = gr.HTML(elem_id="sonic_weights_summary")
        self.table = gr.HTML(elem_id="sonic_weights_table")
        with gr.Row():
            self.renew = gr.Button("Refresh", size="sm", elem_id="sonic_weights_refresh", min_width=120)
            self.convert = gr.Button(
                "Convert pickles", size="sm", elem_id="sonic_weights_convert", min_width=120
            )
        self._lay_out_fetching()
        self._wire()

    def _lay_out_fetching(self) -> None:
        with gr.Group():
            self.chosen = gr.CheckboxGroup(
                [(_choice_text(part), part.name) for part in weights.PARTS],
                label="Parts to fetch",
                elem_id="sonic_weights_chosen",
            )
        self.total = gr.HTML(elem_id="sonic_weights_total")
        self.frames, self.accepted = [], []
        for number, licence in enumerate(self.licences):
            with gr.Group(visible=False) as frame:
                gr.HTML(html.licence(licence, _titles(licence, weights.PARTS)))
                self.accepted.append(
                    gr.Checkbox(
                        label=f"I have read it and accept: {licence.name}",
                        elem_id=f"sonic_licence_{number}",
                    )
                )
            self.frames.append(frame)
        with gr.Row():
            self.fetch = gr.Button("Fetch", variant="primary", elem_id="sonic_weights_fetch")
            self.cancel = gr.Button("Cancel", interactive=False, elem_id="sonic_weights_cancel")
        self.progress = gr.HTML("", elem_id="sonic_weights_progress")

    @property
    def shown_at_refresh(self) -> list[Any]:
        """What `refresh` changes."""
        return [self.summary, self.table, self.convert, self.fetch, *self._choosing]

    @property
    def _choosing(self) -> list[Any]:
        return [self.chosen, *self._shown_at_choice]

    @property
    def _shown_at_choice(self) -> list[Any]:
        return [self.total, *self.frames]

    def _wire(self) -> None:
        working = [*self.shown_at_refresh, self.cancel, self.progress, self.renew]
        self.renew.click(self.refresh, None, self.shown_at_refresh, **compat.prompt())
        on_choice(self.chosen.change, self.choose, [self.chosen], self._shown_at_choice)
        Relay(self.bring, self.tab, working).at(self.fetch.click, [self.chosen, *self.accepted])
        Relay(self.turn, self.tab, working).at(self.convert.click, [])
        self.cancel.click(self.stop, self.tab, [self.cancel], queue=False)

    def refresh(self) -> Updates:
        """Look again; what lacks and cannot be done without is chosen."""
        try:
            search = self._search()
            found = weights.survey(search)
        except Exception as problem:
            return {self.summary: html.error(as_error(problem)), self.table: ""}
        lacking = [finding.part.name for finding in found.missing()]
        pickles = [finding for finding in found.findings if finding.state is PartState.CONVERT]
        return {
            self.summary: _summary(found, self._lent(found)),
            self.table: html.parts(found),
            self.convert: gr.update(interactive=bool(pickles) and _torch_is_here()),
            self.fetch: gr.update(interactive=_hub_is_here(), value=_fetch_text(found)),
            self.chosen: gr.update(value=lacking),
        } | self._choice(lacking, found.search)

    def _lent(self, found: Survey) -> str:
        """Whose VAE makes up for the only part that lacks; empty where it is not so."""
        if self._devices is None or [each.part for each in found.missing()] != [weights.VAE]:
            return ""
        vae = self._devices.vae().vae
        return vae.title if vae else ""

    def choose(self, names: Sequence[str]) -> Updates:
        """Show the licences and the size of what is chosen."""
        return self._choice(names, self._search())

    def _choice(self, names: Sequence[str], search: Search) -> Updates:
        parts = weights.parts_named(names)
        needed = {part.licence for part in parts}
        visible = {
            frame: gr.update(visible=licence in needed)
            for frame, licence in zip(self.frames, self.licences, strict=True)
        }
        return {self.total: _total(parts, search)} | visible

    def bring(self, tab: TabKey, names: Sequence[str], *accepted: bool) -> Generator[Updates, None, None]:
        """Fetch what is chosen, if the licences are accepted."""

        def work(task: BackgroundTask) -> str:
            parts = weights.parts_named(names)
            self._check(parts, accepted)
            weights.fetch(parts, self._search().target, accept=True, tick=_ticker(task))
            return f"Fetched: {', '.join(part.title for part in parts)}."

        yield from self._worked(tab, work, Stage.ASKING_HUB)

    def turn(self, tab: TabKey) -> Generator[Updates, None, None]:
        """Convert every pickle."""

        def work(task: BackgroundTask) -> str:
            search = self._search()
            found = weights.survey(search)
            todo = [finding for finding in found.findings if finding.state is PartState.CONVERT]
            for finding in todo:
                _convert(finding, search, task)
            done = ", ".join(finding.part.title for finding in todo)
            return f"Converted: {done}." if done else "There is nothing to convert."

        yield from self._worked(tab, work, Stage.CONVERTING)

    def stop(self, tab: TabKey) -> Updates:
        """Ask this browser tab's task to stop."""
        self._tasks.cancel(tab, PURPOSE)
        return {self.cancel: gr.update(interactive=False)}

    def _worked(
        self, tab: TabKey, work: Callable[[BackgroundTask], str], stage: Stage
    ) -> Generator[Updates, None, None]:
        """Run the work with progress; look again at its end, however it ends."""
        yield self._begun(stage)
        finished = False
        try:
            with self._alone():
                done = yield from shown(
                    self._tasks.follow(tab, PURPOSE, work),
                    lambda step: {self.progress: html.progress(_with_bytes(step))},
                )
            told, finished = html.banner("good", done), True
        except Cancelled:
            told = html.banner("note", "Stopped as asked.", "Fetch goes on where it stopped.")
        except Exception as problem:
            told = html.error(as_error(problem))
        yield self._idle(finished) | {self.progress: told}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two downloads into the same file would spoil each other."""
        if not self._busy.acquire(blocking=False):
            raise BadInput("Weights are being fetched or converted in another window.", "Wait until it ends.")
        try:
            yield
        finally:
            self._busy.release()

    def _check(self, parts: Sequence[Part], accepted: Sequence[bool]) -> None:
        if not parts:
            raise BadInput("No part is chosen.", "Choose one under Parts to fetch.")
        agreed = {licence for licence, yes in zip(self.licences, accepted, strict=True) if yes}
        left = [each.name for each in self.licences if each in {p.licence for p in parts} - agreed]
        if left:
            raise BadInput(
                f"The licences have not been accepted: {', '.join(left)}.",
                "Read them, then tick their boxes.",
            )

    def _begun(self, stage: Stage) -> Updates:
        busy = [self.fetch, self.convert, self.renew]
        return {
            **{button: gr.update(interactive=False) for button in busy},
            self.cancel: gr.update(interactive=True),
            self.progress: html.progress(Step(stage, 0, 1)),
        }

    def _idle(self, finished: bool) -> Updates:
        """As it stands now; what was chosen stays chosen until it is done."""
        found = self.refresh()
        if not finished:
            found = {each: state for each, state in found.items() if each not in self._choosing}
        return found | {
            self.renew: gr.update(interactive=True),
            self.cancel: gr.update(interactive=False),
        }


def _convert(finding: Finding, search: Search, task: BackgroundTask) -> None:
    assert finding.path is not None, "what can be converted has been found"
    target = weights.target_of(finding.part, search.target)
    weights.convert(finding.part, finding.path, target, again=True, strict=False, tick=_ticker(task))


def _ticker(task: BackgroundTask) -> Any:
    from ..progress import Ticker

    return Ticker(task)


def _with_bytes(step: Step) -> Step:
    """How much of a download is there, in words."""
    if step.stage is not Stage.FETCHING or step.total < 2:
        return step
    said = f"{step.detail} · {bytes_text(step.done)} of {bytes_text(step.total)}"
    return replace(step, detail=said)


def _summary(found: Survey, lent: str = "") -> str:
    """Whether the engine can start, what else this computer lacks, and where files go."""
    if found.ready:
        said = html.banner("good", "The sonic engine has all the weights that it needs.")
    elif lent:
        said = html.banner(
            "good",
            "The sonic engine has what it needs.",
            f"{lent} stands in for Stable Video Diffusion's VAE, which flickers less.",
        )
    else:
        lacking = [finding.part for finding in found.missing()]
        size = bytes_text(sum(part.about or 0 for part in lacking))
        said = html.banner(
            "warning",
            f"The sonic engine lacks {len(lacking)} of {len(weights.REQUIRED)} parts, about {size}.",
            "The preview engine needs none of them.",
        )
    return said + "".join(_obstacles()) + html.models_folder(found.search.target)


def _obstacles() -> Iterator[str]:
    """What keeps this computer from fetching, converting or running, whatever files are there."""
    if not _hub_is_here():
        yield html.banner("warning", "httpx is not installed, so nothing can be fetched.", SOURCE)
    elif _offline():
        yield html.banner(
            "warning", "HF_HUB_OFFLINE forbids to ask the Hub, so nothing can be fetched.", "Unset it."
        )
    if not _torch_is_here():
        yield html.banner(
            "warning", "PyTorch is not installed, so weights can be neither converted nor run.", SOURCE
        )


def _hub_is_here() -> bool:
    return find_spec("httpx") is not None


def _torch_is_here() -> bool:
    return find_spec("torch") is not None


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _fetch_text(found: Survey) -> str:
    begun = any(finding.state is PartState.PARTIAL and finding.path for finding in found.missing())
    return "Fetch the rest" if begun else "Fetch"


def _total(parts: Sequence[Part], search: Search) -> str:
    if not parts:
        return html.banner("note", "Nothing is chosen.")
    size = bytes_text(sum(part.about or 0 for part in parts))
    free = _free(search.target)
    room = f"{bytes_text(free)} are free there." if free is not None else ""
    return html.banner("note", f"To fetch: about {size}.", room)


def _free(folder: Path) -> int | None:
    """Bytes free where the folder is or will be."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None


def _choice_text(part: Part) -> str:
    size = f", {bytes_text(part.about)}" if part.about else ""
    return f"{part.title}{size}{'' if part.required else ', optional'}"


def _titles(licence: Licence, parts: Sequence[Part]) -> list[str]:
    return [part.title for part in parts if part.licence == licence]
