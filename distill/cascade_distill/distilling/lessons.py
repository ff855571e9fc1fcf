"""Lessons: rows that the teacher made, with all that it says of them.

A row's token is one draw of the teacher's p(slot | prefix, observed suffix). The whole distribution
tells as much as very many draws do, and is right in itself: a student that is given it for every
slot of some thousands of rows comes closer to its teacher than one that sees hundreds of thousands
of rows with the distributions of a few columns, which learns those rows' draws by heart. So a
lesson is a row, what is known of its suffix, and all of these distributions; they are asked for
once, and learnt from many times.
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
    """Some rows and what the teacher says of them.

    Attributes:
        rows: int64 [m, T + relations]; see `Marks`.
        suffix: bool [m, T], what is known beyond each slot's prefix.
        conditionals: float16 [m, sum(sizes)], every slot's p(slot | prefix, suffix).
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
        """The same, there."""
        return Lessons(*(each.to(device) for each in self._tensors))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows, self.suffix, self.conditionals

    def loss(self, student: Student, rows: Tensor) -> Tensor:
        """The student's mean loss of the lessons with these indices, int64 [n], in nats a row."""
        slots = self.conditionals[rows].float().split(student.layout.sizes, dim=1)
        return student.loss(self.rows[rows], self.suffix[rows], dict(enumerate(slots)))


@torch.no_grad()
def ask_teacher(
    rows: Tensor,
    suffix: Tensor,
    ask: Ask,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Lessons of some rows; `progress` is told (done, rows).

    Args:
        rows: int64 [m, T + relations], made by the teacher.
        suffix: bool [m, T].
        ask: gives every slot's conditionals.
    """
    parts = []
    for part, known in zip(rows.split(PART), suffix.split(PART), strict=True):
        said = ask(part, known)
        parts.append(torch.cat([said[slot] for slot in sorted(said)], dim=1).half())
        if progress is not None:
            progress(sum(map(len, parts)), len(rows))
    return Lessons(rows, suffix, torch.cat(parts))


def gap_to_teacher(student: Student, lessons: Lessons) -> Callable[[], Tensor]:
    """A function that says how far the student is from its teacher, in nats a row.

    It is the mean over the lessons of the summed Kullback-Leibler divergences of the student's
    conditionals from the teacher's: 0 where they are the same.
    """
    index = torch.arange(len(lessons), device=lessons.rows.device)
    entropy = sum(
        torch.special.entr(lessons.conditionals[rows].float()).sum() for rows in index.split(PART)
    ) / len(index)

    @torch.no_grad()
    def gap() -> Tensor:
        parts = [lessons.loss(student, rows) * len(rows) for rows in index.split(PART)]
        return torch.stack(parts).sum() / len(index) - entropy

    return gap
