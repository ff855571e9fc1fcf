"""A small made-up ledger with exact relations of every sort, for tests of what keeps them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from cascade_tables import Codec, Frame, Schema, find_relations, infer_schema

ROWS = 4_000


def claims(rows: int = ROWS, seed: int = 5) -> Frame:
    """Parts that add up to a total, always; a total that is paid in full in some of the rows; a
    closing day that is the opening day and some days; and a reserve that may be NULL."""
    rng = np.random.default_rng(seed)
    injury, vehicle = rng.integers(1, 90_000, rows), rng.integers(1, 300_000, rows)
    total = injury + vehicle
    paid = np.where(rng.random(rows) < 0.4, total, rng.integers(1, 400_000, rows))
    reserve = np.where(rng.random(rows) < 0.3, paid - injury, rng.integers(1, 50_000, rows)) / 100
    opened = np.datetime64("2024-01-01") + rng.integers(0, 900, rows)
    days = rng.integers(1, 400, rows)
    kind = rng.choice(["glass", "hail", "theft"], rows)
    return Frame.from_pandas(
        pd.DataFrame(
            {
                "kind": kind,
                "injury": injury / 100,
                "vehicle": vehicle / 100,
                "total": total / 100,
                "paid": paid / 100,
                "reserve": np.where(rng.random(rows) < 0.1, np.nan, reserve),
                "opened": opened.astype("datetime64[us]"),
                "days": days,
                "closed": (opened + days).astype("datetime64[us]"),
            }
        )
    )


@cache
def schema() -> Schema:
    """The ledger's, with what was found in it."""
    frame = claims()
    plain = infer_schema(frame)
    return replace(plain, relations=find_relations(frame, plain))


@cache
def codec() -> Codec:
    """The ledger's."""
    return Codec.fit(schema(), claims())


def settlements(rows: int = ROWS, seed: int = 6) -> Frame:
    """What is paid is the total without a deductible of few values, in half of the rows; the
    deductible is the last column."""
    rng = np.random.default_rng(seed)
    deductible = rng.choice([10_000, 25_050, 50_000, 100_000], rows)
    total = rng.integers(100_000, 900_000, rows)
    paid = np.where(rng.random(rows) < 0.5, total - deductible, rng.integers(1, 900_000, rows))
    kind = rng.choice(["glass", "hail", "theft"], rows)
    return Frame.from_pandas(
        pd.DataFrame(
            {
                "kind": kind,
                "total": total / 100,
                "paid": paid / 100,
                "deductible": deductible / 100,
            }
        )
    )


@cache
def settlements_codec() -> Codec:
    """Its codec, with what was found in it."""
    frame = settlements()
    plain = infer_schema(frame)
    return Codec.fit(replace(plain, relations=find_relations(frame, plain)), frame)
