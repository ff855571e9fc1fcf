"""When the threads of an executor take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest
from cascade_server.counts.shared.books import Books
from cascade_server.jobs.courtesy import HOLD, LOOK, MANY_CALLS, RESTS, Courtesy
from cascade_server.objectives.objective import SloConfig
from cascade_server.terms import ServiceClass, Tier
from grpc import StatusCode


class Server:
    """Time, and calls that are answered, as a test says."""

    def __init__(self) -> None:
        self.now, self.calls, self.looks = 100.0, 7, 0
        self.rested: list[float] = []

    def answered(self) -> int:
        self.looks += 1
        return self.calls

    def courtesy(self) -> Courtesy:
        return Courtesy(self.answered, lambda: self.now, lambda: self.now, self.rest)

    def rest(self, seconds: float) -> None:
        self.rested.append(seconds)
        self.now += seconds

    def calls_come(self, courtesy: Courtesy, rate: float, seconds: float) -> None:
        """Calls are answered, so many a second, while somebody looks."""
        for _ in range(round(rate * seconds)):
            self.now += 1 / rate
            self.calls += 1
            courtesy.is_due()


def test_calls_of_before_are_no_reason() -> None:
    assert not Server().courtesy().is_due()


def test_it_is_due_from_a_call_on_until_a_while_after_the_last() -> None:
    server = Server()
    courtesy = server.courtesy()
    for _ in range(3):
        server.calls += 1
        server.now += LOOK
        assert courtesy.is_due()
        server.now += HOLD * 0.9
        assert courtesy.is_due()
    server.now += HOLD * 0.2
    assert not courtesy.is_due()


def test_it_does_not_look_all_the_time() -> None:
    server = Server()
    courtesy, before = server.courtesy(), server.looks
    for _ in range(100):
        courtesy.is_due()
    assert server.looks - before == 1
    server.now += LOOK
    courtesy.is_due()
    assert server.looks - before == 2


@pytest.mark.parametrize(
    ("rate", "share"), [(2, 0.02), (MANY_CALLS / 2, 0.5), (MANY_CALLS, 1), (10 * MANY_CALLS, 1)]
)
def test_the_more_calls_there_are_the_longer_it_rests(rate: float, share: float) -> None:
    server = Server()
    courtesy = server.courtesy()
    server.calls_come(courtesy, rate, 20 * HOLD)
    assert courtesy.rest_after(0.1) == pytest.approx(0.1 * RESTS * share, rel=0.3)


def test_it_rests_after_a_turn_and_not_where_nobody_calls() -> None:
    server = Server()
    courtesy = server.courtesy()
    with courtesy.turn():
        server.now += 0.1
    assert server.rested == []
    server.calls_come(courtesy, MANY_CALLS, 20 * HOLD)
    with courtesy.turn():
        server.now += 0.01
        server.calls += round(0.01 * MANY_CALLS)
    assert server.rested == [pytest.approx(0.01 * RESTS, rel=0.1)]
    server.now += 2 * HOLD
    assert courtesy.rest_after(0.1) == 0.0


@pytest.mark.parametrize("called", [False, True])
def test_threads_work_at_once_unless_calls_are_answered(called: bool) -> None:
    server = Server()
    courtesy, together = server.courtesy(), Barrier(2)

    def work() -> bool:
        with courtesy.turn():
            try:
                # Who is alone waits in vain.
                together.wait(0.05 if called else 60)
            except BrokenBarrierError:
                return False
            return True

    server.calls += called
    with ThreadPoolExecutor(2) as threads:
        assert [each.result() for each in [threads.submit(work) for _ in range(2)]] == [
            not called
        ] * 2


def test_a_turn_that_fails_is_over() -> None:
    server = Server()
    courtesy = server.courtesy()
    server.calls += 1
    for _ in range(2):
        with pytest.raises(OSError, match="full"), courtesy.turn():
            raise OSError("full")


def test_what_counts_as_a_call() -> None:
    """Whoever waits for an answer, whichever; not who asks for many rows."""
    books = Books(SloConfig(), ["payments"], workers=2)
    assert books.answered_in_real_time() == 0
    first, second, _ = (book.calls for book in books.places)
    first.record(("payments", ServiceClass.REALTIME, Tier.STUDENT, StatusCode.OK), 0.001)
    second.record(("payments", ServiceClass.FULL, None, StatusCode.UNAVAILABLE), 100.0, 2)
    second.record(("payments", ServiceClass.OFFLINE, Tier.TEACHER, StatusCode.OK), 1.0)
    assert books.answered_in_real_time() == 3
