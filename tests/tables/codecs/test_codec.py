"""Rows to tokens and back: exactly where values are listed, within the fine bin where not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import (
    Codec,
    ColumnData,
    ColumnOverride,
    Frame,
    Kind,
    Rare,
    RareRule,
    SchemaError,
    UnknownColumn,
    ValueNotAllowed,
    infer_schema,
)
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from cascade_tables.infer import MAX_EXACT

from tests.releases import payments

BINNED = {"codec": "binned", "edges": [0] * (COARSE * FINE + 1), "ranks": [0] * COARSE}
Overrides = dict[str, ColumnOverride]


def frame(**columns: Any) -> Frame:
    return Frame.from_arrow(pa.table(columns))


def fitted(table: Frame, overrides: Overrides | None = None) -> Codec:
    return Codec.fit(infer_schema(table, overrides, rule=RareRule(min_count=1)), table)


def there_and_back(table: Frame, overrides: Overrides | None = None, seed: int = 0) -> Frame:
    codec = fitted(table, overrides)
    return codec.decode(codec.encode(table), np.random.default_rng(seed))


def many(rows: int = 3000) -> Frame:
    """A column of every kind of number, with more distinct values than are listed."""
    rng = np.random.default_rng(0)
    zone = pa.timestamp("us", tz="Europe/Berlin")
    seconds = rng.integers(0, 10**9, rows)
    amount = np.where(rng.random(rows) < 0.3, 0.0, np.round(rng.gamma(2, 40, rows), 2))
    return frame(
        real=rng.normal(size=rows),
        extreme=rng.uniform(-1, 1, rows) * 1.7e308,
        amount=pa.array(amount, mask=rng.random(rows) < 0.1),
        single=pa.array(rng.normal(size=rows).astype(np.float32)),
        tens=rng.integers(-500, 500, rows) * 10,
        # Some occur in several rows, since numbers of 64 bits that all differ are identifiers.
        wide=rng.choice(rng.integers(-(2**63), 2**63 - 1, 2 * rows // 3, endpoint=True), rows),
        # Of some lengths, since long numbers of one length are identifiers.
        beyond=(2**62 + rng.integers(0, 2**55, rows)) // 10 ** rng.integers(0, 3, rows),
        at=pa.array(seconds * 10**6).cast(zone),
        day=pa.array(rng.integers(-9000, 9000, rows).astype(np.int32)).cast(pa.date32()),
    )


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


class TestListed:
    @pytest.mark.parametrize(
        "values",
        [
            ["b", "a", "", None, "naïve 😀"],
            [True, None, False],
            [3, None, -(2**63), 2**63 - 1, 2**53 + 1],
            pa.array([0, None, 255], pa.uint8()),
            [0.1, None, -1e300, 5e-324],
            pa.array([0.1, 19.99], pa.float32()),
            pa.array([1.5, None, 2.0], pa.float16()),
            pa.array([2.0**24 + 2, None, 1e30], pa.float32()),
            pa.array([2.0**24 + 2, None, 2.0], pa.float32()),
            [1.0, None, 2.0],
            list(range(MAX_EXACT)) * 2,
            [date(2024, 2, 29), None, date(1, 1, 1), date(9999, 12, 31)],
            pa.array([datetime(2024, 1, 1), None], pa.timestamp("s")),
            pa.array([datetime(2024, 7, 1, tzinfo=UTC), None], pa.timestamp("ms", tz="Asia/Tokyo")),
            pa.array([10**18, None], pa.timestamp("ns")),
        ],
    )
    def test_values_nulls_and_types_come_back(self, values: Any) -> None:
        table = frame(first=values, second=values)
        assert there_and_back(table).to_arrow().equals(table.to_arrow())

    @pytest.mark.parametrize(
        "values", [[10115, None, 80331], [0.5, None, 1.5], [True, None, False], [1.0, 1e22]]
    )
    def test_numbers_as_categories_come_back_as_numbers(self, values: list[Any]) -> None:
        table = frame(a=values)
        back = there_and_back(table, {"a": ColumnOverride(kind=Kind.CATEGORICAL)})
        assert back.to_arrow().equals(table.to_arrow())

    def test_whole_numbers_stored_as_reals_come_back_beyond_2_to_the_53(self) -> None:
        table = frame(a=[2.0**60, None, 1.0])
        back = there_and_back(table, {"a": ColumnOverride(kind=Kind.INTEGER)})
        assert back.to_arrow().equals(table.to_arrow())

    def test_rare_numbers_as_categories_come_back_as_the_label(self) -> None:
        override = ColumnOverride(
            kind=Kind.CATEGORICAL, max_categories=2, other="rest", rare=Rare.KEEP_FOLDED
        )
        back = there_and_back(frame(a=[10115] * 9 + [80331, 20095]), {"a": override})
        assert back.to_arrow()["a"].to_pylist() == ["10115"] * 9 + ["rest"] * 2

    def test_a_nulls_placeholder_does_not_matter(self) -> None:
        null = np.array([False, True, False])
        table = Frame(
            {
                "few": ColumnData(np.array([1.5, np.nan, 2.5]), null),
                "whole": ColumnData(np.array([1.0, np.nan, 2.0]), null),
                "at": ColumnData(np.array(["2024-01-01", "NaT", "2025"], "datetime64[us]"), null),
                "text": ColumnData(np.array(["a", None, "b"], object), null),
            }
        )
        back = there_and_back(table)
        assert back.to_rows() == table.to_rows()


class TestBinned:
    def test_types_order_and_nulls_come_back(self) -> None:
        table = many()
        back = there_and_back(table).to_arrow()
        assert back.schema == table.to_arrow().schema
        assert back["amount"].is_null().equals(table.to_arrow()["amount"].is_null())

    @pytest.mark.parametrize("seed", [0, 1])
    def test_values_stay_in_their_fine_bin_and_bounds(self, seed: int) -> None:
        """A fine bin begins at its edge; whole numbers end below the next, real ones at it."""
        table = many()
        codec = fitted(table)
        tokens = codec.encode(table)
        back = codec.decode(tokens, np.random.default_rng(seed))
        for index, column in enumerate(codec.schema.columns):
            coarse, fine = tokens[:, np.array(codec.layout.column) == index].T
            place = (coarse - column.nullable - len(column.point_masses)) * FINE + fine
            values = back[column.name].values[place >= 0]
            if column.kind is not Kind.CONTINUOUS:
                values = values.astype(np.int64)
            edges = np.array(codec.columns[index].to_dict()["edges"])
            place = place[place >= 0]
            assert (edges[place] <= values).all(), column.name
            assert (values <= edges[place + 1]).all(), column.name
            if column.kind is not Kind.CONTINUOUS:
                assert (values < edges[place + 1])[place < COARSE * FINE - 1].all(), column.name
            assert column.minimum <= values.min() <= values.max() <= column.maximum

    def test_point_masses_come_back_exactly(self) -> None:
        table = many()
        values, back = table["amount"], there_and_back(table)["amount"]
        zero = (values.values == 0) & ~values.null
        assert zero.sum() > 500
        assert (back.values[zero] == 0).all()
        assert (back.values[~zero & ~values.null] > 0).all()

    def test_decimals_and_steps_come_back(self) -> None:
        back = there_and_back(many())
        amount = back["amount"].values
        assert (np.round(amount, 2) == amount).all()
        assert (back["tens"].values % 10 == 0).all()
        assert (back["at"].values.astype(np.int64) % 10**6 == 0).all()

    def test_values_differ_between_draws_and_fill_their_bins(self) -> None:
        table = many()
        codec = fitted(table)
        tokens = codec.encode(table)
        one, two = (codec.decode(tokens, np.random.default_rng(s))["real"].values for s in (1, 2))
        assert (one != two).mean() > 0.9

    def test_a_bin_wider_than_63_bits(self) -> None:
        """Whole numbers whose differences overflow int64 stay between their bounds."""
        values = [-(2**63), *range(0, 2000, 7), 2**63 - 1]
        table = frame(a=values, b=[0, 1] * (len(values) // 2) + [0] * (len(values) % 2))
        codec = fitted(table)
        place = np.repeat(np.arange(COARSE * FINE), 20)
        tokens = np.stack([place // FINE, place % FINE, np.zeros_like(place)], axis=1)
        drawn = codec.decode(tokens.astype(np.int32), np.random.default_rng(0))
        for low, high, value in zip(
            codec.columns[0].to_dict()["edges"][:-1],
            codec.columns[0].to_dict()["edges"][1:],
            drawn["a"].values.reshape(-1, 20),
            strict=True,
        ):
            assert ((low <= value) & (value <= high)).all()

    def test_with_chosen_point_masses(self) -> None:
        table = frame(a=np.arange(300) / 2)
        codec = fitted(table, {"a": ColumnOverride(point_masses=(7, 0.25, 0.25))})
        assert codec.encode_partial({"a": [7.0, 0.25]}, 2).tokens.tolist() == [[1, 0], [0, 0]]
        back = codec.decode(codec.encode(table), np.random.default_rng(0))
        assert back["a"].values[14] == 7.0

    def test_where_every_value_is_a_point_mass(self) -> None:
        table = frame(a=list(range(130)) * 2)
        masses = ColumnOverride(point_masses=tuple(range(130)))
        assert there_and_back(table, {"a": masses})["a"].to_list() == table["a"].to_list()


class TestLayout:
    def test_slots_follow_the_columns(self) -> None:
        codec = fitted(payments())
        layout = codec.layout
        assert layout.column == (0, 0, 1, 2, 3, 3, 4, 5)
        assert layout.role == ("coarse", "fine", *["value"] * 2, "coarse", "fine", *["value"] * 2)
        assert len(codec.schema["at"].point_masses) == 1
        masses = len(codec.schema["amount"].point_masses)
        assert masses > 0
        assert layout.sizes == (masses + COARSE, FINE, 4, 8, 1 + COARSE, FINE, 2, 2)

    def test_positions_are_ranks_of_numbers(self) -> None:
        codec = fitted(frame(a=[10, 20, 20, None], t=["x", "y", "x", "y"]))
        ranks, text = codec.layout.positions
        assert ranks is not None
        np.testing.assert_allclose(ranks, [np.nan, 1 / 6, 2 / 3], rtol=1e-6)
        assert text is None


class TestEncodeFrame:
    def test_a_missing_column_is_named(self) -> None:
        codec = fitted(frame(a=[1, 2], b=[1, 2]))
        with pytest.raises(UnknownColumn, match="unknown column 'b'; the columns are: a"):
            codec.encode(frame(a=[1, 2]))

    @pytest.mark.parametrize("values", [[0.5, 1.5], ["a", "b"], [True, False], list(range(200))])
    def test_null_in_a_column_without_nulls_is_refused(self, values: list[Any]) -> None:
        table = frame(a=values * 2)
        codec = fitted(table)
        nulls = table["a"].values != values[0]
        with pytest.raises(ValueNotAllowed, match=r"column 'a': None is not allowed; .* not NULL"):
            codec.encode(Frame({"a": ColumnData(table["a"].values, nulls)}))

    def test_an_unknown_category_is_refused_where_none_fold(self) -> None:
        codec = fitted(frame(a=["x", "y"]))
        with pytest.raises(ValueNotAllowed, match=r"column 'a': 'z' .* allowed: one of x, y; not"):
            codec.encode(frame(a=["x", "z"]))

    def test_an_unknown_category_folds_where_rare_ones_do(self) -> None:
        codec = fitted(frame(a=["x", "y"]), {"a": ColumnOverride(other="rest")})
        back = codec.decode(codec.encode(frame(a=["x", "z"])), np.random.default_rng(0))
        assert back["a"].to_list() == ["x", "rest"]

    @pytest.mark.parametrize("value", [11, 14, 15, 16, 29, 30])
    def test_a_number_that_was_not_seen_takes_the_nearest_like_one_from_outside(
        self, value: int
    ) -> None:
        codec = fitted(frame(a=[10, 20, 30]))
        one = codec.encode(frame(a=[value]))
        assert one.tolist() == codec.encode_partial({"a": [value]}, 1).tokens.tolist()


class TestDecodeColumns:
    def test_only_these_in_this_order(self) -> None:
        table = payments()
        codec = fitted(table)
        drawn = codec.decode_columns(
            codec.encode(table), np.random.default_rng(0), ["member", "amount", "channel"]
        )
        assert list(drawn) == ["member", "amount", "channel"]
        assert drawn["member"].to_list() == table["member"].to_list()
        assert drawn["channel"].to_list() == table["channel"].to_list()

    def test_an_unknown_column_is_named(self) -> None:
        codec = fitted(frame(amount=[1, 2], gone=[5, 5]))
        tokens = np.zeros((1, 1), np.int32)
        with pytest.raises(UnknownColumn, match="Did you mean 'amount'"):
            codec.decode_columns(tokens, np.random.default_rng(0), ["amuont"])
        with pytest.raises(UnknownColumn, match=r"'gone' \(left out: constant: every value is 5\)"):
            codec.decode_columns(tokens, np.random.default_rng(0), ["gone"])

    def test_no_rows(self) -> None:
        codec = fitted(payments())
        empty = codec.decode(np.zeros((0, len(codec.layout.sizes)), np.int32), _rng())
        assert len(empty) == 0
        assert empty.to_arrow().schema == payments().to_arrow().schema


class TestJson:
    def test_a_codec_comes_back_from_text(self) -> None:
        table = Frame({**payments().columns, **many(800).columns})
        folded = {"channel": ColumnOverride(max_categories=2)}
        codec = fitted(table, folded)
        text = json.dumps(codec.to_dict())
        back = Codec.from_dict(json.loads(text))
        assert json.dumps(back.to_dict()) == text
        assert back.schema == codec.schema
        tokens = codec.encode(table)
        assert np.array_equal(back.encode(table), tokens)
        assert (
            back.decode(tokens, _rng()).to_arrow().equals(codec.decode(tokens, _rng()).to_arrow())
        )
        assert back.layout.to_dict() == codec.layout.to_dict()

    def damaged(self, *path: Any, value: Any = None) -> dict[str, Any]:
        """A codec's dict with the entry at this path replaced; None: removed."""
        content = json.loads(json.dumps(fitted(payments()).to_dict()))
        at = content
        for key in path[:-1]:
            at = at[key]
        if value is None:
            del at[path[-1]]
        else:
            at[path[-1]] = value
        return content

    @pytest.mark.parametrize(
        ("path", "value", "part"),
        [
            (["schema"], None, "schema"),
            (["columns"], None, "columns"),
            (["columns", 5], None, "5 columns, but the schema has 6"),
            (["columns", 0, "codec"], None, "codec"),
            (["columns", 0, "codec"], "hashed", "hashed"),
            (["columns", 1], BINNED, "column 'channel' (categorical)"),
            (["columns", 0, "edges"], [1.0, 2.0], "column 'amount'"),
            (["columns", 0, "ranks"], [0.5], "column 'amount'"),
            (["columns", 2, "values"], [1, 2], "column 'items'"),
            (["schema", "columns", 0, "kind"], "text", "text"),
            (["schema", "columns", 0, "kind"], None, "kind"),
            (["schema", "columns", 0, "colour"], "red", "colour"),
            (["schema", "columns", 1, "name"], "amount", "column names repeat"),
            (["schema", "columns"], [], "no column is left"),
        ],
    )
    def test_what_is_no_codec_is_refused(self, path: list[Any], value: Any, part: str) -> None:
        with pytest.raises(SchemaError) as caught:
            Codec.from_dict(self.damaged(*path, value=value))
        assert part in str(caught.value)

    @pytest.mark.parametrize("content", [[], {}, None, "codec", {"schema": {}, "columns": []}])
    def test_nor_is_other_json(self, content: Any) -> None:
        with pytest.raises(SchemaError, match="this is not a"):
            Codec.from_dict(content)


def test_zones_are_the_same_instants() -> None:
    """A date-time in a zone is encoded as what it is in UTC, and comes back in its zone."""
    berlin = pa.timestamp("us", tz="Europe/Berlin")
    at = [
        datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=1))),
        datetime(2024, 7, 1, tzinfo=UTC),
    ]
    table = frame(at=pa.array(at, berlin))
    codec = fitted(table)
    assert codec.schema["at"].minimum == 1_704_106_800_000_000  # 11:00 in UTC
    back = codec.decode(codec.encode(table), _rng()).to_arrow()
    assert back["at"].to_pylist() == at
    assert back.schema.field("at").type == berlin
