"""The one-click script of a running WebUI, over the WebUI's own API.

A checkpoint of random weights draws no face: a mask keeps that of the source.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client import QUICK, SMALL, Client, b64
from PIL import Image
from spoken import MEDIA

PORTRAITS = (MEDIA / "portrait_01.jpg", MEDIA / "portrait_02.jpg")
pytestmark = pytest.mark.usefixtures("api")
CONSENT = {"face": "synthetic", "voice": "synthetic"}
SIDE = 256


def test_it_answers_with_its_job(webui: Client, speech: Path) -> None:
    found = painted_over(webui, [face()], {"voice": b64(speech), "settings": QUICK, "consent": CONSENT})
    assert "Sonic error" not in found, found
    job = webui.look(str(found["Sonic job"]))
    assert job["state"] == "done"
    assert job["portrait_synthetic"] is False  # an upload was painted over: its face may be anybody's
    assert str(found["Sonic video"]).endswith(".mp4")


def test_it_says_what_is_wrong(webui: Client, speech: Path) -> None:
    found = painted_over(webui, [face()], {"voice": b64(speech), "settings": {"colour": "red"}})
    assert "colour" in str(found["Sonic error"])
    assert "Sonic job" not in found


def test_one_picture_of_eight_without_a_face_costs_no_other_its_video(webui: Client, speech: Path) -> None:
    static = Image.fromarray(np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
    pictures = [face(), face(1), static, face(), face(1), face(), face(1), face()]
    order = {"voice": b64(speech), "settings": QUICK, "pictures": "each"}
    found = painted_over(webui, pictures, order)
    jobs = str(found["Sonic job"]).split(", ")
    assert len(jobs) == 8, found
    assert jobs.pop(2) == "-"
    assert [webui.look(job)["state"] for job in jobs] == ["done"] * 7
    assert str(found["Sonic error"]).startswith("Picture 3: "), found
    assert str(found["Sonic error"]).count("Picture") == 1, found
    assert webui.ended(webui.begin(PORTRAITS[0], speech))["state"] == "done"


def painted_over(webui: Client, pictures: list[Image.Image], order: dict[str, Any]) -> dict[str, Any]:
    """Parameters that img2img answers with when the script has this order."""
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, 16, 16))
    body = SMALL | {
        "init_images": [as_png(each) for each in pictures],
        "batch_size": len(pictures),
        "mask": as_png(mask),
        "inpainting_fill": 1,
        "inpaint_full_res": False,
        "denoising_strength": 0.5,
        "width": SIDE,
        "height": SIDE,
        "alwayson_scripts": {"Sonic": {"args": [order]}},
    }
    answer = webui.post("/sdapi/v1/img2img", body)
    assert answer.status == 200, answer.body[:500]
    extra = json.loads(answer.json["info"])["extra_generation_params"]
    return {key: value for key, value in extra.items() if key.startswith("Sonic")}


def face(which: int = 0) -> Image.Image:
    """One of the shipped portraits."""
    with Image.open(PORTRAITS[which]) as opened:
        return opened.convert("RGB").resize((SIDE, SIDE))


def as_png(picture: Image.Image) -> str:
    """As JSON takes it."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
