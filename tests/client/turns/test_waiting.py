"""Threads and tasks that wait for their turn, with calls that end when the test says so."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient, Client, DeadlineExceeded, Overloaded
from cascade_client.sessions.messages import StreamedError
from cascade_client.turns.queue import Limits, TurnStatistics
from cascade_client.turns.tasks import TaskTurns
from cascade_client.turns.threads import ThreadTurns
from cascade_proto.synthesis_pb2_grpc import add_SynthesisServicer_to_server

ONE = Limits(1, 1)
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
AWAY = StreamedError(FULL, "Stream removed (Too many streams)")


LATER = r"1 calls .* 2400 ms later .* nothing was sent"


def known(turns: Any, pace: float) -> None:
    """Make the queue know how many seconds there are between answers."""
    for _ in range(9):
        turns._queue._pace.add(pace)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do, ten seconds at most."""
    tick = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        tick.wait(0.001)
    pytest.fail("it never happened")


class TestThreads:
    """Those of `Client`."""

    @pytest.fixture
    def turns(self, told: Any) -> ThreadTurns:
        return ThreadTurns(ONE, told.clock, told.sleep, lambda: 0.5)

    def test_one_after_the_other(self, turns: ThreadTurns) -> None:
        inside = threading.Semaphore(1)

        def call() -> bool:
            return inside.acquire(blocking=False) and (inside.release() or True)

        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: turns.send(call, math.inf, ""), range(200)))
        assert found == [True] * 200
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    def test_a_failure_gives_the_turn_back(self, turns: ThreadTurns) -> None:
        def fails() -> None:
            raise ValueError("mine")

        for _ in range(2):
            with pytest.raises(ValueError, match="mine"):
                turns.send(fails, math.inf, "")
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    def test_who_waits_until_its_deadline_was_never_sent(
        self, turns: ThreadTurns, told: Any
    ) -> None:
        with turns.holding(math.inf), pytest.raises(DeadlineExceeded, match="waited for its turn"):
            turns.send(lambda: pytest.fail("sent"), told.now + 0.01, "")
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    def test_who_would_be_late_is_refused_unsent(self, turns: ThreadTurns, told: Any) -> None:
        known(turns, 5.0)
        let_go = threading.Event()
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(turns.send, lambda: let_go.wait(10), told.now + 9, "")
            until(lambda: turns.statistics() == TurnStatistics(1, 1, 0, 0))
            second = threads.submit(turns.send, lambda: 2, told.now + 9, "")
            until(lambda: turns.statistics() == TurnStatistics(1, 1, 1, 0))
            for refuse in (
                lambda: turns.check(told.now + 9.5, ""),
                lambda: turns.send(lambda: pytest.fail("sent"), told.now + 9.5, ""),
            ):
                with pytest.raises(Overloaded, match=LATER) as raised:
                    refuse()
                assert raised.value.retry_after == pytest.approx(2.4)
            let_go.set()
            assert (first.result(10), second.result(10)) == (True, 2)
        assert turns.statistics() == TurnStatistics(0, 1, 0, 2)

    def test_who_is_dropped_is_told(self, turns: ThreadTurns, told: Any) -> None:
        known(turns, 0.1)
        let_go = threading.Event()
        with ThreadPoolExecutor(3) as threads:
            first = threads.submit(turns.send, lambda: let_go.wait(10), told.now + 9, "")
            until(lambda: turns.statistics() == TurnStatistics(1, 1, 0, 0))
            others = []
            for waiting in (1, 2):
                others.append(threads.submit(turns.send, lambda: 2, told.now + 4, ""))
                until(lambda n=waiting: turns.statistics() == TurnStatistics(1, 1, n, 0))
            told.now += 3.9
            let_go.set()
            assert (first.result(10), others[0].result(10)) == (True, 2)
            with pytest.raises(Overloaded, match="would be late by now; nothing was sent"):
                others[1].result(10)

    def test_one_too_many_for_the_connection_is_sent_again(
        self, turns: ThreadTurns, told: Any
    ) -> None:
        answers = iter([AWAY, AWAY, None])

        def call() -> str:
            if (error := next(answers)) is not None:
                raise error
            return "sent"

        assert turns.send(call, math.inf, "") == "sent"
        assert told.slept == [0.002, 0.002]

    def test_nothing_waits_where_nothing_may(self, told: Any) -> None:
        turns = ThreadTurns(None, told.clock, told.sleep, lambda: 0.5)

        def away() -> None:
            raise AWAY

        with turns.holding(math.inf):
            assert turns.send(lambda: 1, math.inf, "") == 1
            with pytest.raises(StreamedError):
                turns.send(away, math.inf, "")
        assert turns.statistics() is None


class TestTasks:
    """Those of `AsyncClient`: the same, and a task may be cancelled."""

    @pytest.fixture
    def turns(self, told: Any) -> TaskTurns:
        return TaskTurns(ONE, told.clock, told.sleep_async, lambda: 0.5)

    async def test_one_after_the_other(self, turns: TaskTurns) -> None:
        inside = 0

        async def call() -> int:
            nonlocal inside
            inside += 1
            await asyncio.sleep(0)
            inside -= 1
            return inside

        found = await asyncio.gather(*(turns.send(call, math.inf, "") for _ in range(50)))
        assert found == [0] * 50
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    async def test_who_waits_until_its_deadline_was_never_sent(
        self, turns: TaskTurns, told: Any
    ) -> None:
        async with turns.holding(math.inf):
            with pytest.raises(DeadlineExceeded, match="waited for its turn"):
                await turns.send(lambda: pytest.fail("sent"), told.now + 0.01, "")
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    async def test_who_would_be_late_is_refused_unsent(self, turns: TaskTurns, told: Any) -> None:
        known(turns, 5.0)

        async def call() -> int:
            return 2

        async with turns.holding(math.inf):
            second = asyncio.ensure_future(turns.send(call, told.now + 9, ""))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match=LATER):
                turns.check(told.now + 9.5, "")
            with pytest.raises(Overloaded, match=LATER):
                await turns.send(call, told.now + 9.5, "")
        assert await second == 2

    async def test_who_is_dropped_is_told(self, turns: TaskTurns, told: Any) -> None:
        known(turns, 0.1)

        async def call() -> int:
            return 2

        async with turns.holding(math.inf):
            others = [asyncio.ensure_future(turns.send(call, told.now + 4, "")) for _ in range(2)]
            await asyncio.sleep(0)
            told.now += 3.9
        assert await others[0] == 2
        with pytest.raises(Overloaded, match="would be late by now"):
            await others[1]

    @pytest.mark.parametrize("its_turn_has_come", [False, True])
    async def test_a_cancelled_task_gives_its_turn_up(
        self, turns: TaskTurns, its_turn_has_come: bool
    ) -> None:
        async def call() -> int:
            return 2

        async with turns.holding(math.inf):
            tasks = [asyncio.ensure_future(turns.send(call, math.inf, "")) for _ in range(2)]
            await asyncio.sleep(0)
            if not its_turn_has_come:
                tasks[0].cancel()
        tasks[0].cancel()
        assert await tasks[1] == 2
        assert tasks[0].cancelled()
        assert turns.statistics() == TurnStatistics(0, 1, 0, 0)

    async def test_one_too_many_for_the_connection_is_sent_again(
        self, turns: TaskTurns, told: Any
    ) -> None:
        answers = iter([AWAY, AWAY, None])

        async def call() -> str:
            if (error := next(answers)) is not None:
                raise error
            return "sent"

        assert await turns.send(call, math.inf, "") == "sent"
        assert told.slept == [0.002, 0.002]


@pytest.fixture
def narrow(service: Any) -> Iterator[str]:
    """Where a server listens that lets a connection have three calls at once."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_concurrent_streams", 3)])
    add_SynthesisServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


class TestConnections:
    """A real one, on which gRPC counts: what it turns away waits here, and nothing is lost."""

    def test_threads(self, narrow: str, service: Any) -> None:
        with Client(narrow, timeout=20) as client, ThreadPoolExecutor(12) as threads:
            client.describe("people")
            service.hold.clear()
            found = [threads.submit(client.synthesize, "people", {"age": age}) for age in range(12)]
            until(lambda: client.turns == TurnStatistics(3, 3, 9, 0))
            service.hold.set()
            assert [each.result(10).data["age"] for each in found] == list(range(12))
            assert client.turns is not None
            assert client.turns.waiting == client.turns.in_flight == 0

    async def test_tasks(self, narrow: str, service: Any) -> None:
        async with AsyncClient(narrow, timeout=20) as client:
            await client.describe("people")
            asked = [client.synthesize("people", {"age": age}) for age in range(40)]
            assert [each.data["age"] for each in await asyncio.gather(*asked)] == list(range(40))
            assert client.turns is not None
            assert client.turns.limit <= 4

    def test_streams_of_rows_wait_too(self, narrow: str, service: Any) -> None:
        with Client(narrow, timeout=20) as client:
            open_ones = [client.stream("people", 1000, kind="rows") for _ in range(3)]
            for each in open_ones:
                next(each)
            with ThreadPoolExecutor(2) as threads:
                more = threads.submit(client.generate, "people", 3, kind="rows")
                until(lambda: client.turns == TurnStatistics(3, 3, 1, 0))
                open_ones.pop().close()
                assert len(more.result(10).data) == 3

    def test_without_waiting_they_are_overloaded(self, narrow: str, service: Any) -> None:
        with (
            Client(narrow, timeout=20, wait_for_turn=False) as client,
            ThreadPoolExecutor(3) as threads,
        ):
            client.describe("people")
            service.hold.clear()
            held = [threads.submit(client.synthesize, "people", {}) for _ in range(3)]
            until(lambda: len(service.requests) == 3)
            with pytest.raises(Overloaded, match="Too many streams"):
                client.synthesize("people", {})
            service.hold.set()
            assert [each.result(10).data["age"] for each in held] == [40] * 3
            assert client.turns is None

    def test_a_session_opens_its_stream_once_there_is_room(self, narrow: str, service: Any) -> None:
        with Client(narrow, timeout=20) as client:
            open_ones = [client.stream("people", 1000, kind="rows") for _ in range(3)]
            for each in open_ones:
                next(each)
            closing = threading.Timer(0.0, open_ones.pop().close)
            with client.session() as session:
                closing.start()
                assert session.synthesize("people", {"age": 3}).data["age"] == 3
                assert session.turns == TurnStatistics(0, 64, 0, 0)
