"""Several servers behind one name: the SDK asks them in turn, and leaves out who is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cascade_client import AsyncClient, Client
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig

from tests.releases import TABLE, make_release
from tests.server.running import Running, running

SOON = 120.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture(params=["http2", "grpcio"])
def servers(repository: Path, request: pytest.FixtureRequest) -> Iterator[list[Running]]:
    config = ServerConfig(repository=repository, port=0, transport=request.param)
    with ExitStack() as stack:
        yield [stack.enter_context(running(config)) for _ in range(2)]


def name_of(servers: list[Running]) -> str:
    """What resolves to all of them, as the name of a headless service does."""
    return "ipv4:" + ",".join(each.target for each in servers)


def answered(server: Running) -> int:
    level = server.stub.GetServiceLevel(pb.GetServiceLevelRequest(), timeout=SOON)
    return sum(each.count for each in level.latencies)


def test_calls_go_to_all_in_turn(servers: list[Running]) -> None:
    with Client(name_of(servers), timeout=SOON) as client:
        client.wait_ready()
        asked = 0
        # Until the second connection is there, the first has all.
        while not all(answered(each) for each in servers):
            client.synthesize(TABLE, {"items": 3})
            asked += 1
        before = [answered(each) for each in servers]
        assert sum(before) == asked
        for _ in range(20):
            client.synthesize(TABLE, {"items": 3})
        found = [answered(each) - b for each, b in zip(servers, before, strict=True)]
        assert found == [10, 10]


async def test_so_do_those_of_the_asyncio_client(servers: list[Running]) -> None:
    async with AsyncClient(name_of(servers), timeout=SOON) as client:
        await client.wait_ready()
        while not all(answered(each) for each in servers):
            await client.synthesize(TABLE, {"items": 3})


def test_who_drains_is_left_out(servers: list[Running]) -> None:
    first, second = servers
    with Client(name_of(servers), timeout=SOON) as client:
        client.wait_ready()
        while not all(answered(each) for each in servers):
            client.synthesize(TABLE, {"items": 3})
        before = answered(second)
        first.run(first.server.shutdown())
        for _ in range(10):
            client.synthesize(TABLE, {"items": 3})
        assert answered(second) == before + 10
