"""Traces of `cascade serve`, as a collector gets them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from tests.releases import TABLE
from tests.server.messages import ask

pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")

from tests.integration.serving import Served, serve, until
from tests.integration.telemetry.collector import Collector, values

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER = "0af7651916cd43dd8448eb211c80319c"
METHOD = "cascade.v1.Synthesis/Synthesize"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def served(
    collector: Collector, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
        with serve(
            *("--repository", str(repository), "--otlp-endpoint", collector.url),
            *("--trace-share", "0", "--workers", "2", "--metrics-port", "0", "--pool-mib", "0"),
        ) as server:
            yield server


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.target) as channel:
        yield SynthesisStub(channel)


def parent(trace: str, flags: str = "01") -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{trace}-{PARENT}-{flags}"), ("tracestate", "vendor=1"))


def test_has_a_span_a_stage_and_the_teachers_process_as_a_child(
    stub: Any, collector: Collector
) -> None:
    request = ask(fidelity=pb.FIDELITY_FULL)
    stub.Synthesize(request, metadata=parent(TRACE), timeout=60)
    until(lambda: {METHOD, "teacher"} <= set(collector.of_trace(TRACE)))
    spans = collector.of_trace(TRACE)
    whole, draw = spans[METHOD], spans["draw"]
    assert whole.parent_span_id.hex() == PARENT
    assert whole.kind == 2  # SERVER
    assert whole.trace_state == "vendor=1"
    said = values(whole.attributes)
    assert said["rpc.system.name"] == "grpc"
    assert said["rpc.method"] == METHOD
    assert said["rpc.response.status_code"] == "OK"
    assert said["cascade.table"] == TABLE
    assert said["cascade.tier"] == "teacher"
    stages = ["wait", "read", "turn", "route", "draw", "pack", "send"]
    assert [spans[name].parent_span_id for name in stages] == [whole.span_id] * len(stages)
    ends = [spans[name].end_time_unix_nano for name in stages]
    assert ends == sorted(ends)
    for name in ("queue", "teacher"):
        assert spans[name].parent_span_id == draw.span_id
    with collector.lock:
        names = {who for who, span in collector.spans if span.trace_id.hex() == TRACE}
    assert "teacher" in names
    assert names & {"worker 0", "worker 1"}


def test_a_parent_that_is_not_sampled_and_a_share_of_nothing_have_no_span(
    stub: Any, collector: Collector
) -> None:
    stub.Synthesize(ask(), metadata=parent(OTHER, "00"), timeout=60)
    stub.Synthesize(ask(), timeout=60)
    last = "f" * 32
    stub.Synthesize(ask(), metadata=parent(last), timeout=60)
    until(lambda: METHOD in collector.of_trace(last))
    assert not collector.of_trace(OTHER)
    with collector.lock:
        assert all(span.parent_span_id for _, span in collector.spans)
