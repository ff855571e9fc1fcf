"""When training should end, and which of its states is the one to keep: pure functions of losses.

A network that goes on learning after it has learnt what rows have in common learns the rows
themselves. Rows that it never learns from tell the one from the other: their loss falls at first,
then stays or rises. When it has risen, the learning rate falls, to nothing over some steps more: a
network that has stopped improving at a high rate becomes sharper as its steps become smaller.

Between falling and rising lies a plain, often thousands of steps long, on which the loss tells
nothing while rows that the network draws become better, since the rate falls all the while. So a
loss may count as good as the lowest if it is hardly above it, and of the states that are as good,
the last is kept (docs/training.md has the figures). Of a table of few rows it may not: what is
learnt of them on that plain is the rows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from enum import StrEnum

# Steps over which the learning rate falls to nothing once the held-out loss has stalled, as a share
# of those done by then.
COOLDOWN = 0.25


class Ending(StrEnum):
    """Why a training run ended."""

    ALL_STEPS = "all steps done"
    NO_BETTER = "the held-out loss rose"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of the held-out rows, in nats a row, after `step` steps."""

    step: int
    loss: float


@dataclass(frozen=True)
class HeldOutLosses:
    """What the held-out rows said so far.

    Attributes:
        evaluations: in order of the steps.
        tolerance: by how much of the lowest loss another may be above it and count as good.
    """

    evaluations: tuple[Evaluation, ...] = ()
    tolerance: float = 0.0

    def with_one_more(self, step: int, loss: float) -> HeldOutLosses:
        """The losses with one more evaluation, after `step` steps."""
        return replace(self, evaluations=(*self.evaluations, Evaluation(step, loss)))

    @property
    def best(self) -> Evaluation | None:
        """The last of those that are as good as the lowest; None before the first."""
        lowest = min((each.loss for each in self.evaluations), default=math.inf)
        as_good = (each for each in reversed(self.evaluations) if self._as_good(each.loss, lowest))
        return next(as_good, None)

    @property
    def last_is_best(self) -> bool:
        """Whether the state that was evaluated last is the one to keep."""
        return bool(self.evaluations) and self.evaluations[-1] is self.best

    def stalled_at(self, patience: int) -> int | None:
        """The step of the first evaluation that made `patience` in a row which were worse than the
        lowest before them; None: there is none, or patience is 0, which means any number."""
        lowest, in_a_row = math.inf, 0
        for each in self.evaluations:
            lowest = min(lowest, each.loss)
            in_a_row = 0 if self._as_good(each.loss, lowest) else in_a_row + 1
            if patience and in_a_row == patience:
                return each.step
        return None

    def _as_good(self, loss: float, lowest: float) -> bool:
        return loss <= lowest * (1 + self.tolerance)

    def to_text(self) -> str:
        """The evaluations, as a checkpoint keeps them; `from_text` restores them exactly."""
        return json.dumps([[each.step, each.loss] for each in self.evaluations])

    @classmethod
    def from_text(cls, text: str, tolerance: float = 0.0) -> HeldOutLosses:
        """Read what `to_text` wrote."""
        each = (Evaluation(int(step), float(loss)) for step, loss in json.loads(text))
        return cls(tuple(each), tolerance)


def last_step(steps: int, stalled: int | None) -> int:
    """The step after which training ends: of `steps` at most, or earlier, a cooldown after that at
    which the held-out loss stalled."""
    return steps if stalled is None else min(steps, stalled + math.ceil(COOLDOWN * stalled))


def ending(
    step: int,
    steps: int,
    losses: HeldOutLosses,
    patience: int,
    seconds: float,
    most_seconds: float | None,
) -> Ending | None:
    """Whether training is over after `step` steps, and why; None: it goes on.

    Args:
        step, steps: done, and to be done at most.
        losses: of the held-out rows.
        patience: evaluations in a row that may be worse than the lowest before the learning rate
            falls to nothing; 0: any number.
        seconds: spent training, over all the times it was stopped and resumed.
        most_seconds: that may be spent; None: any number.
    """
    if step >= steps:
        return Ending.ALL_STEPS
    if step >= last_step(steps, losses.stalled_at(patience)):
        return Ending.NO_BETTER
    if most_seconds is not None and seconds >= most_seconds:
        return Ending.OUT_OF_TIME
    return None
