"""gradio 3.41 (pydantic 1) and 4.40 (pydantic 2): the one place that knows what differs between them."""

from __future__ import annotations

import base64
import importlib
import mimetypes
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import BadInput, MissingPart, SonicError
from .file_guard import uploaded

try:
    gr: Any = importlib.import_module("gradio")
except ModuleNotFoundError as error:
    raise MissingPart(
        f"The tab in a WebUI needs gradio, and {error.name} is not installed.",
        "Without a WebUI, run `sonic serve`: it needs none.",
    ) from error

MAJOR = int(gr.__version__.split(".")[0])
"""3 or 4."""


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


def red(problem: SonicError) -> Exception:
    """gradio's own error, to be raised: a red note in a corner of the page, on whatever tab."""
    error: Exception = gr.Error(str(problem))
    return error


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
