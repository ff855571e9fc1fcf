"""Which calls are traced, what is noted of them, and how that goes to who exports it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import grpc
import pytest
from cascade_server.telemetry.exemplars import Exemplars
from cascade_server.telemetry.records import MOST_BYTES, Record, Series, Span, pack, unpack
from cascade_server.telemetry.span_pipe import SpanPipe
from cascade_server.telemetry.trace_context import TraceContext, context_of
from cascade_server.telemetry.tracer import Tracer, is_sampled

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = TraceContext(TRACE, PARENT, True, "vendor=1")
HEADERS = [(name.encode(), value.encode()) for name, value in CALLER.headers()]
METHOD = "/cascade.v1.Synthesis/Synthesize"
OK, LATE = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
def pipe() -> Iterator[SpanPipe]:
    made = SpanPipe()
    yield made
    made.close()


def record(**other: object) -> Record:
    spans = (Span("a", "1" * 16, "", 1, 2, True, False, {"n": 1, "x": True}),)
    fields = {"state": "", "process": "worker 0", "spans": spans, **other}
    return Record(TRACE, **fields)  # type: ignore[arg-type]


class TestSampling:
    """Who began the trace decides; else a share is drawn."""

    @pytest.mark.parametrize(("sampled", "share"), [(True, 0.0), (False, 1.0)])
    def test_the_caller_decides(self, sampled: bool, share: float) -> None:
        assert is_sampled(CALLER._replace(sampled=sampled), share, 0.5) is sampled

    @pytest.mark.parametrize(("share", "lot", "is_it"), [(0, 0, False), (1, 0.999, True)])
    def test_or_a_share(self, share: float, lot: float, is_it: bool) -> None:
        assert is_sampled(None, share, lot) is is_it


class TestCallTrace:
    """Stages follow one another from the arrival to the end."""

    def test_without_a_gap(self) -> None:
        told: list[Record] = []
        arrived = time.monotonic()
        trace = Tracer(told.append, "worker 0", 0.0).begin(HEADERS, METHOD, arrived)
        assert trace is not None
        trace.mark("wait")
        inside = trace.inside()
        assert trace.inside() == inside
        trace.mark("draw")
        trace.ended("credit", "realtime", "teacher", OK, "OK", 0.25)
        (found,) = told
        call, wait, draw = found.spans
        assert (call.parent_id, call.is_call, call.failed) == (PARENT, True, False)
        assert call.begin == wait.begin == int(arrived * 1e9)
        assert wait.end == draw.begin <= draw.end <= call.end
        assert {wait.parent_id, draw.parent_id} == {call.span_id}
        assert inside == TraceContext(TRACE, draw.span_id, True, "vendor=1")
        assert found.series == Series("credit", "realtime", "teacher", "OK", 0.25)
        assert call.attributes["rpc.method"] == METHOD[1:]

    def test_one_that_begins_here_has_no_parent(self) -> None:
        told: list[Record] = []
        tracer = Tracer(told.append, "worker 0", 1.0)
        for _ in range(2):
            trace = tracer.begin([], METHOD, 0.0)
            assert trace is not None
            trace.ended("credit", "full", "none", LATE, "DEADLINE_EXCEEDED", 1.0)
        first, second = told
        assert first.trace_id != second.trace_id
        assert first.spans[0].parent_id == ""
        assert first.spans[0].failed
        assert first.spans[0].attributes["error.type"] == "DEADLINE_EXCEEDED"

    def test_a_refusal_at_the_headers(self) -> None:
        told: list[Record] = []
        full = grpc.StatusCode.RESOURCE_EXHAUSTED
        labels = ("credit", "realtime")
        Tracer(told.append, "worker 0", 0.0).refused(HEADERS, METHOD, 0.0, full, labels)
        call, admission = told[0].spans
        assert admission.name == "admission"
        # The conventions: a server that is full has not failed.
        assert not call.failed


class TestPipe:
    """Records of all processes go one way, whole or not at all."""

    def test_they_arrive_as_they_were(self, pipe: SpanPipe) -> None:
        sent = record(series=Series("credit", "full", "none", "OK", 0.5))
        pipe.send(sent)
        pipe.send(sent)
        assert pipe.receive() == [sent, sent]
        assert pipe.receive() == []

    def test_from_another_process(self, pipe: SpanPipe) -> None:
        pid = os.fork()
        if pid == 0:
            pipe.send(record(process="worker 1"))
            os._exit(0)
        os.waitpid(pid, 0)
        assert [each.process for each in pipe.receive()] == ["worker 1"]

    def test_what_does_not_fit_is_dropped_and_counted_and_nobody_waits(
        self, pipe: SpanPipe
    ) -> None:
        sent = 0
        while not pipe.dropped:
            pipe.send(record())
            sent += 1
        got = 0
        while some := pipe.receive():
            got += len(some)
        assert got == sent - pipe.dropped == sent - 1

    def test_who_takes_over_in_the_middle_of_a_record_goes_on_with_the_next(
        self, pipe: SpanPipe
    ) -> None:
        pipe.send(record(state="a=1"))
        pipe.send(record(state="b=2"))
        os.read(pipe.reader, 20)  # and then it was killed
        assert [each.state for each in pipe.receive()] == ["b=2"]

    def test_one_that_is_too_long_loses_what_is_least_needed(self) -> None:
        spans = record().spans
        series = Series("credit", "full", "none", "OK", 0.5)
        found = unpack(pack(record(state="x" * MOST_BYTES, series=series)))
        assert found == record(series=series)
        found = unpack(pack(record(spans=spans * 100, series=series)))
        assert found == record(spans=(), series=series)
        assert unpack(b"\n") is None
        assert unpack(b'["a"]\n') is None


def test_exemplars_are_the_newest_of_each_bucket() -> None:
    exemplars = Exemplars([0.1, 1.0], clock=lambda: 7.0)
    labels = ("credit", "full", "none", "OK")
    for trace, seconds in (("a", 0.05), ("b", 0.1), ("c", 5.0)):
        exemplars.add(Record(trace * 32, "", "worker 0", (), Series(*labels, seconds)))
    exemplars.add(Record("d" * 32, "", "teacher", ()))
    found = exemplars.of(labels)
    assert {bucket: seen.trace_id[0] for bucket, seen in found.items()} == {0: "b", 2: "c"}
    assert found[2].seconds == 5.0
    assert found[2].at == 7.0
    assert exemplars.of(("adult", *labels[1:])) == {}


def test_a_context_that_is_passed_on_is_the_stages() -> None:
    assert context_of(HEADERS) == CALLER
