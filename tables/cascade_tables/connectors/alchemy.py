"""Databases that ADBC is not used for, by SQLAlchemy: rows become columns here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from cascade_tables.connectors.failures import failure, lacks, missing, unnamed
from cascade_tables.connectors.locations import Location, full_url, password_of
from cascade_tables.connectors.writing import RECORDS, Mark, TableTaken, check_columns

# Rows that are fetched, and written, together.
ROWS = 20_000


class AlchemyDatabase:
    """One database that SQLAlchemy knows, with the same words as `AdbcDatabase`.

    Args:
        location: of it, and of the table or query in it.

    Raises:
        DataError: SQLAlchemy, or a driver for such URLs, is not installed.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        password = password_of(location)
        self._secrets = [password, *location.secrets.values()]
        try:
            import sqlalchemy
        except ImportError as exc:
            raise lacks("SQLAlchemy", "databases", location) from exc
        self._sql = sqlalchemy
        try:
            url = sqlalchemy.make_url(full_url(location, ""))
            if password:
                url = url.set(password=password)
            # Parameters of statements, which are a person's rows, are in no message.
            self._engine = sqlalchemy.create_engine(url, hide_parameters=True)
        except ModuleNotFoundError as exc:
            raise lacks(str(exc.name), "", location) from exc
        except sqlalchemy.exc.SQLAlchemyError as exc:
            raise failure(exc, location, self._secrets) from None
        self._schema = location.table[-2] if len(location.table) > 1 else None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except self._sql.exc.SQLAlchemyError as exc:
            tables: Sequence[str] = ()
            # SQLAlchemy quotes the statement and its parameters, a driver the URL.
            raise failure(exc, self._location, self._secrets, tables) from None
        finally:
            self._engine.dispose()

    def tables(self) -> list[str]:
        """What there is to read."""
        with self._failing():
            return self._tables()

    def _tables(self) -> list[str]:
        found = self._sql.inspect(self._engine)
        names = [*found.get_table_names(self._schema), *found.get_view_names(self._schema)]
        return sorted(name for name in names if name != RECORDS)

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """See `AdbcDatabase.chunks`."""
        with self._failing():
            statement = self._statement()
            with self._engine.connect() as connection:
                streaming = connection.execution_options(stream_results=True, yield_per=ROWS)
                result = streaming.execute(statement)
                names = list(result.keys())
                for rows in result.partitions(ROWS):
                    columns = zip(*rows, strict=True)
                    yield pa.RecordBatch.from_arrays([_array(list(c)) for c in columns], names)

    def _statement(self) -> Any:
        if self._location.query:
            return self._sql.text(self._location.query.replace(":", "\\:"))
        if not self._location.table:
            raise unnamed(self._location, self._tables())
        name = self._location.table[-1]
        if not self._is_there():
            raise missing(self._location, self._tables())
        # With the types that its columns have, of which some databases give the cells as text.
        metadata, sql = self._sql.MetaData(), self._sql
        return sql.select(
            sql.Table(name, metadata, schema=self._schema, autoload_with=self._engine)
        )

    def _is_there(self, name: str = "") -> bool:
        found = self._sql.inspect(self._engine)
        name = name or self._location.table[-1]
        is_view = name in found.get_view_names(self._schema)
        return bool(found.has_table(name, self._schema)) or is_view

    def check(self, append: bool, columns: Sequence[str]) -> None:
        """See `AdbcDatabase.check`."""
        with self._failing():
            if self._rows_there(append) is not None:
                found = self._sql.inspect(self._engine)
                there = found.get_columns(self._location.table[-1], self._schema)
                check_columns(self._location, columns, [each["name"] for each in there])

    def _rows_there(self, append: bool) -> bool | None:
        if not self._location.table:
            raise unnamed(self._location, ())
        if not self._is_there():
            return None
        table = self._sql.table(self._location.table[-1], schema=self._schema)
        one = self._sql.select(self._sql.literal(1)).select_from(table).limit(1)
        with self._engine.connect() as connection:
            taken = connection.execute(one).first() is not None
        if taken and not append:
            raise TableTaken.of(self._location)
        return taken

    def write(
        self,
        schema: pa.Schema,
        chunks: Callable[[], Iterator[pa.RecordBatch]],
        mark: Mark | None,
        append: bool,
        still_wanted: Callable[[], None],
    ) -> bool:
        """See `AdbcDatabase.write`. Some databases end a transaction where a table is made, so an
        empty one is made first, and all rows with their mark follow in one transaction."""
        sql = self._sql
        with self._failing():
            records = self._records()
            if mark is not None:
                records.create(self._engine, checkfirst=True)
                if self._made(mark) is not None:
                    return False
            made = self._rows_there(append) is None
            table = self._table(schema, made)
            with self._engine.begin() as connection:
                if mark is not None:
                    values = {
                        "job": mark.job,
                        "target": ".".join(self._location.table),
                        "row_count": mark.rows,
                        "made": made,
                        "specification": mark.specification,
                    }
                    try:
                        connection.execute(records.insert(), values)
                    except sql.exc.IntegrityError:
                        # Somebody else has written them in this very moment.
                        return False
                for chunk in chunks():
                    for first in range(0, len(chunk), ROWS):
                        connection.execute(table.insert(), chunk.slice(first, ROWS).to_pylist())
                still_wanted()
        return True

    def remove(self, mark: Mark) -> None:
        """See `AdbcDatabase.remove`."""
        sql = self._sql
        with self._failing():
            if not self._is_there(RECORDS):
                return
            made = self._made(mark)
            if made is None:
                return
            records = self._records()
            table = sql.Table(self._location.table[-1], sql.MetaData(), schema=self._schema)
            with self._engine.begin() as connection:
                if made:
                    table.drop(connection, checkfirst=True)
                connection.execute(records.delete().where(records.c.job == mark.job))

    def _made(self, mark: Mark) -> bool | None:
        """Whether a job has made the table that it has written to; None: it has written nothing."""
        records = self._records()
        with self._engine.connect() as connection:
            found = connection.execute(
                self._sql.select(records.c.made).where(records.c.job == mark.job)
            ).first()
        return None if found is None else bool(found[0])

    def _records(self) -> Any:
        sql = self._sql
        return sql.Table(
            RECORDS,
            sql.MetaData(),
            sql.Column("job", sql.String(64), primary_key=True),
            sql.Column("target", sql.Text, nullable=False),
            sql.Column("row_count", sql.BigInteger, nullable=False),
            sql.Column("made", sql.Boolean, nullable=False),
            sql.Column("specification", sql.String(64), nullable=False),
            sql.Column("written_at", sql.DateTime, server_default=sql.func.current_timestamp()),
            schema=self._schema,
        )

    def _table(self, schema: pa.Schema, make: bool) -> Any:
        sql = self._sql
        name, metadata = self._location.table[-1], sql.MetaData()
        if not make:
            table = sql.Table(name, metadata, schema=self._schema, autoload_with=self._engine)
            check_columns(self._location, schema.names, table.c.keys())
            return table
        columns = [sql.Column(field.name, _type(sql, field.type)) for field in schema]
        table = sql.Table(name, metadata, *columns, schema=self._schema)
        table.create(self._engine)
        return table


def _type(sql: Any, kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_boolean(kind):
        return sql.Boolean()
    if types.is_integer(kind):
        return sql.BigInteger() if kind.bit_width > 32 else sql.Integer()
    if types.is_floating(kind):
        return sql.Double()
    if types.is_date(kind):
        return sql.Date()
    if types.is_timestamp(kind):
        return sql.DateTime(timezone=kind.tz is not None)
    return sql.Text()


def _array(values: list[Any]) -> pa.Array:
    """Python values as Arrow's; those of more than one type are text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
