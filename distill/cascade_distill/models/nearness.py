"""Bias of the teacher's heads from the positions of a number's neighbours on its grid.

Each known neighbour adds a bias to the bins' logits that depends on the distance between the bin
and the neighbour's code. The bias is a mixture of a few kernels, the same all over the grid; the
rest of the row decides the mixture weights. The head that predicts the place inside the drawn bin
is told where the neighbour's code lies relative to that bin, if it is in that bin or next to it.
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

from cascade_distill.models.neighbourhood import Neighbourhood
from cascade_distill.models.neighbours import MASS_APART, Target

# Kernels per neighbour. Networks that are already trained have this many.
MIXTURE = 4
# Distances of a bin's middle from a code, in codes, are distinguished up to FAR: in steps of 2 up
# to CLOSE, and in steps of 8 beyond it. A kernel has one weight per step, one for all larger
# distances above, and one for a point mass equal to the neighbour. Larger distances below get no
# weight.
CLOSE, FAR = 32, 128
# Bins on each side of the drawn one in which the place of a code is still told.
BESIDE = 1
# Places of a code relative to the drawn bin, plus two for "before" and "behind" these bins.
PLACES = FINE * (1 + 2 * BESIDE) + 2
# Bins on each side of a code's bin in which a kernel varies, and the total.
SIDE = FAR // FINE
WINDOW = 2 * SIDE + 1
# Kernels are laid into a row as differences from one bin to the next. The row has one place that
# stays empty, one per point mass, the bins with room on both sides, and room for weights that are
# laid nowhere.
MASSES_FROM = 1
# Weights laid for each neighbour: around its code, beyond it, and for a point mass.
LAID = WINDOW + 1 + 2

# Pairs of weights whose difference is laid; see `Nearness.weights`.
STEPS = (
    [*range(1, WINDOW + 2), WINDOW + 2, 0],
    [*range(WINDOW + 1), 0, WINDOW + 2],
)


def step_of(distance: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the kernel weight for each distance in codes; the last index, for
    distances far below, means no weight.
    """
    size, beside = np.abs(distance), (FAR - CLOSE) // 8
    steps = np.where(
        size <= CLOSE,
        beside + (distance + CLOSE) // 2,
        np.where(
            distance < 0,
            beside - 1 - (size - CLOSE - 1) // 8,
            beside + CLOSE + 1 + (size - CLOSE - 1) // 8,
        ),
    )
    return np.where(size <= FAR, steps, np.where(distance > 0, ABOVE, KERNEL))


ABOVE = 2 * (FAR - CLOSE) // 8 + CLOSE + 1
EQUAL = ABOVE + 1
KERNEL = EQUAL + 1


class Nearness(Neighbourhood):
    """Biases for the S numbers that have neighbours, with K neighbours each."""

    def __init__(
        self, layout: TokenLayout, targets: Sequence[Target], width: int, mixture: int, fine: int
    ) -> None:
        """Create the biases.

        Args:
            layout: of the rows.
            targets: the numbers; at least one.
            width: of the teacher's stream.
            mixture: kernels per pair, M.
            fine: width of the head for places inside bins.
        """
        super().__init__(layout, targets)
        count, most = len(targets), self.numbers + self.sums
        self.shape = count, most, mixture
        # For each coarse token, its position in the row of weights.
        masses = max(target.bins_from - target.masses for target in targets)
        self.bins_at = MASSES_FROM + masses
        self.nowhere = self.bins_at + SIDE + COARSE + SIDE + 1
        self.room = self.nowhere + WINDOW + 2
        columns = []
        for target, size in zip(targets, self.sizes, strict=True):
            column = np.zeros(size, np.int64)
            few = target.bins_from - target.masses
            column[target.masses : target.bins_from] = MASSES_FROM + np.arange(few)
            bins = slice(target.bins_from, target.bins_from + COARSE)
            column[bins] = self.bins_at + SIDE + np.arange(COARSE)
            columns.append(column)
        middle = FINE * np.arange(-SIDE, SIDE + 1) + FINE // 2
        self.around: Tensor
        self.columns: Tensor
        around = step_of(middle - np.arange(FINE)[:, None])
        self.register_buffer("around", torch.from_numpy(around), persistent=False)
        columns_at = torch.from_numpy(np.concatenate(columns))
        self.register_buffer("columns", columns_at, persistent=False)
        self.gate = nn.Linear(width, count * most * mixture)
        nn.init.normal_(self.gate.weight, std=0.02)
        nn.init.constant_(self.gate.bias, 0.5)
        kernels = torch.from_numpy(bumps(mixture))
        self.kernel = nn.Parameter(kernels.repeat(count, most, 1, 1))
        # Small, so that training starts close to heads that are not told any places.
        self.place = nn.Parameter(torch.randn(count, most, PLACES, fine) * 0.1)

    def coarse(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the bias of the numbers' coarse tokens, concatenated: [n, sum of sizes].

        Args:
            x: the stream [n, width].
            seen: int64 [n, S, K].
        """
        gates = self.gate(x).float().unflatten(1, self.shape)
        laid = self._laid(gates, seen, self.kernel)
        start = torch.arange(len(self.slots), device=x.device) * self.room
        sizes = torch.tensor(self.sizes, device=x.device)
        return laid.flatten(1)[:, self.columns + start.repeat_interleave(sizes)]

    def coarse_of(self, x: Tensor, seen: Tensor, index: int) -> Tensor:
        """Return the coarse bias of one number: [n, size]; seen is int64 [n, K]."""
        count, begin = self.shape[1] * self.shape[2], sum(self.sizes[:index])
        rows = slice(index * count, (index + 1) * count)
        gates = F.linear(x, self.gate.weight[rows], self.gate.bias[rows])
        gates = gates.float().unflatten(1, (1, *self.shape[1:]))
        laid = self._laid(gates, seen.unsqueeze(1), self.kernel[index : index + 1])
        return laid[:, 0, self.columns[begin : begin + self.sizes[index]]]

    def _laid(self, gates: Tensor, seen: Tensor, kernel: Tensor) -> Tensor:
        """Weight the kernels of s numbers and lay them around the codes of their neighbours: [n, s,
        room].

        Args:
            gates: [n, s, K, M].
            seen: int64 [n, s, K].
            kernel: [s, K, M, KERNEL].
        """
        count, most, mixture = kernel.shape[:3]
        whole = self.weights(kernel.float())
        table = whole[..., STEPS[0]] - whole[..., STEPS[1]]
        table = table.reshape(count * most * FINE, mixture * LAID)
        pair = torch.arange(count * most, device=seen.device).view(count, most)
        weights = F.embedding(pair * FINE + seen % FINE, table).unflatten(3, (mixture, LAID))
        weights = (gates.unsqueeze(4) * weights).sum(dim=3)
        mass = seen // MASS_APART
        begin = torch.where((seen >= 0) & (mass == 0), self.bins_at + seen // FINE, self.nowhere)
        place = torch.where(mass > 0, MASSES_FROM - 1 + mass, self.nowhere)
        window = torch.arange(WINDOW + 1, device=seen.device)
        index = torch.cat(
            [begin.unsqueeze(3) + window, place.unsqueeze(3), place.unsqueeze(3) + 1], dim=3
        )
        out = weights.new_zeros(len(seen), count, self.room)
        return out.scatter_add(2, index.flatten(2), weights.flatten(2)).cumsum(dim=2)

    def weights(self, kernel: Tensor) -> Tensor:
        """Return the weights for each place of a code in its bin: [s, K, FINE, M, WINDOW + 3].

        In order: the weight far below (none), those of the bins around the code, the one above, and
        that of an equal point mass.

        Args:
            kernel: [s, K, M, KERNEL].
        """
        none = kernel.new_zeros(*kernel.shape[:3], 1)
        return torch.cat([kernel, none], dim=3)[..., self.steps()].transpose(2, 3)

    def steps(self) -> Tensor:
        """Return the kernel index of each entry of `weights`, KERNEL for none: int64 [FINE, WINDOW
        + 3].
        """
        index = F.pad(self.around, (1, 0), value=KERNEL)
        ends = torch.tensor([ABOVE, EQUAL], device=index.device).expand(FINE, 2)
        return torch.cat([index, ends], dim=1)

    def fine(self, seen: Tensor, coarse: Tensor) -> Tensor:
        """Return the input that the heads for places inside bins receive: [n, S, fine].

        Args:
            seen: int64 [n, S, K].
            coarse: int64 [n, S], the drawn bins.
        """
        count, most, _ = self.shape
        index = place_of(seen, (coarse - self.bins_from).unsqueeze(2))
        pair = torch.arange(count * most, device=index.device).view(count, most)
        return F.embedding(index + pair * PLACES, self.place.flatten(0, 2)).sum(dim=2)

    def fine_of(self, seen: Tensor, coarse: Tensor, position: int) -> Tensor:
        """Return this input for one number: [n, fine]; seen is int64 [n, K], coarse int64 [n]."""
        index = place_of(seen, (coarse - self.bins_from[position]).unsqueeze(1))
        pair = torch.arange(self.shape[1], device=index.device)
        return F.embedding(index + pair * PLACES, self.place[position].flatten(0, 1)).sum(dim=1)


def place_of(seen: Tensor, bins: Tensor) -> Tensor:
    """Return the places of codes relative to bins, 0 .. PLACES - 1; the ends mean "before" and
    "behind".
    """
    return (seen - FINE * bins + (FINE * BESIDE + 1)).clamp(0, PLACES - 1)


def bumps(mixture: int) -> NDArray[np.float32]:
    """Return initial kernels, each three times as wide as the one before: float32 [M, KERNEL]."""
    distance = np.arange(-FAR, FAR + 1)
    steps = step_of(distance)
    middle = np.array([distance[steps == step].mean() for step in range(ABOVE)])
    width = 4.0 * 3.0 ** np.arange(mixture)[:, None]
    inside = np.exp(-((middle / width) ** 2) / 2)
    ends = np.broadcast_to([0.0, 1.0], (mixture, 2))
    return np.concatenate([inside, ends], axis=1).astype(np.float32)
