"""The settings: one frozen dataclass that form, CLI, API, infotext and docs are made from."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .errors import BadSetting

_SWITCHES = dict.fromkeys(("true", "on", "yes", "1"), True)
_SWITCHES |= dict.fromkeys(("false", "off", "no", "0"), False)
MAX_TEXT = 1000
"""Characters of any value that is given as text."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


@dataclass(frozen=True)
class Spec:
    """What a form, a command line and a schema need to know about one field."""

    label: str
    """Short name for a form."""
    help: str
    """One sentence for the user; names the unit."""
    group: str = "video"
    """Section of the form: video, motion, quality, sonic, label, placement."""
    choices: tuple[Any, ...] = ()
    """Legal values, when they are few."""
    low: float | None = None
    """Smallest legal value."""
    high: float | None = None
    """Largest legal value."""
    step: float | None = None
    """Step of a slider; values between are legal."""
    length: int = 0
    """Count of numbers in a tuple field."""


def _field(default: Any, label: str, help: str, **spec: Any) -> Any:
    return dataclasses.field(default=default, metadata={"spec": Spec(label, help, **spec)})


@dataclass(frozen=True)
class Settings:
    """How a portrait is animated. Checks itself; see `describe()` for ranges.

    Raises:
        BadSetting: a value has the wrong type or lies outside its range.
    """

    engine: str = _field(
        "auto",
        "Engine",
        "auto takes sonic when its weights are installed and preview otherwise.",
        choices=("auto", "sonic", "preview"),
    )
    min_resolution: int = _field(
        512,
        "Resolution",
        "Short side of the video in pixels; the sonic engine rounds to multiples of 64.",
        low=256,
        high=1024,
        step=64,
    )
    framing: str = _field(
        "whole",
        "Framing",
        "whole keeps the full picture and animates the head in it; crop keeps a square around the face.",
        choices=("whole", "crop"),
    )
    expand_ratio: float = _field(
        0.18,
        "Room around the face",
        "Room on each side of the face box, as a share of its width and height.",
        low=0.05,
        high=1.0,
    )
    fps: int = _field(25, "Frames per second", "Frame rate of the video.", choices=(25, 50))
    duration: float | None = _field(
        None,
        "Duration",
        "Seconds of video; empty follows the audio.",
        low=0.04,
        high=36000,
    )
    duration_policy: str = _field(
        "exact",
        "If duration and audio differ",
        "exact refuses a difference over 0.1 s, trim cuts the audio, pad_silence adds silence.",
        choices=("exact", "trim", "pad_silence"),
    )
    dynamic_scale: float = _field(
        1.0,
        "Mouth and expression",
        "Strength of mouth and expression.",
        group="motion",
        low=0.5,
        high=2.0,
    )
    motion_scale: float = _field(
        1.0,
        "Head motion",
        "Strength of head motion, nods and blinks.",
        group="motion",
        low=0.5,
        high=2.0,
    )
    seed: int = _field(
        -1,
        "Seed",
        "-1 draws a new one; any other number repeats itself, 0 included.",
        group="motion",
        low=-1,
        high=2**32 - 1,
    )
    lip_sync_calibration: bool = _field(
        True,
        "Lip-sync calibration",
        "Measures the offset between mouth and audio, corrects up to 0.05 s and reports it.",
        group="motion",
    )
    motion_smoothing: bool = _field(
        True,
        "Motion smoothing",
        "Interpolates to the frame rate and removes jitter.",
        group="motion",
    )
    inference_steps: int = _field(
        25,
        "Inference steps",
        "Denoising steps of the sonic engine.",
        group="quality",
        low=1,
        high=50,
    )
    audio_guidance: float = _field(
        7.5,
        "Audio guidance",
        "Guidance towards the speech (sonic engine).",
        group="quality",
        low=0.0,
        high=30.0,
    )
    image_guidance: float = _field(
        2.0,
        "Image guidance",
        "Guidance towards the portrait (sonic engine).",
        group="quality",
        low=0.0,
        high=30.0,
    )
    precision: str = _field(
        "auto",
        "Precision",
        "Numbers that the networks compute with; auto is fp16 on a graphics card and fp32 on a CPU; "
        "fp8 stores the weights in 8 bits.",
        group="sonic",
        choices=("auto", "fp32", "fp16", "bf16", "fp8"),
    )
    memory: str = _field(
        "auto",
        "Memory",
        "together is fastest, branches takes a third of the working memory, offload also moves the network "
        "in layer by layer; auto picks by the memory that is free. Same video.",
        group="sonic",
        choices=("auto", "together", "branches", "offload"),
    )
    shortcuts: str = _field(
        "exact",
        "Shortcuts",
        "exact computes everything; null_branch leaves out a branch on every second step, deep_features the "
        "inner layers. Faster, not the same video.",
        group="sonic",
        choices=("exact", "null_branch", "deep_features", "both"),
    )
    decoder: str = _field(
        "auto",
        "Decoder",
        "temporal is Stable Video Diffusion's own; image decodes frame by frame, with less memory and more "
        "flicker; host does so with the VAE of the WebUI's checkpoint, which then encodes too; auto is "
        "temporal where its file is installed and memory suffices, else host.",
        group="sonic",
        choices=("auto", "temporal", "image", "host"),
    )
    compiled: bool = _field(
        False,
        "Compile",
        "Compiles the network first: minutes at the start, faster steps.",
        group="sonic",
    )
    face_detector: str = _field(
        "builtin",
        "Face detector",
        "builtin ships with the extension; yoloface and insightface need their own files.",
        group="placement",
        choices=("builtin", "yoloface", "insightface"),
    )
    label: str = _field(
        "start",
        "Visible label",
        "When the AI label shows: for the first seconds, throughout, or off with a stated reason.",
        group="label",
        choices=("start", "throughout", "off"),
    )
    label_place: str = _field(
        "auto",
        "Label place",
        "Corner that the label stands in; auto takes one that the face leaves free, or else a strip along an "
        "edge.",
        group="label",
        choices=("auto", "top_right", "top_left", "bottom_right", "bottom_left"),
    )
    label_text: str = _field(
        "AI GENERATED 人工智能生成",
        "Label text",
        "Words of the label: AI or 人工智能, and 生成 or 合成; up to 40 letters, Chinese ones count twice.",
        group="label",
    )
    label_off_reason: str = _field(
        "",
        "Reason for no label",
        "Needed when the label is off; written to the consent record.",
        group="label",
    )
    face_box: tuple[float, ...] | None = _field(
        None,
        "Face box",
        "left, top, right, bottom in pixels of the portrait; a box given by hand always wins.",
        group="placement",
        length=4,
    )
    mouth: tuple[float, ...] | None = _field(
        None,
        "Mouth corners",
        "x, y of both mouth corners in pixels of the portrait, for drawings and the like.",
        group="placement",
        length=4,
    )
    eyes: tuple[float, ...] | None = _field(
        None,
        "Eye centres",
        "x, y of both eye centres in pixels of the portrait, for drawings and the like.",
        group="placement",
        length=4,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _checked(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        _check_label(self.label_text)
        if self.label == "off" and not self.label_off_reason.strip():
            raise BadSetting(
                "label=off needs a reason.",
                "Set label_off_reason to why the visible label is left out, or use label=start.",
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from names and values, text accepted (`{"fps": "25"}`).

        Raises:
            BadSetting: an unknown name, or a value that does not fit.
        """
        return cls().with_values(values)

    def with_values(self, values: Mapping[str, Any]) -> Settings:
        """A copy with some values changed; same rules as `from_mapping`."""
        known = {field.name: field for field in dataclasses.fields(self)}
        for name in values:
            if name not in known:
                raise BadSetting(
                    f"There is no setting {_quoted(name)}.", f"Known settings: {', '.join(known)}."
                )
        parsed = {name: _parsed(known[name], value) for name, value in values.items()}
        return dataclasses.replace(self, **parsed)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def infotext(self) -> str:
        """`name: value` pairs that differ from the defaults, in the WebUI's infotext form."""
        pairs = [
            f"Sonic {name}: {_as_text(value)}"
            for name, value in self.to_dict().items()
            if getattr(self, name) != type(self).__dataclass_fields__[name].default
        ]
        return ", ".join(pairs)

    def warnings(self) -> tuple[str, ...]:
        """Sentences about legal values that seldom serve the user."""
        rules = (
            (self.expand_ratio < 0.1, "expand_ratio below 0.1 may crop chin or hair."),
            (self.expand_ratio > 0.3, "expand_ratio above 0.3 spends pixels on background."),
            (self.inference_steps < 10, "inference_steps below 10 gives blurred frames."),
            (self.inference_steps > 30, "inference_steps above 30 costs time for little."),
            (self.dynamic_scale > 1.2, "dynamic_scale above 1.2 exaggerates the mouth."),
            (self.motion_scale > 1.1, "motion_scale above 1.1 makes the head restless."),
        )
        return tuple(text for holds, text in rules if holds)


PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "quick": {"min_resolution": 384, "inference_steps": 15},
    "balanced": {"min_resolution": 768},
    "quality": {"min_resolution": 1024, "inference_steps": 30},
}
"""Named changes to the defaults, offered by every front end."""


LABEL_COLUMNS = 40
"""Longest label text, in columns of half a Chinese character: three lines on a square picture."""
_SAYS_AI = re.compile(r"人工智能|(?<![A-Za-z])AI(?![A-Za-z])")
_SAYS_MADE = re.compile("生成|合成")
_SIGNS = "–•€™"


def describe() -> dict[str, Spec]:
    """Field name → `Spec`, in the order of the form."""
    return {field.name: field.metadata["spec"] for field in dataclasses.fields(Settings)}


def _check_label(text: str) -> None:
    """Hold the label to the words of GB 45438-2025 and to the letters of the font that ships.

    Raises:
        BadSetting: words that the law asks for are missing, or it cannot be drawn.
    """
    if not (_SAYS_AI.search(text) and _SAYS_MADE.search(text)):
        raise BadSetting(
            f"label_text={_as_text(text)} does not say that the video is made by AI.",
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


def _kind(field: dataclasses.Field[Any]) -> type:
    if field.metadata["spec"].length:
        return tuple
    return float if field.default is None else type(field.default)


def _parsed(field: dataclasses.Field[Any], value: Any) -> Any:
    """Turn text (command line, infotext) into the field's type; leave the rest to `_checked`."""
    if not isinstance(value, str):
        return value
    _check_length(field, value)
    text, kind, spec = value.strip(), _kind(field), field.metadata["spec"]
    if field.default is None and text.lower() in ("", "none", "auto"):
        return None
    try:
        if kind is bool:
            return _SWITCHES[text.lower()]
        if kind is tuple:
            return tuple(float(part) for part in text.strip("[]()").replace(";", ",").split(","))
        return kind(text)
    except (ValueError, KeyError):
        raise BadSetting(f"{field.name}={_quoted(value)} is not {_expected(field)}.", spec.help) from None


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    spec: Spec = field.metadata["spec"]
    if value is None and field.default is None:
        return None
    if isinstance(value, str):
        _check_length(field, value)
    value = _coerced(field, value)
    if spec.choices and value not in spec.choices:
        raise BadSetting(_out_of(field, value), f"Use one of {', '.join(map(str, spec.choices))}.")
    for number in value if isinstance(value, tuple) else (value,):
        low_enough = spec.low is None or number >= spec.low
        high_enough = spec.high is None or number <= spec.high
        if not (low_enough and high_enough):
            raise BadSetting(_out_of(field, value), f"Use {_expected(field)}.")
    return value


def _check_length(field: dataclasses.Field[Any], text: str) -> None:
    if len(text) > MAX_TEXT:
        raise BadSetting(f"{field.name} is {len(text):,} characters long.", f"Use {MAX_TEXT:,} at most.")


def _coerced(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value in the field's own type, where nothing is lost by it (25.0 → 25, [1, 2] → (1.0, 2.0))."""
    kind, spec = _kind(field), field.metadata["spec"]
    if kind is tuple and isinstance(value, (tuple, list)) and len(value) == spec.length:
        if all(map(_is_number, value)):
            return tuple(map(float, value))
    elif kind is float and _is_number(value):
        return float(value)
    elif kind is int and _is_number(value) and value == int(value):
        return int(value)
    elif kind in (bool, str) and isinstance(value, kind):
        return value
    raise BadSetting(f"{field.name}={_quoted(value)} is not {_expected(field)}.", spec.help)


def _is_number(value: Any) -> bool:
    """Finite and not a switch; NumPy's scalars count, integers beyond floats do not."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _expected(field: dataclasses.Field[Any]) -> str:
    spec, kind = field.metadata["spec"], _kind(field)
    if spec.choices:
        return f"one of {', '.join(map(str, spec.choices))}"
    if kind is tuple:
        return f"{spec.length} numbers separated by commas"
    words = {bool: "on or off", str: "text", int: "a whole number", float: "a number"}[kind]
    if spec.low is not None:
        words += f" from {spec.low:g} to {spec.high:.10g}"
    return words


def _out_of(field: dataclasses.Field[Any], value: Any) -> str:
    return f"{field.name}={_as_text(value)} is not allowed."


def _quoted(value: Any) -> str:
    """As Python writes it, cut where it is long or deep."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, for one
        return f"a value of {type(value).__name__}"


def _as_text(value: Any) -> str:
    """Quoted where the WebUI would misread it: its infotext splits at commas, colons and line ends."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
