"""A teacher that fails though it is there: out of memory, or on a GPU that is no more.

What it raises then has one name, whatever it was, so that who may be answered by the student is;
and one that does nothing but fail is predicted to take for ever, as one that is away, until it is
seen to work again. Meanwhile nobody is sent to it in vain but one now and then, to see.
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

# Failures in a row after which it is left alone, and for how many seconds after each.
MOST_FAILURES, REST_SECONDS = 3, 5.0
LEFT_ALONE = (
    f"has failed {MOST_FAILURES} times in a row: AUTO is answered by the student, and one call in "
    f"{REST_SECONDS:g} s tries whether it works again"
)


class Failures:
    """Says when what keeps failing is left alone. Time is given, of a clock that only grows.

    Attributes:
        in_a_row: failures since it last worked; those of one pass are one.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._last = self._until = -math.inf

    def rests(self, now: float) -> bool:
        """Whether nobody is to be sent there."""
        return self.in_a_row >= MOST_FAILURES and now < self._until

    def begins(self, now: float) -> None:
        """Somebody is sent there; while it fails, others wait for what becomes of that."""
        if self.in_a_row >= MOST_FAILURES:
            self._until = now + REST_SECONDS

    def failed(self, began: float, now: float) -> bool:
        """It failed at what `began` then.

        Returns:
            Whether that is news: others may have been in the pass that failed.
        """
        if began < self._last:
            return False
        self.in_a_row += 1
        self._last, self._until = now, now + REST_SECONDS
        return True

    def worked(self) -> bool:
        """It did what it was asked; returns whether it had been left alone for its failures."""
        was_left_alone, self.in_a_row = self.in_a_row >= MOST_FAILURES, 0
        return was_left_alone


class WatchedTeacher:
    """A `Teacher` whose failures are `TeacherFailed`, and which is away while they are all it does.

    Args:
        teacher: any.
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
        """See `Teacher`; raises TeacherFailed too."""
        with self._watched():
            return await self._teacher.draw(given, deadline, offline)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """See `Teacher`; raises TeacherFailed too."""
        with self._watched():
            return await self._teacher.log_likelihood(tokens, observed, deadline, spent)

    def predict(self, rows: int, passes: int) -> float:
        """See `Teacher`; infinite too while it is left alone."""
        if self._failures.in_a_row and self._failures.rests(self._clock()):
            return math.inf
        return self._teacher.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        """See `Teacher`."""
        return self._teacher.statistics()

    def away(self) -> str:
        """What to say where predictions are infinite."""
        if self._failures.rests(self._clock()):
            times = self._failures.in_a_row
            return f"the teacher has failed {times} times in a row and is left alone; {self._why}"
        return self._teacher.away()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """The teacher is at work in the block."""
        began = self._clock()
        self._failures.begins(began)
        try:
            yield
        except TeacherFailed as exc:
            # Its process has written down what happened.
            self._failed(began, str(exc))
            raise
        except ServerError:
            raise
        except Exception as exc:
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
