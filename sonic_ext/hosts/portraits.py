"""Portraits made by the WebUI: its own txt2img and img2img with the chosen checkpoint."""

from __future__ import annotations

import dataclasses
import io
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Cancelled, Failed, MissingPart, OutOfMemory, SonicError
from ..ports import MadePortrait
from ..progress import Progress, Stage, Step
from . import POLL, options
from .devices import WebUIDeviceManager
from .modules import Module, webui
from .webui_queue import WebUIProgress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..media.image import Portrait

CLASSES = {
    "txt2img": "StableDiffusionProcessingTxt2Img",
    "img2img": "StableDiffusionProcessingImg2Img",
}
INNER = {
    "sd_model", "outpath_samples", "outpath_grids", "prompt_for_display", "extra_generation_params",
    "comments", "firstphase_width", "firstphase_height", "overlay_images", "do_not_reload_embeddings",
    "seed_enable_extras", "ddim_discretize", "firstpass_image", "do_not_save_samples", "do_not_save_grid",
    "init_images", "mask", "latent_mask", "sampler_index", "force_task_id",
    "override_settings_restore_afterwards",
}  # fmt: skip
"""Arguments of the WebUI's classes that are none of a caller's business, or pictures."""
SCRIPTS = ("alwayson_scripts", "script_name", "script_args", "infotext", "mask", "init_images")
"""Keys of `/sdapi` that a portrait does without."""
IGNORED = ("send_images", "force_task_id", "include_init_images")
"""Keys of `/sdapi` that say what its answer holds."""
WHOLE = {
    "width": (64, 2048),
    "height": (64, 2048),
    "steps": (1, 150),
    "batch_size": (1, 8),
    "n_iter": (1, 16),
    "seed": (-1, 2**32 - 1),
    "subseed": (-1, 2**32 - 1),
}
"""Whole numbers and their ranges, those of the WebUI's page."""
REAL = {"cfg_scale": (0.0, 30.0), "denoising_strength": (0.0, 1.0), "subseed_strength": (0.0, 1.0)}
TEXT = ("prompt", "negative_prompt", "sampler_name", "scheduler")


class WebUIPortraits:
    """See `ports.Portraits`."""

    def __init__(self, devices: WebUIDeviceManager) -> None:
        self._devices = devices

    def samplers(self) -> Sequence[str]:
        """See `Portraits.samplers`; those that the user hides are left out."""
        module = webui(Module.SAMPLERS)
        hidden = getattr(module, "samplers_hidden", ())
        return [sampler.name for sampler in module.samplers if sampler.name not in hidden]

    def check(self, parameters: Mapping[str, Any], source: bytes | None) -> None:
        """See `Portraits.check`."""
        self._checked("txt2img" if source is None else "img2img", parameters)
        if source is not None:
            read(source)

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """See `Portraits.make`."""
        kind = "txt2img" if source is None else "img2img"
        values = self._checked(kind, parameters)
        portrait = None if source is None else read(source)
        self._devices.ready_checkpoint()
        processed = self._processed(kind, values, portrait, progress)
        synthetic = portrait is None or is_known_synthetic(portrait)
        parent = "" if portrait is None else portrait.pixel_sha256
        first = processed.index_of_first_image
        pictures = zip(processed.images[first:], processed.infotexts[first:], strict=False)
        made = [_made_portrait(picture, text, kind, synthetic, parent) for picture, text in pictures]
        if not made:
            raise Cancelled
        return made

    def _checked(self, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments for the WebUI's class, all known and in range."""
        values = {key: value for key, value in parameters.items() if key not in IGNORED and value is not None}
        for key in [key for key in SCRIPTS if key in values]:
            if values.pop(key):
                raise BadInput(f"A portrait is made without {key}.", "Leave it out.")
        if "sampler_index" in values:
            values.setdefault("sampler_name", values.pop("sampler_index"))
        saved = values.pop("save_images", None)
        self._refuse_unknown(kind, values)
        checked = {key: _value(key, value) for key, value in values.items()}
        self._refuse_sampler(checked)
        _refuse_checkpoint(checked)
        keep = options.saves_portraits() if saved is None else bool(saved)
        return checked | {"do_not_save_samples": not keep, "do_not_save_grid": True}

    def _refuse_unknown(self, kind: str, values: Mapping[str, Any]) -> None:
        known_keys = arguments(_processing(kind)) - INNER
        unknown = sorted(values.keys() - known_keys)
        if unknown:
            raise BadInput(
                f"The WebUI's {kind} knows no {', '.join(unknown)}.",
                f"It takes {', '.join(sorted(known_keys))}.",
            )

    def _refuse_sampler(self, values: Mapping[str, Any]) -> None:
        name = values.get("sampler_name")
        if name and not _is_sampler(name):
            raise BadInput(f"The WebUI has no sampler {name!r}.", f"Use one of {', '.join(self.samplers())}.")

    def _processed(
        self, kind: str, values: Mapping[str, Any], portrait: Portrait | None, progress: Progress
    ) -> Any:
        shared = webui(Module.SHARED)
        state, processing = shared.state, webui(Module.PROCESSING)
        state.job_count, state.job_no, state.sampling_step, state.textinfo = -1, 0, 0, None
        with (
            closing(self._job(kind, values, portrait)) as job,
            _follow_progress(state, progress),
            _host_errors(),
        ):
            try:
                processed = processing.process_images(job)
            finally:
                shared.total_tqdm.clear()
        if state.interrupted or progress.cancelled():
            raise Cancelled
        return processed

    def _job(self, kind: str, values: Mapping[str, Any], portrait: Portrait | None) -> Any:
        """The WebUI's own object for one job; no scripts, and so none that takes the picture's place.

        A runner without scripts rather than none: reForge looks through its list without asking.
        """
        opts = webui(Module.SHARED).opts
        with _host_errors():
            job = _processing(kind)(**values)
        if portrait is not None:
            job.init_images = [_picture(portrait.rgb)]
        job.is_api = True
        job.scripts = webui(Module.SCRIPTS).ScriptRunner()
        job.outpath_samples = getattr(opts, "outdir_samples", "") or getattr(opts, f"outdir_{kind}_samples")
        job.outpath_grids = getattr(opts, "outdir_grids", "") or getattr(opts, f"outdir_{kind}_grids")
        return job


def arguments(kind: Any) -> set[str]:
    """Names that the constructor of one of the WebUI's classes takes."""
    return {field.name for field in dataclasses.fields(kind) if field.init}


def read(source: bytes) -> Portrait:
    """A picture file that was sent, as any other portrait is read.

    Raises:
        BadPortrait: no picture.
    """
    from ..media.image import read_portrait

    with tempfile.TemporaryDirectory(prefix="sonic-") as folder:
        path = Path(folder) / "source"
        path.write_bytes(source)
        return read_portrait(path)


def is_known_synthetic(portrait: Portrait) -> bool:
    """Whether the ledger knows the pixels as nobody's."""
    from ..provenance.ledger import Ledger

    return Ledger().is_synthetic(portrait.pixel_sha256)


def remember(rgb: NDArray[np.uint8], kind: str) -> None:
    """Let the ledger know that pixels were generated here, from words or from pictures that were.

    Args:
        rgb: uint8 [height, width, 3].
        kind: txt2img or img2img.
    """
    from ..media.image import pixel_digest
    from ..provenance.ledger import Ledger

    Ledger().remember_synthetic(pixel_digest(rgb), kind)


def remember_made_from(rgb: NDArray[np.uint8], parent: str, kind: str) -> None:
    """Let the ledger know that pixels were made from a picture.

    Args:
        rgb: uint8 [height, width, 3].
        parent: the other picture's pixel hash.
        kind: img2img.
    """
    from ..media.image import pixel_digest
    from ..provenance.ledger import Ledger

    Ledger().remember_made_from(pixel_digest(rgb), [parent], kind)


def _made_portrait(picture: Any, infotext: str, kind: str, synthetic: bool, parent: str) -> MadePortrait:
    import numpy as np
    from PIL.PngImagePlugin import PngInfo

    picture = picture.convert("RGB")
    if synthetic:
        remember(np.asarray(picture), kind)
    if parent:
        remember_made_from(np.asarray(picture), parent, kind)
    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("parameters", infotext)
    picture.save(file, "PNG", pnginfo=notes)
    return MadePortrait(file.getvalue(), infotext, synthetic)


def _picture(rgb: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(rgb)


def _processing(kind: str) -> Any:
    return getattr(webui(Module.PROCESSING), CLASSES[kind])


def _value(key: str, value: Any) -> Any:
    """In the WebUI's own type, and in range."""
    if key in WHOLE and not (isinstance(value, int) and not isinstance(value, bool)):
        raise BadInput(f"{key}={value!r} is not a whole number.", "Give a number.")
    if key in REAL and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise BadInput(f"{key}={value!r} is not a number.", "Give a number.")
    if key in TEXT and not isinstance(value, str):
        raise BadInput(f"{key} is not text.", "Give one text.")
    low, high = WHOLE.get(key) or REAL.get(key) or (None, None)
    if low is not None and high is not None and not low <= value <= high:
        raise BadInput(f"{key}={value} is not allowed.", f"Use {low:g} to {high:.10g}.")
    return value - value % 8 if key in ("width", "height") else value


def _is_sampler(name: str) -> bool:
    """Also with a schedule after it, as in "DPM++ 2M Karras"."""
    module = webui(Module.SAMPLERS)
    names = {**module.samplers_map, **{sampler.name.lower(): sampler.name for sampler in module.all_samplers}}
    wanted = name.lower()
    schedules = getattr(_optional(Module.SCHEDULERS), "schedulers", ())
    ends = [f" {label.lower()}" for each in schedules for label in (each.label, each.name) if label]
    return wanted in names or any(wanted.endswith(end) and wanted[: -len(end)] in names for end in ends)


def _optional(module: Module) -> Any:
    try:
        return webui(module)
    except ImportError:
        return None


def _refuse_checkpoint(values: Mapping[str, Any]) -> None:
    """The WebUI passes over a name that it does not know; the picture would be another model's."""
    overrides = values.get("override_settings", {})
    if not isinstance(overrides, Mapping):
        raise BadInput("override_settings is no list of settings.", "Give names and values.")
    name = overrides.get("sd_model_checkpoint")
    models = webui(Module.SD_MODELS)
    if name and name not in models.checkpoint_aliases:
        raise MissingPart(
            f"The WebUI has no checkpoint {name!r}.", "Choose one from its list, or put the file there."
        )


@contextmanager
def _follow_progress(state: Any, progress: Progress) -> Iterator[None]:
    """Tell whoever asked of the WebUI's steps, and the WebUI if they want to stop.

    The WebUI tells nobody of its steps while it works, so a thread looks at its bar.
    """
    asked = progress.inner if isinstance(progress, WebUIProgress) else progress
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL):
            asked.report(step_of(state))
            if asked.cancelled():
                state.interrupt()

    watcher = threading.Thread(target=watch, name="sonic-portrait", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    asked.report(step_of(state))


def step_of(state: Any) -> Step:
    """Where the WebUI's bar stands."""
    steps, jobs = max(state.sampling_steps or 0, 1), max(state.job_count or 0, 1)
    done = (state.job_no or 0) * steps + (state.sampling_step or 0)
    return Step(Stage.MAKING_PORTRAIT, min(done, steps * jobs), steps * jobs)


@contextmanager
def _host_errors() -> Iterator[None]:
    """What the WebUI raises, in our words."""
    try:
        yield
    except SonicError:
        raise
    except Exception as error:  # any: what runs inside is the WebUI's
        if _is_full(error):
            raise OutOfMemory(
                "The WebUI ran out of memory while it made the portrait.", "Use a smaller width and height."
            ) from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise Failed(f"The WebUI could not make the portrait: {said}", "Its console says more.") from error


def _is_full(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
