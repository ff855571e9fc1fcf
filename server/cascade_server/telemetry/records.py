"""Spans on their way from the process that recorded them to the one that exports them; pure.

A record is a line of JSON: if a writer is killed in the middle of one, the reader finds the
beginning of the next line. It is no longer than what a pipe writes atomically (`PIPE_BUF`), so that
records of several simultaneous writers do not mix.
"""

from __future__ import annotations

import json
import select
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

MOST_BYTES = select.PIPE_BUF
# A span's properties besides its name and its times.
Attribute: TypeAlias = str | int | float | bool


class Series(NamedTuple):
    """The histogram series that a call was counted in, and its duration: the data for an exemplar.

    Attributes:
        table, service, tier, code: labels of `cascade_request_duration_seconds`.
        seconds: seconds that the server took.
    """

    table: str
    service: str
    tier: str
    code: str
    seconds: float


@dataclass(frozen=True)
class Span:
    """A piece of work.

    Attributes:
        name: what was done.
        span_id, parent_id: 16 hexadecimal digits; the parent is "" if the span begins its trace.
        begin, end: nanoseconds of the machine's monotonic clock.
        is_call: whether it is a call's own span, rather than one of its stages.
        failed: whether it counts as an error.
        attributes: other properties.
    """

    name: str
    span_id: str
    parent_id: str
    begin: int
    end: int
    is_call: bool = False
    failed: bool = False
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """Spans of one trace that end together.

    Attributes:
        trace_id: 32 hexadecimal digits.
        state: the trace's tracestate.
        process: the process that recorded them, such as "worker 0".
        spans: the call's own span first, if there is one.
        series: where the call was counted; None if it was in no histogram.
    """

    trace_id: str
    state: str
    process: str
    spans: tuple[Span, ...]
    series: Series | None = None


def pack(record: Record) -> bytes:
    """Pack a record as a line; leaves out the least important parts if too long, at last all."""
    for each in (record, replace(record, state=""), replace(record, state="", spans=())):
        line = json.dumps(_plain(each), separators=(",", ":")).encode() + b"\n"
        if len(line) <= MOST_BYTES:
            return line
    return b"\n"


def _plain(record: Record) -> list[Any]:
    spans = [
        [s.name, s.span_id, s.parent_id, s.begin, s.end, s.is_call, s.failed, s.attributes]
        for s in record.spans
    ]
    return [record.trace_id, record.state, record.process, spans, record.series]


def unpack(line: bytes) -> Record | None:
    """Return the argument of `pack`; None if the line is not complete."""
    try:
        trace_id, state, process, spans, series = json.loads(line)
        return Record(
            trace_id,
            state,
            process,
            tuple(Span(*each) for each in spans),
            None if series is None else Series(*series),
        )
    except (ValueError, TypeError):
        return None
