"""Whose budget a call spends that was refused before it was read."""

from __future__ import annotations

from collections import Counter

from cascade_server.counts.unread import LAST, RecentlyAsked
from cascade_server.terms import ServiceClass
from hypothesis import given
from hypothesis import strategies as st

REALTIME, FULL, _ = ServiceClass
CREDIT, ADULT = ("credit", REALTIME), ("adult", FULL)


def counted(asked: RecentlyAsked, calls: int) -> Counter[object]:
    return Counter(asked.next() for _ in range(calls))


def test_of_one_table_all_are_its() -> None:
    asked = RecentlyAsked({"credit"}, REALTIME)
    assert counted(asked, 1000) == {CREDIT: 1000}
    asked.add(CREDIT)
    assert counted(asked, 1000) == {CREDIT: 1000}


def test_tables_take_turns_until_a_call_was_read() -> None:
    asked = RecentlyAsked({"credit", "adult"}, REALTIME)
    assert counted(asked, 100) == {("adult", REALTIME): 50, CREDIT: 50}
    asked.add(ADULT)
    assert counted(asked, 100) == {ADULT: 100}


def test_where_there_is_no_table_there_is_none_to_count_for() -> None:
    assert RecentlyAsked((), REALTIME).next() is None


def test_what_was_asked_long_ago_is_forgotten() -> None:
    asked = RecentlyAsked({"credit", "adult"}, REALTIME)
    for key in (CREDIT, ADULT):
        for _ in range(LAST):
            asked.add(key)
    assert counted(asked, LAST) == {ADULT: LAST}


@given(
    st.lists(st.sampled_from([CREDIT, ADULT, ("c", REALTIME)]), min_size=1, max_size=LAST),
    st.integers(1, 5),
)
def test_each_has_its_share(keys: list[tuple[str, ServiceClass]], rounds: int) -> None:
    asked = RecentlyAsked({"credit"}, REALTIME)
    for key in keys:
        asked.add(key)
    assert counted(asked, rounds * len(keys)) == {
        key: rounds * times for key, times in Counter(keys).items()
    }


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5))
def test_whatever_the_order_and_the_pace(credit: int, adult: int, refusals: int) -> None:
    """Calls that are read in a pattern, with some refused after each: shares are the pattern's."""
    asked = RecentlyAsked({"credit", "adult"}, REALTIME)
    found: Counter[object] = Counter()
    for key in ([CREDIT] * credit + [ADULT] * adult) * (4 * LAST // (credit + adult)):
        asked.add(key)
        found += counted(asked, refusals)
    share = found[CREDIT] / found.total()
    # One turn through what is remembered may be in any phase of the pattern.
    assert abs(share - credit / (credit + adult)) < 0.05
