"""Every answer and every failure, counted against its objectives.

`Ledger.record` runs for every answer and costs a few additions; sums are computed only for readers.
Call it only from the event loop; `report` may be called from any thread. Counts of the server's
other processes are added to its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.sketches import SLOT, quantile
from cascade_server.counts.shared.tally import added, moved
from cascade_server.counts.state_file import Cells, State, rearranged
from cascade_server.counts.usage import restore_usage, usage_of
from cascade_server.objectives.blame import BLAMED, Ending
from cascade_server.objectives.burn import (
    WINDOWS,
    Events,
    alert_of,
    budget_remaining,
    burn_rate,
)
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.report import OK, Latencies, Report, Status
from cascade_server.terms import ServiceClass, Tier

QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Line:
    """Where the outcomes of one table and class are counted.

    Each number is the position of a total in the tally; the good ones follow it.
    """

    availability: tuple[int, ...]
    latency: tuple[tuple[float, int], ...]
    fidelity: tuple[tuple[frozenset[Tier], int], ...]


NOWHERE = Line((), (), ())


class Ledger:
    """Counts outcomes against the objectives of some tables.

    It counts in one book, and reports on all the books.

    Args:
        config, tables: the objectives, and the tables that they are for.
        clock: clock of the books if there are none yet; None for a `SteadyClock`.
        books, place: all books, and the index of the one to count in.

    Attributes:
        clock: the clock by which counts age: that of the books, shared by all processes.
        books, book: all books, and the one that it writes.
        objectives: in the order of their counters, two for each.
        tally: the counters.
    """

    def __init__(
        self,
        config: SloConfig,
        tables: Collection[str],
        clock: Callable[[], float] | None = None,
        books: Books | None = None,
        place: int = 0,
    ) -> None:
        self.config = config
        self.books = books or Books(config, tables, clock=clock)
        self.clock = self.books.clock
        self._now = self.clock.now
        self.objectives = self.books.objectives
        self.book = self.books.places[place]
        self.tally = self.book.tally
        self.tally.go_on()
        self.lock = Lock()
        self._lines = lines(self.objectives)
        self._sketch = {key: number for number, key in enumerate(self.books.sketched)}
        self._slot = math.floor(self.clock() / SLOT)
        self.book.sketches.begin(self._slot)

    def record(
        self,
        table: str,
        service: ServiceClass,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
        calls: int = 1,
    ) -> None:
        """Count the end of a call.

        Args:
            table: a table's name; one without objectives counts in no budget.
            service: the class of service.
            tier: the tier that drew; None if none did.
            ending: how it ended; a caller's fault counts in no budget.
            seconds: seconds that the server took.
            calls: number of calls that ended so; more than one only if they were not answered.
        """
        self.fold_if_due()
        line = self._lines.get((table, service), NOWHERE)
        count(line, self.tally.open, ending, seconds, calls)
        if ending is OK and tier is not None:
            key = self._sketch.get((table, service, tier))
            if key is not None:
                self.book.sketches.add(key, seconds)

    def record_trial(
        self,
        table: str,
        service: ServiceClass,
        arm: int,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
    ) -> None:
        """Count the end of a call of a version on trial (arm 1), or of the stable one (0).

        For fidelity too, a trial counts calls and not rows: all rows of an answer come from one
        tier, so a thousand of them give no more evidence than one.
        """
        line, counts = self._lines.get((table, service), NOWHERE), self.book.trial.arms[arm]
        count(line, counts, ending, seconds)
        if ending is OK and tier is not None:
            count_rows(line, counts, tier, 1)

    def record_rows(self, table: str, service: ServiceClass, tier: Tier, rows: int) -> None:
        """Count rows of an answer, or of a part of one."""
        line = self._lines.get((table, service), NOWHERE)
        if line.fidelity:
            self.fold_if_due()
            count_rows(line, self.tally.open, tier, rows)

    def fold_if_due(self) -> None:
        """Begin new cells once the time of the open ones has passed."""
        now = self._now()
        tally = self.tally
        if tally.began <= now < tally.until:
            return
        with self.lock:
            tally.fold(now)
        slot = math.floor(now / SLOT)
        if slot != self._slot:
            self._slot = slot
            self.book.sketches.begin(slot)

    def state(self) -> State:
        """Return a copy of all counts, of every process, by the wall clock.

        A later server that reads it has no clock that continues this one's.
        """
        now, ahead = self.clock(), self.clock.ahead()
        with self.lock:
            found = [book.tally.folded(now) for book in self.books.places]
        rings = tuple(added(of_a_step) for of_a_step in zip(*found, strict=True))
        cells = tuple(
            Cells(
                ring.step,
                min(moved(ring.newest, ring.step, ahead), math.floor((now + ahead) / ring.step)),
                ring.cells,
            )
            for ring in rings
        )
        names = tuple(each.name for each in self.objectives)
        return State(self.books.since + ahead, names, cells, usage_of(self.books))

    def restore(self, state: State) -> None:
        """Continue from an earlier ledger's state; call it before anything is recorded."""
        names, ahead = [each.name for each in self.objectives], self.clock.ahead()
        saved = {ring.step: ring for ring in state.rings}
        for ring in self.tally.rings:
            if ring.step in saved:
                found = saved[ring.step]
                ring.newest = moved(found.newest, ring.step, -ahead)
                ring.set_back(self.clock())
                ring.cells[:] = rearranged(found, state.names, names, len(ring.cells))
        self.books.since = min(self.books.since, state.since - ahead)
        if state.usage is not None:
            restore_usage(self.books, state.usage)
        self.books.restored = True

    def report(self) -> Report:
        """Report the current state of every objective."""
        now = self.clock()
        with self.lock:
            whole = self._over(now, self.config.window)
            windows = {name: self._over(now, window) for name, window in WINDOWS.items()}
        statuses = []
        for number, objective in enumerate(self.objectives):
            events = _events(whole, number)
            by_window = {name: _events(counts, number) for name, counts in windows.items()}
            rates = {name: burn_rate(each, objective.target) for name, each in by_window.items()}
            left = budget_remaining(events, objective.target)
            alert = alert_of(by_window, objective.target, objective.least_bad)
            statuses.append(Status(objective, events, left, by_window, rates, alert))
        since = max(self.books.since, now - self.config.window) + self.clock.ahead()
        return Report(self.config.service, self.config.window, since, tuple(statuses))

    def past(self, objectives: Sequence[int], coarse: bool = False) -> list[list[Events]]:
        """Return the events of some objectives, given by their positions.

        They cover the last hour in steps of ten seconds, the newest last; or, if `coarse`, the last
        three days in steps of five minutes.
        """
        now = self.clock()
        counters = [2 * number + part for number in objectives for part in (0, 1)]
        with self.lock:
            found = [book.tally.past(now, counters, coarse) for book in self.books.places]
        counts = np.sum(found, axis=0).T.tolist()
        return [
            [Events(good, total) for total, good in zip(*counts[place : place + 2], strict=True)]
            for place in range(0, len(counts), 2)
        ]

    def _over(self, now: float, window: int) -> list[int]:
        found = [book.tally.over(now, window) for book in self.books.places]
        counts: list[int] = np.sum(found, axis=0).tolist()
        return counts

    def latencies(self) -> tuple[Latencies, ...]:
        """Return quantiles of the last hour's latencies."""
        slot = math.floor(self.clock() / SLOT)
        whole: dict[int, NDArray[np.int64]] = {}
        for book in self.books.places:
            for key, counts in book.sketches.recent(slot).items():
                whole[key] = whole[key] + counts if key in whole else counts
        return tuple(
            Latencies(
                *self.books.sketched[key],
                count=int(counts.sum()),
                quantiles={q: quantile(counts, q) for q in QUANTILES},
            )
            for key, counts in sorted(whole.items())
            if counts.any()
        )


def count(line: Line, counts: memoryview, ending: Ending, seconds: float, calls: int = 1) -> None:
    """Add the end of calls to the counters of availability and latency."""
    if ending is OK:
        for place in line.availability:
            counts[place] += calls
            counts[place + 1] += calls
        for threshold, place in line.latency:
            counts[place] += calls
            if seconds <= threshold:
                counts[place + 1] += calls
    elif ending in BLAMED:
        for place in line.availability:
            counts[place] += calls


def count_rows(line: Line, counts: memoryview, tier: Tier, rows: int) -> None:
    """Add rows of an answer to the counters of fidelity."""
    for good, place in line.fidelity:
        counts[place] += rows
        if tier in good:
            counts[place + 1] += rows


def lines(objectives: Collection[Objective]) -> dict[tuple[str, ServiceClass], Line]:
    """Return where outcomes are counted, by table and class."""
    found: dict[tuple[str, ServiceClass], Line] = {}
    for number, each in enumerate(objectives):
        key, place = (each.table, each.service), 2 * number
        line = found.get(key, NOWHERE)
        availability, latency, fidelity = line.availability, line.latency, line.fidelity
        if each.kind is Kind.AVAILABILITY:
            availability = (*availability, place)
        elif each.kind is Kind.LATENCY:
            assert each.threshold is not None
            latency = (*latency, (each.threshold, place))
        else:
            good = frozenset(tier for tier in Tier if each.satisfied_by(tier))
            fidelity = (*fidelity, (good, place))
        found[key] = Line(availability, latency, fidelity)
    return found


def _events(counts: list[int], number: int) -> Events:
    total, good = counts[2 * number : 2 * number + 2]
    return Events(good, total)
