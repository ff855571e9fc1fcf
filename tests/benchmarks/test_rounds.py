"""Figures of rounds, and the ratios of those that belong together."""

from __future__ import annotations

from benchmarks.load.rounds import Rounds


def test_a_ratio_is_of_one_rounds_figures() -> None:
    """A machine that was twice as slow in one round was so for both of its servers."""
    rounds = Rounds()
    for slower in (1.0, 2.0, 1.0):
        rounds.keep(ours_ms=3 * slower)
        rounds.keep(theirs_ms=2 * slower)
    assert rounds.ratio("ours_ms", "theirs_ms") == 1.5
    assert rounds.medians() == {"ours_ms": 3.0, "theirs_ms": 2.0}
