"""What is counted grows old by the time that passes, whatever the wall clock is set to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.steady_clock import SteadyClock
from cascade_server.counts.state_file import decode, encode
from cascade_server.counts.usage import usage_of
from cascade_server.objectives.burn import Alert, Events
from cascade_server.objectives.objective import SloConfig
from cascade_server.objectives.report import OK, Status
from cascade_server.terms import ServiceClass, Tier

from tests.server.counts.shared.test_books import in_another_process
from tests.server.counts.shared.test_steady_clock import HOUR, MONTH, Machine

CONFIG, TABLES = SloConfig(), ["credit"]
STEPS = [HOUR, -HOUR, 1800.0, -1800.0, MONTH, -MONTH, 400 * MONTH]


def started(machine: Machine) -> Ledger:
    """A server's, that begins now."""
    return Ledger(CONFIG, TABLES, machine.clock())


def call(ledger: Ledger, good: int, bad: int = 0) -> None:
    for number in range(good + bad):
        ending = OK if number < good else grpc.StatusCode.UNAVAILABLE
        tier = Tier.STUDENT if ending is OK else None
        ledger.record("credit", ServiceClass.REALTIME, tier, ending, 0.001)


def status(ledger: Ledger) -> Status:
    return next(
        each
        for each in ledger.report().statuses
        if each.objective.name == "credit-realtime-availability"
    )


def five_minutes_of_failures(machine: Machine, ledger: Ledger) -> None:
    for _ in range(30):
        call(ledger, 90, 10)
        machine.passed += 10


@pytest.mark.parametrize("step", STEPS)
def test_a_step_to_and_fro_silences_no_page_and_wipes_no_budget(step: float) -> None:
    machine = Machine()
    ledger = started(machine)
    five_minutes_of_failures(machine, ledger)
    assert status(ledger).alert is Alert.PAGE
    latencies = ledger.latencies()
    for ahead in (step, step, 0.0):
        machine.ahead = ahead
        call(ledger, 1)
        machine.passed += 2
    found = status(ledger)
    assert found.alert is Alert.PAGE
    assert found.events == found.windows["1h"] == Events(2703, 3003)
    assert found.windows["5m"].bad >= 290
    assert ledger.latencies()[0].count == latencies[0].count + 3


@pytest.mark.parametrize("step", STEPS)
def test_nor_does_one_that_stays(step: float) -> None:
    machine = Machine()
    ledger = started(machine)
    began = machine.wall()
    call(ledger, 90, 10)
    machine.passed += 100
    machine.ahead = step
    assert status(ledger).windows["5m"] == Events(90, 100)
    # Since when that is, people read by the clock as they have it now.
    assert ledger.report().since == began + step
    machine.passed += HOUR
    assert status(ledger).windows["30m"] == Events(0, 0)
    assert status(ledger).windows["6h"] == Events(90, 100)


@pytest.mark.parametrize("step", STEPS)
def test_a_restart_goes_on_by_the_wall_clock_as_it_is_set(step: float) -> None:
    """What is saved after a step has the age that it had before, and ages while nobody serves."""
    machine = Machine()
    first = started(machine)
    call(first, 90, 10)
    machine.passed += HOUR
    machine.ahead = step
    saved = encode(first.state())
    second = started(machine)
    second.restore(decode(saved))
    assert status(second).windows["30m"] == Events(0, 0)
    assert status(second).windows["6h"] == Events(90, 100)
    assert second.report().since == pytest.approx(machine.wall() - HOUR)
    machine.passed += 8 * HOUR
    third = started(machine)
    third.restore(decode(saved))
    assert status(third).windows["6h"] == Events(0, 0)
    assert status(third).windows["1d"] == status(third).events == Events(90, 100)


def test_a_restart_while_it_is_set_right() -> None:
    """The file was written an hour ahead of the clock that there is now: nothing is lost."""
    machine = Machine()
    first = started(machine)
    call(first, 90, 10)
    machine.ahead = HOUR
    saved = encode(first.state())
    machine.ahead = 0.0
    second = started(machine)
    second.restore(decode(saved))
    call(second, 1)
    assert status(second).windows["5m"] == Events(91, 101)
    machine.passed += HOUR + 20
    assert status(second).windows["1h"] == Events(0, 0)


def test_a_machine_that_was_suspended() -> None:
    """Both clocks have gone on meanwhile, and what was counted is as old as it is."""
    machine = Machine()
    ledger = started(machine)
    five_minutes_of_failures(machine, ledger)
    machine.passed += 8 * HOUR
    call(ledger, 1)
    found = status(ledger)
    assert (found.windows["6h"], found.windows["1d"]) == (Events(1, 1), Events(2701, 3001))


def test_processes_that_share_memory_and_see_it_at_different_moments() -> None:
    machine = Machine()
    books = Books(CONFIG, TABLES, workers=2, clock=machine.clock())

    def counts(place: int) -> None:
        call(Ledger(CONFIG, TABLES, books=books, place=place), 90, 10)

    in_another_process(lambda: counts(0))
    machine.passed += 60
    machine.ahead = HOUR
    in_another_process(lambda: counts(0))  # sees it
    machine.passed += 60
    machine.ahead = 0.0
    in_another_process(lambda: counts(1))  # has never seen it
    keeper = Ledger(CONFIG, TABLES, books=books, place=2)
    assert status(keeper).windows["5m"] == status(keeper).events == Events(270, 300)
    assert keeper.report().since == machine.wall() - 120
    machine.passed += 241
    assert status(keeper).windows["5m"] == Events(180, 200)


# A process whose wall clock is set an hour ahead, as that of a machine would be.
SET_AHEAD = """
import sys, time
real, ahead = time.time, 0
time.time = lambda: real() + ahead
from pathlib import Path
from cascade_server.config import ServerConfig
from cascade_server.counts.sla import Sla, open_books
from cascade_server.terms import ServiceClass, Tier
from grpc import StatusCode

config = ServerConfig(repository=Path(sys.argv[1]))
books = open_books(config, workers=1)
worker, keeper = (Sla(config, books=books, place=place) for place in (0, 1))
for ahead in (0, 3600, 0):
    worker.record("payments", ServiceClass.REALTIME, Tier.STUDENT, StatusCode.OK, 0.001)
    report = keeper.ledger.report()
    print(max(each.windows["5m"].total for each in report.statuses))
"""


def test_a_server_s_own_clock_is_such_a_one(repository: Path) -> None:
    argv = [sys.executable, "-c", SET_AHEAD, str(repository)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "2", "3"]


def test_usage_is_of_the_time_that_has_passed() -> None:
    machine = Machine()
    books = Books(CONFIG, TABLES, clock=machine.clock())
    began = machine.wall()
    machine.passed += 100
    machine.ahead = MONTH
    usage = usage_of(books)
    assert (usage.since, usage.serving) == (began + MONTH, 100.0)
    told = usage.as_message(books.clock.wall(), books.tables)
    assert told.until == machine.wall()


def test_a_clock_that_is_given_is_trusted() -> None:
    """As the only one that there is: what it says has passed."""
    machine = Machine()
    ledger = Ledger(CONFIG, TABLES, machine.wall)
    call(ledger, 1)
    machine.ahead = HOUR + 10
    assert status(ledger).windows["1h"] == Events(0, 0)
    assert isinstance(ledger.clock, SteadyClock)
