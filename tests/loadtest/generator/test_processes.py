"""The generator as processes, against a real server; and calls of the SDK recorded and replayed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient, Client
from cascade_loadtest.errors import LoadFailed, TraceError
from cascade_loadtest.generator.processes import capacity, offer
from cascade_loadtest.outcomes import together
from cascade_loadtest.run import mix
from cascade_loadtest.run.running import traced
from cascade_loadtest.schedule.profiles import curve
from cascade_loadtest.schedule.recording import TraceRecorder
from cascade_loadtest.schedule.traces import TracedCall, read_trace
from cascade_server.config import ServerConfig

from tests.releases import TABLE, make_release
from tests.server.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    repository: Path = tmp_path_factory.mktemp("model_repository")
    make_release(repository)
    with running(ServerConfig(repository=repository, port=0)) as found:
        yield found


@pytest.fixture(scope="module")
def rows(server: Running) -> list[dict[str, Any]]:
    with Client(server.target, timeout=60) as client:
        found: list[dict[str, Any]] = client.generate(TABLE, 20, kind="rows").data
        return found


@pytest.fixture
def messages(server: Running, rows: list[dict[str, Any]]) -> Iterator[mix.Messages]:
    with Client(server.target, timeout=60) as client:
        yield mix.Messages(client, TABLE, rows, None, "fast", random.Random(1))


def test_every_call_of_every_process_has_one_end(server: Running, messages: mix.Messages) -> None:
    shape = curve("steps", 60.0, 1.0)
    plan = mix.of_profile(server.target, messages, shape, "poisson", 3, 1)
    found = offer(plan, processes=2)
    assert together(found.calls).count == len(plan) == sum(each.due for each in found.windows)
    assert found.lag.count == len(plan)
    assert set(together(found.calls).tiers) <= {"student", "pool"}
    assert len(found.cpu) == 2


def test_capacity(server: Running, messages: mix.Messages) -> None:
    found = capacity(mix.closed(server.target, messages, 0.6, 4))
    assert found.per_s > 0
    assert 0 <= found.refused < 1


def test_a_process_that_cannot_connect_says_so(messages: mix.Messages) -> None:
    plan = mix.of_profile("127.0.0.1:1", messages, curve("constant", 5.0, 1.0), "constant", 1, 1)
    with pytest.raises(LoadFailed, match="ended: ConnectionRefusedError"):
        offer(plan)


def test_calls_of_the_sdk_are_recorded_and_replayed(
    server: Running, rows: list[dict[str, Any]], messages: mix.Messages, tmp_path: Path
) -> None:
    path = tmp_path / "calls.jsonl"
    with TraceRecorder(path) as recorder:
        channel = recorder.channel(grpc.insecure_channel(server.target))
        with Client(server.target, channel=channel, timeout=60) as client:
            client.synthesize(TABLE, {"amount": 12.5}, draws=3, timeout=30)
            client.synthesize(TABLE, {"amount": 12.5, "channel": rows[0]["channel"]}, timeout=30)
    calls = read_trace(path)
    assert [(each.table, list(each.given), each.draws) for each in calls] == [
        (TABLE, ["amount"], 3),
        (TABLE, ["amount", "channel"], 1),
    ]
    assert all(each.deadline is not None and 0 < each.deadline <= 30 for each in calls)
    plan = mix.of_trace(server.target, messages, rows, calls, TABLE, 1.0, 60.0, 1, 1)
    found = offer(plan)
    assert found.calls[mix.REPLAYED].answered == 2


async def test_calls_with_asyncio_are_recorded(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with TraceRecorder(path, values=True) as recorder:
        channel = grpc.aio.insecure_channel(server.target, interceptors=[recorder.interceptor()])
        async with AsyncClient(server.target, channel=channel, timeout=60) as client:
            await client.synthesize(TABLE, {"amount": 12.5}, timeout=30)
    (call,) = read_trace(path)
    assert call.given == {"amount": 12.5}


def test_a_run_is_a_trace_too(
    server: Running, rows: list[dict[str, Any]], messages: mix.Messages
) -> None:
    """What was asked at a profile's times is asked again, byte for byte."""
    plan = mix.of_profile(server.target, messages, curve("constant", 20.0, 0.5), "constant", 1, 1)
    calls = traced(plan, TABLE)
    again = mix.of_trace(server.target, messages, rows, calls, TABLE, 2.0, 60.0, 1, 1)
    assert again.due == pytest.approx((plan.due - plan.due[0]) / 2)
    assert again.deadline == pytest.approx(plan.deadline)
    assert len(again) == 10


def test_a_trace_of_another_table_is_refused(
    server: Running, rows: list[dict[str, Any]], messages: mix.Messages
) -> None:
    def replay(*calls: TracedCall) -> None:
        mix.of_trace(server.target, messages, rows, calls, TABLE, 1.0, 60.0, 1, 1)

    with pytest.raises(TraceError, match=rf"no call of '{TABLE}'; it has calls of nope"):
        replay(TracedCall(0.0, "nope", {}))
    with pytest.raises(TraceError, match=rf"gives 'agee', which '{TABLE}' has not; its columns"):
        replay(TracedCall(0.0, TABLE, {"agee": 3}))
    with pytest.raises(TraceError, match=r"the trace's call at 2 s: column 'amount': \[1\] is a"):
        replay(TracedCall(2.0, TABLE, {"amount": [1]}))
