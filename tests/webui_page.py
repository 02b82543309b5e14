"""A page like a WebUI's, with the tab *Sonic* in it, served as a process of its own: OUTPUTS on the
command line. Elements carry the ids that A1111 and Forge give theirs; pictures are made by nobody's network.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastapi
import uvicorn

from sonic_ext.app import compat, tab
from sonic_ext.app.compat import gr
from sonic_ext.app.send import Doors
from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadInput, Cancelled, MissingPart
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Origin, Worker
from sonic_ext.media.image import read_portrait
from sonic_ext.ports import MadePortrait, Result
from sonic_ext.progress import Progress, Step
from sonic_ext.provenance.ledger import Ledger

MEDIA = Path(__file__).parent / "data" / "media"
SAMPLERS = ("Euler a", "Euler", "DPM++ 2M")
BUSY = 3000
"""Steps of a portrait that the prompt "slow" asks for: five minutes, until somebody stops it. A stream that
was lost is made up for after seconds."""


class Painter:
    """Portraits of a WebUI: always the same face, refused or slow where the prompt says so."""

    def samplers(self) -> Sequence[str]:
        """Three."""
        return SAMPLERS

    def check(self, parameters: Mapping[str, Any], source: bytes | None) -> None:
        """Everything goes."""

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """As the prompt says: "missing", "wrong", "slow", or a face."""
        if parameters["prompt"] == "missing":
            raise MissingPart("No checkpoint is loaded.", "Choose one at the top of the WebUI.")
        if parameters["prompt"] == "wrong":
            raise BadInput(f"There is no sampler {parameters['sampler_name']}.", "Choose another one.")
        for done in range(BUSY if parameters["prompt"] == "slow" else 2):
            progress.report(Step("drawing the portrait", done, BUSY))
            if progress.cancelled():
                raise Cancelled
            threading.Event().wait(0.1)
        return [MadePortrait(face(repr(sorted(parameters.items()))), "a face", source is None)]


def face(text: str) -> bytes:
    """A PNG of a face with `text` as its infotext; the ledger knows its pixels."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from sonic_ext.media.image import pixel_digest

    rgb = read_portrait(MEDIA / "portrait_03.jpg").rgb
    Ledger().remember_synthetic(pixel_digest(rgb), "txt2img")
    written, info = io.BytesIO(), PngInfo()
    info.add_text("parameters", text)
    Image.fromarray(rgb).save(written, "PNG", pnginfo=info)
    return written.getvalue()


class Painting(Standalone):
    """A host with portraits, one job at a time, and a default of its own."""

    name = "painting"
    portraits = Painter()

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """As standalone."""
        return super().work(progress, task)

    def configuration(self) -> Configuration:
        return Configuration.from_environment()

    def defaults(self) -> Mapping[str, Any]:
        """The smallest video."""
        return {"min_resolution": 256}


def page(worker: Worker) -> Any:
    """A WebUI's tabs, as far as ours have to do with them."""
    with gr.Blocks(analytics_enabled=False) as img2img:
        picture = gr.Image(label="Image for img2img", type="pil", elem_id="img2img_image", **PNG)
        gr.Gallery(elem_id="img2img_gallery")
        gr.Button("🗣️", elem_id="img2img_send_to_sonic")
    sonic = tab.build(worker, doors=Doors(picture))
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs(elem_id="tabs"):
        with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
            _txt2img()
        with gr.TabItem("img2img", id="img2img", elem_id="tab_img2img"):
            img2img.render()
        with gr.TabItem("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
            gr.Image(label="Source", type="pil", elem_id="pnginfo_image", **PNG)
            gr.Button("Send to Sonic", elem_id="pnginfo_send_to_sonic")
        with gr.TabItem("Sonic", id="sonic", elem_id="tab_sonic"):
            sonic.render()
    return blocks


PNG: dict[str, str] = {} if compat.MAJOR == 3 else {"format": "png"}


def _txt2img() -> None:
    gr.Textbox('a <portrait>, "quoted"', label="Prompt", elem_id="txt2img_prompt")
    gr.Textbox("blurred", label="Negative prompt", elem_id="txt2img_neg_prompt")
    for name, value in (("width", 384), ("height", 640), ("steps", 7), ("cfg_scale", 5.5)):
        gr.Slider(0, 2048, value, step=0.5, label=name, interactive=True, elem_id=f"txt2img_{name}")
    gr.Number(1234, label="Seed", precision=0, elem_id="txt2img_seed")
    gr.Dropdown(list(SAMPLERS), value="DPM++ 2M", label="Sampling method", elem_id="txt2img_sampling")
    gallery = gr.Gallery(elem_id="txt2img_gallery", preview=True)
    fill = gr.Button("Generate", elem_id="txt2img_generate")
    files = [str(MEDIA / name) for name in ("no_person.jpg", "portrait_01.jpg", "portrait_02.jpg")]
    fill.click(lambda: files, None, gallery)
    gr.Button("🗣️", elem_id="txt2img_send_to_sonic")


def main() -> None:
    """Serve until killed; says the address first."""
    outputs = Path(sys.argv[1])
    worker = Worker(Painting(outputs), hold=(Origin.PAGE, Origin.SCRIPT))
    worker.start()
    blocks, app = page(worker), fastapi.FastAPI()
    compat.queue(blocks, compat.AT_ONCE)
    compat.mount(app, blocks, allowed=[outputs, MEDIA], blocked=[])
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as listener:  # gradio's own way waits three seconds for itself
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
