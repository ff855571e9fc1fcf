"""Answers of a `FakeServer`: rows that are given, drawn at random, or made by a function."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import InvalidRequest
from cascade_client.messages.cells import EMPTY, MISSING, NULL, OBSERVED, plain
from cascade_client.messages.frames import kind_of
from cascade_client.messages.given import hold
from cascade_client.messages.wire import Fidelity
from cascade_client.values.date_times import from_microseconds, to_microseconds
from cascade_client.values.descriptions import ColumnDescription, TableDescription

Row = Mapping[str, Any]
# In nullable columns that are drawn at random, one cell in this many is NULL.
NULL_EVERY = 8


@dataclass(frozen=True)
class Asked:
    """A request as a `FakeServer` parsed it.

    Attributes:
        method: "synthesize" (including a session's requests), "generate", or "submit" of a job.
        table: the table's name.
        rows: the known values of each row: absent columns are left out, NULL is None. For
            `generate` one row, with the values that all generated rows share.
        draws: answers per row; for `generate`, and a job without conditions, the rows to make.
        columns: those to return; None: all.
        seed: None: the caller left it to the server.
        fidelity: the requested tier.
        version: the release; None: the latest.
        log_likelihood, explain, strict: the request's flags.
        offline: whether this is offline work, such as the parts of a frame.
        first_row: for a frame sent in parts, its rows before these.
        done: for `generate`, rows that the caller already has, when it resumes a broken stream.
        timeout: the caller's timeout in seconds; None: no limit.
    """

    method: str
    table: str
    rows: tuple[Row, ...]
    draws: int
    columns: tuple[str, ...] | None
    seed: int | None
    fidelity: Fidelity = "auto"
    version: int | None = None
    log_likelihood: bool = False
    explain: bool = False
    strict: bool = False
    offline: bool = False
    first_row: int = 0
    done: int = 0
    timeout: float | None = None


# Returns the rows of an answer: `draws` of each requested row, in order. A column that a row lacks
# keeps its given value.
Function = Callable[[Asked], Iterable[Row]]


@dataclass(frozen=True)
class FakeTable:
    """A table of a `FakeServer` with more settings than its rows.

    Attributes:
        rows: a list of dicts, or a frame of any kind that `Client.synthesize` takes: answers cycle
            through it, starting at the row whose number is the seed. A function: gets the request
            and returns the answer's rows, one for each draw of each row. None: values are drawn at
            random within `columns`.
        columns: as `Client.describe` returns them; empty: as they are in `rows`.
        versions: existing releases; the last one is the default.
        log_likelihood: of every row, if it is requested; nats.

    Raises:
        TypeError: `rows` is of another type, or has a value that no table supports, or nothing
            determines the columns.
    """

    rows: Any = None
    columns: Sequence[ColumnDescription] = ()
    versions: tuple[int, ...] = (1,)
    log_likelihood: float = -10.0

    def __post_init__(self) -> None:
        rows = self.rows
        if rows is not None and not callable(rows):
            rows = _listed(rows)
            object.__setattr__(self, "rows", rows)
        if not self.columns:
            if not isinstance(rows, list) or not rows:
                raise TypeError("a FakeTable without rows to tell them by needs columns")
            object.__setattr__(self, "columns", _columns_of(rows))

    def description(self, name: str) -> TableDescription:
        """Return the description of its columns under a name."""
        return TableDescription(name, max(self.versions), tuple(self.columns))

    def answer(self, asked: Asked, seed: int) -> list[dict[str, Any]]:
        """Return complete rows, `draws` of each requested row.

        Args:
            asked: the request.
            seed: of the request, or the one that the server chose.

        Raises:
            ValueError: a function answered with too few rows or columns.
        """
        wanted = [row for row in asked.rows for _ in range(asked.draws)]
        before = asked.first_row * asked.draws
        places = range(before, before + len(wanted))
        if callable(self.rows):
            drawn = list(self.rows(asked))
            if len(drawn) != len(wanted):
                raise ValueError(
                    f"the function of {asked.table!r} answered with {len(drawn)} rows; "
                    f"{len(wanted)} were asked for"
                )
        elif self.rows is not None:
            drawn = [self.rows[(seed + place) % len(self.rows)] for place in places]
        else:
            drawn = [self._random(random.Random(f"{seed} {place}")) for place in places]
        names = [column.name for column in self.columns]
        whole = not callable(self.rows)
        answer = []
        for given, row in zip(wanted, drawn, strict=True):
            complete = {**row, **given} if whole else {**given, **row}
            left_out = [name for name in names if name not in complete]
            if left_out:
                raise ValueError(f"the rows of {asked.table!r} have no {left_out[0]!r}")
            answer.append({name: complete[name] for name in asked.columns or names})
        return answer

    def _random(self, rng: random.Random) -> dict[str, Any]:
        return {column.name: _value(column, rng) for column in self.columns}


def read_rows(message: pb.Rows, table: TableDescription) -> tuple[Row, ...]:
    """Return the known values of each row of a request."""
    rows: list[dict[str, Any]] = [{} for _ in range(message.count)]
    for column in message.columns:
        field = column.WhichOneof("values")
        values: list[Any] = list(getattr(column, field).values) if field else [None] * message.count
        described = table.column(column.name)
        is_time = described is not None and described.kind == "datetime" and field == "integers"
        for row, value, state in zip(
            rows, values, column.states or bytes(message.count), strict=True
        ):
            if state == NULL:
                row[column.name] = None
            elif state == OBSERVED:
                row[column.name] = from_microseconds(int(value)) if is_time else value
    return tuple(rows)


def _listed(rows: Any) -> list[dict[str, Any]]:
    """Convert rows to dicts of wire values; None: NULL."""
    try:
        if kind_of(rows) is not None:
            return _of_frame(rows)
        if isinstance(rows, str) or not isinstance(rows, Sequence):
            raise TypeError(
                f"rows is a {type(rows).__name__}; a list of dicts, a DataFrame or a function is "
                "allowed"
            )
        for row in rows:
            if not isinstance(row, Mapping):
                raise TypeError(f"rows holds a {type(row).__name__}; dicts are allowed")
        return [
            {name: _cell(name, value) for name, value in row.items() if value is not MISSING}
            for row in rows
        ]
    except InvalidRequest as exc:
        raise TypeError(str(exc)) from exc


def _of_frame(frame: Any) -> list[dict[str, Any]]:
    held = hold(frame)
    if held is None or not held.count:
        return []
    given = held.read(0, held.count)
    columns = {}
    for cells in given.cells:
        known = iter(cells.observed)
        columns[cells.name] = [next(known) if state == OBSERVED else None for state in cells.states]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _cell(name: str, value: Any) -> Any:
    found = None if value is None else plain(name, value)
    return None if found is EMPTY else found


def _columns_of(rows: Sequence[Row]) -> tuple[ColumnDescription, ...]:
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_column_of(name, [row.get(name) for row in rows]) for name in names)


def _column_of(name: str, values: Sequence[Any]) -> ColumnDescription:
    known = [value for value in values if value is not None]
    nullable = len(known) < len(values)
    if known and all(isinstance(value, bool) for value in known):
        return ColumnDescription(name, "boolean", nullable, "bool")
    if known and all(isinstance(value, datetime) for value in known):
        moments = [float(to_microseconds(value)) for value in known]
        return ColumnDescription(
            name, "datetime", nullable, "datetime64[us]", min(moments), max(moments)
        )
    if known and all(isinstance(value, (int, float)) for value in known):
        whole = all(isinstance(value, int) for value in known)
        kind, dtype = ("integer", "int64") if whole else ("continuous", "float64")
        return ColumnDescription(name, kind, nullable, dtype, float(min(known)), float(max(known)))
    categories = tuple(dict.fromkeys(str(value) for value in known))
    return ColumnDescription(name, "categorical", nullable, "string", categories=categories)


def _value(column: ColumnDescription, rng: random.Random) -> Any:
    if column.nullable and rng.randrange(NULL_EVERY) == 0:
        return None
    if column.kind == "categorical":
        return rng.choice(column.categories) if column.categories else column.other
    if column.kind == "boolean":
        return rng.random() < 0.5
    low = 0.0 if column.minimum is None else column.minimum
    high = low + 1.0 if column.maximum is None else column.maximum
    if column.kind == "continuous":
        return rng.uniform(low, high)
    whole = rng.randint(round(low), round(high))
    return from_microseconds(whole) if column.kind == "datetime" else whole
