"""The accordion in txt2img and img2img of a running WebUI, its grid and its infotext, in a real browser.

A checkpoint of random weights draws no face, so what needs one is painted over a portrait, whose face stays.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from client import QUICK, SMALL, Client, b64
from own_page import PORTRAIT, expect
from PIL import Image
from tab import number, order, smallest, state_consent, tab, told, voice

INFOTEXT = (
    "a portrait\nSteps: 1, Sampler: Euler, Size: 64x64, Sonic pictures: each, Sonic engine: preview, "
    'Sonic framing: crop, Sonic motion_scale: 1.25, Sonic seed: 0, Sonic label_off_reason: "art, not: news", '
    'Sonic face_box: "[60.0, 40.0, 190.0, 200.0]", Sonic id: 0123456789abcdef'
)


def paint_over(page: Any, folder: Path, side: int = 256) -> None:
    """A portrait in img2img with a mask that leaves the face alone."""
    with Image.open(PORTRAIT) as opened:
        opened.convert("RGB").resize((side, side)).save(folder / "portrait.png")
    mask = Image.new("RGB", (side, side))
    mask.paste("white", (0, 0, 16, 16))
    mask.save(folder / "mask.png")
    smallest(page, "img2img", side)
    page.locator("#mode_img2img > .tab-nav button").nth(4).click()
    page.set_input_files("#img_inpaint_base input[type=file]", folder / "portrait.png")
    page.set_input_files("#img_inpaint_mask input[type=file]", folder / "mask.png")
    for place in ("base", "mask"):
        expect(page.locator(f"#img_inpaint_{place} img").first).to_be_visible()


def choose_grid(page: Any, name: str, axis: str, values: str) -> None:
    """The X/Y/Z plot with one axis of ours."""
    place = f"#script_{name}_xyz_plot_x"
    listed = page.locator("#tab_img2img #script_list input" if name == "img2img" else "#script_list input")
    listed.first.click()
    page.locator("li:visible", has_text="X/Y/Z plot").first.click()
    # First: the WebUI answers a change of the type with the values that it had.
    page.fill(f"{place}_values textarea", values)
    page.click(f"{place}_type input")
    page.locator("li:visible", has_text=f"[Sonic] {axis}").first.click()


def test_by_hand_two_videos_of_a_batch(page: Any, speech: Path, tmp_path: Path) -> None:
    paint_over(page, tmp_path)
    number(page, "img2img_batch_count", 2)
    prefix = order(page, "img2img", speech)
    page.locator(f"#{prefix}_pictures input").nth(1).check()
    state_consent(page, prefix)
    said = told(page, "img2img", "picture 2: exported|Sonic error")
    assert len(set(re.findall(r"sonic-[\w-]+\.mp4", said))) == 2, said
    shown = page.inner_text("#html_info_img2img")
    assert "Sonic pictures: each" in shown
    assert "Sonic id: " in shown


def test_each_cell_of_a_grid_has_its_own_video(page: Any, api: Client, speech: Path, tmp_path: Path) -> None:
    paint_over(page, tmp_path)
    order(page, "img2img", speech)
    choose_grid(page, "img2img", "Resolution", "320, 512, 5000")
    said = told(page, "img2img", "5000|Sonic error")
    assert re.findall(r"\(min_resolution=(\d+)\): it waits", said) == ["320", "512"], said
    assert "Sonic error (min_resolution=5000): min_resolution=5000 is not allowed." in said
    expect(page.locator("#img2img_gallery img").first).to_be_visible()
    newest = [job["take"] for job in jobs(api) if job["origin"] == "script"][:2]
    assert [min(take["width"], take["height"]) for take in newest] == [512, 320]


def jobs(api: Client) -> Any:
    """Every animation that the WebUI knows."""
    return api.get("/sonic/v1/animations").json["animations"]


def test_wrong_orders_are_one_sentence_and_pictures_are_made(page: Any, speech: Path) -> None:
    smallest(page, "txt2img")
    prefix = order(page, "txt2img", None)
    assert told(page, "txt2img", "Sonic error").count("Sonic needs a voice.") == 1
    expect(page.locator("#txt2img_gallery img").first).to_be_visible()
    number(page, f"{prefix}_seed", -5)
    told(page, "txt2img", "seed=-5 is not allowed")
    number(page, f"{prefix}_seed", 7)
    voice(page, prefix, speech)
    told(page, "txt2img", "Sonic video of picture 1|No face|too small")


def test_pasted_infotext_fills_the_accordion(page: Any) -> None:
    tab(page, "txt2img")
    page.fill("#txt2img_prompt textarea", INFOTEXT)
    page.click("#paste")
    prefix = "#script_txt2img_sonic"
    expect(page.locator(f"{prefix}-visible-checkbox")).to_be_checked()
    expect(page.locator(f"{prefix}_pictures")).to_be_visible()
    for name, value in (("motion_scale", "1.25"), ("seed", "0"), ("min_resolution", "512")):
        expect(page.locator(f"{prefix}_{name} input[type=number]").first).to_have_value(value)
    for chosen in ("framing input[value=crop]", "engine input[value=preview]"):
        expect(page.locator(f"{prefix}_{chosen}")).to_be_checked()
    expect(page.locator(f"{prefix}_pictures input").nth(1)).to_be_checked()


def test_infotext_quotes_what_holds_commas(api: Client, speech: Path) -> None:
    reason = 'a film, not: "news"'
    settings = QUICK | {"label": "off", "label_off_reason": reason, "face_box": [8, 8, 56, 56]}
    scripts = {"Sonic": {"args": [{"voice": b64(speech), "settings": settings}]}}
    answer = api.post("/sdapi/v1/txt2img", SMALL | {"alwayson_scripts": scripts})
    assert answer.status == 200, answer.body[:500]
    (text,) = json.loads(answer.json["info"])["infotexts"]
    assert f"Sonic label_off_reason: {json.dumps(reason)}" in text
    assert 'Sonic face_box: "[8.0, 8.0, 56.0, 56.0]"' in text
