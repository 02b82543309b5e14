"""gradio 3.41 (pydantic 1) and 4.40 (pydantic 2): the one place that knows what differs between them."""

from __future__ import annotations

import base64
import importlib
import mimetypes
import secrets
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, MissingPart, SonicError
from .file_guard import uploaded
from .leaving import let_go_of_closed_windows

try:
    gr: Any = importlib.import_module("gradio")
except ModuleNotFoundError as error:
    raise MissingPart(
        f"The page needs gradio, and {error.name} is not installed.",
        'Bring it with: python -m pip install "sonic-ext[standalone]"',
    ) from error

MAJOR = int(gr.__version__.split(".")[0])
"""3 or 4."""

AT_ONCE = 8
"""Events that may run at the same time; videos are made one after the other by `Host.work`."""

SENDS_LAST_TWICE = MAJOR == 3
"""Whether the last update of a generator reaches the page once more at its end, when newer ones of other
events may be there."""
MOMENT = 0.0 if MAJOR == 3 else 0.1
"""Seconds that a generator leaves between two updates. Of messages that come within one moment gradio 4's
page heeds the last only: it makes each of the one before, in place. gradio 3's page drops what is asked for
before a generator has ended."""

UPLOADING = (
    'field => [...field.querySelectorAll(".file-preview .download")].some(cell => !cell.querySelector("a"))'
    if MAJOR == 3
    else 'field => field.querySelector(".uploading") !== null'
)
"""JavaScript that says of a file field whether a file is on its way. What the field holds until then is no
file: nothing with version 4, and what version 3 sends may arrive as an empty one."""

if TYPE_CHECKING:
    SelectData = Any
else:
    SelectData = gr.SelectData

FONTS = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONOSPACE = ("ui-monospace", "SFMono-Regular", "Consolas", "Liberation Mono", "monospace")


def theme() -> Any:
    """A calm theme from fonts that every machine has: nothing is fetched from outside."""
    base = gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=FONTS,
        font_mono=MONOSPACE,
        radius_size="md",
    )
    return base.set(
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_primary_border_color="*primary_600",
        button_primary_border_color_dark="*primary_700",
    )


def image_input(**options: Any) -> Any:
    """A picture upload that hands on the path of the very file given.

    gradio's own would decode and write it anew, which loses EXIF, C2PA and sixteen bits. Give it a new value
    plainly and never by `gr.update`: for that gradio 4 builds the component anew, without what is set here.
    """
    sources = {"source": "upload"} if MAJOR == 3 else {"sources": ["upload", "clipboard"]}
    image = gr.Image(type="filepath", **sources, **options)
    folder = _cache(image)
    image.preprocess = (
        (lambda value: _data_url_file(value, folder, "portrait")) if MAJOR == 3 else _require_uploaded
    )
    return image


def audio_inputs(label: str, elem_id: str) -> list[Any]:
    """Sound from a file and from the microphone: one component with two sources, or two components."""
    if MAJOR > 3:
        both = gr.Audio(label=label, sources=["upload", "microphone"], type="filepath", elem_id=elem_id)
        both.preprocess = _require_uploaded
        return [both]
    made = []
    with gr.Tabs(elem_classes="sonic-sources"):
        for source, title in (("upload", "Speech file"), ("microphone", "Microphone")):
            with gr.TabItem(title):
                made.append(_audio_3(label, source, elem_id))
    return made


def _audio_3(label: str, source: str, elem_id: str) -> Any:
    name = elem_id if source == "upload" else f"{elem_id}_{source}"
    audio = gr.Audio(label=label, source=source, type="filepath", elem_id=name)
    audio.preprocess = _Uploaded(audio)
    return audio


class _Uploaded:
    """What gradio 3 does with sound before a handler sees it, without converting what need not be."""

    def __init__(self, audio: Any) -> None:
        self._folder = Path(audio.DEFAULT_TEMP_DIR).resolve()
        self._cut = audio.preprocess
        self._lock = threading.Lock()

    def __call__(self, value: dict[str, Any] | None) -> str | None:
        """The path of the file as uploaded or recorded; of a cut one when the user cut it."""
        if value is None:
            return None
        path = _require_uploaded(value)
        if (value.get("crop_min", 0), value.get("crop_max", 100)) != (0, 100):
            return self._as_cut(value)
        return path or _data_url_file(value["data"], self._folder, "recording")

    def _as_cut(self, value: dict[str, Any]) -> str:
        """gradio writes each cut to the same name: another event may be reading there."""
        with self._lock:
            cut = Path(self._cut(value))
            return str(cut.replace(_fresh(self._folder) / cut.name))


def player(download: bool, **options: Any) -> Any:
    """A video to be looked at; gradio 3 offers no download of its own."""
    buttons = {} if MAJOR == 3 else {"show_download_button": download, "show_share_button": False}
    return gr.Video(interactive=False, visible=False, height=320, **buttons, **options)


def gallery(**options: Any) -> Any:
    """Small pictures in rows, of which one can be chosen; none of them opens over the page."""
    still = {} if MAJOR == 3 else {"interactive": False, "format": "png"}
    return gr.Gallery(
        allow_preview=False, show_share_button=False, show_download_button=False, **still, **options
    )


def script(code: str) -> dict[str, str]:
    """The argument of an event that runs `code`, a JavaScript function, in the browser first."""
    return {"_js" if MAJOR == 3 else "js": code}


def streamed() -> dict[str, Any]:
    """The arguments of an event that shows its own progress and may run for several windows at once.

    gradio 4 gives every event a limit of its own, which is 1 wherever the WebUI sets up the queue.
    """
    return {"show_progress": "hidden"} | ({} if MAJOR == 3 else {"concurrency_limit": AT_ONCE})


def prompt() -> dict[str, Any]:
    """The arguments of an event that is answered soon: not in gradio's queue, which may lose it.

    Version 3 drops what comes while the queue answers the same event, version 4 what comes while the queue's
    stream of answers is closing.
    """
    return {"queue": False, "show_progress": "hidden"}


def red(problem: SonicError) -> Exception:
    """gradio's own error, to be raised: a red note in a corner of the page, on whatever tab."""
    error: Exception = gr.Error(str(problem))
    return error


def kept(component: Any, data: bytes, name: str) -> str:
    """A new file in gradio's own cache with these very bytes, to be shown by `component`."""
    path = _fresh(_cache(component)) / name
    path.write_bytes(data)
    return str(path)


def data_url_bytes(text: str) -> bytes:
    """What `data:image/png;base64,…` holds.

    Raises:
        BadInput: it is no such address.
    """
    head, comma, body = text.partition(",")
    try:
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise ValueError(head[:40])
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise BadInput("What was sent is not a picture.", "Choose another one.") from error


def file_input(**options: Any) -> Any:
    """A file upload that hands on one path."""
    file = gr.File(type="file" if MAJOR == 3 else "filepath", file_count="single", **options)
    made = file.preprocess

    def checked(value: Any) -> Any:
        """gradio 3 would copy any readable file into its cache."""
        for each in value if isinstance(value, list) else [value]:
            _require_uploaded(each)
        return made(value)

    file.preprocess = checked
    return file


def path_of(value: Any) -> str | None:
    """The path that a `file_input` handed on."""
    return value if value is None or isinstance(value, str) else str(value.name)


def served_copy(component: Any, path: Path) -> str:
    """A copy in gradio's own cache, from where the page may fetch it, and nothing beside it."""
    return str(shutil.copyfile(path, _fresh(_cache(component)) / path.name))


def queue(blocks: Any, at_once: int) -> None:
    """Let `at_once` events run at the same time and keep their endpoints out of the API page."""
    if MAJOR == 3:
        blocks.queue(concurrency_count=at_once, api_open=False)
    else:
        blocks.queue(default_concurrency_limit=at_once, api_open=False)


def mount(app: Any, blocks: Any, *, allowed: Sequence[Path], blocked: Sequence[Path]) -> None:
    """Put the page at the root of a FastAPI app; `/file=` hands out `allowed` and never `blocked`."""
    paths = {
        "allowed_paths": [str(path.resolve()) for path in allowed],
        "blocked_paths": [str(path.resolve()) for path in blocked],
    }
    if MAJOR > 3:
        gr.mount_gradio_app(app, blocks, path="/", **paths)
        return
    for name, value in paths.items():
        setattr(blocks, name, value)
    gr.mount_gradio_app(app, blocks, path="/")
    for route in app.routes:
        if isinstance(getattr(route, "app", None), gr.routes.App):
            # gradio 3 serves everything below the folder it was started in
            route.app.cwd = paths["allowed_paths"][0]
    let_go_of_closed_windows(app)


def keep_from_defaults(layout: Any, saved: Iterable[Any] = ()) -> None:
    """Keep a WebUI from taking what stands in these components as their defaults.

    Its settings page (*Defaults*, *Apply*) writes the value of every component that has a label, so that a
    consent given once would be given from then on. Only what is named here may be saved.

    Args:
        layout: a component or container, with all that it holds.
        saved: the settings among them.
    """
    allowed = {id(part) for part in saved}
    left = [layout]
    while left:
        part = left.pop()
        part.do_not_save_to_config = id(part) not in allowed
        left.extend(getattr(part, "children", ()))


def _cache(component: Any) -> Path:
    return Path(component.GRADIO_CACHE if MAJOR > 3 else component.DEFAULT_TEMP_DIR)


def _require_uploaded(value: Any) -> str | None:
    """The path that an input's value names; None where it names none but brings its bytes along.

    Raises:
        gradio's error: gradio did not put the file there itself.
    """
    if value is None or (MAJOR == 3 and not value.get("is_file")):
        return None
    path = str(value["name"] if MAJOR == 3 else value.path)
    if not uploaded(path):
        raise red(BadInput("The file was not uploaded here.", "Choose it on this page again."))
    return path


def _data_url_file(value: str | None, folder: Path, stem: str) -> str | None:
    """gradio 3 sends pictures and recordings as `data:image/png;base64,…`."""
    if value is None:
        return None
    head, _, body = value.partition(",")
    suffix = mimetypes.guess_extension(head.removeprefix("data:").split(";")[0]) or ".bin"
    path = _fresh(folder) / f"{stem}{suffix}"
    path.write_bytes(base64.b64decode(body))
    return str(path)


def _fresh(folder: Path) -> Path:
    """A new folder in it under a name that nobody guesses."""
    made = folder / secrets.token_hex(16)
    made.mkdir(parents=True, mode=0o700)
    return made
