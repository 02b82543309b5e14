"""The tab of a WebUI: one element, which is the page. `javascript/sonic.js` brings it to life."""

from __future__ import annotations

from html import escape
from typing import Any

from .compat import gr

ELEMENT = "sonic-app"


def build(token: str) -> Any:
    """`gradio.Blocks` that hold the page's element.

    Args:
        token: the page shows it to the API, see `admission`.
    """
    with gr.Blocks(title="Sonic", analytics_enabled=False) as blocks:
        gr.HTML(f'<{ELEMENT} hosted token="{escape(token)}"></{ELEMENT}>', elem_id="sonic_page")
    return blocks
