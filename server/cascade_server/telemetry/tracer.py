"""Decides which calls are traced, and sends their records on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import grpc

from cascade_server.telemetry.call_trace import CallTrace
from cascade_server.telemetry.records import Attribute, Record, Span
from cascade_server.telemetry.trace_context import TraceContext, context_of, new_span_id


def is_sampled(parent: TraceContext | None, share: float, lot: float) -> bool:
    """Decide whether a call is traced: by its parent's decision, or else at random.

    Args:
        parent: the caller's span; None if the trace would begin here.
        share: share to trace of the calls without a parent.
        lot: a random number in [0, 1).
    """
    return lot < share if parent is None else parent.sampled


class Tracer:
    """Begins the traces of one process's calls.

    Args:
        report: receives the records to export.
        process: the process's name, such as "worker 0".
        share: share to trace of the calls without a parent.
        lot: returns random numbers in [0, 1).
    """

    def __init__(
        self,
        report: Callable[[Record], None],
        process: str,
        share: float,
        lot: Callable[[], float] = random.random,
    ) -> None:
        self._report, self._process, self._share, self._lot = report, process, share, lot

    def begin(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        method: str,
        arrived: float,
        is_rpc: bool = True,
    ) -> CallTrace | None:
        """Begin to trace a call that has arrived; None if it is not traced.

        Args:
            headers: names and values.
            method: "/package.Service/Method".
            arrived: monotonic seconds.
            is_rpc: whether it is a whole call; otherwise it is one request of a stream.
        """
        parent = context_of(headers)
        if not is_sampled(parent, self._share, self._lot()):
            return None
        name = method.removeprefix("/")
        return CallTrace(self._report, self._process, parent, name, arrived, is_rpc)

    def refused(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        method: str,
        arrived: float,
        code: grpc.StatusCode,
        labels: tuple[str, str],
    ) -> None:
        """Trace a call that was refused unread; `labels` are the table and class it counts as."""
        trace = self.begin(headers, method, arrived)
        if trace is not None:
            trace.mark("admission")
            trace.ended(*labels, "none", code, code.name, 0.0)

    def worked(
        self,
        name: str,
        inside: TraceContext,
        began: float,
        ended: float,
        attributes: dict[str, Attribute],
    ) -> None:
        """Trace work done here for a stage of another process's call.

        The times are monotonic seconds.
        """
        span = Span(
            name,
            new_span_id(),
            inside.span_id,
            int(began * 1e9),
            int(ended * 1e9),
            attributes=attributes,
        )
        self._report(Record(inside.trace_id, inside.state, self._process, (span,)))
