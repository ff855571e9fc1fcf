"""Sessions: `synthesize` over one standing stream, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import grpc
import pandas as pd
import pytest
import pytest_asyncio
from cascade_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from cascade_client.sessions.messages import Asked, message_of
from cascade_proto import synthesis_pb2 as pb

UNAVAILABLE, FULL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
ROW = {"age": 30}


@pytest.fixture
def session(client: Client) -> Iterator[Client]:
    with client.session() as found:
        yield found


@pytest_asyncio.fixture
async def tasks(target: str, told: Any) -> AsyncIterator[AsyncClient]:
    """A session for asyncio."""
    async with (
        AsyncClient(
            target, timeout=20.0, clock=told.clock, sleep=told.sleep_async, rng=lambda: 0.5
        ) as client,
        client.session() as found,
    ):
        yield found


class TestAnswers:
    """They are those of calls, over one stream."""

    def test_in_the_form_of_the_request(self, session: Client, service: Any) -> None:
        one = session.synthesize("people", ROW, columns=["age", "city"], seed=5)
        assert one.data == {"age": 30, "city": "Rome"}
        assert one.provenance.seed == 5
        frame = session.synthesize("people", pd.DataFrame(ROW, index=[4]), draws=2).data
        assert list(frame["age"]) == [30, 30]
        assert service.streams == 1

    def test_everything_else_is_the_clients(self, session: Client, service: Any) -> None:
        assert session.describe("people").version == 3
        assert len(session.generate("people", 3, kind="rows").data) == 3
        assert service.streams == 0

    def test_schemas_are_shared(self, client: Client, session: Client, service: Any) -> None:
        session.synthesize("people", ROW)
        client.synthesize("people", ROW)
        assert service.described == 1

    def test_threads_share_it(self, session: Client, service: Any) -> None:
        found: dict[int, Any] = {}

        def ask(age: int) -> None:
            found[age] = session.synthesize("people", {"age": age}).data["age"]

        threads = [threading.Thread(target=ask, args=(age,)) for age in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {age: age for age in range(30)}
        assert service.streams == 1

    def test_who_has_given_up_is_left_out(self) -> None:
        asked = [
            Asked(number, pb.SynthesizeRequest(timeout_microseconds=900_000), 5.0, Future())
            for number in range(3)
        ]
        asked[1].answer.cancel()
        message = message_of(asked, clock=lambda: 4.75)
        assert [each.id for each in message.requests] == [0, 2]
        assert {each.request.timeout_microseconds for each in message.requests} == {250_000}

    async def test_tasks_share_it(self, tasks: AsyncClient, service: Any) -> None:
        asked = [tasks.synthesize("people", {"age": age}) for age in range(30)]
        found = await asyncio.gather(*asked)
        assert [each.data["age"] for each in found] == [*range(30)]
        assert service.streams == 1
        assert (await tasks.describe("people")).version == 3


class TestErrors:
    """The failure of a request is its own, and reads as a call's."""

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
            (grpc.StatusCode.NOT_FOUND, NotFound),
            (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        ],
    )
    def test_it_ends_nothing(
        self, session: Client, service: Any, fault: Any, code: Any, error: Any
    ) -> None:
        service.faults = [fault(code, "column 'x': no")]
        with pytest.raises(error, match="column 'x': no") as raised:
            session.synthesize("people", ROW)
        assert raised.value.code is code
        assert session.synthesize("people", ROW).data["age"] == 30
        assert service.streams == 1

    def test_a_full_server_is_asked_again_when_it_says(
        self, session: Client, service: Any, fault: Any, told: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="70"), fault(FULL, pushback="30")]
        assert session.synthesize("people", ROW).data["age"] == 30
        assert told.slept == [0.07, 0.03]

    def test_at_the_end_of_its_attempts_it_is_overloaded(
        self, session: Client, service: Any, fault: Any
    ) -> None:
        service.faults = [fault(FULL, "busy", pushback="70")] * 9
        with pytest.raises(Overloaded, match="busy") as raised:
            session.synthesize("people", ROW)
        assert raised.value.retry_after == 0.07

    async def test_for_tasks_too(
        self, tasks: AsyncClient, service: Any, fault: Any, told: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="70"), fault(grpc.StatusCode.NOT_FOUND, "no")]
        with pytest.raises(NotFound, match="no"):
            await tasks.synthesize("people", ROW)
        assert told.slept == [0.07]


class TestBreaks:
    """A stream that ends is opened again."""

    def test_what_was_on_its_way_is_sent_again(
        self, session: Client, service: Any, fault: Any, told: Any
    ) -> None:
        session.synthesize("people", ROW)
        service.breaks = [fault(UNAVAILABLE, "draining")]
        assert session.synthesize("people", ROW).data["age"] == 30
        assert len(told.slept) == 1
        assert service.streams == 2

    def test_what_cannot_be_helped_is_said(self, session: Client, service: Any, fault: Any) -> None:
        service.breaks = [fault(UNAVAILABLE, "draining")] * 9
        with pytest.raises(Unavailable, match="draining"):
            session.synthesize("people", ROW)

    async def test_for_tasks_too(
        self, tasks: AsyncClient, service: Any, fault: Any, told: Any
    ) -> None:
        service.breaks = [fault(UNAVAILABLE, "draining")]
        assert (await tasks.synthesize("people", ROW)).data["age"] == 30
        assert service.streams == 2
        service.breaks = [fault(UNAVAILABLE, "draining")] * 9
        with pytest.raises(Unavailable, match="draining"):
            await tasks.synthesize("people", ROW)


class TestTime:
    """Deadlines are the request's own."""

    def test_what_is_left_goes_along(self, session: Client, service: Any, told: Any) -> None:
        session.synthesize("people", ROW, timeout=0.25)
        assert service.requests[-1].timeout_microseconds == 250_000

    def test_a_retry_has_what_is_left_then(self, session: Client, service: Any, fault: Any) -> None:
        service.faults = [fault(FULL, pushback="70")]
        session.synthesize("people", ROW, timeout=0.25)
        sent = [request.timeout_microseconds for request in service.requests]
        assert sent == [250_000, 180_000]

    def test_a_late_answer_is_dropped_and_the_stream_goes_on(
        self, session: Client, service: Any
    ) -> None:
        session.describe("people")
        service.hold.clear()
        with pytest.raises(DeadlineExceeded, match="within the timeout"):
            session.synthesize("people", ROW, timeout=0.05)
        service.hold.set()
        assert session.synthesize("people", {"age": 31}).data["age"] == 31
        assert service.streams == 1

    async def test_for_tasks_too(self, tasks: AsyncClient, service: Any) -> None:
        await tasks.describe("people")
        service.hold.clear()
        with pytest.raises(DeadlineExceeded, match="within the timeout"):
            await tasks.synthesize("people", ROW, timeout=0.05)
        task = asyncio.ensure_future(tasks.synthesize("people", ROW))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        service.hold.set()
        assert (await tasks.synthesize("people", {"age": 31})).data["age"] == 31
        assert service.streams == 1


class TestClosing:
    """The session ends; its client does not."""

    def test_it_answers_no_more(self, client: Client) -> None:
        with client.session() as session:
            session.synthesize("people", ROW)
        with pytest.raises(RuntimeError, match="closed"):
            session.synthesize("people", ROW)
        assert client.synthesize("people", ROW).data["age"] == 30

    def test_what_is_under_way_is_cancelled(self, client: Client, service: Any) -> None:
        raised: list[Exception] = []
        session = client.session()
        client.describe("people")
        service.hold.clear()

        def ask() -> None:
            try:
                session.synthesize("people", ROW)
            except Exception as exc:
                raised.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        assert service.arrived.wait(10)
        session.close()
        thread.join(10)
        service.hold.set()
        assert [type(each) for each in raised] == [Cancelled]

    def test_one_that_was_never_used(self, client: Client) -> None:
        client.session().close()
        assert client.describe("people").version == 3

    def test_a_closed_client_has_none(self, target: str) -> None:
        client = Client(target)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.session()

    async def test_for_tasks_too(self, target: str, service: Any) -> None:
        async with AsyncClient(target, timeout=20.0) as client:
            async with client.session() as session:
                await session.synthesize("people", ROW)
                service.hold.clear()
                task = asyncio.ensure_future(session.synthesize("people", ROW))
                await asyncio.to_thread(lambda: service.arrived.wait(10))
                await session.close()
                with pytest.raises(Cancelled):
                    await task
                service.hold.set()
            assert (await client.synthesize("people", ROW)).data["age"] == 30
