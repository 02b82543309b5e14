"""Pictures to and from the other tabs of a WebUI.

In: the browser fetches the picture that a gallery shows and hands its bytes over, so that no path comes from
a request. Out: the picture goes into the WebUI's own img2img input, pixel by pixel. The browser's half is
`javascript/sonic.js`.
"""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, SonicError, as_error
from . import compat
from .compat import gr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..provenance.take import Take

TAKEN = "() => [sonic_taken()]"
"""JavaScript that gives what a click under a gallery has fetched, as a data URL; empty without a picture."""
MOMENT = "(...known) => sonic_moment(known)"
"""JavaScript that replaces the last input by the second at which the shown video stands."""


@dataclass(frozen=True)
class Doors:
    """The WebUI's own components that a picture can be sent to."""

    img2img: Any
    """The picture input of img2img; takes a PIL image."""
    opened: str = "switch_to_img2img"
    """Name of the WebUI's JavaScript function that shows it."""


class Letterbox:
    """Takes what is sent from the galleries and puts it into the portrait input.

    Args:
        portrait: the component that it goes to.
    """

    def __init__(self, portrait: Any) -> None:
        self._portrait = portrait
        with gr.Row(elem_classes="sonic-unseen"):
            self.text = gr.Textbox(label="Sent picture", elem_id="sonic_sent")
            self.button = gr.Button("Take", elem_id="sonic_receive")
        # Not queued: what goes through a queue must fit into one message of a web socket.
        self.button.click(self.take, self.text, portrait, **compat.prompt(), **compat.script(TAKEN))

    def take(self, sent: str) -> str:
        """The portrait input's new value; gradio's error where there is nothing to take."""
        try:
            return self._file(sent)
        except Exception as problem:
            raise compat.red(as_error(problem)) from problem

    def _file(self, sent: str) -> str:
        if not sent:
            raise BadInput("There is no picture to send to Sonic.", "Make or choose one first.")
        data = compat.data_url_bytes(sent)
        suffix = mimetypes.guess_extension(sent[len("data:") :].partition(";")[0]) or ".png"
        return compat.kept(self._portrait, data, f"portrait{suffix}")


class Outbox:
    """Sends portrait and frames to img2img.

    Args:
        doors: where to.
    """

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def portrait_button(self, portrait: Any) -> None:
        """A button that sends the portrait."""
        button = gr.Button("Send portrait to img2img", size="sm", elem_id="sonic_portrait_to_img2img")
        self._wire(button, self.portrait, [portrait])

    def frame_button(self, take: Any, exported: Any) -> Any:
        """A button that sends the frame that is shown: of the exported video, or of the stamped preview.

        Args:
            take: state with the id of the take.
            exported: state with the path of the exported video, or "".
        """
        moment = gr.Number(0, visible=False)
        button = gr.Button(
            "Send frame to img2img", size="sm", visible=False, elem_id="sonic_frame_to_img2img"
        )
        self._wire(button, self.frame, [take, exported, moment], **compat.script(MOMENT))
        return button

    def _wire(self, button: Any, fn: Any, inputs: list[Any], **options: Any) -> None:
        sent = button.click(fn, inputs, self._doors.img2img, **compat.prompt(), **options)
        # The picture stands at the top of that tab, and the button may be far below.
        show = f"() => {{ {self._doors.opened}(); scrollTo(0, 0); }}"
        sent.success(None, None, None, **compat.script(show))

    def portrait(self, path: str | None) -> Any:
        """The portrait as the WebUI wants it, a PIL image."""
        from ..media.image import read_portrait

        try:
            if not path:
                raise BadInput("There is no portrait to send.", "Add or make one first.")
            return _pil(read_portrait(path).rgb)
        except Exception as problem:
            raise compat.red(as_error(problem)) from problem

    def frame(self, take_id: str, exported: str, moment: float | None) -> Any:
        """The frame as the WebUI wants it, a PIL image."""
        from ..media.image import pixel_digest
        from ..provenance.ledger import Ledger
        from ..provenance.store import Store

        try:
            if not take_id:
                raise BadInput("There is no video to take a frame from.", "Generate one first.")
            take = Store().load(take_id)
            frame = frame_at(Path(exported) if exported else take.preview, take, moment or 0.0)
            Ledger().remember_made_from(pixel_digest(frame), [take.portrait_pixel_sha256], "frame")
            return _pil(frame)
        except Exception as problem:
            raise compat.red(as_error(problem)) from problem


def frame_at(video: Path, take: Take, seconds: float) -> NDArray[np.uint8]:
    """The frame shown `seconds` after the start, uint8 RGB [height, width, 3]; the last one after the end.

    Raises:
        BadVideo: the file is gone or damaged.
    """
    from ..media.video import read_frames

    number = min(max(int(seconds * take.fps + 1e-3), 0), take.frames - 1)
    frames = read_frames(video, number + 1)
    found = next(islice(frames, number, None), None)
    if found is None:
        raise SonicError(f"{video.name} has no frame {number + 1}.", "Make the video again.")
    return found


def _pil(rgb: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(rgb)
