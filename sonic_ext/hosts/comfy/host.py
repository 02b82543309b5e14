"""ComfyUI as a `ports.Host`: its folders, its queue, its progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...configuration import Configuration
from ...errors import BadOutput
from ...ports import DeviceManager, Portraits, Result
from ...progress import Progress, Step
from ..modules import ComfyModule, comfyui
from .devices import ComfyDeviceManager
from .turns import in_turn
from .values import NodeEngine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "sonic"
"""Below ComfyUI's models and outputs."""
FOLDER_KEY = "sonic_ext"
"""Our folders in ComfyUI's list of models, which `extra_model_paths.yaml` may add to."""
LENT = ("checkpoints", "diffusion_models", "vae", "clip_vision", "audio_encoders", "sonic", FOLDER_KEY)
"""Kinds of ComfyUI's folders that weights are looked for in."""
SHOWN = 512
"""Longest side of a picture beside the progress bar, in pixels."""


class ComfyUI:
    """The `Host` of a ComfyUI.

    Args:
        given: the networks that are linked to the nodes that work is done for.
        held: the turn is ours already, as inside a node.
    """

    name = "comfyui"
    slots = 1
    portraits: Portraits | None = None

    def __init__(self, given: NodeEngine | None = None, held: bool = False) -> None:
        self.lane = f"comfyui {folders().base_path}"
        self._devices = ComfyDeviceManager(given)
        self.devices: DeviceManager | None = self._devices
        self._held = held

    def outputs(self) -> Path:
        """See `Host.outputs`: below ComfyUI's own."""
        folder = Path(folders().get_output_directory()) / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadOutput(
                f"The folder {folder} cannot be made: {error.strerror or error}.",
                "Start ComfyUI with another --output-directory.",
            ) from error
        return folder

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """See `Host.work`: what ComfyUI's queue does not carry out waits there for its turn."""
        if self._held:
            return self._done(progress, task)
        return in_turn(progress, lambda: self._done(progress, task))

    def _done(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        with self._devices.visit():
            return task(ComfyProgress(progress))

    def configuration(self) -> Configuration:
        """See `Host.configuration`: the environment's, with ComfyUI's folders."""
        return Configuration.from_environment().overridden(
            host_models=folders().models_dir,
            checkpoints=os.pathsep.join(model_folders()),
        )

    def defaults(self) -> Mapping[str, Any]:
        """See `Host.defaults`: the settings' own."""
        return {}

    def credentials(self) -> Mapping[str, str]:
        """See `Host.credentials`: ComfyUI asks for none."""
        return {}


class ComfyProgress:
    """A `Progress` that also moves ComfyUI's bar and heeds its Interrupt.

    Args:
        inner: whoever asked for the work.
    """

    def __init__(self, inner: Progress) -> None:
        self.inner = inner
        self._bar = comfyui(ComfyModule.UTILS).ProgressBar(1)
        self._stopped = False

    def report(self, step: Step) -> None:
        """Tell whoever asked, and set the bar."""
        self.inner.report(step)
        self._move(step.done, step.total)

    def cancelled(self) -> bool:
        """Once true, true for good: ComfyUI forgets its flag when it has been asked about."""
        self._stopped = (
            self._stopped
            or self.inner.cancelled()
            or bool(comfyui(ComfyModule.MEMORY).processing_interrupted())
        )
        return self._stopped

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Put a stamped frame below the bar."""
        from PIL import Image

        shown = ("JPEG", Image.fromarray(picture), SHOWN)
        self._move(self._bar.current, self._bar.total, shown)

    def _move(self, *values: Any) -> None:
        """Set the bar. Where Interrupt was pressed it raises and forgets that; work ends by `cancelled`."""
        memory = comfyui(ComfyModule.MEMORY)
        try:
            self._bar.update_absolute(*values)
        except memory.InterruptProcessingException:
            memory.interrupt_current_processing()


def folders() -> Any:
    """ComfyUI's module that knows its folders."""
    return comfyui(ComfyModule.FOLDERS)


def model_folders() -> list[str]:
    """Folders that weights may lie in, those of `extra_model_paths.yaml` too."""
    known = folders()
    found = (
        path for kind in LENT if kind in known.folder_names_and_paths for path in known.get_folder_paths(kind)
    )
    return list(dict.fromkeys(map(str, found)))


def served() -> list[Path]:
    """Folders that ComfyUI hands files out of, or lets be written to."""
    known = folders()
    own = (
        known.get_output_directory(),
        known.get_input_directory(),
        known.get_temp_directory(),
        known.get_user_directory(),
        known.models_dir,
    )
    listed = (path for paths, *_ in known.folder_names_and_paths.values() for path in paths)
    web = comfyui(ComfyModule.NODES).EXTENSION_WEB_DIRS.values()
    return [Path(path) for path in (*own, *listed, *web)]
