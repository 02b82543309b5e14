"""The page: one gradio tab that runs alone or inside a WebUI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jobs import Register
from ..weights import Search
from . import compat, html
from .compat import AT_ONCE as AT_ONCE
from .compat import gr
from .consent_view import ConsentView
from .history_view import HistoryView
from .make_view import MakeView
from .relay import WATCH
from .send import Doors
from .verify_view import VerifyView
from .weights_view import WeightsView
from .work import Jobs

if TYPE_CHECKING:
    from ..hosts import Host

_OWN_PAGE = "footer { display: none !important; } body { margin: 0; }"
"""Takes effect on a page of its own only: a host drops the style and theme of the tabs it takes in."""

_HEAD = "<h1>Sonic</h1><p>A portrait and a voice become a marked, signed, consented video.</p>"


def build(
    host: Host, jobs: Jobs | None = None, doors: Doors | None = None, register: Register | None = None
) -> Any:
    """Lay out the page.

    Args:
        host: where it runs.
        jobs: the register of running jobs; whoever wants to stop them keeps it.
        doors: where pictures can be sent to, in a WebUI.
        register: the animations of this process, which the API tells of.

    Returns:
        `gradio.Blocks`, to be mounted or handed to a WebUI as a tab.
    """
    jobs, register = jobs or Jobs(), register or Register()
    options = {"title": "Sonic", "analytics_enabled": False, "theme": compat.theme(), "css": _OWN_PAGE}
    with gr.Blocks(**options) as blocks:
        gr.HTML(html.style(), elem_classes="sonic-style")
        with gr.Column(elem_classes="sonic-root", elem_id="sonic_root"):
            gr.HTML(_HEAD, elem_classes="sonic-head")
            with gr.Tabs(elem_id="sonic_tabs"):
                with gr.TabItem("Animate", id="animate"):
                    make = MakeView(host, jobs, register, doors)
                with gr.TabItem("History", id="history") as past:
                    history = HistoryView(host, register)
                with gr.TabItem("Verify", id="verify"):
                    VerifyView(host, jobs)
                with gr.TabItem("Consent", id="consent") as ledger:
                    view = ConsentView()
                with gr.TabItem("Weights", id="weights") as stock:
                    parts = WeightsView(
                        jobs, lambda: Search.default(configuration=host.configuration()), host.place
                    )
                soon = compat.prompt()
                past.select(history.refresh, history.earlier, history.shown_at_refresh, **soon)
                ledger.select(view.refresh, None, view.shown_at_refresh, **soon)
                stock.select(parts.refresh, None, parts.shown_at_refresh, **soon)
        blocks.load(None, None, None, **compat.script(WATCH))
        compat.keep_from_defaults(blocks, make.saved)
    return blocks
