"""An engine: one network that runs one batch at a time, and its queue of requests.

An idle engine starts a batch at once, or, if recent batches had several requests, once no more have
arrived for some turns of the event loop. While it is busy, requests gather. The pure functions of
`batching` decide what a batch takes; this is the shell around them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from cascade_server.deadline import LATE
from cascade_server.engines.batching import (
    Gather,
    GatherConfig,
    Waiting,
    after_run,
    next_batch,
    waits,
)
from cascade_server.engines.latency_model import LatencyModel, Outlook
from cascade_server.engines.spent import Spent, charge
from cascade_server.errors import DeadlinePassed

TOO_LATE = "the deadline passed in the queue"
# Two timers that are due at the same moment may differ by this many seconds.
SAME_MOMENT = 1e-3
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Task(Protocol):
    """The work of one request for an engine.

    Attributes:
        spent: the account that the runs are charged to.
    """

    spent: Spent

    @property
    def rows(self) -> int:
        """Rows that the next run needs."""

    @property
    def passes(self) -> int:
        """Passes of the network that the next run makes."""

    @property
    def done(self) -> bool:
        """Whether the task needs no further run."""


TaskT = TypeVar("TaskT", bound=Task)


def _passes(tasks: Sequence[Task]) -> int:
    """Return the passes of one run of several tasks: as many as the longest task needs."""
    return max(1, *(task.passes for task in tasks))


@dataclass(eq=False)
class _Entry(Generic[TaskT]):
    task: TaskT
    waiting: Waiting
    future: asyncio.Future[None]
    started: float = 0.0
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class EngineStatistics:
    """A snapshot of an engine.

    Attributes:
        waiting, waiting_rows: real-time requests in the queue, and their rows.
        runs, rows: batches run so far, and the rows in them.
        expired: requests whose deadline passed in the queue.
        late_starts: tasks that started after their deadline; anything but 0 is a defect.
        run_nanoseconds: total time of all runs.
        queue_nanoseconds: total time that tasks waited before their first runs.
        last_run: when the last run ended, in microseconds since 1970-01-01 UTC; 0 if there was
            none.
    """

    waiting: int = 0
    waiting_rows: int = 0
    runs: int = 0
    rows: int = 0
    expired: int = 0
    late_starts: int = 0
    run_nanoseconds: int = 0
    queue_nanoseconds: int = 0
    last_run: int = 0


def never_rests(_: float) -> float:
    """Return 0: a pace without rests, for engines that jobs need not slow down for."""
    return 0.0


@dataclass
class _Counts:
    runs: int = 0
    rows: int = 0
    expired: int = 0
    late_starts: int = 0
    run_seconds: float = 0.0
    queue_seconds: float = 0.0
    last_run: float = 0.0


@dataclass
class Engine(Generic[TaskT]):
    """Queues tasks and runs them in batches.

    Attributes:
        run: runs the network once for some tasks; a task not `done` afterwards is queued again.
        executor: runs batches of more than `inline_rows` rows.
        inline_rows: the most rows of a batch in the event loop; for these, a hop to a thread would
            cost more than the run.
        buckets: batch sizes, in increasing order.
        clock: monotonic seconds.
        processor_clock: processor seconds of the thread of a run; or of the whole process if a run
            has several threads and nothing else runs beside it.
        on_gpu: whether runs are on a GPU.
        pace: from the processor seconds of a job's run to the seconds that jobs then rest, in which
            other tasks may run.
        model: learns how long passes take, by rows.
        gathering: how long to wait for more requests.
    """

    run: Callable[[Sequence[TaskT]], None]
    executor: Executor
    inline_rows: int = 16
    buckets: tuple[int, ...] = BUCKETS
    clock: Callable[[], float] = time.monotonic
    processor_clock: Callable[[], float] = time.thread_time
    on_gpu: bool = False
    pace: Callable[[float], float] = never_rests
    model: LatencyModel = field(default_factory=LatencyModel)
    gathering: GatherConfig = field(default_factory=GatherConfig)
    _gather: Gather = field(default_factory=Gather)
    _seen: int = 0
    _quiet_looks: int = 0
    _queue: list[_Entry[TaskT]] = field(default_factory=list)
    _counts: _Counts = field(default_factory=_Counts)
    _busy: bool = False
    _busy_until: float = 0.0
    _turn_is_due: bool = False
    # Processor seconds of the last run, when jobs have rested, and the timer to wake them.
    _processor_seconds: float = 0.0
    _jobs_rest_until: float = 0.0
    _waking: asyncio.TimerHandle | None = None

    async def submit(
        self, task: TaskT, deadline: float, offline: bool = False, alone: bool = False
    ) -> float:
        """Queue a task and wait until it is done.

        Args:
            task: the work.
            deadline: seconds on `clock`; infinite if there is none.
            offline, alone: see `Waiting`.

        Returns:
            Seconds that the task waited before its first run.

        Raises:
            DeadlinePassed: the deadline passed in the queue, and the task did not run; or during a
                run in the executor, whose result is then dropped.
        """
        if task.done:
            return 0.0
        if self._starts_at_once(task):
            self._run_alone(task, deadline)
            if task.done:
                return 0.0
        loop = asyncio.get_running_loop()
        now = self.clock()
        waiting = Waiting(task.rows, deadline, now, offline, alone)
        entry = _Entry(task, waiting, loop.create_future())
        self._queue.append(entry)
        if self._busy:
            self._watch(entry)
        self._schedule()
        try:
            await entry.future
        except asyncio.CancelledError:
            # A caller in another process may cancel just before the timer here fires.
            if entry in self._queue and self.clock() + SAME_MOMENT >= deadline:
                self._counts.expired += 1
            raise
        finally:
            if entry.timer is not None:
                entry.timer.cancel()
            if entry in self._queue:
                self._queue.remove(entry)
        return entry.started - now

    def free_for(self, rows: int) -> bool:
        """Return whether `rows` rows may run in the event loop now."""
        return not self._busy and not self._queue and rows <= self.inline_rows

    def run_now(self, tasks: Sequence[TaskT]) -> None:
        """Run tasks that arrived together as one batch in the event loop, if it is `free_for` them.

        The caller charges the turn. The run does not affect how long `submit` waits for others.
        """
        if len(tasks) == 1:
            rows, passes = tasks[0].rows, max(1, tasks[0].passes)
        else:
            rows, passes = sum(task.rows for task in tasks), _passes(tasks)
        began = self.clock()
        self.run(tasks)
        self._count(rows, self.clock() - began, passes)

    def predict(self, rows: int, passes: int = 1) -> float:
        """Predict the seconds until a task that arrived now would be done, at the .99 quantile."""
        if not self._busy and not self._queue:
            return self.model.tail(rows, passes)
        return self.outlook().predict(self.clock(), rows, passes)

    def queued(self) -> float:
        """Return the seconds that a new task would wait behind others; 0 if none are queued."""
        return self.outlook().queued(self.clock()) if self._queue else 0.0

    def outlook(self) -> Outlook:
        """Return what predictions are computed from, so that other processes can predict."""
        ahead = sum(e.waiting.rows for e in self._queue if not e.waiting.offline)
        busy_until = self._busy_until if self._busy else 0.0
        return Outlook(self.model.line, busy_until, ahead, self.buckets[-1])

    def statistics(self) -> EngineStatistics:
        """Return a snapshot of the counts and of the queue."""
        real = [e.waiting.rows for e in self._queue if not e.waiting.offline]
        counts = self._counts
        return EngineStatistics(
            waiting=len(real),
            waiting_rows=sum(real),
            runs=counts.runs,
            rows=counts.rows,
            expired=counts.expired,
            late_starts=counts.late_starts,
            run_nanoseconds=round(1e9 * counts.run_seconds),
            queue_nanoseconds=round(1e9 * counts.queue_seconds),
            last_run=round(1e6 * counts.last_run),
        )

    def _starts_at_once(self, task: TaskT) -> bool:
        """Whether a task runs without being queued: the engine is idle and expects no others."""
        idle = not self._busy and not self._queue
        return idle and not self._gather.expected and task.rows <= self.inline_rows

    def _run_alone(self, task: TaskT, deadline: float) -> None:
        began, rows = self.clock(), task.rows
        if deadline <= began:
            self._counts.expired += 1
            raise DeadlinePassed(TOO_LATE)
        passes = task.passes
        self._run_charged((task,))
        self._count(rows, self.clock() - began, passes)
        self._learn(1)

    def _run_charged(self, tasks: Sequence[TaskT]) -> None:
        weights = [task.rows * max(1, task.passes) for task in tasks]
        began, spent = self.clock(), self.processor_clock()
        self.run(tasks)
        seconds = self._processor_seconds = self.processor_clock() - spent
        on_gpu = self.clock() - began if self.on_gpu else 0.0
        charge((task.spent for task in tasks), weights, seconds, on_gpu)

    def _count(self, rows: int, seconds: float, passes: int) -> None:
        self.model.observe(rows, max(seconds / passes, 1e-7))
        counts = self._counts
        counts.runs += 1
        counts.rows += rows
        counts.run_seconds += seconds
        counts.last_run = time.time()

    def _learn(self, requests: int) -> None:
        self._gather = after_run(self._gather, self.gathering, requests)

    def _schedule(self) -> None:
        if not self._turn_is_due and not self._busy:
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Start the next batch, if there is one."""
        self._turn_is_due = False
        if self._busy:
            return
        now = self.clock()
        if self._looks_round(now):
            self._schedule()
            return
        queue = self._queue if now >= self._jobs_rest_until else self._without_jobs()
        batch = next_batch(now, [e.waiting for e in queue], self.buckets, self.model.tail)
        taken = [queue[i] for i in batch.take]
        for entry in [queue[i] for i in batch.expired]:
            self._expire_watched(entry)
        if not taken:
            if self._queue:
                self._wake_jobs(self._jobs_rest_until - now)
            return
        for entry in taken:
            self._queue.remove(entry)
        rows = sum(entry.waiting.rows for entry in taken)
        if rows <= self.inline_rows:
            try:
                alive, seconds, passes = self._run_in_time(taken)
            except Exception as exc:  # else nobody who waits is told, and no batch follows
                self._failed(taken, exc)
            else:
                self._ran(taken, alive, seconds, passes)
            self._schedule_if_queued()
            return
        passes = _passes([entry.task for entry in taken])
        self._busy, self._busy_until = True, now + passes * self.model.mean(rows)
        for entry in (*taken, *self._queue):
            self._watch(entry)
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self.executor, self._run_in_time, taken)
        future.add_done_callback(lambda done: self._back(done, taken))

    def _run_in_time(
        self, taken: Sequence[_Entry[TaskT]]
    ) -> tuple[list[_Entry[TaskT]], float, int]:
        """Run the entries that are not late and whose callers still wait; a thread may start late.

        Returns:
            The entries that ran, the seconds that the run took, and its passes.
        """
        now = self.clock()
        alive = [e for e in taken if e.waiting.deadline > now and not e.future.done()]
        if not alive:
            return [], 0.0, 1
        tasks = [entry.task for entry in alive]
        began = self.clock()
        for entry in alive:
            self._counts.late_starts += entry.waiting.deadline <= began
            if not entry.started:
                entry.started = began
                self._counts.queue_seconds += began - entry.waiting.arrived
        passes = _passes(tasks)
        self._run_charged(tasks)
        return alive, self.clock() - began, passes

    def _without_jobs(self) -> list[_Entry[TaskT]]:
        return [entry for entry in self._queue if not entry.waiting.is_of_a_job]

    def _wake_jobs(self, seconds: float) -> None:
        """Look at the queue again after so many seconds, when jobs have rested."""
        if self._waking is not None:
            self._waking.cancel()
        loop = asyncio.get_running_loop()
        self._waking = loop.call_later(max(0.0, seconds), self._schedule)

    def _looks_round(self, now: float) -> bool:
        """Return whether to leave the batch open for another turn of the event loop."""
        if not self._gather.expected or not self._queue:
            return False
        self._quiet_looks = self._quiet_looks + 1 if len(self._queue) == self._seen else 0
        self._seen = len(self._queue)
        rows = sum(entry.waiting.rows for entry in self._queue)
        waited = now - self._queue[0].waiting.arrived
        again = waits(
            self._gather, self.gathering, self._quiet_looks, waited, rows, self.inline_rows
        )
        if not again:
            self._seen = self._quiet_looks = 0
        return again

    def _watch(self, entry: _Entry[TaskT]) -> None:
        """Set a timer for a deadline, which may pass while the engine is busy or during the run."""
        deadline = entry.waiting.deadline
        if entry.timer is None and math.isfinite(deadline):
            left = max(0.0, deadline - self.clock())
            entry.timer = asyncio.get_running_loop().call_later(left, self._expire_watched, entry)

    def _back(
        self,
        done: asyncio.Future[tuple[list[_Entry[TaskT]], float, int]],
        taken: list[_Entry[TaskT]],
    ) -> None:
        """Take the result of a batch that ran in the executor."""
        self._busy = False
        if done.cancelled():
            for entry in taken:
                entry.future.cancel()
        elif (error := done.exception()) is not None:
            self._failed(taken, error)
        else:
            self._ran(taken, *done.result())
        self._schedule_if_queued()

    def _ran(
        self,
        taken: list[_Entry[TaskT]],
        alive: list[_Entry[TaskT]],
        seconds: float,
        passes: int,
    ) -> None:
        if alive:
            self._count(sum(entry.waiting.rows for entry in alive), seconds, passes)
            self._learn(len(alive))
            if all(entry.waiting.is_of_a_job for entry in alive):
                self._jobs_rest_until = self.clock() + self.pace(self._processor_seconds)
        for entry in taken:
            if entry not in alive:
                self._expire(entry)
        for entry in alive:
            if entry.future.done():  # its caller is gone
                continue
            if entry.task.done:
                entry.future.set_result(None)
                continue
            waiting = entry.waiting
            entry.waiting = replace(waiting, rows=entry.task.rows)
            self._queue.append(entry)

    def _failed(self, taken: list[_Entry[TaskT]], error: BaseException) -> None:
        for entry in taken:
            if not entry.future.done():
                entry.future.set_exception(error)

    def _expire_watched(self, entry: _Entry[TaskT]) -> None:
        if entry in self._queue:
            self._queue.remove(entry)
        elif entry.started:
            # The task is in a run, which cannot be stopped, so only its caller is told.
            if not entry.future.done():
                entry.future.set_exception(DeadlinePassed(LATE))
            return
        self._expire(entry)

    def _expire(self, entry: _Entry[TaskT]) -> None:
        if not entry.future.done():
            self._counts.expired += 1
            entry.future.set_exception(DeadlinePassed(TOO_LATE))

    def _schedule_if_queued(self) -> None:
        if self._queue:
            self._schedule()
