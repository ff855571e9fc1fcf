"""What a server that is a process by itself says of its releases."""

from __future__ import annotations

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import ReleasesStub

from tests.server.running import Running


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListReleases", pb.ListReleasesRequest()),
        ("LoadRelease", pb.LoadReleaseRequest(table="payments")),
        ("RollBackRelease", pb.RollBackReleaseRequest(table="payments")),
    ],
)
def test_it_loads_nothing_while_it_answers(serving: Running, method: str, request_: object) -> None:
    stub = ReleasesStub(serving.channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, timeout=10)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "`cascade serve` starts one that replaces its processes" in caught.value.details()


def test_what_is_no_message_is_refused(serving: Running) -> None:
    call = serving.channel.unary_unary("/cascade.v1.Releases/LoadRelease")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
