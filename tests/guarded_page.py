"""A gradio server as a WebUI starts it, with the guard around it; says its address first.

    python guarded_page.py [--open]    --open leaves the guard out, to show what it is for

The folder that it is started in, $SONIC_HOME and $GRADIO_TEMP_DIR are the test's. Everything that a file can
be put into is an input of an event that answers with what the function was given.
"""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gradio as gr
    from launching import launched

    from sonic_ext.app import compat
    from sonic_ext.app.file_guard import guard_gradio

SHOWN = "result.png"
"""A picture in the working folder that the page is told of, as WebUIs tell it of what they saved."""


def told(value: Any) -> str:
    """What a function was given, as text."""
    value = value[0] if isinstance(value, list) and value else value
    return str(getattr(value, "name", None) or value)


def main() -> None:
    """Serve until killed."""
    if "--open" not in sys.argv:
        guard_gradio()
        guard_gradio()  # once more, as when the WebUI's page is made anew
    with gr.Blocks(analytics_enabled=False) as page:
        answer = gr.Textbox()
        inputs = {
            "text": gr.Textbox(),
            "file": gr.File(),
            "audio": gr.Audio(type="filepath"),
            "video": gr.Video(),
            "gallery": gr.Gallery(),
            "own_audio": compat.audio_inputs("own", "own")[0],
        }
        for name, part in inputs.items():
            gr.Button(name).click(told, part, answer, api_name=name)
    app, url = launched(page.queue(), allowed_paths=[], show_error=True)
    # as WebUIs do
    from starlette.middleware.gzip import GZipMiddleware

    app.user_middleware = [each for each in app.user_middleware if each.cls.__name__ != "CORSMiddleware"]
    app.middleware_stack = None
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.build_middleware_stack()
    picture = Path(SHOWN).resolve()
    page.temp_file_sets[0] = page.temp_file_sets[0] | {picture if compat.MAJOR > 3 else str(picture)}
    print(url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
