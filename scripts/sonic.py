"""Loaded by Stable Diffusion WebUI: adds the tab *Sonic*, and the script of that name in txt2img and img2img.
Everything else is in the package `sonic_ext`.

No `from __future__ import annotations` here: the WebUI runs this file outside of `sys.modules`, where it
breaks dataclasses. The extension's folder is on `sys.path` only while this file runs.
"""

import sys

if "modules.script_callbacks" in sys.modules:
    from sonic_ext.extension import registration

    registration.register()

    if "modules.scripts" in sys.modules:
        from sonic_ext.extension import script

        Sonic = script.script_class(registration.held_host, registration.worker)
