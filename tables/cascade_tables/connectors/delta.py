"""Delta Lake, by `deltalake`: a version of a table is its files and one entry in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from cascade_tables.connectors.failures import Unreachable, lacks, said, unreachable
from cascade_tables.connectors.locations import Location
from cascade_tables.connectors.writing import Mark, TableTaken, check_columns
from cascade_tables.errors import DataError

LOG = "_delta_log"
# In the log's entry of what a job has written.
JOB = "cascade.job"


class DeltaLake:
    """One table, with the same words as `AdbcDatabase`.

    Args:
        location: `delta:///folder`, or `delta+` before the URL of a folder.

    Raises:
        DataError: `deltalake` is not installed.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        scheme, _, rest = location.url.partition("://")
        scheme = scheme.removeprefix("delta").removeprefix("+")
        self._path = rest if scheme in ("", "file") else f"{scheme}://{rest}"
        self._secrets = tuple(location.secrets.values())
        self._options = {name: value for name, value in location.secrets.items() if name}
        try:
            import deltalake
        except ImportError as exc:
            raise lacks("deltalake", "delta", location) from exc
        self._delta = deltalake

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (self._delta.exceptions.DeltaError, OSError) as exc:
            text, where = said(exc, *self._secrets), str(self._location)
            found = unreachable(text, where, "delta")
            if found is None and isinstance(exc, ConnectionError | TimeoutError):
                found = Unreachable(f"{where} cannot be reached: {text}")
            raise found or DataError(f"{where}: {text}") from None

    def _open(self) -> Any:
        """The table as it is now; None: there is none."""
        try:
            return self._delta.DeltaTable(self._path, storage_options=self._options or None)
        except self._delta.exceptions.TableNotFoundError:
            return None

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """The rows of the newest version."""
        with self._failing():
            table = self._open()
            if table is None:
                raise DataError(f"{self._location} is no Delta table: it has no {LOG}")
            rows = table.to_pyarrow_dataset()
            # Its files in one order: that of the log is another one each time.
            for file in sorted(rows.get_fragments(), key=lambda file: file.path):
                yield from file.to_batches(rows.schema, batch_readahead=1)

    def check(self, append: bool, columns: Sequence[str]) -> None:
        """See `AdbcDatabase.check`."""
        with self._failing():
            self._check(self._open(), append, columns)

    def _check(self, table: Any, append: bool, columns: Sequence[str]) -> None:
        if table is None:
            return
        if not append and table.to_pyarrow_dataset().count_rows():
            raise TableTaken.of(self._location)
        check_columns(self._location, columns, [each.name for each in table.schema().fields])

    def write(
        self,
        schema: pa.Schema,
        chunks: Callable[[], Iterator[pa.RecordBatch]],
        mark: Mark | None,
        append: bool,
        still_wanted: Callable[[], None],
    ) -> bool:
        """All rows in one version; False: they are there already. The mark is what the protocol has
        for this, a `txn` action in the same entry of the log."""
        with self._failing():
            table = self._open()
            properties: Any = None
            if mark is not None:
                name = f"cascade-job-{mark.job}"
                if table is not None and table.transaction_version(name) is not None:
                    return False
                properties = self._delta.CommitProperties(
                    custom_metadata={JOB: mark.job, "cascade.specification": mark.specification},
                    app_transactions=[self._delta.Transaction(app_id=name, version=1)],
                )
            self._check(table, append, schema.names)
            if "://" not in self._path:
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)

            stopped: list[Exception] = []

            def checked() -> Iterator[pa.RecordBatch]:
                try:
                    yield from chunks()
                    still_wanted()
                except Exception as exc:  # deltalake raises another in its place
                    stopped.append(exc)
                    raise

            try:
                self._delta.write_deltalake(
                    self._path if table is None else table,
                    pa.RecordBatchReader.from_batches(schema, checked()),
                    mode="append" if table is not None else "error",
                    # Columns that it has and the rows do not are NULL, as in a database.
                    schema_mode="merge" if table is not None else None,
                    commit_properties=properties,
                    storage_options=self._options or None,
                )
            except Exception as exc:
                # What is raised here comes back as something else.
                if stopped:
                    raise stopped[0] from exc
                if type(exc) is not Exception:
                    raise
                # Of a value that does not fit a column's type it says no more.
                raise DataError(f"{self._location}: {said(exc, *self._secrets)}") from None
        return True

    def remove(self, mark: Mark) -> None:
        """Take back what was written with a mark: a new version without it. Where others have
        written since, or it is taken back already, nothing is changed."""
        with self._failing():
            table = self._open()
            if table is None or table.history(1)[0].get(JOB) != mark.job:
                return
            before = table.version() - 1
            if before >= 0:
                table.restore(before)
            else:
                table.delete()
