"""Derives the schema of a job's files before any file exists."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from cascade_jobs.parquet import provenance
from cascade_jobs.specification import Specification
from cascade_tables import Frame

from cascade_server.engines.runtime import Runtime


def schema_of(runtime: Runtime, specification: Specification) -> Any:
    """Return the Arrow schema of a job's Parquet files.

    Returns None if the schema depends on which columns the job's incomplete rows have.

    Args:
        runtime: the runtime of the job's release.
        specification: the job's specification.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    codec, balance = runtime.release.codec, specification.balance
    if specification.conditions and codec.arithmetic.wider(range(len(codec.columns))):
        return None
    tokens = np.zeros((0, runtime.slots), np.int32)
    nothing = np.random.default_rng(0)
    given = [*specification.given, *([balance.column] if balance else [])]
    none: dict[str, list[Any]] = {name: [] for name in given}
    rows = Frame(codec.decode_columns(tokens, nothing, specification.columns, none))
    kept = {"cascade": json.dumps(provenance(specification), sort_keys=True)}
    # Parquet lacks some Arrow types, and so the schema is written and read back to match what
    # readers see. No array is created: pyarrow would load pandas for it.
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, rows.arrow_schema().with_metadata(kept)).close()
    return pq.read_schema(pa.BufferReader(sink.getvalue()))
