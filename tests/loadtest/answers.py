"""Calls that were given answers, for tests."""

from __future__ import annotations

from cascade_loadtest.outcomes import Calls


def answers(*milliseconds: float, failures: int = 0) -> Calls:
    """Calls that took so long, and some that were refused."""
    found = Calls()
    for each in milliseconds:
        found.due.note(each / 1e3)
        found.sent.note(each / 1e3)
        found.tiers["student"] += 1
    if failures:
        found.failures["RESOURCE_EXHAUSTED"] = failures
    return found
