"""`Client.augment`: rare classes become frequent, the frame stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, InvalidRequest
from cascade_client.testing import FakeServer

ROWS = [
    {"amount": 10.5, "fraud": 0, "shop": "a"},
    {"amount": 900.0, "fraud": 1, "shop": None},
]
FRAME = pd.DataFrame(
    {
        "amount": np.array([1, 2, 3, 4], "float32"),
        "fraud": np.array([0, 0, 0, 1], "int8"),
        "payment": [2**60 + 1, 2**60 + 3, 2**60 + 5, 2**60 + 7],
        "at": pd.to_datetime(["2026-01-01"] * 4).tz_localize("UTC"),
    }
)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"payments": ROWS})


@pytest.fixture
def client(server: FakeServer) -> Any:
    with server.client() as client:
        yield client


def test_no_number_goes_below_text_that_is_none(client: Client) -> None:
    frame = FRAME.assign(amount=["5%", "6%", "7%", "8%"])
    with pytest.raises(InvalidRequest, match=r"'amount' has '5%'.* Make numbers of it"):
        client.augment(frame, target="fraud")


class TestPandas:
    """Rows are added after the frame's own."""

    def test_each_class_has_as_many(self, client: Client, server: FakeServer) -> None:
        answer = client.augment(FRAME, target="fraud", seed=0)
        assert answer.added == {1: 2}
        assert answer.data["fraud"].value_counts().to_dict() == {0: 3, 1: 3}
        assert (answer.rows, len(answer.synthetic)) == (4, 2)
        assert list(answer.data.index) == list(range(6))
        pd.testing.assert_frame_equal(
            answer.data.head(4).astype(FRAME.dtypes.to_dict()), FRAME, check_exact=True
        )
        (asked,) = server.asked
        assert asked.rows == ({"fraud": 1},) * 2
        assert (asked.fidelity, asked.strict) == ("full", True)

    def test_dtypes_stay_and_what_the_table_has_not_is_empty(self, client: Client) -> None:
        answer = client.augment(FRAME, target="fraud")
        new = answer.synthetic
        assert answer.data.dtypes["amount"] == "float32"
        assert answer.data.dtypes["fraud"] == "int8"
        assert answer.data.dtypes["payment"] == "Int64"  # no digit is lost
        assert new[["payment", "at"]].isna().all().all()
        assert "payment, at" in answer.provenance.notices[0]

    @pytest.mark.parametrize(("ratio", "added"), [(0.5, {1: 1}), (0.34, {1: 1}), (1 / 3, {})])
    def test_ratio(self, client: Client, ratio: float, added: dict[int, int]) -> None:
        assert client.augment(FRAME, "fraud", ratio).added == added

    @pytest.mark.parametrize(
        ("index", "more"),
        [
            (pd.Index([7, 9, 3, 1], name="id"), [10, 11]),
            (pd.RangeIndex(10, 18, 2), [18, 20]),
            (pd.Index([124, 125, 126, 127], dtype="int8"), [128, 129]),
            (pd.Index([2**63, 1, 2, 3], dtype="uint64"), [2**63 + 1, 2**63 + 2]),
            (pd.Index([7, 8, 9, 4], dtype="Int64"), [10, 11]),
        ],
    )
    def test_numbers_of_an_index_go_on(self, client: Client, index: Any, more: list[int]) -> None:
        out = client.augment(FRAME.set_axis(index), "fraud").data.index
        assert list(out) == [*index, *more]
        assert out.name == index.name

    @pytest.mark.parametrize(
        "index",
        [
            pd.Index(list("abcd")),
            pd.date_range("2026", periods=4),
            pd.MultiIndex.from_product([[1, 2], ["x", "y"]], names=["one", "two"]),
            pd.MultiIndex.from_product([[True, False], pd.interval_range(0, 2)]),
            pd.interval_range(0, 4, name="bin"),
            pd.Index([True, False, True, False], name="flag"),
            pd.period_range("2026", periods=4),
            pd.CategoricalIndex(list("abca")),
            pd.Index([2**63 - 1, 1, 2, 3]),
        ],
    )
    def test_other_labels_stay(self, client: Client, index: Any) -> None:
        out = client.augment(FRAME.set_axis(index), "fraud").data
        assert list(out.index[:4]) == list(index)
        assert out.index.names == index.names
        assert len(out) == 6
        if not isinstance(index, pd.MultiIndex):
            assert out.index[4:].isna().all()

    def test_an_index_of_nothing(self, client: Client) -> None:
        index = pd.Index([None, None, None, None], dtype="Int64")
        out = client.augment(FRAME.set_axis(index), "fraud").data
        assert list(out.index[4:]) == [0, 1]

    def test_counts_say_how_many(self, client: Client) -> None:
        answer = client.augment(FRAME, "fraud", counts={0: 1, 1: 3})
        assert answer.data["fraud"].value_counts().to_dict() == {0: 4, 1: 4}

    def test_classes_of_a_category(self, client: Client) -> None:
        frame = pd.DataFrame({"shop": pd.Categorical(["a", "a", "b"]), "amount": [1.0, 2, 3]})
        server = FakeServer({"t": [{"shop": "a", "amount": 1.5}, {"shop": "b", "amount": 2.5}]})
        with server.client() as client:
            answer = client.augment(frame, "shop")
        assert answer.data["shop"].dtype == frame["shop"].dtype
        assert answer.data["shop"].value_counts().to_dict() == {"a": 2, "b": 2}

    @pytest.mark.parametrize(
        "values",
        [
            pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3, 4]),
            pd.arrays.SparseArray([0, 0, 1, 0]),
            pd.array([True, False, True, False]),
            pd.period_range("2026", periods=4),
            pd.to_timedelta([1, 2, 3, 4]),
            pd.Categorical(list("aabb")),
            pd.Series([(1, 2)] * 4),
        ],
    )
    def test_columns_of_any_dtype_have_room(self, client: Client, values: Any) -> None:
        frame = FRAME[["fraud"]].assign(other=values)
        answer = client.augment(frame, "fraud")
        assert answer.data["other"].tolist()[:4] == frame["other"].tolist()
        assert answer.synthetic["other"].isna().all()

    def test_columns_that_the_table_has_not_may_have_one_name(self, client: Client) -> None:
        frame = FRAME[["fraud", "payment", "payment"]]
        out = client.augment(frame, "fraud").data
        assert list(out.columns) == ["fraud", "payment", "payment"]
        arrays = [pa.array(frame.iloc[:, at]) for at in range(3)]
        table = client.augment(pa.Table.from_arrays(arrays, list(frame.columns)), "fraud").data
        assert table.column_names == ["fraud", "payment", "payment"]
        assert table.column(1).to_pylist() == table.column(2).to_pylist()
        assert table.column(1).to_pylist() == [*frame.iloc[:, 1], None, None]

    def test_columns_of_the_table_may_not(self, client: Client) -> None:
        frame = FRAME[["fraud", "amount", "amount"]]
        with pytest.raises(InvalidRequest, match="two columns 'amount'"):
            client.augment(frame, "fraud")

    def test_empty_cells_are_of_no_class(self, client: Client) -> None:
        frame = FRAME.assign(fraud=pd.array([0, 0, None, 1], "Int8"))
        assert client.augment(frame, "fraud").added == {1: 1}


class TestOtherKinds:
    """The same of polars, Arrow and dicts."""

    def test_all(self, client: Client) -> None:
        rows = FRAME[["amount", "fraud"]].to_dict("records")
        for frame in (pl.DataFrame(rows), pa.Table.from_pylist(rows), rows):
            answer = client.augment(frame, "fraud", seed=1)
            assert type(answer.data) is type(frame)
            assert len(answer.data) == 6
            assert len(answer.synthetic) == 2
        assert answer.synthetic[0] == {"amount": 900.0, "fraud": 1}


class TestRefusals:
    """An error names the culprit and what is allowed."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"target": "size"}, "target is 'size', and data has no column"),
            ({"target": "payment"}, "target is 'payment', which table 'payments' has not"),
            ({"target": "fraud", "ratio": 0}, "ratio is 0; a number above 0 and up to 1"),
            ({"target": "fraud", "ratio": "1"}, "ratio is '1'"),
            ({"target": "fraud", "counts": {7: 1}}, "no value of 'fraud' in data: 0, 1"),
            ({"target": "fraud", "counts": {1: -1}}, "counts is -1 for 1"),
        ],
    )
    def test_arguments(self, client: Client, arguments: Any, said: str) -> None:
        with pytest.raises(InvalidRequest, match=said):
            client.augment(FRAME, **arguments)

    def test_a_target_without_values(self, client: Client) -> None:
        for frame in (FRAME.head(0), FRAME.assign(fraud=None)):
            with pytest.raises(InvalidRequest, match="no value in data"):
                client.augment(frame, "fraud")


async def test_asyncio_is_the_same(server: FakeServer) -> None:
    async with server.async_client() as client:
        answer = await client.augment(FRAME, "fraud", seed=1)
    with server.client() as client:
        pd.testing.assert_frame_equal(answer.data, client.augment(FRAME, "fraud", seed=1).data)
