"""Frames whose text is written as no value of their table is: nothing is put among it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, ColumnDescription, InvalidRequest
from cascade_client.testing import FakeServer, FakeTable

COLUMNS = (
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("income", "continuous", True, "float64", 0, 1e6),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
    ColumnDescription("joined", "datetime", False, "datetime64[us]", 0, 2e15),
)
DRAWN = {"age": 40, "income": 1.5, "city": "Rome", "joined": datetime(2026, 1, 2, 12)}


def drawn(asked: Any) -> list[dict[str, Any]]:
    return [{n: v for n, v in DRAWN.items() if n not in row} for row in asked.rows]


@pytest.fixture
def client() -> Any:
    with FakeServer({"people": FakeTable(drawn, COLUMNS)}).client() as client:
        yield client


class TestTextOfNumbers:
    """Nothing that is drawn is put among cells that are written as no value of the table is."""

    @pytest.mark.parametrize(
        ("column", "cell", "what"),
        [
            ("income", "5%", "numbers"),
            ("age", "12:30", "numbers"),
            ("joined", "31.12.2025", "date-times"),
        ],
    )
    @pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
    def test_it_is_refused(
        self, client: Client, kind: Any, column: str, cell: str, what: str
    ) -> None:
        data = kind({column: [cell, None]})
        with pytest.raises(InvalidRequest, match=rf"'{column}' has '{cell}'.* Make {what} of"):
            client.complete(data)

    def test_it_is_refused_in_dicts(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="'age' has '12:30'"):
            client.complete([{"age": "12:30"}, {"age": None}])

    def test_numbers_as_text_and_columns_without_a_hole_are_left_as_they_are(
        self, client: Client
    ) -> None:
        data = pd.DataFrame({"income": ["5", None], "joined": ["2025-12-31", None]})
        assert client.complete(data).data["income"].tolist() == ["5", "1.5"]
        data = pd.DataFrame({"age": ["x", "y"], "city": ["Rome", "Oslo"]})
        assert client.complete(data).data.equals(data)
