"""The trace that a caller is in goes along; who has none pays nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from cascade_client import AsyncClient, Client
from cascade_client.tracing import trace_headers

from tests.client.conftest import ScriptedService

trace = pytest.importorskip("opentelemetry.trace", reason="`telemetry` is not installed")

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
STATE = trace.TraceState([("vendor", "1")])
CONTEXT = trace.SpanContext(TRACE, SPAN, True, trace.TraceFlags(1), STATE)
WITHOUT = """
import sys, cascade_client
from cascade_client.tracing import trace_headers
assert trace_headers() == ()
found = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not found, found
"""
AGE = {"age": 30}


def span() -> object:
    return trace.use_span(trace.NonRecordingSpan(CONTEXT))


def test_every_call_says_it(client: Client, service: ScriptedService) -> None:
    client.synthesize("people", AGE)
    assert "traceparent" not in service.headers
    with span():  # type: ignore[attr-defined]
        client.synthesize("people", AGE)
    assert service.headers["traceparent"] == f"00-{TRACE:032x}-{SPAN:016x}-01"
    assert service.headers["tracestate"] == "vendor=1"
    assert service.headers["cascade-table"] == "people"


def test_with_asyncio_too(target: str, service: ScriptedService) -> None:
    async def ask() -> None:
        async with AsyncClient(target) as client:
            with span():  # type: ignore[attr-defined]
                await client.synthesize("people", AGE)

    asyncio.run(ask())
    assert service.headers["traceparent"] == f"00-{TRACE:032x}-{SPAN:016x}-01"


def test_a_whole_frame_is_of_one_trace(client: Client, service: ScriptedService) -> None:
    with span():  # type: ignore[attr-defined]
        assert [*client.stream("people", 3)]
        assert dict(trace_headers())["traceparent"].startswith(f"00-{TRACE:032x}")


def test_nothing_is_imported_for_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
