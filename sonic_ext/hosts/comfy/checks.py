"""Nodes that look at finished videos: which marks they carry, and how far the mouth is from the voice."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...progress import Silent, Ticker
from .host import ComfyProgress
from .inputs import picture_file, video_file
from .making import gone, store, worker
from .nodes import CATEGORY, interruptible
from .values import TAKE, NodeTake
from .widgets import Node, io

_TAKE = io.Custom(TAKE)


class VerifyNode(Node):
    """Which marks a video or a picture carries, and what they amount to."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtVerify",
            display_name="Sonic Verify",
            category=CATEGORY,
            description="Signature, watermark, labels and the consent record of this computer.",
            inputs=[
                io.Video.Input(
                    "video", optional=True, tooltip="As Load Video reads it: its file is verified."
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="A screenshot, say: only its watermark is left."
                ),
            ],
            outputs=[
                io.String.Output("verdict", display_name="verdict"),
                io.String.Output("report", display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        """Never the same: records and trust lists change."""
        return math.nan

    @classmethod
    def execute(cls, video: Any = None, image: Any = None) -> Any:
        """See `PreDataNode.execute`."""
        from ...provenance.verify import verify

        if (video is None) == (image is None):
            raise BadInput("Verify needs one video or one image.", "Link one of them.")
        with ExitStack() as stack:
            path = stack.enter_context(picture_file(image) if video is None else video_file(video))
            stack.enter_context(interruptible())
            tick = Ticker(ComfyProgress(Silent()))
            found = verify(path, tick=tick, configuration=worker().host.configuration())
        return io.NodeOutput(str(found.verdict), found.text(), ui={"text": [found.text()]})


class SyncScoreNode(Node):
    """How far the mouth in a video is from the voice, and how sure that is."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `ComfyNode`."""
        return io.Schema(
            "SonicExtSyncScore",
            display_name="Sonic Sync Score",
            category=CATEGORY,
            description="Measures a take that waits for its export, or any video.",
            inputs=[
                _TAKE.Input("take", optional=True),
                io.Video.Input("video", optional=True),
            ],
            outputs=[
                io.Float.Output(
                    "offset_ms",
                    display_name="offset_ms",
                    tooltip="Positive: the mouth comes after the voice.",
                ),
                io.Float.Output(
                    "confidence",
                    display_name="confidence",
                    tooltip="0 to 1: that the offset is right within 40 ms.",
                ),
                io.String.Output("summary", display_name="summary"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, take: NodeTake | None = None, video: Any = None) -> Any:
        """See `PreDataNode.execute`."""
        from ...sync.apart import measured_apart

        if (take is None) == (video is None):
            raise BadInput("Sync Score needs one take or one video.", "Link one of them.")
        with ExitStack() as stack:
            path = _master(take) if take is not None else stack.enter_context(video_file(video))
            stack.enter_context(interruptible())
            found = measured_apart(path, Ticker(ComfyProgress(Silent())), "video")
        offset = math.nan if found["offset"] is None else found["offset"] * 1000
        return io.NodeOutput(offset, found["confidence"], found["summary"], ui={"text": [found["summary"]]})


def _master(take: NodeTake) -> Path:
    """The take's video, which no node is given."""
    if not store().holds(take.id):
        raise gone()
    return store().load(take.id).master
