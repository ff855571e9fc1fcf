"""Placement of marks in the rows that a network learns from; see `codecs.following.marks` in
tables.

A row holds tokens without marks, [n, T], followed by one flag per relation, [n, R]. If a relation
holds, which of its columns carries the mark depends on which columns are known: it is the column
that became known last, because the others were known by then. Both networks are trained and sampled
this way.
"""

from __future__ import annotations

import torch
from cascade_tables import TokenLayout
from torch import Tensor, nn

# Added to the logit of a mark for each column that it lacks. No noise can outweigh it, and bfloat16
# can represent it.
FORBIDDEN = -1e4
# Larger than any token.
NO_TOKEN = 1 << 30


class Marks(nn.Module):
    """The M marks of a layout as tensors.

    Attributes:
        count: M.
    """

    def __init__(self, layout: TokenLayout) -> None:
        super().__init__()
        marks = layout.marks
        self.layout, self.count = layout, len(marks)
        self.relation: Tensor
        self.column: Tensor
        self.slot: Tensor
        self.token: Tensor
        self.rough: Tensor
        self.others: Tensor
        most = max((len(mark.others) for mark in marks), default=1)
        widest = max((len(mark.rough) for mark in marks), default=1)
        # Pad with the first of them, which adds no further condition.
        others = [[*mark.others, *[mark.others[0]] * (most - len(mark.others))] for mark in marks]
        for name, values in (
            ("relation", [mark.relation for mark in marks]),
            ("column", [mark.column for mark in marks]),
            ("slot", [mark.slot for mark in marks]),
            ("token", [mark.token for mark in marks]),
            ("rough", [[*mark.rough, *[0] * (widest - len(mark.rough))] for mark in marks]),
            ("others", others),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)
        self.first_slot: Tensor
        self.turn: Tensor
        self.leads: Tensor
        first = torch.from_numpy(layout.first_slot)
        self.register_buffer("first_slot", first, persistent=False)
        self.register_buffer("turn", torch.tensor(layout.turn), persistent=False)
        self.register_buffer("leads", first < layout.leading, persistent=False)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split rows [n, T + R] into tokens [n, T] and flags, bool [n, R]."""
        slots = len(self.layout.sizes)
        return rows[:, :slots], rows[:, slots:] != 0

    def columns(self, observed: Tensor) -> Tensor:
        """Reduce bool [n, T], equal for all slots of a column, to bool [n, C]."""
        return observed[:, self.first_slot]

    def ranks(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Return the order in which columns became known, [n, C].

        With a generator, the order is random except that leading columns come first; without one,
        it is slot order. If the layout has no marks, the generator is not used.
        """
        columns = len(self.first_slot)
        if generator is None or not self.count:
            return self.turn.cpu().expand(rows, columns)
        return torch.rand(rows, columns, generator=generator) - self.leads.cpu().float()

    def teacher_rows(self, rows: Tensor, observed: Tensor, rank: Tensor) -> Tensor:
        """Return tokens [n, T] as the teacher learns them.

        Observed columns carry marks as if they had become known in the order of `rank`; the others
        carry marks as if each were the next to be drawn.

        Args:
            rows: int64 [n, T + R].
            observed: bool [n, T].
            rank: [n, C], the order in which the observed columns became known.
        """
        tokens, flags = self.split(rows)
        if not self.count:
            return tokens
        known = self.columns(observed)
        follows = known[:, self.others].all(dim=2)
        follows &= ~known[:, self.column] | self._is_last(rank)
        return self._placed(tokens, flags, follows)

    def student_inputs(self, rows: Tensor, observed: Tensor, visible: Tensor | None) -> Tensor:
        """Return tokens [n, T] as the student sees them when they precede a slot.

        In each relation, the mark is on the last column in order that was drawn; if all columns
        were given, it is on the last of them.

        Args:
            rows: int64 [n, T + R].
            observed: bool [n, T], the given tokens.
            visible: bool [n, T], the known tokens; None: all.
        """
        tokens, flags = self.split(rows)
        if not self.count:
            return tokens
        drawn = ~self.columns(observed)
        follows = self._is_last(self.turn + drawn.shape[1] * drawn)
        if visible is not None:
            known = self.columns(visible)
            follows &= known[:, self.others].all(dim=2) & known[:, self.column]
        return self._placed(tokens, flags, follows)

    def student_targets(self, rows: Tensor, observed: Tensor) -> Tensor:
        """Return the tokens [n, T] that the student must draw, each given all slots before it and
        the observed slots after it.
        """
        tokens, flags = self.split(rows)
        if not self.count:
            return tokens
        before = self.turn[self.others] < self.turn[self.column][:, None]
        known = self.columns(observed)[:, self.others] | before
        return self._placed(tokens, flags, known.all(dim=2))

    def forbidden(self, before: bool) -> Tensor:
        """Return what each missing column adds to the logits of all tokens: float [C, sum of
        sizes].

        Args:
            before: whether columns before a mark's own may be missing; for the student they never
                are.
        """
        sizes = self.layout.sizes
        out = torch.zeros(max(self.layout.column) + 1, sum(sizes))
        for mark in self.layout.marks:
            index = sum(sizes[: mark.slot]) + mark.token
            for other in mark.others:
                if before or self.layout.turn[other] > self.layout.turn[mark.column]:
                    out[other, index] = FORBIDDEN
        return out

    def _is_last(self, rank: Tensor) -> Tensor:
        """bool [n, M]: whether a mark's column has a higher rank [n, C] than the other columns."""
        highest: Tensor = rank[:, self.others].amax(dim=2)
        return rank[:, self.column] > highest

    def _placed(self, tokens: Tensor, flags: Tensor, follows: Tensor) -> Tensor:
        """Place the marks [n, M] whose relation holds; the first wins if a slot has several."""
        stands = follows & flags[:, self.relation]
        chosen = torch.where(stands, self.token, NO_TOKEN)
        coarse = tokens[:, self.slot]
        every = torch.arange(self.count, device=tokens.device)
        rough = torch.where(stands, self.rough[every, coarse], NO_TOKEN)
        first = torch.full_like(tokens, NO_TOKEN)
        first.scatter_reduce_(1, self.slot.expand_as(chosen), chosen, "amin")
        first.scatter_reduce_(1, (self.slot + 1).expand_as(chosen), rough, "amin")
        return torch.where(first < NO_TOKEN, first, tokens)
