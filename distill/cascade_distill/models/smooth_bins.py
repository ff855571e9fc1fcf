"""Heads that learn of a number's bins what holds for many of them sooner than what holds for one.

A head with a weight for each bin by itself has to learn each bin from the few rows that lie in it:
of 8,000 rows 130 a bin, and 8 in each of the places inside. So it soon learns those rows by heart.
Here the weights of a slot's bins are sums of cosines over their ranks, and the faster a cosine, the
less a step of training changes it: what is learnt of a bin holds for those around it, unless the
rows go on to say otherwise. Nothing is ruled out, and biases stay a bin's own, so that how often
each bin occurs is as free as before. The cosines are those of the discrete cosine transform
(DCT-II; Ahmed, Natarajan and Rao, "Discrete Cosine Transform", IEEE Trans. Computers 1974); they
are orthogonal, and as many as there are bins.

It is a matter of training alone: trained weights are folded into plain ones, which is what is kept,
exported and asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from cascade_distill.models.teacher import Denoiser


# Of 2, fast waves are learnt soon enough to know rows by heart; docs/adr/0035 has what was tried.
STEEPNESS = 4


@dataclass(frozen=True)
class Smoothness:
    """How soon cosines become slow to learn, as the number of half-waves over all ranks.

    A cosine of so many is learnt half as fast as the constant, one of twice as many a seventeenth
    as fast.

    Attributes:
        bins: over the bins of a number.
        places: over the places inside a bin.
    """

    bins: float = 8.0
    places: float = 2.0


def waves(size: int, half_waves: float) -> Tensor:
    """The DCT-II over `size` ranks, a column each, the slowest first, scaled by how fast each is
    learnt: float32 [size, size].

    Args:
        size: ranks.
        half_waves: see `Smoothness`.
    """
    middle = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    number = torch.arange(size, dtype=torch.float64)
    scale = 1 / (1 + (number / half_waves) ** STEEPNESS)
    return (torch.cos(math.pi * middle[:, None] * number) * scale).float()


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


def smooth(model: Denoiser, smoothness: Smoothness) -> None:
    """Have an untrained teacher learn smooth heads for its numbers; see the module's docstring.

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
    marks = {slot: sum(mark.slot == slot for mark in layout.marks) for slot in model.coarse}
    # Bins are the last tokens before marks.
    first = [end[slot] - marks[slot] - COARSE for slot in model.coarse]
    bins = torch.tensor(first)[:, None] + torch.arange(COARSE)
    rows = _WavesOverBins(bins, model.head.out_features, smoothness.bins)
    parametrize.register_parametrization(model.head, "weight", rows, unsafe=True)
    places = _WavesOverPlaces(model.fine_size, smoothness.places)
    parametrize.register_parametrization(model, "fine_out", places)


def fold(model: Denoiser) -> None:
    """Make what smooth heads have learnt plain weights; nothing is done to a model without."""
    for owner, name in ((model.head, "weight"), (model, "fine_out")):
        if parametrize.is_parametrized(owner, name):
            parametrize.remove_parametrizations(owner, name, leave_parametrized=True)
