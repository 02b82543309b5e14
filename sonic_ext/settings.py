"""The settings: one frozen dataclass that form, CLI, API, infotext and docs are made from.

It is composed of the common settings, declared here, and of every engine's own, declared beside the engine
and listed in `engines.registry`.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .engines.registry import AUTO, ENGINES
from .errors import BadSetting
from .fields import (
    Affects,
    SettingsBase,
    Spec,
    as_text,
    did_you_mean,
    field_of,
    parsed,
    quoted,
    setting,
)

if TYPE_CHECKING:
    from .engines.spec import EngineSpec

SECTIONS = {
    "video": "Video",
    "motion": "Motion",
    "label": "Visible label",
    "placement": "Face and placement by hand",
}
"""Group of common settings → heading of its section."""


@dataclass(frozen=True)
class VideoSettings(SettingsBase):
    """What the video is and how it moves, whichever engine draws it."""

    engine: str = setting(
        "auto",
        "Engine",
        "auto takes sonic where its weights are installed and the video takes no more than five minutes, and "
        "preview otherwise.",
        Affects.FRAMES,
        choices=(AUTO,),  # and the names of the engines, once they are composed
    )
    min_resolution: int = setting(
        512,
        "Resolution",
        "Short side of the video in pixels; the sonic engine rounds to multiples of 64.",
        Affects.PICTURE,
        low=256,
        high=1024,
        step=64,
    )
    framing: str = setting(
        "whole",
        "Framing",
        "whole keeps the full picture and animates the head in it; crop keeps a square around the face; "
        "published animates all of the full picture, as Sonic's own inference does (sonic engine; with "
        "preview it is whole).",
        Affects.PICTURE,
        choices=("whole", "crop", "published"),
    )
    expand_ratio: float = setting(
        0.18,
        "Room around the face",
        "Room on each side of the face box, as a share of its width and height.",
        Affects.PICTURE,
        low=0.05,
        high=1.0,
    )
    fps: int = setting(25, "Frames per second", "Frame rate of the video.", Affects.FRAMES, choices=(25, 50))
    duration: float | None = setting(
        None,
        "Duration",
        "Seconds of video; empty follows the audio.",
        Affects.SOUND,
        low=0.04,
        high=36000,
    )
    duration_policy: str = setting(
        "exact",
        "If duration and audio differ",
        "exact refuses a difference over 0.1 s, trim cuts the audio, pad_silence adds silence.",
        Affects.SOUND,
        choices=("exact", "trim", "pad_silence"),
    )
    voices: str = setting(
        "mixed",
        "Channels of the speech",
        "mixed makes one voice of all channels; channels takes the left one for the first of two faces and "
        "the right one for the second.",
        Affects.SOUND,
        choices=("mixed", "channels"),
    )
    dynamic_scale: float = setting(
        1.0,
        "Mouth and expression",
        "Strength of mouth and expression.",
        Affects.LATENTS,
        group="motion",
        low=0.5,
        high=2.0,
    )
    motion_scale: float = setting(
        1.0,
        "Head motion",
        "Strength of head motion and nods; 0 keeps the head still (preview engine).",
        Affects.LATENTS,
        group="motion",
        low=0.0,
        high=2.0,
    )
    seed: int = setting(
        -1,
        "Seed",
        "-1 draws a new one; any other number repeats itself, 0 included.",
        Affects.LATENTS,
        group="motion",
        low=-1,
        high=2**32 - 1,
    )
    lip_sync_calibration: bool = setting(
        True,
        "Lip-sync calibration",
        "Measures the offset between mouth and audio, corrects up to 0.05 s and reports it.",
        Affects.SOUND,
        group="motion",
    )
    motion_smoothing: bool = setting(
        True,
        "Motion smoothing",
        "Interpolates to the frame rate and removes jitter.",
        Affects.FRAMES,
        group="motion",
    )

    def warnings(self) -> tuple[str, ...]:
        """See `SettingsBase.warnings`."""
        rules = (
            (self.expand_ratio < 0.1, "expand_ratio below 0.1 may crop chin or hair."),
            (self.expand_ratio > 0.3, "expand_ratio above 0.3 spends pixels on background."),
            (self.dynamic_scale > 1.2, "dynamic_scale above 1.2 exaggerates the mouth."),
            (self.motion_scale > 1.1, "motion_scale above 1.1 makes the head restless."),
        )
        return (*super().warnings(), *(text for holds, text in rules if holds))


@dataclass(frozen=True)
class LabelSettings(SettingsBase):
    """The visible label, and where the face is."""

    face_detector: str = setting(
        "builtin",
        "Face detector",
        "builtin ships with the extension; yoloface and insightface need their own files.",
        Affects.PICTURE,
        group="placement",
        choices=("builtin", "yoloface", "insightface"),
    )
    label: str = setting(
        "start",
        "Visible label",
        "When the AI label shows: for the first seconds, throughout, or off with a stated reason.",
        Affects.MARKS,
        group="label",
        choices=("start", "throughout", "off"),
    )
    label_place: str = setting(
        "auto",
        "Label place",
        "Corner that the label stands in; auto takes one that the face leaves free, or else a strip along an "
        "edge.",
        Affects.MARKS,
        group="label",
        choices=("auto", "top_right", "top_left", "bottom_right", "bottom_left"),
    )
    label_text: str = setting(
        "AI GENERATED 人工智能生成",
        "Label text",
        "Words of the label: AI or 人工智能, and 生成 or 合成; up to 40 letters, Chinese ones count twice.",
        Affects.MARKS,
        group="label",
    )
    label_off_reason: str = setting(
        "",
        "Reason for no label",
        "Needed when the label is off; written to the consent record.",
        Affects.MARKS,
        group="label",
    )
    face_box: tuple[float, ...] | None = setting(
        None,
        "Face box",
        "left, top, right, bottom in pixels of the portrait; a box given by hand always wins.",
        Affects.PICTURE,
        group="placement",
        length=4,
    )
    face_box_2: tuple[float, ...] | None = setting(
        None,
        "Second face box",
        "left, top, right, bottom of the face that speaks with the second voice, where there are two; with "
        "no box the left face has the first voice.",
        Affects.PICTURE,
        group="placement",
        length=4,
    )
    mouth: tuple[float, ...] | None = setting(
        None,
        "Mouth corners",
        "x, y of both mouth corners in pixels of the portrait, for drawings and the like.",
        Affects.PICTURE,
        group="placement",
        length=4,
    )
    eyes: tuple[float, ...] | None = setting(
        None,
        "Eye centres",
        "x, y of both eye centres in pixels of the portrait, for drawings and the like.",
        Affects.PICTURE,
        group="placement",
        length=4,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_label(self.label_text)
        if self.label == "off" and not self.label_off_reason.strip():
            raise BadSetting(
                "label=off needs a reason.",
                "Set label_off_reason to why the visible label is left out, or use label=start.",
            )


def composed(engines: Sequence[EngineSpec]) -> type[SettingsBase]:
    """One settings class with the common settings and those of these engines, as flat fields.

    Raises:
        ValueError: two engines or settings of one name, a setting that does not state what it affects, or one
            whose section has no heading.
    """
    own = [engine.settings for engine in engines if engine.settings.specs()]
    # A dataclass takes the fields of its last base first: this is the order of the form.
    bases: tuple[type[SettingsBase], ...] = (LabelSettings, *reversed(own), VideoSettings)
    known = _headings(engines)
    seen: dict[str, type[SettingsBase]] = {}
    for base in bases:
        for name, spec in base.specs().items():
            if name in seen:
                raise ValueError(f"{seen[name].__name__} and {base.__name__} both have a setting {name!r}.")
            if not spec.affects:
                raise ValueError(f"The setting {name!r} of {base.__name__} does not state what it affects.")
            if spec.group not in known:
                raise ValueError(f"The section {spec.group!r} of {base.__name__}.{name} has no heading.")
            seen[name] = base
    choices = (AUTO, *(engine.name for engine in engines))
    if len(set(choices)) < len(choices):
        raise ValueError(f"Two engines have one name: {', '.join(choices)}.")
    engine = field_of(dataclasses.replace(VideoSettings.specs()["engine"], choices=choices))
    return dataclasses.make_dataclass("Composed", [("engine", str, engine)], bases=bases, frozen=True)


def _headings(engines: Iterable[EngineSpec]) -> dict[str, str]:
    """Those of the engines stand after the common ones on video and motion."""
    common = dict(SECTIONS)
    own: dict[str, str] = {}
    for engine in engines:
        own |= engine.settings.sections
    last = {group: common.pop(group) for group in ("label", "placement")}
    return common | own | last


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class Composed(LabelSettings, VideoSettings):
        """What every engine may rely on; the rest it reads of its own: `DiffusionSettings.of(settings)`."""

        def __init__(self, **values: Any) -> None: ...

else:
    Composed = composed(ENGINES)


class Settings(Composed):
    """How a portrait is animated. Checks itself; see `describe()` for ranges.

    Raises:
        BadSetting: a value has the wrong type or lies outside its range.
    """

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from names and values, text accepted (`{"fps": "25"}`).

        Raises:
            BadSetting: an unknown name, or a value that does not fit.
        """
        return cls().with_values(values)

    def with_values(self, values: Mapping[str, Any]) -> Settings:
        """A copy with some values changed; same rules as `from_mapping`."""
        known = self.specs()
        for name in values:
            if name not in known:
                raise BadSetting(
                    f"There is no setting {quoted(name)}.{did_you_mean(name, known)}",
                    f"Known settings: {', '.join(known)}.",
                )
        return dataclasses.replace(
            self, **{name: parsed(name, known[name], value) for name, value in values.items()}
        )

    def for_engine(self, name: str) -> Settings:
        """The same for this engine: what only others look at is as it is by default."""
        others = [spec.settings.specs() for spec in ENGINES if spec.name != name]
        return dataclasses.replace(
            self, **{setting: spec.default for specs in others for setting, spec in specs.items()}
        )

    def infotext(self) -> str:
        """`name: value` pairs that differ from the defaults, in the WebUI's infotext form."""
        pairs = [
            f"Sonic {name}: {as_text(value)}"
            for name, value in self.to_dict().items()
            if getattr(self, name) != self.specs()[name].default
        ]
        return ", ".join(pairs)


def describe() -> dict[str, Spec]:
    """Field name → `Spec`, in the order of the form."""
    return Settings.specs()


def headings() -> dict[str, str]:
    """Group of a setting → heading of its section, in the order of the form."""
    return _headings(ENGINES)


def _presets() -> dict[str, dict[str, Any]]:
    common: dict[str, dict[str, Any]] = {
        "standard": {},
        "quick": {"min_resolution": 384},
        "balanced": {"min_resolution": 768},
        "quality": {"min_resolution": 1024},
    }
    for engine in ENGINES:
        for name, changes in engine.settings.presets.items():
            common.setdefault(name, {}).update(changes)
    return common


PRESETS = _presets()
"""Named changes to the defaults, offered by every front end; what they change of an engine's own settings
stands with these."""


LABEL_COLUMNS = 40
"""Longest label text, in columns of half a Chinese character: three lines on a square picture."""
_SAYS_AI = re.compile(r"人工智能|(?<![A-Za-z])AI(?![A-Za-z])")
_SAYS_MADE = re.compile("生成|合成")
_SIGNS = "–•€™"


def _check_label(text: str) -> None:
    """Hold the label to the words of GB 45438-2025 and to the letters of the font that ships.

    Raises:
        BadSetting: words that the law asks for are missing, or it cannot be drawn.
    """
    if not (_SAYS_AI.search(text) and _SAYS_MADE.search(text)):
        raise BadSetting(
            f"label_text={as_text(text)} does not say that the video is made by AI.",
            "It must hold AI or 人工智能, and 生成 or 合成, for example: AI生成 · My Studio.",
        )
    if unknown := [letter for letter in text if not _drawable(letter)]:
        raise BadSetting(
            f"label_text holds {unknown[0]!r}, which the label cannot show.",
            "Use Latin, Greek, Cyrillic, Japanese or simplified Chinese letters, in one line.",
        )
    columns = sum(map(_columns, text))
    if columns > LABEL_COLUMNS:
        raise BadSetting(
            f"label_text is {columns} columns long.",
            f"Use up to {LABEL_COLUMNS}; a Chinese character takes two.",
        )


def _columns(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _drawable(letter: str) -> bool:
    """Latin-1, GB 2312 and a few signs: the letters of `assets/fonts`."""
    letters = letter.encode("latin-1", "ignore") or letter.encode("gb2312", "ignore")
    return letter.isprintable() and (bool(letters) or letter in _SIGNS)
