"""Where marks stand in rows that a network learns from; see `codecs.following.marks` of the tables.

A row holds tokens without marks, [n, T], and behind them a flag a relation, [n, R]. Which column of
a relation that holds has the mark depends on which are known: the one that became known last, since
its others were known by then. Both networks are taught so, and draw so.
"""

from __future__ import annotations

import torch
from cascade_tables import TokenLayout
from torch import Tensor, nn

# Added to the logit of a mark for each column that it lacks: no noise lifts it again, and bfloat16
# holds it.
FORBIDDEN = -1e4
# Larger than any token.
NO_TOKEN = 1 << 30


class Marks(nn.Module):
    """A layout's marks as tensors: M of them.

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
        # Padded with the first of them, which asks nothing more.
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
        """Rows [n, T + R] to tokens [n, T] and flags, bool [n, R]."""
        slots = len(self.layout.sizes)
        return rows[:, :slots], rows[:, slots:] != 0

    def columns(self, observed: Tensor) -> Tensor:
        """bool [n, T], whose slots of a column agree, to bool [n, C]."""
        return observed[:, self.first_slot]

    def ranks(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """In which order columns became known, [n, C]: any order in which those that lead are
        first, or without a generator that of the slots. Nothing is taken of the generator where
        there are no marks."""
        columns = len(self.first_slot)
        if generator is None or not self.count:
            return self.turn.cpu().expand(rows, columns)
        return torch.rand(rows, columns, generator=generator) - self.leads.cpu().float()

    def teacher_rows(self, rows: Tensor, observed: Tensor, rank: Tensor) -> Tensor:
        """Tokens [n, T] as the teacher learns them: what is observed as it would have come about,
        and the rest as it is to be drawn next.

        Args:
            rows: int64 [n, T + R].
            observed: bool [n, T].
            rank: [n, C], in which order the observed columns became known.
        """
        tokens, flags = self.split(rows)
        if not self.count:
            return tokens
        known = self.columns(observed)
        follows = known[:, self.others].all(dim=2)
        follows &= ~known[:, self.column] | self._is_last(rank)
        return self._placed(tokens, flags, follows)

    def student_inputs(self, rows: Tensor, observed: Tensor, visible: Tensor | None) -> Tensor:
        """Tokens [n, T] as the student sees what precedes a slot: of a relation, the last column in
        order has the mark that was drawn, or of those that were all given, the last.

        Args:
            rows: int64 [n, T + R].
            observed: bool [n, T], what was given.
            visible: bool [n, T], what is known at all; None: every column.
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
        """Tokens [n, T] as the student is to draw them, each slot given all before it and what is
        observed behind it."""
        tokens, flags = self.split(rows)
        if not self.count:
            return tokens
        before = self.turn[self.others] < self.turn[self.column][:, None]
        known = self.columns(observed)[:, self.others] | before
        return self._placed(tokens, flags, known.all(dim=2))

    def forbidden(self, before: bool) -> Tensor:
        """What each missing column adds to the logits of all tokens: float [C, sum of sizes].

        Args:
            before: whether columns before a mark's own may be missing; the student knows them.
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
        """bool [n, M]: whether a mark's column has a higher rank [n, C] than its others."""
        highest: Tensor = rank[:, self.others].amax(dim=2)
        return rank[:, self.column] > highest

    def _placed(self, tokens: Tensor, flags: Tensor, follows: Tensor) -> Tensor:
        """Tokens with those marks [n, M] whose relation holds; of several in a slot, the first."""
        stands = follows & flags[:, self.relation]
        chosen = torch.where(stands, self.token, NO_TOKEN)
        coarse = tokens[:, self.slot]
        every = torch.arange(self.count, device=tokens.device)
        rough = torch.where(stands, self.rough[every, coarse], NO_TOKEN)
        first = torch.full_like(tokens, NO_TOKEN)
        first.scatter_reduce_(1, self.slot.expand_as(chosen), chosen, "amin")
        first.scatter_reduce_(1, (self.slot + 1).expand_as(chosen), rough, "amin")
        return torch.where(first < NO_TOKEN, first, tokens)
