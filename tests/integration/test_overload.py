"""More calls than a server lets a connection have at once; calls that end before their answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cascade_client import AsyncClient, Client, Overloaded
from cascade_loadtest.open_loop import End, offer, poisson
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig

from tests.releases import TABLE, make_release
from tests.server.messages import ask, row
from tests.server.running import Running, running

GIVEN = {"amount": 12.5}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def one_at_a_time(repository: Path) -> Iterator[Running]:
    config = ServerConfig(repository=repository, port=0, max_concurrent_streams=1, chunk_rows=16)
    with running(config) as server:
        yield server


def test_calls_beyond_the_limit_wait_for_their_turn(one_at_a_time: Running) -> None:
    with Client(one_at_a_time.target, timeout=20.0) as client, ThreadPoolExecutor() as threads:
        client.describe(TABLE)
        stream = client.stream(TABLE, 1_000)
        next(stream)
        waiting = threads.submit(client.synthesize, TABLE, GIVEN)
        assert sum(len(batch.data) for batch in stream) == 1_000 - 16
        assert waiting.result().data["amount"] == 12.5


def test_or_are_refused_at_once(one_at_a_time: Running) -> None:
    with Client(one_at_a_time.target, timeout=20.0, wait_for_turn=False) as client:
        client.describe(TABLE)
        stream = client.stream(TABLE, 100_000)
        next(stream)
        with pytest.raises(Overloaded):
            client.synthesize(TABLE, GIVEN)
        stream.close()


async def test_or_are_refused_at_once_with_asyncio(one_at_a_time: Running) -> None:
    async with AsyncClient(one_at_a_time.target, timeout=20.0, wait_for_turn=False) as client:
        await client.describe(TABLE)
        stream = client.stream(TABLE, 100_000)
        await anext(stream)
        with pytest.raises(Overloaded):
            await client.synthesize(TABLE, GIVEN)
        await stream.aclose()


def test_what_is_offered_ends_in_one_way_each(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten times what the server can take, with deadlines that pass before and after the answer.

    Answers to calls that have ended are no news: the log stays empty. And who comes afterwards is
    answered, which gRPC itself must not prevent: some of its releases cancel live calls then.
    """
    message = ask(row(**GIVEN), fidelity=pb.FIDELITY_FAST).SerializeToString()
    method = "/cascade.v1.Synthesis/Synthesize"
    config = ServerConfig(repository=repository, port=0, max_concurrent_streams=50)
    ends: set[End] = set()
    with running(config) as server, caplog.at_level(logging.WARNING):
        due = poisson(30_000, 0.3)
        for deadline in (0.005, 0.5):
            found = asyncio.run(offer(server.target, method, message, due, deadline, 2))
            ends |= set(found.ends)
            assert len(found.ends) == len(due)
        answers = [server.stub.Synthesize(ask(row(**GIVEN))) for _ in range(5)]
        statistics = server.stub.GetStatistics(pb.GetStatisticsRequest())
    late = {End.LATE, End.GAVE_UP}
    assert ends - late - {End.REFUSED} == {End.OK, End.REFUSED_HERE}
    assert [answer.rows.count for answer in answers] == [1] * 5
    assert sum(engine.late_starts for engine in statistics.engines) == 0
    assert not [record for record in caplog.records if record.name.startswith("grpc")]


def test_a_table_that_is_not_there_is_still_refused(one_at_a_time: Running) -> None:
    with pytest.raises(grpc.RpcError, match="unknown table"):
        one_at_a_time.stub.Synthesize(pb.SynthesizeRequest(table="nobody's"))
