"""Make a portrait with the WebUI's loaded checkpoint, without leaving the tab."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Failed, as_error
from ..ports import Step
from . import compat, html
from .compat import gr
from .relay import Relay
from .tasks import BackgroundTask, BackgroundTasks, TabKey, Updates, new_task, shown

if TYPE_CHECKING:
    from ..ports import Host, MadePortrait, Portraits

PURPOSE = "portrait"
"""Of the one task that a browser tab has here."""
CURRENT = "(...known) => sonic_txt2img_settings(known)"
"""JavaScript that reads the txt2img form of the WebUI; what it cannot find stays as known."""
NAMES = (
    "prompt", "negative_prompt", "width", "height", "steps", "cfg_scale", "seed", "sampler_name",
)  # fmt: skip
"""Parameters in the order of the panel and of `sonic_txt2img_settings`, as `/sdapi/v1/txt2img` names them."""


class PortraitPanel:
    """Prompt and parameters, a button, and the result handed to the portrait input.

    Args:
        host: has `portraits`.
        tasks: the page's register of running tasks.
        tab: state that names the browser tab.
        portrait: component that takes the picture.
    """

    def __init__(self, host: Host, tasks: BackgroundTasks, tab: Any, portrait: Any) -> None:
        assert host.portraits is not None, "whoever builds this looks first"
        self._host = host
        self._maker: Portraits = host.portraits
        self._tasks = tasks
        self._portrait = portrait
        with gr.Accordion("Make a portrait here", open=False, elem_id="sonic_portrait_panel"):
            self._lay_out_words()
            self._lay_out_numbers()
            self._lay_out_source()
            with gr.Row():
                self.make = gr.Button("Make portrait", variant="primary", elem_id="sonic_portrait_make")
                self.cancel = gr.Button("Cancel", interactive=False, elem_id="sonic_portrait_cancel")
            self.progress = gr.HTML("", elem_id="sonic_portrait_progress")
        self._wire(tab)

    def _lay_out_words(self) -> None:
        self.current = gr.Button("Use current txt2img settings", size="sm", elem_id="sonic_portrait_current")
        self.prompt = gr.Textbox(
            label="Prompt", lines=2, placeholder="portrait photo of one person, facing the camera",
            elem_id="sonic_portrait_prompt",
        )  # fmt: skip
        self.negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="sonic_portrait_negative")

    def _lay_out_numbers(self) -> None:
        with gr.Row():
            self.width = gr.Slider(64, 2048, 512, step=8, label="Width", elem_id="sonic_portrait_width")
            self.height = gr.Slider(64, 2048, 512, step=8, label="Height", elem_id="sonic_portrait_height")
        with gr.Row():
            self.steps = gr.Slider(1, 150, 20, step=1, label="Steps", elem_id="sonic_portrait_steps")
            self.guidance = gr.Slider(1, 30, 7, step=0.5, label="CFG scale", elem_id="sonic_portrait_cfg")
        samplers = list(self._maker.samplers())
        with gr.Row():
            self.seed = gr.Number(
                -1, label="Portrait seed", precision=0, min_width=120, elem_id="sonic_portrait_seed"
            )
            self.sampler = gr.Dropdown(
                samplers, value=samplers[0] if samplers else None, label="Sampler", min_width=160,
                elem_id="sonic_portrait_sampler",
            )  # fmt: skip

    def _lay_out_source(self) -> None:
        with gr.Accordion("Start from a picture (img2img)", open=False):
            self.source = compat.image_input(
                label="Source picture", elem_id="sonic_portrait_source", height=220
            )
            self.denoising = gr.Slider(
                0, 1, 0.5, step=0.01, label="Denoising strength", elem_id="sonic_portrait_denoising",
                info="How much of the source picture is changed.",
            )  # fmt: skip

    @property
    def parameters(self) -> list[Any]:
        """The components of `NAMES`."""
        return [
            self.prompt, self.negative, self.width, self.height, self.steps, self.guidance, self.seed,
            self.sampler,
        ]  # fmt: skip

    def _wire(self, tab: Any) -> None:
        told = [self.progress, self.make, self.cancel, self._portrait]
        self.current.click(None, self.parameters, self.parameters, **compat.script(CURRENT))
        Relay(self.run, tab, told).at(self.make.click, [*self.parameters, self.source, self.denoising])
        self.cancel.click(self.stop, tab, [self.cancel], queue=False)

    def run(self, tab: TabKey, *values: Any) -> Generator[Updates, None, None]:
        """Generate with progress; the first picture becomes the portrait."""
        yield self._begun()
        try:
            *given, source, denoising = values
            parameters = _parameters(given)
            picture = Path(source).read_bytes() if source else None
            if picture is not None:
                parameters |= {"denoising_strength": denoising}
            name = new_task()
            made = yield from shown(
                self._tasks.follow(tab, PURPOSE, lambda task: self._made(task, parameters, picture), name),
                lambda step: {self.progress: html.progress(step, name)},
            )
            yield self._idle() | self._handed_on(made)
        except Exception as problem:
            yield self._idle() | {self.progress: html.error(as_error(problem))}

    def _made(
        self, task: BackgroundTask, parameters: Mapping[str, Any], source: bytes | None
    ) -> MadePortrait:
        task.report(Step("waiting for another job", 0, 1))
        made = self._host.work(task, lambda progress: self._maker.make(parameters, source, progress))
        if not made:
            raise Failed("The WebUI gave no picture.", "Its own window shows why; try again.")
        return made[0]

    def _handed_on(self, made: MadePortrait) -> Updates:
        said = "Nobody's face, and known as such." if made.synthetic else "Its source was an upload."
        return {
            self.progress: html.banner("good", "The portrait is made.", said),
            self._portrait: compat.kept(self._portrait, made.png, "portrait.png"),
        }

    def _begun(self) -> Updates:
        return {
            self.progress: html.progress(Step("starting", 0, 1)),
            self.make: gr.update(interactive=False),
            self.cancel: gr.update(interactive=True),
        }

    def _idle(self) -> Updates:
        return {self.make: gr.update(interactive=True), self.cancel: gr.update(interactive=False)}

    def stop(self, tab: TabKey) -> Updates:
        """Ask this browser tab's task to stop."""
        self._tasks.cancel(tab, PURPOSE)
        return {self.cancel: gr.update(interactive=False)}


def _parameters(values: list[Any]) -> dict[str, Any]:
    """By name, as `/sdapi/v1/txt2img` takes them.

    Raises:
        BadInput: no prompt, or a field was emptied.
    """
    named = dict(zip(NAMES, values, strict=True))
    if not str(named["prompt"] or "").strip():
        raise BadInput("There is no prompt.", "Say whom the portrait shows.")
    for name in ("width", "height", "steps", "seed"):
        if named[name] is None:
            raise BadInput(f"{name} is empty.", "Give a number.")
        named[name] = int(named[name])
    return named | {"negative_prompt": named["negative_prompt"] or ""}
