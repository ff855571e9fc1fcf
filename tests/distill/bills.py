"""A made-up table of bills that follow one another, for tests of neighbouring numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from cascade_tables import Frame

COLUMNS = ("june", "july", "august", "age", "opened", "closed")


def bills(rows: int = 2_000, seed: int = 7) -> Frame:
    """June's bill follows July's closely, and is often nothing where that is; August's may be NULL;
    an age says nothing of them; and two dates are some hours apart."""
    rng = np.random.default_rng(seed)
    july = np.round(rng.lognormal(8, 1, rows), 2)
    june = np.round(july * (1 + rng.normal(0, 0.004, rows)), 2)
    august = np.where(rng.random(rows) < 0.1, np.nan, np.round(july + rng.normal(0, 30, rows), 2))
    nothing = rng.random(rows) < 0.2
    june[nothing & (rng.random(rows) < 0.9)] = 0.0
    july[nothing] = 0.0
    opened = np.datetime64("2025-01-01", "s") + rng.integers(0, 300 * 86_400, rows)
    closed = opened + rng.integers(0, 7_200, rows)
    return Frame.from_pandas(
        pd.DataFrame(
            {
                "june": june,
                "july": july,
                "august": august,
                "age": np.round(rng.normal(45, 12, rows), 3),
                "opened": opened.astype("datetime64[us]"),
                "closed": closed.astype("datetime64[us]"),
            }
        )
    )
