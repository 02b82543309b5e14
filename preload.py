"""Run by Stable Diffusion WebUI before it reads its command line: adds Sonic's flag."""

from __future__ import annotations

from argparse import ArgumentParser


def preload(parser: ArgumentParser) -> None:
    """Add `--sonic-models-path`; the settings page, where it names a folder, goes before."""
    parser.add_argument(
        "--sonic-models-path",
        metavar="FOLDER",
        default=None,
        help="Sonic: folder that is looked into for its weights before all others",
    )
