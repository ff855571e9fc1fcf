"""A release's student and teacher on other servers, with the interface that the dispatcher uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.tasks import StudentTask
from cascade_server.engines.teacher import TeacherInput
from cascade_server.engines.triton.batches import Batches
from cascade_server.engines.triton.messages import Batch
from cascade_server.errors import NotAllowed

# Rows of one input, which is split into batches that servers work on in parallel.
TEACHER_ROWS = 1024


class TritonStudent:
    """A `student.Student` whose rows are drawn by the servers of a fleet."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def free_for(self, rows: int) -> bool:
        """Return false: another server's answer is never available at once."""
        return False

    def run_now(self, tasks: Sequence[StudentTask]) -> None:
        """Fail: never called, since `free_for` is always false."""
        raise RuntimeError("a student on another server does not run in the event loop")

    async def submit(self, task: StudentTask, deadline: float, offline: bool = False) -> float:
        batch = Batch(task.tokens, task.observed, task.noise, 1)
        task.drawn, queued = await self._batches.submit(batch, deadline, offline)
        return queued

    def queued(self) -> float:
        """Return 0: what waits, waits on the servers, and `predict` includes it."""
        return 0.0

    def predict(self, rows: int) -> float:
        return self._batches.predict(rows, 1)

    def statistics(self) -> EngineStatistics:
        return self._batches.statistics()


class TritonTeacher:
    """See `teacher.Teacher`.

    Args:
        batches: queue of the teacher's network.
        away: returns why the teacher cannot be asked.
        scores: returns why it gives no log-likelihoods; None if it does.
    """

    most_rows = TEACHER_ROWS

    def __init__(
        self, batches: Batches, away: Callable[[], str], scores: Callable[[], str | None]
    ) -> None:
        self._batches, self.away, self._scores = batches, away, scores

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        # If a release's networks are elsewhere, only the stream makes noise here.
        assert not isinstance(given.noise, Uniform)
        batch = Batch(given.tokens, given.observed, given.noise, given.steps)
        return await self._batches.submit(batch, deadline, offline)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """See `Teacher`.

        Raises:
            NotAllowed: the models there give no log-likelihoods.
        """
        if (why := self._scores()) is not None:
            raise NotAllowed(why)
        # Unknown columns are not read, and may hold anything.
        known = np.where(observed, tokens, 0).astype(np.int32)
        scores, _ = await self._batches.submit(Batch(known, observed, None, 1), deadline)
        found: NDArray[np.float64] = scores
        return found

    def predict(self, rows: int, passes: int) -> float:
        return self._batches.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        return self._batches.statistics()
