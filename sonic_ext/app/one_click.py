"""The accordion in txt2img and img2img: what the user fills in, and what an API client sends instead.

Both become a `ScriptRequest`. In a request the only argument is a mapping:

    {"voice": "<base64>", "pictures": "first", "settings": {"min_resolution": 384},
     "consent": {"face": "synthetic", "voice": "self"}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import BadAudio, BadInput, BadSetting
from ..fields import Spec
from ..settings import PRESETS, Settings, describe
from . import form, uploads

if TYPE_CHECKING:
    from ..provenance.consent import Consent
    from .form import Control

MAIN = (
    "engine", "min_resolution", "framing", "expand_ratio", "dynamic_scale", "motion_scale",
    "inference_steps", "seed",
)  # fmt: skip
"""Settings that have a control of their own here; the others keep the user's defaults."""
PICTURES = {"first": "The first picture", "each": "Each picture"}
"""What is animated → what the user chooses."""
WHERE = "The picture speaks; results are in the tab Sonic under History."
BY_MEANING = {
    "My own": "self",
    "The person agreed": "authorised",
    "Synthetic: nobody's": "synthetic",
    "The estate agreed": "estate",
}
"""What the user chooses → basis of a consent."""
PICTURES_KEY = "Sonic pictures"
"""In every infotext of a request, so that pasting one knows that settings left out are the usual ones."""
KEYS = ("enabled", "voice", "pictures", "preset", "settings", "consent")
"""What a request may hold."""
STATED = ("face", "voice", "purpose", "expires", "contact", "operator", "subject", "unlike_reason")
"""Fields of the consent that a request may state. `evidence` is a file, and no request names files."""
MAX_VOICE = 64 * 2**20
"""Largest sound in a request, in bytes."""


@dataclass(frozen=True)
class ScriptRequest:
    """Animate the pictures of a generation."""

    settings: Settings
    voice: Path | bytes
    """The sound file: uploaded already, or its bytes."""
    each: bool
    """Every picture of the batch, or the first only."""
    consent: Consent | None
    """Export at once under it; None keeps the video in the private folder."""

    @contextmanager
    def voice_file(self) -> Iterator[Path]:
        """Where the sound lies, for as long as it is needed."""
        if isinstance(self.voice, Path):
            yield self.voice
            return
        with TemporaryDirectory(prefix="sonic-voice-") as folder:
            path = Path(folder) / "voice"
            path.write_bytes(self.voice)
            yield path


def read_request(
    values: Sequence[Any], defaults: Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> ScriptRequest | None:
    """What the controls say, or the one mapping that a request gives; None where nothing is asked for.

    Args:
        values: of the controls, in the order of `Accordion.components`.
        defaults: the user's own, by name of setting.
        changes: settings that something else decides, such as an axis of a grid.

    Raises:
        BadInput: an unknown key, a voice that is missing or not base64.
        BadSetting: a setting that there is not, or that does not fit.
        ConsentMissing: a basis is missing.
    """
    if values and isinstance(values[0], Mapping):
        return _from_request(values[0], defaults, changes or {})
    if not values or not values[0]:
        return None
    return _from_controls(values, defaults, changes or {})


def infotext(request: ScriptRequest) -> dict[str, str]:
    """`Sonic …` → value for the WebUI's infotext: what is animated, and settings that are not the usual."""
    usual, given = Settings().to_dict(), request.settings.to_dict()
    changed = {f"Sonic {name}": str(value) for name, value in given.items() if value != usual[name]}
    return {PICTURES_KEY: "each" if request.each else "first"} | changed


def _from_request(
    asked: Mapping[str, Any], defaults: Mapping[str, Any], changes: Mapping[str, Any]
) -> ScriptRequest | None:
    _refuse_unknown("Sonic", asked, KEYS)
    if not asked.get("enabled", True):
        return None
    pictures = asked.get("pictures", "first")
    if pictures not in PICTURES:
        raise BadInput(f"pictures={pictures!r} is not known.", f"Use one of {', '.join(PICTURES)}.")
    named = _mapping(asked, "settings")
    preset = asked.get("preset", "standard")
    if preset not in PRESETS:
        raise BadSetting(f"There is no preset {preset!r}.", f"Known presets: {', '.join(PRESETS)}.")
    settings = Settings.from_mapping({**defaults, **PRESETS[preset], **named, **changes})
    stated = _mapping(asked, "consent")
    _refuse_unknown("Sonic's consent", stated, STATED)
    return ScriptRequest(settings, _decoded(asked.get("voice")), pictures == "each", _consent(stated))


def _from_controls(
    values: Sequence[Any], defaults: Mapping[str, Any], changes: Mapping[str, Any]
) -> ScriptRequest:
    _, pictures, *rest = values
    main, (stated, face, voice, *sounds) = rest[: len(MAIN)], rest[len(MAIN) :]
    controls = {control.name: control for control in form.controls()}
    named = {name: form.given(controls[name], value) for name, value in zip(MAIN, main, strict=True)}
    settings = Settings.from_mapping({**defaults, **named, **changes})
    bases = {"face": BY_MEANING.get(face or "", ""), "voice": BY_MEANING.get(voice or "", "")}
    consent = _consent(bases if stated else {})
    return ScriptRequest(settings, _uploaded(sounds), pictures == PICTURES["each"], consent)


def _consent(stated: Mapping[str, Any]) -> Consent | None:
    """Checked now, so that it is said before there is a video."""
    if not stated:
        return None
    from ..provenance.consent import Consent

    consent = Consent.from_mapping(stated)
    consent.check()
    return consent


def _uploaded(sounds: Sequence[Any]) -> Path:
    from .file_guard import uploaded

    given = [str(each) for each in sounds if each]
    if not given:
        raise BadAudio("Sonic needs a voice.", "Add a sound file in the accordion Sonic.")
    if not uploaded(given[0]):
        raise BadAudio("The voice is not a file that was uploaded.", "In a request, send it as base64.")
    return Path(given[0])


def _decoded(voice: Any) -> bytes:
    if not isinstance(voice, str) or not voice:
        raise BadAudio("Sonic needs a voice.", "Send a sound file as base64 under voice.")
    if len(voice) * 3 // 4 > MAX_VOICE:
        raise BadAudio(f"The voice is larger than {MAX_VOICE >> 20} MB.", "Send a shorter or smaller file.")
    return uploads.decoded(voice, "The voice")


def _mapping(asked: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = asked.get(key) or {}
    if not isinstance(value, Mapping):
        raise BadInput(f"{key} is not a mapping.", 'Send it as {"name": value}.')
    return dict(value)


def _refuse_unknown(whose: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise BadInput(f"{whose} knows no {name!r}.", f"Known: {', '.join(known)}.")


class Accordion:
    """The controls, in the WebUI's own theme.

    Args:
        prefix: of the elements' ids, such as script_txt2img_sonic.
        defaults: the user's own, by name of setting.
        input_accordion: the WebUI's component of that name, whose header holds a tick.
    """

    def __init__(self, prefix: str, defaults: Mapping[str, Any], input_accordion: Callable[..., Any]) -> None:
        from . import compat, html
        from .compat import gr

        self._prefix = prefix
        self.enabled = input_accordion(False, label="Sonic", elem_id=prefix)
        with self.enabled, gr.Column(elem_classes="sonic-one") as column:
            gr.HTML(html.style(), elem_classes="sonic-style")
            gr.HTML(f"<p>{html.spoken(WHERE)}</p>")
            self.sounds = compat.audio_inputs("Speech", f"{prefix}_voice")
            choices = list(PICTURES.values())
            self.pictures = gr.Radio(
                choices, value=choices[0], label="Pictures to animate", elem_id=f"{prefix}_pictures"
            )
            self._lay_out_settings(defaults)
            self._lay_out_consent()
        compat.keep_from_defaults(column, [self.pictures, *self.main.values()])

    def _lay_out_settings(self, defaults: Mapping[str, Any]) -> None:
        from .compat import gr

        shown = form.shown(Settings.from_mapping(defaults))
        controls = {control.name: replace(control, value=shown[control.name]) for control in form.controls()}
        with (
            gr.Accordion("Sonic settings", open=False),
            gr.Column(elem_classes="sonic-settings"),
        ):
            self.main = {name: _component(_unlimited(controls[name]), self._prefix) for name in MAIN}

    def _lay_out_consent(self) -> None:
        from ..provenance.consent import NOTICE
        from . import html
        from .compat import gr

        with gr.Accordion("Consent: export at once", open=False):
            gr.HTML(f'<p class="sonic-notice">{html.spoken(NOTICE)}</p>')
            with gr.Row():
                self.face = gr.Dropdown(list(BY_MEANING), label="The face is", elem_id=f"{self._prefix}_face")
                self.voice = gr.Dropdown(
                    list(BY_MEANING), label="The voice is", elem_id=f"{self._prefix}_voice_basis"
                )
            self.stated = gr.Checkbox(
                False, label="I state that this is true.", elem_id=f"{self._prefix}_stated"
            )

    @property
    def components(self) -> list[Any]:
        """Inputs of the script, in the order that `read_request` reads."""
        return [
            self.enabled, self.pictures, *self.main.values(), self.stated, self.face, self.voice,
            *self.sounds,
        ]  # fmt: skip

    @property
    def pasted(self) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
        """Control → what an infotext's parameters mean for it; None leaves it as it is."""
        fields = [(made, _reader(name)) for name, made in self.main.items()]
        return [(self.enabled, _asked), (self.pictures, _pictures), *fields]


def _unlimited(control: Control) -> Control:
    """A number field that takes every number.

    gradio refuses the whole event for one that is out of range, and here that is the WebUI's own *Generate*,
    even while the box *Animate with Sonic* is not ticked.
    """
    return replace(control, low=None, high=None) if control.kind == "number" else control


def _component(control: Control, prefix: str) -> Any:
    """The gradio component of one control; `prefix` begins its element's id."""
    from .compat import gr

    common = {"label": control.label, "info": control.help, "elem_id": f"{prefix}_{control.name}"}
    if control.kind in ("radio", "dropdown"):
        kind = gr.Radio if control.kind == "radio" else gr.Dropdown
        return kind([*control.choices], value=control.value, **common)
    if control.kind == "slider":
        return gr.Slider(control.low, control.high, value=control.value, step=control.step, **common)
    return gr.Number(value=control.value, precision=0 if control.whole else None, **common)


def infotext_names() -> list[str]:
    """Every name that a picture's infotext may hold for `Accordion.pasted`."""
    return [PICTURES_KEY, *(f"Sonic {name}" for name in MAIN)]


def _asked(parameters: Mapping[str, Any]) -> bool | None:
    return True if PICTURES_KEY in parameters else None


def _pictures(parameters: Mapping[str, Any]) -> str | None:
    return PICTURES.get(str(parameters.get(PICTURES_KEY)))


def _reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Reads one setting; what does not fit is left alone, as the infotext may come from anywhere."""

    def read(parameters: Mapping[str, Any]) -> Any:
        if PICTURES_KEY not in parameters:
            return None
        given = parameters.get(f"Sonic {name}")
        try:
            return getattr(Settings.from_mapping({} if given is None else {name: given}), name)
        except BadSetting:
            return None

    return read


def main_specs() -> dict[str, tuple[Spec, type]]:
    """Main setting → its `Spec` and the type of its values, for the grid of the WebUI."""
    known, usual = describe(), Settings()
    return {name: (known[name], type(getattr(usual, name))) for name in MAIN}
