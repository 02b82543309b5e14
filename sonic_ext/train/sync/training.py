"""Training the sync networks: the levels of contrast, the steps, what is kept to go on after a stop."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BadInput, Cancelled
from ...sync.losses import (
    disentangling,
    frame_info_nce,
    gathered,
    gathered_mask,
    rank,
    semantic_info_nce,
    shifted_info_nce,
)
from ..clips import ClipInShard
from ..corpus.mixtures import Backgrounds, MixtureShares
from ..corpus.sounds import Utterance
from ..steps import restore_state, save_state, take_step
from ..temporal import learning_rate
from .batches import (
    MAX_SHIFT,
    MOMENT_SPACING,
    MOMENTS,
    ROWS,
    STRETCH,
    Passage,
    TrainingBatch,
    drawn_batch,
    passages,
)
from .network import CALIBRATION, Architecture, Encoders, unit

LEVELS = ("frame", "semantic", "style")
"""Levels of contrast: moments; what is said in a second or two; who says it."""
STATE = "state.pt"
"""In the folder of a training: where it stands."""
KEPT_EVERY = 200
"""Steps."""
POLL = 0.5
"""Seconds."""


@dataclass(frozen=True)
class SyncRecipe:
    """What is trained, on what, and for how long; with the same corpus the same
    one gives the same network on the same machine."""

    architecture: Architecture = CALIBRATION
    levels: tuple[str, ...] = LEVELS
    """Some of `LEVELS`; frames are always compared."""
    copies: int = 4
    """Times that the corpus is augmented."""
    steps: int = 500
    """Batches from each copy."""
    batch: int = 32
    rate: float = 2e-3
    shifted: float = 1.0
    """Weight of the shifted pairs beside the frames' own loss ..."""
    semantic: float = 0.3
    """... of the semantic level ..."""
    style: float = 0.2
    """... and of the style."""
    seed: int = 11
    mix: MixtureShares = field(default_factory=lambda: MixtureShares(snippet=0.0, nobody=0.0))

    @property
    def key(self) -> str:
        """SHA-256 of everything in it: what a training can be gone on with."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class SyncTrainer:
    """Networks under training."""

    def __init__(self, recipe: SyncRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.model = Encoders(recipe.architecture)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.rate, weight_decay=1e-3)
        self.step_number = 0

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.recipe.copies * self.recipe.steps

    def losses(self, learned: TrainingBatch) -> dict[str, torch.Tensor]:
        """The loss of each level for one batch."""
        sound = self.model.hear(torch.from_numpy(learned.sound))
        mouths = [self.model.see(torch.from_numpy(mouth)) for mouth in learned.mouths]
        visible = torch.from_numpy(learned.mouths[..., -1] > 0)
        heard, seen, there = gathered(unit(sound)), gathered(unit(mouths[0])), gathered_mask(visible[0])
        scale = self.model.temperature()
        at = slice(learned.moments, learned.moments + MOMENTS * MOMENT_SPACING, MOMENT_SPACING)
        found = {"frame": frame_info_nce(heard[:, at], seen[:, at], there[:, at], scale)}
        inner = slice(learned.stretch, learned.stretch + STRETCH)
        around = slice(learned.stretch - MAX_SHIFT, learned.stretch + STRETCH + MAX_SHIFT)
        found["shifted"] = shifted_info_nce(heard[:, inner], seen[:, around], there[:, around], scale)
        if not {"semantic", "style"} & set(self.recipe.levels):
            return found
        inside = _inside(learned.spans)
        voices = gathered(pooled(sound, inside))
        faces = [gathered(pooled(rows, inside & known)) for rows, known in zip(mouths, visible, strict=True)]
        shown = [gathered_mask(2 * (inside & known).sum(dim=1) >= inside.sum(dim=1)) for known in visible]
        pooled_scale = self.model.pooled_temperature()
        letters = torch.from_numpy(learned.letters)
        spoken = gathered_mask((letters > 0).any(dim=1)) & shown[0]
        if "semantic" in self.recipe.levels and spoken.any():
            text = gathered(unit(self.model.text(letters)))
            found["semantic"] = semantic_info_nce(
                voices[spoken], faces[0][spoken], text[spoken], pooled_scale
            )
        if "style" in self.recipe.levels:
            kept = torch.cat(shown)
            content = torch.arange(len(faces[0])).repeat(2)
            people = torch.cat([gathered(_apart(one)) for one in torch.from_numpy(learned.styles)])
            found["style"] = disentangling(torch.cat(faces)[kept], content[kept], people[kept], pooled_scale)
        return found

    def step(self, learned: TrainingBatch) -> dict[str, float]:
        """Learn from one batch; returns the losses.

        Raises:
            Failed: a loss is no number. Nothing was learned from it.
        """
        found = self.losses(learned)
        weights = {"frame": 1.0, **{name: getattr(self.recipe, name) for name in found if name != "frame"}}
        loss = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        rate = learning_rate(self.step_number / self.total, self.recipe.rate)
        take_step(self.optimizer, loss, rate, f"Batch {self.step_number + 1}")
        self.step_number += 1
        return {name: float(value.detach()) for name, value in found.items()}

    def save(self, path: Path, corpus: Corpus) -> None:
        """Keep everything that going on with a corpus needs, whole or not at all.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        save_state(
            path,
            self.recipe.key + corpus.key,
            step=self.step_number,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
        )

    def restore(self, path: Path, corpus: Corpus) -> None:
        """Go on from what was kept.

        Raises:
            BadInput: it is of another recipe or corpus, or damaged.
        """

        def use(found: Mapping[str, Any]) -> None:
            self.model.load_state_dict(found["model"])
            self.optimizer.load_state_dict(found["optimizer"])
            self.step_number = int(found["step"])

        restore_state(path, self.recipe.key + corpus.key, use)


def pooled(rows: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Means of [n, ROWS, d] over the rows where `inside` (bool [n, ROWS]), of unit length, [n, d]."""
    counts = inside.sum(dim=1, keepdim=True).clamp(min=1)
    return unit(torch.einsum("nr,nrd->nd", inside.float(), rows) / counts)


def _inside(spans: NDArray[np.int64]) -> torch.Tensor:
    """Which rows each span has, bool [n, ROWS]."""
    rows = np.arange(ROWS)
    return torch.from_numpy((spans[:, :1] <= rows) & (rows < spans[:, 1:]))


def _apart(people: torch.Tensor) -> torch.Tensor:
    """Numbers of people that mean nobody of another process."""
    return people + 100_000 * (rank() or 0)


@dataclass(frozen=True, eq=False)
class Corpus:
    """What is learned from: recordings by voice, real video, or both."""

    speakers: Mapping[str, Sequence[Utterance]]
    films: Sequence[ClipInShard] = ()
    """`filmed_clips`; each is read whenever it is learned from."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of how much it holds of whom: another corpus cannot be gone on with."""
        voices = sorted(
            (name, sum(len(sound) for sound, _ in lines)) for name, lines in self.speakers.items()
        )
        films = [(each.speaker, each.rows) for each in self.films]
        return hashlib.sha256(json.dumps([voices, films]).encode()).hexdigest()


def train(
    corpus: Corpus,
    recipe: SyncRecipe,
    folder: Path | None = None,
    report: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Iterator[SyncTrainer]:
    """Train; yields the trainer after every copy of the corpus.

    The next copy is heard while one is learned from. What a step learns from depends on recipe, corpus and
    the step's number alone, so that a training that was stopped goes on as if it had not been.

    Args:
        folder: where it is kept how far the training has come; gone on with from there.
        report: called after every step with its number, the number of all and the losses; may raise
            `Cancelled`.

    Raises:
        BadInput: there is nothing to learn from, or what is in `folder` does not fit.
        Failed: a loss was no number; what was kept before is left.
        Cancelled: from `report`; what was learned is kept.
    """
    trainer = SyncTrainer(recipe)
    state = folder / STATE if folder else None
    if state is not None and state.exists():
        trainer.restore(state, corpus)
    if trainer.step_number >= trainer.total:
        yield trainer
        return
    backgrounds = Backgrounds(corpus.speakers, recipe.seed) if corpus.speakers else None

    leaving = threading.Event()

    def copied(number: int) -> list[Passage]:
        rng = np.random.default_rng([recipe.seed, number])
        spoken = passages(corpus.speakers, backgrounds, recipe.mix, rng) if backgrounds else ()
        return [*itertools.takewhile(lambda _: not leaving.is_set(), spoken)]

    def drawn(number: int, known: Sequence[Passage]) -> TrainingBatch:
        rng = np.random.default_rng([recipe.seed, number, 3])
        return drawn_batch(known, corpus.films, recipe.batch, rng)

    with ThreadPoolExecutor(2) as ahead, _stopping(trainer, corpus, state, leaving):
        coming = ahead.submit(copied, trainer.step_number // recipe.steps)
        for copy in range(trainer.step_number // recipe.steps, recipe.copies):
            while not coming.done():  # the first copy takes a minute or more
                wait([coming], POLL)
                if report is not None:
                    report(trainer.step_number, trainer.total, {})
            known = coming.result()
            if not known and not corpus.films:
                raise BadInput("There is nothing to learn from.", "Give recordings of 4 s and more.")
            if copy + 1 < recipe.copies:
                coming = ahead.submit(copied, copy + 1)
            following = ahead.submit(drawn, trainer.step_number, known)
            while trainer.step_number < (copy + 1) * recipe.steps:
                learned = following.result()
                following = ahead.submit(drawn, trainer.step_number + 1, known)
                losses = trainer.step(learned)
                if state is not None and trainer.step_number % KEPT_EVERY == 0:
                    trainer.save(state, corpus)
                if report is not None:
                    report(trainer.step_number, trainer.total, losses)
            if state is not None:
                trainer.save(state, corpus)
            yield trainer


@contextlib.contextmanager
def _stopping(
    trainer: SyncTrainer, corpus: Corpus, state: Path | None, leaving: threading.Event
) -> Iterator[None]:
    """On the way out tell who hears the next copy; keep where the training stands when somebody asked it to
    stop, which happens between two steps."""
    try:
        yield
    except Cancelled:
        if state is not None:
            trainer.save(state, corpus)
        raise
    finally:
        leaving.set()
