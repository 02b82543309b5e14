"""Makes `example_workflows/` anew in a ComfyUI that runs: `python tests/live/comfy/examples.py URL`.

ComfyUI's own page builds each graph, says how it is saved, and runs it for its picture. Of each example there
is a workflow (JSON), a picture that holds it as ComfyUI's pictures do (PNG), and what the list of templates
shows (JPEG).
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from canvas import at_rest, open_comfy, run
from chromium import launched
from comfy_client import Comfy
from patience import MILLISECONDS
from PIL import Image, PngImagePlugin
from spoken import MEDIA, one_second

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "example_workflows"
EXAMPLE = ROOT / "sonic_ext" / "assets" / "example"
INPUTS = {
    "sonic-portrait.jpg": EXAMPLE / "portrait.jpg",
    "sonic-portrait-2.jpg": MEDIA / "portrait_02.jpg",
}
"""Name in ComfyUI's input folder → the file that stands for the user's own."""
SPEECH = "sonic-speech.wav"
WIDTH = 480
"""Of the pictures in the list of templates, in pixels."""
EDGE, LEFT, TOP = 20, 200, 170
"""Around the graph in its picture; where it lies in the window, beside ComfyUI's own things."""

OWN = (
    "Choose a picture with one clear face and a recording of speech. None at hand? Save "
    "[this portrait](/sonic/page/example/portrait.jpg) and [this speech](/sonic/page/example/speech.wav), "
    "and drop them on the two nodes. Neither is a real person's.\n\n"
)
GATE = (
    "**Run** makes the video and shows a stamped preview. To let it out, press **Consent and export** on the "
    "last node: what you state there is for that video alone, and none of it is saved in the workflow."
)
WEIGHTS = (
    "The sonic engine, with the small weights that ship: 128 pixels, soft, on any processor. For the "
    "published ones open the tab **Sonic** at the side, *Weights*; then set weights to **installed** here "
    "and min_resolution to 512. They want a graphics card, and are not for commercial use.\n\n"
)
BATCH = (
    "Each picture of the batch becomes a video with the same voice, and each asks for a consent of its own: "
    "the arrows on the last node go from one to the next.\n\n"
)


@dataclass(frozen=True)
class Node:
    """A node of an example: class, place, values of its widgets, where its inputs come from."""

    kind: str
    place: tuple[int, int]
    values: dict[str, Any]
    inputs: dict[str, tuple[str, int]]
    size: tuple[int, int] | None = None


def note(text: str, place: tuple[int, int], size: tuple[int, int] = (300, 250)) -> Node:
    """What the user reads first."""
    return Node("MarkdownNote", place, {"": text}, {}, size)


def ends(engine: bool = False) -> dict[str, Node]:
    """From job to gate. The same seed again: what was made is not made anew."""
    lent = {"engine": ("loader", 0)} if engine else {}
    fixed = {"seed": 1, "control_after_generate": "fixed"} | ({"inference_steps": 10} if engine else {})
    return {
        "calibration": Node("SonicExtCalibration", (350, 360), {}, {"job": ("look", 0)}, (300, 58)),
        "smoothing": Node("SonicExtSmoothing", (350, 470), {}, {"job": ("calibration", 0)}, (300, 82)),
        "make": Node("SonicExtGenerate", (690, 0), fixed, {"job": ("smoothing", 0)} | lent, (320, 250)),
        "export": Node("SonicExtExport", (1050, 0), {}, {"take": ("make", 0)}, (340, 80)),
    }


def portrait(name: str, place: tuple[int, int]) -> Node:
    """A picture of ComfyUI's input folder."""
    return Node("LoadImage", place, {"image": name}, {}, (300, 314))


VOICE = Node("LoadAudio", (0, 370), {"audio": SPEECH}, {}, (300, 136))
LOOK = Node("SonicExtPreData", (350, 0), {}, {"image": ("portrait", 0), "audio": ("voice", 0)}, (300, 250))
EXAMPLES = {
    "sonic_quick": {
        "portrait": portrait("sonic-portrait.jpg", (0, 0)),
        "voice": VOICE,
        "look": LOOK,
        **ends(),
        "note": note(OWN + GATE, (0, 600), (650, 130)),
    },
    "sonic_quality": {
        "portrait": portrait("sonic-portrait.jpg", (0, 0)),
        "voice": VOICE,
        "look": LOOK,
        "loader": Node(
            "SonicExtLoader", (350, 610), {"engine": "sonic", "weights": "miniature"}, {}, (300, 180)
        ),
        **ends(engine=True),
        "note": note(WEIGHTS + OWN + GATE, (0, 560), (310, 300)),
    },
    "sonic_batch": {
        "portrait": portrait("sonic-portrait.jpg", (-340, 0)),
        "other": portrait("sonic-portrait-2.jpg", (-340, 370)),
        "both": Node(
            "ImageBatch", (0, 0), {}, {"image1": ("portrait", 0), "image2": ("other", 0)}, (300, 50)
        ),
        "voice": Node("LoadAudio", (0, 110), VOICE.values, {}, VOICE.size),
        "look": Node("SonicExtPreData", (350, 0), {}, LOOK.inputs | {"image": ("both", 0)}, LOOK.size),
        **ends(),
        "note": note(BATCH + OWN + GATE, (0, 310), (310, 260)),
    },
}

BUILD = """nodes => {
    app.graph.clear();
    const made = {};
    for (const [name, {kind, place, values, size}] of Object.entries(nodes)) {
        const node = made[name] = LiteGraph.createNode(kind);
        node.pos = place;
        app.graph.add(node);
        for (const [widget, value] of Object.entries(values))
            (widget ? node.widgets.find(each => each.name === widget) : node.widgets[0]).value = value;
        if (size) node.setSize(size);
    }
    for (const [name, {inputs}] of Object.entries(nodes))
        for (const [input, [from, slot]] of Object.entries(inputs))
            made[from].connect(slot, made[name], made[name].findInputSlot(input));
    app.canvas.deselectAll();
    return JSON.stringify(app.graph.serialize());
}"""
VIEW = """([left, top]) => {
    const boxes = app.graph._nodes.map(each => each.boundingRect ?? each.getBounding());
    const [x, y] = [0, 1].map(side => Math.min(...boxes.map(box => box[side])));
    const [right, bottom] = [0, 1].map(side => Math.max(...boxes.map(box => box[side] + box[side + 2])));
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [left - x, top - y];
    app.canvas.deselectAll();
    app.canvas.setDirty(true, true);
    const {left: atX, top: atY} = app.canvas.canvas.getBoundingClientRect();
    return {x: atX + left, y: atY + top, width: right - x, height: bottom - y};
}"""


def main(url: str) -> None:
    """Write the folder."""
    comfy = Comfy(url.rstrip("/"))
    with tempfile.TemporaryDirectory() as folder:
        for name, file in INPUTS.items():
            comfy.put(Path(shutil.copy(file, Path(folder) / name)))
        comfy.put(one_second(Path(folder) / SPEECH))
    FOLDER.mkdir(exist_ok=True)
    with launched() as browser:
        for name, nodes in EXAMPLES.items():
            page = browser.new_context(viewport={"width": 2200, "height": 1400}).new_page()
            page.set_default_timeout(MILLISECONDS)
            open_comfy(page, comfy.url)
            page.evaluate("() => app.extensionManager.setting.set('Comfy.Minimap.Visible', false)")
            write(page, name, nodes)
            page.context.close()


def write(page: Any, name: str, nodes: dict[str, Node]) -> None:
    """One example."""
    workflow = json.loads(page.evaluate(BUILD, {key: vars(node) for key, node in nodes.items()}))
    workflow["extra"] = {}  # where the window was scrolled to
    (FOLDER / f"{name}.json").write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
    run(page)
    page.wait_for_function(
        "() => app.graph._nodes.find(each => each.type === 'SonicExtExport').widgets?.length", timeout=600_000
    )
    at_rest(page)
    page.evaluate(VIEW, [LEFT, TOP])
    page.wait_for_timeout(2000)
    box = page.evaluate(VIEW, [LEFT, TOP])
    page.wait_for_timeout(500)
    clip = {
        "x": box["x"] - EDGE,
        "y": box["y"] - EDGE,
        "width": box["width"] + 2 * EDGE,
        "height": box["height"] + 2 * EDGE,
    }
    with Image.open(io.BytesIO(page.screenshot(clip=clip))) as shot:
        picture = shot.convert("RGB")
    held = PngImagePlugin.PngInfo()
    held.add_text("workflow", json.dumps(workflow))
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(FOLDER / f"{name}.png", pnginfo=held, optimize=True)
    picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS).save(
        FOLDER / f"{name}.jpg", quality=85
    )


if __name__ == "__main__":
    main(sys.argv[1])
