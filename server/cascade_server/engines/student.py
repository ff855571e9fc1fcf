"""The interface of a release's student, in this process or on other servers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

from cascade_server.engines.engine import Engine, EngineStatistics
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.tasks import StudentTask, run_student
from cascade_server.terms import Tier


class Student(Protocol):
    """Draws rows of several requests in one run.

    `Engine` implements this interface directly, so that there is no layer between the event loop
    and a draw.
    """

    def free_for(self, rows: int) -> bool:
        """Return whether `run_now` may be called for so many rows."""

    def run_now(self, tasks: Sequence[StudentTask]) -> None:
        """Complete tasks that arrived together, in the event loop."""

    async def submit(self, task: StudentTask, deadline: float, offline: bool = False) -> float:
        """Queue a task and wait until it is done.

        Args:
            task: the rows to complete.
            deadline: seconds on the clock of deadlines; infinite if there is none.
            offline: whether real-time tasks go first.

        Returns:
            Seconds that the task waited before its run.

        Raises:
            DeadlinePassed: the deadline passed before the task was done.
            NotReady: the student cannot be reached.
        """

    def predict(self, rows: int) -> float:
        """Predict the seconds for so many rows, queue included, at the .99 quantile.

        The prediction is infinite while the student cannot be reached.
        """

    def queued(self) -> float:
        """Return the seconds that a request arriving now would wait behind others here."""

    def statistics(self) -> EngineStatistics:
        """Return counts of past runs and of waiting requests."""


def local_student(runtime: Runtime, executor: Executor, inline_rows: int) -> Student:
    """Return a student in this process; batches of over `inline_rows` rows use the executor."""
    engine: Engine[StudentTask] = Engine(
        partial(run_student, runtime), executor, inline_rows, on_gpu=runtime.on_gpu
    )
    for tier, rows, seconds in runtime.profile:
        if tier == Tier.STUDENT:
            engine.model.observe(rows, seconds)
    return engine
