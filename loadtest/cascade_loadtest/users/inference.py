"""A client of the Open Inference Protocol, by gRPC alone, as any language's is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import grpc
from cascade_proto import inference_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from locust import User, constant_pacing, task

from cascade_loadtest.bundled import TARGETS, bundled_rows
from cascade_loadtest.scoring import FEATURES_LATE, SITUATIONS, Transactions
from cascade_loadtest.users.recording import call, is_ready
from cascade_loadtest.users.tables import table_of, target_of

# Where the values of a datatype stand in a tensor's contents.
CONTENTS = {
    "BYTES": "bytes_contents",
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "FP64": "fp64_contents",
}


class OpenInferenceClient(User):
    """A service that speaks the protocol of KServe and Triton, and knows nothing of Cascade's."""

    host = "127.0.0.1:8470"
    wait_time = constant_pacing(0.1)

    def on_start(self) -> None:
        self._table = table_of(self)
        rows, target = bundled_rows(self._table), TARGETS[self._table]
        self._transactions = Transactions(rows, target, random.Random())
        self._channel = grpc.insecure_channel(target_of(self))
        self._stub = GRPCInferenceServiceStub(self._channel)
        metadata = self._stub.ModelMetadata(
            pb.ModelMetadataRequest(name=self._table), timeout=30, wait_for_ready=True
        )
        self._datatypes = {each.name: each.datatype for each in metadata.inputs}
        is_ready(self.environment)

    def on_stop(self) -> None:
        self._channel.close()

    @task(20)
    def infer(self) -> None:
        """The features that are late of a transaction."""
        asked = self._transactions.next(FEATURES_LATE)
        request = infer_request(self._table, asked.known, asked.late, self._datatypes)
        with call(self, "infer", "open inference: infer") as outcome:
            answer = self._stub.ModelInfer(request, timeout=SITUATIONS[0].deadline)
            outcome.bytes = answer.ByteSize()
            outcome.tier = source(answer)

    @task(1)
    def ready(self) -> None:
        """What a load balancer asks for."""
        with call(self, "infer", "open inference: ready"):
            self._stub.ModelReady(pb.ModelReadyRequest(name=self._table), timeout=1)


def infer_request(
    table: str, known: Mapping[str, Any], late: tuple[str, ...], datatypes: Mapping[str, str]
) -> pb.ModelInferRequest:
    """One row: a tensor for each column that is known, and the names of those that are wanted.

    A NULL is left out, and so drawn: its column would need a second tensor to say that it is one.
    """
    request = pb.ModelInferRequest(model_name=table)
    for name, value in known.items():
        if value is None:
            continue
        datatype = datatypes[name]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        own = value.encode() if isinstance(value, str) else value
        getattr(tensor.contents, CONTENTS[datatype]).append(own)
    for name in late:
        request.outputs.add(name=name)
    return request


def source(answer: pb.ModelInferResponse) -> str:
    """Who gave an answer, as its parameters say."""
    if answer.parameters["from_pool"].bool_param:
        return "pool"
    if answer.parameters["cached"].bool_param:
        return "cache"
    return answer.parameters["tier"].string_param or "unknown"
