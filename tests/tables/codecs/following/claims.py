"""The ledger of claims: its relations, what callers send of its rows, and any tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from cascade_tables import ABSENT, Formula, Frame, Relation

from tests import ledgers

TOTAL = "total = injury + vehicle"


CLOSED = "closed = opened + days in days"


PAID = "total = paid"


def number_of(text: str) -> int:
    """A relation's number in the schema."""
    keys = [relation.formula.key for relation in ledgers.schema().relations]
    return keys.index(Formula.parse(text).key)


def relation(text: str) -> Relation:
    return ledgers.schema().relations[number_of(text)]


def column(name: str) -> int:
    return ledgers.schema().names.index(name)


def rows_of(frame: Frame, known: np.ndarray[Any, Any] | None = None) -> dict[str, list[Any]]:
    """What a caller sends: Python values, `ABSENT` for what is not known, bool [n, C]."""
    out = {}
    for place, (name, data) in enumerate(frame.columns.items()):
        whole = data.values.dtype.kind == "M"
        values = (data.values.astype(np.int64) if whole else data.values).tolist()
        cells = [None if null else v for v, null in zip(values, data.null.tolist(), strict=True)]
        if known is not None:
            cells = [
                v if k else ABSENT for v, k in zip(cells, known[:, place].tolist(), strict=True)
            ]
        out[name] = cells
    return out


def drawn_tokens(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Any tokens, as a network that has learnt nothing draws them."""
    sizes = np.array(ledgers.codec().layout.sizes)
    return np.random.default_rng(seed).integers(0, sizes, (rows, len(sizes)), np.int32)


def with_given(tokens: np.ndarray[Any, Any], values: dict[str, list[Any]]) -> np.ndarray[Any, Any]:
    encoded = ledgers.codec().encode_partial(values, len(tokens))
    return np.where(encoded.observed, encoded.tokens, tokens)
