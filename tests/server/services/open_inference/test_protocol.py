"""What the protocol allows and Triton's client does not send."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_proto import synthesis_pb2
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_server.config import ServerConfig
from cascade_server.server import Server
from cascade_server.services.exchange import Exchange
from cascade_server.services.open_inference.infer_message import InferMessage
from cascade_server.services.synthesize_message import SynthesizeMessage
from cascade_server.wire.tensor_rows import to_tensors
from cascade_tables import Column, Kind, Schema
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.releases import TABLE
from tests.server.messages import NULL, ask
from tests.server.running import Running


@pytest.fixture
def inference(serving: Running) -> Any:
    return GRPCInferenceServiceStub(serving.channel)


def refused(call: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as found:
        call(request)
    return found.value


def test_typed_contents_are_answered_as_typed_contents(inference: Any) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    items = request.inputs.add(name="items", datatype="INT64", shape=[2, 1])
    items.contents.int64_contents.extend([3, 5])
    channel = request.inputs.add(name="channel", datatype="BYTES", shape=[2, 1])
    channel.contents.bytes_contents.extend([b"web", b"app"])
    answer = inference.ModelInfer(request)
    assert not answer.raw_output_contents
    found = {output.name: output.contents for output in answer.outputs}
    assert list(found["items"].int64_contents) == [3, 5]
    assert list(found["channel"].bytes_contents) == [b"web", b"app"]
    assert len(found["amount"].fp64_contents) == len(found["member"].bool_contents) == 2


def test_calls_that_come_together_are_drawn_together(serving: Running) -> None:
    """With those of the other protocol, in one run of the student."""

    class Sent:
        def __init__(self, request: Any) -> None:
            self.message = request.SerializeToString()

    class Caller:
        patient = paused = gone = False
        answer = b""

        def open(self) -> bool:
            return True

        def send(self, message: bytes) -> None:
            self.answer = message

    request = pb.ModelInferRequest(model_name=TABLE)
    request.parameters["fidelity"].string_param = "fast"
    service, repository = serving.server.service, serving.server.service.repository
    messages = [InferMessage(lambda _: repository, 1, Sent(request)) for _ in range(3)]
    others = [SynthesizeMessage(Sent(ask(fidelity=synthesis_pb2.FIDELITY_FAST))) for _ in range(2)]
    callers = [Caller() for _ in range(5)]

    async def turn() -> int:
        exchanges = [
            Exchange(message, caller, 0.0, math.inf)  # type: ignore[arg-type]
            for message, caller in zip([*messages, *others], callers, strict=True)
        ]
        before = runs()
        assert service.answering.answer(exchanges) == 0
        return runs() - before

    def runs() -> int:
        return sum(
            engines.student.statistics().runs for engines in service.dispatcher.engines.values()
        )

    assert serving.run(turn()) == 1
    for caller in callers[:3]:
        assert pb.ModelInferResponse.FromString(caller.answer).parameters["tier"].string_param
    for caller in callers[3:]:
        assert synthesis_pb2.SynthesizeResponse.FromString(caller.answer).rows.count == 1


def test_text_is_utf_8(inference: Any) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    channel = request.inputs.add(name="channel", datatype="BYTES", shape=[1, 1])
    channel.contents.bytes_contents.append(b"\xff")
    assert "no UTF-8" in refused(inference.ModelInfer, request).details()


def test_a_number_may_come_as_text(inference: Any) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    request.parameters["seed"].string_param = str(2**64 - 1)
    answer = inference.ModelInfer(request)
    assert answer.parameters["seed"].uint64_param == 2**64 - 1


def test_a_number_of_thousands_of_digits_is_the_callers_fault(inference: Any) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    request.parameters["seed"].string_param = "9" * 5000  # more than Python reads as a number
    with pytest.raises(grpc.RpcError) as caught:
        inference.ModelInfer(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "parameter 'seed'" in caught.value.details()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("draws", {"double_param": 1.5}, "allowed: 1 to"),
        ("draws", {"bool_param": True}, "allowed: 1 to"),
        ("explain", {"string_param": "yes"}, "allowed: true and false"),
        ("timeout", {}, "allowed: 0 to"),
    ],
)
def test_parameters_have_their_types(
    inference: Any, name: str, value: dict[str, Any], allowed: str
) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    request.parameters[name].CopyFrom(pb.InferParameter(**value))
    error = refused(inference.ModelInfer, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"parameter {name!r}" in error.details()
    assert allowed in error.details()


def test_classification_is_not_served(inference: Any) -> None:
    request = pb.ModelInferRequest(model_name=TABLE)
    request.outputs.add(name="items").parameters["classification"].int64_param = 2
    assert "classification" in refused(inference.ModelInfer, request).details()


def test_a_seed_and_noise_exclude_each_other(serving: Running, inference: Any) -> None:
    runtime = serving.server.service.repository.find(TABLE)
    request = pb.ModelInferRequest(model_name=f"{TABLE}_student")
    request.parameters["seed"].int64_param = 1
    for name, datatype, width, field, value in (
        ("tokens", "INT32", runtime.slots, "int_contents", 0),
        ("observed", "BOOL", runtime.slots, "bool_contents", False),
        ("noise", "FP32", runtime.student_noise, "fp32_contents", 0.5),
    ):
        each = request.inputs.add(name=name, datatype=datatype, shape=[1, width])
        getattr(each.contents, field).extend([value] * width)
    assert "exclude" in refused(inference.ModelInfer, request).details()
    request.parameters.clear()
    del request.inputs[2].contents.fp32_contents[0]
    request.inputs[2].contents.fp32_contents.append(1.0)
    assert "not in [0, 1)" in refused(inference.ModelInfer, request).details()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
def test_what_is_no_message_is_refused(serving: Running, method: str) -> None:
    call = serving.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    assert refused(call, b"\xff").code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_index_lists_the_ready_ones_if_asked(inference: Any) -> None:
    every = inference.RepositoryIndex(pb.RepositoryIndexRequest())
    assert inference.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)) == every


def test_health_is_told_of_the_service(serving: Running) -> None:
    health = health_pb2_grpc.HealthStub(serving.channel)
    request = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
    assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING


async def test_it_is_live_before_it_is_ready(repository: Any) -> None:
    server = Server(ServerConfig(repository=repository, port=0))
    service = server.inference
    assert (await service.ServerLive(b"", None)).live
    assert not (await service.ServerReady(b"", None)).ready
    asked = pb.ModelReadyRequest(name=TABLE).SerializeToString()
    assert not (await service.ModelReady(asked, None)).ready
    await server.shutdown()


def test_a_number_that_is_null_is_not_a_number() -> None:
    schema = Schema((Column("amount", Kind.CONTINUOUS, True, "double"),), ())
    amount, state = to_tensors({"amount": [1.5, None]}, (), (), schema)
    assert str(amount.values) == "[1.5 nan]"
    assert (state.name, list(state.values)) == ("amount.state", [0, NULL])
