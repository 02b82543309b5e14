"""Loaded by ComfyUI from its folder `custom_nodes`: adds Sonic's nodes, page and API. Everything else is in
the package `sonic_ext`.
"""

import sys
from pathlib import Path

if "folder_paths" in sys.modules:  # of ComfyUI; a test runner may look in here, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        from sonic_ext.extension.comfy import WEB_DIRECTORY, comfy_entrypoint  # noqa: F401
    finally:
        sys.path.pop(0)
