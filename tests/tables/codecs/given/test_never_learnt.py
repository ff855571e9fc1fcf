"""What is made of values that were never learnt, and what is said of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from cascade_tables import ABSENT, Codec, ColumnOverride, OutsideKind, OutsideValue

from tests.tables.codecs.given.encoded import EARLY, fitted

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
