"""Streams of Arrow's are read once: some cannot be read again, and others would give other rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, ColumnDescription, InvalidRequest
from cascade_client.testing import FakeServer, FakeTable

COLUMNS = (
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("income", "continuous", True, "float64", 0, 1e6),
)
TABLE = pa.table({"age": [1, 2, None, 4, 5], "income": [10.0, 20.0, 30.0, 40.0, 50.0]})


class Reader:
    """What can be read once, and is made by its own type, as readers of some packages are."""

    def __init__(self, table: pa.Table) -> None:
        self.left: Any = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        table, self.left = self.left, self.left.slice(0, 0)
        return table.__arrow_c_stream__(requested_schema)

    @classmethod
    def from_arrow(cls, data: Any) -> Reader:
        return cls(pa.table(data))


class Query:
    """What computes its rows anew each time, in another order each time."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.times = table, 0

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        self.times += 1
        order = [(place + self.times) % len(self.table) for place in range(len(self.table))]
        return self.table.take(order).__arrow_c_stream__(requested_schema)


Make = Callable[[pa.Table], Any]
MAKES = [pa.Table.to_reader, Reader, Query]


@pytest.fixture(params=[100, 3], ids=["at once", "in parts"])
def client(request: pytest.FixtureRequest) -> Any:
    server = FakeServer({"people": FakeTable(columns=COLUMNS)}, max_rows=request.param)
    with server.client() as client:
        yield client


def table_of(data: Any) -> pa.Table:
    return data if isinstance(data, pa.Table) else pa.table(data)


@pytest.mark.parametrize("make", MAKES)
class TestOnce:
    """All rows are there, each once, whatever is asked of them."""

    def test_synthesize(self, client: Client, make: Make) -> None:
        out = table_of(client.synthesize("people", make(TABLE)).data)
        assert sorted(out["income"].to_pylist()) == TABLE["income"].to_pylist()

    def test_complete(self, client: Client, make: Make) -> None:
        answer = client.complete(make(TABLE), 3)
        mean, spread = answer.mean(), answer.spread()
        assert sorted(table_of(mean)["income"].to_pylist()) == TABLE["income"].to_pylist()
        assert answer.holes == 1
        assert sum(value > 0 for value in table_of(spread)["age"].to_pylist()) == 1
        whole = table_of(answer.data)
        assert len(whole) == 15
        assert whole["age"].null_count == 0

    def test_augment(self, client: Client, make: Make) -> None:
        answer = client.augment(make(TABLE), "age", counts={4: 2})
        assert len(table_of(answer.synthetic)) == 2
        assert len(table_of(answer.synthetic)) == 2
        assert sorted(table_of(answer.data)["income"].to_pylist()[:5]) == [10, 20, 30, 40, 50]

    def test_conditions_of_a_job(self, client: Client, make: Make) -> None:
        job = client.submit("people", conditions=make(TABLE))
        job.wait()
        assert sorted(job.to_arrow()["income"].to_pylist()) == TABLE["income"].to_pylist()


def test_what_is_made_by_its_own_type_is_so(client: Client) -> None:
    assert isinstance(client.synthesize("people", Reader(TABLE)).data, Reader)
    assert isinstance(client.complete(Reader(TABLE)).data, Reader)
    assert isinstance(client.complete(TABLE.to_reader()).data, pa.Table)


@pytest.mark.parametrize("make", MAKES)
async def test_asyncio_is_the_same(make: Make) -> None:
    server = FakeServer({"people": FakeTable(columns=COLUMNS)}, max_rows=2)
    async with server.async_client() as client:
        whole = table_of((await client.synthesize("people", make(TABLE))).data)
        filled = table_of((await client.complete(make(TABLE))).data)
    assert sorted(whole["income"].to_pylist()) == TABLE["income"].to_pylist()
    assert sorted(filled["income"].to_pylist()) == TABLE["income"].to_pylist()


@pytest.mark.parametrize("column", [pl.Series("age", [1, 2]), pa.chunked_array([[1, 2]])])
class TestOneColumn:
    """A stream of a column alone is no table's: which column it is of, it does not say."""

    def test_rows(self, client: Client, column: Any) -> None:
        said = f"data is a {type(column).__name__}, whose stream .* a frame is allowed"
        for ask in (
            lambda: client.synthesize("people", column),
            lambda: client.complete(column, table="people"),
            lambda: client.augment(column, "age"),
            lambda: client.submit("people", conditions=column),
        ):
            with pytest.raises(InvalidRequest, match=said):
                ask()
