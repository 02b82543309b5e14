"""Files that commands write beside their outcome: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    with _writing(path, overwrite) as part:
        Image.fromarray(rgb).save(part, format="PNG")


def write_json(path: Path, values: Mapping[str, Any], overwrite: bool) -> None:
    """Write plain JSON whole or not at all.

    Raises:
        BadOutput: it cannot be written.
    """
    with _writing(path, overwrite) as part:
        part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _writing(path: Path, overwrite: bool) -> Iterator[Path]:
    from ..files.atomic import atomic_write

    try:
        with atomic_write(path, overwrite) as part:
            yield part
    except OSError as error:
        raise BadOutput(
            f"{path} cannot be written: {error.strerror or error}.", "Choose another place, or make room."
        ) from error
