"""An engine's queue: when batches start, whom they take, and who never runs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from cascade_server.engines.engine import Engine
from cascade_server.engines.spent import Spent
from cascade_server.errors import DeadlinePassed


@dataclass(eq=False)
class Job:
    """A task of `rows` rows that needs `runs` runs, each of some passes."""

    name: str
    rows: int = 1
    runs: int = 1
    passes: int = 1
    spent: Spent = field(default_factory=Spent)

    @property
    def done(self) -> bool:
        return self.runs == 0


class HeldExecutor(Executor):
    """Runs what it is given when it is told to."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future

    def release(self) -> None:
        future, work = self.held.pop(0)
        try:
            future.set_result(work())
        except Exception as exc:
            future.set_exception(exc)


@dataclass
class Bench:
    """An engine, what it ran, and a clock that stands still."""

    inline_rows: int = 0
    now: float = 0.0
    ran: list[list[str]] = field(default_factory=list)
    breaks: bool = False
    pace: float = 0.0

    def __post_init__(self) -> None:
        self.executor = HeldExecutor()
        self.engine: Engine[Job] = Engine(
            self.run,
            self.executor,
            self.inline_rows,
            (1, 2, 4, 8),
            clock=lambda: self.now,
            pace=lambda _: self.pace,
        )

    def run(self, jobs: Sequence[Job]) -> None:
        if self.breaks:
            raise RuntimeError("broken")
        self.ran.append([job.name for job in jobs])
        for job in jobs:
            job.runs -= 1

    def submit(
        self,
        name: str,
        deadline: float = math.inf,
        offline: bool = False,
        alone: bool = False,
        **job: int,
    ) -> asyncio.Task[None]:
        return asyncio.create_task(self.engine.submit(Job(name, **job), deadline, offline, alone))

    async def free(self) -> None:
        """Let one run of the executor finish, once there is one."""
        await self.held()
        self.executor.release()

    async def held(self, runs: int = 1) -> None:
        """Until the engine has handed a run to its executor."""
        while len(self.executor.held) < runs:
            await asyncio.sleep(0)


async def settle() -> None:
    """Let everything that is ready happen."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_that_arrive_together_share_a_batch() -> None:
    bench = Bench()
    await asyncio.gather(*(bench.submit(name) for name in "abc"), bench.free())
    assert bench.ran == [["a", "b", "c"]]


async def test_an_idle_engine_of_the_loop_starts_at_once() -> None:
    bench = Bench(inline_rows=8)
    assert await bench.engine.submit(Job("first"), math.inf) == 0
    submitting = bench.engine.submit(Job("second"), math.inf)
    with pytest.raises(StopIteration):  # it never waits
        submitting.send(None)
    assert bench.ran == [["first"], ["second"]]
    bench.now = 1.0
    with pytest.raises(DeadlinePassed):
        await bench.engine.submit(Job("late"), deadline=1.0)
    assert bench.engine.statistics().expired == 1
    assert bench.ran == [["first"], ["second"]]


async def test_an_engine_of_the_loop_notices_company_and_that_it_is_gone() -> None:
    """Rounds of three requests, then single ones."""
    bench = Bench(inline_rows=8)
    together = 0
    while together < 10:
        await asyncio.gather(*(bench.submit(name) for name in "abc"))
        together += bench.ran[-1] == ["a", "b", "c"]
        assert len(bench.ran) < 1000
    assert bench.ran[-10:] == [["a", "b", "c"]] * 10
    for _ in range(bench.engine.gathering.give_up_after):
        await bench.submit("single")
    submitting = bench.engine.submit(Job("at once"), math.inf)
    with pytest.raises(StopIteration):
        submitting.send(None)


async def test_a_busy_engine_gathers_and_takes_the_earliest_deadline_first() -> None:
    bench = Bench()
    first = bench.submit("first")
    await bench.held()
    waiting = [bench.submit(n, deadline) for n, deadline in (("c", 30), ("a", 10), ("b", 20))]
    await settle()
    assert len(bench.executor.held) == 1
    bench.executor.release()
    await bench.held()
    bench.executor.release()
    await asyncio.gather(first, *waiting)
    assert bench.ran == [["first"], ["a", "b", "c"]]


async def test_small_batches_run_in_the_loop_and_large_ones_elsewhere() -> None:
    bench = Bench(inline_rows=2)
    await bench.submit("small", rows=2)
    large = bench.submit("large", rows=3)
    await bench.held()
    assert bench.ran == [["small"]]
    bench.executor.release()
    await large
    assert bench.ran == [["small"], ["large"]]


async def test_what_expired_in_the_queue_is_not_run() -> None:
    bench = Bench()
    first = bench.submit("first")
    await bench.held()
    late, timely = bench.submit("late", deadline=5), bench.submit("timely", deadline=50)
    await settle()
    bench.now = 5.0
    bench.executor.release()
    with pytest.raises(DeadlinePassed):
        await late
    await bench.held()
    bench.executor.release()
    await asyncio.gather(first, timely)
    assert bench.ran == [["first"], ["timely"]]
    found = bench.engine.statistics()
    assert (found.expired, found.late_starts) == (1, 0)


async def test_a_busy_engine_does_not_hold_up_the_news_of_an_expiry() -> None:
    """The caller hears of it at its deadline, though the engine is not free."""
    executor = HeldExecutor()
    bench = Bench()
    engine: Engine[Job] = Engine(bench.run, executor, 0, (1, 2))
    first = asyncio.create_task(engine.submit(Job("first"), math.inf))
    while not executor.held:
        await asyncio.sleep(0)
    with pytest.raises(DeadlinePassed):
        await engine.submit(Job("late"), time.monotonic() + 0.005)
    assert len(executor.held) == 1
    executor.release()
    await first
    assert bench.ran == [["first"]]


async def test_a_run_that_takes_too_long_does_not_hold_up_the_news_either() -> None:
    """It goes on, and others have what it makes."""
    executor, bench = HeldExecutor(), Bench()
    engine: Engine[Job] = Engine(bench.run, executor, 0, (1, 2))
    late = asyncio.create_task(engine.submit(Job("late"), time.monotonic() + 0.005))
    other = asyncio.create_task(engine.submit(Job("other"), math.inf))
    with pytest.raises(DeadlinePassed):
        await late
    assert len(executor.held) == 1
    executor.release()
    await other
    assert bench.ran == [["other"]]


async def test_who_gives_up_at_the_deadline_has_expired() -> None:
    """In another process, whose word comes before the engine's own."""
    bench = Bench()
    first = bench.submit("first")
    await bench.held()
    given_up, hung_up = bench.submit("given up", deadline=50), bench.submit("hung up", deadline=90)
    await settle()
    bench.now = 50.0
    given_up.cancel()
    hung_up.cancel()
    await settle()
    assert bench.engine.statistics().expired == 1
    bench.executor.release()
    await first


async def test_what_a_caller_gave_up_is_not_run() -> None:
    bench = Bench()
    first = bench.submit("first")
    await bench.held()
    gone, stays = bench.submit("gone"), bench.submit("stays")
    await settle()
    gone.cancel()
    bench.executor.release()
    await bench.held()
    bench.executor.release()
    await asyncio.gather(first, stays)
    assert bench.ran == [["first"], ["stays"]]
    assert gone.cancelled()


async def test_tasks_at_different_passes_share_them() -> None:
    bench = Bench()
    long = bench.submit("long", runs=3)
    await bench.held()
    short = bench.submit("short", runs=1)
    await settle()
    for _ in range(3):
        bench.executor.release()
        await settle()
    await asyncio.gather(long, short)
    assert bench.ran[0] == ["long"]
    assert sorted(bench.ran[1]) == ["long", "short"]
    assert bench.ran[2] == ["long"]


async def test_a_deadline_stops_a_task_between_its_passes() -> None:
    bench = Bench()
    task = bench.submit("task", deadline=5, runs=9)
    await bench.held()
    bench.executor.release()
    await bench.held()
    bench.now = 5.0
    bench.executor.release()
    with pytest.raises(DeadlinePassed):
        await task
    assert bench.ran == [["task"]]


async def test_what_expires_or_is_given_up_before_its_thread_starts_is_not_run() -> None:
    bench = Bench()
    late, timely = bench.submit("late", deadline=5), bench.submit("timely", deadline=50)
    given_up = bench.submit("given up")
    await bench.held()
    bench.now = 5.0
    given_up.cancel()
    await settle()
    bench.executor.release()
    with pytest.raises(DeadlinePassed):
        await late
    await timely
    assert bench.ran == [["timely"]]
    found = bench.engine.statistics()
    assert (found.expired, found.late_starts, found.rows) == (1, 0, 1)
    assert bench.engine.statistics().late_starts == 0


async def test_offline_work_yields_between_passes() -> None:
    bench = Bench()
    bulk = bench.submit("bulk", offline=True, rows=8, runs=2)
    await bench.held()
    quick = bench.submit("quick", deadline=100)
    await settle()
    for _ in range(3):
        bench.executor.release()
        await settle()
    await asyncio.gather(bulk, quick)
    assert bench.ran == [["bulk"], ["quick"], ["bulk"]]


@pytest.mark.parametrize("inline_rows", [0, 8])
async def test_an_error_reaches_everybody_of_its_batch_and_ends_there(inline_rows: int) -> None:
    bench = Bench(inline_rows=inline_rows, breaks=True)
    tasks = [bench.submit("a"), bench.submit("b")]
    await settle()
    if not inline_rows:
        bench.executor.release()
    for task in tasks:
        with pytest.raises(RuntimeError, match="broken"):
            await task
    bench.breaks = False
    after = bench.submit("after")
    await settle()
    if not inline_rows:
        bench.executor.release()
    await after
    assert bench.ran == [["after"]]


async def test_a_prediction_counts_what_is_ahead() -> None:
    bench = Bench()
    for rows in (1, 8) * 10:
        bench.engine.model.observe(rows, 0.1 + 0.01 * rows)
    idle = bench.engine.predict(1)
    first = bench.submit("first")
    await bench.held()
    assert bench.engine.queued() == 0.0  # One that is alone waits for nobody but the run itself.
    assert bench.engine.predict(1) == pytest.approx(idle + 0.11, rel=0.01)
    waiting = bench.submit("waiting", rows=4)
    await settle()
    assert bench.engine.predict(1) > idle + 0.11
    assert bench.engine.statistics().waiting_rows == 4
    assert bench.engine.queued() == pytest.approx(0.11 + 0.14, rel=0.01)
    for _ in range(2):
        bench.executor.release()
        await settle()
    await asyncio.gather(first, waiting)


def test_what_is_learnt_of_a_run_is_what_one_of_its_passes_took() -> None:
    """A request of few passes is predicted from runs of many, and the other way round."""
    bench, seen = Bench(), []
    bench.engine.model.observe = lambda rows, seconds: seen.append((rows, seconds))  # type: ignore[method-assign]

    def run(jobs: Sequence[Job]) -> None:
        bench.now += 8.0

    bench.engine.run = run
    bench.engine.run_now([Job("a", rows=3, passes=4), Job("b", passes=1)])
    assert seen == [(4, 2.0)]
    assert bench.engine.statistics().run_nanoseconds == 8_000_000_000


class TestJobsRest:
    """What nobody waits for rests between its runs, for as long as the pace says."""

    async def test_others_are_run_meanwhile(self) -> None:
        bench = Bench(pace=10.0)
        job = bench.submit("job", offline=True, alone=True, runs=2)
        await bench.free()
        await settle()
        assert not bench.executor.held
        for name, offline in (("call", False), ("stream", True)):
            other = bench.submit(name, offline=offline)
            await bench.free()
            await other
        assert bench.ran == [["job"], ["call"], ["stream"]]
        assert not job.done()
        bench.now = 11.0
        last = bench.submit("last")
        await bench.free()
        await last
        await bench.free()
        await job
        assert bench.ran[3:] == [["last"], ["job"]]

    async def test_it_goes_on_by_itself(self) -> None:
        bench = Bench(pace=0.001)
        bench.engine.clock = time.monotonic
        job = bench.submit("job", offline=True, alone=True, runs=3)
        for _ in range(3):
            await bench.free()
        await job
        assert bench.ran == [["job"]] * 3

    async def test_one_whose_caller_has_gone_is_forgotten(self) -> None:
        bench = Bench(pace=10.0)
        job = bench.submit("job", offline=True, alone=True, runs=2)
        await bench.free()
        await settle()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        bench.now = 11.0
        other = bench.submit("call")
        await bench.free()
        await other
        assert bench.ran == [["job"], ["call"]]
