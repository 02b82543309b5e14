"""What one setting is: its words, its legal values and what it affects; settings check themselves with it.

Settings are declared as frozen dataclasses of `setting(...)` fields, the common ones in `settings`, an
engine's own beside the engine; `settings.Settings` is composed of all of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from numbers import Real
from typing import Any, ClassVar, TypeVar

from .errors import BadSetting
from .text import is_whole

Own = TypeVar("Own", bound="SettingsBase")

_SWITCHES = dict.fromkeys(("true", "on", "yes", "1"), True)
_SWITCHES |= dict.fromkeys(("false", "off", "no", "0"), False)
MAX_TEXT = 1000
"""Characters of any value that is given as text."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class Affects(Flag):
    """What of a video changes with a setting. What an engine keeps of unfinished work is keyed by these."""

    PICTURE = auto()
    """Which part of the portrait is animated, where its face is, and at what size."""
    SOUND = auto()
    """The sound, or when it begins."""
    LATENTS = auto()
    """What an engine draws of one picture and one sound before frames are made of it."""
    FRAMES = auto()
    """How frames are made of that: by which engine, decoded how, how many a second."""
    MARKS = auto()
    """The visible label."""
    SPEED = auto()
    """Nothing but time and memory."""


@dataclass(frozen=True)
class Spec:
    """What a form, a command line, a schema and a checkpoint need to know about one setting."""

    default: Any
    label: str
    """Short name for a form."""
    help: str
    """One sentence for the user; names the unit."""
    affects: Affects
    """What changes with it."""
    group: str = "video"
    """Section of the form; its heading is in `settings.headings()`."""
    choices: tuple[Any, ...] = ()
    """Legal values, when they are few."""
    low: float | None = None
    """Smallest legal value."""
    high: float | None = None
    """Largest legal value."""
    step: float | None = None
    """Step of a slider; values between are legal."""
    length: int = 0
    """Count of numbers in a tuple."""

    @property
    def kind(self) -> type:
        """Type of its values, None aside."""
        if self.length:
            return tuple
        return float if self.default is None else type(self.default)

    @property
    def expected(self) -> str:
        """Its legal values in words: "a number from 0.5 to 2"."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.kind is tuple:
            return f"{self.length} numbers separated by commas"
        words = {bool: "on or off", str: "text", int: "a whole number", float: "a number"}[self.kind]
        if self.low is not None:
            words += f" from {self.low:g} to {self.high:.10g}"
        return words


def setting(default: Any, label: str, help: str, affects: Affects, **spec: Any) -> Any:
    """A field of a settings class; see `Spec`."""
    return field_of(Spec(default, label, help, affects, **spec))


def field_of(spec: Spec) -> Any:
    """The dataclass field that a `Spec` describes."""
    return dataclasses.field(default=spec.default, metadata={"spec": spec})


@dataclass(frozen=True)
class SettingsBase:
    """Settings that check themselves. All fields are made by `setting`.

    Raises:
        BadSetting: a value has the wrong type or lies outside its range.
    """

    @classmethod
    @functools.cache
    def specs(cls) -> dict[str, Spec]:
        """Field name → `Spec`, in the order of the fields."""
        return {field.name: field.metadata["spec"] for field in dataclasses.fields(cls)}

    @classmethod
    def of(cls: type[Own], settings: SettingsBase) -> Own:
        """These settings alone, from settings that they are part of."""
        return cls(**{name: getattr(settings, name) for name in cls.specs()})

    def __post_init__(self) -> None:
        for name, spec in self.specs().items():
            object.__setattr__(self, name, checked(name, spec, getattr(self, name)))

    def affecting(self, what: Affects) -> dict[str, Any]:
        """Name → value of every setting that affects it, as plain JSON values."""
        return {
            name: _plain(getattr(self, name)) for name, spec in self.specs().items() if spec.affects & what
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return {name: _plain(getattr(self, name)) for name in self.specs()}

    def warnings(self) -> tuple[str, ...]:
        """Sentences about legal values that seldom serve the user."""
        return ()


class EngineSettings(SettingsBase):
    """An engine's own settings. As it is, for engines that have none."""

    sections: ClassVar[Mapping[str, str]] = {}
    """Group of its settings → heading of that section in the form."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Name of a preset → what it changes of these settings."""


def parsed(name: str, spec: Spec, value: Any) -> Any:
    """Turn text (command line, infotext) into the field's type; leave the rest to `checked`.

    Raises:
        BadSetting: the text is not of that type.
    """
    if not isinstance(value, str):
        return value
    _check_text(name, value)
    text, kind = value.strip(), spec.kind
    if spec.default is None and text.lower() in ("", "none", "auto"):
        return None
    try:
        if kind is bool:
            return _SWITCHES[text.lower()]
        if kind is tuple:
            return tuple(float(part) for part in text.strip("[]()").replace(";", ",").split(","))
        return kind(text)
    except (ValueError, KeyError):
        raise BadSetting(f"{name}={quoted(value)} is not {spec.expected}.", spec.help) from None


def checked(name: str, spec: Spec, value: Any) -> Any:
    """The value in the field's own type.

    Raises:
        BadSetting: it has the wrong type or lies outside its range.
    """
    if value is None and spec.default is None:
        return None
    if isinstance(value, str):
        _check_text(name, value)
    value = _coerced(name, spec, value)
    if spec.choices and value not in spec.choices:
        raise BadSetting(_not_allowed(name, spec, value), f"Use one of {', '.join(map(str, spec.choices))}.")
    for number in value if isinstance(value, tuple) else (value,):
        low_enough = spec.low is None or number >= spec.low
        high_enough = spec.high is None or number <= spec.high
        if not (low_enough and high_enough):
            raise BadSetting(_not_allowed(name, spec, value), f"Use {spec.expected}.")
    return value


def _check_text(name: str, text: str) -> None:
    if not is_whole(text):  # as a command line that is no UTF-8 holds them
        raise BadSetting(f"{name} holds characters that are none.", "Write whole characters.")
    if len(text) > MAX_TEXT:
        raise BadSetting(f"{name} is {len(text):,} characters long.", f"Use {MAX_TEXT:,} at most.")


def _coerced(name: str, spec: Spec, value: Any) -> Any:
    """The value in the field's own type, where nothing is lost by it (25.0 → 25, [1, 2] → (1.0, 2.0))."""
    kind = spec.kind
    if kind is tuple and isinstance(value, (tuple, list)) and len(value) == spec.length:
        if all(map(_is_number, value)):
            return tuple(map(float, value))
    elif kind is float and _is_number(value):
        return float(value)
    elif kind is int and _is_number(value) and value == int(value):
        return int(value)
    elif kind in (bool, str) and isinstance(value, kind):
        return value
    raise BadSetting(f"{name}={quoted(value)} is not {spec.expected}.", spec.help)


def _is_number(value: Any) -> bool:
    """Finite and not a switch; NumPy's scalars count, integers beyond floats do not."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def quoted(value: Any) -> str:
    """As Python writes it, cut where it is long or deep."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, for one
        return f"a value of {type(value).__name__}"


def _not_allowed(name: str, spec: Spec, value: Any) -> str:
    return f"{name}={as_text(value)} is not allowed.{did_you_mean(value, spec.choices)}"


def did_you_mean(given: Any, known: Iterable[Any]) -> str:
    """ " Did you mean fps?" for text that is nearly one of those known; empty otherwise."""
    words = [each for each in known if isinstance(each, str)]
    near = difflib.get_close_matches(given[:100].lower(), words, 1) if isinstance(given, str) else []
    return f" Did you mean {near[0]}?" if near else ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def as_text(value: Any) -> str:
    """Quoted where the WebUI would misread it: its infotext splits at commas, colons and line ends."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
