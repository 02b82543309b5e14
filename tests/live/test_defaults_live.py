"""Settings, *Defaults*, *Apply* in a running WebUI: a consent that was given once is no default."""

from __future__ import annotations

import re
from typing import Any

from client import Client
from patience import until
from tab import order, state_consent, tab

GIVEN = re.compile(
    r"state that this is true|The face is|The voice is|Purpose|Contact|Evidence|Sent picture|Record$"
)


TICK = "customscript/sonic.py/txt2img/Sonic/value"


def kept(webui: Client) -> dict[str, Any]:
    """The WebUI's file of defaults."""
    answer = webui.get("/file=ui-config.json")
    assert answer.status == 200, answer.body[:200]
    found: dict[str, Any] = answer.json
    return found


def test_apply_keeps_no_consent(page: Any, webui: Client) -> None:
    tab(page, "txt2img")
    prefix = order(page, "txt2img", None)
    state_consent(page, prefix)
    apply(page)
    until(lambda: kept(webui).get(TICK))
    ours = {path: value for path, value in kept(webui).items() if "sonic" in path.lower()}
    assert [path for path in ours if path.endswith("txt2img/Engine/value")], "the settings are kept"
    assert ours[TICK] is True  # applied, that is
    assert [path for path in ours if GIVEN.search(path.rpartition("/")[0])] == []
    assert [path for path in ours if re.search("/(Export|Generate|Fetch|Revoke|Delete|Send)", path)] == []
    page.uncheck(f"#{prefix}-visible-checkbox")  # for the other tests
    apply(page)
    until(lambda: kept(webui)[TICK] is False)


def apply(page: Any) -> None:
    """Where the button stands is the host's."""
    page.evaluate("document.querySelector('#ui_defaults_apply').click()")
