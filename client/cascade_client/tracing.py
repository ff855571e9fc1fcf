"""Propagation of the caller's OpenTelemetry trace to servers.

This module imports nothing for it: a caller that has not imported `opentelemetry.trace` is in no
trace, and pays only for one dictionary lookup.
"""

from __future__ import annotations

import sys

Headers = tuple[tuple[str, str], ...]
# Metadata names that an intermediary reserves and gRPC refuses.
_RESERVED = "grpc-"


def trace_headers() -> Headers:
    """Return the metadata that make a server's spans children of the caller's current span.

    The caller's own propagators write them (`traceparent`, unless it has set others); empty without
    a trace.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return ()
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple(
        (name.lower(), value)
        for name, value in carrier.items()
        if value.isascii() and value.isprintable() and not name.lower().startswith(_RESERVED)
    )
