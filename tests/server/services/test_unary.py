"""Unary calls over grpcio's transport: each handler is a task that waits for its turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import inference_pb2
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_server.config import ServerConfig
from cascade_server.engines.runtime import Runtime

from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.server.running import Running, running


@pytest.fixture
def server(repository: Path) -> Iterator[Running]:
    config = ServerConfig(repository=repository, port=0, transport="grpcio")
    with running(config) as found:
        yield found


def codes(server: Running) -> list[Any]:
    """How calls end, as they are counted from now on."""
    told: list[Any] = []
    record = server.server.sla.record

    def note(*outcome: Any) -> None:
        told.append(outcome[3])
        record(*outcome)

    server.server.sla.record = note  # type: ignore[method-assign]
    return told


def refusal(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("fidelity", [pb.FIDELITY_FAST, pb.FIDELITY_FULL])
def test_both_protocols_are_answered(server: Running, fidelity: Any) -> None:
    """At once by the student, later by the teacher."""
    assert server.stub.Synthesize(ask(row(items=3), fidelity=fidelity)).rows.count == 1
    request = inference_pb2.ModelInferRequest(model_name=TABLE)
    answer = GRPCInferenceServiceStub(server.channel).ModelInfer(request)
    assert answer.model_name == TABLE


def test_what_is_wrong_is_said_and_counted(server: Running) -> None:
    told = codes(server)
    error = refusal(lambda: server.stub.Synthesize(ask(columns=["nope"])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(told) == 1


def test_who_would_wait_too_long_is_refused_at_the_door(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        return "full"

    gate = server.server.service.dispatcher.gate
    monkeypatch.setattr(gate, "objection", full)
    monkeypatch.setattr(gate, "count_refusal", lambda waiting: 7)
    told = codes(server)
    error = refusal(lambda: server.stub.Synthesize(ask()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "7"
    assert told == [grpc.StatusCode.RESOURCE_EXHAUSTED]


def test_who_hangs_up_is_counted_and_makes_room(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    denoise = Runtime.denoise

    def held(self: Runtime, *args: Any) -> Any:
        inside.set()
        assert go_on.wait(30)
        return denoise(self, *args)

    monkeypatch.setattr(Runtime, "denoise", held)
    told = codes(server)
    call = server.stub.Synthesize.future(ask(row(items=3), fidelity=pb.FIDELITY_FULL))
    assert inside.wait(30)
    call.cancel()

    async def counted() -> None:
        gate = server.server.service.dispatcher.gate
        while not told or sum(gate.inside.values()):
            await asyncio.sleep(0)

    server.run(counted())
    go_on.set()
    assert len(told) == 1
