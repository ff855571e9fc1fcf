"""Smooth weights: networks learn what many bins of a number share sooner than single bins.

A head with an independent weight per bin has to learn each bin from the few rows in it: of 8,000
rows, 130 per bin and 8 per place inside a bin. It soon memorises those rows. Here, the weights of a
slot's bins are sums of cosines over their ranks, and a training step changes a cosine less the
faster it oscillates. What the network learns about one bin therefore applies to the bins around it,
unless the rows keep contradicting that. No function is ruled out, and biases stay independent per
bin, so that the frequency of each bin is as free as before. The cosines are those of the discrete
cosine transform (DCT-II; Ahmed, Natarajan and Rao, "Discrete Cosine Transform", IEEE Trans.
Computers 1974); they are orthogonal, and there are as many as bins.

The same applies to the numeric inputs of a teacher: a training step changes the weights of a
Fourier feature less the faster the feature oscillates, and the bin given to the head for places is
also represented by cosines.

This affects training only: trained weights are folded into plain weights, which are stored,
exported and served.
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


# With 2, fast cosines are learnt soon enough to memorise rows; docs/adr/0035 lists what was tried.
STEEPNESS = 4
# Rows of the tables for which the defaults of `Smoothness` were chosen.
MEASURED_ROWS = 8_000


@dataclass(frozen=True)
class Smoothness:
    """Number of half-waves over all ranks at which cosines become slow to learn.

    A cosine with this many is learnt half as fast as the constant, one with twice as many a
    seventeenth as fast. Infinity means that no cosine is slow.

    Attributes:
        bins: over the bins of a number.
        places: over the places inside a bin.
        told: over the ranks of a number in the network's input.
    """

    bins: float = 8.0
    places: float = 2.0
    told: float = 4.0

    def for_rows(self, rows: int) -> Smoothness:
        """Scale the smoothness to a table with `rows` training rows.

        The receiver's values are for tables of `MEASURED_ROWS` rows or fewer. With more rows, finer
        shapes can be distinguished from chance, and are learnt sooner. Inputs become finer faster
        than heads: a number may fix others exactly, which a slow wave delays.
        """
        more = max(1.0, rows / MEASURED_ROWS)
        finer = math.sqrt(more)
        return Smoothness(finer * self.bins, finer * self.places, more * self.told)


def speed(half_waves: Tensor, half: float) -> Tensor:
    """Return how fast cosines are learnt relative to the constant, which has speed 1.

    Args:
        half_waves: of each cosine, over all ranks.
        half: number of half-waves that is learnt half as fast; see `Smoothness`.
    """
    return 1 / (1 + (half_waves / half) ** STEEPNESS)


def waves(size: int, half_waves: float) -> Tensor:
    """Return the DCT-II over `size` ranks, scaled by learning speed: float32 [size, size].

    Each column is a cosine, the slowest first.

    Args:
        size: number of ranks.
        half_waves: see `Smoothness`.
    """
    middle = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    number = torch.arange(size, dtype=torch.float64)
    cosines = torch.cos(math.pi * middle[:, None] * number)
    return (cosines * speed(number, half_waves)).float()


def waves_over(size: int, groups: Sequence[tuple[int, int]], half_waves: float) -> Tensor:
    """Return the matrix that makes the weights of tokens, some of which are ordered: [size, size].

    Tokens outside the groups keep independent weights.

    Args:
        size: number of tokens.
        groups: groups of tokens with consecutive ranks, as the first token and the count.
        half_waves: see `Smoothness`.
    """
    matrix = torch.eye(size)
    for first, tokens in groups:
        own = slice(first, first + tokens)
        matrix[own, own] = waves(tokens, half_waves)
    return matrix


class _WavesOverBins(nn.Module):
    """Weights [rows, width] of a linear layer in which some rows are bins of numbers.

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
        # Position of each row in the concatenation of bins and other rows.
        order = torch.cat([bins.reshape(-1), self.others])
        self.register_buffer("place", order.argsort(), persistent=False)
        self.register_buffer("waves", waves(COARSE, half_waves), persistent=False)

    def forward(self, heights: Tensor, others: Tensor) -> Tensor:
        """Map the amplitudes of cosines [numbers, COARSE, width] and the other rows to weights."""
        of_bins = (self.waves @ heights).flatten(0, 1)
        return torch.cat([of_bins, others])[self.place]

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the amplitudes that make these weights, and the other rows."""
        # Use the memory layout that a checkpoint restores: sums in another order could differ in a
        # bit.
        heights = torch.linalg.solve(self.waves, weight[self.bins]).contiguous()
        return heights, weight[self.others]


class _WavesOverPlaces(nn.Module):
    """Weights [numbers, width, size] of heads for the fine tokens of numbers.

    The first tokens are places inside a bin. Any further tokens are rough parts of a column, which
    are equally smooth among themselves.

    Args:
        size: number of tokens.
        half_waves: see `Smoothness`.
    """

    def __init__(self, size: int, half_waves: float) -> None:
        super().__init__()
        self.waves: Tensor
        groups = [waves(tokens, half_waves).T for tokens in (FINE, size - FINE) if tokens > 0]
        self.register_buffer("waves", torch.block_diag(*groups), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Map the amplitudes of cosines [numbers, width, size] to weights."""
        return heights @ self.waves

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the amplitudes that make these weights."""
        return torch.linalg.solve(self.waves, weight, left=False).contiguous()


class _Waves(nn.Module):
    """Weights [..., size, width] for the tokens of slots, made of amplitudes of the same shape.

    Args:
        matrix: makes the weights; see `waves_over`. One for each leading index.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.waves: Tensor
        self.register_buffer("waves", matrix, persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Map the amplitudes of cosines to weights."""
        # Without autocast, since a student's gradients have the precision of its weights.
        with torch.autocast(heights.device.type, enabled=False):
            return self.waves @ heights

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the amplitudes that make these weights."""
        return torch.linalg.solve(self.waves, weight).contiguous()


class _SlowFeatures(nn.Module):
    """Weights [width, numbers * WIDTH] of the Fourier features of numbers.

    Args:
        numbers: how many numbers have features.
        half_waves: see `Smoothness`.
    """

    def __init__(self, numbers: int, half_waves: float) -> None:
        super().__init__()
        self.speed: Tensor
        features = speed(torch.from_numpy(HALF_WAVES), half_waves)
        self.register_buffer("speed", features.float().repeat(numbers), persistent=False)

    def forward(self, heights: Tensor) -> Tensor:
        """Map the learnt parameters to weights."""
        return heights * self.speed

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the parameters that make these weights."""
        return weight / self.speed


def smooth(model: Denoiser, smoothness: Smoothness) -> None:
    """Make an untrained teacher learn its numbers smoothly; see the module's docstring.

    The model's output does not change. Do not fold a copy of the model while the model is in use:
    copies share their class.

    Args:
        model: changed in place; unchanged if it has no bins.
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
    # The token input of the head for a number's places, for each number.
    size = model.fine_coarse.shape[1]
    groups = [[(first_bin(layout, slot), COARSE)] for slot in model.coarse]
    told = torch.stack([waves_over(size, each, smoothness.told) for each in groups])
    parametrize.register_parametrization(model, "fine_coarse", _Waves(told))


def smooth_student(model: Student, smoothness: Smoothness) -> None:
    """Give an untrained student smooth heads for its numbers, as `smooth` does for a teacher.

    Args:
        model: changed in place; unchanged if it has no bins.
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
        tokens = _Waves(waves_over(size, groups, half_waves))
        parametrize.register_parametrization(model.heads[slot], "weight", tokens)


def first_bin(layout: TokenLayout, slot: int) -> int:
    """Return the lowest bin among a coarse slot's tokens; bins are the last tokens before marks."""
    return layout.sizes[slot] - sum(mark.slot == slot for mark in layout.marks) - COARSE


def fold(model: nn.Module) -> None:
    """Fold the learnt smooth weights into plain weights; a model without smooth weights is
    unchanged.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
