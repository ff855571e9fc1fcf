"""Which version answers, as every process sees it."""

from __future__ import annotations

import os

import pytest
from cascade_server.counts.shared.live_versions import LiveVersions, lot_of
from cascade_server.memory import Memory

LOADED = (1, 2, 3)


def live(stable: int = 0, canary: int = 0, share: float = 0.0) -> LiveVersions:
    versions = LiveVersions(["credit"], Memory(shared=True))
    if stable:
        versions.put("credit", stable, canary, share)
    return versions


def test_without_any_word_the_highest_answers() -> None:
    assert live().choose("credit", 0.0, LOADED) == 3
    assert live().choose("other", 0.0, LOADED) == 3


def test_lots_below_the_share_are_the_canarys() -> None:
    found = live(stable=1, canary=2, share=0.25)
    assert [found.choose("credit", lot, LOADED) for lot in (0.0, 0.2499, 0.25, 1.0)] == [2, 2, 1, 1]
    assert found.shares("credit") == {1: 0.75, 2: 0.25}
    assert [found.arm("credit", version) for version in LOADED] == [0, 1, None]


def test_what_a_process_does_not_have_does_not_answer() -> None:
    """One that is about to leave knows no new version; one that has come, no old one."""
    found = live(stable=1, canary=2, share=0.5)
    assert found.choose("credit", 0.0, (1, 3)) == 1
    assert found.choose("credit", 0.9, (2, 3)) == 3


@pytest.mark.parametrize("lot", [0.0, 0.9])
def test_what_is_written_while_it_is_read_is_not_mixed_with_it(lot: float) -> None:
    """The supervisor goes on to versions that this process lacks, at the worst moment."""
    found = live(stable=1, canary=2, share=0.5)

    class Loaded(tuple[int, ...]):
        def __contains__(self, version: object) -> bool:
            is_loaded = super().__contains__(version)
            found.put("credit", 8, 9, 0.5)
            return is_loaded

    assert found.choose("credit", lot, Loaded(LOADED)) in LOADED


def test_a_call_without_a_version_is_that_of_the_one_that_would_have_answered() -> None:
    found = live(stable=1, canary=2, share=0.25)
    lots = (0.0, 0.2499, 0.25, 0.99)
    assert [found.arm_by_lot("credit", lambda lot=lot: lot) for lot in lots] == [1, 1, 0, 0]  # type: ignore[misc]


def test_without_a_trial_nothing_is_judged() -> None:
    found = live(stable=1)
    assert [found.arm("credit", version) for version in LOADED] == [None] * 3
    assert found.arm_by_lot("credit") is None
    assert found.arm_by_lot("nope") is None


def test_another_process_sees_it_at_once() -> None:
    found = live(stable=1)
    pid = os.fork()
    if pid == 0:
        found.put("credit", stable=2)
        os._exit(0)
    os.waitpid(pid, 0)
    assert found.choose("credit", 1.0, LOADED) == 2


def test_a_seed_has_one_lot_and_seeds_have_all() -> None:
    lots = [lot_of(seed) for seed in range(20_000)]
    assert lots == [lot_of(seed) for seed in range(20_000)]
    assert all(0 <= lot < 1 for lot in lots)
    # Within 5 standard errors of a uniform share of 5 %: sqrt(.05 x .95 / 20,000) is .0015.
    assert abs(sum(lot < 0.05 for lot in lots) / len(lots) - 0.05) < 0.0077


def test_events_are_counted() -> None:
    found = live()
    found.count("loaded")
    found.count("loaded")
    found.count("refused")
    assert (found.totals()["loaded"], found.totals()["refused"]) == (2, 1)
