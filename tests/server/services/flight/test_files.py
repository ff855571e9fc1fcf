"""A Parquet file as Flight's messages: the same rows, in pieces that any client takes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_proto import flight_pb2 as pb
from cascade_server.services.flight.files import MESSAGE_BYTES, ResultFile, schema_message

from tests.server.services.flight.flights import table_of


def parquet(table: pa.Table, group: int = 16_384) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=group, compression="zstd")
    return sink.getvalue().to_pybytes()


def read(file: ResultFile) -> tuple[pa.Table, list[pb.FlightData]]:
    sent = [schema_message(file.schema)]
    for group in range(file.groups):
        sent.extend(file.messages(group))
    parsed = [pb.FlightData.FromString(bytes(each)) for each in sent]
    assert [len(each) for each in sent] == [each.ByteSize() for each in parsed]
    return table_of(parsed), parsed


def odd(rows: int, columns: int) -> pa.Table:
    """Every type that columns have, with NULLs, NaN, and text of any kind."""
    rng = np.random.default_rng(5)
    none = rng.random(rows) < 0.3
    texts = np.array(["", "a", "ä€😀", "long " * 20], object)[rng.integers(0, 4, rows)]
    whole = rng.integers(-100, 100, rows)
    kinds = [
        pa.array(texts, mask=none),
        pa.array(rng.normal(size=rows), mask=none),
        pa.array(np.full(rows, np.nan), pa.float32()),
        pa.array(whole.astype(np.int8), pa.int8(), mask=none),
        pa.array(rng.random(rows) < 0.5, mask=none),
        pa.array(whole, pa.int64()).cast(pa.timestamp("us", "UTC")),
        pa.array(whole.astype(np.int32), pa.int32()).cast(pa.date32()),
        pa.nulls(rows, pa.string()),
    ]
    return pa.table({f"column {at}": kinds[at % len(kinds)] for at in range(columns)})


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (63, 8), (40_001, 8), (1500, 1000)])
def test_the_rows_are_those_of_the_file(rows: int, columns: int) -> None:
    made = odd(rows, columns)
    file = ResultFile(parquet(made))
    table, messages = read(file)
    assert table.schema == file.schema
    assert table.to_pandas().equals(made.to_pandas())  # to whom NaN is NaN
    assert max(map(pb.FlightData.ByteSize, messages)) < 4 * 2**20
    assert file.rows == rows


def test_pieces_are_of_a_size() -> None:
    messages = read(ResultFile(parquet(pa.table({"x": np.arange(200_000.0)}), 100_000)))[1]
    sizes = [len(each.data_body) for each in messages[1:]]
    assert len(sizes) == 2 * 3
    assert max(sizes) <= MESSAGE_BYTES * 1.01


def test_bodies_stay_where_they_are() -> None:
    (message,) = ResultFile(parquet(pa.table({"x": np.arange(1000.0)}))).messages(0)
    assert [len(each) for each in message.rest] == [8000]
    assert len(message.head) < 1000


def test_nothing_loads_pandas() -> None:
    """It would hold up real-time calls of the process that reads."""
    program = """
import io, sys
import pyarrow as pa, pyarrow.parquet as pq
sink = pa.BufferOutputStream()
schema = pa.schema([("x", pa.int8()), ("y", pa.string())])
with pq.ParquetWriter(sink, schema) as writer:
    writer.write_table(schema.empty_table())
from cascade_server.services.flight.files import ResultFile, schema_message
sys.modules.pop("pandas", None)
file = ResultFile(sink.getvalue().to_pybytes())
schema_message(file.schema)
for group in range(file.groups):
    file.messages(group)
print("pandas" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert out.stdout.split() == [b"False"]
