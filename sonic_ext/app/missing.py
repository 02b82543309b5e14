"""A tab that says what is missing, made of nothing but gradio."""

from __future__ import annotations

from typing import Any

from ..errors import MissingPart, SonicError
from . import html
from .compat import gr


def build(problem: Exception) -> Any:
    """`gradio.Blocks` with one sentence on what is missing and one on what brings it."""
    with gr.Blocks(title="Sonic", analytics_enabled=False) as blocks:
        gr.HTML(html.style(), elem_classes="sonic-style")
        gr.HTML(html.error(_as_missing(problem)), elem_classes="sonic-root")
    return blocks


def accordion(problem: Exception) -> None:
    """The same in the place of the accordion in txt2img and img2img."""
    with gr.Accordion("Sonic", open=False):
        gr.HTML(html.style(), elem_classes="sonic-style")
        gr.HTML(html.error(_as_missing(problem)), elem_classes="sonic-root")


def _as_missing(problem: Exception) -> SonicError:
    if isinstance(problem, SonicError):
        return problem
    name = getattr(problem, "name", None) or "a part"
    return MissingPart(
        f"Sonic cannot start: {name} is not installed.",
        "Restart the WebUI without --skip-install, so that the extension's install.py brings it.",
    )
