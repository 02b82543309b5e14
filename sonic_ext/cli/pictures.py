"""Pictures that commands write beside their outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadOutput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_picture(path: Path, overwrite: bool) -> None:
    """Refuse a place that a PNG could not be written to; for asking before the work.

    Raises:
        BadOutput: another ending, exists already, or its folder is missing or not writable.
    """
    from ..files.atomic import check_target

    if path.suffix.lower() != ".png":
        raise BadOutput(f"{path} does not end in .png.", "Give a name such as out.png.")
    check_target(path, overwrite)


def write_png(path: Path, rgb: NDArray[np.uint8], overwrite: bool) -> None:
    """Write uint8 RGB [height, width, 3] whole or not at all.

    Raises:
        BadOutput: it cannot be written.
    """
    from PIL import Image

    from ..files.atomic import atomic_write

    try:
        with atomic_write(path, overwrite) as part:
            Image.fromarray(rgb).save(part, format="PNG")
    except OSError as error:
        raise BadOutput(
            f"{path} cannot be written: {error.strerror or error}.", "Choose another place, or make room."
        ) from error
