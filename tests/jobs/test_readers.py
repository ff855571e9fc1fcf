"""A job's output as programs read it that know folders of Parquet and nothing of Cascade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from cascade_jobs.shards import ROWS_FOLDER
from cascade_tables.connectors.sources import fetch_source
from cascade_tables.files.reading import read_table

from tests.jobs.made_up import Jobs, MadeUp, made_up


def with_polars(read: str) -> Callable[[Path], list[int]]:
    def numbers(folder: Path) -> list[int]:
        polars = pytest.importorskip("polars")
        found = getattr(polars, read)(folder)
        return list((found.collect() if read == "scan_parquet" else found)["number"])

    return numbers


def with_duckdb(pattern: str) -> Callable[[Path], list[int]]:
    def numbers(folder: Path) -> list[int]:
        duckdb = pytest.importorskip("duckdb")
        found = duckdb.sql(f"SELECT number FROM read_parquet('{folder}/{pattern}')")
        return [number for (number,) in found.fetchall()]

    return numbers


def with_cascade(folder: Path) -> list[int]:
    (path,) = fetch_source(folder.as_uri(), folder.parent)
    return list(read_table(path)["number"].values)


# Of the folder with the rows and nothing else.
READERS: dict[str, Callable[[Path], list[int]]] = {
    "pandas": lambda folder: list(pd.read_parquet(folder)["number"]),
    "pandas, by URL": lambda folder: list(pd.read_parquet(folder.as_uri())["number"]),
    "pyarrow": lambda folder: pq.read_table(folder)["number"].to_pylist(),
    "pyarrow's datasets": lambda folder: ds.dataset(folder).to_table()["number"].to_pylist(),
    "polars": with_polars("read_parquet"),
    "polars, lazily": with_polars("scan_parquet"),
    "duckdb": with_duckdb("*.parquet"),
    "duckdb, all below": with_duckdb("**"),
}
# Of the output itself, beside whose folder of rows there are descriptions.
ABOVE = {name: READERS[name] for name in READERS if name.startswith(("pandas", "pyarrow"))}
ABOVE["duckdb"] = with_duckdb("**/*.parquet")
ABOVE["cascade"] = with_cascade


@pytest.fixture
def output(jobs: Jobs) -> Path:
    job = jobs.submit()
    jobs.finish()
    return Path(job.output)


def expected(rows: int = 2500) -> list[int]:
    return [each["number"] for each in made_up(7, 0, rows).to_rows()]


@pytest.mark.parametrize("reader", READERS)
def test_the_folder_of_the_rows(output: Path, reader: str) -> None:
    assert READERS[reader](output / ROWS_FOLDER) == expected()


@pytest.mark.parametrize("reader", ABOVE)
def test_the_output(output: Path, reader: str) -> None:
    assert ABOVE[reader](output) == expected()


@pytest.mark.parametrize("reader", READERS)
def test_while_a_file_is_being_made(jobs: Jobs, reader: str) -> None:
    job, read = jobs.submit(), []

    def look(first: int) -> None:
        if first >= 2000 and not read:
            read.append(READERS[reader](Path(job.output) / ROWS_FOLDER))

    jobs.finish(jobs.executor(MadeUp(look)))
    assert read == [expected()[:2000]]
