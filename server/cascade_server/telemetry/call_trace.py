"""One traced call: its stages, recorded as they end.

Only sampled calls have one. All others have None, which costs a comparison per stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

import grpc

from cascade_server.telemetry.records import Attribute, Record, Series, Span
from cascade_server.telemetry.trace_context import TraceContext, new_span_id, new_trace_id

# By OpenTelemetry's conventions for gRPC, a server's span with one of these statuses is an error;
# others are the caller's concern.
ERRORS = frozenset(
    (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)


class CallTrace:
    """The stages of a call, one after another without gaps.

    >>> trace.mark("wait")      # names the stage that ends here
    >>> trace.mark("read")
    >>> trace.ended(...)        # records all stages

    Args:
        report: receives the record when the call has ended.
        process: the process that handles the call, such as "worker 0".
        parent: the caller's span; None if the trace begins here.
        method: "package.Service/Method".
        arrived: monotonic seconds.
        is_rpc: whether it is a whole call; otherwise it is one request of a stream.

    Attributes:
        trace_id: identifier of its trace.
    """

    __slots__ = (
        "_arrived",
        "_attributes",
        "_inner",
        "_is_rpc",
        "_method",
        "_parent_id",
        "_process",
        "_report",
        "_span_id",
        "_stages",
        "_state",
        "trace_id",
    )

    def __init__(
        self,
        report: Callable[[Record], None],
        process: str,
        parent: TraceContext | None,
        method: str,
        arrived: float,
        is_rpc: bool = True,
    ) -> None:
        self._report, self._process, self._is_rpc = report, process, is_rpc
        self.trace_id = new_trace_id() if parent is None else parent.trace_id
        self._parent_id = "" if parent is None else parent.span_id
        self._state = "" if parent is None else parent.state
        self._method, self._arrived = method, arrived
        self._span_id, self._inner = new_span_id(), ""
        self._stages: list[tuple[str, float, str]] = []
        self._attributes: dict[str, Attribute] = {}

    def mark(self, stage: str) -> None:
        """Name the stage that ends now, which began at the last mark or at the call's arrival."""
        self._stages.append((stage, time.monotonic(), self._inner))
        self._inner = ""

    def read(self, rows: int, draws: int, version: int) -> None:
        """Note the size and release of the request; never the content of its rows."""
        self.mark("read")
        self._attributes |= {
            "cascade.rows": rows,
            "cascade.draws": draws,
            "cascade.version": version,
        }

    def answered(self, from_pool: bool, cached: bool, steps: int) -> None:
        """Note that its rows are available, and where they come from."""
        self.mark("pool" if from_pool else "cache" if cached else "draw")
        self._attributes |= {"cascade.from_pool": from_pool, "cascade.cached": cached}
        self._attributes["cascade.steps"] = steps

    def inside(self) -> TraceContext:
        """Return the current stage, for work on its behalf elsewhere."""
        if not self._inner:
            self._inner = new_span_id()
        return TraceContext(self.trace_id, self._inner, True, self._state)

    def ended(
        self,
        table: str,
        service: str,
        tier: str,
        code: grpc.StatusCode,
        ending: str,
        seconds: float,
    ) -> None:
        """Note that the call is over, and counted.

        Args:
            table, service, tier, ending: labels that it was counted under.
            code: the call's status.
            seconds: seconds that the server took.
        """
        now = time.monotonic()
        failed = code in ERRORS
        attributes = self._attributes
        attributes |= {
            "rpc.system.name": "grpc",
            "rpc.method": self._method,
            "rpc.response.status_code": code.name,
            "cascade.table": table,
            "cascade.class": service,
            "cascade.tier": tier,
        }
        if failed:
            attributes["error.type"] = code.name
        name = self._method if self._is_rpc else "request"
        begin = _nanoseconds(self._arrived)
        whole = Span(
            name,
            self._span_id,
            self._parent_id,
            begin,
            _nanoseconds(now),
            self._is_rpc,
            failed,
            attributes,
        )
        spans = [whole]
        for stage, until, span_id in self._stages:
            end = _nanoseconds(until)
            spans.append(Span(stage, span_id or new_span_id(), self._span_id, begin, end))
            begin = end
        series = Series(table, service, tier, ending, seconds)
        self._report(Record(self.trace_id, self._state, self._process, tuple(spans), series))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


# The call that the running task works for, if the call is traced.
traced: ContextVar[CallTrace | None] = ContextVar("traced", default=None)


def stage_going_on() -> TraceContext | None:
    """Return the current stage of the call that the running task works for; None if not traced.

    Work elsewhere on its behalf is linked to this stage.
    """
    trace = traced.get()
    return None if trace is None else trace.inside()
