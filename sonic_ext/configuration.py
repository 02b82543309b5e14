"""What the user set for this computer: where weights lie, who signs, whom to trust, how long videos wait.

    configuration = Configuration.from_environment()
    Store(configuration=configuration)

Environment variables are the interface, and this is where they are read. A WebUI's settings page comes first
where it says something (`overridden`). Whoever is given none takes the environment's. Not here: the private
home's place, which `files.home` reads, and what belongs to others (Hugging Face's and proxies' variables).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files.names import expanded

MODELS_VARIABLE = "SONIC_MODELS"
"""The user's models folders, separated as in PATH; what is fetched goes to the first."""
COMFYUI_VARIABLE = "COMFYUI_PATH"
CERT_VARIABLE, KEY_VARIABLE = "SONIC_C2PA_CERT", "SONIC_C2PA_KEY"
ANCHORS_VARIABLE = "SONIC_C2PA_ANCHORS"
STAMPS_VARIABLE = "SONIC_C2PA_TSA"
HASHES_VARIABLE = "SONIC_C2PA_HASHES"
PRODUCER_VARIABLE = "SONIC_AIGC_PRODUCER"
HEAD_VARIABLE = "SONIC_LEDGER_HEAD"
"""A file, best on another disk, that keeps a copy of the ledger's head."""
RETENTION_VARIABLE = "SONIC_RETENTION_DAYS"
"""Days that a video waits for its export."""
DAYS = 7
"""The same where nobody says otherwise."""


@dataclass(frozen=True)
class Configuration:
    """Everything is text as the user wrote it, without blanks around it; "" where nothing was set."""

    models: str = ""
    """Models folders, separated as in PATH."""
    comfyui: str = ""
    """ComfyUI's folder."""
    host_models: str = ""
    """The models folder of the ComfyUI that this runs in."""
    checkpoints: str = ""
    """More folders that the program around keeps models in, separated as in PATH."""
    certificate: str = ""
    """PEM file: the chain to sign with, leaf first. Empty for this installation's own."""
    key: str = ""
    """PEM file: its key."""
    anchors: str = ""
    """Trust lists, PEM files or folders of them, separated as in PATH."""
    time_stamps: str = ""
    """Address of the time-stamp authority (RFC 3161) to ask, empty for none."""
    hashes: str = ""
    """How a manifest names portrait and speech: salted (also where empty) or plain."""
    producer: str = ""
    """The producer in an AIGC label; empty for this tool."""
    ledger_head: str = ""
    """A file that keeps one more copy of the ledger's head."""
    retention_days: float = DAYS
    """Days that a video waits for its export, above 0."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Configuration:
        """What the environment variables say; this process's by default."""
        given = os.environ if environment is None else environment

        def text(variable: str) -> str:
            return given.get(variable, "").strip()

        return cls(
            models=text(MODELS_VARIABLE),
            comfyui=text(COMFYUI_VARIABLE),
            certificate=text(CERT_VARIABLE),
            key=text(KEY_VARIABLE),
            anchors=text(ANCHORS_VARIABLE),
            time_stamps=text(STAMPS_VARIABLE),
            hashes=text(HASHES_VARIABLE),
            producer=text(PRODUCER_VARIABLE),
            ledger_head=text(HEAD_VARIABLE),
            retention_days=_days(text(RETENTION_VARIABLE)),
        )

    def overridden(self, **values: Any) -> Configuration:
        """With those of the values that are set: an empty text, or None, leaves what is here."""
        return dataclasses.replace(self, **{name: value for name, value in values.items() if value})

    @property
    def models_folders(self) -> tuple[Path, ...]:
        """`models`, one by one."""
        return _separated(self.models)

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """`checkpoints`, one by one."""
        return _separated(self.checkpoints)

    @property
    def retention_text(self) -> str:
        """`retention_days` in words: 7 days, 1 day, 0.5 days."""
        return f"{self.retention_days:g} day" + ("" if self.retention_days == 1 else "s")


def _separated(text: str) -> tuple[Path, ...]:
    return tuple(expanded(each.strip()) for each in text.split(os.pathsep) if each.strip())


def _days(text: str) -> float:
    """What is no number above 0 counts for nothing."""
    try:
        days = float(text)
    except ValueError:
        return DAYS
    return days if 0 < days < math.inf else DAYS
