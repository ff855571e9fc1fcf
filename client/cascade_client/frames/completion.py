"""Completion of a frame's holes: building requests, merging answers, summarising draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cascade_client.errors import InvalidRequest
from cascade_client.frames.draws import Draws, draws_of
from cascade_client.frames.flows import Flow
from cascade_client.frames.opened import Opened, opened
from cascade_client.frames.operations import Places, Source
from cascade_client.frames.tables import check_written, described
from cascade_client.messages.given import check_once
from cascade_client.messages.wire import Fidelity, checked_draws
from cascade_client.progress import Progress
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import ColumnDescription, TableDescription
from cascade_client.values.provenance import Provenance, Tier

T = TypeVar("T")
# If a hole is drawn as NULL, it is redrawn until it has a value, in rounds of this many draws. In a
# column with 92 % NULLs, all but one in a million holes get a value.
REDRAWS = (8, 32, 128)


@dataclass(frozen=True)
class Holes:
    """A frame and its cells to fill.

    Attributes:
        opened: the frame.
        columns: the table's columns to fill.
        empty: by column, the rows of the frame in which it is empty.
        rows: the frame's rows that have a hole.
        known: the frame's columns that the table has, which condition the draws.
        others: the frame's columns that the table lacks.
    """

    opened: Opened
    columns: tuple[ColumnDescription, ...]
    empty: Mapping[str, NDArray[np.bool_]]
    rows: Places
    known: tuple[str, ...]
    others: tuple[Any, ...]

    def by_column(self, draws: int) -> Iterator[tuple[ColumnDescription, Places]]:
        """Yield each column with holes, and the positions of its holes in a frame with all draws.

        Positions are row by row, draw by draw.
        """
        for column in self.columns:
            places = np.flatnonzero(self.empty[column.name])
            yield column, (places[:, None] * draws + np.arange(draws)).reshape(-1)


@dataclass(frozen=True, eq=False, repr=False)
class Completion(Synthesis[T]):
    """A frame whose holes are filled; what `Client.complete` returns.

    Attributes:
        data: the frame, with its columns, dtypes, index and order; draw d of row i is row ``i *
            draws + d``. Cells that had a value keep it.
        holes: number of filled cells per draw.
    """

    holes: int = 0
    _filled: Holes | None = field(default=None, repr=False)
    # `data` in the form that supports operations; `data` itself may be readable only once.
    _whole: Any = field(default=None, repr=False)

    def mean(self) -> T:
        """Return the given frame with each hole filled by a summary of its draws.

        The summary is the mean for numbers and date-times, and the most frequent value for
        categories and booleans. `spread` says how much the draws vary.

        >>> client.complete(frame, draws=32).mean()

        A model's score of a mean is not the mean of its scores: see `mean_over_draws`.
        """
        holes = self._holes()
        operations, frame = holes.opened.operations, self._whole
        out = operations.take(frame, self._first_draws(frame))
        for column, places, drawn in self._drawn():
            first = places[:: self.draws]
            like = operations.take(frame, first, [column.name])
            cells = operations.made([(column.name, *drawn.centre())], like)
            into = Source(first // self.draws, np.arange(len(first)))
            out = operations.filled(out, cells, {column.name: into})
        return holes.opened.closed(out)

    def spread(self) -> T:
        """Return how uncertain each filled cell is, as a frame of the filled columns, one row per
        row of the request.

        The value is the standard deviation over the draws for numbers (for date-times in seconds),
        and for categories and booleans the share of draws that are not the most frequent. It is 0
        where the cell had a value.

        Raises:
            ValueError: there is only one draw, which says nothing about the spread.
        """
        if self.draws == 1:
            raise ValueError("one draw has no spread; ask for more: complete(frame, draws=32)")
        holes = self._holes()
        operations, frame = holes.opened.operations, self._whole
        first = self._first_draws(frame)
        columns = []
        for column, places, drawn in self._drawn():
            values = np.zeros(len(first))
            values[places[:: self.draws] // self.draws] = drawn.distance()
            columns.append((column.name, values, np.zeros(len(first), np.bool_)))
        return holes.opened.closed(operations.made(columns, operations.bare(frame, first)))

    def _holes(self) -> Holes:
        assert self._filled is not None
        return self._filled

    def _first_draws(self, frame: Any) -> Places:
        return np.arange(0, self._holes().opened.operations.count(frame), self.draws)

    def _drawn(self) -> Iterator[tuple[ColumnDescription, Places, Draws]]:
        holes = self._holes()
        operations, frame = holes.opened.operations, self._whole
        for column, places in holes.by_column(self.draws):
            cells = operations.cells(operations.take(frame, places, [column.name]), column.name)
            yield column, places, draws_of(column, cells, self.draws)


def completing(
    data: T,
    draws: int,
    table: str | None,
    columns: Sequence[str] | None,
    seed: int | None,
    fidelity: Fidelity,
    strict: bool,
    version: int | None,
    timeout: float | None,
    progress: Progress | bool | None,
) -> Flow[Completion[T]]:
    """Implement `Client.complete` for both clients."""
    # Open the frame first: a caller who passes the table in its place gets a clear error.
    given, draws = opened(data), checked_draws(draws)
    schema = yield from described(table, given.operations.names(given.frame), version, timeout)
    holes = find(given, schema, columns)
    own = frozenset(holes.known)
    check_written(given, [each for each in holes.columns if each.name in own], holes.empty)
    operations = given.operations
    total = sum(int(each.sum()) for each in holes.empty.values())
    unknown = _unknown(holes, schema) if columns is None else ()
    whole = operations.take(given.frame, np.arange(operations.count(given.frame)).repeat(draws))
    if not len(holes.rows):
        made = Provenance(True, schema.table, schema.version, Tier.UNKNOWN, 0, 0, notices=unknown)
        return Completion(given.closed(whole), made, None, draws, 0, holes, whole)
    options: dict[str, Any] = {
        "fidelity": fidelity,
        "version": version,
        "strict": strict,
        "nulls": "fill",
    }
    options |= {"timeout": float("inf") if timeout is None else timeout, "seed": seed}
    sent = operations.take(given.frame, holes.rows, holes.known)
    answer = yield lambda client: client.synthesize(
        schema.table,
        sent,
        draws=draws,
        columns=[column.name for column in holes.columns],
        progress=progress,
        **options,
    )
    place = np.full(operations.count(given.frame), -1)
    place[holes.rows] = np.arange(len(holes.rows))
    sources = {}
    for column, into in holes.by_column(draws):
        out_of = place[into // draws] * draws + into % draws
        sources[column.name] = Source(into, out_of)
    whole = operations.filled(whole, answer.data, sources)
    made = answer.provenance
    options |= {
        "seed": made.seed if seed is None else seed,
        "version": made.version or version,
        "strict": False,
    }
    whole, left = yield from _without_nulls(holes, whole, draws, schema.table, options)
    made = replace(made, notices=(*made.notices, *left, *unknown))
    return Completion(given.closed(whole), made, None, draws, total, holes, whole)


def find(given: Opened, schema: TableDescription, columns: Sequence[str] | None) -> Holes:
    """Find the holes of a frame.

    Args:
        given: the frame.
        schema: of its table.
        columns: to fill; a column that the frame lacks is a hole in every row. None: all columns
            that frame and table share.

    Raises:
        InvalidRequest: the frame has no column of the table, or one twice; `columns` has none of
            the table's; a value cannot be stored in a table.
    """
    names = given.operations.names(given.frame)
    own = [name for name in names if isinstance(name, str) and schema.column(name)]
    known = frozenset(own)
    check_once(own)
    if isinstance(columns, str):
        raise InvalidRequest(f"columns is the string {columns!r}; a list of names is allowed")
    if not own and columns is None:
        raise InvalidRequest(
            f"data has no column of table {schema.table!r}; its columns: "
            f"{', '.join(schema.by_name)}"
        )
    wanted = []
    for name in dict.fromkeys(own if columns is None else columns):
        if (column := schema.column(name)) is None:
            raise InvalidRequest(
                f"table {schema.table!r} has no column {name!r}; its columns: "
                f"{', '.join(schema.by_name)}"
            )
        wanted.append(column)
    count = given.operations.count(given.frame)
    holes = {
        column.name: (
            given.operations.empty(given.frame, column.name)
            if column.name in known and count
            else np.ones(count, np.bool_)
        )
        for column in wanted
    }
    filled = [column for column in wanted if holes[column.name].any()]
    somewhere = np.zeros(count, np.bool_)
    for each in holes.values():
        somewhere |= each
    others = tuple(name for name in names if name not in known)
    return Holes(given, tuple(filled), holes, np.flatnonzero(somewhere), tuple(own), others)


def _unknown(holes: Holes, schema: TableDescription) -> tuple[str, ...]:
    """Describe empty columns that the table lacks: their names may be misspelt."""
    operations, frame = holes.opened.operations, holes.opened.frame
    words, times = [], Counter(holes.others)
    for name in holes.others:
        if not isinstance(name, str) or times[name] > 1 or not operations.count(frame):
            continue
        if empty := int(operations.empty(frame, name).sum()):
            near = get_close_matches(name, list(schema.by_name), 1, 0.75)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            words.append(
                f"column {name!r}: {empty:,} empty cell{'s' * (empty > 1)} stay"
                f"{'s' * (empty == 1)} empty, since table {schema.table!r} has no such "
                f"column.{meant}"
            )
    return tuple(words)


def _asked(client: Any, table: str, data: Any, options: Mapping[str, Any]) -> Any:
    return client.synthesize(table, data, **options)


def _without_nulls(
    holes: Holes, whole: Any, draws: int, table: str, options: Mapping[str, Any]
) -> Flow[tuple[Any, list[str]]]:
    """Redraw holes that were drawn as NULL until they have a value.

    Returns the frame, and a description of what is left empty.
    """
    operations = holes.opened.operations
    left: dict[str, Places] = {}
    for times in (*REDRAWS, 0):
        left = {}
        for column, places in holes.by_column(draws):
            if column.nullable and len(places):
                part = operations.take(whole, places, [column.name])
                null = places[operations.empty(part, column.name)]
                if len(null):
                    left[column.name] = null
        if not left or not times:
            break
        rows = np.unique(np.concatenate(list(left.values())))
        known = list(dict.fromkeys([*holes.known, *(each.name for each in holes.columns)]))
        sent = operations.take(whole, rows, known)
        asked: dict[str, Any] = {
            "draws": times,
            "columns": list(left),
            **options,
            "seed": (options["seed"] + times) % 2**64,
        }
        answer = yield partial(_asked, table=table, data=sent, options=asked)
        usable = np.ones(len(rows) * times, np.bool_)
        for name, null in left.items():
            drawn = ~operations.empty(answer.data, name)
            usable &= drawn | ~np.isin(rows, null).repeat(times)
        grouped = usable.reshape(len(rows), times)
        found = np.flatnonzero(grouped.any(axis=1))
        source = Source(rows[found], found * times + grouped[found].argmax(axis=1))
        sources = {}
        for name, null in left.items():
            own = np.isin(source.into, null)
            sources[name] = Source(source.into[own], source.out_of[own])
        whole = operations.filled(whole, answer.data, sources)
    words = [
        f"column {name!r}: {len(null):,} hole{'s' * (len(null) > 1)} stay{'s' * (len(null) == 1)} "
        "empty, since all that was drawn for it was NULL"
        for name, null in left.items()
    ]
    return whole, words
