"""Result files of a `FakeServer`'s jobs, written with the server's own code."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cascade_jobs.descriptions.describe import describe
from cascade_jobs.facts import ColumnFacts, ReleaseFacts
from cascade_jobs.job import MANIFEST, Job, Part
from cascade_jobs.parquet import ParquetFile, manifest
from cascade_jobs.shards import Plan, Shard
from cascade_jobs.specification import Balance, Specification
from cascade_jobs.states import JobState
from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2
from cascade_tables import Frame

from cascade_client.errors import MissingDependency
from cascade_client.messages.frames import ARROW
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack, unpack
from cascade_client.testing.tables import Asked, Row, read_rows
from cascade_client.values.date_times import to_microseconds
from cascade_client.values.descriptions import TableDescription

# Placeholder for the release time of a table, which is part of its rows' description.
RELEASED = "2020-01-01T00:00:00+00:00"


def specification_of(
    request: pb.SubmitJobRequest, asked: Asked, seed: int, rows: int, described: TableDescription
) -> Specification:
    """Build the specification of a job, as a server stores it.

    Args:
        request: the message.
        asked: the parsed request.
        seed: of the request, or the one that the server chose.
        rows: of the job.
        described: the table.
    """
    given: dict[str, Any] = {}
    if request.HasField("given"):
        (row,) = read_rows(request.given, described)
        given = {name: _cell(value) for name, value in row.items()}
    balance, conditions = None, b""
    if request.HasField("conditions"):
        conditions = request.conditions.SerializeToString(deterministic=True)
    elif request.HasField("balance"):
        name = request.balance.column
        counts = Counter(_cell(row[name]) for row in asked.rows)
        balance = Balance(name, tuple(counts.items()))
    version = asked.version or described.version
    release = hashlib.sha256(f"{described} {version}".encode()).hexdigest()[:16]
    return Specification(
        table=asked.table,
        version=version,
        release=release,
        tier="student" if request.tier == synthesis_pb2.TIER_STUDENT else "teacher",
        rows=rows,
        seed=seed,
        seed_given=request.HasField("seed"),
        columns=asked.columns or tuple(column.name for column in described.columns),
        given=given,
        balance=balance,
        conditions=hashlib.sha256(conditions).hexdigest() if conditions else "",
        draws=request.draws or 1,
        output=request.output,
    )


def files_of(
    specification: Specification, rows: Sequence[Row], described: TableDescription, file_rows: int
) -> Iterator[tuple[Part, bytes]]:
    """Yield a job's files, as a server makes them: row files, descriptions, and the manifest.

    Args:
        specification: of the job.
        rows: its rows.
        described: their table.
        file_rows: rows of each file but the last.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    plan = Plan(len(rows), file_rows)
    job = Job(
        id="fake",
        specification=specification,
        output="",
        is_owned=True,
        state=JobState.RUNNING,
        reason="",
        waiting="",
        created=0.0,
        started=0.0,
        finished=0.0,
        rows_done=len(rows),
        rows_drawn=len(rows),
        shards_done=len(plan),
        shard_rows=file_rows,
        bytes=0,
        facts=_facts(specification, described),
    )
    parts: list[Part] = []
    for shard in plan:
        data = _parquet(specification, rows[shard.first : shard.first + shard.rows], described)
        parts.append(_part(shard.name, data, shard))
        yield parts[-1], data
    beside = []
    for name, data in describe(job, parts).items():
        beside.append(_part(name, data))
        yield beside[-1], data
    data = manifest(job, parts, beside)
    yield _part(MANIFEST, data), data


def _facts(specification: Specification, described: TableDescription) -> ReleaseFacts:
    columns = [
        ColumnFacts(column.name, column.kind, column.nullable)
        for name in specification.columns
        if (column := described.column(name)) is not None
    ]
    return ReleaseFacts(created=RELEASED, epsilon=None, files={}, columns=columns)


def _cell(value: Any) -> Any:
    return to_microseconds(value) if isinstance(value, datetime) else value


def _part(name: str, data: bytes, shard: Shard | None = None) -> Part:
    first, rows = (shard.first, shard.rows) if shard is not None else (0, 0)
    return Part(name, first, rows, len(data), hashlib.sha256(data).hexdigest())


def _parquet(
    specification: Specification, rows: Sequence[Row], described: TableDescription
) -> bytes:
    try:
        import pyarrow  # noqa: F401
    except ImportError as exc:
        raise MissingDependency(
            "a job's results are Parquet, for which pyarrow is not installed; pip install pyarrow"
        ) from exc
    message, names = synthesis_pb2.Rows(), specification.columns
    pack(read([{name: row[name] for name in names} for row in rows]), described.by_name, message)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        file = ParquetFile(path, specification)
        file.add(Frame.from_arrow(unpack([message], described, ARROW)))
        file.finish()
        return path.read_bytes()
