"""Values from outside: what is observed, what is refused, and what is said to have been made of
those that were never learnt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import (
    ABSENT,
    Codec,
    ColumnOverride,
    DataError,
    Frame,
    OutsideKind,
    OutsideValue,
    RareRule,
    UnknownColumn,
    ValueNotAllowed,
    ValuesNotAllowed,
    infer_schema,
)

from tests.releases import payments


def fitted(overrides: dict[str, ColumnOverride] | None = None, **columns: Any) -> Codec:
    table = Frame.from_arrow(pa.table(columns)) if columns else payments()
    return Codec.fit(infer_schema(table, overrides, rule=RareRule(min_count=1)), table)


EARLY = timezone(timedelta(hours=14))


class Three(IntEnum):
    THREE = 3


@pytest.fixture(scope="module")
def codec() -> Codec:
    """`payments`, whose channel alone may be NULL, and real numbers, binned and listed."""
    table = payments()
    rng = np.random.default_rng(0)
    more = {"score": rng.random(800), "size": rng.integers(0, 4, 800) * 2.5, "gone": [5] * 800}
    table = Frame({**table.columns, **Frame.from_arrow(pa.table(more)).columns})
    return Codec.fit(infer_schema(table), table)


class TestObserved:
    def test_values_are_encoded_as_in_the_table(self, codec: Codec) -> None:
        table = payments()
        names = [name for name in table.columns if name in codec.schema.names]
        encoded = codec.encode_partial({name: table[name].to_list() for name in names}, 800)
        part = [i for i, c in enumerate(codec.layout.column) if codec.schema.names[c] in names]
        more = Frame({n: payments()["amount"] for n in codec.schema.names if n not in names})
        whole = codec.encode(Frame({**table.columns, **more.columns}))
        assert np.array_equal(encoded.tokens[:, part], whole[:, part])
        assert encoded.observed[:, part].all()
        assert encoded.notices == ()

    def test_null_is_observed_and_absent_is_not(self, codec: Codec) -> None:
        given = {"channel": [None, ABSENT, "web"], "amount": [ABSENT, ABSENT, 0.0]}
        encoded = codec.encode_partial(given, 3)
        column = np.array(codec.layout.column)
        channel, amount = column == 1, column == 0
        assert encoded.observed[:, channel].tolist() == [[True], [False], [True]]
        assert encoded.observed[:, amount].tolist() == [[False] * 2, [False] * 2, [True] * 2]
        assert not encoded.observed[:, ~(channel | amount)].any()
        assert encoded.tokens[0, channel].tolist() == [0]
        assert (encoded.tokens[~encoded.observed] == 0).all()

    @pytest.mark.parametrize("rows", [0, 1, 3])
    def test_nothing_given(self, codec: Codec, rows: int) -> None:
        encoded = codec.encode_partial({}, rows)
        assert encoded.tokens.shape == encoded.observed.shape == (rows, len(codec.layout.sizes))
        assert encoded.tokens.dtype == np.int32
        assert not encoded.observed.any()
        encoded.observed[:] = encoded.tokens[:] = 1  # nobody else's, and writable

    def test_one_row_is_encoded_like_many(self, codec: Codec) -> None:
        row = {"amount": 12.5, "channel": "web", "items": 3, "member": True, "fraud": ABSENT}
        one = codec.encode_partial({name: [value] for name, value in row.items()}, 1)
        two = codec.encode_partial({name: [value] * 2 for name, value in row.items()}, 2)
        assert np.array_equal(np.repeat(one.tokens, 2, axis=0), two.tokens)
        assert np.array_equal(np.repeat(one.observed, 2, axis=0), two.observed)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("items", [3, 3.0, Three.THREE, np.int8(3), np.uint64(3), np.float32(3)]),
            ("amount", [0, 0.0, -0.0, np.float64(0), np.int64(0)]),
            ("member", [True, np.True_]),
            ("channel", ["web", np.str_("web")]),
            (
                "at",
                [
                    1_767_312_000_000_000,
                    1_767_312_000_000_000.0,
                    np.datetime64("2026-01-02"),
                    np.datetime64("2026-01-02T00:00:00.000000001", "ns"),
                    datetime(2026, 1, 2),
                    datetime(2026, 1, 2, tzinfo=UTC),
                    datetime(2026, 1, 2, 14, tzinfo=EARLY),
                ],
            ),
        ],
    )
    @pytest.mark.parametrize("rows", [1, 2])
    def test_one_value_may_be_written_in_many_ways(
        self, codec: Codec, name: str, values: list[Any], rows: int
    ) -> None:
        encoded = [codec.encode_partial({name: [v] * rows}, rows).tokens.tolist() for v in values]
        assert encoded == [encoded[0]] * len(values)

    def test_numpy_arrays_are_sequences_of_values(self, codec: Codec) -> None:
        numbers = np.array([1, 8, 3], np.int8)
        assert np.array_equal(
            codec.encode_partial({"items": numbers}, 3).tokens,
            codec.encode_partial({"items": numbers.tolist()}, 3).tokens,
        )

    def test_huge_whole_numbers_are_told_apart(self) -> None:
        """As real numbers these would be one."""
        near = [2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1, -(2**63), -(2**63) + 1]
        listed = fitted(a=near)
        tokens = listed.encode_partial({"a": near}, len(near)).tokens[:, 0].tolist()
        assert sorted(tokens) == list(range(len(near)))
        edges = [2**62 + i for i in range(1025)]
        binned = fitted(a=[*edges, *edges])
        tokens = binned.encode_partial({"a": edges[:1024]}, 1024).tokens.tolist()
        assert len(set(map(tuple, tokens))) == 1024


BAD = [
    ("items", 0, "whole numbers from 1 to 8; not NULL"),
    ("items", 9, "whole numbers from 1 to 8; not NULL"),
    ("items", 2.5, "whole numbers from 1 to 8; not NULL"),
    ("items", 10**400, "whole numbers from 1 to 8; not NULL"),
    ("items", True, "whole numbers from 1 to 8; not NULL"),
    ("items", np.True_, "whole numbers from 1 to 8; not NULL"),
    ("items", "3", "whole numbers from 1 to 8; not NULL"),
    ("items", None, "whole numbers from 1 to 8; not NULL"),
    ("items", float("nan"), "whole numbers from 1 to 8; not NULL"),
    ("items", float("inf"), "whole numbers from 1 to 8; not NULL"),
    ("items", Decimal(3), "whole numbers from 1 to 8; not NULL"),
    ("items", 3 + 0j, "whole numbers from 1 to 8; not NULL"),
    ("items", [3], "whole numbers from 1 to 8; not NULL"),
    ("items", np.array([3]), "whole numbers from 1 to 8; not NULL"),
    ("items", np.datetime64(3, "us"), "whole numbers from 1 to 8; not NULL"),
    ("items", np.datetime64(3, "ns"), "whole numbers from 1 to 8; not NULL"),
    ("items", np.timedelta64(3, "us"), "whole numbers from 1 to 8; not NULL"),
    ("items", datetime(1970, 1, 1), "whole numbers from 1 to 8; not NULL"),
    ("size", 7.6, "numbers from 0 to 7.5; not NULL"),
    ("size", np.float32("nan"), "numbers from 0 to 7.5; not NULL"),
    ("size", "a lot", "numbers from 0 to 7.5; not NULL"),
    ("score", -0.01, "numbers from 0.00"),
    ("score", float("-inf"), "numbers from 0.00"),
    ("score", False, "numbers from 0.00"),
    ("score", None, "; not NULL"),
    ("channel", 3, "one of app, web, shop or NULL"),
    ("channel", "fax", "one of app, web, shop or NULL"),
    ("channel", "", "one of app, web, shop or NULL"),
    ("channel", True, "one of app, web, shop or NULL"),
    ("channel", b"web", "one of app, web, shop or NULL"),
    ("channel", ["web"], "one of app, web, shop or NULL"),
    ("member", 1, "true or false; not NULL"),
    ("member", "true", "true or false; not NULL"),
    ("member", None, "true or false; not NULL"),
    ("at", 0, "date-times from 2026-01-01T0"),
    ("at", "2026-01-02", "date-times from 2026-01-01T0"),
    ("at", datetime(2027, 1, 1, tzinfo=UTC), "date-times from 2026-01-01T0"),
    ("at", datetime(1, 1, 1, tzinfo=EARLY), "date-times from 2026-01-01T0"),
    ("at", np.datetime64("2025-12-31"), "date-times from 2026-01-01T0"),
    ("at", np.datetime64("NaT"), "date-times from 2026-01-01T0"),
    ("at", 1_767_312_000_000_000.5, "date-times from 2026-01-01T0"),
    ("at", True, "date-times from 2026-01-01T0"),
    ("at", None, "; not NULL"),
]


def is_wrong(name: str, value: Any) -> bool:
    """Whether a value of `BAD` is nothing that its column can hold, strictly or not."""
    if value is None or (name == "channel" and isinstance(value, str)):
        return False
    if name in ("size", "score"):
        return isinstance(value, bool | str)
    if name == "items":
        return not (type(value) is int and value in (0, 9))
    if name == "at":
        if isinstance(value, datetime):
            return False
        return bool(np.isnat(value)) if isinstance(value, np.datetime64) else value != 0
    return True


class TestRefused:
    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_strictly_a_value_the_column_cannot_have(
        self, codec: Codec, name: str, value: Any, allowed: str
    ) -> None:
        with pytest.raises(ValueNotAllowed) as caught:
            codec.encode_partial({name: [value]}, 1, strict=True)
        assert caught.value.column == name
        assert allowed in caught.value.allowed
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        start = f"column {name!r}: {shown} is not allowed; allowed: "
        assert str(caught.value) == start + caught.value.allowed

    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_strictly_all_of_several_rows_are_named(
        self, codec: Codec, name: str, value: Any, allowed: str
    ) -> None:
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial({name: [value, ABSENT, value]}, 3, strict=True)
        assert caught.value.column == name
        assert [(cell.column, cell.row) for cell in caught.value.cells] == [(name, 0), (name, 2)]
        assert str(caught.value).startswith(f"2 values are not allowed: {name!r} row 0 ")
        assert f", {name!r} row 2 " in str(caught.value)
        assert str(caught.value).endswith(f"; allowed: {name!r}: {caught.value.allowed}")
        assert allowed in caught.value.allowed

    @pytest.mark.parametrize(("name", "value", "allowed"), [b for b in BAD if is_wrong(*b[:2])])
    @pytest.mark.parametrize("rows", [1, 2])
    def test_a_value_of_another_type(
        self, codec: Codec, name: str, value: Any, allowed: str, rows: int
    ) -> None:
        with pytest.raises(ValueNotAllowed) as caught:
            codec.encode_partial({name: [value] * rows}, rows)
        assert allowed in caught.value.allowed

    def test_bad_cells_of_several_columns_are_told_together(self, codec: Codec) -> None:
        given = {"items": [3, 9, 3.5], "channel": ["fax", "web", None], "member": [True] * 3}
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial(given, 3, strict=True)
        assert str(caught.value) == (
            "3 values are not allowed: 'items' row 1 9, 'items' row 2 3.5, 'channel' row 0 'fax'; "
            "allowed: 'items': whole numbers from 1 to 8; not NULL; "
            "'channel': one of app, web, shop or NULL"
        )
        # Not strictly, only what is no whole number.
        with pytest.raises(ValueNotAllowed, match=r"^column 'items', row 2: 3\.5 is not"):
            codec.encode_partial(given, 3)

    def test_of_many_bad_cells_the_first_are_named_and_all_counted(self, codec: Codec) -> None:
        values = list(range(9, 5009))
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial({"items": values}, len(values), strict=True)
        assert caught.value.number == 5000
        assert [cell.value for cell in caught.value.cells] == values[:12]
        assert " and 4,988 more; allowed: " in str(caught.value)

    def test_the_bounds_in_a_message_are_exact(self) -> None:
        """A rounded bound would call the value allowed that it refuses."""
        real = fitted(a=[0.25, 1_234_567.891])
        with pytest.raises(ValueNotAllowed, match=r"numbers from 0\.25 to 1,234,567\.891; "):
            real.encode_partial({"a": [1_234_568.0]}, 1, strict=True)
        at = fitted(at=[datetime(2024, 1, 1, 0, 0, 0, 500_000), datetime(2024, 1, 2)])
        with pytest.raises(
            ValueNotAllowed, match=r"from 2024-01-01T00:00:00\.500000 to 2024-01-02; "
        ):
            at.encode_partial({"at": [datetime(2024, 1, 1)]}, 1, strict=True)

    def test_many_categories_are_not_all_listed(self) -> None:
        codec = fitted(a=[f"c{i:03d}" for i in range(100)] * 2)
        with pytest.raises(ValueNotAllowed, match=r"one of c000, .*, c011 and 88 more; not NULL"):
            codec.encode_partial({"a": ["x"]}, 1, strict=True)

    def test_null_may_be_allowed_before_there_is_one(self) -> None:
        codec = fitted({"a": ColumnOverride(nullable=True)}, a=[1, 2], b=[1, 2])
        assert codec.encode_partial({"a": [None]}, 1).observed.tolist() == [[True, False]]
        with pytest.raises(ValueNotAllowed, match="whole numbers from 1 to 2 or NULL"):
            codec.encode_partial({"a": [3]}, 1, strict=True)

    def test_an_unknown_column(self, codec: Codec) -> None:
        with pytest.raises(UnknownColumn) as caught:
            codec.encode_partial({"amuont": [1.0]}, 1)
        assert caught.value.column == "amuont"
        assert caught.value.allowed == codec.schema.names
        assert "unknown column 'amuont'; the columns are: amount, channel," in str(caught.value)
        assert str(caught.value).endswith("Did you mean 'amount'?")

    def test_a_column_that_was_left_out(self, codec: Codec) -> None:
        with pytest.raises(UnknownColumn) as caught:
            codec.encode_partial({"gone": [5]}, 1)
        assert "'gone' (left out: constant: every value is 5)" in str(caught.value)

    @pytest.mark.parametrize(("values", "rows"), [([], 1), ([1, 2], 1), ([1], 2), ([1, 2, 3], 2)])
    def test_a_column_of_another_length(self, codec: Codec, values: list[int], rows: int) -> None:
        with pytest.raises(DataError) as caught:
            codec.encode_partial({"items": values}, rows)
        assert f"column 'items' has {len(values)} value" in str(caught.value)
        assert f"expected {rows}, one a row" in str(caught.value)


INF, NAN = float("inf"), float("nan")
NOT_KNOWN = None


class TestNeverLearnt:
    """A value that was never learnt is encoded as the nearest that was, or as not known."""

    def folding(self) -> Codec:
        values = ["a"] * 9 + ["b"] * 8 + ["c"] * 2 + ["d"]
        return fitted({"shop": ColumnOverride(max_categories=3, min_count=5)}, shop=values)

    @pytest.mark.parametrize(
        ("name", "value", "kind", "nearest"),
        [
            ("items", 0, OutsideKind.BELOW, 1),
            ("items", -(2**63), OutsideKind.BELOW, 1),
            ("items", 9.0, OutsideKind.ABOVE, 8),
            ("items", 2**63 - 1, OutsideKind.ABOVE, 8),
            ("items", None, OutsideKind.NULL, NOT_KNOWN),
            ("size", 7.6, OutsideKind.ABOVE, 7.5),
            ("size", -INF, OutsideKind.BELOW, 0.0),
            ("size", NAN, OutsideKind.NOT_A_NUMBER, NOT_KNOWN),
            ("size", 3.0, OutsideKind.BETWEEN, 2.5),
            ("score", -0.01, OutsideKind.BELOW, "lowest"),
            ("score", 1e300, OutsideKind.ABOVE, "highest"),
            ("score", INF, OutsideKind.ABOVE, "highest"),
            ("score", NAN, OutsideKind.NOT_A_NUMBER, NOT_KNOWN),
            ("channel", "fax", OutsideKind.CATEGORY, NOT_KNOWN),
            ("channel", "", OutsideKind.CATEGORY, NOT_KNOWN),
            ("member", None, OutsideKind.NULL, NOT_KNOWN),
            ("at", 0, OutsideKind.BELOW, "lowest"),
            ("at", datetime(2030, 1, 1), OutsideKind.ABOVE, "highest"),
            ("at", datetime(1, 1, 1, tzinfo=EARLY), OutsideKind.BELOW, "lowest"),
            ("at", None, OutsideKind.NULL, NOT_KNOWN),
        ],
    )
    @pytest.mark.parametrize("rows", [1, 2, 100])
    def test_each_kind(
        self, codec: Codec, name: str, value: Any, kind: OutsideKind, nearest: Any, rows: int
    ) -> None:
        column = codec.schema[name]
        nearest = {"lowest": column.minimum, "highest": column.maximum}.get(nearest, nearest)
        # Beside values that are nothing special, in this column and in another.
        given = {name: [value] * rows, "amount": [0.0] * rows}
        encoded = codec.encode_partial(given, rows)
        expected = codec.encode_partial(
            {name: [ABSENT if nearest is NOT_KNOWN else nearest] * rows, "amount": [0.0] * rows},
            rows,
        )
        assert expected.outside is None
        assert np.array_equal(encoded.tokens, expected.tokens)
        assert np.array_equal(encoded.observed, expected.observed)
        assert encoded.outside is not None
        assert encoded.outside.totals == {(name, kind): rows}
        assert [found[:3] for found in encoded.outside.first] == [
            (name, row, kind) for row in range(rows)
        ]
        assert len(encoded.notices) == 1
        assert encoded.notices[0].startswith(f"column {name!r}: ")
        "".join(encoded.notices).encode()  # as a message carries it

    def test_one_row_of_many_changes_no_other(self, codec: Codec) -> None:
        rng = np.random.default_rng(0)
        table = codec.decode(
            np.stack([rng.integers(0, size, 50) for size in codec.layout.sizes], axis=1).astype(
                np.int32
            ),
            rng,
        )
        given = {name: column.to_list() for name, column in table.columns.items()}
        before = codec.encode_partial(given, 50)
        given["items"][3], given["score"][3], given["channel"][3] = 99, -1e9, "fax"
        given["at"][4], given["member"][4] = None, None
        after = codec.encode_partial(given, 50)
        same = [row for row in range(50) if row not in (3, 4)]
        assert np.array_equal(before.tokens[same], after.tokens[same])
        assert after.observed[same].all()
        assert before.outside is None
        assert after.outside is not None
        assert sorted((found.row, found.column) for found in after.outside.first) == [
            (3, "channel"),
            (3, "items"),
            (3, "score"),
            (4, "at"),
            (4, "member"),
        ]

    @pytest.mark.parametrize("value", ["c", "d", "never seen", "\ud800"])
    def test_an_unseen_category_takes_the_label_and_says_so(self, value: str) -> None:
        codec = self.folding()
        encoded = codec.encode_partial({"shop": [value]}, 1, strict=True)
        assert encoded.tokens.tolist() == [[2]]
        assert encoded.outside is not None
        assert encoded.outside.first == [OutsideValue("shop", 0, OutsideKind.CATEGORY, "(other)")]
        assert encoded.notices == (
            f"column 'shop': {value!r} was in fewer than 5 rows that were learnt; conditioned on "
            "'(other)'",
        )
        "".join(encoded.notices).encode()  # as a message carries it

    def test_the_label_itself_is_no_surprise(self) -> None:
        encoded = self.folding().encode_partial({"shop": ["(other)", "a"]}, 2)
        assert encoded.tokens.tolist() == [[2], [0]]
        assert encoded.outside is None
        assert encoded.notices == ()

    def test_a_column_and_kind_is_told_of_once(self) -> None:
        encoded = self.folding().encode_partial({"shop": ["x", "y", "x", "a", "x"]}, 5)
        assert encoded.notices == (
            "column 'shop': 4 values were in fewer than 5 rows that were learnt; conditioned on "
            "'(other)'",
        )

    @pytest.mark.parametrize("strict", [False, True])
    @pytest.mark.parametrize(
        ("values", "given", "nearest", "said"),
        [
            ([10, 20, 40], 14, 0, "14 was not seen in training; conditioned on the nearest"),
            ([10, 20, 40], 16, 1, "value, 20"),
            ([10, 20, 40], 30, 1, "value, 20"),
            ([10, 20, 40], 31, 2, "value, 40"),
            ([0.5, 1.5], 1.25, 1, "1.25 was not seen in training"),
            (
                [datetime(2024, 1, 1), datetime(2024, 1, 3)],
                datetime(2024, 1, 1, 6),
                0,
                "2024-01-01",
            ),
        ],
    )
    def test_a_number_that_was_not_seen_takes_the_nearest_and_says_so(
        self, values: list[Any], given: Any, nearest: int, said: str, strict: bool
    ) -> None:
        encoded = fitted(a=values).encode_partial({"a": [given]}, 1, strict)
        assert encoded.tokens.tolist() == [[nearest]]
        assert len(encoded.notices) == 1
        assert "column 'a': " in encoded.notices[0]
        assert said in encoded.notices[0]

    @pytest.mark.parametrize(
        ("name", "values", "said"),
        [
            ("items", [-1500], "-1,500 is below all that was learnt; conditioned on the nearest "
             "value, 1"),
            ("items", [9, 10, 8], "2 values are above all that was learnt; conditioned on the "
             "nearest value, 8"),
            ("items", [None], "1 value is NULL, which it never was in training; counted as not "
             "known"),
            ("member", [None, None], "2 values are NULL, which it never was in training; counted "
             "as not known"),
            ("channel", ["fax"], "'fax' is not one of its 3 categories; counted as not known; they "
                "are app, web, shop"),
            ("size", [NAN, 0.0], "nan is not a number; counted as not known"),
            ("size", [1.0, 3.0], "2 values were not seen in training; conditioned on the nearest "
             "value that was"),
        ],
    )  # fmt: skip
    def test_what_is_said(self, codec: Codec, name: str, values: list[Any], said: str) -> None:
        encoded = codec.encode_partial({name: values}, len(values))
        assert encoded.notices == (f"column {name!r}: {said}",)

    def test_of_many_values_the_first_are_named_and_all_counted(self, codec: Codec) -> None:
        rows = 5000
        given = {"items": [9] * rows, "channel": [f"c{row}" for row in range(rows)]}
        encoded = codec.encode_partial(given, rows)
        assert encoded.outside is not None
        assert [found.row for found in encoded.outside.first] == list(range(100))
        assert encoded.outside.totals == {
            ("items", OutsideKind.ABOVE): rows,
            ("channel", OutsideKind.CATEGORY): rows,
        }
        assert len(encoded.notices) == 2

    def test_bounds_of_ones_own_end_where_the_learnt_ones_do(self) -> None:
        """What lies between the lowest that was learnt and a lower bound is nothing special."""
        codec = fitted({"a": ColumnOverride(minimum=0)}, a=[*range(100, 1100)] * 2)
        [low, at_bound, below] = codec.encode_partial({"a": [100, 0, -1]}, 3).tokens.tolist()
        assert low == at_bound == below
        assert codec.encode_partial({"a": [0]}, 1).outside is None
        outside = codec.encode_partial({"a": [-1]}, 1).outside
        assert outside is not None
        assert outside.first == [OutsideValue("a", 0, OutsideKind.BELOW, "0")]

    def test_what_a_value_is_conditioned_on_is_told_as_a_program_reads_it(self) -> None:
        codec = fitted(
            a=[0.25, 1_234_567.5], b=[-9_000, 4], at=[datetime(2024, 1, 1), datetime(2024, 1, 2, 3)]
        )
        given = {"a": [2e9], "b": [-10_000], "at": [datetime(2025, 1, 1)]}
        outside = codec.encode_partial(given, 1).outside
        assert outside is not None
        assert [found.conditioned_on for found in outside.first] == [
            "1234567.5",
            "-9000",
            "2024-01-02T03:00:00",
        ]
