"""Requests and answers as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import ABSENT_STATE, NULL_STATE, PLACEHOLDERS

from tests.releases import TABLE

NULL, ABSENT = NULL_STATE, ABSENT_STATE
KINDS = {
    "amount": "doubles",
    "channel": "strings",
    "items": "integers",
    "at": "integers",
    "member": "booleans",
    "fraud": "integers",
}
COLUMNS = tuple(KINDS)
# A row that `payments` could have.
ROW = {
    "amount": 12.34,
    "channel": "web",
    "items": 3,
    "at": 1_768_000_000_000_000,
    "member": True,
    "fraud": 0,
}


def column(name: str, values: list[Any], kind: str = "", states: list[int] | None = None) -> Any:
    """A column message; None becomes NULL."""
    kind = kind or KINDS.get(name, "doubles")
    if states is None and None in values:
        states = [NULL if value is None else 0 for value in values]
    filled = [PLACEHOLDERS[kind] if value is None else value for value in values]
    out = pb.Column(name=name, states=bytes(states or []))
    getattr(out, kind).values.extend(filled)
    return out


def rows(count: int = 1, **columns: list[Any]) -> pb.Rows:
    """Rows whose columns are given as lists."""
    return pb.Rows(count=count, columns=[column(name, v) for name, v in columns.items()])


def row(**values: Any) -> pb.Rows:
    """One row."""
    return rows(1, **{name: [value] for name, value in values.items()})


def ask(given: pb.Rows | None = None, table: str = TABLE, **fields: Any) -> pb.SynthesizeRequest:
    """A request for one row with nothing known, unless told otherwise."""
    return pb.SynthesizeRequest(
        table=table, rows=pb.Rows(count=1) if given is None else given, **fields
    )


def read(answer: pb.Rows) -> dict[str, list[Any]]:
    """Columns as lists, None for NULL."""
    out = {}
    for each in answer.columns:
        values = list(getattr(each, each.WhichOneof("values")).values)
        assert len(values) == answer.count
        states = each.states or bytes(answer.count)
        out[each.name] = [None if s else v for v, s in zip(values, states, strict=True)]
    return out


def allowed(name: str, value: Any) -> bool:
    """Whether `payments` allows a value."""
    if name == "channel":
        return value in ("web", "app", "shop", None)
    if name in ("member", "fraud"):
        return value in (0, 1)
    if name == "items":
        return 1 <= value <= 8
    if name == "at":
        start = int(np.datetime64("2026-01-01", "us").astype(np.int64))
        return start <= value <= start + 30 * 86_400 * 10**6
    return 0 <= value < 2000
