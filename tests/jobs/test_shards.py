"""How jobs are cut, and the states that they are in."""

from __future__ import annotations

from itertools import product

import pytest
from cascade_jobs.shards import CELLS, FEWEST, MOST, Plan, plan, rows_of_shard
from cascade_jobs.states import FINAL, TABLE, JobEvent, JobState, follows
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 10**12), st.integers(1, 10**6))
def test_the_first_and_the_last_shard_meet_the_ends_of_the_job(rows: int, each: int) -> None:
    made = Plan(rows, each)
    last = made[len(made) - 1]
    assert (made[0].first, last.first + last.rows) == (0, rows)
    assert 1 <= last.rows <= each
    with pytest.raises(IndexError):
        made[len(made)]


def test_shards_follow_each_other_without_a_gap() -> None:
    made = list(plan(1_000_000, 24, by_teacher=False))
    ends = [shard.first + shard.rows for shard in made]
    assert [shard.first for shard in made] == [0, *ends[:-1]]
    assert [shard.name for shard in made[:2]] == [
        "data/part-00000.parquet",
        "data/part-00001.parquet",
    ]


@pytest.mark.parametrize("columns", [1, 15, 24, 100, 1000, 2048])
def test_wider_tables_have_shorter_shards(columns: int) -> None:
    rows = rows_of_shard(columns, by_teacher=False)
    assert FEWEST <= rows <= MOST
    assert rows * columns <= CELLS
    assert rows & (rows - 1) == 0
    assert rows_of_shard(columns, by_teacher=True) <= rows


def test_a_table_of_any_width_is_cut() -> None:
    assert rows_of_shard(10**9, by_teacher=True) == FEWEST


def test_what_has_ended_stays_as_it_is() -> None:
    for state, event in product(FINAL, JobEvent):
        assert follows(state, event) is state


def test_every_state_is_reached_and_every_state_that_is_not_final_is_left() -> None:
    assert {JobState.PENDING, *TABLE.values()} == set(JobState)
    assert {state for state, _ in TABLE} == set(JobState) - FINAL
