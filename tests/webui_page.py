"""A WebUI as far as Sonic has to do with it, served as a process of its own; says its address first.

    python webui_page.py FOLDER [--port N] [--api] [--api-auth U:P] [--gradio-auth U:P]
                                [--cors-allow-origins O] [--subpath P]

Its modules are those of `webui_standin.py`, its elements carry the ids that A1111 and Forge give theirs, and
its page loads scripts as theirs do. Pictures are made by nobody's network. *Reload UI* is POST /reload.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import webui_standin
from PIL import Image
from webui_standin import Processing, WebUI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, about each other
    import gradio as gr
    from gradio.routes import templates
    from launching import launched
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    from sonic_ext.extension import registration, script

ROOT = Path(__file__).parents[1]
MEDIA = Path(__file__).parent / "data" / "media"
GALLERY = ("no_person.jpg", "portrait_01.jpg", "portrait_02.jpg")
NEWER = not gr.__version__.startswith("3.")
PNG: dict[str, str] = {"format": "png"} if NEWER else {}
HEAD = """
<script>
window.localization ??= {};
window.gradioApp = () => document.querySelector("gradio-app")?.shadowRoot ?? document;
window.onUiLoaded = ready => {
    const seen = () => document.querySelector("#txt2img_prompt") ? ready() : setTimeout(seen, 20);
    seen();
};
window.switch_to_img2img = () => document.querySelectorAll("#tabs > .tab-nav button")[1].click();
window.inputAccordionChecked = (id, checked) => {
    const label = document.querySelector(`#${id} > .label-wrap`);
    if (label.classList.contains("open") !== checked) label.click();
};
</script>
<script src="file=SCRIPT"></script>
"""
"""What a WebUI's own scripts offer, then ours."""


def paint(job: Processing, number: int) -> Image.Image:
    """Always the same face."""
    return Image.open(MEDIA / "portrait_03.jpg").convert("RGB")


def draw(state: webui_standin.State, job: Processing) -> None:
    """As the prompt says: "wrong" breaks it, "slow" lasts until somebody stops it."""
    if job.prompt == "wrong":
        raise RuntimeError("The checkpoint is broken.")
    while job.prompt == "slow" and not state.interrupted:
        state.sampling_step = 3
        threading.Event().wait(0.02)


@dataclass
class Server:
    """The WebUI."""

    ui: WebUI
    words: argparse.Namespace

    def run(self) -> None:
        """Serve until killed."""
        while True:
            again = threading.Event()
            blocks = self._launched(again)
            again.wait()
            blocks.close()

    def _launched(self, again: threading.Event) -> Any:
        """As `webui.py` does it: page, server, middleware, then what extensions add."""
        blocks, words = page(self.ui), self.words
        auth = [tuple(words.gradio_auth.split(":"))] if words.gradio_auth else None
        below = f"/{words.subpath}" if words.subpath else ""
        folders = [str(ROOT / "javascript"), str(MEDIA)]
        app, url = launched(blocks.queue(), words.port, auth=auth, root_path=below, allowed_paths=folders)
        app.user_middleware = [each for each in app.user_middleware if each.cls is not CORSMiddleware]
        app.middleware_stack = None
        app.add_middleware(GZipMiddleware, minimum_size=1000)
        origins = (words.cors_allow_origins or "").split(",")
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
        if below:
            app.add_middleware(Below, prefix=below)
        app.build_middleware_stack()

        app.add_api_route("/reload", again.set, methods=["POST"])
        for started in self.ui.callbacks["on_app_started"]:
            started(blocks, app)
        words.port = urlsplit(url).port
        print(f"http://127.0.0.1:{words.port}{below}/", flush=True)
        return blocks


class Below:
    """A proxy that hands on what is below a path, without it."""

    def __init__(self, app: Any, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Whatever is not below it is not there."""
        if scope["type"] in ("http", "websocket"):
            within = scope["path"].startswith(f"{self._prefix}/")
            scope = {**scope, "path": scope["path"].removeprefix(self._prefix) if within else "/nothing"}
        await self._app(scope, receive, send)


def page(ui: WebUI) -> Any:
    """A WebUI's tabs, as far as ours have to do with them."""
    tabs = [tab for made in ui.callbacks["on_ui_tabs"] for tab in made()]

    def made(name: str, component: Any) -> Any:
        for told in ui.callbacks["on_after_component"]:
            told(component, elem_id=name)
        return component

    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs(elem_id="tabs"):
        with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
            _txt2img(made)
        with gr.TabItem("img2img", id="img2img", elem_id="tab_img2img"):
            gr.Image(label="Image for img2img", type="pil", elem_id="img2img_image", **PNG)
            gr.Gallery(elem_id="img2img_gallery")
            made("img2img_send_to_extras", gr.Button("📐", elem_id="img2img_send_to_extras"))
        with gr.TabItem("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
            made("pnginfo_image", gr.Image(label="Source", type="pil", elem_id="pnginfo_image", **PNG))
            made("extras_tab", gr.Button("Send to extras", elem_id="extras_tab"))
        for inner, title, name in tabs:
            with gr.TabItem(title, id=name, elem_id=f"tab_{name}"):
                inner.render()
    return blocks


def _txt2img(made: Callable[[str, Any], Any]) -> None:
    gr.Textbox('a <portrait>, "quoted"', label="Prompt", elem_id="txt2img_prompt")
    gr.Textbox("blurred", label="Negative prompt", elem_id="txt2img_neg_prompt")
    for name, value in (("width", 384), ("height", 640), ("steps", 7), ("cfg_scale", 5.5)):
        gr.Slider(0, 2048, value, step=0.5, label=name, interactive=True, elem_id=f"txt2img_{name}")
    gr.Number(1234, label="Seed", precision=0, elem_id="txt2img_seed")
    gr.Dropdown(["Euler", "DPM++ 2M"], value="DPM++ 2M", label="Sampler", elem_id="txt2img_sampling")
    gallery = gr.Gallery(elem_id="txt2img_gallery", preview=True)
    fill = gr.Button("Generate", elem_id="txt2img_generate")
    fill.click(lambda: [str(MEDIA / name) for name in GALLERY], None, gallery)
    made("txt2img_send_to_extras", gr.Button("📐", elem_id="txt2img_send_to_extras"))
    sonic = script.script_class(registration.held_host, registration.worker)()
    sonic.ui(False)
    fields = sonic.infotext_fields
    text = gr.Textbox("", label="Infotext", elem_id="infotext")
    paste = gr.Button("↙️", elem_id="paste")
    paste.click(lambda given: pasted(fields, given), text, [component for component, _ in fields])


def pasted(fields: Any, text: str) -> list[Any]:
    """New values for the components of an infotext's parameters, as the WebUI's paste button makes them."""
    parameters = dict(part.split(": ", 1) for part in text.split(", "))
    values = ((component, read(parameters)) for component, read in fields)
    return [gr.update() if v is None else gr.update(value=type(c.value)(v)) for c, v in values]


@contextmanager
def head() -> Iterator[None]:
    """The page's head as WebUIs put it together."""
    original = templates.TemplateResponse
    inside = HEAD.replace("SCRIPT", str(ROOT / "javascript" / "sonic.js"))

    def answer(*given: Any, **named: Any) -> Any:
        made = original(*given, **named)
        made.body = made.body.replace(b"</head>", f"{inside}</head>".encode())
        made.init_headers()
        return made

    templates.TemplateResponse = answer
    yield
    templates.TemplateResponse = original


def main() -> None:
    """Serve until killed."""
    reader = argparse.ArgumentParser()
    reader.add_argument("folder", type=Path)
    reader.add_argument("--port", type=int, default=0)
    reader.add_argument("--api", action="store_true")
    for name in ("api-auth", "gradio-auth", "cors-allow-origins", "subpath"):
        reader.add_argument(f"--{name}")
    words = reader.parse_args()
    work = words.folder / "work"
    work.mkdir(exist_ok=True)
    os.chdir(work)  # gradio 3 hands out what lies below it
    with (
        pytest.MonkeyPatch.context() as patch,
        webui_standin.webui(words.folder, patch, forge=NEWER) as ui,
        head(),
    ):
        patch.setitem(sys.modules, "modules.ui_components", webui_standin.ui_components(NEWER))
        vars(ui.cmd_opts).update(vars(words))
        ui.opts.data |= {"sonic_preset": "quick"}
        ui.paint = paint
        ui.draw = lambda job: draw(ui.state, job)
        registration.register()
        Server(ui, words).run()


if __name__ == "__main__":
    main()
