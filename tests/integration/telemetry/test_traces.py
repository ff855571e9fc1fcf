"""Traces of `cascade serve`, as a collector gets them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from prometheus_client.openmetrics.parser import text_string_to_metric_families

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


def test_refusals_and_streams_are_traced_too(stub: Any, collector: Collector) -> None:
    trace = "a" * 32
    with pytest.raises(grpc.RpcError):
        stub.Synthesize(ask(table="nowhere"), metadata=parent(trace), timeout=60)
    until(lambda: METHOD in collector.of_trace(trace))
    refused = collector.of_trace(trace)[METHOD]
    said = values(refused.attributes)
    assert (said["rpc.response.status_code"], said["cascade.table"]) == ("NOT_FOUND", "(unknown)")
    assert refused.status.code == 0  # the caller's affair, and no error of the server's
    streamed, generated = "b" * 32, "c" * 32
    one = pb.SynthesizeStreamRequest(requests=[pb.StreamedRequest(id=1, request=ask())])
    list(stub.SynthesizeStream(iter([one]), metadata=parent(streamed), timeout=60))
    generate = pb.GenerateRequest(table=TABLE, count=3)
    list(stub.Generate(generate, metadata=parent(generated), timeout=60))
    until(lambda: "request" in collector.of_trace(streamed))
    until(lambda: {"teacher", "stream"} <= set(collector.of_trace(generated)))
    spans = collector.of_trace(generated)
    assert spans["teacher"].parent_span_id == spans["stream"].span_id


def scrape(served: Served, accept: str) -> tuple[str, str]:
    url = served.until_said("metrics on").split()[-1]
    asked = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_who_asks_for_openmetrics_gets_the_trace_of_a_call_in_each_bucket(
    stub: Any, served: Served
) -> None:
    trace = "d" * 32
    stub.Synthesize(ask(fidelity=pb.FIDELITY_FAST), metadata=parent(trace), timeout=60)
    kind = "application/openmetrics-text; version=1.0.0"

    def exemplars() -> list[tuple[str, float, Any]]:
        said, text = scrape(served, kind)
        assert said.startswith("application/openmetrics-text")
        return [
            (sample.exemplar.labels["trace_id"], float(sample.labels["le"]), sample.exemplar)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if family.name == "cascade_request_duration_seconds" and sample.exemplar
        ]

    until(lambda: trace in {each[0] for each in exemplars()})
    (found,) = [each for each in exemplars() if each[0] == trace]
    assert 0 < found[2].value <= found[1]
    assert "trace_id" not in scrape(served, "text/plain")[1]


def test_metrics_are_sent_too_by_the_names_of_the_conventions(
    stub: Any, served: Served, collector: Collector
) -> None:
    stub.Synthesize(ask(), timeout=60)
    with pytest.raises(grpc.RpcError):
        stub.Synthesize(ask(table="nowhere"), timeout=60)

    def counted() -> dict[tuple[str, str], int]:
        with collector.lock:
            metric = collector.metrics.get("rpc.server.call.duration")
        if metric is None:
            return {}
        assert metric.unit == "s"
        points = metric.histogram.data_points
        assert all(point.explicit_bounds[0] == 0.0001 for point in points)
        assert all(sum(point.bucket_counts) == point.count for point in points)
        said = [(values(point.attributes), point.count) for point in points]
        assert all(each["rpc.system.name"] == "grpc" for each, _ in said)
        return {(a["rpc.method"], a["rpc.response.status_code"]): n for a, n in said}

    until(lambda: {(METHOD, "OK"), (METHOD, "NOT_FOUND")} <= set(counted()))
    with collector.lock:
        requests = collector.metrics["cascade_requests_total"].sum
    assert requests.is_monotonic
    assert {"table", "class", "tier", "code"} == set(values(requests.data_points[0].attributes))
    assert {each["service.name"] for each in collector.resources} == {"cascade"}


def test_a_collector_that_is_away_is_said_once_and_costs_nobody_an_answer(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with (
        serve(
            *("--repository", str(repository), "--otlp-endpoint", "http://127.0.0.1:9"),
            *("--trace-share", "1", "--pool-mib", "0"),
        ) as served,
        grpc.insecure_channel(served.target) as channel,
    ):
        stub = SynthesisStub(channel)
        for _ in range(20):
            stub.Synthesize(ask(), timeout=60)
        served.until_said("traces cannot be sent to http://127.0.0.1:9")
        stub.Synthesize(ask(), timeout=60)
    lines = [line for line in served.lines if "cannot be sent" in line]
    assert sum("traces" in line for line in lines) == 1
    assert not any("Traceback" in line for line in served.lines)
    assert served.process.returncode == 0
