"""What docs/ shows in Python runs as it stands, with fewer rows, against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, snippets
from tests.integration.jobs.kept import keeping
from tests.integration.serving import Served

ADDRESS = "127.0.0.1:8470"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with keeping(ROOT / "model_repository", tmp_path_factory.mktemp("state")) as found:
        yield found


def run(script: str, target: str, folder: Path) -> str:
    """What a reader's script prints, run in a process and a folder of its own."""
    script = script.replace("Client()", f'Client("{target}")').replace(ADDRESS, target)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jobs(served: Served, tmp_path: Path) -> None:
    """A job is made, its files are read as a folder, and its rows over Arrow Flight."""
    made, read, flight, batches, frames, described = (
        each.text for each in snippets(ROOT / "docs/jobs.md", "python")
    )
    made = made.replace("100_000,", '2_000, fidelity="fast",')
    assert "spark.read" in read
    read = "import duckdb, pandas, polars, pyarrow.dataset\n" + "".join(
        line for line in read.splitlines(keepends=True) if not line.startswith("spark.")
    )
    job = run(made + "\nprint(job.id, len(frame))", served.target, tmp_path)
    name, rows = job.split()
    assert rows == "2000"
    run(read, served.target, tmp_path)
    flying = "use = print\n" + flight + batches + "\nassert table.num_rows == 2000"
    run(flying.replace("5f3a9c1e7b20", name), served.target, tmp_path)
    columns = {"fraud": "default_payment_next_month", "amount": "limit_bal"}
    for shown, column in columns.items():
        frames = frames.replace(shown, column)
    with_client = (
        flight.splitlines()[0] + f'\nclient = flight.connect("grpc://{ADDRESS}")\n' + frames
    )
    run(with_client.replace("5f3a9c1e7b20", name), served.target, tmp_path)
    run(described, served.target, tmp_path)


def test_sources(served: Served, tmp_path: Path) -> None:
    """Rows of one database are completed into another."""
    (page,) = (each.text for each in snippets(ROOT / "docs/sources.md", "python"))
    with_rows = (
        "import sqlite3\n"
        'with sqlite3.connect("bank.db") as bank:\n'
        '    bank.execute("create table applicants (age integer, sex text, name text)")\n'
        "    bank.execute(\"insert into applicants values (31, '2', 'Ann')\")\n"
    )
    shown = "postgresql://ann@db.example.org/bank#"
    assert shown in page
    read = page.replace(shown, "sqlite:///bank.db#")
    counted = (
        '\nimport duckdb\nprint(duckdb.connect("bank.duckdb").sql'
        '("select count(*) from applicants_made").fetchall()[0][0])'
    )
    assert run(with_rows + read + counted, served.target, tmp_path) == "8\n"


def test_values_outside(served: Served, tmp_path: Path) -> None:
    """What a value beyond all that was learnt is answered with, as the page's remarks have it."""
    (page,) = (each.text for each in snippets(ROOT / "docs/outside.md", "python"))
    asked, *remarked, notices = page.splitlines()
    lines = [
        f"from cascade_client import Client\nclient = Client('{ADDRESS}', timeout=60)\n{asked}",
        *(f"print(repr({line.partition('  #')[0]}))" for line in (*remarked, notices)),
    ]
    *said, told = run("\n".join(lines), served.target, tmp_path).splitlines()
    assert said == [line.partition("  # ")[2] for line in remarked]
    assert "bill_amt1" in told
