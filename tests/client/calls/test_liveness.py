"""A server, or a way to it, that says nothing any more is noticed, and gone round."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
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
    JobState,
    Retry,
    Unavailable,
)
from cascade_client.calls.lines import Line
from cascade_client.calls.liveness import Bounds, Vigil, Waited, has_passed
from cascade_client.calls.showing import Showing
from cascade_client.calls.thread_lines import ThreadLines
from cascade_client.testing import FakeServer, FakeTable

from tests.client.calls.over_grpc import serving
from tests.client.calls.relay import Relay, relaying

COLUMNS = (
    ColumnDescription("age", "integer", False, "int8", 0, 100),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
)
ROW = {"age": 30}
# So short that no test waits; that a server is asked too often and too hastily does no harm.
HASTY = Bounds(rest=0.1, answer=0.2, seconds=0.0, look=0.2, read=0.2)
# And so that nothing but deadlines counts.
BY_DEADLINES = Bounds(seconds=0.0)


class TestLines:
    """When the next calls go over another line."""

    @pytest.fixture
    def lines(self, told: Any) -> ThreadLines:
        return ThreadLines("here", object, None, Showing(), told.clock)

    def passes(self, lines: ThreadLines, line: Line, times: int, timeout: float = 1.0) -> None:
        for _ in range(times):
            lines.late(line, timeout, line.heard)

    def test_after_several_deadlines_and_a_while(self, lines: ThreadLines, told: Any) -> None:
        line = lines.take()
        self.passes(lines, line, 100)
        assert lines.take() is line
        told.sleep(1.0)
        self.passes(lines, line, 1)
        assert lines.take() is not line
        assert line.retired

    def test_a_while_alone_does_not_do(self, lines: ThreadLines, told: Any) -> None:
        line = lines.take()
        self.passes(lines, line, 1)
        told.sleep(9.0)
        self.passes(lines, line, 1)
        assert lines.take() is line

    def test_a_sign_in_between_begins_anew(self, lines: ThreadLines, told: Any) -> None:
        line = lines.take()
        for _ in range(9):
            self.passes(lines, line, 2)
            told.sleep(9.0)
            line.sign()
        assert lines.take() is line

    def test_one_does_that_had_as_long_as_a_server_is_waited_for(self, lines: ThreadLines) -> None:
        line = lines.take()
        lines.late(line, 15.0, line.heard - 1)  # others were answered meanwhile
        assert lines.take() is line
        self.passes(lines, line, 1, timeout=15.0)
        assert lines.take() is not line

    def test_one_over_which_nothing_ever_came_is_waited_for_longer_next_time(
        self, lines: ThreadLines, told: Any
    ) -> None:
        """A server that is there and has too much to do is not to be connected to all the time."""
        waited = []
        for _ in range(9):
            line, began = lines.take(), told.now
            self.passes(lines, line, 2)
            while lines.take() is line:
                told.sleep(1.0)
                self.passes(lines, line, 1)
            waited.append(told.now - began)
        assert waited == [1, 2, 4, 8, 16, 32, 64, 64, 64]
        line = lines.take()
        line.sign()
        lines.replace(line)
        assert lines.take().patience == 1.0

    def test_it_is_replaced_once(self, lines: ThreadLines) -> None:
        old = lines.take()
        lines.replace(old)
        line = lines.take()
        lines.replace(old)
        assert lines.take() is line

    def test_it_is_closed_when_its_calls_have_ended(self, told: Any) -> None:
        class Channel:
            closed = False

            def close(self) -> None:
                self.closed = True

        lines = ThreadLines("here", Channel, None, Showing(), told.clock)
        line = lines.take()
        lines.take()
        lines.replace(line)
        lines.left(line)
        assert not line.channel.closed
        lines.left(line)
        assert line.channel.closed

    def test_one_that_the_caller_gave_is_the_only_one(self, told: Any) -> None:
        lines = ThreadLines("here", object, object(), Showing(), told.clock)
        line = lines.take()
        lines.replace(line)
        assert lines.take() is line


class TestVigil:
    """Which calls are looked after, and whose servers are asked."""

    @pytest.fixture
    def line(self) -> Line:
        return Line(None)

    @pytest.fixture
    def vigil(self) -> Vigil:
        return Vigil(lambda: Bounds(rest=15.0, longest=60.0))

    @pytest.fixture
    def call(self, vigil: Vigil, line: Line) -> Waited:
        call = Waited(line, lambda _: None)
        call.begins()
        vigil.add(call)
        return call

    def test_a_server_is_asked_after_a_rest(self, vigil: Vigil, call: Waited) -> None:
        assert vigil.look() == ([], set())
        assert vigil.look() == ([], {call.line})

    @pytest.mark.parametrize(
        "sign",
        [
            lambda vigil, call: call.line.sign(),  # others have heard of it
            lambda vigil, call: call.begins(),  # its next message is waited for
            lambda vigil, call: call.ends(),  # nobody waits: its reader is busy
            lambda vigil, call: vigil.remove(call),  # it has ended
        ],
    )
    def test_but_not_where(self, vigil: Vigil, call: Waited, sign: Any) -> None:
        vigil.look()
        sign(vigil, call)
        assert vigil.look() == ([], set())

    def test_what_rests_for_too_long_is_given_up_whatever_others_hear(
        self, vigil: Vigil, call: Waited
    ) -> None:
        found = []
        for _ in range(5):
            found.append(vigil.look()[0])
            call.line.sign()
        assert found == [[], [], [], [], [call]]

    def test_of_a_line_those_are_given_up_that_somebody_waits_for(
        self, vigil: Vigil, call: Waited
    ) -> None:
        others = [Waited(call.line, lambda _: None), Waited(Line(None), lambda _: None)]
        for each in others:
            vigil.add(each)
        others[1].begins()
        assert vigil.over(call.line) == [call]


class Between:
    """What a server does between the first message of a stream and the next.

    Attributes:
        name: of the method whose streams wait there.
        there: set by a stream that is there.
        go_on: which lets it go on.
    """

    def __init__(self) -> None:
        self.name, self.there, self.go_on = "", threading.Event(), threading.Event()
        self.checks = 0
        self.enough = threading.Event()

    def __call__(self, name: str) -> None:
        if name == "Check":
            self.checks += 1
            if self.checks >= 3:
                self.enough.set()
        if name == self.name and not self.there.is_set():
            self.there.set()
            self.go_on.wait(30)


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": FakeTable(columns=COLUMNS)}, chunk_rows=10, max_rows=10)


@pytest.fixture
def relay(server: FakeServer, between: Between) -> Iterator[Relay]:
    with serving(server, between) as target, relaying(target) as relay:
        yield relay
        between.go_on.set()


async def the(found: Any) -> Any:
    """What comes of an answer of either client."""
    return await found if inspect.isawaitable(found) else found


def beside(client: Any, call: Callable[[], Any]) -> asyncio.Future[Any]:
    """An answer of either client, while the test goes on."""
    if isinstance(client, Client):
        return asyncio.ensure_future(asyncio.to_thread(call))
    return asyncio.ensure_future(call())


class TestBothClients:
    """The same of both, over a way that goes dark."""

    @pytest_asyncio.fixture(params=[Client, AsyncClient])
    async def client(self, request: pytest.FixtureRequest, relay: Relay) -> AsyncIterator[Any]:
        # Calls that come late have others refused, by lot: none of these.
        is_blocking, tick = request.param is Client, threading.Event()

        async def soon(_: float) -> None:
            await asyncio.sleep(0.001)

        client = request.param(
            relay.target,
            timeout=20.0,
            retry=Retry(attempts=50),
            rng=lambda: 0.0,
            sleep=(lambda _: tick.wait(0.001)) if is_blocking else soon,
        )
        client._channel.bounds = HASTY
        await the(client.describe("people"))
        yield client
        relay.darken()
        await the(client.close())

    async def go(self, client: Any, between: Between, relay: Relay, name: str, call: Any) -> Any:
        """What a call gives in the end, the way of which goes dark after its first message."""
        between.name = name
        asked = beside(client, call)
        assert await asyncio.to_thread(between.there.wait, 30)
        relay.darken()
        between.go_on.set()
        return await asked

    async def test_calls_go_over_another_connection_after_three_deadlines(
        self, client: Any, relay: Relay
    ) -> None:
        client._channel.bounds = BY_DEADLINES
        relay.darken()
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                await the(client.synthesize("people", ROW, timeout=0.04))
        assert (await the(client.synthesize("people", ROW))).data["age"] == 30
        assert relay.connections == 2
        # What was asked over the old one has ended, and so has it.
        assert await asyncio.to_thread(relay.left.wait, 30)

    async def test_so_do_those_of_a_session(self, client: Any, relay: Relay) -> None:
        client._channel.bounds = BY_DEADLINES
        session = client.session()
        await the(session.synthesize("people", ROW))
        relay.darken()
        for _ in range(3):
            with pytest.raises(DeadlineExceeded, match="within the timeout"):
                await the(session.synthesize("people", ROW, timeout=0.04))
        assert (await the(session.synthesize("people", ROW))).data["age"] == 30
        assert (await the(client.synthesize("people", ROW))).data["age"] == 30
        assert relay.connections == 2
        assert await asyncio.to_thread(relay.left.wait, 30)
        await the(session.close())

    async def test_what_is_under_way_ends_as_it_would(
        self, client: Any, relay: Relay, between: Between
    ) -> None:
        client._channel.bounds = BY_DEADLINES
        between.name = "Synthesize"
        first = beside(client, lambda: client.synthesize("people", ROW))
        assert await asyncio.to_thread(between.there.wait, 30)
        line = client._channel.take()
        client._channel.replace(line)
        client._channel.left(line)
        assert (await the(client.synthesize("people", ROW))).data["age"] == 30
        assert relay.connections == 2
        between.go_on.set()
        assert (await first).data["age"] == 30

    async def test_a_stream_of_rows_goes_on(
        self, client: Any, relay: Relay, between: Between, server: FakeServer
    ) -> None:
        def generate() -> Any:
            return client.generate("people", 35, seed=3, kind="rows")

        found = await self.go(client, between, relay, "Generate", generate)
        assert found.data == server.client().generate("people", 35, seed=3, kind="rows").data
        assert relay.connections >= 2

    async def test_so_does_one_with_a_far_deadline(
        self, client: Any, relay: Relay, between: Between
    ) -> None:
        def generate() -> Any:
            return client.generate("people", 35, seed=3, kind="rows", timeout=3600.0)

        assert len((await self.go(client, between, relay, "Generate", generate)).data) == 35

    async def test_so_does_a_wait(self, client: Any, relay: Relay, between: Between) -> None:
        job = await the(client.submit("people", 40))
        await self.go(client, between, relay, "WatchJob", job.wait)
        assert job.status.state is JobState.DONE

    async def test_so_does_a_file(
        self, client: Any, relay: Relay, between: Between, tmp_path: Path
    ) -> None:
        job = await the(client.submit("people", 40))
        await the(job.wait())
        await self.go(client, between, relay, "ReadResult", lambda: job.fetch(tmp_path))
        assert len(await the(job.to_arrow(tmp_path))) == 40

    async def test_so_do_parts_of_a_frame(self, client: Any, relay: Relay) -> None:
        """They have no deadline where their caller named none."""
        relay.darken()
        answer = await the(client.complete([{"age": None}] * 45, table="people"))
        assert all(row["age"] is not None for row in answer.data)
        assert relay.connections >= 2

    async def test_so_does_a_request_of_a_session(self, client: Any, relay: Relay) -> None:
        session = client.session()
        await the(session.synthesize("people", ROW))
        relay.darken()
        answer = await the(session.synthesize("people", ROW, timeout=math.inf))
        assert answer.data["age"] == 30
        await the(session.close())

    async def test_a_server_that_rests_is_waited_for(
        self, client: Any, relay: Relay, between: Between, server: FakeServer
    ) -> None:
        client._channel.bounds = Bounds(rest=0.02, answer=30.0)
        between.name = "Generate"
        asked = beside(client, lambda: client.generate("people", 35, kind="rows"))
        assert await asyncio.to_thread(between.enough.wait, 30)
        between.go_on.set()
        assert len((await asked).data) == 35
        assert [each.method for each in server.asked] == ["generate"]
        assert relay.connections == 1

    async def test_in_the_end_it_is_said(self, client: Any, relay: Relay) -> None:
        relay.darken(for_good=True)
        client.retry = Retry(attempts=1)
        said = r"nothing has come in 0\.1 s, and the server did not say in 0\.2 s that it is there"
        with pytest.raises(Unavailable, match=said):
            await the(client.generate("people", 35, kind="rows"))
        with pytest.raises(Unavailable, match=said):
            await the(client.tables(timeout=math.inf))

    async def test_cancelling_is_asyncios_own(self, client: Any, relay: Relay) -> None:
        if isinstance(client, Client):
            return
        relay.darken(for_good=True)
        client._channel.bounds = Bounds(rest=0.02, answer=30.0)
        for call in (
            client.tables(timeout=math.inf),
            client.generate("people", 35, kind="rows"),
        ):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.05)


class TestDeadlines:
    """How gRPC says that one has passed here, with no word of the server's."""

    def test_threads(self, target: str, service: Any) -> None:
        with Client(target, timeout=20.0, retry=Retry(attempts=1)) as client:
            service.hold.clear()
            with pytest.raises(DeadlineExceeded) as raised:
                client.tables(timeout=0.05)
            service.hold.set()
        assert has_passed(raised.value.__cause__)  # type: ignore[arg-type]

    async def test_tasks(self, target: str, service: Any) -> None:
        async with AsyncClient(target, timeout=20.0, retry=Retry(attempts=1)) as client:
            service.hold.clear()
            with pytest.raises(DeadlineExceeded) as raised:
                await client.tables(timeout=0.05)
            service.hold.set()
        assert has_passed(raised.value.__cause__)  # type: ignore[arg-type]

    def test_what_the_server_says_is_a_sign(self, client: Client, service: Any, fault: Any) -> None:
        service.faults = [fault(grpc.StatusCode.DEADLINE_EXCEEDED, "it would be late")]
        line = client._channel.take()
        with pytest.raises(DeadlineExceeded) as raised:
            client.tables()
        assert not has_passed(raised.value.__cause__)  # type: ignore[arg-type]
        assert (line.lates, line.heard) == (0, 1)
