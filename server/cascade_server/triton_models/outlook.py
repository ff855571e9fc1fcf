"""How long the student and the teacher would take inside Triton, and how long a request has waited;
pure.

Triton tells a model how long a request may take, not when it came. A request of this batch was not
in the one before, so it came after that was handed over: it has waited for as long as that took at
most, or, if the model was idle in between, not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from cascade_server.cascade.router import Option
from cascade_server.engines.latency_model import LatencyModel, Outlook
from cascade_server.engines.runtime import TEACHER_PART
from cascade_server.engines.watched_teacher import Failures
from cascade_server.terms import Tier, Wanted

# Between two batches of a model that is busy: Triton makes up the next one.
GAP_SECONDS = 0.002


class Turn(NamedTuple):
    """The batch before: when it was handed over, and when it was answered; monotonic seconds."""

    began: float = -math.inf
    ended: float = -math.inf


def waited(before: Turn, now: float) -> float:
    """Seconds that a request of a batch that is handed over now has waited at most."""
    return now - before.began if now - before.ended <= GAP_SECONDS else 0.0


@dataclass
class Outlooks:
    """What the networks have taken.

    Attributes:
        student: of the student's batches, by rows.
        teacher: of one pass, by rows; not `known` until it has been asked once.
        underway: rows that are with the teacher now.
        failures: of the teacher.
    """

    student: LatencyModel = field(default_factory=LatencyModel)
    teacher: LatencyModel = field(default_factory=LatencyModel)
    underway: int = 0
    failures: Failures = field(default_factory=Failures)

    def options(
        self, rows: int, passes: int, wanted: Wanted, beside: int, now: float
    ) -> tuple[Option, Option]:
        """Ways to answer, highest fidelity first.

        Of a teacher that nothing is known of, or that fails, AUTO expects nothing.

        Args:
            rows, passes, wanted: of the request.
            beside: rows of other requests that the student would draw in the same batch.
            now: monotonic seconds.
        """
        is_auto = wanted is Wanted.AUTO
        seconds = math.inf if is_auto else 0.0
        if self.teacher.known and not (is_auto and self.failures.rests(now)):
            passing = Outlook(self.teacher.line, 0.0, self.underway, TEACHER_PART)
            seconds = passing.predict(now, rows, passes)
            # It joins at the end of a pass that has begun.
            seconds += self.teacher.mean(self.underway) if self.underway else 0.0
        student = Option(Tier.STUDENT, 1, self.student.tail(beside + rows))
        return Option(Tier.TEACHER, passes, seconds), student
