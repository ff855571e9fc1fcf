"""A release's student and teacher on other servers, as the dispatcher asks them."""

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

# Rows of one input: it is cut into what servers take, which work on the parts side by side.
TEACHER_ROWS = 1024


class TritonStudent:
    """A `student.Student` whose rows are drawn by the servers of a fleet."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def free_for(self, rows: int) -> bool:
        """Never: no answer of another server is there at once."""
        return False

    def run_now(self, tasks: Sequence[StudentTask]) -> None:
        """Is never called, since it is free for nothing."""
        raise RuntimeError("a student on another server does not run in the event loop")

    async def submit(self, task: StudentTask, deadline: float, offline: bool = False) -> float:
        batch = Batch(task.tokens, task.observed, task.noise, 1)
        task.drawn, queued = await self._batches.submit(batch, deadline, offline)
        return queued

    def queued(self) -> float:
        """0: what waits, waits on the servers, and `predict` knows of it."""
        return 0.0

    def predict(self, rows: int) -> float:
        return self._batches.predict(rows, 1)

    def statistics(self) -> EngineStatistics:
        return self._batches.statistics()


class TritonTeacher:
    """See `teacher.Teacher`.

    Args:
        batches: of the teacher's network.
        away: says why it cannot be asked.
        scores: says why it gives no log-likelihoods; None: it does.
    """

    most_rows = TEACHER_ROWS

    def __init__(
        self, batches: Batches, away: Callable[[], str], scores: Callable[[], str | None]
    ) -> None:
        self._batches, self.away, self._scores = batches, away, scores

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        # Of a release whose networks are elsewhere nothing makes noise here but the stream.
        assert not isinstance(given.noise, Uniform)
        batch = Batch(given.tokens, given.observed, given.noise, given.steps)
        return await self._batches.submit(batch, deadline, offline)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """See `Teacher`.

        Raises:
            NotAllowed: the models there give none.
        """
        if (why := self._scores()) is not None:
            raise NotAllowed(why)
        # What is not known is not read, and need not be a token.
        known = np.where(observed, tokens, 0).astype(np.int32)
        scores, _ = await self._batches.submit(Batch(known, observed, None, 1), deadline)
        found: NDArray[np.float64] = scores
        return found

    def predict(self, rows: int, passes: int) -> float:
        return self._batches.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        return self._batches.statistics()
