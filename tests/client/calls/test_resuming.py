"""Streams of generated rows that break, and go on where they broke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cascade_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Overloaded,
    Retry,
    ServerError,
    Unavailable,
)
from cascade_client.calls.resuming import Resumption
from cascade_client.errors import Failure
from cascade_proto import synthesis_pb2 as pb

UNAVAILABLE, FULL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
INTERNAL = grpc.StatusCode.INTERNAL
LOST = Failure(UNAVAILABLE, "Socket closed")


def message(start: int, stop: int, version: int = 3, seed: int = 77) -> pb.GenerateResponse:
    """Rows `start` to `stop` of ten."""
    return pb.GenerateResponse(
        rows=pb.Rows(count=stop - start),
        done=stop,
        total=10,
        provenance=pb.Provenance(version=version, seed=seed),
    )


@pytest.fixture
def rows() -> Resumption:
    found = Resumption(pb.GenerateRequest(table="people", count=10), Retry(attempts=3))
    found.request()
    return found


class TestWhatIsAskedFor:
    """The first request is the caller's; the rest name seed, version and what has come."""

    def test_at_first_all(self) -> None:
        request = pb.GenerateRequest(table="people", count=10)
        assert Resumption(request, Retry()).request() == request

    def test_then_the_rest_of_the_same_rows(self, rows: Resumption) -> None:
        rows.takes(message(0, 4))
        rows.takes(message(4, 8))
        asked = rows.request()
        assert (asked.done, asked.count, asked.version, asked.seed) == (8, 10, 3, 77)
        assert asked.HasField("seed")

    def test_a_seed_of_zero_is_one(self, rows: Resumption) -> None:
        rows.takes(message(0, 4, seed=0))
        assert rows.request().HasField("seed")

    def test_the_callers_request_stays_as_it_is(self) -> None:
        request = pb.GenerateRequest(table="people", count=10)
        rows = Resumption(request, Retry())
        rows.takes(message(0, 4))
        assert request == pb.GenerateRequest(table="people", count=10)

    def test_until_all_has_come(self, rows: Resumption) -> None:
        assert not rows.complete
        for start, stop in ((0, 4), (4, 8), (8, 10)):
            assert rows.takes(message(start, stop))
        assert rows.complete


class TestWhatComes:
    """Rows are taken once, and in their order."""

    def test_rows_that_came_already_are_left_out(self, rows: Resumption) -> None:
        """A server that does not know how to resume begins anew."""
        rows.takes(message(0, 4))
        assert [rows.takes(message(0, 4)), rows.takes(message(4, 8))] == [False, True]
        assert rows.done == 8

    def test_a_gap_is_no_answer(self, rows: Resumption) -> None:
        rows.takes(message(0, 4))
        with pytest.raises(ServerError, match=r"rows up to 4 have come, .* those from 8 to 10"):
            rows.takes(message(8, 10))

    def test_nor_are_chunks_of_another_size(self, rows: Resumption) -> None:
        """They are drawn from other noise: some rows would come twice."""
        rows.takes(message(0, 4))
        with pytest.raises(ServerError, match=r"had 4 rows and this one has 2; .* chunk_rows"):
            rows.takes(message(4, 6))


class TestTries:
    """Those without a message in between are counted."""

    def test_they_end(self, rows: Resumption) -> None:
        assert rows.delay(LOST, None, 0.5) == pytest.approx(0.02)
        rows.request()
        assert rows.delay(LOST, None, 0.5) == pytest.approx(0.04)
        for _ in range(9):
            assert rows.delay(LOST, None, 0.5) is not None
            rows.request()
        rows.request()
        assert rows.delay(LOST, None, 0.5) is None

    def test_a_message_begins_them_anew(self, rows: Resumption) -> None:
        for start in (0, 4):
            rows.request()
            rows.request()
            rows.takes(message(start, start + 4))
            assert rows.delay(LOST, None, 0.5) == pytest.approx(0.02)

    def test_not_past_the_deadline(self, rows: Resumption) -> None:
        rows.takes(message(0, 4))
        assert rows.delay(LOST, 0.01, 0.5) is None

    def test_a_request_that_was_not_sent_is_none(self, rows: Resumption) -> None:
        for _ in range(9):
            rows.waited()
            rows.request()
        assert rows.delay(LOST, None, 0.5) == pytest.approx(0.02)

    @pytest.mark.parametrize("code", [INTERNAL, grpc.StatusCode.CANCELLED])
    def test_a_proxys_reset_is_a_lost_connection(self, rows: Resumption, code: Any) -> None:
        reset = Failure(code, "Received RST_STREAM with error code 2")
        assert rows.delay(reset, None, 0.5) == pytest.approx(0.02)
        assert rows.delay(Failure(code, "other"), None, 0.5) is None


# What is asked of either client: all rows of ages 0 to 6, in messages of two.
Ask = Callable[..., Any]


class TestStreams:
    """The same of both clients, with a server whose streams break."""

    @pytest_asyncio.fixture(params=["threads", "tasks"])
    async def ask(
        self, request: pytest.FixtureRequest, target: str, told: Any
    ) -> AsyncIterator[Ask]:
        options: dict[str, Any] = {"timeout": 20.0, "clock": told.clock, "rng": lambda: 0.5}
        if request.param == "threads":
            with Client(target, sleep=told.sleep, **options) as client:

                async def ask(**options: Any) -> Any:
                    return client.generate("people", 7, kind="rows", **options)

                yield ask
        else:
            async with AsyncClient(target, sleep=told.sleep_async, **options) as tasks:

                async def ask(**options: Any) -> Any:
                    return await tasks.generate("people", 7, kind="rows", **options)

                yield ask

    @pytest.mark.parametrize("resumes", [True, False])
    async def test_all_rows_come_once(
        self, ask: Ask, service: Any, fault: Any, resumes: bool
    ) -> None:
        service.resumes = resumes
        service.ends = [
            (1 + 1 * (not resumes), fault(UNAVAILABLE, "draining")),
            (1 + 2 * (not resumes), fault(FULL, pushback="700")),
            (1 + 2 * (not resumes), fault(INTERNAL, "Received RST_STREAM with error code 2")),
        ]
        answer = await ask(columns=["age"])
        assert [row["age"] for row in answer.data] == list(range(7))

    async def test_seed_and_version_are_those_of_the_first_message(
        self, ask: Ask, service: Any, fault: Any
    ) -> None:
        service.ends = [(1, fault(UNAVAILABLE)), (2, fault(UNAVAILABLE))]
        await ask()
        assert [(r.done, r.version, r.seed) for r in service.requests] == [
            (0, 0, 0),
            (2, 3, 77),
            (6, 3, 77),
        ]

    async def test_a_server_that_asks_to_come_back_is_waited_for(
        self, ask: Ask, service: Any, fault: Any, told: Any
    ) -> None:
        service.ends = [(0, fault(FULL, pushback="40")), (2, fault(FULL, pushback="700"))]
        assert len((await ask()).data) == 7
        assert told.slept == pytest.approx([0.04, 0.7])

    async def test_a_stream_that_just_ends_too(self, ask: Ask, service: Any) -> None:
        service.ends = [(1, None), (0, None), (1, None)]
        assert len((await ask()).data) == 7

    async def test_tries_without_a_message_run_out(
        self, ask: Ask, service: Any, fault: Any
    ) -> None:
        service.ends = [(1, fault(UNAVAILABLE)), (1, None), *[(0, fault(UNAVAILABLE))] * 20]
        with pytest.raises(Unavailable, match="as scripted") as raised:
            await ask()
        assert len(service.requests) == 1 + 4 * Retry().attempts
        [note] = raised.value.__notes__
        assert note == "4 of 7 rows had come, with seed 77 from version 3"

    async def test_a_server_that_gives_nothing(self, ask: Ask, service: Any) -> None:
        service.ends = [(0, None)] * 20
        with pytest.raises(Unavailable, match="the stream ended after no rows"):
            await ask()
        assert len(service.requests) == 4 * Retry().attempts

    async def test_what_cannot_be_helped_is_not_tried_again(
        self, ask: Ask, service: Any, fault: Any
    ) -> None:
        service.ends = [(1, fault(FULL, "quota"))]
        with pytest.raises(Overloaded, match="quota"):
            await ask()
        assert len(service.requests) == 1

    async def test_the_deadline_is_the_whole_streams(
        self, ask: Ask, service: Any, fault: Any
    ) -> None:
        service.ends = [(1, fault(FULL, pushback="3000")), (1, fault(FULL, pushback="3000"))]
        with pytest.raises(Overloaded):
            await ask(timeout=5.0)
        first, second = service.deadlines
        assert first > 4.9
        assert second <= 2.1  # gRPC rounds a timeout up by at most 1 %, to fit its header

    async def test_a_deadline_between_two_tries(self, target: str, service: Any) -> None:
        service.ends = [(1, None)]
        ticks = {"now": 0.0}
        with (
            Client(
                target,
                clock=lambda: ticks["now"],
                sleep=lambda _: ticks.update(now=9.0),
                rng=lambda: 0.5,
            ) as client,
            pytest.raises(DeadlineExceeded),
        ):
            client.generate("people", 7, timeout=5.0)


class TestReleases:
    """Another release may answer who named none; the rest comes from the one that began."""

    def test_its_schema_is_asked_for_within_the_stream(
        self, client: Client, service: Any, fault: Any
    ) -> None:
        client.describe("people")
        service.version = 4
        service.ends = [(1, fault(UNAVAILABLE))]
        assert client.generate("people", 3, kind="rows").provenance.version == 4
        assert [request.version for request in service.requests] == [0, 4]
        assert service.described == 2

    def test_never_resumes_where_nothing_is_retried(self, target: str, service: Any) -> None:
        service.ends = [(1, None)]
        with (
            Client(target, retry=Retry(attempts=1)) as client,
            pytest.raises(Unavailable, match="the stream ended after 2 of 3 rows"),
        ):
            client.generate("people", 3, kind="rows")
