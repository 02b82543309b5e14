"""The script in txt2img and img2img, called as a WebUI calls it; engine, store, ledger and gate are real.

Of the WebUI there is no more here than the base class of scripts and what a generation carries.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from spoken import MEDIA, one_second
from webui_standin import ui_components

from sonic_ext.app import one_click
from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadAudio, BadSetting, Cancelled, ConsentMissing
from sonic_ext.extension import script
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import State, Worker
from sonic_ext.media.image import pixel_digest, read_portrait
from sonic_ext.ports import Result
from sonic_ext.progress import Progress
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.settings import Settings

SMALL = {"min_resolution": 256, "lip_sync_calibration": False}
CONSENT = {"face": "synthetic", "voice": "synthetic"}
PAIRS = "Steps: 1, Sampler: Euler"


class Held(Standalone):
    """A host inside a hook, with a default of its own; says how often it worked."""

    def __init__(self, outputs: Path) -> None:
        super().__init__(outputs)
        self.worked = 0
        self.worker = Worker(self)

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """Without a queue: it is held already."""
        self.worked += 1
        return task(progress)

    def configuration(self) -> Configuration:
        return Configuration.from_environment()

    def defaults(self) -> Mapping[str, Any]:
        """Small, so that tests are quick."""
        return SMALL


@dataclass
class Generation:
    """What the WebUI hands to hooks as `p`."""

    n_iter: int = 1
    batch_size: int = 1
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    script_args: tuple[Any, ...] = ()


@dataclass
class Processed:
    """What the WebUI hands to `postprocess`."""

    images: list[Image.Image]
    infotexts: list[str]
    extra_generation_params: dict[str, Any]
    index_of_first_image: int = 0
    comments: str = ""
    info: str = PAIRS


def _done(p: Generation, *pictures: Image.Image, grid: bool = False) -> Processed:
    images = [*pictures[:1], *pictures] if grid else [*pictures]
    return Processed(images, [PAIRS] * len(images), p.extra_generation_params, int(grid))


def _picture(name: str = "portrait_01.jpg", side: int = 320) -> Image.Image:
    picture = Image.open(MEDIA / name).convert("RGB")
    picture.thumbnail((side, side))
    return picture


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of speech."""
    return one_second(tmp_path_factory.mktemp("speech") / "one.wav")


@pytest.fixture
def voice(speech: Path) -> str:
    """The same as an API client sends it."""
    return base64.b64encode(speech.read_bytes()).decode()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Held]:
    """Exports go to `tmp_path/out`."""
    made = Held(tmp_path / "out")
    yield made
    made.worker.close()


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """As much of a WebUI's modules as scripts touch."""
    scripts = ModuleType("modules.scripts")
    scripts.__dict__.update(Script=type("Script", (), {}), AlwaysVisible=object(), scripts_data=[])
    for module in (ModuleType("modules"), scripts):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield scripts


def _ask(host: Held, asked: Mapping[str, Any], *pictures: Image.Image, grid: bool = False) -> Processed:
    p = Generation(batch_size=len(pictures))
    processed = _done(p, *pictures, grid=grid)
    script.after_generation(host, host.worker, p, processed, [asked])
    return processed


def test_class_is_what_the_webui_looks_for(webui: Any, host: Held) -> None:
    made = script.script_class(lambda: host, lambda: host.worker)
    assert isinstance(made, type) and issubclass(made, webui.Script)
    assert made().title() == "Sonic"
    assert made().show(True) is made().show(False) is webui.AlwaysVisible


def test_one_request_one_video(webui: Any, host: Held, voice: str) -> None:
    sonic, p = script.script_class(lambda: host, lambda: host.worker)(), Generation()
    asked = {"voice": voice, "settings": {"dynamic_scale": 1.1}, "consent": CONSENT}
    sonic.process(p, asked)
    assert p.extra_generation_params["Sonic pictures"] == "first"
    assert p.extra_generation_params["Sonic dynamic_scale"] == "1.1"
    assert p.extra_generation_params["Sonic min_resolution"] == "256"
    assert "Sonic framing" not in p.extra_generation_params
    picture = _picture()
    processed = _done(p, picture)
    sonic.postprocess(p, processed, asked)

    (exported,) = host.outputs().glob("*.mp4")
    (take,) = Store().takes()
    assert processed.extra_generation_params["Sonic id"] == take.id
    assert processed.extra_generation_params["Sonic video"] == exported.name
    assert processed.infotexts == [f"{PAIRS}, Sonic id: {take.id}, Sonic video: {exported.name}"]
    assert processed.info == processed.infotexts[0]
    assert exported.name in processed.comments and str(exported.parent) not in processed.comments
    assert take.portrait_pixel_sha256 == pixel_digest(np.asarray(picture))
    (record,) = Ledger().records()
    assert record.portrait_synthetic
    assert host.worked == 1
    job = host.worker.queue.find(processed.extra_generation_params["Sonic job"])
    assert (job.state, job.origin, job.result().id) == (State.DONE, "script", take.id)
    assert job.exported is not None and job.exported.path == exported


def test_without_consent_nothing_leaves(host: Held, voice: str) -> None:
    processed = _ask(host, {"voice": voice}, _picture())
    (take,) = Store().takes()
    assert list(host.outputs().glob("*")) == []
    assert take.id not in processed.comments and "History" in processed.comments
    assert "Sonic video" not in processed.extra_generation_params


def test_batch_of_eight_with_no_face_in_the_third(host: Held, voice: str) -> None:
    nobody = _picture("no_person.jpg")
    pictures = [nobody if number == 2 else _picture(side=300 + number) for number in range(8)]
    processed = _ask(host, {"voice": voice, "pictures": "each"}, *pictures, grid=True)
    assert len(Store().takes()) == 7
    ids = processed.extra_generation_params["Sonic id"].split(", ")
    assert len(ids) == 8 and ids[2] == "-"
    assert processed.extra_generation_params["Sonic error"].startswith("Picture 3: No face")
    assert processed.comments.count("Sonic error") == 1
    texts = processed.infotexts
    assert [number for number, text in enumerate(texts) if "Sonic id" in text] == [1, 2, 4, 5, 6, 7, 8]


def test_only_the_first_unless_asked(host: Held, voice: str) -> None:
    _ask(host, {"voice": voice}, _picture(), _picture("portrait_02.jpg"), grid=True)
    (take,) = Store().takes()
    assert take.portrait_pixel_sha256 == pixel_digest(np.asarray(_picture()))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"settings": {"min_resolutoin": 256}}, "no setting 'min_resolutoin'"),
    ({"settings": {"min_resolution": 5}}, "min_resolution=5"),
    ({"settings": [1]}, "settings is not a mapping"),
    ({"speed": 3}, "knows no 'speed'"),
    ({"pictures": "all"}, "pictures='all'"),
    ({"preset": "best"}, "no preset 'best'"),
    ({"voice": "nonsense!"}, "not base64"),
    ({"voice": ""}, "needs a voice"),
    ({"voice": base64.b64encode(b"no sound").decode()}, "voice"),
    ({"consent": {"face": "self"}}, "voice is missing"),
    ({"consent": {**CONSENT, "evidence": "/etc/passwd"}}, "knows no 'evidence'"),
    ({"consent": {**CONSENT, "expires": "2001-01-01"}}, "ended on 2001-01-01"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_request_is_one_sentence_and_the_next_works(
    host: Held, voice: str, wrong: dict[str, Any], said: str
) -> None:
    processed = _ask(host, {"voice": voice, **wrong}, _picture())
    assert said in processed.extra_generation_params["Sonic error"]
    assert said in processed.comments
    assert Store().takes() == ()
    assert len(processed.images) == 1
    assert "Sonic id" in _ask(host, {"voice": voice}, _picture()).extra_generation_params


def test_interrupt_stops_the_rest(host: Held, voice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(progress: Progress, task: Callable[[Progress], Result]) -> Result:
        raise Cancelled

    monkeypatch.setattr(host, "work", stopped)
    processed = _ask(host, {"voice": voice, "pictures": "each"}, _picture(), _picture())
    assert processed.comments.count("Stopped as asked") == 1


def test_nothing_asked_nothing_said(host: Held, voice: str) -> None:
    for values in ([False], [], [{"enabled": False, "voice": voice}]):
        p = Generation()
        processed = _done(p, _picture())
        script.after_generation(host, host.worker, p, processed, values)
        assert (processed.comments, processed.extra_generation_params) == ("", {})
    assert host.worked == 0


def test_order_changed_by_a_grid(host: Held, voice: str) -> None:
    p = Generation()
    script._setter("motion_scale")(p, 1.5, [])
    script._setter("seed")(p, 7, [])
    processed = _done(p, _picture())
    script.after_generation(host, host.worker, p, processed, [{"voice": voice}])
    (take,) = Store().takes()
    assert (take.settings.motion_scale, take.seed) == (1.5, 7)


def test_cells_of_a_grid_share_no_parameters(webui: Any, host: Held, voice: str) -> None:
    """The grid copies its generation for each cell, but not what the generation holds."""
    sonic, p = script.script_class(lambda: host, lambda: host.worker)(), Generation()
    asked = {"voice": voice}
    named = []
    for value in (320, Settings().min_resolution):
        cell = copy(p)
        script._setter("min_resolution")(cell, value, [])
        sonic.process(cell, asked)
        named.append(dict(cell.extra_generation_params))
        cell.extra_generation_params["Sonic id"] = "of this cell"
    assert [each.get("Sonic min_resolution") for each in named] == ["320", None]
    assert "Sonic id" not in named[1]
    assert p.extra_generation_params == {}


def test_parameters_of_an_earlier_round_go(webui: Any, host: Held, voice: str) -> None:
    """Other scripts send the same generation round again."""
    sonic, p = script.script_class(lambda: host, lambda: host.worker)(), Generation()
    p.extra_generation_params = {"Sonic id": "earlier", "Sonic error": "earlier", "Noise": 1}
    sonic.process(p, {"voice": voice, "settings": {"colour": "red"}})
    assert p.extra_generation_params == {"Noise": 1}


def test_a_grid_tells_of_every_cell(host: Held, voice: str) -> None:
    """Its comment is that of the first cell, but for us."""

    def draw(p: Any, values: Sequence[float]) -> Processed:
        cells = []
        for value in values:
            cell = copy(p)
            script._setter("dynamic_scale")(cell, value, [])
            cells.append(_done(cell, _picture()))
            script.after_generation(host, host.worker, cell, cells[-1], [{"voice": voice}])
        return copy(cells[0])

    told = script.report_every_cell(draw)(Generation(), values=[1.2, 0.5, 9.0]).comments.split("\n")
    assert (len(told), len(Store().takes())) == (3, 2)
    assert told[0].startswith("Sonic video of picture 1 (dynamic_scale=1.2): it waits")
    assert told[1].startswith("Sonic video of picture 1 (dynamic_scale=0.5): it waits")
    assert told[2].startswith("Sonic error (dynamic_scale=9.0): dynamic_scale=9")


def test_axes_of_the_grid(webui: Any) -> None:
    grid = ModuleType("xyz_grid.py")
    option = lambda *given, **named: SimpleNamespace(given=given, label=given[0], **named)  # noqa: E731
    grid.__dict__.update(AxisOption=option, axis_options=[], draw_xyz_grid=lambda p: p)
    webui.scripts_data = [SimpleNamespace(path="/webui/scripts/xyz_grid.py", module=grid)]
    script.add_axes()
    script.add_axes()
    assert not hasattr(grid.draw_xyz_grid.__wrapped__, "__wrapped__")
    labels = [made.label for made in grid.axis_options]
    assert len(labels) == len(set(labels)) == len(one_click.MAIN)
    assert "[Sonic] Head motion" in labels
    (engine,) = [made for made in grid.axis_options if made.label == "[Sonic] Engine"]
    assert engine.choices() == ["auto", "sonic", "preview"]
    for made in grid.axis_options:
        _, kind, apply = made.given
        p = Generation()
        apply(p, kind(Settings().to_dict()[one_click.MAIN[labels.index(made.label)]]), [])
        Settings.from_mapping(getattr(p, script.CHANGES))


class TestRemembering:
    """Which pictures the ledger knows as nobody's."""

    @staticmethod
    def _after(p: Generation, *pictures: Image.Image) -> None:
        script.remember(p, _done(p, *pictures))

    def test_every_picture_of_txt2img(self, tmp_path: Path) -> None:
        picture, other = _picture(), _picture("portrait_02.jpg")
        picture.save(tmp_path / "saved.jpg")
        picture.already_saved_as = str(tmp_path / "saved.jpg")  # type: ignore[attr-defined]
        self._after(Generation(batch_size=2), picture, other)
        saved = read_portrait(tmp_path / "saved.jpg").pixel_sha256
        for digest in (pixel_digest(np.asarray(picture)), pixel_digest(np.asarray(other)), saved):
            assert Ledger().is_synthetic(digest)

    def test_img2img_only_of_what_is_known(self) -> None:
        source, result = _picture(), _picture("portrait_02.jpg")
        p = Generation()
        p.init_images = [source]  # type: ignore[attr-defined]
        self._after(p, result)
        assert not Ledger().is_synthetic(pixel_digest(np.asarray(result)))
        self._after(Generation(), source)
        self._after(p, result)
        assert Ledger().is_synthetic(pixel_digest(np.asarray(result)))

    @pytest.mark.parametrize(
        "given",
        [
            _picture(),
            np.zeros((4, 4, 3), np.uint8),
            {"image": _picture()},
            SimpleNamespace(units=[SimpleNamespace(image={"image": np.zeros((4, 4, 3))})]),
            "data:image/png;base64,AAAA",
        ],
        ids=["picture", "array", "in a mapping", "deep inside", "as text"],
    )
    def test_not_where_another_script_was_given_a_picture(self, given: Any) -> None:
        self._after(Generation(script_args=(0, "x", given)), _picture())
        assert not Ledger().is_synthetic(pixel_digest(np.asarray(_picture())))

    def test_other_arguments_do_not_matter(self) -> None:
        unit = SimpleNamespace(image=None, weight=1.0, module="none", rest=[1, "two", None, {"a": 2}])
        self._after(Generation(script_args=(0, False, unit, "text")), _picture())
        assert Ledger().is_synthetic(pixel_digest(np.asarray(_picture())))


class TestOrders:
    """Controls and infotexts."""

    def test_what_is_pasted_back_is_what_was_ordered(self, voice: str) -> None:
        settings = {"framing": "crop", "seed": 0, "motion_scale": 1.25}
        order = one_click.read_request([{"voice": voice, "settings": settings, "pictures": "each"}], {})
        assert order is not None
        parameters = one_click.infotext(order)
        read = {name: one_click._reader(name)(parameters) for name in one_click.MAIN}
        assert read == {name: getattr(order.settings, name) for name in one_click.MAIN}
        assert one_click._pictures(parameters) == one_click.PICTURES["each"]
        assert set(parameters) <= set(one_click.infotext_names())

    def test_foreign_infotext_changes_nothing(self) -> None:
        for parameters in ({"Steps": "20"}, {"Sonic pictures": "first", "Sonic fps": "25"}):
            assert one_click._reader("framing")(parameters) in (None, "whole")
        assert one_click._asked({"Steps": "20"}) is None
        assert one_click._reader("seed")({"Sonic pictures": "first", "Sonic seed": "many"}) is None

    def test_voice_of_a_request_is_gone_afterwards(self, voice: str, speech: Path) -> None:
        order = one_click.read_request([{"voice": f"data:audio/wav;base64,{voice}"}], {})
        assert order is not None
        with order.voice_file() as path:
            assert path.read_bytes() == speech.read_bytes()
        assert not path.exists()


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
class TestAccordion:
    """With gradio, as in every WebUI, of which two kinds make its tick in ways of their own."""

    @pytest.fixture(autouse=True, params=["a1111", "forge"])
    def _gradio(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
        ui = ui_components(forge=request.param == "forge")
        monkeypatch.setitem(sys.modules, "modules.ui_components", ui)

    @staticmethod
    def _values(components: Sequence[Any], **given: Any) -> list[Any]:
        values = [component.value for component in components]
        names = ["enabled", "pictures", *one_click.MAIN, "stated", "face", "voice", "sound"]
        for name, value in given.items():
            values[names.index(name)] = value
        return values

    def _made(self, webui: Any, host: Held) -> Any:
        from sonic_ext.app.compat import gr

        made = script.script_class(lambda: host, lambda: host.worker)()
        with gr.Blocks(analytics_enabled=False):
            made.controls = made.ui(False)
        return made

    def test_untouched_controls_ask_for_nothing(self, webui: Any, host: Held) -> None:
        made = self._made(webui, host)
        assert one_click.read_request(self._values(made.controls), host.defaults()) is None

    def test_controls_make_an_order(self, webui: Any, host: Held, speech: Path, tmp_path: Path) -> None:
        made = self._made(webui, host)
        sound = tmp_path / "gradio" / "one" / "voice.wav"
        sound.parent.mkdir(parents=True)
        sound.write_bytes(speech.read_bytes())
        given = {
            "enabled": True,
            "seed": 3,
            "framing": "crop",
            "sound": str(sound),
            "pictures": "Each picture",
        }
        stated = {"stated": True, "face": "Synthetic: nobody's", "voice": "My own"}
        order = one_click.read_request(self._values(made.controls, **given, **stated), host.defaults())
        assert order is not None
        assert (order.settings.seed, order.settings.framing, order.each) == (3, "crop", True)
        assert order.settings.min_resolution == 256  # the host's default, shown by the slider
        assert not order.settings.lip_sync_calibration
        assert order.consent is not None
        assert (str(order.consent.face), str(order.consent.voice)) == ("synthetic", "self")

    def test_no_path_comes_from_a_request(self, webui: Any, host: Held, speech: Path) -> None:
        made = self._made(webui, host)
        values = self._values(made.controls, enabled=True, sound=str(speech))
        with pytest.raises(BadAudio, match="not a file that was uploaded"):
            one_click.read_request(values, host.defaults())

    def test_consent_needs_both_bases(self, webui: Any, host: Held) -> None:
        made = self._made(webui, host)
        values = self._values(made.controls, enabled=True, stated=True, face="My own")
        with pytest.raises(ConsentMissing):
            one_click.read_request(values, host.defaults())

    def test_number_out_of_range_stops_no_picture(self, webui: Any, host: Held) -> None:
        """gradio would refuse the WebUI's own *Generate*, of which these controls are inputs."""
        made = self._made(webui, host)
        seed = made.controls[2 + one_click.MAIN.index("seed")]
        values = self._values(made.controls, enabled=True, seed=seed.preprocess(-5))
        with pytest.raises(BadSetting, match="seed=-5"):
            one_click.read_request(values, host.defaults())

    def test_pasted_fields_are_controls(self, webui: Any, host: Held) -> None:
        made = self._made(webui, host)
        assert {control for control, _ in made.infotext_fields} <= set(made.controls)
        parameters = {"Sonic pictures": "each", "Sonic motion_scale": "1.5"}
        pasted = {control.elem_id: read(parameters) for control, read in made.infotext_fields}
        assert pasted["script_txt2img_sonic_motion_scale"] == 1.5
        assert pasted["script_txt2img_sonic-checkbox"] is True
        assert pasted["script_txt2img_sonic_pictures"] == "Each picture"

    def test_missing_part_is_said_in_its_place(
        self, webui: Any, host: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sonic_ext.app.compat import gr

        monkeypatch.setattr(host, "defaults", lambda: {"no_such_setting": 1})
        made = script.script_class(lambda: host, lambda: host.worker)()
        with gr.Blocks(analytics_enabled=False) as blocks:
            assert made.ui(True) == []
        said = " ".join(str(getattr(block, "value", "")) for block in blocks.blocks.values())
        assert "no_such_setting" in said


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
def test_buttons_stand_beside_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")
    from sonic_ext.app import compat

    made: list[SimpleNamespace] = []
    ui = ModuleType("modules.ui_components")

    def button(text: str, elem_id: str, tooltip: str = "") -> SimpleNamespace:
        made.append(SimpleNamespace(elem_id=elem_id))
        return made[-1]

    ui.__dict__["ToolButton"] = button
    monkeypatch.setattr(compat.gr, "Button", button)
    for module in (ModuleType("modules"), ui):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    told = script.Buttons()
    for name in ("extras_tab", "txt2img_gallery", "txt2img_send_to_extras", "pnginfo_image", "extras_tab"):
        told(SimpleNamespace(elem_id=name), elem_id=name)
    told(SimpleNamespace(elem_id="extras_tab"), elem_id="extras_tab")
    assert [each.elem_id for each in made] == ["txt2img_send_to_sonic", "pnginfo_send_to_sonic"]
    assert all(each.do_not_save_to_config for each in made)


def test_answer_is_plain_json(host: Held, voice: str) -> None:
    processed = _ask(host, {"voice": voice}, _picture())
    assert json.loads(json.dumps(processed.extra_generation_params))["Sonic id"]
