"""Tables whose relations are of numbers that are as large as they can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from cascade_tables import Codec, Frame, find_relations, infer_schema


def learnt(columns: Mapping[str, Any]) -> Codec:
    return fitted(Frame.from_pandas(pd.DataFrame(columns)))


def fitted(frame: Frame) -> Codec:
    schema = infer_schema(frame)
    return Codec.fit(replace(schema, relations=find_relations(frame, schema)), frame)


@cache
def whole_and_real() -> Codec:
    """A sum of whole numbers and of cents, which always holds."""
    whole, cents = np.random.default_rng(1).integers(1, 10**6, (2, 4_000))
    return learnt({"whole": whole, "cents": cents / 100, "sum": (100 * whole + cents) / 100})


@cache
def nearly_infinite() -> Codec:
    """Two numbers that are often equal, of which a few have no cents that a float could hold."""
    rng = np.random.default_rng(1)
    billed, other = rng.integers(1, 10**6, (2, 4_000)) / 100
    paid = np.where(rng.random(4_000) < 0.5, billed, other)
    paid[rng.random(4_000) < 0.004] = 1.5e307
    billed[rng.random(4_000) < 0.004] = 1.7e307
    return learnt({"billed": billed, "paid": paid})


@cache
def twins() -> Codec:
    """Whole numbers that are often equal, and too large for a float to tell them apart. Some occur
    in several rows, as amounts do and identifiers do not."""
    rng = np.random.default_rng(9)
    sent, other = rng.choice(rng.integers(2**59, 2**60, 3_000), (2, 4_000))
    return learnt({"sent": sent, "arrived": np.where(rng.random(4_000) < 0.4, sent, other)})


@cache
def same_weights() -> Codec:
    """Reals without a last decimal, of which two are always equal."""
    weight = np.random.default_rng(6).lognormal(size=4_000)
    return learnt({"weight": weight, "billed": weight})


def bytes_frame(rows: int = 4_000, seed: int = 3) -> Frame:
    """Sums of two and of three that always hold, of which their type has no room for more."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, 4 * rows))
    a, b = (each[a + b <= 255][:rows] for each in (a, b))
    c = rng.integers(0, 256, rows)
    cents = rng.integers(1, 10_000, (2, rows))
    return Frame.from_arrow(
        pa.table(
            {
                "a": pa.array(a, pa.uint8()),
                "b": pa.array(b, pa.uint8()),
                "sum": pa.array(a + b, pa.uint8()),
                "c": pa.array(c, pa.uint8()),
                "all": pa.array(a + b + c, pa.int16()),
                "net": cents[0] / 100,
                "tax": cents[1] / 100,
                "gross": (cents[0] + cents[1]) / 100,
            }
        )
    )


@cache
def bytes_codec() -> Codec:
    """The codec of `bytes_frame`."""
    return fitted(bytes_frame())
