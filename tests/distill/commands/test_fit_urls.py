"""`cascade fit` of tables that are elsewhere: what is typed, and what is said."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_distill.commands import fit
from cascade_tables.connectors import sinks
from click.testing import CliRunner, Result

ROWS = pa.table(
    {
        "amount": [round(row * 0.37 % 50, 2) for row in range(400)],
        "country": [["AT", "CZ", "DE"][row % 3] for row in range(400)],
        "paid": [row % 4 == 0 for row in range(400)],
    }
)
SEEN = ("amount", "continuous", "country", "3: AT, CZ, DE", "paid", "boolean")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fit, arguments)


@pytest.mark.parametrize(
    ("where", "needs"),
    [
        ("sqlite:///{}/bank.db#rows", "adbc_driver_sqlite"),
        ("duckdb:///{}/bank.duckdb#rows", "duckdb"),
        ("delta://{}/lake", "deltalake"),
        ("sqlite+pysqlite:///{}/bank.db#rows", "sqlalchemy"),
        ("{}/rows.arrow", "pyarrow"),
        ("{}/rows.csv.gz", "pyarrow"),
        ("file://{}/rows.parquet", "fsspec"),
        ("memory://{}/rows.csv", "fsspec"),
    ],
)
def test_what_is_typed_is_read(where: str, needs: str, tmp_path: Path) -> None:
    pytest.importorskip(needs)
    url = where.format(tmp_path)
    sinks.write_table(url, ROWS)
    result = run(url, "--dry-run")
    assert result.exit_code == 0, result.output
    assert all(each in result.output for each in SEEN), result.output


def test_a_folder_of_delta_lake_is_known_by_its_log(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    sinks.write_table(f"delta://{tmp_path}/lake", ROWS)
    result = run(str(tmp_path / "lake"), "--dry-run")
    assert result.exit_code == 0, result.output
    # All 400 of them, 80 of which are held out.
    assert "teacher for 320 rows of 3 columns" in result.output


def test_many_files_by_a_pattern_are_one_table(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for number in range(3):
        pq.write_table(ROWS.slice(number * 100, 100), tmp_path / f"{number}.parquet")
    result = run(f"file://{tmp_path}/*.parquet", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "teacher for 240 rows of 3 columns" in result.output


def test_a_run_keeps_no_copy_and_is_resumed(tmp_path: Path) -> None:
    pytest.importorskip("adbc_driver_sqlite")
    url, out = f"sqlite:///{tmp_path}/bank.db#rows", tmp_path / "run"
    sinks.write_table(url, ROWS)
    query = f"sqlite:///{tmp_path}/bank.db#select amount, paid from rows"
    for _ in range(2):
        result = run(query, "--steps", "4", "--out", str(out), "--threads", "1")
        assert result.exit_code == 0, result.output
    assert "read before: the tokens of these files are in" in result.output
    assert not (out / "sources").exists()


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        connection.execute("CREATE TABLE rows (a)")
    connection.close()
    for url, said in (
        ("postgresql://ann:geheim@db/bank#rows", "was given with a password or key in it"),
        (f"sqlite:///{tmp_path}/bank.db#row", "has no table 'row'; it has rows. Did you mean"),
        (f"sqlite:///{tmp_path}/bank.db#rows", "has no rows"),
        (f"sqlite:///{tmp_path}/bank.db", "names no table; put one behind it"),
        (f"file://{tmp_path}/absent.csv", "there is no file://"),
        ("nobody://knows/this", "is no URL that fsspec knows"),
        ("env:NOBODY_HAS_THIS#rows", "there is no environment variable"),
    ):
        result = run(url, "--dry-run")
        assert result.exit_code == 1, result.output
        assert said in result.output
        assert "geheim" not in result.output
        assert len(result.output.strip().splitlines()) == 1
