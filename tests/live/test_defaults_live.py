"""Settings, *Defaults*, *Apply* in a running WebUI: a consent that was given once is no default."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

from client import Client
from patience import until
from tab import order, state_consent, tab

GIVEN = re.compile(
    r"state that this is true|The face is|The voice is|Purpose|Contact|Evidence|Sent picture|Record$"
)
ENGINE = "customscript/sonic.py/txt2img/Engine/value"
TICK = "customscript/sonic.py/txt2img/Sonic/value"
"""Forge keeps no accordion's."""


def of_sonic(webui: Client) -> dict[str, Any]:
    """What the WebUI's file of defaults says of Sonic; nothing while it is being written."""
    try:
        answer = webui.get("/file=ui-config.json")
        assert answer.status == 200, answer.body[:200]
        return {path: value for path, value in answer.json.items() if "sonic" in path.lower()}
    except (http.client.IncompleteRead, json.JSONDecodeError):
        return {}


def test_apply_keeps_no_consent(page: Any, webui: Client) -> None:
    tab(page, "txt2img")
    prefix = order(page, "txt2img", None)
    state_consent(page, prefix)
    apply(page)
    ours = until(lambda: of_sonic(webui), lambda found: found.get(ENGINE) == "preview")
    assert ours.get(TICK, True) is True
    assert [path for path in ours if GIVEN.search(path.rpartition("/")[0])] == []
    assert [path for path in ours if re.search("/(Export|Generate|Fetch|Revoke|Delete|Send)", path)] == []

    page.check(f"#{prefix}_engine input[value=auto]")  # for the other tests
    page.uncheck(f"#{prefix}-visible-checkbox")
    apply(page)
    until(lambda: of_sonic(webui), lambda found: found.get(ENGINE) == "auto" and not found.get(TICK))


def apply(page: Any) -> None:
    """Where the button stands is the host's."""
    page.evaluate("document.querySelector('#ui_defaults_apply').click()")
