"""Frames without a column of their table: nothing is known of their rows but how many they are."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import ColumnDescription
from cascade_client.testing import FakeServer, FakeTable

COLUMNS = (
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("city", "categorical", False, "string", categories=("Rome", "Oslo")),
)
ROWS = [{"note": note} for note in "abcde"]


def drawn(asked: Any) -> list[dict[str, Any]]:
    """Draw d of a row has age 40 + d."""
    return [{"age": 40 + draw, "city": "Rome"} for _ in asked.rows for draw in range(asked.draws)]


def listed(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, list):
        return frame
    rows: list[dict[str, Any]] = (
        frame.to_dict("records")
        if isinstance(frame, pd.DataFrame)
        else frame.to_dicts()
        if isinstance(frame, pl.DataFrame)
        else frame.to_pylist()
    )
    return rows


@pytest.mark.parametrize("most", [100, 4], ids=["at once", "in parts"])
@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(ROWS, index=list("vwxyz")),
        pl.DataFrame(ROWS),
        pa.Table.from_pylist(ROWS),
        pa.RecordBatch.from_pylist(ROWS),
        ROWS,
    ],
    ids=["pandas", "polars", "table", "batch", "dicts"],
)
def test_columns_that_are_named_are_drawn_whole(frame: Any, most: int) -> None:
    server = FakeServer({"people": FakeTable(drawn, COLUMNS)}, max_rows=most)
    with server.client() as client:
        answer = client.complete(frame, 2, table="people", columns=["age", "city"])
    assert type(answer.data) is type(frame)
    rows = listed(answer.data)
    assert [row["note"] for row in rows] == list("aabbccddee")
    assert [row["age"] for row in rows] == [40, 41] * 5
    assert answer.holes == 10
    assert [row["age"] for row in listed(answer.mean())] == [40.5] * 5
    assert len(listed(answer.spread())) == 5
