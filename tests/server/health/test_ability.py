"""What is believed of a server, from what became of its calls; no server, no clock."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from cascade_server.health.ability import (
    LATE_LOOK,
    LOOP_CONFIG,
    Ability,
    AbilityConfig,
    CheckConfig,
    Look,
    Vitals,
    check_is_due,
    loop_look,
    vitals,
)
from hypothesis import given
from hypothesis import strategies as st

CONFIG = AbilityConfig(unable_seconds=3, failures=3, sure_seconds=1, hopeless_seconds=30)
ABLE, UNABLE = Ability(), Ability(False)


def believed(looks: Iterable[tuple[float, int, int]], before: Ability = ABLE) -> Ability:
    """After looks: (now, answered, failed)."""
    for look in looks:
        before = before.after(Look(*look), CONFIG)
    return before


class TestAbility:
    """Whether calls can be answered."""

    def test_failures_that_last_and_no_answer(self) -> None:
        assert believed([(10, 0, 1), (11, 0, 1), (12.9, 0, 1)]).able
        assert believed([(10, 0, 1), (11, 0, 1), (13, 0, 1)]) == Ability(False, since=13)

    def test_a_burst_is_no_lasting_failure(self) -> None:
        assert believed([(10, 0, 1000)]).able

    def test_few_failures_are_none(self) -> None:
        assert believed([(10, 0, 1), (100, 0, 1)]).able

    def test_one_answer_is_proof(self) -> None:
        assert believed([(10, 0, 500), (12, 1, 500), (14, 0, 500)]).able

    @given(
        st.lists(
            st.tuples(st.floats(0, 9), st.integers(0, 1000), st.just(0)), min_size=1, max_size=30
        )
    )
    def test_refusals_for_load_count_for_nothing(self, looks: list[tuple[float, int, int]]) -> None:
        """They are neither answers nor failures, however many there are and however long."""
        now = 0.0
        for gap, answered, failed in looks:
            now += gap
            assert believed([(now, answered, failed)]).able

    def test_answers_have_to_last_too(self) -> None:
        assert not believed([(20, 5, 0)], UNABLE).able
        assert not believed([(20, 5, 0), (20.5, 0, 1), (21, 5, 0)], UNABLE).able
        assert believed([(20, 5, 0), (20.5, 0, 0), (21, 5, 0)], UNABLE) == Ability(since=21)

    def test_nothing_is_forgotten_while_nothing_happens(self) -> None:
        assert believed([(10, 0, 0), (1000, 0, 0)], UNABLE) == UNABLE

    @pytest.mark.parametrize(("now", "hopeless"), [(129, False), (130, True)])
    def test_when_waiting_does_not_help(self, now: float, hopeless: bool) -> None:
        assert Ability(False, since=100).hopeless(now, CONFIG) is hopeless
        assert not Ability(since=100).hopeless(now, CONFIG)


class TestLoop:
    """An event loop that is late answers nobody in time."""

    def test_a_pause_is_none(self) -> None:
        """A process that was stopped for seconds is late once."""
        loop = ABLE.after(loop_look(due=10, now=14), LOOP_CONFIG)
        assert loop.after(loop_look(due=14.5, now=14.5), LOOP_CONFIG) == ABLE

    def test_late_again_and_again(self) -> None:
        loop, due = ABLE, 0.0
        for _ in range(12):
            loop = loop.after(loop_look(due, due + LATE_LOOK + 0.01), LOOP_CONFIG)
            due += LATE_LOOK
        assert not loop.able
        for _ in range(10):
            loop = loop.after(loop_look(due, due), LOOP_CONFIG)
            due += LATE_LOOK
        assert loop.able


CHECKS = CheckConfig(quiet_seconds=30, doubtful_seconds=2)


@pytest.mark.parametrize(
    ("ability", "quiet", "asked", "due"),
    [
        (ABLE, 29, False, False),
        (ABLE, 30, False, True),
        (ABLE, 1.9, True, False),
        (ABLE, 2, True, True),
        (Ability(doubted=5.0, failures=1), 0, False, True),
        (UNABLE, 0, False, True),
    ],
)
def test_when_the_server_asks_itself(
    ability: Ability, quiet: float, asked: bool, due: bool
) -> None:
    assert check_is_due(ability, quiet, asked, CHECKS) is due


class TestVitals:
    """What can be answered, all in all."""

    def test_one_table_of_two(self) -> None:
        found = vitals({"a": ABLE, "b": UNABLE}, ABLE, 99, True, CONFIG)
        assert found == Vitals(frozenset({"b"}))

    @pytest.mark.parametrize("own", [True, False])
    def test_all_tables(self, own: bool) -> None:
        """Another process helps where the networks are in this one."""
        tables = {"a": UNABLE, "b": Ability(False, since=50)}
        both = frozenset(tables)
        assert vitals(tables, ABLE, 79, own, CONFIG) == Vitals(both, True, False)
        assert vitals(tables, ABLE, 80, own, CONFIG) == Vitals(both, True, own)

    def test_a_late_loop(self) -> None:
        found = vitals({"a": ABLE}, UNABLE, 29, False, CONFIG)
        assert found == Vitals(frozenset({"a"}), True, False)
        assert vitals({"a": ABLE}, UNABLE, 30, False, CONFIG).hopeless

    def test_no_tables(self) -> None:
        assert vitals({}, ABLE, 99, True, CONFIG) == Vitals()
