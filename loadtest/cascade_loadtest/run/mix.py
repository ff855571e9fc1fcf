"""What is asked of a server: the scoring service's calls, on a profile or from a trace."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from cascade_client import CascadeError, Client
from cascade_client.messages.given import read
from cascade_client.messages.wire import Fidelity, synthesize_request
from cascade_client.values.descriptions import TableDescription

from cascade_loadtest.errors import LoadFailed, TraceError
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.schedule.arrivals import arrivals
from cascade_loadtest.schedule.profiles import Curve
from cascade_loadtest.schedule.traces import TracedCall
from cascade_loadtest.scoring import SITUATIONS, Transactions

Row = Mapping[str, Any]
# Messages that differ. The calls of a run go round them: more would take longer to make than to
# send, and fewer would be one caller's.
MESSAGES = 4000
# Points over time that a run is told in, at most.
WINDOWS = 240
# What calls of a trace are called.
REPLAYED = "replayed"
# Their deadline where the trace has none, seconds.
DEADLINE = 0.05


def window_of(seconds: float) -> float:
    """Seconds of a point over time: whole ones where the run is long enough for some."""
    least = seconds / WINDOWS
    return next(
        (each for each in (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0) if each >= least), 60.0
    )


class Messages:
    """Serialised requests of a table's transactions.

    Args:
        client: of the server; asked once what the table looks like.
        table: its name.
        rows: of the table.
        target: the column that nobody knows yet, which is never given.
        fidelity: of every request.

    Raises:
        LoadFailed: the server has no such table.
    """

    def __init__(
        self,
        client: Client,
        table: str,
        rows: Sequence[Row],
        target: str | None,
        fidelity: Fidelity,
        rng: random.Random,
    ) -> None:
        try:
            self._schema: TableDescription = client.describe(table, timeout=10)
        except CascadeError as exc:
            raise LoadFailed(str(exc)) from exc
        self._fidelity: Fidelity = fidelity
        self._transactions = Transactions(rows, target, rng)
        self._rng = rng

    def mixed(self, count: int) -> tuple[list[bytes], list[int]]:
        """So many requests of the scoring service, and of each its place in `SITUATIONS`."""
        kinds = self._rng.choices(
            range(len(SITUATIONS)), [each.weight for each in SITUATIONS], k=count
        )
        found = []
        for kind in kinds:
            situation = SITUATIONS[kind]
            asked = self._transactions.next(situation)
            found.append(self.of(asked.known, asked.late, situation.draws, situation.deadline))
        return found, kinds

    def of(
        self, known: Row, late: Sequence[str] | None, draws: int, deadline: float | None
    ) -> bytes:
        """One request: what is known of a row, and which columns are wanted."""
        request = synthesize_request(
            self._schema,
            read(dict(known)),
            draws=draws,
            columns=late,
            fidelity=self._fidelity,
            timeout=None,
        )
        # The deadline travels in the header, with what is left of it when the call is sent.
        request.timeout_microseconds = 0
        return request.SerializeToString()

    def traced(self, call: TracedCall, row: Row) -> bytes:
        """The request of a call of a trace; `row` has the values of names without them."""
        names = {column.name: column.kind for column in self._schema.columns}
        given = call.given
        if not isinstance(given, Mapping):
            given = {name: row[name] for name in given if name in row}
        unknown = [name for name in call.given if name not in names]
        if unknown:
            raise TraceError(
                f"the trace gives {unknown[0]!r}, which {self._schema.table!r} has not; its "
                f"columns are {', '.join(names)}"
            )
        try:
            known = {name: _value(value, names[name]) for name, value in given.items()}
            late = [name for name in names if name not in known]
            return self.of(known, late, call.draws, call.deadline)
        except (CascadeError, ValueError) as exc:
            raise TraceError(f"the trace's call at {call.at:g} s: {exc}") from exc


def _value(value: Any, kind: str) -> Any:
    if kind == "datetime" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def of_profile(
    target: str,
    messages: Messages,
    curve: Curve,
    pattern: str,
    connections: int,
    seed: int,
) -> Plan:
    """The scoring service's calls on a curve."""
    rng = np.random.default_rng(seed)
    due = arrivals(curve, pattern, rng)
    made, kinds = messages.mixed(min(MESSAGES, max(1, len(due))))
    place = rng.integers(0, len(made), len(due), np.uint32)
    kind = np.array(kinds, np.uint8)[place]
    deadlines = np.array([each.deadline for each in SITUATIONS])
    return Plan(
        target,
        [each.name for each in SITUATIONS],
        made,
        due,
        place,
        kind,
        deadlines[kind],
        curve.seconds,
        connections,
        window_of(curve.seconds),
    )


def of_trace(
    target: str,
    messages: Messages,
    rows: Sequence[Row],
    calls: Sequence[TracedCall],
    table: str,
    speed: float,
    seconds: float,
    connections: int,
    seed: int,
) -> Plan:
    """The calls of a trace, when their callers made them.

    Args:
        calls: in the order in which they were due; those of other tables are left out.
        speed: how much faster than they were; 2: in half of the time.
        seconds: the trace is cut there.

    Raises:
        TraceError: it has no call of the table, or gives a column that the table has not.
    """
    rng = random.Random(seed)
    first = calls[0].at
    own = [each for each in calls if each.table == table and (each.at - first) / speed <= seconds]
    if not own:
        others = ", ".join(sorted({each.table for each in calls}))
        raise TraceError(f"the trace has no call of {table!r}; it has calls of {others}")
    due = np.array([(each.at - first) / speed for each in own])
    return Plan(
        target,
        [REPLAYED],
        [messages.traced(each, rng.choice(rows)) for each in own],
        due,
        np.arange(len(own), dtype=np.uint32),
        np.zeros(len(own), np.uint8),
        np.array([each.deadline or DEADLINE for each in own]),
        float(due[-1]) + 1.0,
        connections,
        window_of(float(due[-1]) + 1.0),
    )


def closed(target: str, messages: Messages, seconds: float, in_flight: int) -> Plan:
    """A closed loop of the same calls, which finds out how many a second a worker answers."""
    made, kinds = messages.mixed(MESSAGES // 4)
    return Plan(
        target,
        [each.name for each in SITUATIONS],
        made,
        np.zeros(0),
        np.arange(len(made), dtype=np.uint32),
        np.array(kinds, np.uint8),
        np.zeros(0),
        seconds,
        1,
        1.0,
        in_flight,
    )
