"""`Client.complete`: holes are filled, and nothing else changes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, ColumnDescription, InvalidRequest, Tier
from cascade_client.testing import FakeServer, FakeTable

NOON = datetime(2026, 1, 2, 12)
COLUMNS = (
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("income", "continuous", True, "float64", 0, 1e6),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
    ColumnDescription("code", "categorical", False, "int64", categories=("1", "2")),
    ColumnDescription("member", "boolean", False, "bool"),
    ColumnDescription("joined", "datetime", False, "datetime64[us]", 0, 2e15),
)
DRAWN = {
    "age": 40, "income": 1.5, "city": "Rome", "code": "2", "member": True, "joined": NOON,
}  # fmt: skip


def drawn(asked: Any) -> list[dict[str, Any]]:
    """Draw d of a row has age 40 + d; the rest of what is left out is `DRAWN`."""
    return [
        {
            name: value + draw if name == "age" else value
            for name, value in DRAWN.items()
            if name not in row
        }
        for row in asked.rows
        for draw in range(asked.draws)
    ]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": FakeTable(drawn, COLUMNS)})


@pytest.fixture
def client(server: FakeServer) -> Any:
    with server.client() as client:
        yield client


FRAME = pd.DataFrame(
    {
        "note": ["a", "b", "c"],
        "age": pd.array([25, None, 61], "Int16"),
        "income": [None, 2.5, np.nan],
        "city": pd.Categorical(["Oslo", None, "Oslo"], ["Oslo"]),
        "member": pd.array([False, False, None], "boolean"),
        "joined": pd.to_datetime(["2026-01-01", None, None]).tz_localize("Europe/Berlin"),
        "row_id": [2**60 + 1, 2**60 + 3, 2**60 + 5],
    },
    index=pd.Index(["x", "y", "z"], name="who"),
)


class TestPandas:
    """What was there stays, to the bit; what was not is drawn."""

    def test_holes_are_filled_and_the_rest_is_as_it_was(self, client: Client) -> None:
        before = FRAME.copy()
        answer = client.complete(FRAME)
        pd.testing.assert_frame_equal(FRAME, before)
        out = answer.data
        assert list(out.columns) == list(FRAME.columns)
        assert out.index.equals(FRAME.index)
        assert out.index.name == "who"
        assert not out.isna().any().any()
        known = FRAME.notna()
        for name in FRAME:
            one, other = (each[name][known[name]].astype(object) for each in (out, FRAME))
            assert (one == other).all()
        assert list(out["age"]) == [25, 40, 61]
        assert list(out["city"]) == ["Oslo", "Rome", "Oslo"]
        assert answer.holes == 7

    def test_dtypes_stay_and_widen_where_they_have_to(self, client: Client) -> None:
        out = client.complete(FRAME).data.dtypes
        for name in ("age", "income", "member", "joined", "row_id", "note"):
            assert out[name] == FRAME.dtypes[name]
        assert list(out["city"].categories) == ["Oslo", "Rome"]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1.0, np.nan], [1.0, 40.0]),
            ([np.nan, np.nan], [40.0, 40.0]),
            ([None, 7], [40, 7]),
            (pd.array([7, None], "UInt8"), [7, 40]),
            (pd.array([7.5, None], "Float32"), [7.5, 40.0]),
            (pd.array([7, None], pd.ArrowDtype(pa.int8())), [7, 40]),
        ],
    )
    def test_a_number_of_any_dtype(self, client: Client, values: Any, expected: Any) -> None:
        frame = pd.DataFrame({"age": values})
        out = client.complete(frame).data["age"]
        assert list(out) == expected
        assert out.dtype == frame["age"].dtype

    @pytest.mark.parametrize(
        "values", [["Oslo", None], pd.array(["Oslo", None], "string"), [np.nan, np.nan]]
    )
    def test_text_of_any_dtype(self, client: Client, values: Any) -> None:
        out = client.complete(pd.DataFrame({"city": values})).data["city"]
        assert list(out)[1] == "Rome"
        assert out.notna().all()

    def test_dates_and_booleans_of_objects(self, client: Client) -> None:
        frame = pd.DataFrame({"joined": [date(2026, 1, 1), None], "member": [None, False]})
        out = client.complete(frame).data
        assert list(out["joined"]) == [pd.Timestamp(2026, 1, 1), NOON]
        assert list(out["member"]) == [True, False]

    def test_nanoseconds_that_were_given_are_kept(self, client: Client) -> None:
        fine = pd.Timestamp("2026-01-01 00:00:00.123456789")
        out = client.complete(pd.DataFrame({"joined": [fine, pd.NaT]})).data
        assert out["joined"][0] == fine

    def test_labels_that_come_twice(self, client: Client) -> None:
        frame = pd.DataFrame({"age": [None, 3.0]}, index=[5, 5])
        assert list(client.complete(frame).data["age"]) == [40, 3]

    def test_other_columns_may_have_any_name_twice(self, client: Client) -> None:
        frame = pd.DataFrame([[1.0, None, "b"]], columns=[0, "age", 0])
        out = client.complete(frame).data
        assert list(out.columns) == [0, "age", 0]
        assert out.iloc[0].tolist() == [1.0, 40, "b"]

    def test_a_column_of_the_table_comes_once(self, client: Client) -> None:
        frame = pd.DataFrame([[1.0, None]], columns=["age", "age"])
        with pytest.raises(InvalidRequest, match="two columns 'age'"):
            client.complete(frame)


class TestOtherKinds:
    """The same of polars, of Arrow in all its forms, and of dicts."""

    def test_polars(self, client: Client) -> None:
        frame = pl.DataFrame(
            {
                "note": ["a", "b"],
                "age": pl.Series([None, 3], dtype=pl.Int8),
                "city": pl.Series(["Oslo", None], dtype=pl.Categorical),
                "joined": pl.Series([None, NOON], dtype=pl.Datetime("ns", "UTC")),
            }
        )
        out = client.complete(frame).data
        assert out.schema == frame.schema
        assert out.rows() == [
            ("a", 40, "Oslo", NOON.replace(tzinfo=UTC)),
            ("b", 3, "Rome", NOON.replace(tzinfo=UTC)),
        ]

    @pytest.mark.parametrize("as_batch", [False, True])
    def test_arrow(self, client: Client, as_batch: bool) -> None:
        table = pa.table(
            {
                "note": pa.array(["a", "b"]),
                "age": pa.array([None, 3], pa.int8()),
                "city": pa.array(["Oslo", None]).dictionary_encode(),
            }
        )
        given = table.to_batches()[0] if as_batch else table
        out = client.complete(given).data
        assert type(out) is type(given)
        assert out.schema == table.schema
        assert out.to_pylist() == [
            {"note": "a", "age": 40, "city": "Oslo"},
            {"note": "b", "age": 3, "city": "Rome"},
        ]

    def test_dicts(self, client: Client) -> None:
        rows = [{"age": None, "note": 1}, {"age": 3, "city": float("nan")}]
        out = client.complete(rows).data
        assert out == [{"age": 40, "note": 1, "city": "Rome"}, {"age": 3, "city": "Rome"}]

    def test_a_table_before_the_frame(self, client: Client) -> None:
        """As in `generate`: it is said which of the two is no frame."""
        with pytest.raises(
            InvalidRequest, match=r"data is the string 'people'; a frame .* table='NAME'"
        ):
            client.complete("people", pd.DataFrame({"age": [None]}))  # type: ignore[arg-type]

    def test_what_is_no_frame(self, client: Client) -> None:
        for data in ({"age": 3}, 7, "age", pl.LazyFrame({"age": [1]})):
            with pytest.raises(InvalidRequest, match="allowed"):
                client.complete(data)


class TestDraws:
    """Variants of each row, and what they say together."""

    def test_each_row_so_often_one_after_another(self, client: Client) -> None:
        answer = client.complete(FRAME, 3)
        assert list(answer.data.index) == ["x"] * 3 + ["y"] * 3 + ["z"] * 3
        assert list(answer.data["age"]) == [25] * 3 + [40, 41, 42] + [61] * 3
        assert answer.draws == 3
        assert list(answer.mean_over_draws(answer.data["age"].to_numpy(float))) == [25, 41, 61]

    def test_mean_is_the_frame_and_spread_says_how_sure_it_is(self, client: Client) -> None:
        answer = client.complete(FRAME, 3)
        mean, spread = answer.mean(), answer.spread()
        assert list(mean.columns) == list(FRAME.columns)
        assert mean.index.equals(FRAME.index)
        assert list(mean["age"]) == [25, 41, 61]
        assert list(mean["city"]) == ["Oslo", "Rome", "Oslo"]
        assert list(mean["joined"].dt.tz_convert("UTC").dt.hour) == [23, 12, 12]
        assert spread.index.equals(FRAME.index)
        assert list(spread["age"]) == [0, 1, 0]
        assert list(spread["city"]) == [0, 0, 0]
        assert set(spread) == {"age", "income", "city", "member", "joined"}

    def test_of_other_kinds(self, client: Client) -> None:
        for frame in (pl.DataFrame(ROWS), pa.Table.from_pylist(ROWS), ROWS):
            answer = client.complete(frame, 3)
            mean, spread = answer.mean(), answer.spread()
            assert rows_of(mean) == [{"age": 41.0, "city": "Oslo"}, {"age": 3.0, "city": "Rome"}]
            assert rows_of(spread) == [{"age": 1.0, "city": 0.0}, {"age": 0.0, "city": 0.0}]

    def test_the_most_frequent_of_categories(self) -> None:
        def cities(asked: Any) -> list[dict[str, Any]]:
            return [{"city": city, "age": 1} for city in ("Rome", "Oslo", "Oslo", "Oslo")]

        server = FakeServer({"people": FakeTable(cities, (COLUMNS[0], COLUMNS[2]))})
        with server.client() as client:
            answer = client.complete(pd.DataFrame({"age": [1], "city": [None]}), 4)
        assert answer.mean()["city"][0] == "Oslo"
        assert answer.spread()["city"][0] == 0.25

    def test_one_draw_has_no_spread(self, client: Client) -> None:
        with pytest.raises(ValueError, match="ask for more"):
            client.complete(FRAME).spread()


class TestWhatIsSent:
    """No more than it takes, and what is conditioned on."""

    def test_rows_without_holes_are_not(self, client: Client, server: FakeServer) -> None:
        frame = pd.DataFrame({"age": [1, None, 3], "note": list("abc")})
        client.complete(frame)
        (asked,) = server.asked
        assert asked.rows == ({},)
        assert asked.columns == ("age",)
        assert asked.fidelity == "fast"

    def test_nothing_is_where_there_is_no_hole(self, client: Client, server: FakeServer) -> None:
        frame = pd.DataFrame({"age": [1, 2]})
        answer = client.complete(frame, 2)
        assert not server.asked
        assert list(answer.data["age"]) == [1, 1, 2, 2]
        assert (answer.holes, answer.provenance.tier) == (0, Tier.UNKNOWN)
        assert list(answer.mean()["age"]) == [1, 2]

    def test_no_rows(self, client: Client, server: FakeServer) -> None:
        for frame in (FRAME.head(0), pl.DataFrame(ROWS).head(0)):
            out = client.complete(frame, 2).data
            assert len(out) == 0
            assert list(out.columns) == list(frame.columns)
        table = pa.Table.from_pylist(ROWS).slice(0, 0)
        for frame in (table, pa.RecordBatch.from_pylist([], table.schema)):
            assert client.complete(frame, 2).data.equals(frame)
        assert not server.asked

    def test_a_frame_of_holes_alone(self, client: Client) -> None:
        frame = pd.DataFrame({"age": [None, None], "city": [np.nan, np.nan]})
        out = client.complete(frame).data
        assert list(out["age"]) == [40, 40]
        assert list(out["city"]) == ["Rome", "Rome"]

    def test_columns_to_fill(self, client: Client, server: FakeServer) -> None:
        frame = pd.DataFrame({"age": [1, None], "city": [None, "Oslo"]})
        out = client.complete(frame, columns=["city", "income"]).data
        assert list(out.columns) == ["age", "city", "income"]
        assert list(out["city"]) == ["Rome", "Oslo"]
        assert list(out["income"]) == [1.5, 1.5]
        assert out["age"].isna().tolist() == [False, True]
        with pytest.raises(InvalidRequest, match="no column 'size'; its columns: age, income"):
            client.complete(frame, columns=["size"])

    def test_many_rows_go_in_parts(self) -> None:
        server = FakeServer({"people": FakeTable(drawn, COLUMNS)}, max_rows=50)
        frame = pd.DataFrame({"age": [None, 7.0] * 200}, index=range(400, 0, -1))
        with server.client() as client:
            out = client.complete(frame).data
        assert list(out["age"]) == [40, 7] * 200
        assert out.index.equals(frame.index)
        assert len(server.asked) > 1


class TestNull:
    """A hole is never filled with NULL."""

    def test_what_is_drawn_as_null_is_drawn_again(self) -> None:
        def seldom(asked: Any) -> list[dict[str, Any]]:
            lone = asked.draws == 1
            return [
                {"age": 1, "income": None if lone or draw % 8 < 5 else 100.0 + draw}
                for row in asked.rows
                for draw in range(asked.draws)
            ]

        server = FakeServer({"people": FakeTable(seldom, COLUMNS[:2])})
        with server.client() as client:
            answer = client.complete(pd.DataFrame({"age": [1, 2], "income": [None, 4.0]}), seed=1)
        assert list(answer.data["income"]) == [105, 4]
        assert [asked.draws for asked in server.asked] == [1, 8]
        assert server.asked[1].rows == ({"age": 1},)

    def test_what_is_nothing_else_stays_empty_and_is_told(self) -> None:
        def never(asked: Any) -> list[dict[str, Any]]:
            return [{"age": 1, "income": None} for _ in range(len(asked.rows) * asked.draws)]

        server = FakeServer({"people": FakeTable(never, COLUMNS[:2])})
        with server.client() as client:
            answer = client.complete(pd.DataFrame({"age": [1], "income": [None]}), 2)
        assert answer.data["income"].isna().all()
        assert "column 'income': 2 holes stay empty" in answer.provenance.notices[0]
        assert answer.mean()["income"].isna().all()


class TestTable:
    """Which one it is, the columns say where the caller does not."""

    @pytest.fixture
    def client(self) -> Any:
        tables = {
            "people": [{"age": 1, "city": "Rome"}],
            "cars": [{"age": 1, "doors": 4}],
            "empty": [{"nothing": 1}],
        }
        with FakeServer(tables).client() as client:
            yield client

    def test_the_one_that_has_all_columns_which_any_has(self, client: Client) -> None:
        frame = pd.DataFrame({"age": [2], "doors": [None], "note": ["x"]})
        assert client.complete(frame).provenance.table == "cars"

    def test_several_that_may_be_meant(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match=r"1 of 'people', 1 of 'cars'\); name it: table="):
            client.complete(pd.DataFrame({"age": [None]}))
        answer = client.complete(pd.DataFrame({"age": [None]}), table="people")
        assert answer.provenance.table == "people"

    def test_none(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="no column of any table"):
            client.complete(pd.DataFrame({"size": [None]}))
        with pytest.raises(InvalidRequest, match="no column of table 'cars'; its columns: age"):
            client.complete(pd.DataFrame({"size": [None]}), table="cars")


async def test_asyncio_is_the_same(server: FakeServer) -> None:
    async with server.async_client() as client:
        answer = await client.complete(FRAME, 3, seed=1)
    with server.client() as client:
        pd.testing.assert_frame_equal(answer.data, client.complete(FRAME, 3, seed=1).data)


ROWS: list[dict[str, Any]] = [{"age": None, "city": "Oslo"}, {"age": 3, "city": None}]


def rows_of(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    return frame.to_pylist() if isinstance(frame, pa.Table) else list(frame)


@pytest.mark.parametrize(
    "values",
    [
        pd.arrays.SparseArray([1.0, np.nan, 3.0]),
        pd.array([1, None, 3], "Int64"),
        pd.array([1, None, 3], pd.ArrowDtype(pa.int64())),
        np.array([1, None, 3], object),
        np.array([1, np.nan, 3], "float16"),
    ],
)
def test_empty_cells_of_any_dtype_are_found(client: Client, values: Any) -> None:
    out = client.complete(pd.DataFrame({"age": values})).data["age"]
    assert [float(value) for value in out] == [1, 40, 3]


def test_nan_and_null_of_polars_and_arrow(client: Client) -> None:
    cells = [1.0, float("nan"), None]
    for frame in (pl.DataFrame({"income": cells}), pa.table({"income": cells})):
        column = client.complete(frame).data["income"]
        assert column.to_numpy().tolist() == [1, 1.5, 1.5]


class TestWhatIsLeft:
    """A name that is misspelt is nothing that the server could complain of."""

    def test_empty_cells_of_columns_that_the_table_has_not(self, client: Client) -> None:
        frame = FRAME.assign(incme=[1.0, None, None], note=["a", None, "c"])
        notices = client.complete(frame, table="people").provenance.notices
        assert notices == (
            "column 'note': 1 empty cell stays empty, since table 'people' has no such column.",
            "column 'incme': 2 empty cells stay empty, since table 'people' has no such column. "
            "Did you mean 'income'?",
        )

    def test_also_where_nothing_else_is_empty(self, client: Client) -> None:
        answer = client.complete([{"age": 3, "agee": None}], table="people")
        assert "Did you mean 'age'?" in answer.provenance.notices[0]

    def test_who_names_columns_knows(self, client: Client) -> None:
        frame = FRAME.assign(note=None)
        assert client.complete(frame, columns=["age"]).provenance.notices == ()


class TestShown:
    """What a terminal and a notebook show is the rows, and in a line where they are from."""

    def test_in_a_terminal(self, client: Client) -> None:
        answer = client.complete(FRAME)
        first, *rest = repr(answer).splitlines()
        assert first == f"<Completion: {answer.provenance}; data:"
        assert "\n".join(rest) == f"{answer.data!r}>"

    def test_in_a_notebook(self, client: Client) -> None:
        answer = client.complete(FRAME)
        shown = answer._repr_html_()
        assert shown is not None
        assert "<table" in shown
        assert "people v1" in shown
        assert client.synthesize("people", {"age": 3})._repr_html_() is None
