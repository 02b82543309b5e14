"""Run in a Python of its own: adds the toy engine's line to the list, and prints as JSON where it appears.

python -m toy_engine.everywhere PORTRAIT SPEECH OUT
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from sonic_ext.engines import registry

from . import SPEC

registry.ENGINES = (*registry.ENGINES, SPEC)  # before the settings are composed of it


def _printed(*words: str) -> str:
    from sonic_ext.cli import main as cli

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        cli.main([*words])
    return printed.getvalue()


def _web() -> dict[str, Any]:
    """What the API says of it, where its libraries are installed."""
    try:
        from sonic_ext.app import api, schemas
    except ImportError:
        return {}
    from sonic_ext.hosts.standalone import Standalone

    answered = api.Questions(Standalone(Path()), None, None).engines()  # type: ignore[arg-type]
    return {
        "schema": schemas.setting_schemas()["toy_reach"],
        "choices": schemas.setting_schemas()["engine"]["enum"],
        "engines": schemas.SonicEngines(**answered).engines[-1].dict(),
        "auto": answered["auto"],
    }


def _table() -> str:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
    import tables

    return str(tables.settings())


def main(portrait: str, speech: str, out: str) -> None:
    """Everything at once: a Python takes longer to start than any of it."""
    from sonic_ext.settings import PRESETS, Settings, describe, headings

    shown = {
        title: [name for name, spec in describe().items() if spec.group == group]
        for group, title in headings().items()
    }
    words = ["--engine", "toy", "--set", "toy_reach=2", "--set", "min_resolution=256", "--set", "seed=3"]
    agreed = ["--consent-face", "synthetic", "--consent-voice", "synthetic"]
    made = json.loads(_printed("animate", portrait, speech, "-o", out, *words, *agreed, "--json"))
    found = json.loads(_printed("verify", out, "--json"))
    print(
        json.dumps(
            {
                "names": list(describe()),
                "choices": describe()["engine"].choices,
                "sections": shown,
                "preset": PRESETS["quality"],
                "infotext": Settings.from_mapping({"toy_reach": "5"}).infotext(),
                "stored": Settings.from_mapping({"toy_reach": 5}).to_dict()["toy_reach"],
                "help": _printed("animate", "--help"),
                "table": _table(),
                "web": _web(),
                "made": made,
                "verified": found,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
