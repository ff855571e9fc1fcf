"""The asyncio client: what the blocking one does, and what only asyncio has."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import grpc
import pandas as pd
import pytest
import pytest_asyncio
from cascade_client import (
    AsyncClient,
    CascadeError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from cascade_client.messages import wire

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest_asyncio.fixture
async def client(target: str, told: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(
        target, timeout=20.0, clock=told.clock, sleep=told.sleep_async, rng=lambda: 0.5
    ) as client:
        yield client


class TestAnswers:
    """Rows come back complete, in the form they went out in."""

    async def test_synthesize(self, client: AsyncClient) -> None:
        one = await client.synthesize("people", {"age": 30}, columns=["age", "city"])
        assert one.data == {"age": 30, "city": "Rome"}
        two = await client.synthesize("people", {"age": 30}, draws=2, columns=["age"])
        assert two.data == [{"age": 30}] * 2
        frame = await client.synthesize("people", pd.DataFrame({"age": [1]}, index=["a"]))
        assert frame.data.loc["a", "age"] == 1

    async def test_says_whose_budget_its_refusal_would_spend(
        self, client: AsyncClient, service: Any
    ) -> None:
        await client.synthesize("people", {"age": 30}, fidelity="full")
        assert service.headers.items() >= {("cascade-table", "people"), ("cascade-class", "full")}

    async def test_many_at_once(self, client: AsyncClient) -> None:
        asked = [client.synthesize("people", {"age": age}) for age in range(50)]
        assert [a.data["age"] for a in await asyncio.gather(*asked)] == list(range(50))

    async def test_a_row_is_written_when_its_turn_has_come(
        self, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who is refused before that has cost next to nothing."""
        await client.synthesize("people", {"age": 30})
        monkeypatch.setattr(wire, "synthesize_request", lambda *_, **__: pytest.fail("written"))
        turns = client._turns
        async with AsyncExitStack() as stack:
            while (found := turns.statistics()) and found.in_flight < found.limit:
                await stack.enter_async_context(turns.holding(math.inf))
            with pytest.raises(DeadlineExceeded, match="waited for its turn"):
                await client.synthesize("people", {"age": 30}, timeout=0.01)

    async def test_generate_and_stream(self, client: AsyncClient) -> None:
        reports: list[tuple[int, int]] = []
        answer = await client.generate(
            "people", 3, kind="rows", given={"age": 9}, progress=lambda *d: reports.append(d)
        )
        assert [row["age"] for row in answer.data] == [9, 9, 9]
        assert reports == [(2, 3), (3, 3)]
        chunks = [chunk.done async for chunk in client.stream("people", 3, kind="arrow")]
        assert chunks == [2, 3]

    async def test_tables_and_describe(self, client: AsyncClient) -> None:
        assert [summary.table for summary in await client.tables()] == ["people"]
        assert (await client.describe("people", version=1)).version == 1

    async def test_a_new_release_brings_its_schema(self, client: AsyncClient, service: Any) -> None:
        await client.synthesize("people", {})
        service.version = 4
        await client.synthesize("people", {})
        await client.synthesize("people", {})
        assert service.described == 2


class TestFailures:
    """The same decisions as the blocking client's."""

    async def test_not_found(self, client: AsyncClient) -> None:
        with pytest.raises(NotFound):
            await client.describe("persons")

    async def test_backoff_then_pushback(
        self, client: AsyncClient, service: Any, told: Any, fault: Any
    ) -> None:
        service.faults = [fault(UNAVAILABLE), fault(FULL, pushback="700")]
        assert await client.tables()
        assert told.slept == pytest.approx([0.02, 0.7])

    async def test_a_negative_pushback_is_final(
        self, client: AsyncClient, service: Any, fault: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="-1")]
        with pytest.raises(Overloaded):
            await client.tables()

    async def test_bad_arguments(self, client: AsyncClient) -> None:
        with pytest.raises(InvalidRequest, match="draws is 0"):
            await client.synthesize("people", {}, draws=0)
        with pytest.raises(InvalidRequest, match="kind is 'excel'"):
            await client.generate("people", 1, kind="excel")  # type: ignore[call-overload]

    async def test_a_deadline_on_the_server(self, client: AsyncClient, service: Any) -> None:
        service.hold.clear()
        try:
            with pytest.raises(DeadlineExceeded):
                await client.tables(timeout=0.05)
        finally:
            service.hold.set()


class TestLife:
    """Cancelling, waiting, closing."""

    async def test_cancelling_a_task_is_asyncios_own_error(
        self, client: AsyncClient, service: Any
    ) -> None:
        service.hold.clear()
        task = asyncio.create_task(client.tables())
        await asyncio.to_thread(service.arrived.wait, 10)
        task.cancel()
        try:
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            service.hold.set()

    async def test_leaving_a_stream_early_cancels(self, client: AsyncClient, service: Any) -> None:
        async with aclosing(client.stream("people", 10**9, kind="rows")) as chunks:  # type: ignore[type-var]
            async for _ in chunks:
                break
        assert await asyncio.to_thread(service.ended.wait, 10)

    async def test_waits_until_serving(self, client: AsyncClient, service: Any, told: Any) -> None:
        service.ready = [0, 2]
        await client.wait_ready()
        assert len(told.slept) == 2
        service.ready = [2] * 1000
        with pytest.raises(Unavailable, match="is not ready after 2 s: NOT_SERVING"):
            await client.wait_ready(2)

    async def test_closing(self, client: AsyncClient, target: str) -> None:
        await client.tables()
        await client.close()
        await client.close()
        with pytest.raises(RuntimeError, match="answers no more calls"):
            await client.tables()
        await AsyncClient(target).close()  # never used

    def test_is_made_outside_a_loop_and_used_inside(self, target: str) -> None:
        client = AsyncClient(target)

        async def ask() -> int:
            async with client:
                return len(await client.tables())

        assert asyncio.run(ask()) == 1

    @pytest.mark.parametrize("name", ["jobs", "releases"])
    def test_what_it_has_is_asked_for_outside_a_loop_and_used_inside(
        self, target: str, name: str
    ) -> None:
        """As where a module makes its client, and a function of it runs."""
        client = AsyncClient(target)
        found = getattr(client, name)

        async def ask() -> int:
            async with client:
                with pytest.raises(CascadeError, match="Method not found"):
                    await found.list()  # the server has none of it, and says so
                return len(await client.tables())

        assert asyncio.run(ask()) == 1
