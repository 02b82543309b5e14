"""The settings page *Sonic* of a WebUI: the components of `hosts.options`."""

from __future__ import annotations

from typing import Any

from ..hosts.modules import Module, webui
from ..hosts.options import SECTION, Option, all_options


def add() -> None:
    """Called by the WebUI when it makes its settings page."""
    shared = webui(Module.SHARED)
    for option in all_options():
        shared.opts.add_option(option.key, _info(option, shared))


def _info(option: Option, shared: Any) -> Any:
    from ..app.compat import gr

    component: Any = None
    arguments: dict[str, Any] = {}
    if option.choices:
        component, arguments = gr.Dropdown, {"choices": list(option.choices)}
    elif option.high:
        component, arguments = gr.Slider, {"minimum": option.low, "maximum": option.high, "step": 1}
    elif option.path:
        arguments = dict(getattr(shared, "hide_dirs", None) or {})  # the user may have hidden all such fields
    info = shared.OptionInfo(
        option.default,
        option.label,
        component,
        arguments or None,
        onchange=option.changed,
        section=SECTION,
    )
    info.restrict_api = option.path
    return info.info(option.info)
