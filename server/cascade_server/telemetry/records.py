"""Spans on their way from the process that had them to the one that exports them; pure.

A record is a line of JSON: who reads on after another was killed in the middle of one finds the
next line's beginning. It is no longer than what a pipe takes whole (`PIPE_BUF`), so that records
of several processes that write at once do not mix.
"""

from __future__ import annotations

import json
import select
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

MOST_BYTES = select.PIPE_BUF
# What a span says of itself beside its name and its times.
Attribute: TypeAlias = str | int | float | bool


class Series(NamedTuple):
    """The histogram that a call was counted in, and how long it took: what an exemplar needs.

    Attributes:
        table, service, tier, code: labels of `cascade_request_duration_seconds`.
        seconds: that the server took.
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
        span_id, parent_id: 16 hexadecimal digits; parent "": it begins its trace.
        begin, end: nanoseconds of the machine's monotonic clock.
        is_call: whether it is a call's own, rather than one of its stages.
        failed: whether it counts as an error.
        attributes: what else is known.
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
        state: its tracestate.
        process: whose they are, such as "worker 0".
        spans: a call's own first, where it has one.
        series: where the call was counted; None: it was in no histogram.
    """

    trace_id: str
    state: str
    process: str
    spans: tuple[Span, ...]
    series: Series | None = None


def pack(record: Record) -> bytes:
    """A line; without what is least needed where all would be too long, at last empty."""
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
    """What `pack` was given; None: it is no whole line."""
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
