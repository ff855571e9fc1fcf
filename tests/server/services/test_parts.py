"""A frame in parts: one seed gives the same rows however they are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from cascade_proto import synthesis_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.releases import TABLE
from tests.server.messages import ABSENT, ask, column, read
from tests.server.running import Running

FIDELITIES = ["FIDELITY_FAST", "FIDELITY_FULL"]
ROWS = 40


def some(begin: int, end: int) -> pb.Rows:
    """Rows that lack different columns: `items` each third, `amount` each second, others all."""
    places = range(begin, end)
    items = [ABSENT if place % 3 == 0 else 0 for place in places]
    amounts = [ABSENT if place % 2 else 0 for place in places]
    return pb.Rows(
        count=end - begin,
        columns=[
            column("items", [place % 8 + 1 for place in places], states=items),
            column("amount", [place / 4 for place in places], states=amounts),
        ],
    )


def answered(serving: Running, begin: int, end: int, **how: Any) -> dict[str, list[Any]]:
    """Some rows of the frame, as a part of it."""
    request = ask(some(begin, end), seed=7, first_row=begin, **how)
    return read(serving.stub.Synthesize(request).rows)


class TestCuts:
    @pytest.mark.parametrize("fidelity", FIDELITIES)
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(
        cuts=st.sets(st.integers(1, ROWS - 1), max_size=6),
        draws=st.sampled_from([1, 2, 9, 33]),
        columns=st.sampled_from([(), ("amount", "at"), ("at",), ("channel", "items")]),
    )
    def test_the_parts_of_a_frame_are_the_rows_of_the_whole(
        self, serving: Running, fidelity: str, cuts: set[int], draws: int, columns: tuple[str, ...]
    ) -> None:
        how = {"draws": draws, "fidelity": fidelity}
        whole = answered(serving, 0, ROWS, **how)
        ends = [0, *sorted(cuts), ROWS]
        parts = [
            answered(serving, begin, end, columns=columns, **how) for begin, end in pairwise(ends)
        ]
        joined = {name: [value for part in parts for value in part[name]] for name in parts[0]}
        assert joined == {name: whole[name] for name in joined}

    def test_other_first_rows_give_other_rows(self, serving: Running) -> None:
        one, other = (
            read(serving.stub.Synthesize(ask(draws=8, seed=7, first_row=first)).rows)
            for first in (0, 1)
        )
        assert one != other

    def test_a_first_row_beyond_what_is_counted_is_refused(self, serving: Running) -> None:
        with pytest.raises(Exception, match=r"first_row is 4,294,967,296; allowed: 0 to 4,294"):
            serving.stub.Synthesize(ask(first_row=2**32))


class TestOffline:
    """Parts yield to calls that somebody waits for, and spend no budget of theirs."""

    def test_they_count_as_offline_work(self, serving: Running) -> None:
        before = calls(serving)
        serving.stub.Synthesize(ask(some(0, 4), offline=True, fidelity="FIDELITY_FAST"))
        after = calls(serving)
        assert after[pb.CLASS_OF_SERVICE_OFFLINE] == before[pb.CLASS_OF_SERVICE_OFFLINE] + 1
        assert after[pb.CLASS_OF_SERVICE_REALTIME] == before[pb.CLASS_OF_SERVICE_REALTIME]

    @pytest.mark.parametrize("fidelity", FIDELITIES)
    def test_a_seed_gives_the_rows_that_it_gives_in_real_time(
        self, serving: Running, fidelity: str
    ) -> None:
        one = answered(serving, 0, ROWS, draws=9, fidelity=fidelity, offline=True)
        assert one == answered(serving, 0, ROWS, draws=9, fidelity=fidelity)


def calls(serving: Running) -> dict[int, int]:
    """Calls that objectives of a table's availability count, by class."""
    level = serving.stub.GetServiceLevel(pb.GetServiceLevelRequest())
    return {
        each.class_of_service: each.total
        for each in level.objectives
        if each.table == TABLE and each.kind == pb.OBJECTIVE_KIND_AVAILABILITY
    }
