"""PostgreSQL, SQLite and DuckDB by ADBC: Arrow on both sides, whole columns at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cascade_tables.connectors.failures import failure, lacks, unnamed
from cascade_tables.connectors.locations import Location, full_url, password_of, quoted
from cascade_tables.connectors.writing import (
    RECORDS,
    STAGED,
    Mark,
    TableTaken,
    check_columns,
    sql_type,
)
from cascade_tables.errors import DataError

# Seconds for which a server that does not answer is waited for.
CONNECT_SECONDS = 10
_LIST = {
    "postgresql": "SELECT CASE table_schema WHEN current_schema() THEN '' ELSE table_schema || '.' "
    "END || table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', "
    "'information_schema') ORDER BY table_schema <> current_schema(), 1",
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
    "AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "duckdb": "SELECT CASE table_schema WHEN 'main' THEN '' ELSE table_schema || '.' END || "
    "table_name FROM information_schema.tables ORDER BY 1",
}


class AdbcDatabase:
    """One database.

    Args:
        location: of it, and of the table or query in it.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._dialect = location.scheme.replace("postgresql", "postgres").replace(
            "postgres", "postgresql"
        )
        self._secrets = [password_of(location), *location.secrets.values()]

    # Reading.

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """The rows of the table or query, as one moment has them.

        Raises:
            DataError: they cannot be read; says what to do.
        """
        with self._connected(reading=True) as cursor:
            query = self._query(cursor)
            if self._dialect == "sqlite":
                yield from _sqlite_chunks(cursor, query, self._location)
                return
            if self._dialect == "postgresql":
                cursor.execute("SET TRANSACTION READ ONLY")
                # Else a scan of a large table may begin where another one just is, and the same
                # rows come in another order each time.
                cursor.execute("SET LOCAL synchronize_seqscans = off")
            cursor.execute(query)
            yield from cursor.fetch_record_batch()

    def _query(self, cursor: Any) -> str:
        if self._location.query:
            return self._location.query
        if not self._location.table:
            raise unnamed(self._location, self._tables(cursor))
        return f"SELECT * FROM {_name(self._location.table)}"

    def tables(self) -> list[str]:
        """What there is to read."""
        with self._connected(reading=True) as cursor:
            return self._tables(cursor)

    def _tables(self, cursor: Any) -> list[str]:
        cursor.execute(_LIST[self._dialect])
        return [row[0] for row in cursor.fetchall() if row[0].rpartition(".")[2] != RECORDS]

    # Writing.

    def check(self, append: bool, columns: Sequence[str]) -> None:
        """See whether rows can be written to the table; nothing is changed.

        Args:
            append: whether it may have rows.
            columns: of the rows.

        Raises:
            DataError: they cannot be, the table has rows already, or lacks a column.
        """
        with self._connected() as cursor:
            if self._rows_there(cursor, append) is not None:
                self._check_columns(cursor, columns)

    def write(
        self,
        schema: pa.Schema,
        chunks: Callable[[], Iterator[pa.RecordBatch]],
        mark: Mark | None,
        append: bool,
        still_wanted: Callable[[], None],
    ) -> bool:
        """All rows in one transaction, with the mark; False: they are there already.

        Raises:
            DataError: as `check`; nothing is changed then.
        """
        with self._connected() as cursor:
            if mark is not None and not self._marks(cursor, mark):
                return False
            there = self._rows_there(cursor, append)
            if there is None:
                columns = ", ".join(f"{quoted(f.name)} {sql_type(f.type)}" for f in schema)
                cursor.execute(f"CREATE TABLE {_name(self._location.table)} ({columns})")
                self._ingest(cursor, self._location.table, schema, chunks, "append")
            else:
                self._into_existing(cursor, schema, chunks)
            still_wanted()
            cursor.connection.commit()
            return True

    def remove(self, mark: Mark) -> None:
        """Remove what was written with a mark, if anything was; raises as `write`."""
        with self._connected() as cursor:
            if not self._has_records(cursor):
                return
            table = _name((*self._location.table[:-1], RECORDS))
            cursor.execute(f"SELECT made FROM {table} WHERE job = {_text(mark.job)}")
            found = cursor.fetchall()
            if not found:
                return
            # A table that was there before is its owner's, whatever it has got since.
            if found[0][0]:
                cursor.execute(f"DROP TABLE IF EXISTS {_name(self._location.table)}")
            cursor.execute(f"DELETE FROM {table} WHERE job = {_text(mark.job)}")
            cursor.connection.commit()

    def _has_records(self, cursor: Any) -> bool:
        return self._columns(cursor, (*self._location.table[:-1], RECORDS)) is not None

    def _marks(self, cursor: Any, mark: Mark) -> bool:
        """Write down who writes; False: somebody did already. Of two who try at once, the second
        waits here for the first one's end."""
        table = _name((*self._location.table[:-1], RECORDS))
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (job TEXT PRIMARY KEY, target TEXT NOT NULL, "
            "row_count BIGINT NOT NULL, made BOOLEAN NOT NULL, specification TEXT NOT NULL, "
            "written_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
        )
        cursor.execute(f"SELECT 1 FROM {table} WHERE job = {_text(mark.job)}")
        if cursor.fetchall():
            return False
        made = self._columns(cursor, self._location.table) is None
        cursor.execute(
            f"INSERT INTO {table} (job, target, row_count, made, specification) VALUES "
            f"({_text(mark.job)}, {_text('.'.join(self._location.table))}, {mark.rows}, "
            f"{'TRUE' if made else 'FALSE'}, {_text(mark.specification)}) ON CONFLICT DO NOTHING"
        )
        changed = cursor.rowcount
        return bool(changed != 0)

    def _rows_there(self, cursor: Any, append: bool) -> bool | None:
        """Whether the table has rows; None: there is no table.

        Raises:
            TableTaken: it has, and they are not to be added to.
        """
        if not self._location.table:
            raise unnamed(self._location, ())
        if self._columns(cursor, self._location.table) is None:
            return None
        cursor.execute(f"SELECT 1 FROM {_name(self._location.table)} LIMIT 1")
        taken = bool(cursor.fetchall())
        if taken and not append:
            raise TableTaken.of(self._location)
        return taken

    def _columns(self, cursor: Any, table: Sequence[str]) -> list[str] | None:
        """A table's columns; None: there is no such table."""
        if self._dialect == "sqlite":
            cursor.execute(f"SELECT name FROM pragma_table_info({_text(table[-1])})")
        else:
            schema = _text(table[-2]) if len(table) > 1 else "current_schema()"
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = "
                f"{_text(table[-1])} AND table_schema = {schema} ORDER BY ordinal_position"
            )
        return [row[0] for row in cursor.fetchall()] or None

    def _check_columns(self, cursor: Any, wanted: Sequence[str]) -> None:
        there = self._columns(cursor, self._location.table) or ()
        check_columns(self._location, wanted, there)

    def _into_existing(
        self, cursor: Any, schema: pa.Schema, chunks: Callable[[], Iterator[pa.RecordBatch]]
    ) -> None:
        """By way of a temporary table, so that the database converts to the types that it has."""
        self._check_columns(cursor, schema.names)
        columns = ", ".join(f"{quoted(f.name)} {sql_type(f.type)}" for f in schema)
        cursor.execute(f"CREATE TEMPORARY TABLE {STAGED} ({columns})")
        self._ingest(cursor, (STAGED,), schema, chunks, "append", temporary=True)
        names = ", ".join(quoted(name) for name in schema.names)
        cursor.execute(
            f"INSERT INTO {_name(self._location.table)} ({names}) SELECT {names} FROM {STAGED}"
        )
        cursor.execute(f"DROP TABLE {STAGED}")

    def _ingest(
        self,
        cursor: Any,
        table: Sequence[str],
        schema: pa.Schema,
        chunks: Callable[[], Iterator[pa.RecordBatch]],
        mode: str,
        temporary: bool = False,
    ) -> None:
        reader = pa.RecordBatchReader.from_batches(schema, chunks())
        options: dict[str, Any] = {}
        if temporary:
            options["temporary"] = True
        elif len(table) > 1:
            options["db_schema_name"] = table[-2]
        cursor.adbc_ingest(table[-1], reader, mode=mode, **options)

    # Connections.

    @contextmanager
    def _connected(self, reading: bool = False) -> Iterator[Any]:
        """A cursor in a transaction, which is undone where nobody commits it."""
        connection = None
        try:
            connection = self._connect(reading)
            with connection, connection.cursor() as cursor:
                try:
                    yield cursor
                finally:
                    with suppress(Exception):  # of a lost connection: it would hide why it was lost
                        connection.rollback()
        except (DataError, OSError, GeneratorExit):
            raise
        except Exception as exc:  # a driver's, whose class may not be there to be named
            if not _is_database_error(exc):
                raise
            found = failure(exc, self._location, self._secrets)
            if type(found).__name__ == "Missing":
                with suppress(Exception):  # the message does without the list
                    found = failure(exc, self._location, self._secrets, self.tables())
            # Its message and its arguments may quote the URL.
            raise found from None

    def _connect(self, reading: bool) -> Any:
        try:
            if self._dialect == "postgresql":
                from adbc_driver_postgresql import dbapi as postgresql

                return postgresql.connect(self._uri())
            path = self._location.path
            if reading and not path.exists():
                raise DataError(
                    f"{path} does not exist; {self._dialect}:///FILE is a file of the folder one "
                    f"is in, {self._dialect}:////FOLDER/FILE one from the root"
                )
            if self._dialect == "sqlite":
                from adbc_driver_sqlite import dbapi as sqlite

                return sqlite.connect(str(path))
            import adbc_driver_duckdb
            import adbc_driver_manager
            from adbc_driver_manager import dbapi

            # Beside others who read it, and without what a query might do to it. A file of another
            # database has it download nothing that can read such.
            options = {"autoinstall_known_extensions": "false"}
            if reading:
                options["access_mode"] = "READ_ONLY"
            database = adbc_driver_manager.AdbcDatabase(
                driver=adbc_driver_duckdb.driver_path(),
                entrypoint="duckdb_adbc_init",
                path=str(path),
                **options,
            )
            return dbapi.Connection(database, adbc_driver_manager.AdbcConnection(database))
        except ImportError as exc:
            package = {
                "postgresql": "adbc-driver-postgresql",
                "sqlite": "adbc-driver-sqlite",
                "duckdb": "duckdb adbc-driver-manager",
            }[self._dialect]
            raise lacks(package, "databases", self._location) from exc

    def _uri(self) -> str:
        uri = full_url(self._location, password_of(self._location))
        if "connect_timeout" in uri:
            return uri
        return f"{uri}{'&' if '?' in uri else '?'}connect_timeout={CONNECT_SECONDS}"


def _is_database_error(exc: BaseException) -> bool:
    return type(exc).__module__.partition(".")[0] in ("adbc_driver_manager", "duckdb", "_duckdb")


def _name(table: Sequence[str]) -> str:
    return ".".join(map(quoted, table))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# What SQLite holds, which has types for cells and not for columns.


def _sqlite_chunks(cursor: Any, query: str, location: Location) -> Iterator[pa.RecordBatch]:
    """A query's rows, each column in the one type that all of its cells have.

    The driver decides a column's type by its first rows, and stops at the first cell that is
    something else. So it is asked first what the cells are, and then for them as that; a row before
    all others, which is dropped, has a value of the right type in each column.
    """
    cursor.execute(f"CREATE TEMPORARY VIEW cascade_source AS {query}")
    cursor.execute("SELECT name, type FROM pragma_table_info('cascade_source')")
    declared = [(name, (kind or "").upper()) for name, kind in cursor.fetchall()]
    looks = ", ".join(
        f"max(typeof({quoted(name)}) = '{kind}')"
        for name, _ in declared
        for kind in ("integer", "real", "text", "blob")
    )
    cursor.execute(f"SELECT {looks} FROM cascade_source")
    seen = iter(cursor.fetchall()[0])
    firsts, cells, casts = [], [], []
    for name, kind in declared:
        _, real, text, blob = (bool(next(seen)) for _ in range(4))
        column = quoted(name)
        if blob:
            firsts.append("x''")
            cells.append(f"CAST({column} AS BLOB)")
        elif text:
            firsts.append("''")
            cells.append(f"CAST({column} AS TEXT)")
        elif real:
            firsts.append("0.5")
            cells.append(f"CAST({column} AS REAL)")
        else:
            firsts.append("0")
            cells.append(f"CAST({column} AS INTEGER)")
        casts.append(_sqlite_type(kind, text))
    names = [name for name, _ in declared]
    first = ", ".join(f"{v} AS {quoted(n)}" for v, n in zip(firsts, names, strict=True))
    cursor.execute(f"SELECT {first} UNION ALL SELECT {', '.join(cells)} FROM cascade_source")
    is_first = True
    for batch in cursor.fetch_record_batch():
        if is_first and len(batch):
            batch, is_first = batch.slice(1), False
        columns = [_declared(c, w) for c, w in zip(batch.columns, casts, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, names)


def _sqlite_type(declared: str, text: bool) -> pa.DataType | None:
    """What a column's declaration says that its cells do not."""
    if declared.startswith("BOOL") and not text:
        return pa.bool_()
    if re.match("DATETIME|TIMESTAMP", declared) and text:
        return pa.timestamp("us", "UTC" if "WITH TIME ZONE" in declared else None)
    if declared == "DATE" and text:
        return pa.date32()
    return None


def _declared(column: pa.Array, wanted: pa.DataType | None) -> pa.Array:
    if wanted is None:
        return column
    try:
        if pa.types.is_boolean(wanted):
            held = column.drop_null()
            only = pc.all(pc.is_in(held, pa.array([0, 1], column.type))).as_py()
            return column.cast(wanted) if only is not False else column
        if pa.types.is_timestamp(wanted) and wanted.tz:
            return pc.assume_timezone(column.cast(pa.timestamp(wanted.unit)), wanted.tz)
        return column.cast(wanted)
    except pa.ArrowException:
        return column
