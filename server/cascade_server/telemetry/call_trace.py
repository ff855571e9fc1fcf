"""One traced call: the stages that it goes through, noted as they end.

Only calls that are sampled have one. Everybody else has None, which costs a comparison a stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

import grpc

from cascade_server.telemetry.records import Attribute, Record, Series, Span
from cascade_server.telemetry.trace_context import TraceContext, new_span_id, new_trace_id

# OpenTelemetry's conventions for gRPC: of a server's span, these statuses are errors; others are
# the caller's affair.
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
    """Stages of a call, one after another without a gap.

    >>> trace.mark("wait")      # what was until now is called so
    >>> trace.mark("read")
    >>> trace.ended(...)        # and all of it is recorded

    Args:
        report: is given the record when the call has ended.
        process: whose call it is, such as "worker 0".
        parent: the caller's span; None: the trace begins here.
        method: "package.Service/Method".
        arrived: monotonic seconds.
        is_rpc: whether it is a whole call; else one request of a stream.

    Attributes:
        trace_id: of the trace that it belongs to.
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
        """What the call went through since the last mark, or since it came, is this stage."""
        self._stages.append((stage, time.monotonic(), self._inner))
        self._inner = ""

    def read(self, rows: int, draws: int, version: int) -> None:
        """It has been read: how much is asked of which release; never what stands in its rows."""
        self.mark("read")
        self._attributes |= {
            "cascade.rows": rows,
            "cascade.draws": draws,
            "cascade.version": version,
        }

    def answered(self, from_pool: bool, cached: bool, steps: int) -> None:
        """Its rows are there, wherever they come from."""
        self.mark("pool" if from_pool else "cache" if cached else "draw")
        self._attributes |= {"cascade.from_pool": from_pool, "cascade.cached": cached}
        self._attributes["cascade.steps"] = steps

    def inside(self) -> TraceContext:
        """The stage that is going on, for who works for it elsewhere."""
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
        """The call is over, and counted.

        Args:
            table, service, tier, ending: labels that it was counted by.
            code: its status.
            seconds: that the server took.
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


# The call that the running task works for, where it is traced.
traced: ContextVar[CallTrace | None] = ContextVar("traced", default=None)


def stage_going_on() -> TraceContext | None:
    """Of the call that the running task works for: what others who work for it are to be told;
    None: it is not traced."""
    trace = traced.get()
    return None if trace is None else trace.inside()
