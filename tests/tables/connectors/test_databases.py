"""Databases and Delta Lake: the same words for all, against the real things."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables.connectors import sinks
from cascade_tables.connectors.locations import PASSWORD, PASSWORD_FILE
from cascade_tables.connectors.sources import fetch_source, tables_of
from cascade_tables.connectors.writing import Mark, TableTaken
from cascade_tables.errors import DataError

from tests import postgres as pg
from tests.tables.connectors.made_up import ROWS, TABLE, read

KINDS = ["postgresql", "sqlite", "duckdb", "delta", "sqlite+pysqlite"]
MARK = Mark("5f3a9c1e7b20", 3, "digest")


class Place:
    """Somewhere that tables can be, by the name of each."""

    def __init__(self, kind: str, base: str) -> None:
        self.kind, self.base = kind, base

    def __call__(self, table: str) -> str:
        return f"{self.base}/{table}" if self.kind == "delta" else f"{self.base}#{table}"


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    kind = request.param
    if kind == "postgresql":
        server: pg.Server = request.getfixturevalue("postgres")
        monkeypatch.setenv(PASSWORD, pg.PASSWORD)
        yield Place(kind, server.url)
        server.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return
    needs = {"sqlite": "adbc_driver_sqlite", "duckdb": "duckdb", "delta": "deltalake"}
    pytest.importorskip(needs.get(kind, "sqlalchemy"))
    slashes = "//" if kind == "delta" else "///"
    yield Place(kind, f"{kind}:{slashes}{tmp_path}/{'lake' if kind == 'delta' else 'file'}")


def test_all_types_come_back(place: Place, tmp_path: Path) -> None:
    sinks.write_table(place("rows"), TABLE)
    found = read(place("rows"), tmp_path)
    assert found.to_pylist() == ROWS
    assert found.schema.names == TABLE.schema.names


def test_a_table_that_has_rows_is_left_alone(place: Place, tmp_path: Path) -> None:
    sinks.write_table(place("rows"), TABLE)
    for ask in (
        lambda: sinks.check(place("rows")),
        lambda: sinks.write_table(place("rows"), TABLE),
        lambda: sinks.write_chunks(place("rows"), TABLE.schema, lambda: iter(()), MARK),
    ):
        with pytest.raises(TableTaken, match="is there and has rows"):
            ask()
    assert len(read(place("rows"), tmp_path)) == 3


def test_rows_go_behind_others_where_that_is_asked_for(place: Place, tmp_path: Path) -> None:
    sinks.write_table(place("rows"), TABLE)
    sinks.write_table(place("rows"), TABLE, append=True)
    assert read(place("rows"), tmp_path).to_pylist() == ROWS * 2


def test_an_empty_table_that_lacks_columns_is_found_before_any_row_is_there(place: Place) -> None:
    sinks.write_table(place("rows"), TABLE.select(["name", "big"]).slice(0, 0))
    for ask in (
        lambda: sinks.check(place("rows"), columns=TABLE.schema.names),
        lambda: sinks.check(place("rows"), append=True, columns=TABLE.schema.names),
        lambda: sinks.write_table(place("rows"), TABLE),
        lambda: sinks.write_table(place("rows"), TABLE, append=True),
    ):
        with pytest.raises(DataError, match=r"has no columns 'real', .*; it has 'name', 'big'"):
            ask()
    sinks.check(place("rows"), columns=["big"])
    sinks.check(place("rows"))
    sinks.check(place("other"), columns=TABLE.schema.names)


def test_columns_that_only_the_table_has_are_null(place: Place, tmp_path: Path) -> None:
    sinks.write_table(place("rows"), TABLE.slice(0, 0))
    sinks.check(place("rows"), columns=["big", "name"])
    sinks.write_table(place("rows"), TABLE.select(["big", "name"]))
    assert read(place("rows"), tmp_path).to_pylist() == [
        {**dict.fromkeys(TABLE.schema.names), "name": row["name"], "big": row["big"]}
        for row in ROWS
    ]


def test_a_value_that_a_columns_type_does_not_hold(place: Place, tmp_path: Path) -> None:
    if place.kind.startswith("sqlite"):
        pytest.skip("holds anything")
    sinks.write_table(place("rows"), TABLE.select(["big"]).slice(0, 0))
    with pytest.raises(DataError, match="rows") as caught:
        sinks.write_table(place("rows"), pa.table({"big": ["one"]}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cascade_jobs", "CASCADE_JOBS", "cascade_staged"])
def test_a_name_that_is_for_what_is_beside_tables(place: Place, name: str) -> None:
    if place.kind == "delta":
        pytest.skip("has nothing beside it")
    with pytest.raises(DataError, match="is for what Cascade writes down of its own; allowed: any"):
        sinks.check(place(name))
    with pytest.raises(DataError, match="is for what Cascade writes down of its own; allowed: any"):
        sinks.write_chunks(place(name), TABLE.schema, lambda: iter(TABLE.to_batches()), MARK)
    assert sinks.write_table(place(f"{name}_2"), TABLE) is None


class TestTheMark:
    """Rows with a mark are there once, however often they are written."""

    def test_a_second_time_nothing_is_written(self, place: Place, tmp_path: Path) -> None:
        chunks = TABLE.to_batches
        assert sinks.write_chunks(place("rows"), TABLE.schema, lambda: iter(chunks()), MARK)
        assert not sinks.write_chunks(place("rows"), TABLE.schema, lambda: iter(chunks()), MARK)
        assert read(place("rows"), tmp_path).to_pylist() == ROWS

    def test_who_is_stopped_has_written_nothing(self, place: Place, tmp_path: Path) -> None:
        class StoppedError(Exception):
            pass

        def stop() -> None:
            raise StoppedError

        def chunks() -> Iterator[pa.RecordBatch]:
            yield from TABLE.to_batches()

        with pytest.raises(StoppedError):
            sinks.write_chunks(place("rows"), TABLE.schema, chunks, MARK, still_wanted=stop)
        sinks.check(place("rows"))
        assert sinks.write_chunks(place("rows"), TABLE.schema, chunks, MARK)
        assert read(place("rows"), tmp_path).to_pylist() == ROWS

    def test_what_was_written_is_taken_back(self, place: Place) -> None:
        def chunks() -> Iterator[pa.RecordBatch]:
            yield from TABLE.to_batches()

        sinks.remove(place("rows"), MARK)
        sinks.write_chunks(place("rows"), TABLE.schema, chunks, MARK)
        sinks.remove(place("rows"), Mark("another", 3, "digest"))
        with pytest.raises(TableTaken):
            sinks.check(place("rows"))
        sinks.remove(place("rows"), MARK)
        sinks.check(place("rows"))

    def test_of_two_at_once_one_writes(self, place: Place, tmp_path: Path) -> None:
        if place.kind in ("duckdb", "sqlite+pysqlite", "delta"):
            pytest.skip("the second one is refused, and tries again")
        together, wrote, failed = threading.Barrier(2), [], []

        def write() -> None:
            def chunks() -> Iterator[pa.RecordBatch]:
                yield from TABLE.to_batches()

            together.wait()
            try:
                wrote.append(sinks.write_chunks(place("rows"), TABLE.schema, chunks, MARK))
            except DataError as exc:
                failed.append(exc)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrote.count(True) == 1
        assert read(place("rows"), tmp_path).to_pylist() == ROWS


class TestWhatIsWrong:
    def test_a_table_that_is_not_there(self, place: Place, tmp_path: Path) -> None:
        sinks.write_table(place("rows"), TABLE)
        with pytest.raises(DataError) as caught:
            fetch_source(place("rowz"), tmp_path)
        assert "\n" not in str(caught.value)
        if place.kind != "delta":
            assert "has no table 'rowz'; it has rows. Did you mean 'rows'?" in str(caught.value)
            assert tables_of(place("rows")) == ["rows"]

    def test_a_table_without_rows(self, place: Place, tmp_path: Path) -> None:
        sinks.write_table(place("rows"), TABLE.slice(0, 0))
        with pytest.raises(DataError, match="has no rows"):
            fetch_source(place("rows"), tmp_path)

    def test_a_query_with_a_typo(self, place: Place, tmp_path: Path) -> None:
        if place.kind == "delta":
            pytest.skip("has no queries")
        sinks.write_table(place("rows"), TABLE)
        assert len(read(place("select name from rows where paid"), tmp_path)) == 1
        with pytest.raises(DataError, match="does not understand the query") as caught:
            fetch_source(place("select nmae from rows"), tmp_path)
        assert "nmae" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "sqlalche.me" not in str(caught.value)

    def test_no_table_is_named(self, place: Place, tmp_path: Path) -> None:
        if place.kind == "delta":
            pytest.skip("is its own table")
        sinks.write_table(place("rows"), TABLE)
        with pytest.raises(DataError, match=r"names no table; put one behind it .*; it has rows"):
            fetch_source(place.base, tmp_path)


def test_duckdb_downloads_nothing_to_read_the_file_of_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fetch a library from its makers, and run it."""
    pytest.importorskip("duckdb")
    monkeypatch.setenv("HOME", str(tmp_path))  # where it looks for what it has
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE rows (age INTEGER)")
        other.commit()
    with pytest.raises(DataError) as caught:
        fetch_source(f"duckdb:///{file}#rows", tmp_path / "in")
    assert "Failed to download" not in str(caught.value)
    assert "not found" in str(caught.value)


class TestPostgres:
    """What PostgreSQL has and others do not."""

    @pytest.fixture(autouse=True)
    def _known(self, postgres: pg.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv(PASSWORD, pg.PASSWORD)
        yield
        postgres.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def test_its_types(self, postgres: pg.Server, tmp_path: Path) -> None:
        postgres.run(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE t (price numeric(12, 2), "
            "account numeric(18, 0), any_number numeric, at timestamptz, clock time, mood mood, "
            "id uuid, code char(2), span interval, list int[]); "
            "INSERT INTO t VALUES (12.34, 999999999999999999, 1e20, '2024-01-01 00:00+01', "
            "'13:45', 'glad', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'DE', '1 day 1 hour', "
            "'{1}'), "
            "(NULL, NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        first, second = read(f"{postgres.url}#t", tmp_path).to_pylist()
        assert first == {
            "price": 12.34,
            "account": 999_999_999_999_999_999,
            "any_number": 1e20,
            "at": dt.datetime(2023, 12, 31, 23, tzinfo=dt.UTC),
            "clock": 13.75 * 3600,
            "mood": "glad",
            "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "code": "DE",
            "span": 90_000.0,
            "list": [1],
        }
        assert second["any_number"] != second["any_number"]
        assert {value for name, value in second.items() if name != "any_number"} == {None}

    def test_schemas_and_odd_names(self, postgres: pg.Server, tmp_path: Path) -> None:
        postgres.run('CREATE SCHEMA "Odd.One"')
        url = f'{postgres.url}#"Odd.One"."my ""rows"'
        sinks.write_table(url, TABLE)
        assert read(url, tmp_path).to_pylist() == ROWS
        postgres.run('DROP SCHEMA "Odd.One" CASCADE')

    def test_what_is_appended_takes_the_tables_types(
        self, postgres: pg.Server, tmp_path: Path
    ) -> None:
        postgres.run("CREATE TABLE t (id serial, big numeric(20, 0), real real, name varchar(40))")
        sinks.write_table(f"{postgres.url}#t", TABLE.select(["name", "big", "real"]).slice(0, 1))
        assert postgres.run("SELECT id, big, name FROM t") == (
            "1|9007199254740993|Žofie, \"the\" 'first'"
        )
        with pytest.raises(DataError, match="has no columns 'paid'"):
            sinks.write_table(f"{postgres.url}#t", TABLE.select(["paid"]), append=True)

    def test_nothing_is_changed_by_a_query(self, postgres: pg.Server, tmp_path: Path) -> None:
        postgres.run("CREATE TABLE t AS SELECT 1 AS a")
        with pytest.raises(DataError, match="read-only"):
            fetch_source(
                f"{postgres.url}#with gone as (delete from t returning *) select * from gone",
                tmp_path,
            )
        assert postgres.run("SELECT count(*) FROM t") == "1"

    @pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
    def test_a_wrong_password(
        self, postgres: pg.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setenv(PASSWORD, "wr0ng-one")
        url = postgres.url.replace("postgresql", scheme, 1)
        with pytest.raises(DataError, match=f"refuses who asks: .*{PASSWORD}") as caught:
            fetch_source(f"{url}#t", tmp_path)
        assert "wr0ng" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert "\n" not in str(caught.value)

    def test_a_password_in_a_file(
        self, postgres: pg.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "password"
        file.write_text(pg.PASSWORD + "\n")
        monkeypatch.delenv(PASSWORD)
        monkeypatch.setenv(PASSWORD_FILE, str(file))
        postgres.run("CREATE TABLE t AS SELECT 1 AS a")
        assert len(read(f"{postgres.url}#t", tmp_path)) == 1

    @pytest.mark.parametrize("host", ["127.0.0.1:1", "nobody.invalid"])
    def test_a_host_that_is_away(self, host: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be reached: ") as caught:
            fetch_source(f"postgresql://ann@{host}/bank#t", tmp_path)
        assert "\n" not in str(caught.value)


class TestSqlite:
    """Cells have types there, and columns do not."""

    def test_a_column_has_the_type_of_all_its_cells(self, tmp_path: Path) -> None:
        pytest.importorskip("adbc_driver_sqlite")
        with sqlite3.connect(tmp_path / "file") as connection:
            connection.execute("CREATE TABLE t (late, mixed, codes, paid BOOLEAN, day DATE)")
            rows = [(None, 1, 7, 1, "2024-01-31")] * 3000
            rows += [(2.5, 1.5, "007", 0, "2024-02-01"), (None, None, None, None, None)]
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
        connection.close()
        found = read(f"sqlite:///{tmp_path}/file#t", tmp_path).to_pylist()
        day = dt.date(2024, 1, 31)
        assert found[0] == {"late": None, "mixed": 1.0, "codes": "7", "paid": True, "day": day}
        assert found[-2] == {
            "late": 2.5,
            "mixed": 1.5,
            "codes": "007",
            "paid": False,
            "day": dt.date(2024, 2, 1),
        }
        assert set(found[-1].values()) == {None}
        assert len(found) == 3002

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist; sqlite:///FILE"):
            fetch_source(f"sqlite:///{tmp_path}/absent#t", tmp_path)
        assert not (tmp_path / "absent").exists()


def test_a_folder_of_delta_lake_is_read_as_one(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    sinks.write_table(f"delta://{tmp_path}/lake", TABLE)
    sinks.write_table(f"delta://{tmp_path}/lake", TABLE, append=True)
    (path,) = fetch_source(f"file://{tmp_path}/lake", tmp_path / "in")
    assert pq.read_table(path).to_pylist() == ROWS * 2
