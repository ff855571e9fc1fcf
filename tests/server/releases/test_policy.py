"""What is loaded of what there is, and who answers: no process, no repository."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from cascade_server.errors import BadRequest, ConfigError, NotAllowed, UnknownTable
from cascade_server.releases.policy import Desired, Policy, TableState

CREDIT = {"credit": (1, 2, 3)}


def desired(policy: str = "all", **policies: str) -> Desired:
    return Desired(
        Policy.parse(policy), {table: Policy.parse(each) for table, each in policies.items()}
    )


class TestPolicies:
    """Which versions a policy is for."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("all", {1, 2, 9, 10}),
            ("latest", {10}),
            ("latest:2", {9, 10}),
            ("latest:99", {1, 2, 9, 10}),
            ("2", {2}),
            ("1, 9,77", {1, 9}),
        ],
    )
    def test_versions(self, text: str, expected: set[int]) -> None:
        assert expected == Policy.parse(text).selected_from([1, 2, 9, 10])

    @pytest.mark.parametrize("text", ["all", "latest", "latest:2", "1,9"])
    def test_reads_as_it_was_written(self, text: str) -> None:
        assert text == str(Policy.parse(text))

    @pytest.mark.parametrize("text", ["", "newest", "latest:0", "latest:", "0", "1,", "1;2", "-1"])
    def test_what_is_none_is_named(self, text: str) -> None:
        with pytest.raises(ConfigError, match="allowed: all, latest, latest:N or versions"):
            Policy.parse(text)


class TestWanted:
    """What is to be loaded."""

    available = MappingProxyType({"adult": (1,), "credit": (1, 2, 3)})

    def test_all_of_all(self) -> None:
        assert desired().wanted(self.available, {}) == self.available

    def test_tables_that_are_not_named_are_not_served(self) -> None:
        assert desired(credit="1,3").wanted(self.available, {}) == {"credit": (1, 3)}

    def test_a_table_without_such_a_version_is_not_served(self) -> None:
        assert desired(credit="7").wanted(self.available, {}) == {}

    def test_what_answers_stays_beside_the_latest(self) -> None:
        """Else there would be nothing to go back to."""
        found = desired("latest").wanted({"credit": (1, 2, 3)}, {"credit": (2,)})
        assert found == {"credit": (2, 3)}

    def test_loaded_by_name(self) -> None:
        one = desired("latest").load("credit", 1, CREDIT)
        assert one.wanted(CREDIT, {}) == {"credit": (1, 3)}

    def test_unloaded_by_name_until_it_is_loaded_again(self) -> None:
        without = desired().unload("credit", 2, CREDIT)
        assert without.wanted(CREDIT, CREDIT) == {"credit": (1, 3)}
        assert without.load("credit", 2, CREDIT).wanted(CREDIT, CREDIT) == CREDIT

    def test_a_table_that_was_unloaded_comes_back_as_its_policy_says(self) -> None:
        tables = {"adult": (1,), "credit": (1, 2, 3)}
        without = desired("latest").unload("credit", 0, tables)
        assert without.wanted(tables, tables) == {"adult": (1,)}
        again = without.load("credit", 0, tables)
        assert again.wanted(tables, {"adult": (1,)}) == {"adult": (1,), "credit": (3,)}

    def test_a_table_that_was_not_named_can_be_loaded(self) -> None:
        tables = {"adult": (1, 2), "credit": (1,)}
        both = desired(credit="all").load("adult", 0, tables)
        assert both.wanted(tables, {}) == {"adult": (2,), "credit": (1,)}

    def test_nothing_is_no_server(self) -> None:
        with pytest.raises(NotAllowed, match="all that this server serves"):
            desired().unload("credit", 0, CREDIT)

    def test_what_is_not_there_is_named(self) -> None:
        with pytest.raises(UnknownTable, match=r"no version 9; its versions are: 1, 2, 3"):
            desired().load("credit", 9, CREDIT)
        with pytest.raises(UnknownTable, match="Did you mean 'credit'"):
            desired().unload("credti", 0, CREDIT)


class TestAnswering:
    """Who answers, and what can be gone back to."""

    def test_the_highest_does(self) -> None:
        assert TableState().answering((1, 2, 3)) == 3

    def test_a_new_version_answers_and_the_one_before_is_remembered(self) -> None:
        after = desired().after({"credit": (1,)}, {"credit": (1, 2)}, share=0.0)
        state = after.state_of("credit")
        assert (state.answering((1, 2)), state.previous, state.canary) == (2, 1, 0)

    def test_a_new_version_may_be_on_trial_first(self) -> None:
        after = desired().after({"credit": (1,)}, {"credit": (1, 2)}, share=0.05)
        state = after.state_of("credit")
        assert (state.answering((1, 2)), state.canary, state.share) == (1, 2, 0.05)

    def test_nothing_is_on_trial_at_the_start(self) -> None:
        after = desired().after({}, {"credit": (1, 2)}, share=0.05, first=True)
        assert after.state_of("credit") == TableState()

    def test_an_older_version_that_is_loaded_answers_nobody(self) -> None:
        after = desired("latest").after({"credit": (2,)}, {"credit": (1, 2)}, share=0.05)
        state = after.state_of("credit")
        assert (state.answering((1, 2)), state.canary) == (2, 0)

    def test_promoting_the_canary(self) -> None:
        trial = desired().on_trial("credit", 2, 0.1, CREDIT)
        state = trial.promoted("credit", CREDIT, 0).state_of("credit")
        assert (state.answering((1, 2, 3)), state.previous, state.canary) == (2, 3, 0)
        assert state.share == 0

    def test_rolling_back_a_canary_leaves_who_answered(self) -> None:
        trial = desired().on_trial("credit", 2, 0.1, CREDIT)
        state = trial.rolled_back("credit", CREDIT).state_of("credit")
        assert (state.answering((1, 2, 3)), state.canary, state.share) == (3, 0, 0)

    def test_rolling_back_a_promotion_and_again(self) -> None:
        one = desired().promoted("credit", CREDIT, 1)
        assert one.state_of("credit").answering((1, 2, 3)) == 1
        back = one.rolled_back("credit", CREDIT)
        assert back.state_of("credit").answering((1, 2, 3)) == 3
        assert back.rolled_back("credit", CREDIT).state_of("credit").answering((1, 2, 3)) == 1

    def test_there_may_be_nothing_to_go_back_to(self) -> None:
        with pytest.raises(NotAllowed, match="neither a canary nor a version that answered"):
            desired().rolled_back("credit", CREDIT)

    def test_a_version_that_was_rolled_back_to_stays(self) -> None:
        """What comes later does not answer by itself: somebody has decided."""
        back = desired().promoted("credit", CREDIT, 2)
        after = back.after(CREDIT, {"credit": (1, 2, 3, 4)}, share=0.0)
        assert after.state_of("credit").answering((1, 2, 3, 4)) == 2

    def test_unloading_who_answers_lets_the_highest_answer(self) -> None:
        pinned = desired().promoted("credit", CREDIT, 2).unload("credit", 2, CREDIT)
        state = pinned.after(CREDIT, {"credit": (1, 3)}, share=0.0).state_of("credit")
        assert (state.answering((1, 3)), state.stable) == (3, 0)

    def test_unloading_the_canary_ends_its_trial(self) -> None:
        trial = desired().on_trial("credit", 2, 0.1, CREDIT).unload("credit", 2, CREDIT)
        assert trial.after(CREDIT, {"credit": (1, 3)}, share=0.0).state_of("credit").canary == 0

    @pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 5.0])
    def test_a_share_is_a_part(self, share: float) -> None:
        with pytest.raises(BadRequest, match="above 0 and below 1"):
            desired().on_trial("credit", 2, share, CREDIT)

    def test_who_answers_is_no_canary(self) -> None:
        with pytest.raises(BadRequest, match="version 3 is the one that answers"):
            desired().on_trial("credit", 3, 0.5, CREDIT)


def test_it_outlives_a_restart() -> None:
    one = desired().on_trial("credit", 2, 0.25, CREDIT).unload("credit", 1, CREDIT)
    assert desired().restored(one.to_dict()) == one
