"""Positions of a row's known numbers on each other's grids, in the form a network uses.

`neighbours.py` finds which numbers are close to each other and makes the tables; this module looks
rows up in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from cascade_tables import TokenLayout
from torch import Tensor, nn

from cascade_distill.models.neighbours import CODES, UNKNOWN, Target


class Neighbourhood(nn.Module):
    """Lookup of neighbour codes for the S numbers that have neighbours, K each; nothing is learnt
    here.

    A number with fewer than K neighbours is padded with itself, which is never known.

    Attributes:
        slots: coarse slots of the numbers.
        targets: the numbers.
        sizes: sizes of those slots; layout_sizes has those of all slots.
        numbers, sums: count of neighbours that are numbers, and of those that are sums or
            differences of two numbers; together they are K.
    """

    def __init__(self, layout: TokenLayout, targets: Sequence[Target]) -> None:
        """Create the lookup tables.

        Args:
            layout: of the rows.
            targets: the numbers; at least one.
        """
        super().__init__()
        self.targets, self.layout_sizes = tuple(targets), layout.sizes
        self.slots = tuple(target.slot for target in targets)
        self.sizes = tuple(layout.sizes[slot] for slot in self.slots)
        self.numbers = max(len(target.numbers) for target in targets)
        self.sums = max(len(target.sums) for target in targets)
        own = np.array(self.slots)
        slot = own[:, None].repeat(self.numbers, axis=1)
        added = own[:, None, None].repeat(self.sums, axis=1).repeat(2, axis=2)
        start, added_start = np.zeros_like(slot), np.zeros_like(added)
        widest = max(layout.sizes[s] * layout.sizes[s + 1] for s in self.slots)
        codes = [np.full(widest, UNKNOWN)]
        values = [np.full(widest, np.nan, np.float32)]
        signs = np.ones(added.shape, np.float32)
        starts: dict[int, int] = {}
        for index, target in enumerate(targets):
            for place, neighbour in enumerate(target.numbers):
                slot[index, place] = neighbour.slot
                start[index, place] = sum(map(len, codes))
                codes.append(neighbour.codes)
            for place, each in enumerate(target.sums):
                added[index, place], signs[index, place] = each.slots, each.signs
                for side, (part, value) in enumerate(zip(each.slots, each.values, strict=True)):
                    if part not in starts:
                        starts[part] = sum(map(len, values))
                        values.append(value)
                    added_start[index, place, side] = starts[part]
        edges = np.stack([target.edges for target in targets])
        size_of = np.array(layout.sizes)
        self.slot: Tensor
        self.scale: Tensor
        self.start: Tensor
        self.codes: Tensor
        self.added: Tensor
        self.added_scale: Tensor
        self.added_start: Tensor
        self.signs: Tensor
        self.values: Tensor
        self.edges: Tensor
        self.bins_from: Tensor
        self.precedes: Tensor
        self.sum_precedes: Tensor
        self.other: Tensor
        self.sum_other: Tensor
        for name, content in (
            ("slot", slot),
            ("scale", size_of[slot + 1]),
            ("start", start),
            ("codes", np.concatenate(codes)),
            ("added", added),
            ("added_scale", size_of[added + 1]),
            ("added_start", added_start),
            ("signs", signs),
            ("values", np.concatenate(values)),
            ("edges", edges),
            ("bins_from", np.array([target.bins_from for target in targets])),
            # Whether a neighbour's slots come before the number's own, and whether they differ from
            # it.
            ("precedes", slot < own[:, None]),
            ("sum_precedes", (added < own[:, None, None])),
            ("other", slot != own[:, None]),
            ("sum_other", added != own[:, None, None]),
        ):
            self.register_buffer(name, torch.as_tensor(content), persistent=False)

    def seen(self, tokens: Tensor, observed: Tensor, in_turn: bool = False) -> Tensor:
        """Return the codes of the neighbours on each number's grid: int64 [n, S, K], `UNKNOWN` if
        not known.

        Args:
            tokens: int64 [n, T].
            observed: bool [n, T].
            in_turn: whether the slots before a number's own are also known, whatever is observed.
        """
        known, both = observed[:, self.slot], observed[:, self.added]
        if in_turn:
            known, both = known | self.precedes, both | self.sum_precedes
        known, both = known & self.other, (both & self.sum_other).all(dim=3)
        pair = tokens[:, self.slot] * self.scale + tokens[:, self.slot + 1]
        numbers = self.codes[pair + self.start].where(known, UNKNOWN)
        if not self.sums:
            return numbers
        pair = tokens[:, self.added] * self.added_scale + tokens[:, self.added + 1]
        value = (self.values[pair + self.added_start] * self.signs).sum(dim=3)
        found = torch.searchsorted(
            self.edges, value.permute(1, 2, 0).flatten(1).contiguous(), right=True
        )
        codes = found.sub(1).clamp(0, CODES - 1).unflatten(1, (self.sums, -1)).permute(2, 0, 1)
        sums = codes.where(both & ~value.isnan(), UNKNOWN)
        return torch.cat([numbers, sums], dim=2)
