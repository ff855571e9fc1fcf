"""Lessons: rows that the teacher made, and of some of them all that it says.

A row is drawn in an order of its own, and so is one draw of what the teacher says over all orders,
which is better than what it says in any one of them: where a network has learnt its rows by heart,
it has done so differently in each. The student draws in one order, and so learns what rows show.
Rows alone are few, and a student soon knows them by heart. What the teacher says of a slot, given
all before it, tells as much as very many draws do. So a lesson is a row, what is known of its
suffix, and of every third row these distributions, to which the student listens half.

Beside lessons it learns the rows that the teacher learnt from. What a teacher gets wrong, its rows
show as if it were right, and no number of them tells; rows of the table do. Alone they would be
learnt by heart, and so lessons are what keeps the student from it. docs/training.md has the
figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_distill.models.student import Student

# Rows that the teacher is asked about at once, and that the student is looked at with.
PART = 1_024

# (rows int64 [n, T + relations], suffix bool [n, T]) -> by slot, p(slot | prefix, suffix) [n, size]
Ask = Callable[[Tensor, Tensor], Mapping[int, Tensor]]


@dataclass(frozen=True)
class Lessons:
    """Some rows and what the teacher says of the first of them.

    Attributes:
        rows: int64 [m, T + relations]; see `Marks`.
        suffix: bool [m, T], what is known beyond each slot's prefix.
        conditionals: float16 [of m or fewer, sum(sizes)], every slot's p(slot | prefix, suffix).
    """

    rows: Tensor
    suffix: Tensor
    conditionals: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, rows: int) -> tuple[Lessons, Lessons]:
        """The first `rows` of them, and the rest."""
        parts = zip(*(each.tensor_split([rows]) for each in self._tensors), strict=True)
        first, rest = (Lessons(*part) for part in parts)
        return first, rest

    def to(self, device: torch.device) -> Lessons:
        """The same lessons on another device."""
        return Lessons(*(each.to(device) for each in self._tensors))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows, self.suffix, self.conditionals

    def loss(
        self,
        student: Student,
        picked: Tensor,
        listened: float,
        beside: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The student's mean loss of some lessons, in nats a row.

        Args:
            student: that learns.
            picked: int64 [n], indices of the lessons.
            listened: how much what the teacher says counts, of 1; the rest is the row's own tokens.
            beside: rows int64 [k, T + relations] and suffix bool [k, T] that are learnt with them
                and that no teacher says anything of: rows of the table.
        """
        rows, suffix = self.rows[picked], self.suffix[picked]
        if beside is not None:
            rows, suffix = torch.cat([rows, beside[0]]), torch.cat([suffix, beside[1]])
        asked = torch.nonzero(picked < len(self.conditionals)).squeeze(1)
        said = self.conditionals.new_zeros(
            (len(rows), self.conditionals.shape[1]), dtype=torch.float32
        )
        said[asked] = listened * self.conditionals[picked[asked]].float()
        own = torch.ones(len(rows), 1, device=said.device)
        own[asked] -= listened
        tokens = student.marks.student_targets(rows, suffix)
        wanted = {
            slot: each.scatter_add(1, tokens[:, slot : slot + 1], own)
            for slot, each in enumerate(said.split(student.layout.sizes, dim=1))
        }
        return student.loss(rows, suffix, wanted)


@torch.no_grad()
def ask_teacher(
    rows: Tensor,
    suffix: Tensor,
    asked: int,
    ask: Ask,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Lessons of some rows; `progress` is told (done, rows).

    Args:
        rows: int64 [m, T + relations], made by the teacher.
        suffix: bool [m, T].
        asked: how many of the first rows it is asked about; one at least.
        ask: gives every slot's conditionals.
    """
    parts = []
    for part, known in zip(rows[:asked].split(PART), suffix[:asked].split(PART), strict=True):
        said = ask(part, known)
        parts.append(torch.cat([said[slot] for slot in sorted(said)], dim=1).half())
        if progress is not None:
            progress(sum(map(len, parts)), asked)
    return Lessons(rows, suffix, torch.cat(parts))


def loss_of_rows(student: Student, rows: Tensor, suffix: Tensor) -> Callable[[], Tensor]:
    """A function that says how likely the student finds some rows: mean of -ln p of what it would
    have to draw, in nats a row.

    Args:
        student: that is being trained.
        rows: int64 [n, T + relations].
        suffix: bool [n, T], what is known beyond each slot's prefix.
    """

    @torch.no_grad()
    def loss() -> Tensor:
        parts = zip(rows.split(PART), suffix.split(PART), strict=True)
        losses = [student.loss(part, known) * len(part) for part, known in parts]
        return torch.stack(losses).sum() / len(rows)

    return loss
