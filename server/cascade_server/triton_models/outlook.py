"""How long student and teacher would take inside Triton, and how long a request has waited; pure.

Triton tells a model how long a request may take, but not when it arrived. A request of this batch
was not in the one before, so it arrived after that batch was handed over: it has waited at most for
as long as that batch took, or not at all if the model was idle in between.
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

# Between two batches of a busy model: Triton forms the next one.
GAP_SECONDS = 0.002


class Turn(NamedTuple):
    """The batch before: when it was handed over, and when it was answered; monotonic seconds."""

    began: float = -math.inf
    ended: float = -math.inf


def waited(before: Turn, now: float) -> float:
    """Return the longest that a request of a batch handed over now may have waited, in seconds."""
    return now - before.began if now - before.ended <= GAP_SECONDS else 0.0


@dataclass
class Outlooks:
    """Measured times of the networks.

    Attributes:
        student: times of the student's batches, by rows.
        teacher: times of one pass, by rows; not `known` before the first call.
        underway: rows that the teacher has now.
        failures: failures of the teacher.
    """

    student: LatencyModel = field(default_factory=LatencyModel)
    teacher: LatencyModel = field(default_factory=LatencyModel)
    underway: int = 0
    failures: Failures = field(default_factory=Failures)

    def options(
        self, rows: int, passes: int, wanted: Wanted, beside: int, now: float
    ) -> tuple[Option, Option]:
        """Return the ways to answer, highest fidelity first.

        AUTO does not use a teacher that fails, or of which nothing is known.

        Args:
            rows, passes, wanted: properties of the request.
            beside: rows of other requests that the student would draw in the same batch.
            now: monotonic seconds.
        """
        is_auto = wanted is Wanted.AUTO
        seconds = math.inf if is_auto else 0.0
        if self.teacher.known and not (is_auto and self.failures.rests(now)):
            passing = Outlook(self.teacher.line, 0.0, self.underway, TEACHER_PART)
            seconds = passing.predict(now, rows, passes)
            # It joins at the end of the current pass.
            seconds += self.teacher.mean(self.underway) if self.underway else 0.0
        student = Option(Tier.STUDENT, 1, self.student.tail(beside + rows))
        return Option(Tier.TEACHER, passes, seconds), student
