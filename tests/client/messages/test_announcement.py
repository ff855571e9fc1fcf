"""What a `Synthesize` says of itself in its headers, before a server has read it."""

from __future__ import annotations

from typing import Any

import pytest
from cascade_client.messages.wire import announcement
from cascade_proto import synthesis_pb2 as pb


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (("cascade-table", "credit"),)),
        ({"fidelity": pb.FIDELITY_FAST}, (("cascade-table", "credit"),)),
        (
            {"fidelity": pb.FIDELITY_FULL},
            (("cascade-table", "credit"), ("cascade-class", "full")),
        ),
        ({"offline": True}, (("cascade-table", "credit"), ("cascade-class", "offline"))),
        ({"log_likelihood": True}, (("cascade-table", "credit"), ("cascade-class", "full"))),
    ],
)
def test_whose_budget_a_refusal_at_the_headers_spends(
    fields: dict[str, Any], expected: tuple[tuple[str, str], ...]
) -> None:
    assert announcement(pb.SynthesizeRequest(table="credit", **fields)) == expected


@pytest.mark.parametrize("table", ["", "Kreditkärten", "a b", "two\nlines", "x" * 129])
def test_a_name_that_no_header_may_have_is_left_out(table: str) -> None:
    assert announcement(pb.SynthesizeRequest(table=table)) == ()
