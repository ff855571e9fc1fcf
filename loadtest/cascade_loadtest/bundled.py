"""The bundled tables, whose rows are used in calls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cascade_tables import read_table

from cascade_loadtest.errors import LoadFailed

# Root of a checkout, beside this package.
ROOT = Path(__file__).resolve().parents[2]
# By table, the column that a service would predict, and so never knows.
TARGETS: Mapping[str, str] = {"adult": "income", "credit": "default_payment_next_month"}
# Enough that calls rarely repeat a row.
MOST_ROWS = 20_000


@cache
def bundled_rows(table: str) -> list[dict[str, Any]]:
    """Return training rows of a bundled table's release.

    Raises:
        LoadFailed: there is no such table.
    """
    if table not in TARGETS:
        raise LoadFailed(f"table is {table!r}; bundled are {' and '.join(sorted(TARGETS))}")
    return read_table(ROOT / "examples" / table / "train.parquet").to_rows()[:MOST_ROWS]
