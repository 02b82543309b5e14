"""Engines by registry: a third one is one folder and one line, and what each setting affects is stated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from spoken import MEDIA, one_second
from toy_engine import SPEC as TOY

from sonic_ext import engines, pipeline, weights
from sonic_ext.engines import registry
from sonic_ext.engines.context import Readiness
from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.engines.registry import ENGINES
from sonic_ext.engines.spec import EngineSpec, EntryPoint
from sonic_ext.errors import BadSetting, MissingPart
from sonic_ext.fields import Affects, EngineSettings, Spec, field_of, setting
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Origin, Queue
from sonic_ext.jobs.submission import specified
from sonic_ext.ports import Forecast
from sonic_ext.settings import Settings, composed, describe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a Python says in which the toy engine is listed."""
    folder = tmp_path_factory.mktemp("toy")
    sources = [str(MEDIA / "portrait_01.jpg"), str(one_second(folder / "speech.wav"))]
    words = [sys.executable, "-m", "toy_engine.everywhere", *sources, str(folder / "out.mp4")]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


class TestAThirdEngine:
    """It appears wherever engines or settings do."""

    def test_in_the_settings(self, everywhere: dict[str, Any]) -> None:
        names = list(describe())
        names.insert(names.index("eye_motion") + 1, "toy_reach")
        assert everywhere["names"] == names
        assert everywhere["choices"] == ["auto", "sonic", "preview", "toy"]
        assert everywhere["infotext"] == "Sonic toy_reach: 5"
        assert everywhere["stored"] == 5
        assert everywhere["preset"] == {"min_resolution": 1024, "inference_steps": 30, "toy_reach": 9}

    def test_in_the_form(self, everywhere: dict[str, Any]) -> None:
        assert everywhere["sections"]["Toy engine"] == ["toy_reach"]
        assert list(everywhere["sections"])[-2:] == ["Visible label", "Face and placement by hand"]

    def test_in_help_and_readme(self, everywhere: dict[str, Any]) -> None:
        assert "toy_reach = 4  (0 to 16)" in everywhere["help"]
        assert "{auto,sonic,preview,toy}" in everywhere["help"]
        assert "| `toy_reach` | `4` | 0 to 16 | Pixels that" in everywhere["table"]

    def test_in_the_api(self, everywhere: dict[str, Any]) -> None:
        if not everywhere["web"]:
            pytest.skip("the API needs fastapi: install the extra `standalone`")
        schema = everywhere["web"]["schema"]
        assert (schema["minimum"], schema["maximum"], schema["x-group"]) == (0, 16, "toy")
        assert everywhere["web"]["choices"] == ["auto", "sonic", "preview", "toy"]
        assert everywhere["web"]["engines"] == {"name": "toy", "ready": True, "detail": "", "hint": ""}
        assert everywhere["web"]["auto"] == "preview"

    def test_and_its_video_is_marked(self, everywhere: dict[str, Any]) -> None:
        assert everywhere["made"]["engine"] == "toy"
        assert everywhere["verified"]["verdict"] == "intact"
        assert "toy_reach: 2" in json.dumps(everywhere["verified"])


# The list


def test_nothing_heavy_is_loaded_for_the_list() -> None:
    code = "import sonic_ext.engines.registry, sys; print({'torch', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_a_probe_does_not_load_torch() -> None:
    code = (
        "import sys; from sonic_ext.engines import registry; from sonic_ext.engines.context import *; "
        "from sonic_ext.settings import Settings; "
        "[spec.probe(EngineContext(Settings())) for spec in registry.ENGINES]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("spec", ENGINES, ids=lambda spec: spec.name)
def test_what_a_spec_names_is_there(spec: EngineSpec) -> None:
    for entry in (spec.probe, spec.make):
        assert isinstance(entry, EntryPoint)
        assert callable(getattr(import_module(entry.module), entry.function))
    assert [part.name for part in weights.parts_named(spec.parts)] == list(spec.parts)


def test_the_sonic_engine_needs_the_required_parts() -> None:
    assert registry.spec_of("sonic").parts == tuple(part.name for part in weights.REQUIRED)


def test_an_engine_that_is_none() -> None:
    with pytest.raises(BadSetting, match="no engine 'soni'"):
        engines.choose("soni")


def _spec(name: str, readiness: Readiness, make: Callable[..., Any] = lambda context: context) -> EngineSpec:
    return EngineSpec(name, lambda context: readiness, make)


def _refusing(context: Any) -> Any:
    raise MissingPart("It does not load.", "Mend it.")


def test_auto_takes_the_first_that_is_ready_and_says_what_it_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = MissingPart("Weights are missing.", "Fetch them.")
    listed = (
        _spec("never installed", Readiness(lacking)),
        _spec("half installed", Readiness(lacking, "Its weights are here, but not its library.")),
        _spec("broken", Readiness(), _refusing),
        _spec("ready", Readiness()),
    )
    monkeypatch.setattr(registry, "ENGINES", listed)
    context: Any = engines.choose("auto")
    assert context.automatic
    assert context.notes == ("Its weights are here, but not its library.", "It does not load. Mend it.")
    with pytest.raises(MissingPart, match=r"Weights are missing\. Fetch them\."):
        engines.choose("half installed")
    with pytest.raises(MissingPart, match="does not load"):
        engines.choose("broken")
    monkeypatch.setattr(registry, "ENGINES", listed[:3])
    with pytest.raises(MissingPart, match="does not load"):
        engines.choose("auto")


def test_auto_passes_over_what_would_take_minutes_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`preflight` decides, and the job that is submitted keeps its engine."""
    seconds = [12 * 60.0]

    class Slow(PreviewEngine):
        name = "slow"

        def forecast(self, scene: Any, settings: Any, count: int) -> Forecast:
            return Forecast(seconds[0], 1)

    slow = EngineSpec("slow", lambda context: Readiness(), lambda context: Slow())
    monkeypatch.setattr(registry, "ENGINES", (slow, *ENGINES))
    sources = MEDIA / "portrait_01.jpg", one_second(tmp_path / "speech.wav")
    found = pipeline.preflight(*sources, Settings(min_resolution=256))
    assert found.engine == "preview"
    assert (
        "The slow engine would take about 12 minutes for this: engine=slow has it draw all the same."
        in found.warnings
    )
    seconds[0] = 4 * 60.0
    assert pipeline.preflight(*sources, Settings(min_resolution=256)).engine == "slow"
    assert _submitted(tmp_path, *sources) == "slow"
    seconds[0] = 12 * 60.0
    assert _submitted(tmp_path, *sources) == "preview"


def _submitted(folder: Path, portrait: Path, speech: Path) -> str:
    """The engine of a job that nobody looks at first, such as the command line's."""
    queue = Queue()
    with queue.staging() as staged:
        spec = specified(
            Standalone(folder / "out"),
            staged,
            origin=Origin.CLI,
            portrait=staged.copy(portrait),
            audio=staged.copy(speech),
            settings=Settings(min_resolution=256),
            look=False,
        )
    return spec.engine


# Composition


def _engine(name: str, **fields: Any) -> EngineSpec:
    own = make_dataclass(
        "Own", [(field, Any, value) for field, value in fields.items()], bases=(EngineSettings,), frozen=True
    )
    return EngineSpec(name, print, print, own)


@pytest.mark.parametrize("name", ["fps", "decoder", "label"])
def test_two_settings_of_one_name_are_refused(name: str) -> None:
    other = _engine("other", **{name: setting(1, "x", "x", Affects.SPEED)})
    with pytest.raises(ValueError, match=f"both have a setting '{name}'"):
        composed((*ENGINES, other))


@pytest.mark.parametrize("name", ["auto", "sonic"])
def test_two_engines_of_one_name_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Two engines have one name"):
        composed((*ENGINES, _engine(name)))


def test_a_setting_must_state_what_it_affects() -> None:
    forgot = _engine("other", odd=field_of(Spec(1, "x", "x", Affects(0))))
    with pytest.raises(ValueError, match="'odd' of Own does not state what it affects"):
        composed((*ENGINES, forgot))
    with pytest.raises(TypeError, match="affects"):
        setting(1, "x", "x")  # type: ignore[call-arg]


def test_a_section_needs_a_heading() -> None:
    with pytest.raises(ValueError, match=r"'odd' of Own\.x has no heading"):
        composed((_engine("other", x=setting(1, "x", "x", Affects.SPEED, group="odd")),))


def test_settings_are_composed_of_the_engines_listed() -> None:
    made = composed((TOY,))
    assert "toy_reach" in made.specs() and "decoder" not in made.specs()
    assert made.specs()["engine"].choices == ("auto", "toy")
    with pytest.raises(BadSetting, match="toy_reach=17"):
        made(toy_reach=17)  # type: ignore[call-arg]
