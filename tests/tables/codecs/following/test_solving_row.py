"""One row's relations in Python's own numbers: the same as of many rows, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_tables import ABSENT, Codec, Frame, find_relations, infer_schema
from cascade_tables.frame import ColumnData
from numpy.typing import NDArray

from tests import ledgers
from tests.tables.codecs.following.far_tables import bytes_codec, bytes_frame

ROWS = 400


def bills(rows: int = 4_000, seed: int = 8) -> Frame:
    """Numbers that equal one another in turn, are sums of two others, and may be NULL; some have
    no last decimal."""
    rng = np.random.default_rng(seed)

    def some(share: float, these: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
        return np.where(rng.random(rows) < share, these, others)

    june, fee = rng.integers(1, 500_000, (2, rows))
    july = some(0.3, june, rng.integers(1, 500_000, rows))
    august = some(0.3, july + fee, some(0.4, june, rng.integers(1, 500_000, rows)))
    due = some(0.5, august, some(0.3, july, rng.integers(1, 900_000, rows)))
    weight = rng.lognormal(size=rows)
    billed = some(0.4, weight, rng.lognormal(size=rows))
    return Frame.from_pandas(
        pd.DataFrame(
            {
                "june": june / 100,
                "fee": fee / 100,
                "july": july / 100,
                "august": august / 100,
                "due": np.where(rng.random(rows) < 0.1, np.nan, due / 100),
                "weight": weight,
                "billed": billed,
            }
        )
    )


@cache
def bills_codec() -> Codec:
    frame = bills()
    plain = infer_schema(frame)
    return Codec.fit(replace(plain, relations=find_relations(frame, plain)), frame)


TABLES: dict[str, tuple[Callable[[], Codec], Callable[[int, int], Frame]]] = {
    "claims": (ledgers.codec, ledgers.claims),
    "settlements": (ledgers.settlements_codec, ledgers.settlements),
    "bills": (bills_codec, bills),
    "bytes": (bytes_codec, bytes_frame),
}


def drawn_row(codec: Codec, rng: np.random.Generator) -> NDArray[np.int32]:
    """Any tokens, marks among them more often than others."""
    sizes = np.array(codec.layout.sizes)
    tokens: NDArray[np.int32] = (rng.random(len(sizes)) * sizes).astype(np.int32)
    for mark in codec.layout.marks:
        if rng.random() < 0.3:
            tokens[mark.slot] = mark.token
    return tokens


def plain(data: ColumnData) -> list[Any]:
    """Values as `decode_row` has them: date-times in microseconds."""
    values = data.values.astype(np.int64) if data.values.dtype.kind == "M" else data.values
    return ColumnData(values, data.null, data.dtype).to_list()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_as_many_rows(table: str, share: float) -> None:
    make, real = TABLES[table][0], TABLES[table][1]
    codec = make()
    rng = np.random.default_rng([len(table), int(10 * share)])
    rows = real(ROWS, 21)
    known = rng.random((ROWS, len(codec.columns))) < share
    given: dict[str, list[Any]] = {
        name: [
            value if is_known else ABSENT
            for value, is_known in zip(rows[name].to_list(), known[:, place].tolist(), strict=True)
        ]
        for place, name in enumerate(codec.schema.names)
    }
    encoded = codec.encode_partial(given, ROWS)
    few = codec.encode_partial({name: each[:12] for name, each in given.items()}, 12)
    drawn = np.stack([drawn_row(codec, rng) for _ in range(ROWS)])
    tokens = np.where(encoded.observed, encoded.tokens, drawn)
    numbers = rng.random((len(codec.columns), ROWS))
    names = codec.schema.names
    together = codec.decode_columns(tokens, lambda places: numbers[list(places)], names, given)
    every = {name: plain(data) for name, data in together.items()}
    by_tokens = codec.decode_columns(tokens, lambda places: numbers[list(places)], names)
    assert any(plain(data) != every[name] for name, data in by_tokens.items()) or share == 0.0
    some = codec.decode_columns(
        tokens[:12],
        lambda places: numbers[list(places), :12],
        names,
        {name: each[:12] for name, each in given.items()},
    )
    assert {name: plain(data) for name, data in some.items()} == {
        name: each[:12] for name, each in every.items()
    }
    for number in range(ROWS):
        own = {name: [each[number]] for name, each in given.items() if each[number] is not ABSENT}
        alone = codec.encode_partial(own, 1).tokens[0].tolist()
        assert alone == encoded.tokens[number].tolist()
        if number < 12:
            assert alone == few.tokens[number].tolist()
        missing = [name for name in names if name not in own]

        def inside(
            places: Sequence[int], numbers: NDArray[Any] = numbers[:, [number]]
        ) -> NDArray[Any]:
            return numbers[list(places)]

        one = codec.decode_row(tokens[number].tolist(), inside, missing, own)
        assert one == {name: every[name][number] for name in missing}, (number, own)
