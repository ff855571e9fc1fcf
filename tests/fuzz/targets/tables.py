"""Tables as people have them: CSV, Parquet and Arrow files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.targets.documents import of_file

CSV = (
    b"amount,channel,at,member\n12.50,web,2026-01-02,true\n,app,2026-01-03 04:05:06,false\n"
    b'1e3,"a, ""b""",,yes\n',
    b"\xef\xbb\xbfa;b;c\r\n1,5;x;01.02.2026\r\n1.234,5;;31.12.2025\r\n",
    "name\twert\nk\u00f6ln\t 7 \n\tNULL\n".encode("utf-16"),
    b"a|a||b\n1|2|3|4\n5|6|7\n\n8|9|10|11|12\n",
)
WORDS = (
    b",", b";", b"\t", b"|", b'"', b'""', b"\r\n", b"\n", b"NULL", b"NaN", b"inf", b"-0", b"1e400",
    b"2026-02-30", b"31/12/2026", b"12:60", b"+01:00", b"true", b"1.234,5", b"\0", b"\xff\xfe",
    b"9223372036854775808", b"0x10", b"007", b"(", b"%", b"PAR1", b"ARROW1",
)  # fmt: skip


def _refused() -> tuple[type[Exception], ...]:
    from cascade_tables import DataError, SchemaError

    return DataError, SchemaError


def _read(path: Path) -> None:
    """As `cascade fit` reads what it is given, as far as a schema."""
    from cascade_tables import infer_schema
    from cascade_tables.files.reading import read_files

    table = read_files([path])
    infer_schema(table.frame)


def _by_schema() -> Any:
    """As files of a table are read that is known already."""
    import tempfile

    from cascade_tables import infer_schema
    from cascade_tables.files.reading import read_by_schema, read_files

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first.csv"
        path.write_bytes(CSV[0])
        table = read_files([path])
    schema = infer_schema(table.frame)
    return lambda path: read_by_schema([path], schema, table.findings.forms)


def parquet(compression: str = "NONE", **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(_table(pa), sink, compression=compression, **options)
    return sink.getvalue()


def arrow(stream: bool) -> bytes:
    import pyarrow as pa

    sink, table = io.BytesIO(), _table(pa)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(pa: Any) -> Any:
    from datetime import datetime

    return pa.table(
        {
            "amount": [1.5, None, 3.0],
            "channel": pa.array(["web", "app", None]).dictionary_encode(),
            "at": pa.array([datetime(2026, 1, 2), None, None], pa.timestamp("us")),
            "member": [True, False, None],
            "small": pa.array([1, 2, 3], pa.int8()),
        }
    )


TARGETS = (
    Target("csv", "a CSV file", lambda: of_file("table.csv", _read, *_refused())(),
           lambda: CSV, WORDS, ("cascade_tables.files", "cascade_tables.infer")),
    Target("csv-gz", "a compressed CSV file",
           lambda: of_file("table.csv.gz", _read, *_refused())(),
           lambda: [gzip.compress(each, mtime=0) for each in CSV], WORDS,
           ("cascade_tables.files",)),
    Target("csv-by-schema", "a CSV file of a table that is known",
           lambda: of_file("other.csv", _by_schema(), *_refused())(),
           lambda: CSV, WORDS, ("cascade_tables.files",)),
    Target("parquet", "a Parquet file", lambda: of_file("table.parquet", _read, *_refused())(),
           lambda: [parquet(), parquet("SNAPPY", use_dictionary=False)], WORDS,
           ("cascade_tables.files",), 8192),
    Target("arrow", "an Arrow file or stream",
           lambda: of_file("table.arrow", _read, *_refused())(),
           lambda: [arrow(False), arrow(True)], WORDS, ("cascade_tables.files",), 8192),
)  # fmt: skip
