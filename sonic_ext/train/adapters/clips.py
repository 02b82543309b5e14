"""Latent clips: what adapters are trained on, whatever it was made from.

A clip is a talking face after everything that the training does not change: the VAE's latents, the
portrait's embedding, the speech encoder's states. Real videos become clips in `footage`, those of a miniature
are read by `miniature`; the trainer knows neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...engines.sonic.windows import BASE_FPS
from ...errors import BadInput
from ...files.atomic import replace_file
from ...nn.unet import Level
from ..phonemes import Phoneme
from .basis import LegalBasis

FORMAT, ENTRY = "sonic latent clip 1", "sonic"
"""`format` of a file, and the entry of its metadata that has all that it says of itself, as JSON."""
PATTERN = "*.safetensors"


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """One face that talks, 12.5 frames a second."""

    name: str
    speaker: str
    latents: torch.Tensor
    """The VAE's unscaled means, float32 [n, 4, height, width]."""
    portrait: torch.Tensor
    """The same of the portrait, [1, 4, height, width]."""
    look: torch.Tensor
    """The portrait's embedding, [1, 1, width]."""
    states: tuple[torch.Tensor, ...]
    """Of the speech encoder, [steps, layers, width] at 50 steps a second, once for each hearing: alone, and
    where there is a second one, among other sounds."""
    ids: torch.Tensor
    """Frames per second, head bucket and expression bucket, [3]."""
    levels: Mapping[int, Level]
    """The face mask for each of the UNet's grids."""
    mouth: tuple[int, int, int, int]
    """Left, top, right and bottom of the mouth in latents; right and bottom lie outside."""
    phonemes: tuple[Phoneme, ...] = ()
    """What is said, where it is known."""

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class ClipEntry:
    """What is known of a clip without reading it."""

    speaker: str
    frames: int
    sha256: str
    """Of what is learned from it."""


@dataclass(frozen=True)
class AdapterCorpus:
    """What adapters are trained on, and on what ground."""

    clips: Sequence[TrainingClip]
    """In memory, or `ClipFiles`."""
    entries: tuple[ClipEntry, ...]
    """Of each clip."""
    basis: LegalBasis

    @classmethod
    def of(cls, clips: Sequence[TrainingClip], basis: LegalBasis) -> AdapterCorpus:
        """Of clips in memory."""
        return cls(
            clips, tuple(ClipEntry(each.speaker, len(each), clip_sha256(each)) for each in clips), basis
        )

    @classmethod
    def in_folder(cls, folder: Path, basis: LegalBasis) -> AdapterCorpus:
        """Of the clips in a folder, which are not read yet.

        Raises:
            BadInput: a file is no clip, or cut off.
        """
        clips = ClipFiles(folder)
        return cls(clips, clips.entries(), basis)

    @property
    def key(self) -> str:
        """SHA-256 of all that is learned from: another corpus cannot be gone on with."""
        values = [[each.speaker, each.frames, each.sha256] for each in self.entries]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        """For an overlay's metadata."""
        return {
            "sha256": self.key,
            "clips": len(self.entries),
            "speakers": len({each.speaker for each in self.entries}),
            "seconds": round(sum(each.frames for each in self.entries) / BASE_FPS, 1),
        }

    def usable(self, window: int) -> list[int]:
        """Numbers of the clips that are as long as a window.

        Raises:
            BadInput: there is none.
        """
        found = [number for number, each in enumerate(self.entries) if each.frames >= window]
        if not found:
            raise BadInput(
                f"None of {len(self.entries)} clips has the {window} frames that the network sees at once.",
                f"Give videos with a face that talks for {window / BASE_FPS:.1f} s and more.",
            )
        return found


class ClipFiles(Sequence[TrainingClip]):
    """The clips of a folder, read when they are learned from.

    Raises (every method):
        BadInput: a file is no clip, or cut off.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob(PATTERN))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: Any) -> Any:
        """The clip of a number, or the clips of a slice."""
        if isinstance(number, slice):
            return [read_clip(path) for path in self.paths[number]]
        return read_clip(self.paths[number])

    def entries(self) -> tuple[ClipEntry, ...]:
        """Of each clip, from the files' headers."""
        return tuple(_entry(path) for path in self.paths)


def write_clip(path: Path, clip: TrainingClip) -> None:
    """Write a clip, whole or not at all; latents and states in half precision.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        "latents": clip.latents.half(),
        "portrait": clip.portrait.half(),
        "look": clip.look.float(),
        "ids": clip.ids.float(),
        **{f"states.{number}": states.half() for number, states in enumerate(clip.states)},
        **{f"level.{size}": level.weights.float() for size, level in clip.levels.items()},
    }
    about = {
        "format": FORMAT,
        "name": clip.name,
        "speaker": clip.speaker,
        "frames": len(clip),
        "mouth": clip.mouth,
        "phonemes": _phoneme_values(clip),
        "sha256": clip_sha256(clip),
    }
    metadata = {ENTRY: json.dumps(about)}
    replace_file(path, save({key: value.contiguous() for key, value in tensors.items()}, metadata))


def read_clip(path: Path) -> TrainingClip:
    """The clip of a file.

    Raises:
        BadInput: it is none, or cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            if about.get("format") != FORMAT:
                raise ValueError("another format")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        left, top, right, bottom = about["mouth"]
        return TrainingClip(
            about["name"],
            about["speaker"],
            tensors["latents"].float(),
            tensors["portrait"].float(),
            tensors["look"],
            tuple(tensors[key].float() for key in sorted(tensors) if key.startswith("states.")),
            tensors["ids"],
            {
                int(key.removeprefix("level.")): Level(value)
                for key, value in tensors.items()
                if key.startswith("level.")
            },
            (left, top, right, bottom),
            tuple(Phoneme(*each) for each in about["phonemes"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _no_clip(path) from error


def clip_sha256(clip: TrainingClip) -> str:
    """SHA-256, in hex, of a clip's name and contents in half precision."""
    digest = hashlib.sha256(json.dumps([clip.name, clip.mouth, _phoneme_values(clip)]).encode())
    for tensor in (clip.latents, clip.portrait, clip.look, *clip.states, clip.ids):
        digest.update(tensor.half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _phoneme_values(clip: TrainingClip) -> list[tuple[str, float, float]]:
    return [(each.name, each.start, each.end) for each in clip.phonemes]


def _entry(path: Path) -> ClipEntry:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
        return ClipEntry(about["speaker"], about["frames"], about["sha256"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _no_clip(path) from error


def _no_clip(path: Path) -> BadInput:
    return BadInput(f"{path} is no clip, or cut off.", "Delete it, and what is missing is made again.")
