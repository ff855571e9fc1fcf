"""W3C Trace Context (level 1): the trace that a call belongs to, from its headers; pure.

https://www.w3.org/TR/trace-context/. Malformed headers count as absent, as the specification
requires: a caller's mistake in them does not fail its call.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import NamedTuple

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
# Section 3.2: version, trace-id, parent-id, flags; later versions may add more after a dash.
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_VERSION, _SAMPLED = b"ff", 0x01
# Section 3.3: members of a tracestate, and the length up to which it must be passed on.
_MEMBER = re.compile(
    rb"[a-z0-9][a-z0-9_\-*/]{0,255}(@[a-z][a-z0-9_\-*/]{0,13})?=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_MOST_MEMBERS, _MOST_STATE = 32, 512


class TraceContext(NamedTuple):
    """A span that may have children.

    Attributes:
        trace_id, span_id: 32 and 16 hexadecimal digits, neither all zeros.
        sampled: whether the process that began the trace records it.
        state: data of vendors to pass on; "" for none.
    """

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    @property
    def traceparent(self) -> str:
        """Return the value of a traceparent header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata for a call made on the span's behalf."""
        parent = ("traceparent", self.traceparent)
        return (parent, ("tracestate", self.state)) if self.state else (parent,)


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """Return the caller's span according to the headers; None if they are absent or invalid."""
    parent: bytes | None = None
    states: list[bytes] = []
    for name, value in headers:
        if name == TRACEPARENT:
            if parent is not None:
                return None  # Choosing one of two would be a guess.
            parent = value
        elif name == TRACESTATE:
            states.append(value)
    return None if parent is None else _parsed(parent, states)


def _parsed(parent: bytes, states: list[bytes]) -> TraceContext | None:
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _NO_VERSION or (version == b"00" and more is not None):
        return None
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id.decode(), span_id.decode(), sampled, _state(states))


def _state(states: list[bytes]) -> str:
    """Return a tracestate to pass on; "" if it is invalid or too long."""
    if not states:
        return ""
    members = [each.strip(b" \t") for part in states for each in part.split(b",")]
    members = [each for each in members if each]
    whole = b",".join(members)
    if len(members) > _MOST_MEMBERS or len(whole) > _MOST_STATE:
        return ""
    if not all(_MEMBER.fullmatch(each) for each in members):
        return ""
    return whole.decode()


def new_trace_id() -> str:
    """Make an identifier for a trace that begins here."""
    return f"{random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """Make an identifier for a span that begins here."""
    return f"{random.getrandbits(64) or 1:016x}"
