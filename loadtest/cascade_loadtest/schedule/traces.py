"""Traces: when real callers asked, of which table, with what given, for how many draws.

A trace is a file, JSON by lines (`.jsonl`) or Parquet (`.parquet`), a call a line:

    {"at": 0.0153, "table": "credit", "given": {"age": 25}, "draws": 1, "deadline": 0.05}
    {"at": 0.0391, "table": "credit", "given": ["age", "limit_bal"], "draws": 16, "deadline": 0.1}

`at` is seconds from the trace's beginning. `given` has values, or the columns' names alone: then
values come from rows of a bundled table when it is replayed, and nothing of whom the calls were
about is in the file. `deadline` is seconds; none or null: what the replay is told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from cascade_tables.errors import listing, shown

from cascade_loadtest.errors import TraceError

KEYS = ("at", "table", "given", "draws", "deadline")
SUFFIXES = (".jsonl", ".parquet")
MOST_DRAWS = 2**31 - 1
# Seconds of a deadline: whoever waits for a day asks offline.
LONGEST_DEADLINE = 86_400.0


@dataclass(frozen=True)
class TracedCall:
    """A line of a trace.

    Attributes:
        at: seconds from the trace's beginning.
        table: asked of.
        given: values by column; or the columns' names alone.
        draws: answers a row.
        deadline: seconds that the caller waits; None: not known.
    """

    at: float
    table: str
    given: Mapping[str, Any] | Sequence[str]
    draws: int = 1
    deadline: float | None = None

    def as_json(self) -> dict[str, Any]:
        """A line's keys and values; date-times in ISO 8601."""
        given: Any = self.given
        if isinstance(given, Mapping):
            given = {name: _plain(value) for name, value in given.items()}
        else:
            given = list(given)
        return {
            "at": round(self.at, 6),
            "table": self.table,
            "given": given,
            "draws": self.draws,
            "deadline": self.deadline,
        }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def parse(entry: Any, where: str) -> TracedCall:
    """A call, of what a line of JSON has.

    Raises:
        TraceError: names the line, the key, the value and what is allowed.
    """
    if not isinstance(entry, dict):
        raise TraceError(f"{where} is {shown(entry)}; allowed: an object with {listing(KEYS)}")
    for key in entry:
        if key not in KEYS:
            raise TraceError(f"{where} has the unknown key {shown(key)}; allowed: {listing(KEYS)}")
    at, table = entry.get("at"), entry.get("table")
    if not _number(at) or float(at) < 0:
        raise TraceError(f"{where}.at is {shown(at)}; allowed: seconds, 0 or more")
    if not isinstance(table, str) or not table:
        raise TraceError(f"{where}.table is {shown(table)}; allowed: a table's name")
    given = entry.get("given") or {}
    names = isinstance(given, list) and all(isinstance(name, str) for name in given)
    if not isinstance(given, dict) and not names:
        raise TraceError(
            f"{where}.given is {shown(given)}; allowed: values by column, or a list of columns"
        )
    draws = entry.get("draws", 1)
    if not isinstance(draws, int) or isinstance(draws, bool) or not 1 <= draws <= MOST_DRAWS:
        raise TraceError(f"{where}.draws is {shown(draws)}; allowed: a whole number >= 1")
    deadline = entry.get("deadline")
    if deadline is not None and not (_number(deadline) and 0 < deadline <= LONGEST_DEADLINE):
        raise TraceError(
            f"{where}.deadline is {shown(deadline)}; allowed: seconds above 0, at most "
            f"{LONGEST_DEADLINE:,.0f}, or null"
        )
    return TracedCall(float(at), table, given, draws, None if deadline is None else float(deadline))


def _number(value: Any) -> TypeGuard[float]:
    # A whole number of hundreds of digits is none that a float can be.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def read_trace(path: Path) -> list[TracedCall]:
    """The calls of a trace, in the order in which they were due.

    Raises:
        TraceError: names the file, the line, the key and what is allowed.
    """
    if path.suffix not in SUFFIXES:
        raise TraceError(f"{path} is no trace: its name ends in none of {listing(SUFFIXES)}")
    try:
        entries = _parquet(path) if path.suffix == ".parquet" else _lines(path)
        found = [parse(entry, f"{path}, {where}") for where, entry in entries]
    except (OSError, UnicodeDecodeError) as exc:
        raise TraceError(f"{path} cannot be read: {exc}") from exc
    if not found:
        raise TraceError(f"{path} has no calls")
    return sorted(found, key=lambda call: call.at)


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as exc:
                raise TraceError(f"{path}, line {number} is no JSON: {exc}") from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except OSError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as exc:
        raise TraceError(f"{path} is no Parquet file: {exc}") from None
    for number, row in enumerate(rows):
        given = row.get("given")
        try:
            row["given"] = json.loads(given) if isinstance(given, str) else given
        except (ValueError, RecursionError) as exc:
            raise TraceError(f"{path}, row {number}.given is no JSON: {exc}") from None
        yield f"row {number}", row


def write_trace(path: Path, calls: Iterable[TracedCall]) -> None:
    """Write a trace; of Parquet `given` is a column of JSON, since calls differ in their columns.

    Raises:
        TraceError: its name ends in none of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise TraceError(
            f"{path} cannot be a trace: allowed are names ending in {listing(SUFFIXES)}"
        )
    rows = [call.as_json() for call in calls]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("at", pa.float64()),
            ("table", pa.string()),
            ("given", pa.string()),
            ("draws", pa.int32()),
            ("deadline", pa.float64()),
        ]
    )
    texts = [{**row, "given": json.dumps(row["given"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(texts, schema=schema), path)
