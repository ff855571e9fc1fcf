"""Counts in memory that processes share: none is lost with a process, none is counted twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.process_usage import Held
from cascade_server.counts.shared.sketches import (
    RELATIVE_ACCURACY,
    SLOT,
    SLOTS,
    Sketches,
    bin_of,
    quantile,
)
from cascade_server.memory import Memory, Note, Version
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.report import OK
from cascade_server.terms import ServiceClass, Tier
from hypothesis import given
from hypothesis import strategies as st

REALTIME = ServiceClass.REALTIME
CONFIG = SloConfig(objectives=(Objective("t", REALTIME, Kind.AVAILABILITY, 0.9),))


# Counters of an engine, as large as they may get.
BIG = ("waiting", "runs", "rows", "expired", "run_nanoseconds", "queue_nanoseconds", "last_run")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def in_another_process(do: Callable[[], None], code: int = 0) -> None:
    """A process that is forked, does it, and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except BaseException:
            os._exit(99)
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def answer(ledger: Ledger, calls: int) -> None:
    for _ in range(calls):
        ledger.record("t", REALTIME, Tier.STUDENT, OK, 0.01)
        ledger.book.calls.record(("t", REALTIME, Tier.STUDENT, OK), 0.01)


def total(ledger: Ledger) -> int:
    (status,) = ledger.report().statuses
    (latency,) = ledger.latencies()
    assert latency.count == status.events.total
    return status.events.total


class TestLedgers:
    """Each process has one, and each reports what all have counted."""

    def test_others_count_and_are_succeeded(self) -> None:
        clock = Clock()
        books = Books(CONFIG, ["t"], workers=2, clock=clock)
        keeper = Ledger(CONFIG, ["t"], clock, books, 2)
        in_another_process(lambda: answer(Ledger(CONFIG, ["t"], clock, books, 0), 3))
        in_another_process(lambda: answer(Ledger(CONFIG, ["t"], clock, books, 1), 4))
        assert total(keeper) == 7
        clock.now += 61  # what was open is folded by who comes after
        in_another_process(lambda: answer(Ledger(CONFIG, ["t"], clock, books, 0), 5))
        assert total(keeper) == 12
        clock.now += 3600
        assert keeper.report().statuses[0].windows["30m"].total == 0
        assert keeper.report().statuses[0].events.total == 12

    def test_a_state_is_of_all_and_is_restored_once(self) -> None:
        clock = Clock()
        books = Books(CONFIG, ["t"], workers=2, clock=clock)
        in_another_process(lambda: answer(Ledger(CONFIG, ["t"], clock, books, 0), 3))
        clock.now += 400
        in_another_process(lambda: answer(Ledger(CONFIG, ["t"], clock, books, 1), 4))
        state = Ledger(CONFIG, ["t"], clock, books, 2).state()
        assert [int(ring.counts[:, 0].sum()) for ring in state.rings] == [7, 7, 7]
        assert state.rings[0].counts[-1, 0] == 4

        again = Books(CONFIG, ["t"], workers=1, clock=clock)
        assert not again.restored
        Ledger(CONFIG, ["t"], clock, again, 1).restore(state)
        assert again.restored
        worker = Ledger(CONFIG, ["t"], clock, again, 0)
        answer(worker, 1)
        assert worker.report().statuses[0].events.total == 8
        assert worker.report().since == state.since


class TestStatistics:
    """What processes tell each other of themselves."""

    def test_a_successor_keeps_the_counts_and_the_place(self) -> None:
        books = Books(CONFIG, ["t"], workers=2)

        def say(place: int, refused: int) -> None:
            books.succeed(place)
            said = pb.GetStatisticsResponse(refused=refused, limit=8)
            said.workers.add(pid=os.getpid())
            books.places[place].now.write(said.SerializeToString())

        for refused in (5, 6):
            in_another_process(lambda refused=refused: say(0, refused))  # type: ignore[misc]
        in_another_process(lambda: say(1, 100))
        found = books.statistics(pb.GetStatisticsResponse(), 2)
        assert (found.refused, found.limit, len(found.workers)) == (111, 16, 2)

    def test_there_is_room_for_two_versions_of_each_of_a_thousand_tables(self) -> None:
        tables = [f"transactions_of_customers_{number:04}" for number in range(1000)]
        books = Books(SloConfig(objectives=()), tables, workers=1)
        said = pb.GetStatisticsResponse()
        for table, version, tier in product(tables, (1, 2), (1, 2)):
            said.engines.add(table=table, version=version, tier=tier, **dict.fromkeys(BIG, 2**52))
            if tier == 1:
                said.pool.releases.add(table=table, version=version, hits=2**52, misses=2**52)
        books.places[0].says(said)
        assert books.statistics(pb.GetStatisticsResponse(), 1).engines == said.engines

    def test_where_all_has_no_room_a_process_says_what_it_can(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        books = Books(CONFIG, ["t"], workers=2)
        said = pb.GetStatisticsResponse(refused=3, limit=8)
        said.workers.add(pid=7)
        said.engines.add(table="t", version=1, tier=1, runs=5)
        for number in range(1000):
            said.outside.add(table="t", column=f"{number} {'x' * 400}", kind=1, values=1)
        for _ in range(2):
            books.places[0].says(said)
        found = books.statistics(pb.GetStatisticsResponse(), 2)
        assert (found.refused, [each.pid for each in found.workers]) == (3, [7])
        assert (len(found.outside), found.engines[0].runs) == (0, 5)
        [line] = caplog.records
        assert line.getMessage().startswith("outside are left out of what a process tells")
        # Nor does it keep a successor from beginning.
        books.leave(1, said)
        books.succeed(0)
        assert books.statistics(pb.GetStatisticsResponse(), 2).refused == 6


class TestWhoIsGone:
    """One that was killed has not said what it holds no more."""

    def test_what_it_held_is_gone_and_what_it_counted_stays(self) -> None:
        books = Books(CONFIG, ["t"], workers=2, has_tenants=True)
        assert books.tenants is not None
        tenants, place = books.tenants, books.processes[1]

        def life() -> None:
            place.succeed()
            place.uses(3.0)
            place.holds(Held(100.0), 1.0)
            counts = tenants.of(1)
            counts.connected(7, 1)
            counts.call(7)
            os.kill(os.getpid(), signal.SIGKILL)

        tenants.of(0).connected(7, 1)
        in_another_process(life, -signal.SIGKILL)
        assert (tenants.total("connections", 7), place.used().processes) == (2, 1)
        books.left(1)
        assert (tenants.total("connections", 7), tenants.total("calls", 7)) == (1, 1)
        used = place.used()
        assert (used.processes, used.seconds, used.held) == (0, 3.0, Held())


class TestNotes:
    def test_what_does_not_fit_is_refused(self) -> None:
        note = Note(Memory(), 16)
        assert note.read() == (b"", 0.0)
        note.write(b"0123456789abcdef")
        note.write(b"short")
        assert note.read()[0] == b"short"
        with pytest.raises(ValueError, match="do not fit"):
            note.write(bytes(64))

    def test_a_reader_looks_again_while_it_is_written(self) -> None:
        version, looks = Version(Memory()), []

        def look() -> int:
            looks.append(0)
            if len(looks) < 3:
                with version:
                    pass
            return len(looks)

        assert version.steady(look) == 3

    def test_a_writer_that_died_keeps_no_reader_for_ever(self) -> None:
        version = Version(Memory())
        version.__enter__()
        assert version.steady(lambda: 1) == 1
        with version:
            pass
        looks: list[int] = []
        version.steady(lambda: looks.append(0))
        assert len(looks) == 1


class TestSketches:
    """Quantiles within the accuracy that a DDSketch promises."""

    @given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
    def test_accuracy(self, seconds: list[float], q: float) -> None:
        sketches = Sketches(1, Memory())
        sketches.begin(100)
        for each in seconds:
            sketches.add(0, each)
        exact = sorted(seconds)[int(q * (len(seconds) - 1))]
        found = quantile(sketches.recent(100)[0], q)
        assert found == pytest.approx(exact, rel=RELATIVE_ACCURACY * (1 + 1e-9))

    def test_what_is_too_short_or_too_long_for_a_bin_is_in_the_outermost(self) -> None:
        assert bin_of(0.0) == bin_of(-1.0) == bin_of(1e-9) == 0
        assert bin_of(1e6) == bin_of(1e9)

    def test_slots_are_forgotten(self) -> None:
        sketches = Sketches(2, Memory())
        for slot in range(100, 100 + 3 * SLOTS):
            sketches.begin(slot)
            sketches.add(1, 0.5)
        now = 99 + 3 * SLOTS
        assert {key: found.sum() for key, found in sketches.recent(now).items()} == {1: SLOTS + 1}
        assert sketches.recent(now + 5)[1].sum() == SLOTS + 1 - 5
        assert sketches.recent(now + SLOT) == {}
        assert quantile(np.zeros(3, np.int64), 0.5) == 0.0

    def test_of_many_tables_only_those_that_answer_take_memory(self) -> None:
        """A latency is counted, an hour goes by, and all are asked for."""
        found: list[int] = []

        def taken() -> int:
            with open("/proc/self/smaps_rollup", "rb") as file:
                return next(1024 * int(each.split()[1]) for each in file if b"Pss:" in each)

        for keys in (10, 2000):
            sketches, before = Sketches(keys, Memory(shared=True)), taken()
            for slot in range(1, SLOTS + 3):
                sketches.begin(slot)
                sketches.add(keys - 1, 0.01)
                assert list(sketches.recent(slot)) == [keys - 1]
            found.append(taken() - before)
        few, many = found
        # All of the counts of 2,000 keys are 263 MB; their stamps, which are read, .2 MB.
        assert many - few < 5e6
