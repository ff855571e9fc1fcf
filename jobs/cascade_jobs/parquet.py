"""Parquet files of rows: the same bytes for the same rows, independent of writer and time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from cascade_tables import Frame

from cascade_jobs.job import Job, Part
from cascade_jobs.specification import Specification

# Rows per row group, and most rows held before they are written.
GROUP_ROWS = 16_384
READ_BYTES = 1024 * 1024


class ParquetFile:
    """A file written group by group, which contains neither time nor place of writing.

    Args:
        path: of the file, which is replaced.
        specification: of the rows; a part of it is stored in the file's metadata.
    """

    def __init__(self, path: Path, specification: Specification) -> None:
        self._path, self._specification = path, specification
        self._file: IO[bytes] = path.open("wb")
        self._writer: Any = None
        self._waiting: list[Any] = []
        self.rows = 0

    def add(self, rows: Frame) -> None:
        """Append rows.

        Raises:
            OSError: for example, the disk is full.
        """
        import pyarrow as pa

        self._waiting.append(rows.to_arrow())
        self.rows += len(rows)
        if sum(map(len, self._waiting)) >= GROUP_ROWS:
            together = pa.concat_tables(self._waiting)
            whole = len(together) // GROUP_ROWS * GROUP_ROWS
            self._write(together.slice(0, whole))
            self._waiting = [together.slice(whole)] if whole < len(together) else []

    def _write(self, table: Any) -> None:
        import pyarrow.parquet as pq

        if self._writer is None:
            kept = provenance(self._specification)
            schema = table.schema.with_metadata({"cascade": json.dumps(kept, sort_keys=True)})
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        # Page boundaries must not depend on how the rows arrived.
        table = table.combine_chunks().replace_schema_metadata(self._writer.schema.metadata)
        self._writer.write_table(table, row_group_size=GROUP_ROWS)

    def finish(self) -> tuple[str, int]:
        """Write the rest and flush it to the disk; return its SHA-256 and size in bytes.

        Raises:
            OSError: for example, the disk is full.
        """
        import pyarrow as pa

        if self._waiting:
            self._write(pa.concat_tables(self._waiting))
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return checksum(self._path)

    def drop(self) -> None:
        """Discard the file, also after `finish` if it has not been given its name."""
        # Flushing the buffers may fail on a full disk too.
        for close in (self._writer.close if self._writer is not None else None, self._file.close):
            try:
                if close is not None:
                    close()
            except (OSError, ValueError):
                pass
        self._path.unlink(missing_ok=True)


def checksum(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 and size in bytes."""
    found, size = hashlib.sha256(), 0
    for block in _blocks(path):
        found.update(block)
        size += len(block)
    return found.hexdigest(), size


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            yield block


def provenance(specification: Specification) -> dict[str, Any]:
    """Return the provenance of rows for a file's metadata and the manifest."""
    return {
        "synthetic": True,
        "table": specification.table,
        "version": specification.version,
        "release": specification.release,
        "tier": specification.tier,
        "seed": specification.seed,
    }


def manifest(job: Job, parts: Sequence[Part], beside: Sequence[Part] = ()) -> bytes:
    """Return the manifest, which lists all files and descriptions with checksums, and is written
    last.

    It does not depend on the run, so that an interrupted run leaves the same content.
    """
    content = {
        **provenance(job.specification),
        "format": job.specification.format,
        "specification": json.loads(job.specification.to_json()),
        "rows": job.specification.rows,
        "bytes": sum(part.bytes for part in parts),
        "files": [
            {
                "name": part.name,
                "first_row": part.first_row,
                "rows": part.rows,
                "bytes": part.bytes,
                "sha256": part.sha256,
            }
            for part in parts
        ],
        "descriptions": [
            {"name": part.name, "bytes": part.bytes, "sha256": part.sha256} for part in beside
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
