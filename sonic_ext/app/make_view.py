"""Portrait and voice in, checked, animated, shown, consented to and exported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import BadAudio, BadInput, BadPortrait, Cancelled, NotFound, SonicError, as_error
from ..jobs import Destination, ExportedFile, Origin, Worker
from ..jobs.exporting import export_take
from ..jobs.submission import specified
from ..progress import Stage, Step
from ..settings import Settings
from . import compat, form, html
from .checking import Checks
from .compat import SelectData, gr
from .consent_form import ConsentForm
from .latest import on_latest
from .portrait_panel import PortraitPanel
from .relay import Relay
from .send import Doors, Letterbox, Outbox
from .settings_form import SettingsForm
from .showing import preview_of
from .tasks import POLL, BackgroundTask, BackgroundTasks, TabKey, Updates, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..configuration import Configuration
    from ..pipeline import Preflight
    from ..provenance.take import Take
    from ..provenance.verify import Verification

_ASK = html.banner("note", "Add a portrait and speech.", "What the video will be appears here first.")


RESUMED = "() => [localStorage.getItem('sonicJob') || '']"
"""JavaScript that names the video that this browser asked for last and has not exported."""
REMEMBER = """(id) => {
    if (!id.startsWith("-")) { if (id) localStorage.setItem("sonicJob", id); }
    else if (localStorage.getItem("sonicJob") === id.slice(1)) localStorage.removeItem("sonicJob");
    return [];
}"""
"""JavaScript that remembers it, so that a page that is closed or loaded anew finds it again; "-" and its id
forgets it, and leaves what another window has asked for since."""
FRESH = "(_, ...inputs) => ['', ...inputs]"
"""JavaScript that names no video: a new one is asked for."""


@dataclass
class Asked:
    """What a browser tab asked for last."""

    job: str = ""
    """Its id; "" until it is submitted."""
    stop: bool = False
    """The user wants no video of it."""


class MakeView:
    """The *Animate* tab."""

    def __init__(self, worker: Worker, tasks: BackgroundTasks, doors: Doors | None = None) -> None:
        self._worker = worker
        self._queue = worker.queue
        self._host = worker.host
        self._tasks = tasks
        self._asked: WeakKeyDictionary[TabKey, Asked] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._outbox = Outbox(doors) if doors else None
        self.tab = gr.State(TabKey())
        self.take = gr.State("")
        self.exported = gr.State("")
        self.scale = gr.State(1.0)
        self.saved: list[Any] = []
        """Components whose value a WebUI may take as their default."""
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self._lay_out_sources()
                self._lay_out_settings()
            with gr.Column(scale=6, min_width=320):
                self._lay_out_check()
                self._lay_out_making()
                self._lay_out_export()
        self._checks = Checks(tasks, self._look, show=lambda step: {self.facts: html.progress(step)})
        self._wire()

    def _lay_out_sources(self) -> None:
        _step(1, "Portrait and speech")
        self.portrait = compat.image_input(label="Portrait", elem_id="sonic_portrait", height=300)
        if self._outbox:
            self._outbox.portrait_button(self.portrait)
        if self._host.portraits is not None:
            Letterbox(self.portrait)
            panel = PortraitPanel(self._host, self._tasks, self.tab, self.portrait)
            self.saved += panel.parameters
        self.audios = compat.audio_inputs("Speech", "sonic_audio")

    def _lay_out_settings(self) -> None:
        """With the user's own defaults; where those do not fit, with the usual ones, and a sentence."""
        try:
            defaults = form.shown(Settings.from_mapping(self._host.defaults()))
        except SonicError as problem:
            gr.HTML(html.error(problem), elem_id="sonic_defaults_told")
            defaults = {}
        self.settings = SettingsForm(defaults)
        self.saved += self.settings.saved

    def _lay_out_check(self) -> None:
        _step(2, "Check")
        self.picture = gr.Image(
            label="Face found", interactive=False, height=300, visible=False, elem_id="sonic_picture"
        )
        self.facts = gr.HTML(_ASK, elem_id="sonic_facts")

    def _lay_out_making(self) -> None:
        _step(3, "Make")
        with gr.Row(elem_classes="sonic-unseen"):
            self.job = gr.Textbox("", label="")
        with gr.Column(visible=False, elem_id="sonic_interrupted") as self.interrupted:
            self.waiting = gr.HTML("")
            with gr.Row():
                self.go_on = gr.Button("Continue", size="sm", elem_id="sonic_go_on")
                self.drop = gr.Button("Discard", size="sm", elem_id="sonic_drop")
        with gr.Row():
            self.generate = gr.Button("Generate", variant="primary", elem_id="sonic_generate")
            self.cancel = gr.Button("Cancel", interactive=False, elem_id="sonic_cancel")
        self.progress = gr.HTML("", elem_id="sonic_progress")
        self.preview = compat.player(False, label="Preview, stamped", elem_id="sonic_preview")

    def _lay_out_export(self) -> None:
        with gr.Column(visible=False, elem_id="sonic_gate") as self.gate:
            _step(4, "Consent and export")
            self.consent = ConsentForm()
            self.export = gr.Button("Export", variant="primary", elem_id="sonic_export")
        self.outcome = gr.HTML("", elem_id="sonic_outcome")
        self.result = compat.player(True, label="Exported video", elem_id="sonic_result")
        if self._outbox:
            self.frame = self._outbox.frame_button(self.take, self.exported)
        self.evidence = gr.HTML("", elem_id="sonic_evidence")
        with gr.Accordion("Exported videos", open=False):
            self.shelf = gr.HTML(elem_id="sonic_shelf", value=self._shelf)

    def _wire(self) -> None:
        sources = [self.portrait, *self.audios]
        inputs = [*sources, *self.settings.components]
        placed = self.picture.select(
            self.place,
            [self.scale, self.settings.clicking, self.settings.points],
            [self.settings.points, self.settings.hint, *self.settings.placed],
            queue=False,
        )
        changes = [source.change for source in sources] + self.settings.settled
        self._check_at([*changes, *self.settings.preset_applied, placed.then], inputs)
        for one, other in zip(self.audios, self.audios[::-1], strict=True):
            if one is not other:  # a new recording takes the place of a file, and the other way round
                one.change(lambda value: gr.update() if value is None else None, one, other, queue=False)
        making = [
            self.take, self.generate, self.cancel, self.progress, self.preview, self.gate,
            self.outcome, self.result, self.evidence, self.exported, *self._sendable,
        ]  # fmt: skip
        self._following = Relay(self.make, self.tab, [*making, self.job])
        self._following.at(self.generate.click, [self.job, *inputs], FRESH)
        self.job.change(None, self.job, None, **compat.script(REMEMBER))
        for button, decide in (
            (self.go_on, self._worker.resume_held),
            (self.drop, self._worker.discard_held),
        ):
            button.click(self._deciding(decide), None, [self.interrupted, self.waiting], **compat.prompt())
        self.cancel.click(self.stop, self.tab, [self.cancel], queue=False)
        told = [
            self.outcome, self.result, self.evidence, self.shelf, self.export, self.exported, self.job,
        ]  # fmt: skip
        stated = [self.take, *self.consent.components]
        Relay(self.let_out, self.tab, told).at(self.export.click, stated, self.consent.script)

    def _check_at(self, events: list[Any], inputs: list[Any]) -> None:
        """Not in the queue, which may lose events; then in the queue, for what takes long."""
        shown = [self.picture, self.facts, self.scale]
        following = Relay(self._checks.follow, self.tab, shown)
        for answered in on_latest(events, self.check, [self.tab, *inputs], shown):
            following.at(answered, [])

    @property
    def _sendable(self) -> list[Any]:
        return [self.frame] if self._outbox else []

    def check(self, asked: float, tab: TabKey, *values: Any) -> Updates | None:
        """Begin to find out what the video will be; `asked` is the page's time."""
        return self._checks.begin(tab, asked, *self._split(values))

    def _look(self, task: BackgroundTask, sources: Sequence[Any], settings: Sequence[Any]) -> Updates:
        """What the video will be, as soon as both sources are there."""
        portrait, audio = _given(sources)
        if not (portrait and audio):
            return {self.facts: _ASK, self.picture: gr.update(visible=False, value=None)}
        from .. import pipeline

        try:
            wanted = form.settings_from(settings)
            found = pipeline.preflight(
                portrait,
                audio,
                wanted,
                progress=task,
                devices=self._host.devices,
                configuration=self._host.configuration(),
            )
        except Cancelled:
            raise
        except Exception as problem:
            return self._unchecked(portrait, problem)
        return self._checked(found)

    def _checked(self, found: Preflight) -> Updates:
        return self._pictured(found.picture) | {self.facts: html.preflight(found)}

    def _unchecked(self, portrait: str, problem: Exception) -> Updates:
        """The error, with the plain portrait so that a face can be placed on it by hand."""
        from ..media.image import read_portrait

        told = {self.facts: html.error(as_error(problem))}
        try:
            return self._pictured(read_portrait(portrait).rgb) | told
        except SonicError:
            return told | {self.picture: gr.update(visible=False, value=None)}

    def _pictured(self, rgb: NDArray[np.uint8]) -> Updates:
        from ..media.image import thumbnail

        picture = thumbnail(rgb)
        return {
            self.picture: gr.update(visible=True, value=picture),
            self.scale: rgb.shape[1] / picture.width,
        }

    def place(self, event: SelectData, scale: float, what: str, points: list[float]) -> Updates:
        """Take a click on the picture as one of two points."""
        return self.settings.clicked(what, points, [round(part * scale) for part in event.index])

    def at_load(self, load: Any) -> None:
        """Bind what happens when the page is loaded, be it anew: a video that it asked for is found again."""
        self._following.at(load, [self.job], RESUMED)
        load(self.look_for_interrupted, None, [self.interrupted, self.waiting], **compat.prompt())

    def make(self, tab: TabKey, job_id: str, *values: Any) -> Generator[Updates, None, None]:
        """Animate, or go on showing a job of before; show progress, then the preview and the consent form.

        Whoever stops iterating stops nothing: the job is the queue's.
        """
        if not (job_id or values):
            return  # this browser has asked for nothing yet
        asked = self._asked[tab] = Asked(job_id)
        try:
            if not job_id:
                yield self._begun()
                self._submit(asked, *self._split(values))
            yield from self._followed(asked.job)
        except NotFound:
            yield {self.job: f"-{asked.job}"}  # the browser asks for what is remembered no longer
        except Exception as problem:
            yield self._idle() | {self.progress: html.error(as_error(problem)), self.job: f"-{asked.job}"}

    def _submit(self, asked: Asked, sources: Sequence[Any], settings: Sequence[Any]) -> None:
        portrait, audio = _given(sources)
        if not (portrait and audio):
            raise BadInput("A portrait and speech are needed.", "Add both on the left.")
        with self._queue.staging() as staged:
            spec = specified(
                self._host,
                staged,
                origin=Origin.PAGE,
                portrait=staged.copy(Path(portrait), BadPortrait),
                audio=staged.copy(Path(audio), BadAudio),
                settings=form.settings_from(settings),
            )
            with self._lock:
                if asked.stop:
                    raise Cancelled
                asked.job = self._worker.submit(spec, staged).id

    def _followed(self, job_id: str) -> Generator[Updates, None, None]:
        """What the queue says of a job, until it is over."""
        job = self._queue.find(job_id)
        if not job.state.ended:
            yield self._begun() | {self.job: job_id}
        while not job.state.ended:
            yield {self.progress: html.progress(job.step, job.task_id)}
            time.sleep(POLL)
            job = self._queue.find(job_id)
        if job.exported is not None or (job.take is not None and not job.take.preview.is_file()):
            yield {self.job: f"-{job_id}"}  # out already, or expired
        else:
            yield self._finished(job.result()) | {self.job: job_id}

    def look_for_interrupted(self) -> Updates:
        """What a restart of the WebUI interrupted, and the question what is to become of it."""
        held = self._worker.held()
        if len(held) == 1:
            said, hint = "1 interrupted video waits.", "Once continued, it appears under History."
        else:
            said, hint = f"{len(held)} interrupted videos wait.", "Once continued, they appear under History."
        told = html.banner("note", said, hint) if held else ""
        return {self.interrupted: gr.update(visible=bool(held)), self.waiting: told}

    def _deciding(self, decide: Callable[[], None]) -> Callable[[], Updates]:
        def decided() -> Updates:
            decide()
            return self.look_for_interrupted()

        return decided

    def _begun(self) -> Updates:
        return {
            self.take: "",
            self.generate: gr.update(interactive=False),
            self.cancel: gr.update(interactive=True, value="Cancel"),
            self.progress: html.progress(Step(Stage.STARTING, 0, 1)),
            self.preview: gr.update(visible=False, value=None),
            self.gate: gr.update(visible=False),
            self.outcome: "",
            self.evidence: "",
            self.result: gr.update(visible=False, value=None),
            self.exported: "",
            **{button: gr.update(visible=False) for button in self._sendable},
        }

    def _idle(self) -> Updates:
        return {
            self.generate: gr.update(interactive=True),
            self.cancel: gr.update(interactive=False, value="Cancel"),
        }

    def _finished(self, take: Take) -> Updates:
        told = html.banner("good", "The video is finished.", "Consent lets it out of the private folder.")
        return self._idle() | {
            self.take: take.id,
            self.progress: told + html.warnings(take.warnings),
            self.preview: gr.update(visible=True, value=preview_of(self.preview, take)),
            self.gate: gr.update(visible=True),
            **{button: gr.update(visible=True) for button in self._sendable},
        }

    def stop(self, tab: TabKey) -> Updates:
        """Ask this browser tab's job to stop."""
        with self._lock:
            asked = self._asked.get(tab, Asked())
            asked.stop = True
        if asked.job:
            self._queue.cancel(asked.job)
        return {self.cancel: gr.update(interactive=False)}

    def let_out(self, tab: TabKey, take_id: str, *stated: Any) -> Generator[Updates, None, None]:
        """Pass the gate, show the file, then what `verify` says of it."""
        yield {
            self.outcome: html.progress(Step(Stage.SIGNING, 0, 1)),
            self.export: gr.update(interactive=False),
        }
        try:
            exported = self._export(take_id, self.consent.read(stated))
            yield self._exported(exported, take_id)
            found = yield from shown(
                self._tasks.follow(
                    tab, "prove", lambda task: _proof(exported, task, self._host.configuration())
                ),
                lambda step: {self.evidence: html.progress(step)},
            )
            told: Updates = {self.evidence: html.verdict(found)}
        except Exception as problem:
            told = {self.outcome: html.error(as_error(problem))}
        yield told | {self.export: gr.update(interactive=True)}

    def _export(self, take_id: str, consent: Any) -> ExportedFile:
        from ..provenance.store import Store

        if not take_id:
            raise BadInput("There is no finished video on this page.", "Generate one first.")
        to = Destination(consent, folder=str(self._host.outputs()))
        configuration = self._host.configuration()
        take = Store(configuration=configuration).load(take_id)
        return export_take(self._queue, take, to, configuration)

    def _exported(self, exported: ExportedFile, take_id: str) -> Updates:
        job = self._queue.find_by_take(take_id)
        told = html.banner(
            "good", f"Exported as {exported.path.name}.", f"Folder: {html.place(exported.path.parent)}"
        )
        return {
            self.outcome: told + html.warnings(exported.warnings),
            self.result: gr.update(visible=True, value=compat.served_copy(self.result, exported.path)),
            self.shelf: self._shelf(),
            self.exported: str(exported.path),
            self.job: f"-{job.id}" if job else gr.update(),
        }

    def _shelf(self) -> str:
        return html.exports(self._host.outputs())

    def _split(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Sources and settings, out of one event's inputs."""
        count = 1 + len(self.audios)
        return values[:count], values[count:]


def _given(sources: Sequence[Any]) -> tuple[str | None, str | None]:
    """Portrait and speech."""
    portrait, *audios = sources
    return portrait, next(filter(None, audios), None)


def _proof(exported: ExportedFile, task: BackgroundTask, configuration: Configuration) -> Verification:
    """What anyone who receives the file will find."""
    from ..progress import Ticker
    from ..provenance.verify import verify

    return verify(exported.path, tick=Ticker(task), configuration=configuration)


def _step(number: int, title: str) -> None:
    gr.HTML(f"<h2><b>{number}</b>{title}</h2>", elem_classes="sonic-step")
