"""The settings page *Sonic* of a WebUI, and what its values mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..configuration import DAYS, Configuration
from ..settings import PRESETS, Settings, describe
from .modules import Module, webui

SECTION = ("sonic", "Sonic")
MODELS, PRESET, OUTPUTS, SAVE_PORTRAITS = (
    *("sonic_models_path", "sonic_preset", "sonic_outputs"),
    "sonic_save_portraits",
)
CERTIFICATE, KEY, RETENTION = "sonic_c2pa_certificate", "sonic_c2pa_key", "sonic_retention_days"
ANCHORS, STAMPS = "sonic_c2pa_anchors", "sonic_c2pa_tsa"
FIELDS = ("engine", "precision", "decoder", "label", "label_place")
"""Fields of `Settings` whose default the page sets; label offers what needs no reason."""
LABEL_TEXT = "sonic_label_text"
OWN = "as the preset"
"""The choice that leaves a field as it is."""
FOLDER = "sonic"
LONGEST = 365


@dataclass(frozen=True)
class Option:
    """One line of the page."""

    key: str
    default: Any
    label: str
    info: str
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    path: bool = False
    """Names a place on this computer or one that it calls: not to be changed over the network."""
    changed: Callable[[], None] | None = None
    """Takes the value over; the WebUI goes back to the former one where this raises."""


def all_options() -> tuple[Option, ...]:
    """The page's lines in their order."""
    return (
        Option(
            MODELS,
            "",
            "Folder of Sonic's weights",
            "looked into before all others; empty for the usual places",
            path=True,
        ),
        Option(PRESET, OWN, "Preset", "what the form starts with", choices=(OWN, *PRESETS)),
        *(_of_field(name) for name in FIELDS),
        Option(
            LABEL_TEXT,
            "",
            describe()["label_text"].label,
            describe()["label_text"].help.rstrip(".") + "; empty for the usual ones",
            changed=check_label_text,
        ),
        Option(
            OUTPUTS,
            FOLDER,
            "Folder of exported videos",
            "below the WebUI's outputs; [date] and [datetime<%Y-%m>] stand for the time",
            path=True,
        ),
        Option(SAVE_PORTRAITS, False, "Save portraits", "among the other pictures of txt2img and img2img"),
        Option(
            RETENTION,
            DAYS,
            "Days that videos wait for their export",
            "then they are deleted",
            low=1,
            high=LONGEST,
        ),
        Option(
            CERTIFICATE,
            "",
            "C2PA certificate",
            "PEM file, the chain with the leaf first; empty for the extension's own",
            path=True,
        ),
        Option(KEY, "", "C2PA private key", "PEM file; empty for the extension's own", path=True),
        Option(
            ANCHORS,
            "",
            "C2PA trust lists",
            "PEM files or folders of them, as in PATH: whose signatures count as known",
            path=True,
        ),
        Option(
            STAMPS,
            "",
            "Time-stamp authority",
            "address that is asked at each export (RFC 3161); empty to sign without the network",
            path=True,
        ),
    )


def _of_field(name: str) -> Option:
    spec = describe()[name]
    return Option(key_of(name), OWN, spec.label, spec.help.rstrip("."), choices=(OWN, *_offered(name)))


def _offered(name: str) -> tuple[str, ...]:
    """What a field may be by default; a label that is off needs a reason for each video."""
    return tuple(choice for choice in describe()[name].choices if (name, choice) != ("label", "off"))


def key_of(field: str) -> str:
    """The WebUI's name for a field's default."""
    return f"sonic_{field}"


def configuration() -> Configuration:
    """As the page has it; an empty line leaves what the environment says, the usual days, too."""
    days = retention()
    return Configuration.from_environment().overridden(
        models=_text(MODELS) or _flag("sonic_models_path"),
        checkpoints=_flag("ckpt_dir"),
        certificate=_text(CERTIFICATE),
        key=_text(KEY),
        anchors=_text(ANCHORS),
        time_stamps=_text(STAMPS),
        retention_days=None if days == DAYS else days,
    )


def check_label_text() -> None:
    """Called by the WebUI when the words of the label were changed.

    Raises:
        BadSetting: they are not the label that the law asks for.
    """
    Settings.from_mapping(_label_text())


def _label_text() -> dict[str, str]:
    return {"label_text": text} if (text := _text(LABEL_TEXT)) else {}


def _text(key: str) -> str:
    return str(_value(key, "") or "").strip()


def _flag(name: str) -> str:
    """A folder of the command line; `sonic_models_path` is of `preload.py`."""
    return str(getattr(webui(Module.SHARED).cmd_opts, name, None) or "")


def outputs(now: datetime | None = None) -> Path:
    """Folder for exported videos, by the user's pattern."""
    data = Path(webui(Module.PATHS).data_path)
    return data / "outputs" / dated(_text(OUTPUTS) or FOLDER, now or datetime.now())


def dated(pattern: str, now: datetime) -> str:
    """A pattern of the WebUI's kind with the time put in: [date], [datetime], [datetime<format>]."""

    def written(found: re.Match[str]) -> str:
        if found[1] == "date":
            return now.strftime("%Y-%m-%d")
        return re.sub(r'[<>:"|?*/\\]', "-", now.strftime(found[2] or "%Y%m%d%H%M%S"))

    return re.sub(r"\[(date|datetime)(?:<([^>]*)>)?\]", written, pattern)


def saves_portraits() -> bool:
    """Whether portraits are saved among the WebUI's other pictures."""
    return bool(_value(SAVE_PORTRAITS, False))


def retention() -> float:
    """Days that a video waits for its export."""
    days = _value(RETENTION, DAYS)
    return float(days) if isinstance(days, (int, float)) and 1 <= days <= LONGEST else DAYS


def defaults() -> Mapping[str, Any]:
    """The user's defaults, by the names of `Settings`; choices that are no longer known are passed over."""
    preset = _value(PRESET, OWN)
    values = dict(PRESETS.get(preset, {}))
    chosen = {name: _value(key_of(name), OWN) for name in FIELDS}
    return values | {name: value for name, value in chosen.items() if value in _offered(name)} | _label_text()


def _value(name: str, otherwise: Any) -> Any:
    return getattr(webui(Module.SHARED).opts, name, otherwise)
