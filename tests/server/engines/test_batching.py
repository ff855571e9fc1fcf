"""Which requests a batch takes."""

from __future__ import annotations

import pytest
from cascade_server.engines.batching import (
    Batch,
    Gather,
    GatherConfig,
    Waiting,
    after_run,
    bucket_of,
    next_batch,
    waits,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BUCKETS = (1, 2, 4, 8, 16)


def seconds_of(rows: int) -> float:
    return 0.1 + 0.01 * rows


def realtime(rows: int = 1, deadline: float = 100.0) -> Waiting:
    return Waiting(rows, deadline, arrived=0.0)


def offline(rows: int = 1, deadline: float = 1e9) -> Waiting:
    return Waiting(rows, deadline, arrived=0.0, offline=True)


def alone(rows: int = 1) -> Waiting:
    return Waiting(rows, 1e9, arrived=0.0, offline=True, alone=True)


def batch(*waiting: Waiting, now: float = 0.0) -> Batch:
    return next_batch(now, waiting, BUCKETS, seconds_of)


def test_nothing_waits() -> None:
    assert batch() == Batch((), ())


def test_the_earliest_deadline_goes_first_and_a_full_batch_closes() -> None:
    waiting = [realtime(8, 30), realtime(8, 10), realtime(8, 20)]
    assert batch(*waiting).take == (1, 2)


def test_what_is_to_be_alone_shares_its_batch_with_nobody() -> None:
    assert batch(alone(3), offline(3), alone(3)).take == (0,)
    assert batch(offline(3), alone(3), offline(3)).take == (0, 2)
    assert batch(alone(3), realtime(3)).take == (1,)


def test_what_is_too_late_is_not_run() -> None:
    waiting = [realtime(deadline=5), realtime(deadline=5.001), realtime(deadline=4)]
    assert batch(*waiting, now=5.0) == Batch(take=(1,), expired=(0, 2))


def test_it_closes_before_it_makes_an_earlier_request_late() -> None:
    """Alone the first needs .11 s of its .12; with the second it would need .19."""
    assert batch(realtime(1, 0.12), realtime(8, 50)).take == (0,)
    assert batch(realtime(1, 0.20), realtime(8, 50)).take == (0, 1)


def test_a_request_that_will_be_late_anyway_holds_up_nobody() -> None:
    assert batch(realtime(1, 0.05), realtime(8, 50)).take == (0, 1)


def test_offline_rows_fill_the_bucket_and_no_more() -> None:
    waiting = [offline(2), realtime(5), offline(4), offline(1)]
    # Five real-time rows open the bucket of eight.
    assert batch(*waiting).take == (1, 0, 3)


def test_offline_rows_yield_even_with_an_earlier_deadline() -> None:
    assert batch(offline(16, deadline=1), realtime(16, deadline=50)).take == (1,)


def test_offline_rows_have_a_batch_to_themselves_when_nobody_waits_in_real_time() -> None:
    assert batch(offline(10), offline(6), offline(1)).take == (0, 1)


def test_a_request_larger_than_the_largest_bucket_is_its_own_batch() -> None:
    assert batch(realtime(40), realtime(1)).take == (0,)


def test_buckets() -> None:
    assert [bucket_of(n, BUCKETS) for n in (1, 3, 8, 9, 40)] == [1, 4, 8, 16, 16]


waiting_requests = st.lists(
    st.builds(
        Waiting,
        rows=st.integers(1, 20),
        deadline=st.floats(0, 3),
        arrived=st.just(0.0),
        offline=st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(waiting_requests, st.floats(0, 3))
def test_what_always_holds(waiting: list[Waiting], now: float) -> None:
    found = next_batch(now, waiting, BUCKETS, seconds_of)
    assert {*found.expired} == {i for i, w in enumerate(waiting) if w.deadline <= now}
    assert len({*found.take, *found.expired}) == len(found.take) + len(found.expired)
    rows = sum(waiting[i].rows for i in found.take)
    assert rows <= BUCKETS[-1] or len(found.take) == 1
    if len(found.expired) < len(waiting):
        assert found.take
    # Nobody is made late who would be in time if the batch had ended before the next request.
    for i in found.take:
        alone = now + seconds_of(waiting[i].rows) <= waiting[i].deadline
        first = i == found.take[0]
        if alone and first:
            assert now + seconds_of(rows) <= waiting[i].deadline


def test_offline_requests_take_turns_whatever_their_deadlines() -> None:
    """Of two that fill a batch each, the one that came back to the queue first is next."""
    later = Waiting(8, deadline=100.0, arrived=0.0, offline=True)
    sooner = Waiting(8, deadline=10.0, arrived=0.0, offline=True)
    assert next_batch(0.0, [later, sooner], (1, 8), lambda _: 0.01).take == (0,)
    assert next_batch(0.0, [sooner, later], (1, 8), lambda _: 0.01).take == (0,)


class TestGather:
    """An engine waits for company only where there has been some."""

    config = GatherConfig(
        max_queue_delay_microseconds=500, looks=40, probe_every=128, give_up_after=8
    )

    def after(self, gather: Gather, *runs: int) -> Gather:
        for requests in runs:
            gather = after_run(gather, self.config, requests)
        return gather

    def test_nobody_waits_at_first(self) -> None:
        assert not Gather().expected
        assert not self.after(Gather(), *[1] * 127).expected

    def test_a_run_of_several_expects_more(self) -> None:
        assert self.after(Gather(), 1, 2).expected

    def test_it_gives_up_after_some_runs_alone(self) -> None:
        crowd = self.after(Gather(), 3)
        assert self.after(crowd, *[1] * 7).expected
        assert not self.after(crowd, *[1] * 8).expected
        assert self.after(crowd, *[1] * 7, 2, *[1] * 7).expected

    def test_it_probes_now_and_then_for_two_runs(self) -> None:
        expected = [self.after(Gather(), *[1] * n).expected for n in range(1, 300)]
        assert [n for n, e in enumerate(expected, 1) if e] == [128, 129, 258, 259]

    @pytest.mark.parametrize(
        ("expected", "quiet", "waited", "rows", "answer"),
        [
            (True, 39, 499e-6, 15, True),
            (False, 0, 0.0, 1, False),
            (True, 40, 0.0, 1, False),
            (True, 0, 500e-6, 1, False),
            (True, 0, 0.0, 16, False),
        ],
    )
    def test_it_looks_round_until(
        self, expected: bool, quiet: int, waited: float, rows: int, answer: bool
    ) -> None:
        gather = Gather(expected=expected)
        assert waits(gather, self.config, quiet, waited, rows, most=16) is answer
