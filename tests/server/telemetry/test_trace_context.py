"""W3C Trace Context, as https://www.w3.org/TR/trace-context/ has it."""

from __future__ import annotations

import pytest
from cascade_server.telemetry.trace_context import TraceContext, context_of
from hypothesis import given
from hypothesis import strategies as st

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def headers(parent: str, *states: str) -> list[tuple[bytes, bytes]]:
    return [
        (b":path", b"/a/b"),
        (b"traceparent", parent.encode()),
        *((b"tracestate", each.encode()) for each in states),
    ]


def test_is_read_and_said_again() -> None:
    found = context_of(headers(f"00-{TRACE}-{SPAN}-01", "a=1,b=2", "c@d=3"))
    assert found == TraceContext(TRACE, SPAN, True, "a=1,b=2,c@d=3")
    assert dict(found.headers()) == {
        "traceparent": f"00-{TRACE}-{SPAN}-01",
        "tracestate": "a=1,b=2,c@d=3",
    }


@pytest.mark.parametrize(
    ("parent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-says", True),
    ],
)
def test_who_began_it_says_whether_it_is_recorded(parent: str, sampled: bool) -> None:
    found = context_of(headers(parent))
    assert found is not None
    assert found.sampled is sampled


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_malformed_is_as_if_it_were_not_there(parent: str) -> None:
    assert context_of(headers(parent)) is None


def test_two_parents_are_none() -> None:
    one = headers(f"00-{TRACE}-{SPAN}-01")
    assert context_of([*one, one[1]]) is None


@pytest.mark.parametrize(
    "state",
    ["novalue", "A=1", "a=1;\x01", ",".join(f"k{n}=1" for n in range(33)), "a=" + "x" * 600],
)
def test_a_state_that_is_none_is_not_passed_on(state: str) -> None:
    found = context_of(headers(f"00-{TRACE}-{SPAN}-01", state))
    assert found == TraceContext(TRACE, SPAN, True)


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"tracestate"]), st.binary())))
def test_whatever_comes_nothing_fails(sent: list[tuple[bytes, bytes]]) -> None:
    found = context_of(sent)
    if found is not None:
        assert context_of([(n.encode(), v.encode()) for n, v in found.headers()]) == found
