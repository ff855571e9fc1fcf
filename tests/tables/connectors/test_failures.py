"""What databases say when something is wrong: what waiting may mend, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cascade_tables.connectors import sinks
from cascade_tables.connectors.failures import Unreachable, failure, said
from cascade_tables.connectors.locations import PASSWORD, location_of
from cascade_tables.errors import DataError

from tests import postgres as pg
from tests.tables.connectors.made_up import TABLE

POSTGRES = "postgresql://ann@db/bank#made"
LIBPQ = 'IO: [libpq] Failed to connect: connection to server at "db" (10.0.0.1), port 5432 failed: '
FAILED = "IO: [libpq] Failed to execute COPY statement: PGRES_FATAL_ERROR "
S3 = (
    "Kernel error -> Generic S3 error\n \x1b[31m↳\x1b[0m Error performing GET "
    "http://s3/bucket/made/_delta_log/_last_checkpoint in 1.8s, after 10 retries, max_retries\n"
    " \x1b[31m↳\x1b[0m 10, retry_timeout\n \x1b[31m↳\x1b[0m 180s  - "
)
REFUSED = "HTTP error\n ↳ error sending request\n ↳ Connection refused (os error 111)\n"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (POSTGRES, f"{LIBPQ}Connection refused\n\tIs the server running on that host?"),
        (POSTGRES, f"{LIBPQ}timeout expired"),
        (POSTGRES, 'could not translate host name "db" to address: Name or service not known'),
        (POSTGRES, f"{LIBPQ}SSL SYSCALL error: EOF detected"),
        (POSTGRES, f"{LIBPQ}FATAL:  the database system is starting up"),
        (POSTGRES, f"{LIBPQ}FATAL:  the database system is in recovery mode"),
        (POSTGRES, f"{FAILED}FATAL:  terminating connection due to administrator command"),
        (POSTGRES, f"{FAILED}server closed the connection unexpectedly"),
        (POSTGRES.replace("postgresql", "postgres"), f"{FAILED}server closed the connection"),
        ("mysql+pymysql://ann@db/bank#made", "(2013, 'Lost connection to MySQL server')"),
        ("mysql+pymysql://ann@db/bank#made", "(2003, \"Can't connect to MySQL server on 'db'\")"),
        ("mssql+pyodbc://ann@db/bank#made", "('08S01', 'Communication link failure')"),
        ("oracle+oracledb://ann@db/bank#made", "ORA-12541: Cannot connect. No listener"),
        # It speaks PostgreSQL's language, of which nobody here knows.
        ("cockroachdb://ann@db/bank#made", "FATAL: terminating connection"),
        ("delta+s3://bucket/made", S3 + REFUSED),
        ("delta+s3://bucket/made", S3 + "Server returned non-2xx status code\n ↳ 503 Slow Down"),
    ],
)
def test_what_is_away_may_come_back(url: str, text: str) -> None:
    found = failure(Exception(text), location_of(url))
    assert isinstance(found, Unreachable)
    assert " cannot be reached: " in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (POSTGRES, f"{LIBPQ}FATAL:  sorry, too many clients already"),
        (
            POSTGRES,
            f"{LIBPQ}FATAL:  remaining connection slots are reserved for roles with the ...",
        ),
        (POSTGRES, f'{LIBPQ}FATAL:  too many connections for role "ann"'),
        (POSTGRES, "ERROR:  canceling statement due to lock timeout"),
        ("sqlite:///bank.db#made", "database is locked query: SELECT name FROM pragma_table_info"),
        ("sqlite+pysqlite:///bank.db#made", "(sqlite3.OperationalError) database table is locked"),
        ("duckdb:///bank.db#made", 'IO Error: Could not set lock on file "bank.db": Conflicting'),
        ("mysql+pymysql://ann@db/bank#made", "(1040, 'Too many connections')"),
        ("mariadb+pymysql://ann@db/bank#made", "(1205, 'Lock wait timeout exceeded')"),
        ("mssql+pyodbc://ann@db/bank#made", "(1222, 'Lock request time out period exceeded')"),
        ("oracle+oracledb://ann@db/bank#made", "ORA-00054: resource busy and acquire with NOWAIT"),
    ],
)
def test_what_is_busy_may_have_time_later(url: str, text: str) -> None:
    found = failure(Exception(text), location_of(url))
    assert isinstance(found, Unreachable)
    assert " is busy: " in str(found)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (POSTGRES, f'{LIBPQ}FATAL:  password authentication failed for user "ann"'),
        (POSTGRES, f'{LIBPQ}FATAL:  database "bank" does not exist'),
        (POSTGRES, 'ERROR:  column "a" does not exist'),
        (POSTGRES, "ERROR:  permission denied for schema public"),
        ("sqlite:///bank.db#made", "file is not a database"),
        ("duckdb:///bank.db#made", 'The file "bank.db" exists, but it is not a valid DuckDB file!'),
        ("mysql+pymysql://ann@db/bank#made", "(1044, \"Access denied for user 'ann'\")"),
        ("delta+s3://bucket/made", "Generic S3 error\n ↳ in 5ms - Server returned 404 Not Found"),
        ("delta+s3://bucket/made", "The operation lacked the necessary privileges: 403 Forbidden"),
    ],
)
def test_what_no_waiting_mends_is_told_from_it(url: str, text: str) -> None:
    found = failure(Exception(text), location_of(url))
    assert not isinstance(found, Unreachable)


def test_what_is_drawn_for_a_terminal_is_one_plain_line() -> None:
    assert said(Exception(S3 + REFUSED)).endswith(
        "180s  - HTTP error error sending request Connection refused (os error 111)"
    )
    assert "\x1b" not in said(Exception(S3))


HOLDS = {
    "duckdb": "import duckdb; held = duckdb.connect(sys.argv[1])",
    "sqlite": "import sqlite3; held = sqlite3.connect(sys.argv[1]).execute('BEGIN EXCLUSIVE')",
}


@contextmanager
def held(kind: str, file: Path) -> Iterator[None]:
    """Another process has a database's file locked."""
    code = f"import sys; {HOLDS[kind]}; print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=pipe, stdout=pipe
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.communicate()


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
@pytest.mark.parametrize("ask", [sinks.check, lambda url: sinks.write_table(url, TABLE)])
def test_a_file_that_another_process_has_locked(
    kind: str, ask: Callable[[str], object], tmp_path: Path
) -> None:
    pytest.importorskip({"duckdb": "duckdb", "sqlite": "adbc_driver_sqlite"}[kind])
    url = f"{kind}:///{tmp_path}/bank#made"
    with held(kind, tmp_path / "bank"), pytest.raises(Unreachable, match=" is busy: "):
        ask(url)
    ask(url)


def test_a_postgres_that_takes_no_more_connections(
    postgres: pg.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(f"CREATE ROLE guest LOGIN CONNECTION LIMIT 0 PASSWORD '{pg.PASSWORD}'")
    monkeypatch.setenv(PASSWORD, pg.PASSWORD)
    try:
        with pytest.raises(Unreachable, match="too many connections for role"):
            sinks.check(f"{postgres.url.replace(pg.USER, 'guest')}#made")
    finally:
        postgres.run("DROP ROLE guest")


@pytest.mark.parametrize(
    ("error", "may_come_back"),
    [
        (OSError(S3 + REFUSED), True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (TimeoutError(), True),
        (OSError("The operation lacked the necessary privileges ↳ 403 Forbidden"), False),
        (PermissionError(13, "Permission denied"), False),
    ],
)
def test_a_store_of_delta_lake_that_is_away(
    error: OSError, may_come_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltalake = pytest.importorskip("deltalake")

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(deltalake, "DeltaTable", fails)
    with pytest.raises(DataError, match=r"^delta\+s3://bucket/made") as caught:
        sinks.check("delta+s3://bucket/made")
    assert isinstance(caught.value, Unreachable) == may_come_back
    assert "\x1b" not in str(caught.value)
