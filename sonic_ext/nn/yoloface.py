"""YOLOv5-face as a TorchScript file that the user has: an alternative to the built-in detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import MissingPart
from ..media.detection import FaceDetection
from ..media.yoloface import faces, grids, input_size


class YoloFace:
    """The detector.

    Raises:
        MissingPart: the file is missing or no TorchScript.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.device = device
        try:
            # From bytes: torch cannot open non-ASCII paths on Windows.
            with path.open("rb") as file:
                self.network = torch.jit.load(file, map_location=device).eval()
        except (OSError, RuntimeError, ValueError) as error:
            raise MissingPart(
                f"The face detector {path.name} cannot be read ({type(error).__name__}).",
                "Fetch it again, or remove it: the built-in detector needs no file.",
            ) from error

    def find(self, rgb: NDArray[np.uint8]) -> list[FaceDetection]:
        """Faces in a uint8 [height, width, 3] picture: most certain first, without points."""
        height, width = rgb.shape[:2]
        rows, columns = input_size(height, width)
        fitted = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_LINEAR)
        x = torch.from_numpy(fitted.astype(np.float32) / 255).permute(2, 0, 1)[None].to(self.device)
        places = [torch.from_numpy(grid).to(self.device) for grid in grids(rows, columns)]
        with torch.inference_mode():
            answer = self.network(x, places)
        return faces(answer[0].float().cpu().numpy(), height, width)
