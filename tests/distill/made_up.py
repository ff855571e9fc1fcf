"""Small tables drawn from known distributions, for testing what is measured on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from cascade_tables import Frame, Schema, infer_schema


def payments(rows: int, seed: int, shift: float = 0.0, dependent: bool = True) -> pd.DataFrame:
    """A column of every kind; `shift` moves the amount, by about its spread at 1.0; `dependent`:
    fraud is likelier with large amounts in the web channel."""
    rng = np.random.default_rng(seed)
    channel = rng.choice(["web", "app", "shop"], rows, p=[0.5, 0.3, 0.2])
    amount = rng.gamma(2.0, 40.0, rows) * (1 + (channel == "web")) + 80 * shift
    odds = (amount - 100 * (channel != "web")) / 60 - 2
    if not dependent:
        odds = rng.permutation(odds)
    at = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 2_000_000, rows), "s")
    fraud = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return pd.DataFrame(
        {
            "amount": amount,
            "channel": np.where(rng.random(rows) < 0.1, None, channel),
            "items": rng.integers(1, 9, rows),
            "tip": np.where(rng.random(rows) < 0.3, np.nan, rng.exponential(2.0, rows)),
            "at": at,
            "member": rng.random(rows) < 0.5,
            "fraud": fraud,
        }
    )


def schema_of(*tables: pd.DataFrame) -> Schema:
    return infer_schema(Frame.from_pandas(pd.concat(tables, ignore_index=True)))
