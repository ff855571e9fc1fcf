"""One row's relations in Python's own numbers: the same as of many rows, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_tables import Codec, Frame, find_relations, infer_schema
from numpy.typing import NDArray

from tests import ledgers

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
}


def row_of(frame: Frame, codec: Codec, row: int) -> dict[str, Any]:
    values = {name: data.to_list()[row] for name, data in frame.columns.items()}
    return {name: values[name] for name in codec.schema.names}


def drawn_row(codec: Codec, rng: np.random.Generator) -> NDArray[np.int32]:
    """Any tokens, marks among them more often than others."""
    sizes = np.array(codec.layout.sizes)
    tokens = (rng.random(len(sizes)) * sizes).astype(np.int32)
    for mark in codec.layout.marks:
        if rng.random() < 0.3:
            tokens[mark.slot] = mark.token
    return tokens


def plain(kind: str, value: Any) -> Any:
    """A value as `decode_row` has it: date-times in microseconds."""
    is_date = kind == "M" and value is not None
    return int(np.datetime64(value, "us").astype(np.int64)) if is_date else value


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_as_many_rows(table: str, share: float) -> None:
    make, real = TABLES[table][0], TABLES[table][1]
    codec = make()
    rng = np.random.default_rng([len(table), int(10 * share)])
    rows = real(ROWS, 21)
    changed = 0
    for number in range(ROWS):
        own = row_of(rows, codec, number)
        given = {name: [value] for name, value in own.items() if rng.random() < share}
        encoded = codec.encode_partial(given, 1)
        tokens = np.where(encoded.observed, encoded.tokens, drawn_row(codec, rng))
        numbers = rng.random((len(codec.columns), 1))

        def inside(places: Sequence[int], numbers: NDArray[Any] = numbers) -> NDArray[Any]:
            return numbers[list(places)]

        names = [name for name in codec.schema.names if name not in given]
        if not names:
            continue
        many = codec.decode_columns(tokens, inside, names, given)
        one = codec.decode_row(tokens[0].tolist(), inside, names, given)
        expected = {
            name: plain(data.values.dtype.kind, data.to_list()[0]) for name, data in many.items()
        }
        assert one == expected, (number, given)
        alone = codec.decode_row(tokens[0].tolist(), inside, names)
        changed += alone != one
    assert changed > 0 or share == 0.0
