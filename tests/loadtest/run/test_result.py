"""What programs are told of a run."""

from __future__ import annotations

import pytest

from tests.loadtest.results import result


def test_percentiles_are_those_of_all_calls() -> None:
    """Of 104 calls four were not answered: 96 % of them were, within 25.5 ms, and no more."""
    told = result().summary()["real_time"]
    assert (told["due"], told["answered"]) == (104, 100)
    assert told["from_due_ms"]["p50"] == pytest.approx(13.5, rel=1e-3)
    assert told["from_sent_ms"]["p50"] == pytest.approx(13, rel=1e-3)
    assert told["from_due_ms"]["p95"] == pytest.approx(25.5, rel=1e-3)
    assert told["from_due_ms"]["p99"] is None
    assert told["from_due_ms"]["worst"] == pytest.approx(25.5, rel=1e-3)
