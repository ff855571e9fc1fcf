"""When training should end, and which of its states is the one to keep: pure functions of losses.

A network that goes on learning after it has learnt what rows have in common learns the rows
themselves. Rows that it never learns from tell the one from the other: their loss falls at first,
then stays or rises. The state of its lowest point is kept, whatever came after.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """Why a training run ended."""

    ALL_STEPS = "all steps done"
    NO_BETTER = "the held-out loss no longer improved"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of the held-out rows, in nats a row, after `step` steps."""

    step: int
    loss: float


@dataclass(frozen=True)
class HeldOutLosses:
    """What the held-out rows said so far, in order of the steps."""

    evaluations: tuple[Evaluation, ...] = ()

    def with_one_more(self, step: int, loss: float) -> HeldOutLosses:
        """These, and another."""
        return HeldOutLosses((*self.evaluations, Evaluation(step, loss)))

    @property
    def best(self) -> Evaluation | None:
        """The lowest, the earliest of equals; None before the first."""
        return min(self.evaluations, key=lambda each: each.loss, default=None)

    @property
    def last_is_best(self) -> bool:
        """Whether the state that was evaluated last is the one to keep."""
        return bool(self.evaluations) and self.evaluations[-1] is self.best

    @property
    def since_best(self) -> int:
        """How many evaluations in a row have been no better than the best before them."""
        best = self.best
        return 0 if best is None else sum(each.step > best.step for each in self.evaluations)

    def to_text(self) -> str:
        """What a checkpoint keeps; `from_text` restores it exactly."""
        return json.dumps([[each.step, each.loss] for each in self.evaluations])

    @classmethod
    def from_text(cls, text: str) -> HeldOutLosses:
        """What `to_text` gave."""
        return cls(tuple(Evaluation(int(step), float(loss)) for step, loss in json.loads(text)))


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
        patience: evaluations in a row that may be no better than the best; 0: any number.
        seconds: spent training, over all the times it was stopped and resumed.
        most_seconds: that may be spent; None: any number.
    """
    if step >= steps:
        return Ending.ALL_STEPS
    if patience and losses.since_best >= patience:
        return Ending.NO_BETTER
    if most_seconds is not None and seconds >= most_seconds:
        return Ending.OUT_OF_TIME
    return None
