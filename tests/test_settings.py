"""Settings check themselves, and survive every form that they are written in."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.errors import BadSetting
from sonic_ext.settings import PRESETS, Settings, Spec, describe, headings

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
RANGED = [name for name, spec in describe().items() if spec.low is not None]
CHOSEN = [name for name, spec in describe().items() if spec.choices]
WEBUI_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""`re_param_code` of the WebUI's infotext reader."""


def _legal(name: str) -> st.SearchStrategy[Any]:
    """Every value of a field that is legal beside every other field's, read from its `Spec`."""
    spec, default = describe()[name], FIELDS[name].default
    if spec.choices:
        return st.sampled_from(spec.choices)
    if name.endswith("_interval") and spec.length:
        return st.none() | st.tuples(st.floats(0, 100), st.floats(100, 1e6))
    if spec.length:
        numbers = st.floats(-1e6, 1e6)
        return st.none() | st.tuples(*[numbers] * spec.length)
    if isinstance(default, bool):
        return st.booleans()
    if name == "label_text":
        return st.text(st.sampled_from('Aé ,:"я成·'), max_size=16).map(lambda text: f"AI {text}生成")
    if isinstance(default, str):
        return st.text()
    if isinstance(default, int):
        assert spec.low is not None and spec.high is not None
        step = int(spec.step or 1)
        if name == "inference_steps":  # a multistep solver wants three
            return st.integers(3, int(spec.high))
        return st.integers(-(-int(spec.low) // step), int(spec.high) // step).map(lambda n: n * step)
    numbers = st.floats(spec.low, spec.high)
    return st.none() | numbers if default is None else numbers


def _values() -> st.SearchStrategy[dict[str, Any]]:
    drawn = st.fixed_dictionaries({}, optional={name: _legal(name) for name in FIELDS})
    return drawn.filter(lambda d: d.get("label") != "off" or d.get("label_off_reason", "").strip())


def _just_outside(name: str) -> list[Any]:
    spec = describe()[name]
    assert spec.low is not None and spec.high is not None
    step = spec.step or (1 if isinstance(FIELDS[name].default, int) else 1e-6)
    return [type(FIELDS[name].default or 0.0)(number) for number in (spec.low - step, spec.high + step)]


@given(_values())
def test_mapping_round_trip(values: dict[str, Any]) -> None:
    settings = Settings.from_mapping(values)
    assert Settings.from_mapping(settings.to_dict()) == settings
    assert hash(settings) == hash(Settings.from_mapping(settings.to_dict()))


@given(_values())
def test_json_round_trip(values: dict[str, Any]) -> None:
    settings = Settings.from_mapping(values)
    text = json.dumps(settings.to_dict(), allow_nan=False)
    assert Settings.from_mapping(json.loads(text)) == settings


@given(_values())
def test_text_round_trip_as_on_a_command_line(values: dict[str, Any]) -> None:
    values.pop("label_off_reason", None)  # free text; leading and trailing blanks are the shell's business
    values = values if values.get("label") != "off" else {**values, "label_off_reason": "a film set"}
    settings = Settings.from_mapping(values)
    as_text = {name: str(value) for name, value in settings.to_dict().items()}
    assert Settings.from_mapping(as_text) == settings


@given(_values())
def test_infotext_names_exactly_what_differs_from_the_defaults(values: dict[str, Any]) -> None:
    settings = Settings.from_mapping(values)
    text = settings.infotext()
    for name, field in FIELDS.items():
        assert (f"Sonic {name}: " in text) >= (getattr(settings, name) != field.default)
    if settings == Settings():
        assert text == ""


@given(_values())
def test_infotext_is_read_back_as_the_webui_reads_it(values: dict[str, Any]) -> None:
    reason = values.get("label_off_reason", "a film set").strip() or "a film set"
    settings = Settings.from_mapping({**values, "label_off_reason": reason})
    pairs = WEBUI_PAIR.findall(settings.infotext())
    read = {name.removeprefix("Sonic "): _unquoted(value) for name, value in pairs}
    assert Settings.from_mapping(read) == settings


def _unquoted(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def test_infotext_quotes_what_holds_a_comma() -> None:
    settings = Settings(seed=0, expand_ratio=0.25, face_box=(1, 2, 3, 4.5))
    expected = 'Sonic expand_ratio: 0.25, Sonic seed: 0, Sonic face_box: "[1.0, 2.0, 3.0, 4.5]"'
    assert settings.infotext() == expected


@given(_values(), st.data())
def test_changing_one_value_leaves_the_rest(values: dict[str, Any], data: st.DataObject) -> None:
    settings = Settings.from_mapping({**values, "label_off_reason": "a reason"})
    name = data.draw(st.sampled_from([name for name in FIELDS if name != "label_off_reason"]))
    changed = settings.with_values({name: data.draw(_legal(name))})
    for other in FIELDS.keys() - {name}:
        assert getattr(changed, other) == getattr(settings, other)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_a_form_needs(name: str) -> None:
    spec = describe()[name]
    assert isinstance(spec, Spec)
    assert spec.label and spec.help.endswith(".")
    assert spec.group in headings()
    assert (spec.low is None) == (spec.high is None)
    assert spec.low is None or spec.low < spec.high


def test_defaults_are_legal_and_frozen() -> None:
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.fps = 50  # type: ignore[misc]


@pytest.mark.parametrize("name", RANGED)
def test_ends_of_a_range_are_legal_and_what_lies_outside_is_not(name: str) -> None:
    spec = describe()[name]
    for end in (spec.low, spec.high):
        assert getattr(Settings.from_mapping({name: end}), name) == end
    for value in _just_outside(name):
        with pytest.raises(BadSetting, match=name) as refused:
            Settings.from_mapping({name: value})
        assert f"{spec.low:g}" in refused.value.hint


@pytest.mark.parametrize("name", CHOSEN)
def test_a_value_that_is_no_choice_is_refused_with_the_choices(name: str) -> None:
    spec = describe()[name]
    with pytest.raises(BadSetting) as refused:
        Settings.from_mapping({name: 7 if isinstance(spec.choices[0], int) else "sideways"})
    assert all(str(choice) in refused.value.hint for choice in spec.choices)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [{}, object(), b"25", {"a": 1}, ["x"], math.nan, math.inf, -math.inf, 1j])
def test_nonsense_is_refused_whatever_the_field(name: str, value: Any) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings.from_mapping({name: value})


@pytest.mark.parametrize("name", [name for name in FIELDS if FIELDS[name].default is not None])
def test_none_is_refused_where_there_is_a_default(name: str) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings.from_mapping({name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", True),
        ("seed", False),
        ("dynamic_scale", True),
        ("lip_sync_calibration", 1),
        ("lip_sync_calibration", "perhaps"),
        ("fps", 25.5),
        ("fps", "25.5"),
        ("seed", 10**400),
        ("duration", 10**400),
        ("face_box", [1, 2, 3, 10**400]),
        ("seed", "9" * 400),
        ("seed", "seven"),
        ("min_resolution", 255),
        ("duration", 0),
        ("face_box", [1, 2, 3]),
        ("face_box", "1,2,3"),
        ("face_box", "1,2,3,x"),
        ("face_box", [1, 2, 3, math.nan]),
        ("face_box", [1, 2, 3, True]),
        ("engine", 3),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings.from_mapping({name: value})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("fps", " 50 ", 50),
        ("seed", "0", 0),
        ("lip_sync_calibration", "Off", False),
        ("motion_smoothing", "1", True),
        ("duration", "", None),
        ("duration", "none", None),
        ("duration", "7.31", 7.31),
        ("face_box", "10, 20, 30.5, 40", (10.0, 20.0, 30.5, 40.0)),
        ("face_box", "[10; 20; 30; 40]", (10.0, 20.0, 30.0, 40.0)),
        ("face_box", "none", None),
        ("engine", "preview", "preview"),
    ],
)
def test_text_is_read_as_people_write_it(name: str, text: str, value: Any) -> None:
    read = getattr(Settings.from_mapping({name: text}), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("fps", 50.0, 50),
        ("seed", np.int64(7), 7),
        ("dynamic_scale", np.float32(1.5), 1.5),
        ("dynamic_scale", 2, 2.0),
        ("mouth", np.arange(4).tolist(), (0.0, 1.0, 2.0, 3.0)),
    ],
)
def test_numbers_of_another_type_are_taken_where_nothing_is_lost(name: str, value: Any, stored: Any) -> None:
    read = getattr(Settings.from_mapping({name: value}), name)
    assert read == stored
    assert type(read) is type(stored)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadSetting, match="'fsp'") as refused:
        Settings.from_mapping({"fsp": 25})
    assert "fps" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fsp": 25}, "There is no setting 'fsp'. Did you mean fps?"),
        ({"Inference_Step": 25}, "There is no setting 'Inference_Step'. Did you mean inference_steps?"),
        ({"qwxyz": 1}, "There is no setting 'qwxyz'."),
        ({"x" * 10_000: 1}, "There is no setting 'xxxx"),
        ({"engine": "soni"}, "engine=soni is not allowed. Did you mean sonic?"),
        ({"decoder": "Temporal"}, "decoder=Temporal is not allowed. Did you mean temporal?"),
        ({"engine": "qwxyz"}, "engine=qwxyz is not allowed."),
        ({"fps": 24}, "fps=24 is not allowed."),
    ],
)
def test_what_was_probably_meant_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Settings.from_mapping(given)
    message = refused.value.message
    assert message.startswith(said) if len(str(given)) > 1000 else message == said


@pytest.mark.parametrize("text", ["AI生成", "ai made by AI: 合成", "人工智能合成 Ωя", "My AI 生成 – ™"])
def test_a_label_in_other_words(text: str) -> None:
    assert Settings(label_text=text).label_text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not say"),
        ("AI GENERATED", "does not say"),
        ("生成", "does not say"),
        ("PAID 生成", "does not say"),
        ("AI生成\nAI", "cannot show"),
        ("AI生成 😀", "cannot show"),
        ("AI生成 Ž", "cannot show"),
        ("AI生成" + "x" * 35, "41 columns"),
        ("AI" + "生成" * 10, "42 columns"),
    ],
)
def test_a_label_that_does_not_do(text: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        Settings(label_text=text)


def test_a_label_left_out_needs_its_reason() -> None:
    with pytest.raises(BadSetting, match="reason"):
        Settings.from_mapping({"label": "off", "label_off_reason": "  "})
    assert Settings.from_mapping({"label": "off", "label_off_reason": "satire"}).label == "off"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_legal(name: str) -> None:
    settings = Settings.from_mapping(PRESETS[name])
    assert PRESETS[name].items() <= settings.to_dict().items()


def test_zero_is_a_seed() -> None:
    assert Settings(seed=0) != Settings(seed=-1)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"expand_ratio": 0.09}, "crop"),
        ({"expand_ratio": 0.31}, "background"),
        ({"inference_steps": 9}, "blur"),
        ({"inference_steps": 31}, "little"),
        ({"dynamic_scale": 1.21}, "mouth"),
        ({"motion_scale": 1.11}, "restless"),
    ],
)
def test_legal_but_unwise_values_are_said(values: dict[str, Any], word: str) -> None:
    (sentence,) = Settings(**values).warnings()
    assert word in sentence


def test_an_engine_is_told_nothing_of_anothers_settings() -> None:
    settings = Settings(inference_steps=9, motion_scale=1.11)
    assert len(settings.for_engine("sonic").warnings()) == 2
    (sentence,) = settings.for_engine("preview").warnings()
    assert "restless" in sentence


def test_wise_values_say_nothing() -> None:
    assert Settings().warnings() == ()
    assert (
        Settings(expand_ratio=0.1, inference_steps=10, dynamic_scale=1.2, motion_scale=1.1).warnings() == ()
    )
