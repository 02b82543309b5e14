"""Loaded by Stable Diffusion WebUI: adds the tab *Sonic*. Everything else is in the package `sonic_ext`.

No `from __future__ import annotations` here: the WebUI runs this file outside of `sys.modules`, where it
breaks dataclasses. The extension's folder is on `sys.path` only while this file runs.
"""

import sys

if "modules.script_callbacks" in sys.modules:
    from sonic_ext.hosts import webui

    webui.register()
