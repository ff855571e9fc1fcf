"""One table with all that is to survive the way into a database and back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cascade_tables.connectors.sources import fetch_source

ROWS = [
    {
        "name": "Žofie, \"the\" 'first'",
        "big": 9_007_199_254_740_993,
        "real": 0.1,
        "paid": True,
        "day": dt.date(2024, 2, 29),
        "at": dt.datetime(2024, 2, 29, 23, 59, 59, 123456),
        "select": 3,
    },
    dict.fromkeys(["name", "big", "real", "paid", "day", "at", "select"]),
    {
        "name": "",
        "big": -(2**62),
        "real": -1e300,
        "paid": False,
        "day": dt.date(1969, 12, 31),
        "at": dt.datetime(1969, 12, 31),
        "select": -3,
    },
]
SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "big": pa.int64(),
        "real": pa.float64(),
        "paid": pa.bool_(),
        "day": pa.date32(),
        "at": pa.timestamp("us"),
        "select": pa.int32(),
    }
)
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


def read(url: str, folder: Path) -> pa.Table:
    """What a URL names, as `fetch_source` copies it."""
    (path,) = fetch_source(url, folder)
    table = pq.read_table(path)
    path.unlink()
    return table
