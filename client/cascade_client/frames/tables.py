"""Which of a server's tables a frame has columns of, where its caller does not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_client.errors import InvalidRequest
from cascade_client.frames.flows import Flow
from cascade_client.values.descriptions import TableDescription


def described(
    table: str | None, names: Sequence[Any], version: int | None, timeout: float | None
) -> Flow[TableDescription]:
    """The table of a frame.

    Args:
        table: its name; None: the one that `chosen` takes.
        names: the frame's columns.
        version: of the release; None: the latest.
        timeout: seconds for each call; None: the client's.

    Raises:
        NotFound: the server has no such table or version.
        InvalidRequest: no name was given, and several tables may be meant, or none.
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
    """The table that has all of a frame's columns that any of the tables has, if it is one.

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
