"""Lessons: rows drawn by the teacher, and for some of them the teacher's distributions.

Each row is drawn in its own random order, so a row is one draw from the teacher's average over all
orders. That average is better than the distribution in any single order: a network that has
memorised rows has done so differently in each order. The student draws in one fixed order, and so
learns the average that the rows show. But rows alone are few, and the student soon memorises them.
The teacher's distribution of a slot, given everything before it, carries as much information as
very many draws. So a lesson is a row, the known part of its suffix, and for every third row these
distributions, which have half of the weight in the loss.

The student also learns from the teacher's training rows. The teacher's errors look correct in its
own rows, however many there are; rows of the table correct them. Table rows alone would be
memorised, and the lessons prevent that. docs/training.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_distill.models.student import Student

# Rows per call of the teacher, and per evaluation pass of the student.
PART = 1_024

# (rows int64 [n, T + relations], suffix bool [n, T]) -> by slot, p(slot | prefix, suffix) [n, size]
Ask = Callable[[Tensor, Tensor], Mapping[int, Tensor]]


@dataclass(frozen=True)
class Lessons:
    """Rows, and the teacher's distributions for the first of them.

    Attributes:
        rows: int64 [m, T + relations]; see `Marks`.
        suffix: bool [m, T], the tokens known beyond each slot's prefix.
        conditionals: float16 [at most m, sum(sizes)], every slot's p(slot | prefix, suffix).
    """

    rows: Tensor
    suffix: Tensor
    conditionals: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, rows: int) -> tuple[Lessons, Lessons]:
        """Split the lessons into the first `rows` of them, and the rest."""
        parts = zip(*(each.tensor_split([rows]) for each in self._tensors), strict=True)
        first, rest = (Lessons(*part) for part in parts)
        return first, rest

    def to(self, device: torch.device) -> Lessons:
        """Return the same lessons on another device."""
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
        """Compute the student's mean loss on some lessons, in nats per row.

        Args:
            student: the student in training.
            picked: int64 [n], indices of the lessons.
            listened: weight of the teacher's distributions, at most 1; the rest is that of the
                row's own tokens.
            beside: rows int64 [k, T + relations] and suffix bool [k, T] to learn as well, without
                the teacher's distributions: rows of the table.
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
    """Make lessons of rows; `progress` is called with (done, rows).

    Args:
        rows: int64 [m, T + relations], drawn by the teacher.
        suffix: bool [m, T].
        asked: for how many of the first rows to store the teacher's distributions; at least one.
        ask: returns every slot's conditionals.
    """
    parts = []
    for part, known in zip(rows[:asked].split(PART), suffix[:asked].split(PART), strict=True):
        said = ask(part, known)
        parts.append(torch.cat([said[slot] for slot in sorted(said)], dim=1).half())
        if progress is not None:
            progress(sum(map(len, parts)), asked)
    return Lessons(rows, suffix, torch.cat(parts))


def loss_of_rows(student: Student, rows: Tensor, suffix: Tensor) -> Callable[[], Tensor]:
    """Return a function that computes the student's mean -ln p of the slots that it would have to
    draw, in nats per row.

    Args:
        student: the student in training.
        rows: int64 [n, T + relations].
        suffix: bool [n, T], the tokens known beyond each slot's prefix.
    """

    @torch.no_grad()
    def loss() -> Tensor:
        parts = zip(rows.split(PART), suffix.split(PART), strict=True)
        losses = [student.loss(part, known) * len(part) for part, known in parts]
        return torch.stack(losses).sum() / len(rows)

    return loss
