"""One voice out of a track's channels, wherever it is in them.

Ordinary sound is mixed as FFmpeg mixes its layout. That loses a voice which lies where no loudspeaker of the
front is (the low-frequency channel, the sixteenth of a recorder), and cancels one that two channels hold with
opposite sign. So the channels are looked at in the band of speech: over the whole track for which of them
hold anything, and block by block for which of them work against the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from .samples import Filters

SPEECH = (100.0, 4000.0)
"""Hz between which channels are compared."""
COMPARED_RATE = 8000
"""Samples a second, about, that are enough for it."""
DEAD, DEAD_OF_MANY = 1e-4, 1e-3
"""A channel with less than this share of the loudest one's power holds nothing (-40 dB; -30 dB of more than
two, which dilute each other)."""
LOST = 0.1
"""Share of power (-10 dB) below which a mix has lost what it is made of, or channels of weight leave room
for others."""
OPPOSED = 0.5
"""Two channels cancel each other when their correlation is below minus this ..."""
AUDIBLE = 0.05
"""... and the weaker one has at least this share of the other's power."""
PREFERRED = 4.0
"""The channel that was used alone stays so until another has so many times its power: no flapping."""
CANCELLING = 0.03
"""Share of the sound's power in blocks that cancel from which they are mended: less is a room's width ..."""
MOMENT, LOUD = 20, 0.03
"""... unless it is most of two seconds together, within 15 dB of the loudest blocks."""
FEW = (3, 0.01)
"""Number or share of blocks that may be louder than "the loudest": clicks and slips."""
OVERSHOOT = 1.5
"""Full scale is exceeded as much as this by decoders and mastering (+3.5 dB); beyond, the scale is off."""
CLICK = 30.0
"""Peaks in so few blocks that are so many times above all others are damage."""
HEADROOM = 2.0
"""How far above the others the full scale is put then."""
LARGEST = 1e30
"""Samples beyond are taken for infinite: their squares would be."""
OFFSET = 0.02
"""A constant of this share of full scale is taken out (-34 dBFS)."""


@dataclass(frozen=True)
class Mix:
    """How the sound of a file is made from the samples of a track; the default is as FFmpeg does it."""

    track: int = 0
    """Number among the file's sound tracks."""
    weights: tuple[float, ...] = ()
    """Each channel's part of the mono mix, adding up to 1; empty: as the layout has it."""
    offsets: tuple[float, ...] = ()
    """Each channel's constant, in the file's numbers, which is taken out; empty: none."""
    scale: float = 1.0
    """What the file's numbers are multiplied with."""
    clip: bool = False
    """Whether samples beyond full scale are clicks to be clipped."""
    mended: bool = False
    """Whether channels are left out of the mono mix while they cancel others in it."""
    mono: bool = False
    """Whether both sides of a stereo mix are the mono mix, because little would be left of them together."""

    def matrix(self, layout: str, channels: int, sides: int) -> NDArray[np.float64]:
        """Weights [sides, channels] of one or two sides; no row adds up to more than 1."""
        if sides == 2 and channels == 2:
            return np.eye(2)
        plain = layout_weights(layout, channels, sides)
        if len(self.weights) != channels:
            return plain
        weights = np.array(self.weights)
        if sides == 1:
            return weights[None]
        rows = np.where(weights > 0, plain, 0.0)
        unplaced = (weights > 0) & ~rows.any(axis=0)
        rows[:, unplaced] = weights[unplaced]
        rows /= rows.sum(axis=1).max()
        rows[~rows.any(axis=1)] = weights
        return rows

    def applied(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """A block of the file's numbers [channels, samples], to scale and around zero."""
        if len(self.offsets) == len(block):
            block = block - np.array(self.offsets, np.float32)[:, None]
        if self.scale != 1.0:
            block = block * np.float32(self.scale)
        return np.clip(block, -1.0, 1.0) if self.clip else block


def mixed(
    mix: Mix, blocks: Iterable[NDArray[np.float32]], rate: int, layout: str, sides: int
) -> Iterator[NDArray[np.float32]]:
    """float32 [sides, samples] for each block [channels, samples] of one rate and layout."""
    if mix.mended and sides == 1:
        yield from _mended(mix, blocks, rate, layout)
        return
    matrix: NDArray[np.float32] | None = None
    for block in blocks:
        if matrix is None:
            matrix = mix.matrix(layout, len(block), sides).astype(np.float32)
            plain = len(matrix) == len(block) and np.array_equal(matrix, np.eye(sides))
        yield mix.applied(block) if plain else matrix @ mix.applied(block)


def _mended(
    mix: Mix, blocks: Iterable[NDArray[np.float32]], rate: int, layout: str
) -> Iterator[NDArray[np.float32]]:
    """The mono mix of each block without the channels that are opposed in it or beside it.

    The weights fade from block to block.
    """
    weights = before = kept = None
    seen = ((block, speech_covariance(block, rate)) for block in blocks)
    nothing = (np.zeros((0, 0), np.float32), np.zeros(()))
    for (block, covariance), (_, following) in pairwise(chain(seen, (nothing,))):
        plain = mix.matrix(layout, len(block), 1)[0]
        now = unopposed(covariance + following, plain, kept)
        both = now if before is None else now & before
        before, kept = now, both if (plain * both).any() else now
        chosen = plain * kept * (plain.sum() / (plain * kept).sum())
        yield _faded(mix.applied(block), chosen if weights is None else weights, chosen)
        weights = chosen


@lru_cache(maxsize=64)
def layout_weights(layout: str, channels: int, sides: int) -> NDArray[np.float64]:
    """FFmpeg's own weights [sides, channels] of a layout, so that nothing clips.

    All alike where it has none, as for a sphere of microphones.
    """
    filters = Filters(
        ("aresample", "48000:rematrix_maxval=1"),
        ("aformat", f"sample_fmts=fltp:channel_layouts={'mono' if sides == 1 else 'stereo'}"),
    )
    impulses = np.eye(channels, dtype=np.float32).reshape(1, -1)
    try:
        frame = av.AudioFrame.from_ndarray(impulses, "flt", layout)
        frame.sample_rate = 48000
        answer = np.concatenate([*filters(frame), *filters.flush()], axis=1).astype(np.float64)
    except (av.error.FFmpegError, ValueError):
        answer = np.zeros((sides, channels))
    return answer if answer.any(axis=1).all() else np.full((sides, channels), 1 / channels)


def speech_covariance(block: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """What channels have in common in the band of speech, [channels, channels]; zeros of one channel."""
    channels = len(block)
    step = max(1, rate // COMPARED_RATE)
    count = block.shape[1] // step
    if channels == 1 or not count:
        return np.zeros((channels, channels))
    window, band = _band(count, rate / step)
    coarse = block[:, : count * step].reshape(channels, count, step) @ np.full(step, 1 / step, np.float32)
    spectrum = np.fft.rfft(coarse * window, axis=1)[:, band]
    return np.asarray((spectrum @ spectrum.conj().T).real)


@lru_cache(maxsize=64)
def _band(count: int, rate: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    frequencies = np.fft.rfftfreq(count, 1 / rate)
    return np.hanning(count), (frequencies >= SPEECH[0]) & (frequencies <= SPEECH[1])


def unopposed(
    covariance: NDArray[np.float64], weights: NDArray[np.float64], before: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Which channels can be mixed without cancelling each other, bool [channels].

    Louder channels first; one that is opposed to what is mixed already is left out: in the louder one there
    is what both hold, whatever else they hold.

    Args:
        covariance: of the channels [channels, channels].
        weights: each one's part of the mix.
        before: which were kept last, if any were.
    """
    shared = covariance * np.outer(weights, weights)
    kept = np.ones(len(weights), bool)
    if shared.min() >= 0:
        return kept
    powers = np.diag(shared)
    preferred = 1.0 if before is None else np.where(before, PREFERRED, 1.0)
    order = np.argsort(-powers * preferred, kind="stable")
    chosen: list[int] = []
    for channel in order:
        power = shared[np.ix_(chosen, chosen)].sum()
        common = shared[chosen, channel].sum()
        opposed = common < -OPPOSED * np.sqrt(power * powers[channel])
        kept[channel] = not (opposed and powers[channel] > AUDIBLE * power)
        if kept[channel]:
            chosen.append(int(channel))
    return kept


def heard_weights(covariance: NDArray[np.float64], plain: NDArray[np.float64]) -> tuple[float, ...]:
    """Weights of a mono mix in which nothing is lost, adding up to 1; empty where `plain` is one.

    Channels without sound dilute no others, and one that the layout leaves out is mixed in where the others
    hold next to nothing.
    """
    powers = np.diag(covariance)
    alive = powers >= (DEAD if len(powers) <= 2 else DEAD_OF_MANY) * powers.max(initial=0.0)
    weights = plain * alive if (plain * alive).any() else alive.astype(np.float64)
    weights = weights / weights.sum()
    loudest = weights.max() ** 2
    lost = alive & (weights**2 < LOST * loudest) & (weights**2 @ powers < LOST * loudest * powers)
    weights = np.where(lost, weights.max(), weights)
    weights = weights / weights.sum()
    return () if np.allclose(weights, plain, atol=1e-3) else tuple(weights.tolist())


class ChannelSurvey:
    """What is to be known of a track's samples before they are mixed, gathered as they pass by."""

    def __init__(self) -> None:
        self.layout = ""
        """At the beginning."""
        self._highest = self._lowest = self._sum = np.zeros(0)
        self._covariance = np.zeros((0, 0))
        self._swings: list[float] = []
        self._powers: list[float] = []
        self._opposed: list[bool] = []
        self._lost: list[bool] = []
        self._count = 0

    @property
    def channels(self) -> int:
        """At the beginning; 0 before it."""
        return len(self._sum)

    @property
    def offsets(self) -> NDArray[np.float64]:
        """Each channel's mean, [channels]."""
        return np.asarray(self._sum / max(self._count, 1))

    def watched(
        self, blocks: Iterable[NDArray[np.float32]], rate: int, layout: str
    ) -> Iterator[NDArray[np.float32]]:
        """The same blocks [channels, samples] of one rate and layout, noted.

        Raises:
            NotFinite: samples that are not.
        """
        before = np.zeros(())
        for block in blocks:
            highest, lowest = block.max(axis=1), block.min(axis=1)
            # A NaN is neither: it makes both comparisons false.
            if not (highest.max() <= LARGEST and lowest.min() >= -LARGEST):
                raise NotFinite(block)
            self._swings.append(float((highest - lowest).max()) / 2)
            if not self.layout:
                self.layout, self._highest, self._lowest = layout, highest, lowest
                self._sum, self._covariance = np.zeros(len(block)), np.zeros((len(block), len(block)))
            if layout == self.layout and len(block) == self.channels:
                self._highest = np.maximum(self._highest, highest)
                self._lowest = np.minimum(self._lowest, lowest)
                self._sum = self._sum + block.shape[1] * block.mean(axis=1)
                self._count += block.shape[1]
                if len(block) > 1:
                    covariance = speech_covariance(block, rate)
                    self._compare(covariance, before)
                    before = covariance
            yield block

    def mix(self, track: int) -> Mix:
        """How a track of such samples is to be mixed."""
        if not self._count:
            return Mix(track)
        weights = heard_weights(self._covariance, layout_weights(self.layout, self.channels, 1)[0])
        return Mix(track, weights, *self._levels(), self._often(self._opposed), self._often(self._lost))

    def _compare(self, covariance: NDArray[np.float64], before: NDArray[np.float64]) -> None:
        self._covariance += covariance
        plain = layout_weights(self.layout, self.channels, 1)[0]
        power = float(np.diag(covariance) @ plain**2)
        self._powers.append(power)
        self._opposed.append(not unopposed(covariance + before, plain, None).all())
        self._lost.append(float(plain @ covariance @ plain) < LOST * power)

    def _often(self, cancelling: list[bool]) -> bool:
        """Whether these blocks are more than moments."""
        powers, chosen = np.array(self._powers), np.array(cancelling, bool)
        if not chosen.any():
            return False
        loud = chosen & (powers > LOUD * _loudest(self._powers))
        together = np.convolve(loud, np.ones(MOMENT)).max()
        return bool(together > MOMENT / 2 or powers[chosen].sum() > CANCELLING * powers.sum())

    def _levels(self) -> tuple[tuple[float, ...], float, bool]:
        """`Mix.offsets`, `Mix.scale`, `Mix.clip`."""
        swing, usual = max(self._swings), _loudest(self._swings)
        if usual > 0 and swing > max(OVERSHOOT, CLICK * usual):
            return (), 1.0 if usual <= OVERSHOOT else 1 / (HEADROOM * usual), True
        offsets = np.where(np.abs(self.offsets) > OFFSET * max(1.0, swing), self.offsets, 0.0)
        peak = float(np.maximum(self._highest - offsets, offsets - self._lowest).max())
        return tuple(offsets.tolist()) if offsets.any() else (), 1.0 if peak <= OVERSHOOT else 1 / peak, False


class NotFinite(Exception):
    """A block with samples that are NaN or infinite."""

    def __init__(self, block: NDArray[np.float32]) -> None:
        odd = ~(np.abs(block) <= LARGEST)
        self.index = int(odd.any(axis=0).argmax())
        """Of the first one, in the block."""
        self.kind = "not a number (NaN)" if np.isnan(block[:, self.index]).any() else "infinite"
        super().__init__(self.kind)


def _loudest(blocks: list[float]) -> float:
    """The highest of the numbers but for a few, which may be clicks."""
    few = max(FEW[0], math.ceil(FEW[1] * len(blocks)))
    return sorted(blocks)[-few - 1 :][0]


def _faded(
    block: NDArray[np.float32], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A block [channels, samples] mixed with weights that go from `start` to `end`, [1, samples]."""
    if np.array_equal(start, end):
        return end.astype(np.float32)[None] @ block
    ramp = np.linspace(0.0, 1.0, block.shape[1], dtype=np.float32)
    both = np.stack([start, end]).astype(np.float32) @ block
    return np.asarray(both[:1] * (1 - ramp) + both[1:] * ramp)
