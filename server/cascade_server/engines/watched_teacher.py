"""Takes a teacher that keeps failing out of use, such as one whose GPU is gone, and tries it again.

Whatever a teacher raises becomes `TeacherFailed`, on which the router lets the student answer where
it may. After a few failures in a row its predictions are infinite, as if it could not be reached,
so that no request is routed to it; now and then one is let through to see whether it works again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.runtime import Mask, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import Teacher, TeacherInput
from cascade_server.errors import ServerError, TeacherFailed

log = logging.getLogger("cascade.server")

# Failures in a row after which a teacher is left alone, and for how many seconds after each.
MOST_FAILURES, REST_SECONDS = 3, 5.0
LEFT_ALONE = (
    f"has failed {MOST_FAILURES} times in a row: AUTO is answered by the student, and one call in "
    f"{REST_SECONDS:g} s tries whether it works again"
)


class Failures:
    """Decides when something that keeps failing is left alone. Times are monotonic seconds.

    Attributes:
        in_a_row: failures since it last worked; requests that fail in the same pass count as one.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._last = self._rests_until = -math.inf

    def rests(self, now: float) -> bool:
        """Whether no request is to be sent to it."""
        return self.in_a_row >= MOST_FAILURES and now < self._rests_until

    def begins(self, now: float) -> None:
        """Note that a request is sent to it. If it has been failing, that request is a trial, and
        no others are sent until it has ended."""
        if self.in_a_row >= MOST_FAILURES:
            self._rests_until = now + REST_SECONDS

    def failed(self, began: float, now: float) -> bool:
        """Note a failure of a request that began at `began`.

        Returns:
            Whether it counts: it does not if another request of the same pass has failed before.
        """
        if began < self._last:
            return False
        self.in_a_row += 1
        self._last, self._rests_until = now, now + REST_SECONDS
        return True

    def worked(self) -> bool:
        """Note a success; returns whether it had been left alone before."""
        was_left_alone, self.in_a_row = self.in_a_row >= MOST_FAILURES, 0
        return was_left_alone


class WatchedTeacher:
    """A `Teacher` that turns failures of another one into `TeacherFailed`, and counts them.

    Args:
        teacher: the other one.
        name: of its release, for the log.
        clock: monotonic seconds.
    """

    def __init__(
        self, teacher: Teacher, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._teacher, self._name, self._clock = teacher, name, clock
        self.most_rows = teacher.most_rows
        self._failures, self._why = Failures(), ""

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        """As `Teacher.draw`; raises TeacherFailed too."""
        with self._watched():
            return await self._teacher.draw(given, deadline, offline)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """As `Teacher.log_likelihood`; raises TeacherFailed too."""
        with self._watched():
            return await self._teacher.log_likelihood(tokens, observed, deadline, spent)

    def predict(self, rows: int, passes: int) -> float:
        """As `Teacher.predict`; infinite also while the teacher is left alone."""
        if self._failures.in_a_row and self._failures.rests(self._clock()):
            return math.inf
        return self._teacher.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        """Counts of the other teacher."""
        return self._teacher.statistics()

    def away(self) -> str:
        """Why predictions are infinite, for the caller."""
        if self._failures.rests(self._clock()):
            times = self._failures.in_a_row
            return f"the teacher has failed {times} times in a row and is left alone; {self._why}"
        return self._teacher.away()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Count whether the work in the block fails, and log when that changes the use."""
        began = self._clock()
        self._failures.begins(began)
        try:
            yield
        except TeacherFailed as exc:
            # The teacher's own process has logged the stack trace.
            self._failed(began, str(exc))
            raise
        except ServerError:
            raise
        except Exception as exc:  # of ONNX Runtime, CUDA or a defect: the student is to answer
            failed = TeacherFailed.of(exc)
            if self._failed(began, str(failed)):
                log.error("the teacher of %s failed", self._name, exc_info=exc)
            raise failed from exc
        if self._failures.worked():
            log.warning("the teacher of %s works again", self._name)

    def _failed(self, began: float, why: str) -> bool:
        is_news = self._failures.failed(began, self._clock())
        if is_news:
            self._why = why
            if self._failures.in_a_row == MOST_FAILURES:
                log.error("the teacher of %s %s", self._name, LEFT_ALONE)
        return is_news
