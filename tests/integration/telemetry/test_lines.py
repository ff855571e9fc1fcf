"""The log of `cascade serve --log-format json`, from each of its processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from tests.integration.serving import Served, serve
from tests.server.messages import ask, row
from tests.typed import typed

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00"),)


def said(served: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.lines]


def address(served: Served) -> str:
    """Where it says that it listens."""
    message: str = json.loads(served.until_said("serving on"))["message"]
    return message.split()[2]


def refused(stub: Any, request: Any, *metadata: tuple[str, str]) -> dict[str, str]:
    """What the caller is told beside the status."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Synthesize(request, metadata=metadata, timeout=60)
    error: Any = caught.value
    return dict(error.trailing_metadata())


def test_every_line_is_an_object_and_a_refused_call_is_found_by_its_id(repository: Path) -> None:
    options = ("--repository", str(repository), "--workers", "2", "--pool-mib", "0")
    with (
        serve(*options, "--log-format", "json", "--log-level", "info") as served,
        grpc.insecure_channel(address(served)) as channel,
    ):
        stub = SynthesisStub(channel)
        secret = "4111-1111-1111-1111"
        told = refused(stub, ask(row(channel=secret), strict=True), ("x-request-id", "my-1"))
        assert told["x-request-id"] == "my-1"
        served.until_said("my-1")
        told = refused(stub, ask(table="nowhere\n{}"), *PARENT, ("x-request-id", "two words"))
        made = told["x-request-id"]
        served.until_said(made)
        served.children[0].send_signal(signal.SIGKILL)
        served.until_said("is ready again")
        lines = said(served)
    by_id = {each["request_id"]: each for each in lines if "request_id" in each}
    first, second = by_id["my-1"], by_id[made]
    assert (first["code"], first["reason"]) == ("INVALID_ARGUMENT", "ValueNotAllowed")
    assert first["table"] == "payments"
    assert first["method"] == "cascade.v1.Synthesis/Synthesize"
    assert first["process"] in ("worker 0", "worker 1")
    assert first["level"] == "info"
    assert (second["code"], second["table"]) == ("NOT_FOUND", "(unknown)")
    assert second["trace_id"] == TRACE
    assert secret not in "".join(served.lines)
    assert {"serving", "draining"} & {each["message"].split()[0] for each in lines}
    assert any("starting it again" in each["message"] for each in lines)
    assert all(each["time"].endswith("Z") for each in lines)


def test_what_keeps_a_server_from_starting_is_a_line_too(tmp_path: Path) -> None:
    ended = typed("serve", "--repository", str(tmp_path), "--log-format", "json")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    found = json.loads(line)
    assert found["level"] == "error"
    assert str(tmp_path) in found["message"]
