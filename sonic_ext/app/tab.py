"""The page: one gradio tab that runs alone or inside a WebUI."""

from __future__ import annotations

from typing import Any

from ..jobs import Worker
from ..weights import Search
from . import compat, html
from .compat import AT_ONCE as AT_ONCE
from .compat import gr
from .consent_view import ConsentView
from .history_view import HistoryView
from .make_view import MakeView
from .relay import WATCH
from .send import Doors
from .tasks import BackgroundTasks
from .verify_view import VerifyView
from .weights_view import WeightsView

_OWN_PAGE = "footer { display: none !important; } body { margin: 0; }"
"""Takes effect on a page of its own only: a host drops the style and theme of the tabs it takes in."""

LANGUAGE = """() => {
    const words = typeof localization === "object" ? Object.values(localization).join(" ") : "";
    const chinese = words ? /[\\u4e00-\\u9fff]/.test(words) && !/[\\u3040-\\u30ff]/.test(words)
        : /^zh/i.test(navigator.language);
    document.documentElement.classList.toggle("sonic-chinese", chinese);
}"""
"""JavaScript for the page's load: which language what is said in two is shown in (`html.both`). A WebUI's
localisation comes before the browser's language; its letters tell it, kana are Japanese."""

_HEAD = "<h1>Sonic</h1><p>A portrait and a voice become a marked, signed, consented video.</p>"


def build(worker: Worker, tasks: BackgroundTasks | None = None, doors: Doors | None = None) -> Any:
    """Lay out the page.

    Args:
        worker: carries the tasks out, those of the API, too; its host says where the page runs.
        tasks: the register of running tasks; whoever wants to stop them keeps it.
        doors: where pictures can be sent to, in a WebUI.

    Returns:
        `gradio.Blocks`, to be mounted or handed to a WebUI as a tab.
    """
    host, tasks = worker.host, tasks or BackgroundTasks()
    options = {"title": "Sonic", "analytics_enabled": False, "theme": compat.theme(), "css": _OWN_PAGE}
    with gr.Blocks(**options) as blocks:
        gr.HTML(html.style(), elem_classes="sonic-style")
        with gr.Column(elem_classes="sonic-root", elem_id="sonic_root"):
            gr.HTML(_HEAD, elem_classes="sonic-head")
            with gr.Tabs(elem_id="sonic_tabs"):
                with gr.TabItem("Animate", id="animate"):
                    make = MakeView(worker, tasks, doors)
                with gr.TabItem("History", id="history") as past:
                    history = HistoryView(worker)
                with gr.TabItem("Verify", id="verify"):
                    VerifyView(host, tasks)
                with gr.TabItem("Consent", id="consent") as ledger:
                    view = ConsentView()
                with gr.TabItem("Weights", id="weights") as stock:
                    parts = WeightsView(
                        tasks, lambda: Search.default(configuration=host.configuration()), host.devices
                    )
                soon = compat.prompt()
                past.select(history.refresh, history.earlier, history.shown_at_refresh, **soon)
                ledger.select(view.refresh, None, view.shown_at_refresh, **soon)
                stock.select(parts.refresh, None, parts.shown_at_refresh, **soon)
        blocks.load(None, None, None, **compat.script(WATCH))
        blocks.load(None, None, None, **compat.script(LANGUAGE))
        make.at_load(blocks.load)
        compat.keep_from_defaults(blocks, make.saved)
    return blocks
