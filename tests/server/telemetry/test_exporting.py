"""Spans as the SDK has them, and what is said where they cannot be sent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")

from cascade_server.telemetry.exporting import Remarks, SaidOnce, Spans, session_of
from cascade_server.telemetry.records import Record, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.typed import SOON

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALL = Span("a.B/C", "1" * 16, "2" * 16, 5, 9, True, True, {"rpc.system.name": "grpc"})
STAGE = Span("read", "3" * 16, "1" * 16, 5, 6)


def test_spans_have_their_times_parents_and_process() -> None:
    exporter = InMemorySpanExporter()
    spans = Spans(exporter, Resource({"service.name": "cascade"}), offset=lambda: 100)
    spans.add(Record(TRACE, "vendor=1", "worker 0", (CALL, STAGE)))
    spans.add(Record(TRACE, "", "teacher", (STAGE,)))
    spans.flush()
    call, stage, other = sorted(
        exporter.get_finished_spans(),
        key=lambda each: str(each.resource.attributes["service.instance.id"]) == "teacher",
    )
    if call.name == "read":
        call, stage = stage, call
    assert (call.kind, stage.kind) == (SpanKind.SERVER, SpanKind.INTERNAL)
    assert (call.start_time, call.end_time) == (105, 109)
    assert call.context.trace_id == stage.context.trace_id == int(TRACE, 16)
    assert call.parent is not None
    assert call.parent.span_id == int("2" * 16, 16)
    assert call.parent.is_remote
    assert stage.parent is not None
    assert stage.parent.span_id == call.context.span_id
    assert call.context.trace_state == {"vendor": "1"}
    assert call.status.status_code is StatusCode.ERROR
    assert call.resource.attributes["service.name"] == "cascade"
    assert other.resource.attributes["service.instance.id"] == "teacher"
    spans.close()


@contextmanager
def endless(status: int) -> Iterator[tuple[str, threading.Event]]:
    """Who answers with a body that has no end until its reader leaves; and whether that has."""
    left = threading.Event()

    class Talker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Retry-After", "7")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except OSError:
                left.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talker)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", left
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [200, 503])
def test_of_a_collectors_answer_the_body_is_not_read(status: int) -> None:
    session = session_of("TRACES")
    assert session is not None
    with endless(status) as (url, left), session:
        found = session.post(url, b"spans", timeout=SOON)
        assert (found.status_code, found.headers["retry-after"]) == (status, "7")
        assert found.content == b""
        assert left.wait(SOON)


def test_who_has_credentials_made_elsewhere_has_its_session_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER", "gcp")
    assert session_of("METRICS") is None
    assert session_of("TRACES") is not None


class Sometimes(SpanExporter):
    """Fails as it is told."""

    def __init__(self, *well: bool) -> None:
        self._well = iter(well)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS if next(self._well) else SpanExportResult.FAILURE


def test_that_a_collector_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    well = (True, False, False, False, True, True)
    exporter = SaidOnce(Sometimes(*well), Remarks("traces", "http://collector:4318"))
    with caplog.at_level(logging.WARNING):
        for _ in well:
            exporter.export([])
    assert [record.getMessage() for record in caplog.records] == [
        "traces cannot be sent to http://collector:4318; they are dropped until it takes them",
        "traces are taken again by http://collector:4318",
    ]
