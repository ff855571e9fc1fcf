"""Exports spans to an OpenTelemetry collector, over OTLP; needs the extra `telemetry`.

One process of a server exports for all, in a thread that does not handle calls: see docs/adr/0029.
What cannot be sent is dropped, and the failure is logged once.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of

import requests
import urllib3
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from cascade_server.telemetry.records import Record, Span

log = logging.getLogger("cascade.server")

# Seconds for one export, including its retries.
EXPORT_SECONDS = 5.0
# For an export in progress when the server ends.
LAST_MILLISECONDS = 2000
# Most spans waiting to be sent: as many as a full pipe holds, six per call.
MOST_WAITING = 8192
# Bytes that are read of a collector's response.
SHORT_BYTES = 4096
# Headers in which a collector says when to try again.
WAITS = ("Retry-After",)
# Variables that name a provider of sessions with credentials, for one kind of data or for all.
PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)
# The version of the conventions for names: the first in which those of RPC are stable.
SCHEMA = "https://opentelemetry.io/schemas/1.45.0"
SCOPE = InstrumentationScope("cascade_server", version_of("cascade-synthesis"), SCHEMA)


def resource(name: str) -> Resource:
    """Return the exporting resource.

    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    """
    return Resource.create({"service.version": version_of("cascade-synthesis")}).merge(
        Resource.create() if _names_itself() else Resource({"service.name": name})
    )


def _names_itself() -> bool:
    return not str(Resource.create().attributes["service.name"]).startswith("unknown_service")


class StatusOnly(requests.adapters.HTTPAdapter):
    """Keeps the status of a collector's response, and drops its body.

    Whatever listens there may send an endless one, which would fill this process's memory.
    """

    def build_response(
        self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse
    ) -> requests.Response:
        """Build the response before its body is read."""
        # A short body is read to its end, so that the connection can be used again.
        resp.read(SHORT_BYTES, decode_content=False)
        resp.close()
        status = urllib3.HTTPResponse(
            io.BytesIO(),
            headers={each: resp.headers[each] for each in WAITS if each in resp.headers},
            status=resp.status,
            reason=resp.reason,
            preload_content=False,
        )
        return super().build_response(req, status)


def session_of(kind: str) -> requests.Session | None:
    """Return the session for a collector; None if the SDK has its own, with credentials.

    Args:
        kind: "TRACES" or "METRICS".
    """
    if any(os.environ.get(name.format(kind)) for name in PROVIDERS):
        return None
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, StatusOnly())
    return session


class Remarks:
    """Logs once that something fails, and once that it works again.

    Args:
        what: what fails, as the beginning of a sentence.
        where: destination of the data.

    Attributes:
        failing: whether the last attempt failed.
    """

    def __init__(self, what: str, where: str) -> None:
        self._what, self._where, self.failing = what, where, False

    def came_out(self, well: bool) -> None:
        """Log when exporting begins to fail, and when it works again; not each failure."""
        if well and self.failing:
            log.warning("%s are taken again by %s", self._what, self._where)
        if not well and not self.failing:
            log.warning(
                "%s cannot be sent to %s; they are dropped until it takes them",
                self._what,
                self._where,
            )
        self.failing = not well


class SaidOnce(SpanExporter):
    """An exporter whose failures are logged once.

    Args:
        exporter: does the work.
        remarks: receives each outcome.
    """

    def __init__(self, exporter: SpanExporter, remarks: Remarks) -> None:
        self._exporter, self._remarks = exporter, remarks

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans, and note whether that worked."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._remarks.came_out(result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Shut the inner exporter down."""
        self._exporter.shutdown()


class Spans:
    """Exports spans, in a thread of the SDK.

    Args:
        exporter: sends them.
        who: the resource of the spans.
        offset: returns the nanoseconds from the machine's monotonic clock to Unix time.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        who: Resource,
        offset: Callable[[], int] = lambda: time.time_ns() - time.monotonic_ns(),
    ) -> None:
        self._processor = BatchSpanProcessor(exporter, max_queue_size=MOST_WAITING)
        self._who, self._offset = who, offset
        self._resources: dict[str, Resource] = {}

    def add(self, record: Record) -> None:
        """Queue the spans of a record for export, without waiting."""
        who = self._resources.get(record.process)
        if who is None:
            who = self._who.merge(Resource({"service.instance.id": record.process}))
            self._resources[record.process] = who
        for span in spans_of(record, who, self._offset()):
            self._processor.on_end(span)

    def flush(self) -> None:
        """Send all spans, and wait until that is done."""
        self._processor.force_flush()

    def close(self) -> None:
        """Send the remaining spans, within the time limit."""
        # The SDK's own method waits half a minute for a collector that is down.
        self._processor._batch_processor.shutdown(timeout_millis=LAST_MILLISECONDS)


def to_collector(endpoint: str, name: str) -> Spans:
    """Export to a collector's OTLP/HTTP receiver, such as "http://collector:4318"."""
    # The SDK logs each batch that failed; `Remarks` logs that once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS, session=session_of("TRACES")
    )
    return Spans(SaidOnce(exporter, Remarks("traces", endpoint)), resource(name))


def spans_of(record: Record, who: Resource, offset: int) -> list[ReadableSpan]:
    """Convert a record to the SDK's spans."""
    state = TraceState.from_header([record.state]) if record.state else None
    return [_span(each, int(record.trace_id, 16), state, who, offset) for each in record.spans]


def _span(
    span: Span, trace_id: int, state: TraceState | None, who: Resource, offset: int
) -> ReadableSpan:
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = None
    if span.parent_id:
        # The parent of a call is its caller's span; the parent of a stage is the call.
        parent = SpanContext(trace_id, int(span.parent_id, 16), span.is_call, flags, state)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), False, flags, state),
        parent=parent,
        resource=who,
        attributes=span.attributes,
        kind=SpanKind.SERVER if span.is_call else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR) if span.failed else Status(StatusCode.UNSET),
        start_time=span.begin + offset,
        end_time=span.end + offset,
        instrumentation_scope=SCOPE,
    )
