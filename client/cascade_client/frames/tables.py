"""Match of a frame to a server's table, and a check that drawn values fit its text columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_client.errors import InvalidRequest
from cascade_client.frames.flows import Flow
from cascade_client.frames.opened import Opened
from cascade_client.values.descriptions import ColumnDescription, TableDescription

# How to parse text as a value of each kind.
READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "integer": (float, "numbers"),
    "continuous": (float, "numbers"),
    "datetime": (datetime.fromisoformat, "date-times"),
}


def described(
    table: str | None, names: Sequence[Any], version: int | None, timeout: float | None
) -> Flow[TableDescription]:
    """Return the description of a frame's table.

    Args:
        table: its name; None: the one that `chosen` selects.
        names: the frame's columns.
        version: of the release; None: the latest.
        timeout: seconds for each call; None: the client's.

    Raises:
        NotFound: the server has no such table or version.
        InvalidRequest: no name was given, and several tables match, or none.
    """

    def ask(name: str) -> Flow[TableDescription]:
        found: TableDescription = yield lambda client: client._schema(
            name, version, client._expiry(timeout)
        )
        return found

    if table is not None:
        return (yield from ask(table))
    listed = yield lambda client: client.tables(timeout=timeout)
    known = []
    for each in listed:
        known.append((yield from ask(each.table)))
    return chosen(names, known)


def chosen(names: Sequence[Any], tables: Sequence[TableDescription]) -> TableDescription:
    """Select the table that has all of those frame columns which any of the tables has, if it is
    unique.

    Raises:
        InvalidRequest: says how many columns of which tables the frame has.
    """
    shared = {each.table: frozenset(names) & each.by_name.keys() for each in tables}
    known = frozenset().union(*shared.values())
    if not known:
        raise InvalidRequest(
            f"data has no column of any table of the server ({', '.join(shared) or 'it has none'})"
        )
    candidates = [each for each in tables if shared[each.table] == known]
    if len(candidates) == 1:
        return candidates[0]
    counts = ", ".join(f"{len(found)} of {name!r}" for name, found in shared.items() if found)
    raise InvalidRequest(
        f"which table data is of, its columns do not say ({counts}); name it: table="
        f"{next(name for name, found in shared.items() if found)!r}"
    )


def check_written(
    given: Opened, columns: Iterable[ColumnDescription], empty: Mapping[str, NDArray[np.bool_]]
) -> None:
    """Refuse text columns whose cells are not written as values of the table.

    For example, "5%" and "12:30" were learnt as numbers from a file, but the values drawn for the
    empty cells below them would be 5.0 and 45000.

    Args:
        given: the frame.
        columns: columns of both table and frame that have values to draw.
        empty: by column, which cells have no value; missing entries are computed.

    Raises:
        InvalidRequest: names the first column, such a cell, and what can be done.
    """
    operations, frame = given.operations, given.frame
    for column in columns:
        if column.kind not in READERS:
            continue
        none = empty[column.name] if empty else operations.empty(frame, column.name)
        known = np.flatnonzero(~none)

        def observed(rows: Any, name: str = column.name) -> list[Any]:
            return operations.cells(operations.take(frame, rows, [name]), name).observed

        if not len(known) or not isinstance(observed(known[:1])[0], str):
            continue
        read, what = READERS[column.kind]
        for cell in dict.fromkeys(observed(known)):
            try:
                read(cell)
            except (TypeError, ValueError):
                raise InvalidRequest(
                    f"column {column.name!r} has {cell!r}, and the table has {what} there, which "
                    f"are drawn: one column would have both. Make {what} of it first, or "
                    "leave it out"
                ) from None
