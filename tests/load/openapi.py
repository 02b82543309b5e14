"""Asks a server what its OpenAPI allows, and much that it does not: `nox -s openapi -- --max-time 600`.

Schemathesis makes the requests from /openapi.json of `sonic serve`; an answer of 500, 502, 504 … is a fault,
and so is a traceback in the server's log. Words after the command go to `schemathesis run`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from served import served

HERE = Path(__file__).parent
USUAL = ("--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--warnings", "off")


def main(words: list[str]) -> int:
    """Serve, ask, end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = ("-m", "sonic_ext", "serve", "--api-only", "--output-dir", folder / "out")
        with served(folder, *own, SONIC_HOME=str(folder / "home")) as line:
            api = next(word for word in line.split() if word.startswith("http"))
            tool = ("schemathesis", "--config-file", str(HERE / "openapi.toml"), "run", f"{api}/openapi.json")
            return subprocess.run([*tool, *USUAL, *words], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
