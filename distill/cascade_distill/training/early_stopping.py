"""Early stopping: when to end training, and which state to keep, as pure functions of losses.

A network that keeps learning after it has learnt what rows have in common memorises the rows
themselves. Held-out rows tell the two apart: their loss falls at first, then stays or rises. Once
it has risen, the learning rate falls to zero over some more steps: a network that has stopped
improving at a high rate becomes sharper as its steps become smaller.

Between falling and rising, the loss is flat, often for thousands of steps. On this plateau the loss
does not change, but the rows that the network draws improve, because the learning rate keeps
falling. So a loss slightly above the lowest may count as equally good, and of the equally good
states the last is kept (docs/training.md has the figures). This does not apply to a table of few
rows: what the network learns about them on the plateau is the rows themselves.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from enum import StrEnum

# Steps over which the learning rate falls to zero once the held-out loss has stalled, as a share of
# the steps done by then.
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
    """Losses of the held-out rows so far.

    Attributes:
        evaluations: in order of the steps.
        tolerance: how far a loss may be above the lowest and count as equally good, relative to the
            lowest.
    """

    evaluations: tuple[Evaluation, ...] = ()
    tolerance: float = 0.0

    def with_one_more(self, step: int, loss: float) -> HeldOutLosses:
        """Return the losses with one more evaluation, after `step` steps."""
        return replace(self, evaluations=(*self.evaluations, Evaluation(step, loss)))

    @property
    def best(self) -> Evaluation | None:
        """The last of the evaluations that are as good as the lowest; None before the first."""
        lowest = min((each.loss for each in self.evaluations), default=math.inf)
        as_good = (each for each in reversed(self.evaluations) if self._as_good(each.loss, lowest))
        return next(as_good, None)

    @property
    def last_is_best(self) -> bool:
        """Whether the last evaluated state is the one to keep."""
        return bool(self.evaluations) and self.evaluations[-1] is self.best

    def stalled_at(self, patience: int) -> int | None:
        """Return the step at which the loss stalled; None if it has not.

        That is the first evaluation that made `patience` in a row worse than the lowest before
        them. A patience of 0 never stalls.
        """
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
        """Return the evaluations as text for a checkpoint; `from_text` restores them exactly."""
        return json.dumps([[each.step, each.loss] for each in self.evaluations])

    @classmethod
    def from_text(cls, text: str, tolerance: float = 0.0) -> HeldOutLosses:
        """Parse the output of `to_text`."""
        each = (Evaluation(int(step), float(loss)) for step, loss in json.loads(text))
        return cls(tuple(each), tolerance)


def last_step(steps: int, stalled: int | None) -> int:
    """Return the step after which training ends: `steps`, or earlier, a cooldown after the held-out
    loss stalled.
    """
    return steps if stalled is None else min(steps, stalled + math.ceil(COOLDOWN * stalled))


def ending(
    step: int,
    steps: int,
    losses: HeldOutLosses,
    patience: int,
    seconds: float,
    most_seconds: float | None,
) -> Ending | None:
    """Return why training is over after `step` steps; None if it continues.

    Args:
        step, steps: steps done, and steps to do at most.
        losses: of the held-out rows.
        patience: evaluations in a row that may be worse than the lowest before the learning rate
            falls to zero; 0: any number.
        seconds: time spent training, including that before interruptions.
        most_seconds: time limit; None: no limit.
    """
    if step >= steps:
        return Ending.ALL_STEPS
    if step >= last_step(steps, losses.stalled_at(patience)):
        return Ending.NO_BETTER
    if most_seconds is not None and seconds >= most_seconds:
        return Ending.OUT_OF_TIME
    return None
