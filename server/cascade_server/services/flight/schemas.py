"""What a job's files look like before there are any."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from cascade_jobs.parquet import provenance
from cascade_jobs.specification import Specification
from cascade_tables import Frame

from cascade_server.engines.runtime import Runtime


def schema_of(runtime: Runtime, specification: Specification) -> Any:
    """The schema that Parquet files of a job have, of Arrow; None: that depends on which columns
    its rows to complete have.

    Args:
        runtime: of the job's release.
        specification: of the job.
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
    # Parquet has not all of Arrow's types: only what comes back from it is what readers see. No
    # array is made, for which pyarrow would load pandas.
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, rows.arrow_schema().with_metadata(kept)).close()
    return pq.read_schema(pa.BufferReader(sink.getvalue()))
