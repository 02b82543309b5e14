"""The denoising loop, over any function that predicts v."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import torch

from .schedule import Moment, Schedule, denoised, scaled
from .solvers import Solver, SolverState, euler
from .windows import Plan

SCALING = 0.18215
"""Latents of the sampler per latent of the VAE."""

WIDENING = 1.4
"""Groups that widen begin at even places to this power."""


class Predict(Protocol):
    """The network with its guidance."""

    def __call__(self, x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool) -> torch.Tensor:
        """v for scaled latents.

        Args:
            x: [window, channels, height, width].
            moment: which step this is.
            frames: int64 [window], which frames of the video these are.
            first: of its group; the other steps of a window may use what this one found.

        Returns:
            The same shape as `x`.
        """


class Frames(Protocol):
    """Where a run stands between two steps, wherever that lies."""

    def frames(self, frames: torch.Tensor) -> SolverState:
        """Of these frames, int64 [window]."""


State = TypeVar("State", bound=Frames)
Left = TypeVar("Left", bound=Frames, covariant=True)
Windows: TypeAlias = Sequence[Sequence[int]]


class Gathered(Protocol[Left]):
    """What the windows of a group of steps found."""

    done: int
    """Windows that it has already."""

    def take(self, frames: torch.Tensor, found: SolverState) -> None:
        """Of the next window, int64 [window] on the CPU; frames in more than one window are averaged."""

    def state(self) -> Left:
        """After all windows."""


class Totals:
    """Sums in memory; a `Gathered`."""

    def __init__(self, frames: int) -> None:
        self.done = 0
        self._seen = torch.zeros(frames, 1, 1, 1)
        self._totals: list[torch.Tensor] = []

    def take(self, frames: torch.Tensor, found: SolverState) -> None:
        """See `Gathered`."""
        parts = found.latents, *found.history
        if not self._totals:
            self._seen = self._seen.to(found.latents)
            self._totals = [part.new_zeros(len(self._seen), *part.shape[1:]) for part in parts]
        place = frames.to(self._seen.device)
        for total, part in zip(self._totals, parts, strict=True):
            total.index_add_(0, place, part)
        self._seen.index_add_(0, place, self._seen.new_ones(len(frames), 1, 1, 1))
        self.done += 1

    def state(self) -> SolverState:
        """See `Gathered`."""
        latents, *history = (total / self._seen for total in self._totals)
        return SolverState(latents, tuple(history))


def starting_latents(portrait: torch.Tensor, noise: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """Where the sampler begins: the portrait's latent under the most noise.

    Args:
        portrait: [1, channels, height, width], the VAE's unscaled mean.
        noise: [frames, channels, height, width], standard normal.
        schedule: of the run.
    """
    return SCALING * portrait.to(noise) + schedule.sigmas[0].to(noise) * noise


def draw_noise(
    generator: torch.Generator, frames: int, size: tuple[int, int], factor: int = 8
) -> torch.Tensor:
    """Standard normal float32 latents [frames, 4, height, width], on the generator's device.

    Args:
        generator: seeded; the published inference draws noise of the picture's size first and leaves it
            unused, and so do we: that one seed means the same.
        frames: of the video.
        size: height, width of the latents.
        factor: pixels of the picture per latent.
    """
    return next(noise_parts(generator, frames, size, frames, factor))


def noise_parts(
    generator: torch.Generator, frames: int, size: tuple[int, int], together: int, factor: int = 8
) -> Iterator[torch.Tensor]:
    """The same, `together` frames at a time; the same numbers where a frame has a multiple of 16 of them."""
    height, width = size
    device = generator.device
    torch.randn((1, 3, height * factor, width * factor), generator=generator, device=device)
    for start in range(0, frames, together):
        count = min(together, frames - start)
        yield torch.randn((1, count, 4, height, width), generator=generator, device=device)[0]


def groups(steps: int, group: int, widening: bool = False, cuts: Collection[int] = ()) -> list[range]:
    """Steps that are taken together: the first alone, because it decides most, then `group` at a time.

    Args:
        steps: of the run.
        group: steps of a group, at least 1.
        widening: as many groups, but short ones first, after the uneven intervals of DeepCache (arXiv
            2312.00858): the most noise changes the network's inner layers most from step to step.
        cuts: steps that begin a group in any case.
    """
    parts, start = [range(min(1, steps))], 1
    count = math.ceil((steps - 1) / group)
    bounds = {1 + round((steps - 1) * (each / count) ** WIDENING) for each in range(1, count)}
    while start < steps:
        end = min((bound for bound in bounds if bound > start), default=steps) if widening else start + group
        end = min(end, steps, *(cut for cut in cuts if cut > start))
        parts.append(range(start, end))
        start = end
    return parts


def sample(
    predict: Predict,
    state: SolverState,
    schedule: Schedule,
    plan: Plan,
    start: int = 0,
    solver: Solver = euler,
    parts: Sequence[range] | None = None,
) -> Iterator[tuple[int, SolverState]]:
    """A solver in moving windows, in memory.

    Args:
        predict: the guided network.
        state: latents at the noise level of step `start`, [frames, channels, height, width], float32 is
            advised; and what the solver remembers there.
        schedule: of the run.
        plan: windows of each step; a group has those of its first.
        start: steps that are done already, as yielded.
        solver: of `solvers.SOLVERS`.
        parts: groups of steps that a window takes before the next window does; each step by itself, as
            published, by default.

    Yields:
        After each group, how many steps are done, and the state.

    Raises:
        ValueError: `start` lies inside a group.
    """

    parts = groups(schedule.steps, 1) if parts is None else parts
    take = WindowsInTurn(predict, schedule, solver)
    return sample_gathered(take, state, plan, lambda *_: Totals(plan.frames), parts, start)


def sample_gathered(
    take: TakeWindows,
    state: State,
    plan: Plan,
    gather: Callable[[Windows, range], Gathered[State]],
    parts: Sequence[range],
    start: int = 0,
) -> Iterator[tuple[int, State]]:
    """The same, wherever windows are taken and states lie; see `sample`.

    Args:
        take: carries windows out.
        gather: for the windows of a group of steps, what takes what they find.
    """
    if start not in {0, *(steps.stop for steps in parts)}:
        raise ValueError(f"{start} steps are done, but no group ends there")
    for steps in parts:
        if steps.start >= start:
            windows = plan.windows(steps.start)
            gathered = gather(windows, steps)
            left = map(torch.tensor, windows[gathered.done :])
            for frames, found in take(state, steps, left):
                gathered.take(frames, found)
            state = gathered.state()
            yield steps.stop, state


class TakeWindows(Protocol):
    """Carries out the windows of a group of steps, which know nothing of each other."""

    def __call__(
        self, state: Frames, steps: range, windows: Iterable[torch.Tensor]
    ) -> Iterator[tuple[torch.Tensor, SolverState]]:
        """Each window, int64 [frames] on the CPU, and where its frames stand after the steps; in order."""


@dataclass(frozen=True)
class WindowsInTurn:
    """One after the other, here; a `TakeWindows`."""

    predict: Predict
    schedule: Schedule
    solver: Solver

    def __call__(
        self, state: Frames, steps: range, windows: Iterable[torch.Tensor]
    ) -> Iterator[tuple[torch.Tensor, SolverState]]:
        """See `TakeWindows`."""
        for frames in windows:
            yield frames, self.after(state.frames(frames), steps, frames)

    def after(self, own: SolverState, steps: range, frames: torch.Tensor) -> SolverState:
        """One window after the steps."""
        for step in steps:
            moment, x = self.schedule.moment(step), own.latents
            sigma = moment.sigma.to(x)
            v = self.predict(scaled(x, sigma), moment, frames.to(x.device), step == steps.start).to(x)
            own = self.solver(own, denoised(x, v, sigma), self.schedule.sigmas, step)
        return own
