"""What a server says of its health while calls fail, are refused or wait; the clock is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import Client
from cascade_proto import inference_pb2, inference_pb2_grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.errors import NotReady, TooMuch
from cascade_server.health.ability import CheckConfig
from cascade_server.health.checkup import LOOK_SECONDS, Checkup
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.releases import TABLE
from tests.server.messages import ask
from tests.server.running import DRAWN_ANEW, Running, running

OTHER = "shops"


class Looked:
    """A server whose health is looked at when a test says so, on a clock that the test moves."""

    def __init__(self, server: Running) -> None:
        self.server, self.ahead = server, 0.0
        service = server.server.service
        self.dispatcher = service.dispatcher

        async def taken_over() -> Checkup:
            assert service.checkup is not None
            await service.checkup.stop()
            return Checkup(
                service.dispatcher,
                service.repository,
                server.server.sla.ledger.book.calls,
                server.server._told_health,
                clock=lambda: time.monotonic() + self.ahead,
            )

        self.checkup = service.checkup = server.run(taken_over())

    def pass_by(self, seconds: float) -> None:
        """Look as often as is due in so many seconds, each time until checks have ended."""
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.ahead += LOOK_SECONDS
            self.server.run(self._look())

    async def _look(self) -> None:
        self.checkup.look(time.monotonic() + self.ahead)
        await self.checkup.checked()

    def engines(self, table: str) -> Sequence[Any]:
        service = self.server.server.service
        return [self.dispatcher.engines[each] for each in service.repository.tables[table].values()]

    @property
    def said(self) -> dict[str, str]:
        """By name; a table is called by its own."""
        with Client(self.server.target) as client:
            return {
                name.removeprefix("cascade.v1.Synthesis/"): status
                for name, status in client.health().items()
            }

    def not_serving(self) -> set[str]:
        return {name for name, status in self.said.items() if status != "SERVING"}

    def runs(self, table: str) -> int:
        return sum(each.student.statistics().runs for each in self.engines(table))

    def ready(self, model: str = "") -> bool:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(self.server.channel)
        if not model:
            return bool(stub.ServerReady(inference_pb2.ServerReadyRequest()).ready)
        return bool(stub.ModelReady(inference_pb2.ModelReadyRequest(name=model)).ready)


@pytest.fixture
def looked(repository: Path) -> Iterator[Looked]:
    config = ServerConfig(repository=repository, port=0, **DRAWN_ANEW)
    with running(config) as server:
        yield Looked(server)


def breaks(looked: Looked, table: str, error: Exception, patch: pytest.MonkeyPatch) -> None:
    """From now on all students of a table fail."""

    def fails(*_: object) -> None:
        raise error

    for engines in looked.engines(table):
        patch.setattr(engines.student, "submit", fails)
        patch.setattr(engines.student, "run_now", fails)


def test_a_server_that_nobody_asks_asks_itself_now_and_then(looked: Looked) -> None:
    calls = looked.server.server.sla.ledger.book.calls.durations
    looked.pass_by(CheckConfig().quiet_seconds - LOOK_SECONDS)
    assert (looked.runs(TABLE), looked.runs(OTHER)) == (0, 0)
    looked.pass_by(2 * CheckConfig().quiet_seconds)
    assert 1 <= looked.runs(TABLE) <= 3
    assert 1 <= looked.runs(OTHER) <= 3
    assert calls.sum() == 0, "what a server asks itself is no call"
    assert looked.not_serving() == set()


@pytest.mark.parametrize("error", [NotReady("away"), RuntimeError("broken")], ids=["away", "bug"])
def test_a_table_that_cannot_be_answered(
    looked: Looked, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        breaks(looked, TABLE, error, patch)
        with pytest.raises(grpc.RpcError):
            looked.server.stub.Synthesize(ask(fidelity=pb.FIDELITY_FAST))
        looked.pass_by(2)
        assert looked.not_serving() == set(), "it may pass"
        looked.pass_by(3)
        assert looked.not_serving() == {TABLE}
        assert (looked.ready(), looked.ready(TABLE), looked.ready(OTHER)) == (True, False, True)
        breaks(looked, OTHER, error, patch)
        looked.pass_by(40)
        nothing = {"", TABLE, OTHER, "cascade.v1.Synthesis", "inference.GRPCInferenceService"}
        assert looked.not_serving() == nothing
        assert not looked.ready()
        looked.pass_by(30)
        assert looked.not_serving() == {*nothing, "liveness"}
    looked.pass_by(3)
    assert looked.not_serving() == set()
    assert looked.ready(TABLE)


def test_who_watches_is_told(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = health_pb2_grpc.HealthStub(looked.server.channel)
    request = health_pb2.HealthCheckRequest(service=f"cascade.v1.Synthesis/{TABLE}")
    told = stub.Watch(request, timeout=60)
    assert next(told).status == health_pb2.HealthCheckResponse.SERVING
    with monkeypatch.context() as patch:
        breaks(looked, TABLE, NotReady("away"), patch)
        looked.pass_by(35)
        assert next(told).status == health_pb2.HealthCheckResponse.NOT_SERVING
    looked.pass_by(3)
    assert next(told).status == health_pb2.HealthCheckResponse.SERVING
    told.cancel()


def test_a_server_that_refuses_for_load_is_healthy(
    looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long, and although what it asks itself is refused too."""
    monkeypatch.setattr(looked.dispatcher.gate, "room", lambda: 0)

    def full(*_: object) -> None:
        raise TooMuch("full", 10)

    monkeypatch.setattr(looked.dispatcher.gate, "enter", full)
    for _ in range(10):
        with pytest.raises(grpc.RpcError) as refused:
            looked.server.stub.Synthesize(ask(fidelity=pb.FIDELITY_FAST))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        looked.pass_by(6)
    assert looked.not_serving() == set()


def test_an_engine_that_has_stopped(looked: Looked) -> None:
    """Nothing fails; requests wait."""
    go_on = threading.Event()
    waits = looked.dispatcher.student_thread.submit(go_on.wait)
    for engines in looked.engines(TABLE):
        engines.student.inline_rows = 0
    request = ask(fidelity=pb.FIDELITY_FAST)
    asked = []
    while not any(each.student.statistics().waiting for each in looked.engines(TABLE)):
        # The first is with the thread that does nothing; the next one waits for it.
        asked.append(looked.server.stub.Synthesize.future(request, timeout=60))
        time.sleep(0.01)
    looked.checkup.checks = CheckConfig(seconds=0.01)
    looked.pass_by(4)
    assert looked.not_serving() == {TABLE}
    go_on.set()
    assert waits.result(timeout=60)
    assert {each.result().rows.count for each in asked} == {1}
    looked.checkup.checks = CheckConfig()
    looked.pass_by(3)
    assert looked.not_serving() == set()
