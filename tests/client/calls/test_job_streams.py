"""Streams of jobs: begun again after a break and now and then, and sent when there is room."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cascade_client import (
    AsyncClient,
    Client,
    ColumnDescription,
    DeadlineExceeded,
    Job,
    JobState,
    Overloaded,
    ServerError,
    Unauthenticated,
)
from cascade_client.calls import showing
from cascade_client.calls.downloads import Download
from cascade_client.calls.job_streams import JobWatch, Reading
from cascade_client.sessions.messages import StreamedError
from cascade_client.testing import FakeServer, FakeTable
from cascade_client.values.jobs import ResultFile, job_of
from cascade_proto import jobs_pb2 as pb

from tests.client.calls.over_grpc import serving

LATE = StreamedError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
RESET = "Received RST_STREAM with error code 2"


def job(state: pb.JobState.ValueType = pb.JOB_STATE_RUNNING, done: int = 0) -> Job:
    return job_of(pb.Job(id="0123", state=state, rows=10, rows_done=done))


class TestWatches:
    """What is asked for, and what becomes of it."""

    @pytest.fixture
    def watch(self) -> JobWatch:
        return JobWatch("0123", seconds=15.0)

    @pytest.mark.parametrize(("left", "seconds"), [(None, 15.0), (40.0, 15.0), (5.0, 5.0)])
    def test_one_is_open_for_a_while(
        self, watch: JobWatch, left: float | None, seconds: float
    ) -> None:
        assert watch.begin(left) == seconds

    def test_it_is_begun_again_at_once_when_its_time_is_over(self, watch: JobWatch) -> None:
        for _ in range(1000):
            watch.begin(None)
            watch.takes(job())
            failure = watch.why(LATE)
            assert failure is not None
            assert watch.delay(failure, None, 0.5) == 0.0

    def test_one_without_a_message_has_failed(self, watch: JobWatch) -> None:
        for attempt in range(1, 121):
            watch.begin(None)
            failure = watch.why(LATE)
            assert failure is not None
            assert failure.code is grpc.StatusCode.UNAVAILABLE
            assert failure.details == "the server has sent nothing of job 0123 in 15 s"
            assert watch.delay(failure, None, 0.5) == (0.5 if attempt < 120 else None)

    def test_its_callers_deadline_is_one(self, watch: JobWatch) -> None:
        watch.begin(5.0)
        watch.takes(job())
        failure = watch.why(LATE)
        assert failure is not None
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert watch.delay(failure, None, 0.5) is None

    def test_nothing_is_told_twice(self, watch: JobWatch) -> None:
        watch.begin(None)
        assert [watch.takes(job(done=done)) for done in (0, 4, 4, 8)] == [True, True, False, True]
        watch.begin(None)
        assert not watch.takes(job(done=8))

    @pytest.mark.parametrize(
        ("told", "said"),
        [([], "before anything was said"), ([job()], "before it had: it is RUNNING")],
    )
    def test_an_end_of_the_stream_is_none_of_the_job(
        self, watch: JobWatch, told: list[Job], said: str
    ) -> None:
        watch.begin(None)
        for each in told:
            watch.takes(each)
        failure = watch.why(None)
        assert failure is not None
        assert failure.details == f"the watch of job 0123 ended {said}"
        assert watch.delay(failure, None, 0.5) == 0.5

    def test_of_a_state_that_has_no_name_it_may_be(self, watch: JobWatch) -> None:
        watch.begin(None)
        watch.takes(job(state=17))  # type: ignore[arg-type]
        assert watch.why(None) is None

    def test_the_end_is_the_end(self, watch: JobWatch) -> None:
        assert not watch.complete
        watch.takes(job())
        assert not watch.complete
        watch.takes(job(pb.JOB_STATE_CANCELLED))
        assert watch.complete


class TestReading:
    """A file goes on from a byte."""

    @pytest.fixture
    def reading(self, tmp_path: Path) -> Any:
        file = ResultFile("rows", 0, 1, 4, hashlib.sha256(b"abcd").hexdigest())
        with Download("0123", file, tmp_path) as download:
            yield Reading(download, seconds=60.0)
            download.write(b"abcd"[download.done :])

    def test_a_slow_way_is_given_more_time(self, reading: Reading) -> None:
        assert [reading.begin(None) for _ in range(6)] == [60, 120, 240, 480, 600, 600]
        reading.takes(b"ab")
        assert reading.begin(None) == 120

    def test_one_that_ends_too_early_is_gone_on_with(self, reading: Reading) -> None:
        reading.begin(None)
        reading.takes(b"ab")
        failure = reading.why(None)
        assert failure is not None
        assert failure.details == "the stream ended after 2 of 4 bytes of rows"
        assert reading.delay(failure, None, 0.5) == 0.5
        reading.takes(b"cd")
        assert reading.complete


COLUMNS = (ColumnDescription("age", "integer", False, "int8", 0, 100),)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": FakeTable(columns=COLUMNS)}, chunk_rows=40)


# What is asked of a job's handle, of either client; a method's name and its arguments.
Ask = Callable[..., Any]


class TestBreaks:
    """What breaks a stream of generated rows and is gone on with, is so here, with both clients."""

    @pytest_asyncio.fixture(params=["threads", "tasks"])
    async def ask(
        self, request: pytest.FixtureRequest, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Ask]:
        monkeypatch.setattr(showing, "JUST_NOW", 0.0)
        self.tokens = iter(f"token-{number}" for number in range(100))
        make = server.client if request.param == "threads" else server.async_client
        client: Any = make(token=lambda: next(self.tokens))
        found = client.submit("people", 200, seed=1)
        handle = await found if request.param == "tasks" else found

        async def ask(name: str, *arguments: Any, **named: Any) -> Any:
            answer = getattr(handle, name)(*arguments, **named)
            return await answer if request.param == "tasks" else answer

        yield ask

    @pytest.mark.parametrize(
        ("error", "pause"),
        [
            (Overloaded("busy", retry_after=0.7), 0.7),
            (ServerError(RESET), 0.5),
            (Unauthenticated("who are you"), 0.0),
        ],
    )
    @pytest.mark.parametrize("after", [0, 80])
    async def test_a_watch_goes_on(
        self, ask: Ask, server: FakeServer, error: Exception, pause: float, after: int
    ) -> None:
        server.refuse(error, after=after)  # type: ignore[arg-type]
        await ask("wait")
        assert server.clock() == pytest.approx(pause)
        assert (await ask("refresh")).state is JobState.DONE

    @pytest.mark.parametrize(
        "error", [Overloaded("busy", retry_after=0.7), ServerError(RESET), Unauthenticated("who")]
    )
    async def test_a_file_goes_on(
        self, ask: Ask, server: FakeServer, error: Exception, tmp_path: Path
    ) -> None:
        await ask("wait")
        server.refuse(error, after=1024, times=3)  # type: ignore[arg-type]
        assert len(await ask("fetch", tmp_path)) == 8

    async def test_what_does_not_pass_is_raised(self, ask: Ask, server: FakeServer) -> None:
        server.refuse(Overloaded("the quota is used up"))
        with pytest.raises(Overloaded, match="quota"):
            await ask("wait")

    async def test_a_watch_whose_time_is_over_is_begun_again(
        self, ask: Ask, server: FakeServer
    ) -> None:
        server.refuse(DeadlineExceeded, after=40)
        told: list[tuple[int, int]] = []
        await ask("wait", progress=lambda *each: told.append(each))
        assert told[-1] == (200, 200)
        assert len(set(told)) == len(told) - 1  # it began with no rows, twice


class TestRoom:
    """More streams than the connection may have wait until there is room, and nothing else does."""

    WAITS = 8

    @pytest.fixture
    def hold(self) -> threading.Event:
        return threading.Event()

    @pytest.fixture
    def narrow(self, server: FakeServer, hold: threading.Event) -> Any:
        """Where a server listens that lets a connection have three calls at once, and tells no more
        of a job than its state until it may."""
        with serving(
            server,
            lambda name: name == "WatchJob" and hold.wait(30),
            [("grpc.max_concurrent_streams", 3)],
        ) as target:
            yield target

    def test_threads(self, narrow: str, hold: threading.Event) -> None:
        paused: list[float] = []

        def sleep(seconds: float) -> None:
            paused.append(seconds)
            hold.set()  # somebody has found no room

        with Client(narrow, timeout=20, sleep=sleep) as client:
            found = [client.submit("people", 100).id for _ in range(self.WAITS)]
            with ThreadPoolExecutor(self.WAITS) as threads:
                waits = [threads.submit(client.jobs.wait, each) for each in found]
                assert {each.result(30).state for each in waits} == {JobState.DONE}
        assert 0.5 in paused

    async def test_tasks(self, narrow: str, hold: threading.Event) -> None:
        paused: list[float] = []

        async def sleep(seconds: float) -> None:
            paused.append(seconds)
            hold.set()
            await asyncio.sleep(0)

        async with AsyncClient(narrow, timeout=20, sleep=sleep) as client:
            found = [(await client.submit("people", 100)).id for _ in range(self.WAITS)]
            waits = await asyncio.gather(*map(client.jobs.wait, found))
            assert {each.state for each in waits} == {JobState.DONE}
        assert 0.5 in paused

    def test_without_waiting_they_are_overloaded(self, narrow: str, hold: threading.Event) -> None:
        with Client(narrow, timeout=20, wait_for_turn=False) as client:
            job = client.submit("people", 100)
            watches = [client.jobs.watch(job.id) for _ in range(3)]
            for each in watches:
                next(each)
            with pytest.raises(Overloaded, match="Too many streams"):
                client.jobs.wait(job.id)
            hold.set()
