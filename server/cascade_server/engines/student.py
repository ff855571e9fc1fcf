"""The interface of a release's student, which runs in this process or on other servers."""

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
    """Draws rows of several requests in one run. An `Engine` implements it directly, so that no
    layer lies between the event loop and a draw."""

    def free_for(self, rows: int) -> bool:
        """Whether `run_now` may be called for so many rows."""

    def run_now(self, tasks: Sequence[StudentTask]) -> None:
        """Complete tasks that came together, in the event loop."""

    async def submit(self, task: StudentTask, deadline: float, offline: bool = False) -> float:
        """Queue a task, and wait until it is done.

        Args:
            task: the rows.
            deadline: seconds on the clock of deadlines; infinite: none.
            offline: whether real-time tasks go first.

        Returns:
            Seconds that it waited before its run.

        Raises:
            DeadlinePassed: the deadline passed before it was done.
            NotReady: the student cannot be reached.
        """

    def predict(self, rows: int) -> float:
        """Predicted seconds for so many rows, queue included, at the .99 quantile; infinite while
        the student cannot be reached."""

    def queued(self) -> float:
        """Seconds that a request which arrived now would wait behind others of this process."""

    def statistics(self) -> EngineStatistics:
        """Counts of what has been run, and what waits."""


def local_student(runtime: Runtime, executor: Executor, inline_rows: int) -> Student:
    """A student in this process; batches of more than `inline_rows` rows run in the executor."""
    engine: Engine[StudentTask] = Engine(
        partial(run_student, runtime), executor, inline_rows, on_gpu=runtime.on_gpu
    )
    for tier, rows, seconds in runtime.profile:
        if tier == Tier.STUDENT:
            engine.model.observe(rows, seconds)
    return engine
