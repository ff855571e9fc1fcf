"""The known values of a job's rows: one condition for all, one per value, or rows to complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cascade_jobs.specification import Specification
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ABSENT, ColumnData, Encoded, Kind
from numpy.typing import NDArray

from cascade_server.engines.runtime import Runtime
from cascade_server.wire import rows as wire

# Array types by a column's kind, and placeholders for missing values.
DTYPES: Mapping[Kind, Any] = {
    Kind.BOOLEAN: np.bool_,
    Kind.INTEGER: np.int64,
    Kind.CONTINUOUS: np.float64,
    Kind.DATETIME: "datetime64[us]",
    Kind.CATEGORICAL: np.object_,
}
PLACEHOLDERS: Mapping[Kind, Any] = {Kind.CATEGORICAL: ""}


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of a job; each row has one.

    Attributes:
        count: number of conditions, m.
        given: m values by column: None is NULL, `ABSENT` is unknown.
        encoded: the same as tokens.
        ends: int64 [m], the row after the last one of each; None: each has `draws` rows, or a
            single condition has all.
        draws: rows of each.
    """

    count: int
    given: Mapping[str, Sequence[Any]]
    encoded: Encoded
    ends: NDArray[np.int64] | None
    draws: int

    def of_rows(self, first: int, rows: int) -> NDArray[np.int64]:
        """Return the condition's number for each of some rows of the job: int64 [rows]."""
        if self.count == 1:
            return np.zeros(rows, np.int64)
        places = np.arange(first, first + rows, dtype=np.int64)
        if self.ends is None:
            return places // self.draws
        return np.searchsorted(self.ends, places, side="right")

    def values(self, of_row: NDArray[np.int64]) -> Mapping[str, Sequence[Any]]:
        """Return the given values of rows, for `Codec.decode_columns`."""
        if self.count == 1:
            return self.given
        numbers = of_row.tolist()
        return {name: [values[at] for at in numbers] for name, values in self.given.items()}


def conditions_of(specification: Specification, message: bytes, runtime: Runtime) -> Conditions:
    """Return the conditions in a specification.

    Args:
        specification: the job's specification.
        message: rows to complete, as `Rows` of the wire; empty if there are none.
        runtime: the release's runtime.

    Raises:
        UnknownColumn, ValueNotAllowed, BadRequest: names what is wrong and what is allowed.
    """
    given: dict[str, Sequence[Any]] = {}
    count, ends = 1, None
    if message:
        rows = pb.Rows.FromString(message)
        given |= wire.read_rows(rows, runtime.fields)
        count = rows.count
    if specification.balance is not None:
        counts = specification.balance.counts
        given[specification.balance.column] = [value for value, _ in counts]
        count, ends = len(counts), np.cumsum([rows for _, rows in counts], dtype=np.int64)
    for name, value in specification.given.items():
        given[name] = [value] * count
    # Strict: a value that will be in a million rows must exist.
    encoded = runtime.release.codec.encode_partial(given, count, strict=True)
    return Conditions(count, given, encoded, ends, specification.draws)


class GivenColumns:
    """Given values as arrays, which overwrite the decoded ones.

    Decoding is not exact: a token may stand for a range of numbers, or for several categories.

    Args:
        conditions: provide the values.
        kinds: kinds of the table's columns.
    """

    def __init__(self, conditions: Conditions, kinds: Mapping[str, Kind]) -> None:
        self._columns = {
            name: _arrays(values, kinds[name]) for name, values in conditions.given.items()
        }

    def put_back(self, columns: dict[str, ColumnData], of_row: NDArray[np.int64]) -> None:
        """Overwrite columns of rows, given the numbers of their conditions."""
        for name, data in columns.items():
            if name not in self._columns:
                continue
            values, null, known = (each[of_row] for each in self._columns[name])
            if known.any():
                columns[name] = ColumnData(
                    np.where(known, values, data.values),
                    np.where(known, null, data.null),
                    data.dtype,
                )


def _arrays(values: Sequence[Any], kind: Kind) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return a column's values, which of them are NULL, and which are known."""
    known = np.array([value is not ABSENT for value in values], np.bool_)
    null = np.array([value is None for value in values], np.bool_)
    python, placeholder = wire.PYTHON[kind], PLACEHOLDERS.get(kind, 0)
    filled = [
        placeholder if value is None or value is ABSENT else python(value) for value in values
    ]
    if kind is Kind.DATETIME:
        return np.array(filled, np.int64).astype(DTYPES[kind]), null, known
    return np.array(filled, DTYPES[kind]), null, known
