"""What callers give is encoded as it is in the table, however it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from cascade_tables import ABSENT, Codec, Frame

from tests.releases import payments
from tests.tables.codecs.given.encoded import EARLY, fitted


class Three(IntEnum):
    THREE = 3


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
