"""Portrait and voice in, checked, animated, shown, consented to and exported."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Cancelled, SonicError
from ..jobs import Register, as_error
from ..progress import Stage, Step
from ..settings import Settings
from . import compat, form, html
from .checking import Checks
from .compat import SelectData, gr
from .consent_form import ConsentForm
from .exporting import export_told
from .latest import on_latest
from .portrait_panel import PortraitPanel
from .relay import Relay
from .send import Doors, Letterbox, Outbox
from .settings_form import SettingsForm
from .showing import preview_of
from .work import Job, Jobs, TabKey, Updates, new_task, shown

if TYPE_CHECKING:
    import numpy as np

    from ..configuration import Configuration
    from ..hosts import Host
    from ..pipeline import Preflight
    from ..provenance.gate import Exported
    from ..provenance.take import Take
    from ..provenance.verify import Verification

_ASK = html.banner("note", "Add a portrait and speech.", "What the video will be appears here first.")


class MakeView:
    """The *Animate* tab."""

    def __init__(self, host: Host, jobs: Jobs, register: Register, doors: Doors | None = None) -> None:
        self._host = host
        self._jobs = jobs
        self._register = register
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
        self._checks = Checks(jobs, self._look, show=lambda step: {self.facts: html.progress(step)})
        self._wire()

    def _lay_out_sources(self) -> None:
        _step(1, "Portrait and speech")
        self.portrait = compat.image_input(label="Portrait", elem_id="sonic_portrait", height=300)
        if self._outbox:
            self._outbox.portrait_button(self.portrait)
        if self._host.portraits is not None:
            Letterbox(self.portrait)
            panel = PortraitPanel(self._host, self._jobs, self.tab, self.portrait)
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
        Relay(self.make, self.tab, making).at(self.generate.click, inputs)
        self.cancel.click(self.stop, self.tab, [self.cancel], queue=False)
        told = [self.outcome, self.result, self.evidence, self.shelf, self.export, self.exported]
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

    def _look(self, job: Job, sources: Sequence[Any], settings: Sequence[Any]) -> Updates:
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
                progress=job,
                place=self._host.place,
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

    def _pictured(self, rgb: np.ndarray) -> Updates:
        from ..media.image import thumbnail

        picture = thumbnail(rgb)
        return {
            self.picture: gr.update(visible=True, value=picture),
            self.scale: rgb.shape[1] / picture.width,
        }

    def place(self, event: SelectData, scale: float, what: str, points: list[float]) -> Updates:
        """Take a click on the picture as one of two points."""
        return self.settings.clicked(what, points, [round(part * scale) for part in event.index])

    def make(self, tab: TabKey, *values: Any) -> Generator[Updates, None, None]:
        """Animate; show progress, then the stamped preview and the consent form."""
        sources, rest = self._split(values)
        portrait, audio = _given(sources)
        yield self._begun()
        try:
            if not (portrait and audio):
                raise BadInput("A portrait and speech are needed.", "Add both on the left.")
            settings = form.settings_from(rest)
            task = new_task()
            make = partial(self._animate, portrait=portrait, audio=audio, settings=settings)
            take = yield from shown(
                self._jobs.follow(tab, "make", make, task),
                lambda step: {self.progress: html.progress(step, task)},
            )
            yield self._finished(take)
        except Exception as problem:
            yield self._idle() | {self.progress: html.error(as_error(problem))}

    def _animate(self, job: Job, portrait: str, audio: str, settings: Settings) -> Take:
        from .. import pipeline
        from ..provenance.store import Store

        job.report(Step(Stage.WAITING, 0, 1))
        return self._register.run(
            self._host.work,
            lambda progress: pipeline.animate(
                portrait,
                audio,
                settings,
                progress=progress,
                store=Store(configuration=self._host.configuration()),
                place=self._host.place,
            ),
            origin="page",
            along=job,
        )

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
        self._jobs.cancel(tab, "make")
        return {self.cancel: gr.update(interactive=False)}

    def let_out(self, tab: TabKey, take_id: str, *stated: Any) -> Generator[Updates, None, None]:
        """Pass the gate, show the file, then what `verify` says of it."""
        yield {
            self.outcome: html.progress(Step(Stage.SIGNING, 0, 1)),
            self.export: gr.update(interactive=False),
        }
        try:
            exported = self._export(take_id, self.consent.read(stated))
            yield self._exported(exported)
            found = yield from shown(
                self._jobs.follow(
                    tab, "prove", lambda job: _proof(exported, job, self._host.configuration())
                ),
                lambda step: {self.evidence: html.progress(step)},
            )
            told: Updates = {self.evidence: html.verdict(found)}
        except Exception as problem:
            told = {self.outcome: html.error(as_error(problem))}
        yield told | {self.export: gr.update(interactive=True)}

    def _export(self, take_id: str, consent: Any) -> Exported:
        from ..provenance.store import Store

        if not take_id:
            raise BadInput("There is no finished video on this page.", "Generate one first.")
        return export_told(self._register, self._host, Store().load(take_id), consent)

    def _exported(self, exported: Exported) -> Updates:
        told = html.banner(
            "good", f"Exported as {exported.path.name}.", f"Folder: {html.place(exported.path.parent)}"
        )
        return {
            self.outcome: told + html.warnings(exported.warnings),
            self.result: gr.update(visible=True, value=compat.served_copy(self.result, exported.path)),
            self.shelf: self._shelf(),
            self.exported: str(exported.path),
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


def _proof(exported: Exported, job: Job, configuration: Configuration) -> Verification:
    """What anyone who receives the file will find."""
    from ..progress import Ticker
    from ..provenance.verify import verify

    return verify(exported.path, tick=Ticker(job), configuration=configuration)


def _step(number: int, title: str) -> None:
    gr.HTML(f"<h2><b>{number}</b>{title}</h2>", elem_classes="sonic-step")
