"""The nodes from a portrait and speech to an exported video, in the order of a workflow.

    PreData → Lip-sync Calibration → Motion Smoothing → Generate → Consent and Export
                                           Loader ↗

No node gives a frame to another: what Generate makes lies in the private store, and can be seen stamped
until somebody has consented, in a dialog of ours, to that very video. A node's inputs stand in every
workflow, picture and history that ComfyUI writes, so none of them states a consent or names a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...engines.sonic.settings import DiffusionSettings
from ...errors import Cancelled, SonicError
from ...settings import Settings
from ..modules import ComfyModule, comfyui
from . import making
from .inputs import portraits_of, voices_of
from .turns import NODE as TURN
from .turns import take_turn
from .values import ENGINE, JOB, TAKE, NodeEngine, NodeJob, NodeTake
from .widgets import Node, io, setting_input

CATEGORY = "Sonic talking head"
OWN = "as below"
"""Value of Generate's `preset` that leaves the settings of the node as they are."""
_JOB, _TAKE, _ENGINE = io.Custom(JOB), io.Custom(TAKE), io.Custom(ENGINE)


class PreDataNode(Node):
    """Looks at portrait and speech, and says what the video will be."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtPreData",
            display_name="Sonic PreData",
            category=CATEGORY,
            description="A portrait and speech become a job; each picture of a batch becomes one.",
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="One clear face, or two with audio_2. Of a batch, each picture becomes a video.",
                ),
                io.Audio.Input("audio", tooltip="Speech. One for all pictures, or one for each."),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=36000.0,
                    step=0.04,
                    tooltip="Seconds of video; 0 follows the audio.",
                ),
                setting_input("duration_policy"),
                setting_input("min_resolution"),
                setting_input("expand_ratio"),
                setting_input("framing"),
                io.String.Input(
                    "face_box",
                    default="",
                    optional=True,
                    tooltip="left, top, right, bottom in pixels; empty finds the face.",
                ),
                io.Audio.Input(
                    "audio_2",
                    optional=True,
                    tooltip="What the second of two people says, by default the right one: as long as the "
                    "whole talk, silent while the other speaks. The preview engine draws both.",
                ),
                io.String.Input(
                    "face_box_2",
                    default="",
                    optional=True,
                    tooltip="The face of the second person, as face_box.",
                ),
            ],
            outputs=[_JOB.Output("job", display_name="job", is_output_list=True)],
            is_output_node=True,  # runs alone, and says its line again where ComfyUI has it from before
        )

    @classmethod
    def execute(cls, image: Any, audio: Any, duration: float, audio_2: Any = None, **settings: Any) -> Any:
        """Raises (as every node): SonicError, which ComfyUI shows on the node."""
        boxes = {name: settings.get(name, "").strip() or None for name in ("face_box", "face_box_2")}
        wanted = Settings.from_mapping(settings | boxes | {"duration": duration or None})
        portraits = portraits_of(image)
        voices = voices_of(audio, audio_2, len(portraits))
        jobs, said = [], []
        for number, (portrait, (first, second)) in enumerate(zip(portraits, voices, strict=True), 1):
            job = NodeJob(portrait, first, wanted, second)
            try:
                said.append(making.looked_at(job))
            except SonicError as error:
                raise _of_picture(error, number, len(portraits)) from error
            jobs.append(job)
        return io.NodeOutput(jobs, ui={"text": said})


class CalibrationNode(Node):
    """Whether mouth and voice are brought together once the video is drawn."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtCalibration",
            display_name="Sonic Lip-sync Calibration",
            category=CATEGORY,
            description="Decides before the video is drawn; Generate measures and corrects.",
            inputs=[_JOB.Input("job"), setting_input("lip_sync_calibration")],
            outputs=[_JOB.Output("changed", display_name="job")],
        )

    @classmethod
    def execute(cls, job: NodeJob, **settings: Any) -> Any:
        """See `PreDataNode.execute`."""
        return io.NodeOutput(job.changed(**settings))


class SmoothingNode(Node):
    """Whether motion is smoothed, and to how many frames a second."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtSmoothing",
            display_name="Sonic Motion Smoothing",
            category=CATEGORY,
            description="Decides before the video is drawn; Generate interpolates and filters.",
            inputs=[_JOB.Input("job"), setting_input("motion_smoothing"), setting_input("fps")],
            outputs=[_JOB.Output("changed", display_name="job")],
        )

    @classmethod
    def execute(cls, job: NodeJob, **settings: Any) -> Any:
        """See `PreDataNode.execute`."""
        return io.NodeOutput(job.changed(**settings))


class LoaderNode(Node):
    """Chooses the engine, and lends it networks that ComfyUI has loaded."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtLoader",
            display_name="Sonic Loader",
            category=CATEGORY,
            description="What draws. Without this node, Generate takes engine=auto.",
            inputs=[
                setting_input("engine"),
                setting_input("weights"),
                setting_input("precision"),
                setting_input("decoder"),
                io.Model.Input("model", optional=True, tooltip="The checkpoint that the VAE belongs to."),
                io.Vae.Input("vae", optional=True, tooltip="Of a Stable Diffusion 1.5 checkpoint."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="CLIP-ViT-H-14-laion2B-s32B-b79K."),
            ],
            outputs=[_ENGINE.Output("chosen", display_name="engine")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any = None, vae: Any = None, clip_vision: Any = None, **settings: Any) -> Any:
        """See `PreDataNode.execute`; what is missing is said here already."""
        engine = NodeEngine(settings, model, vae, clip_vision)
        return io.NodeOutput(engine, ui={"text": [making.chosen_engine(engine)]})


class GenerateNode(Node):
    """Makes the video; until it is exported, a stamped preview of it can be seen."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        presets = [OWN, *DiffusionSettings.presets]
        return io.Schema(
            "SonicExtGenerate",
            display_name="Sonic Generate",
            category=CATEGORY,
            description="Draws the video into the private store. Its preview is small and stamped.",
            inputs=[
                _JOB.Input("job"),
                _ENGINE.Input("engine", optional=True),
                io.Combo.Input(
                    "preset",
                    options=presets,
                    default=OWN,
                    tooltip="Steps, schedule, solver and shortcuts of the sonic engine; its steps win over "
                    "those below.",
                ),
                setting_input("inference_steps"),
                setting_input("dynamic_scale"),
                setting_input("motion_scale"),
                setting_input("seed", default=0, min=0, control_after_generate=True),
                setting_input("label"),
                setting_input("label_place"),
            ],
            outputs=[_TAKE.Output("take", display_name="take")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        """Another one when a video that was made here has expired or was deleted: it is made again then."""
        return making.expired_takes()

    @classmethod
    def execute(cls, job: NodeJob, preset: str, engine: NodeEngine | None = None, **settings: Any) -> Any:
        """See `PreDataNode.execute`. Without end, where the same was made before and is still there."""
        chosen = engine or NodeEngine()
        own = DiffusionSettings.presets.get(preset, {})
        wanted = job.changed(**{**chosen.settings, **settings, **own})
        with interruptible():
            take = making.make(wanted, chosen)
        return io.NodeOutput(take, ui={"sonic": [making.described(take)]})


class ExportNode(Node):
    """The gate: shows the stamped preview until this very video was consented to, and then the video."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`. No output: a video handed on would lose signature and marks."""
        return io.Schema(
            "SonicExtExport",
            display_name="Sonic Consent and Export",
            category=CATEGORY,
            description="Press Consent and export on the node once the preview is there. It is for that "
            "video alone; nothing of it is kept in the workflow.",
            inputs=[_TAKE.Input("take")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        """Another one when a consent was given or taken back."""
        return making.ledger_state()

    @classmethod
    def execute(cls, take: NodeTake) -> Any:
        """See `PreDataNode.execute`. Lets nothing out itself, and so can be run as often as one likes."""
        return io.NodeOutput(ui=making.exported(take))


class TurnNode(Node):
    """Carries out what Sonic's page asked for, when its turn has come. Not for workflows."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            TURN,
            display_name="Sonic: asked for on its page",
            category=CATEGORY,
            description="Queued by Sonic's page and API; of no use in a workflow.",
            inputs=[io.String.Input("turn")],
            outputs=[],
            is_output_node=True,
            is_deprecated=True,  # the page's menus leave such nodes out
        )

    @classmethod
    def execute(cls, turn: str) -> Any:
        """See `PreDataNode.execute`."""
        with interruptible():
            take_turn(turn)
        return io.NodeOutput()


@contextmanager
def interruptible() -> Iterator[None]:
    """Around work that ComfyUI's Interrupt stops: ComfyUI is told so in its own way."""
    try:
        yield
    except Cancelled as error:
        memory = comfyui(ComfyModule.MEMORY)
        memory.throw_exception_if_processing_interrupted()  # and forgets it
        raise memory.InterruptProcessingException from error


def _of_picture(error: SonicError, number: int, count: int) -> SonicError:
    """An error that names the picture of a batch."""
    if count == 1:
        return error
    return type(error)(f"Picture {number} of {count}: {error.message}", error.hint)
