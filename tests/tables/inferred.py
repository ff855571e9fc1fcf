"""The schema of a table of one column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from cascade_tables import Column, ColumnOverride, Frame, RareRule, infer_schema

# Keeps categories of a table of few rows.
EVERY = RareRule(min_count=1)


def frame(**columns: Any) -> Frame:
    return Frame.from_arrow(pa.table(columns))


def inferred(values: Any, override: ColumnOverride | None = None, rule: RareRule = EVERY) -> Column:
    """The column that these values are."""
    overrides = {} if override is None else {"a": override}
    return infer_schema(frame(a=values), overrides, rule=rule)["a"]


def left_out(values: Any) -> str:
    """Why a column of these values is left out; empty if it is kept."""
    table = frame(a=values, kept=[i % 2 for i in range(len(values))])
    return next((dropped.reason for dropped in infer_schema(table, rule=EVERY).dropped), "")


def shuffled(values: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).permutation(values)
