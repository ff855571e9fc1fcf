"""Stops using a teacher that keeps failing, such as one whose GPU is gone, and retries it later.

Any error of a teacher becomes `TeacherFailed`, after which the router lets the student answer if it
may. After a few failures in a row the teacher's predictions are infinite, as if it could not be
reached, so that no request is routed to it; now and then one request is let through to see whether
it works again.
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

# Failures in a row after which a teacher is not used, and for how many seconds after each.
MOST_FAILURES, REST_SECONDS = 3, 5.0
LEFT_ALONE = (
    f"has failed {MOST_FAILURES} times in a row: AUTO is answered by the student, and one call in "
    f"{REST_SECONDS:g} s tries whether it works again"
)


class Failures:
    """Decides when to stop using something that keeps failing. Times are monotonic seconds.

    Attributes:
        in_a_row: failures since the last success; requests that fail in the same pass count as one.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._last = self._rests_until = -math.inf

    def rests(self, now: float) -> bool:
        """Return whether no request should be sent."""
        return self.in_a_row >= MOST_FAILURES and now < self._rests_until

    def begins(self, now: float) -> None:
        """Note that a request is sent.

        If the teacher has been failing, that request is a trial, and no others are sent until it
        has ended.
        """
        if self.in_a_row >= MOST_FAILURES:
            self._rests_until = now + REST_SECONDS

    def failed(self, began: float, now: float) -> bool:
        """Note the failure of a request that began at `began`.

        Returns:
            Whether the failure counts: it does not if another request of the same pass failed
            before.
        """
        if began < self._last:
            return False
        self.in_a_row += 1
        self._last, self._rests_until = now, now + REST_SECONDS
        return True

    def worked(self) -> bool:
        """Note a success; return whether it had been out of use."""
        was_left_alone, self.in_a_row = self.in_a_row >= MOST_FAILURES, 0
        return was_left_alone


class WatchedTeacher:
    """A `Teacher` that turns failures of another teacher into `TeacherFailed`, and counts them.

    Args:
        teacher: the other teacher.
        name: the release's name, for the log.
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
        """As `Teacher.predict`; also infinite while the teacher is out of use."""
        if self._failures.in_a_row and self._failures.rests(self._clock()):
            return math.inf
        return self._teacher.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        """Return the counts of the other teacher."""
        return self._teacher.statistics()

    def away(self) -> str:
        """Return why predictions are infinite, for the caller."""
        if self._failures.rests(self._clock()):
            times = self._failures.in_a_row
            return f"the teacher has failed {times} times in a row and is left alone; {self._why}"
        return self._teacher.away()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Count whether the work in the block fails, and log if that changes the teacher's use."""
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
