"""ComfyUI's IMAGE, AUDIO and VIDEO as this package's portraits, speech and files."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadAudio, BadInput, BadPortrait, BadVideo
from ...media.audio import Speech
from ...media.image import Portrait, from_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def portraits_of(images: Any) -> list[Portrait]:
    """The pictures of an IMAGE, float [n, height, width, 3 or 4] of 0 to 1.

    Rounding gives the pixels of the file that ComfyUI read them from: so a portrait that was made or revoked
    elsewhere on this computer is known by them here, too.

    Raises:
        BadPortrait: no such tensor; otherwise as `from_array`.
    """
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[-1] not in (3, 4) or not len(pixels):
        raise BadPortrait(
            f"The image has the shape {list(pixels.shape)}.", "Give an IMAGE, such as Load Image makes."
        )
    return [from_array(_rgb(each), f"picture-{number}.png") for number, each in enumerate(pixels, 1)]


def speeches_of(audio: Mapping[str, Any], silence: bool = False) -> list[Speech]:
    """The sounds of an AUDIO: `waveform`, float [n, channels, samples], and `sample_rate`.

    Args:
        silence: whether nothing but silence will do, for somebody who only listens.

    Raises:
        BadAudio: no such mapping; otherwise as `Speech.from_samples`.
    """
    try:
        sounds, rate = np.asarray(audio["waveform"], np.float32), int(audio["sample_rate"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadAudio("The audio is none.", "Give an AUDIO, such as Load Audio makes.") from error
    if sounds.ndim != 3 or not sounds.size:
        raise BadAudio(
            f"The audio has the shape {list(sounds.shape)}.", "Give an AUDIO, such as Load Audio makes."
        )
    return [Speech.from_samples(np.ascontiguousarray(each.T), rate, silence=silence) for each in sounds]


def voices_of(
    audio: Mapping[str, Any], second: Mapping[str, Any] | None, count: int
) -> list[tuple[Speech, Speech | None]]:
    """Who speaks in each of so many pictures: one person, or two where there is a second AUDIO.

    Raises:
        BadAudio: see `speeches_of`.
        BadInput: there are neither as many sounds as pictures nor one for all.
    """
    first = _for_each(speeches_of(audio, silence=second is not None), count)
    if second is None:
        return [(each, None) for each in first]
    return list(zip(first, _for_each(speeches_of(second, silence=True), count), strict=True))


def _for_each(sounds: list[Speech], count: int) -> list[Speech]:
    if len(sounds) not in (1, count):
        raise BadInput(
            f"There are {count} pictures and {len(sounds)} sounds.",
            "Give one sound for all pictures, or one for each.",
        )
    return sounds * (count // len(sounds))


@contextmanager
def video_file(video: Any) -> Iterator[Path]:
    """A VIDEO's own file, or its bytes in a file that goes with the block. Nothing is encoded anew where
    there is a file: its marks are in it.

    Raises:
        BadVideo: it has none and cannot be written.
    """
    with TemporaryDirectory(prefix="sonic-video-") as folder:
        path = Path(folder) / "video.mp4"
        try:
            source = video.get_stream_source()
        except ValueError:  # of pictures and sound alone, which have no file yet
            source = None
        try:
            if source is None:
                video.save_to(str(path))
            elif isinstance(source, io.IOBase):
                with path.open("wb") as file:
                    source.seek(0)
                    shutil.copyfileobj(source, file)
        except (OSError, ValueError, RuntimeError) as error:
            raise BadVideo(
                f"The video cannot be read: {error}.", "Give one that Load Video reads."
            ) from error
        yield path if source is None or isinstance(source, io.IOBase) else Path(source)


@contextmanager
def picture_file(image: Any) -> Iterator[Path]:
    """The first picture of an IMAGE as a file that goes with the block."""
    with TemporaryDirectory(prefix="sonic-picture-") as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(portraits_of(image[:1])[0].data)
        yield path


def _rgb(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]; transparency is laid on mid grey, as in a file."""
    colour = pixels[..., :3]
    if pixels.shape[-1] == 4:
        opaque = pixels[..., 3:]
        colour = colour * opaque + (128 / 255) * (1 - opaque)
    return np.rint(np.clip(np.nan_to_num(colour), 0, 1) * 255).astype(np.uint8)
