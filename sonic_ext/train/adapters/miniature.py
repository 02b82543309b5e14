"""The clips that a miniature was trained on, for training its adapters further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...nn.unet import Level
from ...weights import bundles
from ..miniature.footage import FootageClip, read_footage
from ..miniature.recipe import MiniatureRecipe
from ..steps import restore_state
from .basis import MINIATURE
from .clips import AdapterCorpus, TrainingClip

LATENTS, FOOTAGE = "latents.pt", "footage"
"""In the folder of what a miniature's training needs to go on."""


def is_miniature(folder: Path) -> bool:
    """Whether a folder is NAME.training of a miniature."""
    return (folder / LATENTS).exists()


def weights_folder(folder: Path) -> Path:
    """NAME of NAME.training: where the miniature's weights lie."""
    return folder.with_suffix("")


def miniature_corpus(folder: Path) -> AdapterCorpus:
    """The clips of NAME.training, with who says what in them.

    Raises:
        BadInput: its latents are damaged or of another training; latents and footage do not belong together.
        MissingPart: the miniature beside it is missing or damaged.
    """
    recipe = bundles.about(weights_folder(folder))["recipe"]
    try:
        key = MiniatureRecipe(**recipe).key("latents")
    except TypeError as error:
        raise BadInput(
            f"{folder} is of another version of the miniature.", "Train it anew, or copy it whole."
        ) from error
    found: list[Mapping[str, Any]] = []
    restore_state(folder / LATENTS, key, lambda kept: found.extend(kept["clips"]))
    files = sorted((folder / FOOTAGE).glob("*.safetensors"))
    if len(files) != len(found):
        raise BadInput(
            f"{folder} has {len(files)} clips of footage and latents of {len(found)}.",
            "Train the miniature again: it makes what is missing.",
        )
    clips = []
    for file, each in zip(files, found, strict=True):
        (about,) = read_footage(file)
        levels = {size: Level(**level) for size, level in each["levels"].items()}
        clips.append(training_clip(file.stem, about, {**each, "levels": levels}))
    return AdapterCorpus.of(clips, MINIATURE)


def training_clip(name: str, footage: FootageClip, latent: Mapping[str, Any]) -> TrainingClip:
    """A clip of footage, of the values of its `LatentClip`."""
    rows, columns = latent["mouth"][0, 0].nonzero(as_tuple=True)
    return TrainingClip(
        f"{name} {footage.voice}",
        footage.identity,
        latent["latents"],
        latent["portrait"],
        latent["look"],
        tuple(latent["states"]),
        latent["ids"],
        latent["levels"],
        (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),
        footage.phonemes,
    )
