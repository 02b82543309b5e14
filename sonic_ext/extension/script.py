"""What a WebUI's own tabs get: the accordion, the buttons under the galleries, axes for its grid.

Every hook of an always-visible script runs while the WebUI's queue lock is held, and the WebUI catches what a
hook raises and shows it to nobody. So problems are told as the comment under the gallery and in the answer of
the API (`Sonic error`), and the pictures, which are fine, stay.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, SonicError, as_error
from ..hosts.modules import Module, webui
from ..jobs import Destination, Job, Origin, Worker
from ..jobs.submission import specified

if TYPE_CHECKING:
    from ..app.one_click import ScriptRequest
    from ..ports import Host

TITLE = "Sonic"
"""Key in `alwayson_scripts`."""
SEND = "🗣️"
"""On the buttons under the galleries."""
SEND_TOOLTIP = "Send the picture to the Sonic tab."

BUTTONS = {
    "txt2img_send_to_extras": "txt2img_send_to_sonic",
    "img2img_send_to_extras": "img2img_send_to_sonic",
    "extras_send_to_extras": "extras_send_to_sonic",
}
"""The WebUI's last button in the row under a gallery → ours, beside it. `javascript/sonic.js` knows ours."""
PNG_INFO = ("pnginfo_image", "extras_tab", "pnginfo_send_to_sonic")
"""PNG Info has no row of its own name: its picture, then its last button, then ours."""

CHANGES = "sonic_changes"
"""Attribute of a generation: settings that an axis of the grid decides."""
REPORTED = "sonic_told"
"""Attribute of a generation that a grid is made from, and so of its cells: what is told of all of them."""
DRAW = "draw_xyz_grid"
"""Function of the WebUI's grid that makes all cells, each from a shallow copy of its first argument."""
DEPTH = 6
"""How deep `holds_a_picture` looks."""

_log = logging.getLogger(__name__)


def register() -> None:
    """Ask the WebUI for buttons under its galleries and for axes; called while its scripts are loaded."""
    callbacks = webui(Module.SCRIPT_CALLBACKS)
    callbacks.on_after_component(Buttons())
    callbacks.on_before_ui(add_axes)


class Buttons:
    """Adds *Send to Sonic* while the WebUI builds its page."""

    def __init__(self) -> None:
        self._in_png_info = False

    def __call__(self, component: Any, **options: Any) -> None:
        """Told of every component that was made, right after it was."""
        name = options.get("elem_id") or getattr(component, "elem_id", None)
        picture, last, ours = PNG_INFO
        if name in BUTTONS:
            self._tool(BUTTONS[name])
        elif name == picture:
            self._in_png_info = True
        elif name == last and self._in_png_info:
            self._in_png_info = False
            self._plain(ours)

    def _plain(self, name: str) -> None:
        from ..app.compat import gr, keep_from_defaults

        keep_from_defaults(gr.Button("Send to Sonic", elem_id=name))

    def _tool(self, name: str) -> None:
        from ..app.compat import keep_from_defaults

        button = webui(Module.UI_COMPONENTS).ToolButton
        keep_from_defaults(button(SEND, elem_id=name, tooltip=SEND_TOOLTIP))


def script_class(held_host: Callable[[], Host], worker: Callable[[], Worker]) -> type:
    """The class that the WebUI looks for in `scripts/`; its base exists only in a WebUI.

    Args:
        held_host: the host as it is inside hooks, where the queue lock is held already.
        worker: of this process; our jobs are in its queue, so that the API knows them.
    """
    scripts = webui(Module.SCRIPTS)

    class Sonic(scripts.Script):  # type: ignore[misc, name-defined]
        """Animates what txt2img and img2img make."""

        def title(self) -> str:
            """Name of the script, here and in requests."""
            return TITLE

        def show(self, is_img2img: bool) -> Any:
            """In both tabs, always."""
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            """The controls; an explanation in their place where something is missing."""
            try:
                from ..app.one_click import Accordion, infotext_names

                tab = "img2img" if is_img2img else "txt2img"
                ticked = webui(Module.UI_COMPONENTS).InputAccordion
                accordion = Accordion(f"script_{tab}_sonic", held_host().defaults(), ticked)
            except (SonicError, ImportError) as problem:
                _log.error("the accordion Sonic cannot be built", exc_info=problem)
                from ..app import missing

                missing.accordion(problem)
                return []
            self.infotext_fields = accordion.pasted
            self.paste_field_names = infotext_names()
            return accordion.components

        def process(self, p: Any, *values: Any) -> None:
            """Before the pictures are made: the settings go into their infotext."""
            request, _ = _read_request(held_host(), p, values)
            name_in_infotext(p, request)

        def postprocess(self, p: Any, processed: Any, *values: Any) -> None:
            """After all of them are made: remember the synthetic ones, animate what was asked for."""
            after_generation(held_host(), worker(), p, processed, values)

    return Sonic


def name_in_infotext(p: Any, request: ScriptRequest | None) -> None:
    """The request's settings in the infotext, in place of what was there of an earlier round.

    The cells of a grid are shallow copies of one generation, and other scripts send the same one round again:
    what one of them writes into the parameters, all of them would carry.
    """
    from ..app.one_click import infotext

    others = {key: value for key, value in p.extra_generation_params.items() if not _is_ours(key)}
    p.extra_generation_params = others | (infotext(request) if request else {})


def _is_ours(key: str) -> bool:
    return key.startswith(f"{TITLE} ")


def after_generation(host: Host, worker: Worker, p: Any, processed: Any, values: Sequence[Any]) -> None:
    """Remember what is synthetic, animate what was asked for, say what came of it."""
    report = GenerationReport(processed, p)
    try:
        remember(p, processed, values)
    except Exception as problem:
        report.problem(as_error(problem))
    request, refusal = _read_request(host, p, values)
    if refusal is not None:
        report.problem(refusal)
    if request is not None:
        try:
            _animate(Maker(host, worker, request), p, processed, report)
        except Exception as error:
            report.problem(as_error(error))
    report.write()


class GenerationReport:
    """What the user is told under the gallery and an API client in the answer.

    Args:
        processed: of the WebUI; the sentences go into it.
        p: the generation that it came from.
    """

    def __init__(self, processed: Any, p: Any) -> None:
        self._processed = processed
        self._cells: list[str] = getattr(p, REPORTED, [])
        changes = ", ".join(f"{name}={value}" for name, value in getattr(p, CHANGES, {}).items())
        self._cell = f" ({changes})" if changes else ""
        self._sentences: list[str] = []
        self._errors: list[str] = []
        self._jobs: dict[int, str] = {}
        self._takes: dict[int, str] = {}
        self._videos: dict[int, str] = {}

    def problem(self, error: SonicError, picture: int | None = None) -> None:
        """An error; `picture` counts from 0 where it belongs to one of several."""
        where = "" if picture is None else f"Picture {picture + 1}: "
        self._errors.append(f"{where}{error}")
        self._sentences.append(f"Sonic error{self._cell}: {where}{error}")

    def finished(self, picture: int, job: Job) -> None:
        """A video of the picture, counted from 0."""
        self._jobs[picture], self._takes[picture] = job.id, job.take_id
        if job.exported is None:
            said = "it waits in the tab Sonic under History for consent."
        else:
            self._videos[picture] = job.exported.path.name
            said = f"exported as {job.exported.path.name}."
        self._sentences.append(f"Sonic video of picture {picture + 1}{self._cell}: {said}")

    def write(self) -> None:
        """Into comments, infotexts and parameters."""
        done = self._processed
        count = 1 + max((*self._takes, 0))
        named = {"Sonic id": self._takes, "Sonic video": self._videos, "Sonic job": self._jobs}
        extra = {key: _joined(found, count) for key, found in named.items() if found}
        if self._errors:
            extra["Sonic error"] = " ".join(self._errors)
        done.extra_generation_params.update(extra)
        for picture in self._takes:
            self._add_to_infotext(picture)
        self._cells.extend(self._sentences)
        comment(done, self._sentences)

    def _add_to_infotext(self, picture: int) -> None:
        done = self._processed
        place = done.index_of_first_image + picture
        if place >= len(done.infotexts):
            return
        more = f", Sonic id: {self._takes[picture]}"
        if picture in self._videos:
            more += f", Sonic video: {self._videos[picture]}"
        first = done.info == done.infotexts[place]
        done.infotexts[place] += more
        if first:
            done.info = done.infotexts[place]


def comment(processed: Any, sentences: Sequence[str]) -> None:
    """Add what is not there yet to what stands under the gallery."""
    there = processed.comments.rstrip("\n").split("\n")
    lines = dict.fromkeys([*filter(None, there), *sentences])
    if sentences:
        processed.comments = "\n".join(lines)


def _joined(found: Mapping[int, str], count: int) -> str:
    """One name for each picture, `-` for those without; no list where there is only the first."""
    return ", ".join(found.get(picture, "-") for picture in range(count))


def _read_request(
    host: Host, p: Any, values: Sequence[Any]
) -> tuple[ScriptRequest | None, SonicError | None]:
    """What was asked for, or why it cannot be done."""
    from ..app.one_click import read_request

    try:
        return read_request(values, host.defaults(), getattr(p, CHANGES, {})), None
    except Exception as problem:
        return None, as_error(problem)


def _animate(maker: Maker, p: Any, processed: Any, report: GenerationReport) -> None:
    with maker.request.voice_file() as voice:
        for number, picture in enumerate(_pictures(p, processed, maker.request.each)):
            try:
                job = maker.make(voice, picture, number)
            except Cancelled as stopped:
                report.problem(stopped)
                return
            except Exception as problem:
                report.problem(as_error(problem), number)
            else:
                report.finished(number, job)


@dataclass(frozen=True)
class Maker:
    """Makes the videos of one request."""

    host: Host
    """With the queue's lock held."""
    worker: Worker
    request: ScriptRequest

    def make(self, voice: Path, picture: Any, number: int) -> Job:
        """Animate one picture, counted from 0; export the video where there is consent.

        It is done in this thread, past what waits: the WebUI's lock, which the others need, is held here.

        Raises:
            SonicError: there is no video, or it was not let out.
        """
        consent = self.request.consent
        with self.worker.queue.staging() as staged:
            spec = specified(
                self.host,
                staged,
                origin=Origin.SCRIPT,
                portrait=staged.write(f"picture-{number + 1}.png", _png(picture)),
                audio=staged.copy(voice),
                settings=self.request.settings,
                export=Destination(consent, folder=str(self.host.outputs())) if consent else None,
                look=False,
            )
            job = self.worker.run(spec, staged, host=self.host)
        job.result()
        if job.error is not None:
            raise job.error
        return job


def _pictures(p: Any, processed: Any, each: bool) -> list[Any]:
    """The generated pictures, without a grid before them or a control picture behind them."""
    first = processed.index_of_first_image
    count = p.n_iter * p.batch_size if each else 1
    return list(processed.images[first : first + count])


def remember(p: Any, processed: Any, values: Sequence[Any] = ()) -> None:
    """Write to the ledger which pictures are synthetic and which were made from others.

    txt2img makes nobody's face, unless another script was given a picture (a face swap, a reference).
    img2img does so only if every picture that it began with is known. A picture that was saved with other
    pixels (JPEG) is known as well.
    """
    from ..provenance.ledger import Ledger

    ledger = Ledger()
    sources = [_pixels(source) for source in getattr(p, "init_images", None) or ()]
    made = "img2img" if sources else "txt2img"
    digests = {found for picture in _pictures(p, processed, True) for found in _digests(picture)}
    for digest in digests if sources else ():
        ledger.remember_made_from(digest, sources, made)
    ours = {id(value) for value in values}
    given = [value for value in getattr(p, "script_args", None) or () if id(value) not in ours]
    if holds_a_picture(given) or not all(map(ledger.is_synthetic, sources)):
        return
    for digest in digests:
        ledger.remember_synthetic(digest, made)


def _digests(picture: Any) -> Iterator[str]:
    """Of the picture, and of its file where that holds other pixels (JPEG, hidden infotext)."""
    yield _pixels(picture)
    saved = str(getattr(picture, "already_saved_as", "") or "").partition("?")[0]
    if saved and Path(saved).is_file():
        from ..media.image import read_portrait

        try:
            yield read_portrait(saved).pixel_sha256
        except SonicError as problem:  # smaller than any face: nothing to remember
            _log.debug("%s is not remembered: %s", saved, problem)


def _pixels(picture: Any) -> str:
    import numpy as np

    from ..media.image import pixel_digest

    return pixel_digest(np.asarray(picture.convert("RGB")))


def _png(picture: Any) -> bytes:
    """A picture of the WebUI as a file with the same pixels."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


def holds_a_picture(value: Any, depth: int = DEPTH) -> bool:
    """Whether an argument of another script holds a picture, however it is wrapped."""
    kind = type(value)
    if "Image" in kind.__name__ or kind.__name__ == "ndarray":
        return True
    if isinstance(value, str):
        return value.startswith("data:image/")
    if depth == 0 or isinstance(value, (bytes, int, float, type(None))):
        return False
    if isinstance(value, Mapping):
        inside: Sequence[Any] = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        inside = list(value)
    else:
        inside = list(getattr(value, "__dict__", {}).values())
    return any(holds_a_picture(each, depth - 1) for each in inside)


def add_axes() -> None:
    """Give the WebUI's X/Y/Z plot an axis for each main setting."""
    grid = next((module for name, module in _loaded_scripts() if name == "xyz_grid.py"), None)
    if grid is None:
        return
    from ..app.one_click import main_specs

    known = {option.label for option in grid.axis_options}
    for name, (spec, kind) in main_specs().items():
        label = f"[{TITLE}] {spec.label}"
        if label not in known:  # a reload of the page keeps the module
            choices = (lambda values: lambda: list(values))(map(str, spec.choices)) if spec.choices else None
            grid.axis_options.append(grid.AxisOption(label, kind, _setter(name), choices=choices))
    if hasattr(grid, DRAW) and not hasattr(getattr(grid, DRAW), "__wrapped__"):
        setattr(grid, DRAW, report_every_cell(getattr(grid, DRAW)))


def report_every_cell(draw: Callable[..., Any]) -> Callable[..., Any]:
    """What draws a grid, with a comment of all its cells: the WebUI keeps that of the first one only."""

    @wraps(draw)
    def drawn(p: Any, *given: Any, **named: Any) -> Any:
        setattr(p, REPORTED, [])
        processed = draw(p, *given, **named)
        comment(processed, getattr(p, REPORTED))
        return processed

    return drawn


def _setter(name: str) -> Callable[[Any, Any, Any], None]:
    """What the grid calls with the generation of a cell and the value of the axis there."""

    def apply(p: Any, value: Any, _: Any) -> None:
        setattr(p, CHANGES, {**getattr(p, CHANGES, {}), name: value})

    return apply


def _loaded_scripts() -> Iterator[tuple[str, Any]]:
    """File name and module of every script that the WebUI has loaded."""
    for data in getattr(webui(Module.SCRIPTS), "scripts_data", ()):
        yield Path(data.path).name, data.module
