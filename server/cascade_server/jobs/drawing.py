"""Draws the rows of jobs: with the teacher in its own process, or with the student in this one.

The random numbers of a row depend only on the seed and the row's position in the job. While some
rows are decoded and written, the next are drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cascade_jobs.errors import Cause, JobFailed, JobWaits
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_tables import CascadeTablesError, Frame, load_release, read_manifest

from cascade_server.engines.gpu.opening import open_runtime
from cascade_server.engines.noise import inside_bins, noise_of, recycle, stream
from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import AWAY, LocalTeacher, Teacher, TeacherInput
from cascade_server.engines.teacher_link import TeacherLink
from cascade_server.errors import BadRequest, NotReady
from cascade_server.jobs.conditions import Conditions, GivenColumns, conditions_of
from cascade_server.jobs.courtesy import Courtesy
from cascade_server.jobs.metering import JobMetering
from cascade_server.terms import Tier

T = TypeVar("T")

# Rows that are drawn, decoded and written together, by tier.
SLABS = {"student": 4096, "teacher": 1024}
# Rows of one run, by tier. The teacher's process fills its batches with rows of several callers; a
# part of this size fills a batch alone, so that no other rows share its passes.
PARTS = {"student": 512, "teacher": 256}
# Parts sent to the teacher at the same time, so that it always has the next one.
IN_FLIGHT = 4
# Seconds to wait for a teacher's process that is being restarted, and between checks.
PATIENCE, LOOK = 20.0, 0.05


@dataclass(eq=False)
class Opened:
    """An opened release, and the conditions of the job that it draws for.

    Attributes:
        runtime: the release, with its student or without networks.
        own_teacher: a teacher in this process, if the teacher's process does not have the release;
            else None.
        job: the JSON specification that `conditions` and `columns` belong to.
        spent: time spent on rows that have not been counted yet.
        conditions: the known values of each row.
        columns: the same as arrays.
    """

    runtime: Runtime
    own_teacher: Teacher | None = None
    job: str = ""
    spent: Spent = field(default_factory=Spent)
    conditions: Conditions = field(init=False)
    columns: GivenColumns = field(init=False)

    def prepare(self, specification: Specification, message: bytes) -> None:
        """Read the conditions of a job, unless they were read last time."""
        job = specification.to_json()
        if self.job == job:
            return
        self.conditions = conditions_of(specification, message, self.runtime)
        self.columns = GivenColumns(self.conditions, self.runtime.release.codec.kinds)
        self.job = job


class _InTurns(Executor):
    """An executor that does each piece of work in its own turn.

    Args:
        thread: does the work.
        turn: gives a turn; see `Courtesy.turn`.
    """

    def __init__(self, thread: Executor, turn: Callable[[], AbstractContextManager[None]]) -> None:
        self._thread, self._turn = thread, turn

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do work in the thread once it has its turn."""

        def work() -> T:
            with self._turn():
                return fn(*args, **kwargs)

        return self._thread.submit(work)


class ReleaseDrawing:
    """Draws the rows of jobs from a model repository; a `Drawing` of `cascade_jobs`.

    Args:
        repository: the folder of the model repository.
        loop: the event loop, in another thread, for connections to the teacher's process.
        teachers: the connection to that process, started in that loop; None if the teacher runs in
            this process.
        teacher_threads: threads of a pass in this process; one if `courtesy` is given, since a turn
            is for one processor.
        courtesy: makes drawing threads take turns and rest; None for no limit.
        metering: counts usage by jobs; None to count nothing.
    """

    def __init__(
        self,
        repository: Path,
        loop: asyncio.AbstractEventLoop,
        teachers: TeacherLink | None,
        teacher_threads: int = 1,
        courtesy: Courtesy | None = None,
        metering: JobMetering | None = None,
    ) -> None:
        self._metering = metering
        self._repository, self._loop, self._teachers = repository, loop, teachers
        self._threads = teacher_threads if courtesy is None else 1
        self._drawing = ThreadPoolExecutor(1, "drawing")
        self._turn = nullcontext if courtesy is None else courtesy.turn
        self._opened: dict[tuple[str, str], Opened] = {}

    def close(self) -> None:
        """Stop the thread; work that has not started is dropped."""
        self._drawing.shutdown(wait=False, cancel_futures=True)

    def rows(
        self, specification: Specification, conditions: bytes, shard: Shard
    ) -> Generator[Frame, None, None]:
        """See `Drawing`.

        Raises:
            JobFailed: the release is gone or has changed, or the conditions do not fit it.
            JobWaits: the teacher's process is away for longer than a restart takes.
        """
        opened = self._open(specification)
        try:
            opened.prepare(specification, conditions)
        except (CascadeTablesError, BadRequest) as exc:
            raise JobFailed(f"its conditions: {exc}", Cause.CONDITIONS) from exc
        slab, end = SLABS[specification.tier], shard.first + shard.rows
        cuts = [*range(shard.first, end, slab), end]
        slabs = list(pairwise(cuts))
        ahead = self._begin(specification, opened, *slabs[0])
        try:
            for number, (first, patience_ends) in enumerate(slabs):
                tokens = ahead.result()
                if number + 1 < len(slabs):
                    ahead = self._begin(specification, opened, *slabs[number + 1])
                # Writing them is part of the turn.
                with self._turn():
                    yield self._decoded(specification, opened, tokens, first, patience_ends - first)
                self._count(opened, first, patience_ends - first)
        except NotReady as exc:
            raise JobWaits(str(exc), Cause.AWAY) from exc
        finally:
            ahead.cancel()

    def _count(self, opened: Opened, first: int, rows: int) -> None:
        """Count rows that were drawn and written."""
        if self._metering is not None:
            observed = opened.conditions.encoded.observed[opened.conditions.of_rows(first, rows)]
            unknown = observed.size - int(np.count_nonzero(observed))
            self._metering.made(rows, unknown, opened.spent.take())

    def _decoded(
        self, specification: Specification, opened: Opened, tokens: Tokens, first: int, rows: int
    ) -> Frame:
        runtime, of_row = opened.runtime, opened.conditions.of_rows(first, rows)
        inside = inside_bins(specification.seed, first, rows, runtime.columns)
        given = opened.conditions.values(of_row) or None
        columns = runtime.release.codec.decode_columns(tokens, inside, specification.columns, given)
        opened.columns.put_back(columns, of_row)
        return Frame(columns)

    # Drawing.

    def _begin(
        self, specification: Specification, opened: Opened, first: int, patience_ends: int
    ) -> Future[Tokens]:
        """Start drawing rows [first, patience_ends) of a job."""
        if specification.by_teacher:
            work = self._by_teacher(specification, opened, first, patience_ends)
            return self._in_loop(work)
        return self._drawing.submit(self._by_student, specification, opened, first, patience_ends)

    def _in_loop(self, work: Coroutine[Any, Any, Tokens]) -> Future[Tokens]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _by_student(
        self, specification: Specification, opened: Opened, first: int, patience_ends: int
    ) -> Tokens:
        runtime, drawn = opened.runtime, []
        for begin in range(first, patience_ends, PARTS["student"]):
            of_row = opened.conditions.of_rows(begin, min(PARTS["student"], patience_ends - begin))
            encoded = opened.conditions.encoded
            with self._turn():
                tokens, observed = encoded.tokens[of_row], encoded.observed[of_row]
                noise = runtime.noise_of_student.source(specification.seed, begin, 1, observed)
                made = noise((len(tokens), runtime.student_noise))
                drawn.append(runtime.draw_student(tokens, observed, made))
        return np.concatenate(drawn)

    async def _by_teacher(
        self, specification: Specification, opened: Opened, first: int, patience_ends: int
    ) -> Tokens:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def part(begin: int) -> Tokens:
            async with room:
                rows = min(PARTS["teacher"], patience_ends - begin)
                return await self._part_by_teacher(specification, opened, begin, rows)

        parts = [
            asyncio.ensure_future(part(at)) for at in range(first, patience_ends, PARTS["teacher"])
        ]
        try:
            return np.concatenate(await asyncio.gather(*parts))
        finally:
            for each in parts:
                each.cancel()

    async def _part_by_teacher(
        self, specification: Specification, opened: Opened, first: int, rows: int
    ) -> Tokens:
        """Draw the rows of one batch of the teacher; tries again if its process was restarted."""
        runtime, encoded = opened.runtime, opened.conditions.encoded
        of_row = opened.conditions.of_rows(first, rows)
        # All batches use the passes that the job's most demanding row needs, so that the rows of a
        # batch do not matter.
        steps = max(1, runtime.passes(encoded.observed))
        rng = stream(specification.seed, start=first * runtime.teacher_noise)
        noise = noise_of(rng)((rows, runtime.teacher_noise))
        recycle(rng)
        given = TeacherInput(
            encoded.tokens[of_row], encoded.observed[of_row], noise, steps, alone=True
        )
        while True:
            teacher = opened.own_teacher or await self._teacher(runtime)
            try:
                drawn, _ = await teacher.draw(given, float("inf"), offline=True)
                if opened.own_teacher is None:
                    # Work in this process is counted with everything else that it does.
                    opened.spent.add(given.spent.seconds, given.spent.gpu_seconds)
                return drawn
            except NotReady:
                continue  # wait for it, but not for ever

    async def _teacher(self, runtime: Runtime) -> Teacher:
        """Return the release's teacher in its own process, once that is up.

        Raises:
            NotReady: it has been away for too long.
        """
        teachers = self._teachers
        assert teachers is not None
        patience_ends = self._loop.time() + PATIENCE
        while teachers.outlook(runtime.identity) is None:
            if self._loop.time() >= patience_ends:
                raise NotReady(AWAY)
            await asyncio.sleep(LOOK)
        return teachers.teacher(runtime)

    # Releases.

    def _open(self, specification: Specification) -> Opened:
        """Return a job's release, loaded; raises JobFailed if it no longer exists."""
        name = f"{specification.table} version {specification.version}"
        try:
            found = read_manifest(
                self._repository, specification.table, specification.version
            ).digest
            if found != specification.release:
                raise JobFailed(
                    f"{name} is another release by now ({found}); the job is for "
                    f"{specification.release}",
                    Cause.RELEASE,
                )
            key = specification.release, specification.tier
            if key not in self._opened:
                # One at a time: jobs seldom change the release, and its networks are large.
                self._opened.clear()
                self._opened[key] = self._loaded(specification)
            return self._opened[key]
        except CascadeTablesError as exc:
            why = f"{name} cannot be loaded any more: {exc}"
            raise JobFailed(why, Cause.RELEASE) from exc

    def _loaded(self, specification: Specification) -> Opened:
        release = load_release(self._repository, specification.table, specification.version)
        tiers: tuple[Tier, ...] = (Tier.STUDENT,)
        if specification.by_teacher:
            identity = f"{specification.table}/{specification.version}/{specification.release}"
            tiers = () if self._is_served(identity) else (Tier.TEACHER,)
        runtime = open_runtime(release, self._repository, self._threads, tiers, "cpu")
        if tiers == (Tier.TEACHER,):
            # One turn per pass, so that decoding and writing come in between.
            return Opened(runtime, LocalTeacher(runtime, _InTurns(self._drawing, self._turn)))
        return Opened(runtime)

    def _is_served(self, identity: str) -> bool:
        """Return whether the teacher's process has a release; wait if that process is starting."""
        teachers = self._teachers
        if teachers is None:
            return False

        async def told() -> bool:
            try:
                async with asyncio.timeout(PATIENCE):
                    await teachers.connected.wait()
                    # It reports all releases one after another.
                    await asyncio.sleep(LOOK)
            except TimeoutError:
                raise JobWaits(AWAY, Cause.AWAY) from None
            return teachers.outlook(identity) is not None

        return asyncio.run_coroutine_threadsafe(told(), self._loop).result()
