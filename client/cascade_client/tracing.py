"""The trace that a caller is in, where it has OpenTelemetry: servers take part in it.

Nothing is imported for that, and nothing is looked for: who has not imported `opentelemetry.trace`
is in no trace, and pays for a look into a dictionary.
"""

from __future__ import annotations

import sys

Headers = tuple[tuple[str, str], ...]
# What names an intermediary reserves, and gRPC refuses.
_RESERVED = "grpc-"


def trace_headers() -> Headers:
    """Metadata by which a server's spans become children of the caller's current one, as its own
    propagators write it (`traceparent`, unless it has set others); empty: it has none."""
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
