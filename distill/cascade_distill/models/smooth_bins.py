"""Networks that learn of a number's bins what holds for many sooner than what holds for one.

A head with a weight for each bin by itself has to learn each bin from the few rows that lie in it:
of 8,000 rows 130 a bin, and 8 in each of the places inside. So it soon learns those rows by heart.
Here the weights of a slot's bins are sums of cosines over their ranks, and the faster a cosine, the
less a step of training changes it: what is learnt of a bin holds for those around it, unless the
rows go on to say otherwise. Nothing is ruled out, and biases stay a bin's own, so that how often
each bin occurs is as free as before. The cosines are those of the discrete cosine transform
(DCT-II; Ahmed, Natarajan and Rao, "Discrete Cosine Transform", IEEE Trans. Computers 1974); they
are orthogonal, and as many as there are bins.

The same goes for what a teacher is told of a number: the faster a Fourier feature of its rank, the
less a step of training changes how it is weighed, and the bin that the head of its places is told
is told in waves.

It is a matter of training alone: trained weights are folded into plain ones, which is what is kept,
exported and asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from cascade_tables import TokenLayout
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cascade_distill.models.features import HALF_WAVES, fine_slot_of

if TYPE_CHECKING:
    from cascade_distill.models.student import Student
    from cascade_distill.models.teacher import Denoiser


# Of 2, fast waves are learnt soon enough to know rows by heart; docs/adr/0035 has what was tried.
STEEPNESS = 4
# Rows of the tables for which the defaults of `Smoothness` were chosen.
MEASURED_ROWS = 8_000


@dataclass(frozen=True)
class Smoothness:
    """How soon cosines become slow to learn, as the number of half-waves over all ranks.

    A cosine of so many is learnt half as fast as the constant, one of twice as many a seventeenth
    as fast; of infinitely many, none is slow.

    Attributes:
        bins: over the bins of a number.
        places: over the places inside a bin.
        told: over the ranks of a number that the network is told.
    """

    bins: float = 8.0
    places: float = 2.0
    told: float = 4.0

    def for_rows(self, rows: int) -> Smoothness:
        """The same for a table of so many rows to learn from, where these are for `MEASURED_ROWS`
        or fewer: of more rows, finer shapes can be told from chance, and are learnt sooner."""
        more = max(1.0, rows / MEASURED_ROWS)
        # A number is told to fix others, exactly where they are functions of it: with rows enough
        # to see that, no wave may stay slow.
        finer = math.sqrt(more)
        return Smoothness(finer * self.bins, finer * self.places, more * self.told)


def speed(half_waves: Tensor, half: float) -> Tensor:
    """How fast cosines are learnt, of the constant's 1.

    Args:
        half_waves: of each cosine, over all ranks.
        half: of one that is learnt half as fast; see `Smoothness`.
    """
    return 1 / (1 + (half_waves / half) ** STEEPNESS)


def waves(size: int, half_waves: float) -> Tensor:
    """The DCT-II over `size` ranks, a column each, the slowest first, scaled by how fast each is
    learnt: float32 [size, size].

    Args:
        size: ranks.
        half_waves: see `Smoothness`.
    """
    middle = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    number = torch.arange(size, dtype=torch.float64)
    cosines = torch.cos(math.pi * middle[:, None] * number)
    return (cosines * speed(number, half_waves)).float()


def waves_over(size: int, groups: Sequence[tuple[int, int]], half_waves: float) -> Tensor:
    """What makes the weights of tokens of which some have an order: [size, size]; the others keep a
    weight of their own.

    Args:
        size: tokens.
        groups: of tokens that follow each other in rank, the first of each group and how many.
        half_waves: see `Smoothness`.
    """
    matrix = torch.eye(size)
    for first, tokens in groups:
        own = slice(first, first + tokens)
        matrix[own, own] = waves(tokens, half_waves)
    return matrix


class _WavesOverBins(nn.Module):
    """Weights [rows, width] of a linear layer, of which some rows are bins of numbers.

    Args:
        bins: int64 [numbers, COARSE], the rows that are bins, in order of rank.
        rows: of the layer.
        half_waves: see `Smoothness`.
    """

    def __init__(self, bins: Tensor, rows: int, half_waves: float) -> None:
        super().__init__()
        self.bins: Tensor
        self.others: Tensor
        self.place: Tensor
        self.waves: Tensor
        is_bin = torch.zeros(rows, dtype=torch.bool)
        is_bin[bins.reshape(-1)] = True
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("others", torch.nonzero(~is_bin)[:, 0], persistent=False)
        # Where each row lies among those of bins, followed by the others.
        order = torch.cat([bins.reshape(-1), self.others])
        self.register_buffer("place", order.argsort(), persistent=False)
        self.register_buffer("waves", waves(COARSE, half_waves), persistent=False)

    def forward(self, heights: Tensor, others: Tensor) -> Tensor:
        """Heights of waves [numbers, COARSE, width] and the other rows, to weights."""
        of_bins = (self.waves @ heights).flatten(0, 1)
        return torch.cat([of_bins, others])[self.place]

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The heights that make these weights, and the other rows."""
        # Laid out as what a checkpoint gives back: sums in another order would differ in a bit.
        heights = torch.linalg.solve(self.waves, weight[self.bins]).contiguous()
        return heights, weight[self.others]


class _WavesOverPlaces(nn.Module):
    """Weights [numbers, width, size] of heads for the fine tokens of numbers.

    The first tokens are places inside a bin; those beyond, where a table has them, are rough parts
    of a column, and as smooth among themselves.

    Args:
        size: tokens.
        half_waves: see `Smoothness`.
    """

    def __init__(self, size: int, half_waves: float) -> None:
        super().__init__()
        self.waves: Tensor
        groups = [waves(tokens, half_waves).T for tokens in (FINE, size - FINE) if tokens > 0]
        self.register_buffer("waves", torch.block_diag(*groups), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Heights of waves [numbers, width, size] to weights."""
        return heights @ self.waves

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The heights that make these weights."""
        return torch.linalg.solve(self.waves, weight, left=False).contiguous()


class _WavesOverTokens(nn.Module):
    """Weights [size, width] of a linear layer for one slot's tokens, some of which have an order.

    The arguments are those of `waves_over`.
    """

    def __init__(self, size: int, groups: Sequence[tuple[int, int]], half_waves: float) -> None:
        super().__init__()
        self.waves: Tensor
        self.register_buffer("waves", waves_over(size, groups, half_waves), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Heights of waves [size, width] to weights."""
        # The student's gradients are as precise as its weights.
        with torch.autocast(heights.device.type, enabled=False):
            return self.waves @ heights

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The heights that make these weights."""
        return torch.linalg.solve(self.waves, weight).contiguous()


class _SlowFeatures(nn.Module):
    """Weights [width, numbers * WIDTH] of the Fourier features of numbers.

    Args:
        numbers: whose features they are.
        half_waves: see `Smoothness`.
    """

    def __init__(self, numbers: int, half_waves: float) -> None:
        super().__init__()
        self.speed: Tensor
        features = speed(torch.from_numpy(HALF_WAVES), half_waves)
        self.register_buffer("speed", features.float().repeat(numbers), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """What is learnt, to weights."""
        return heights * self.speed

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What makes these weights."""
        return weight / self.speed


class _WavesOverToldBins(nn.Module):
    """Weights [numbers, size, width]: what the head of a number's places is told of its token.

    Args:
        first: of each number, its lowest bin among its tokens.
        size: tokens that a number has at most.
        half_waves: see `Smoothness`.
    """

    def __init__(self, first: Sequence[int], size: int, half_waves: float) -> None:
        super().__init__()
        self.waves: Tensor
        every = [waves_over(size, [(bin_, COARSE)], half_waves) for bin_ in first]
        self.register_buffer("waves", torch.stack(every), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Heights of waves to weights."""
        return self.waves @ heights

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The heights that make these weights."""
        return torch.linalg.solve(self.waves, weight).contiguous()


def smooth(model: Denoiser, smoothness: Smoothness) -> None:
    """Have an untrained teacher learn smoothly of its numbers; see the module's docstring.

    What it says is the same before and after; a copy of it must not be folded while it is in use,
    since copies share their class.

    Args:
        model: changed in place; nothing is done to one without bins.
        smoothness: how smooth.
    """
    if not model.coarse:
        return
    layout = model.layout
    ends = np.cumsum([layout.sizes[slot] for slot in model.slots])
    end = dict(zip(model.slots, ends.tolist(), strict=True))
    first = [end[slot] - layout.sizes[slot] + first_bin(layout, slot) for slot in model.coarse]
    bins = torch.tensor(first)[:, None] + torch.arange(COARSE)
    rows = _WavesOverBins(bins, model.head.out_features, smoothness.bins)
    parametrize.register_parametrization(model.head, "weight", rows, unsafe=True)
    places = _WavesOverPlaces(model.fine_size, smoothness.places)
    parametrize.register_parametrization(model, "fine_out", places)
    if math.isinf(smoothness.told):
        return
    features = _SlowFeatures(len(model.numeric), smoothness.told)
    parametrize.register_parametrization(model.from_features, "weight", features)
    bins_told = [first_bin(layout, slot) for slot in model.coarse]
    told = _WavesOverToldBins(bins_told, model.fine_coarse.shape[1], smoothness.told)
    parametrize.register_parametrization(model, "fine_coarse", told)


def smooth_student(model: Student, smoothness: Smoothness) -> None:
    """Have an untrained student learn smooth heads for its numbers, as `smooth` does a teacher.

    Args:
        model: changed in place; nothing is done to one without bins.
        smoothness: how smooth.
    """
    layout = model.layout
    for slot, (role, size) in enumerate(zip(layout.role, layout.sizes, strict=True)):
        if role == "fine":
            groups = [(0, FINE), (FINE, size - FINE)]
            half_waves = smoothness.places
        elif fine_slot_of(layout, slot) is not None:
            groups, half_waves = [(first_bin(layout, slot), COARSE)], smoothness.bins
        else:
            continue
        groups = [(first, tokens) for first, tokens in groups if tokens > 0]
        tokens = _WavesOverTokens(size, groups, half_waves)
        parametrize.register_parametrization(model.heads[slot], "weight", tokens)


def first_bin(layout: TokenLayout, slot: int) -> int:
    """Of a coarse slot, the token that is the lowest bin: bins are the last ones before marks."""
    return layout.sizes[slot] - sum(mark.slot == slot for mark in layout.marks) - COARSE


def fold(model: nn.Module) -> None:
    """Make what smooth heads have learnt plain weights; nothing is done to a model without."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
