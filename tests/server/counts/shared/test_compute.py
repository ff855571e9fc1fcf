"""What was computed for whom: counted by several processes, of tenants a bounded number."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from cascade_server.counts.shared.compute import (
    MOST_TENANTS,
    OTHER_TABLES,
    OTHER_TENANTS,
    ComputeCounts,
    UsageKey,
    UsageTier,
    Used,
    added,
)
from cascade_server.counts.shared.process_usage import Held, ProcessPlace, ProcessRole, by_role
from cascade_server.memory import Memory
from hypothesis import given
from hypothesis import strategies as st

STUDENT = UsageTier.STUDENT
ONE = Used(0.5, 0.0, 1, 2, 6)


def in_another_process(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.fixture
def counts() -> ComputeCounts:
    return ComputeCounts(["credit", "adult"], Memory(shared=True))


class TestCompute:
    """Additions, where all see them."""

    def test_what_a_process_counts_outlives_it(self, counts: ComputeCounts) -> None:
        for tenant in ("a", "b"):
            key = UsageKey("credit", STUDENT, tenant)
            in_another_process(lambda key=key: counts.add(key, ONE))  # type: ignore[misc]
        counts.add(UsageKey("credit", STUDENT, "b"), ONE)
        assert dict(counts.used()) == {
            UsageKey("credit", STUDENT, "a"): ONE,
            UsageKey("credit", STUDENT, "b"): ONE.plus(ONE),
        }

    def test_a_table_that_is_gone_counts_among_others(self, counts: ComputeCounts) -> None:
        counts.add(UsageKey("gone", STUDENT), ONE)
        assert dict(counts.used()) == {UsageKey(OTHER_TABLES, STUDENT): ONE}

    def test_tenants_beyond_the_most_count_together(self, counts: ComputeCounts) -> None:
        for number in range(MOST_TENANTS + 50):
            counts.add(UsageKey("credit", STUDENT, f"tenant {number}"), ONE)
        found = dict(counts.used())
        assert len(found) == MOST_TENANTS - 1
        # The empty name has a place of its own, and the last one is the others'.
        assert found[UsageKey("credit", STUDENT, OTHER_TENANTS)].answers == 52
        assert sum(used.answers for used in found.values()) == MOST_TENANTS + 50

    @given(st.lists(st.text(max_size=300), max_size=100))
    def test_any_names_are_counted(self, tenants: list[str]) -> None:
        counts = ComputeCounts(["credit"], Memory())
        for tenant in tenants:
            counts.add(UsageKey("credit", STUDENT, tenant), ONE)
        assert sum(used.answers for _, used in counts.used()) == len(tenants)

    def test_what_all_count_is_added(self, counts: ComputeCounts) -> None:
        other = ComputeCounts(["credit"], Memory())
        gpu = Used(0.0, 0.25, 0, 0, 0)
        for each, used in ((counts, ONE), (other, ONE), (other, gpu)):
            each.add(UsageKey("credit", UsageTier.TEACHER), used)
        assert added([counts, other]) == {
            UsageKey("credit", UsageTier.TEACHER): ONE.plus(ONE).plus(gpu)
        }


class TestProcesses:
    """What processes take, also those that have ended."""

    def test_a_successor_goes_on_from_what_was_used(self) -> None:
        place = ProcessPlace(ProcessRole.WORKER, Memory(shared=True))

        def live() -> None:
            place.succeed()
            place.uses(2.0)
            place.holds(Held(100, 10, 5), 3.0)

        for _ in range(2):
            in_another_process(live)
        found = place.used()
        assert (found.processes, found.seconds, found.peak) == (1, 4.0, 100.0)
        assert (found.held, found.byte_seconds) == (Held(100, 10, 5), Held(600, 60, 30))

    def test_who_has_ended_holds_nothing(self) -> None:
        place = ProcessPlace(ProcessRole.TEACHER, Memory())
        place.succeed()
        place.uses(1.0)
        place.holds(Held(100), 1.0)
        place.leave()
        found = place.used()
        assert (found.processes, found.held, found.seconds) == (0, Held(), 1.0)

    def test_roles_are_added(self) -> None:
        places = [ProcessPlace(ProcessRole.WORKER, Memory()) for _ in range(3)]
        for place in places[:2]:
            place.succeed()
            place.uses(1.5)
        found = by_role(places)[ProcessRole.WORKER]
        assert (found.processes, found.seconds) == (2, 3.0)
