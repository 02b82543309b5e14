"""The bench on the page, and what keeps weights away; what takes minutes is answered for the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from own_page import Page, Served, expect

NONE = dict.fromkeys(
    ("seconds", "denoising", "step_seconds", "share_of_peak", "psnr", "ssim", "mouth", "sync")
)
IDLE = {"what": "", "stage": "", "detail": "", "done": 0, "total": 0, "seconds_left": None, "error": None}


def trade(name: str, error: str = "", **values: float) -> dict[str, Any]:
    """`SonicTrade`."""
    return {
        **NONE,
        "name": name,
        "steps": 25,
        "memory": 2 * 10**9,
        "device_memory": 0,
        "error": error,
    } | values


FIGURES = {
    "device": "A card", "numbers": "float16", "width": 512, "height": 512, "frames": 100,
    "date": "2030-01-02", "finished": True, "recommended": "fast", "notes": ["Nothing else."],
    "trades": [
        trade("published", seconds=41.2, step_seconds=1.2, mouth=1.0, sync=0.93),
        trade("fast", seconds=11.4, step_seconds=0.6, psnr=28.6, ssim=0.931, mouth=0.95, sync=0.9),
        trade("precision=fp8", error="BadSetting"),
    ],
}  # fmt: skip


def answered(page: Page, path: str, value: Any) -> None:
    """Have an address of the API answer so."""
    page.route(f"**/sonic/v1{path}", lambda route: route.fulfill(json=value))


def weights(page: Page) -> Page:
    page.get_by_role("tab", name="Weights").click()
    return page


def test_figures_are_a_table_and_json_to_copy(page: Page) -> None:
    answered(page, "/bench/task", IDLE | {"state": "done", "what": "bench"})
    answered(page, "/bench", FIGURES)
    bench = weights(page).locator("sonic-bench")
    expect(bench.locator(".banner.good")).to_contain_text("Recommended here: the preset fast.")
    rows = bench.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("fast recommended11.4 s0.60 s2.0 GB28.60.9310.950.90")
    expect(rows.nth(2)).to_contain_text("Not to be had here: BadSetting")
    expect(bench).to_contain_text("A card · float16 · 512 × 512 · 100 frames · 2030-01-02")
    expect(bench).to_contain_text("Nothing else.")
    assert (
        json.loads(bench.locator("pre").inner_text() or bench.locator("pre").text_content() or "") == FIGURES
    )
    bench.get_by_role("button", name="Copy JSON").click()
    expect(bench.get_by_role("status").last).not_to_be_empty()


def test_it_is_shown_while_it_runs_and_stopped(page: Page) -> None:
    running = {
        "state": "running",
        "what": "bench",
        "stage": "denoising",
        "detail": "fast",
        "done": 3,
        "total": 25,
    }
    answered(page, "/bench/task", IDLE | running)
    answered(page, "/bench", FIGURES | {"finished": False, "recommended": None})
    bench = weights(page).locator("sonic-bench")
    expect(bench).to_contain_text("denoising: fast")
    expect(bench.get_by_role("progressbar")).to_have_attribute("value", "3")
    expect(bench.get_by_role("button", name="Measure this computer")).to_be_hidden()
    answered(page, "/bench/task", IDLE | {"state": "cancelled", "what": "bench"})
    expect(bench).to_contain_text("Stopped as asked.")
    expect(bench.get_by_role("button", name="Measure this computer")).to_be_visible()


def test_a_refusal_is_said_beside_the_button(page: Page) -> None:
    sent: list[Any] = []
    refusal = {"error": "MissingPart", "detail": "There is no torch.", "hint": "Bring it."}

    def refuse(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(status=503, json=refusal)

    page.route("**/sonic/v1/bench", refuse)
    bench = weights(page).locator("sonic-bench")
    bench.get_by_label("Weights").select_option("miniature")
    bench.get_by_label("Resolution").fill("256")
    button = bench.get_by_role("button", name="Measure this computer")
    button.focus()
    button.press("Enter")
    expect(bench.get_by_role("alert")).to_contain_text("There is no torch.")
    expect(button).to_be_focused()
    assert sent == [{"minutes": 10, "settings": {"weights": "miniature", "min_resolution": 256}}]


@pytest.mark.parametrize("path", ["room", "library"])
def test_why_nothing_can_be_fetched(page: Page, served: Served, path: str) -> None:
    found = served.ask("GET", "/weights")
    if path == "room":
        found["free_bytes"] = 3 * 10**9
    else:
        found["obstacles"] = [{"task": "fetch", "detail": "httpx lacks.", "hint": "Bring it."}]
    answered(page, "/weights", found)
    view = weights(page).locator("sonic-weights")
    fetch = view.get_by_role("button", name="Fetch", exact=True)
    if path == "room":
        expect(view).to_contain_text("There is no room for it: 3.0 GB are free.")
        expect(fetch).to_be_enabled()  # sizes are rough: the server looks again
    else:
        expect(view).to_contain_text("httpx lacks.")
        expect(fetch).to_be_disabled()


def test_a_vae_that_is_lent_is_told(page: Page, served: Served, tmp_path: Path) -> None:
    found = served.ask("GET", "/weights") | {"lent": "The VAE of v1-5"}
    answered(page, "/weights", found)
    view = weights(page).locator("sonic-weights")
    expect(view.locator(".banner.good")).to_contain_text("The VAE of v1-5 stands in for")
