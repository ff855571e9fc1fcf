"""A `FakeServer`'s rows: frames of every kind, and values as they come out of one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client.testing import FakeServer


class TestRows:
    """What is given as rows is answered, and tells the columns."""

    def test_of_frames_of_every_kind(self) -> None:
        rows = [
            {"age": 1, "city": "Rome", "joined": datetime(2026, 1, 1)},
            {"age": None, "city": None, "joined": None},
        ]
        frames: list[Any] = [
            pl.DataFrame(rows),
            pa.Table.from_pylist(rows),
            pa.RecordBatch.from_pylist(rows),
            pa.Table.from_pylist(rows).to_reader(),
            pd.DataFrame(rows).convert_dtypes(),
            pd.DataFrame(rows).convert_dtypes(dtype_backend="pyarrow"),
            rows,
        ]
        for frame in frames:
            with FakeServer({"people": frame}).client() as client:
                columns = client.describe("people").columns
                assert [(column.kind, column.nullable) for column in columns] == [
                    ("integer", True),
                    ("categorical", True),
                    ("datetime", True),
                ]
                assert client.synthesize("people", {}, draws=2, seed=0).data == rows

    @pytest.mark.parametrize(
        ("value", "kind", "given"),
        [
            (np.int64(1), "integer", 1),
            (np.float32(0.5), "continuous", 0.5),
            (np.bool_(True), "boolean", True),
            (Decimal("0.5"), "continuous", 0.5),
            (date(2026, 1, 1), "datetime", datetime(2026, 1, 1)),
            (np.datetime64("2026-01-01"), "datetime", datetime(2026, 1, 1)),
            (pd.Timestamp(2026, 1, 1), "datetime", datetime(2026, 1, 1)),
        ],
    )
    def test_values_of_other_libraries(self, value: Any, kind: str, given: Any) -> None:
        rows = [{"x": value}, {"x": np.nan}, {"x": pd.NA}]
        with FakeServer({"t": rows}).client() as client:
            (column,) = client.describe("t").columns
            assert (column.kind, column.nullable) == (kind, True)
            assert client.synthesize("t", {}, draws=3, seed=0).data == [
                {"x": given},
                {"x": None},
                {"x": None},
            ]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ([{"a": [1]}], r"table 'people': column 'a': \[1\] is a list; a number"),
            (pl.Series("a", [1]), "table 'people': data is a Series"),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), "table 'people': data has two columns"),
            (pl.DataFrame({"a": []}), "table 'people': a FakeTable without rows"),
        ],
    )
    def test_what_is_no_table(self, table: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            FakeServer({"people": table})
