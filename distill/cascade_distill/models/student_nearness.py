"""Bias of the student's logits from the positions of a number's neighbours on its grid.

This is the teacher's idea (see `nearness.py`), reduced to what a single row can afford on its way
through the slots. A coarse slot's hidden layer weights a few kernels for each neighbour, and each
bin gets the weighted kernels' value for its distance from the neighbour's code. A fine slot's
hidden layer weights a bias over its places, which is looked up by the position of the code relative
to the drawn bin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from cascade_tables import TokenLayout
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_distill.models.nearness import EQUAL, KERNEL, PLACES, bumps, place_of, step_of
from cascade_distill.models.neighbourhood import Neighbourhood
from cascade_distill.models.neighbours import CODES, MASS_APART, Target

# Kernels per neighbour.
MIXTURE = 4
# Range of distances between bins and codes. A point mass is placed so far behind a neighbour's code
# for it that no bin has this distance from any code. Distances outside the range, as to a neighbour
# that is not known, add nothing.
LEAST, EQUAL_AT = -CODES, 2 * CODES
# Place of tokens that are near to nothing: NULL and marks.
NO_PLACE = 1 << 30


def steps() -> NDArray[np.int64]:
    """Return the kernel index of each distance LEAST - 1 .. EQUAL_AT + 1; KERNEL means none.

    The ends stand for all distances beyond them.
    """
    found = step_of(np.arange(LEAST - 1, EQUAL_AT + 2))
    found[CODES - LEAST + 1 :] = KERNEL
    found[EQUAL_AT - LEAST + 1] = EQUAL
    return found


def places_of_tokens(target: Target, size: int) -> NDArray[np.int64]:
    """Return the positions of a number's coarse tokens as codes, [size]; a bin is at its middle."""
    out = np.full(size, NO_PLACE)
    masses = target.bins_from - target.masses
    out[target.masses : target.bins_from] = MASS_APART * np.arange(1, masses + 1) + EQUAL_AT
    out[target.bins_from : target.bins_from + COARSE] = FINE * np.arange(COARSE) + FINE // 2
    return out


class StudentNearness(Neighbourhood):
    """Biases for the S numbers that have neighbours, with K neighbours each.

    Attributes:
        coarse, fine: for each slot that gets a bias, the index of its number.
        told: all of those slots.
        fine_sizes: sizes of the fine slots.
    """

    def __init__(self, layout: TokenLayout, targets: Sequence[Target], head: int) -> None:
        """Create the biases.

        Args:
            layout: of the rows.
            targets: the numbers; at least one.
            head: hidden units of a slot's head.
        """
        super().__init__(layout, targets)
        self.coarse = {slot: number for number, slot in enumerate(self.slots)}
        self.fine = {slot + 1: number for number, slot in enumerate(self.slots)}
        self.told = frozenset((*self.coarse, *self.fine))
        self.fine_sizes = tuple(layout.sizes[slot + 1] for slot in self.slots)
        most = self.numbers + self.sums
        self.shape = len(targets), most, MIXTURE
        count = len(targets)
        self.gate = nn.Parameter(torch.randn(count, head, most * MIXTURE) * 0.02)
        self.gate_bias = nn.Parameter(torch.full((count, most * MIXTURE), 0.5))
        self.kernel = nn.Parameter(torch.from_numpy(bumps(MIXTURE)).repeat(count, most, 1, 1))
        self.fine_gate = nn.Parameter(torch.randn(count, head, most) * 0.02)
        self.fine_gate_bias = nn.Parameter(torch.ones(count, most))
        self.place = nn.Parameter(torch.zeros(count, most, PLACES, FINE))
        self.is_one: Tensor
        is_one = torch.cat([self.other, self.sum_other.all(dim=2)], dim=1).float()
        self.register_buffer("is_one", is_one, persistent=False)
        self.step: Tensor
        self.register_buffer("step", torch.from_numpy(steps()), persistent=False)
        self.token_at: Tensor
        widest = max(self.sizes)
        number = [np.full(widest, NO_PLACE) for _ in targets]
        for places, target, size in zip(number, targets, self.sizes, strict=True):
            places[:size] = places_of_tokens(target, size)
        self.register_buffer("token_at", torch.from_numpy(np.stack(number)), persistent=False)

    def weights_of(self, slot: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a slot's bias parameters: gate weight, gate bias, and kernels or places."""
        if slot in self.coarse:
            number = self.coarse[slot]
            return self.gate[number], self.gate_bias[number], self.kernel[number]
        number = self.fine[slot]
        return self.fine_gate[number], self.fine_gate_bias[number], self.place[number]

    def parameters_of(self, slot: int) -> tuple[int, int]:
        """Return, for a slot that gets a bias, where the first of those three is in `parameters()`,
        and the index of the slot's number.
        """
        return (0, self.coarse[slot]) if slot in self.coarse else (3, self.fine[slot])

    def bias(
        self,
        slot: int,
        hidden: Tensor,
        seen: Tensor,
        before: Tensor,
        weights: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Return the bias of a slot's logits: [n, size].

        Args:
            slot: a coarse slot of a number that has neighbours, or the fine slot after it.
            hidden: of its head [n, head].
            seen: int64 [n, S, K]; see `Neighbourhood.seen`.
            before: int64 [n], the token of the slot before; used only for a fine slot.
            weights: as `weights_of` returns them.
        """
        gate, gate_bias, of_gates = weights
        gates = torch.addmm(gate_bias, hidden, gate)
        if slot in self.fine:
            number = self.fine[slot]
            place = place_of(seen[:, number], (before - self.bins_from[number]).unsqueeze(1))
            neighbour = torch.arange(self.shape[1], device=hidden.device) * PLACES
            told = F.embedding(place + neighbour, of_gates.flatten(0, 1))
            # Neighbour positions that only pad this number contribute nothing.
            gates = gates * self.is_one[number]
            bias = (gates.unsqueeze(2) * told).sum(dim=1)
            return F.pad(bias, (0, self.fine_sizes[number] - FINE))
        number = self.coarse[slot]
        mixed = (gates.unflatten(1, self.shape[1:]).unsqueeze(3) * of_gates).sum(dim=2)
        away = self.token_at[number, : self.sizes[number]] - seen[:, number].unsqueeze(2)
        step = self.step[away.clamp(LEAST - 1, EQUAL_AT + 1) - (LEAST - 1)]
        return F.pad(mixed, (0, 1)).gather(2, step).sum(dim=1)
