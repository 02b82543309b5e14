"""The workflows of `example_workflows/` are opened by ComfyUI's page, as file and as picture, and run."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from canvas import at_rest, run, shown, source
from comfy_client import Comfy
from examples import FOLDER, INPUTS, SPEECH
from PIL import Image
from spoken import one_second

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
DROP = """([name, type, data]) => {
    const bytes = Uint8Array.from(atob(data), each => each.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type}));
    const how = {bubbles: true, cancelable: true};
    const canvas = document.querySelector("#graph-canvas");
    canvas.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, ...how}));
}"""


@pytest.fixture(scope="module", autouse=True)
def _inputs(comfy: Comfy, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("inputs")
    for name, file in INPUTS.items():
        comfy.put(Path(shutil.copy(file, folder / name)))
    comfy.put(one_second(folder / SPEECH))


def test_there_are_some() -> None:
    assert {"sonic_batch", "sonic_quality", "sonic_quick"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_comfyui_lists_it(comfy: Comfy, name: str) -> None:
    listed = comfy.get("/workflow_templates").json
    (pack,) = [pack for pack, names in listed.items() if name in names]
    for kind in ("json", "jpg"):
        answer = comfy.get(f"/api/workflow_templates/{pack}/{name}.{kind}")
        assert answer.body == (FOLDER / f"{name}.{kind}").read_bytes()


@pytest.mark.parametrize("kind", ["json", "png"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_opened_and_runs(page: Any, name: str, kind: str) -> None:
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    data = (FOLDER / f"{name}.{kind}").read_bytes()
    type_ = {"json": "application/json", "png": "image/png"}[kind]
    page.evaluate(DROP, [f"{name}.{kind}", type_, base64.b64encode(data).decode()])
    page.wait_for_function(
        "count => app.graph._nodes.length === count"
        " && app.graph._nodes.some(each => each.type === 'SonicExtExport')",
        arg=len(workflow["nodes"]),
    )
    run(page)
    assert source(shown(page, "SonicExtExport")).endswith(("/preview", "/video"))
    at_rest(page)
    assert page.locator(".p-dialog").count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_file_and_picture_hold_the_same_and_nothing_of_anybody(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    with Image.open(FOLDER / f"{name}.png") as picture:
        assert json.loads(picture.info["workflow"]) == json.loads(text)
        assert set(picture.info) <= {"workflow", "transparency", "gamma", "dpi"}
    for node in json.loads(text)["nodes"]:
        values = node.get("widgets_values") or []
        assert not any(str(value).startswith(("/", "C:", "~")) for value in values)
