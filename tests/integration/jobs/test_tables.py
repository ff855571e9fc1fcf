"""Jobs from and to where data already lives, as they are asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cascade_client import Client, InvalidRequest, PermissionDenied
from cascade_client.commands.jobs import jobs as command
from cascade_client.connected_tables import fetch_into, read_rows
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import JobState
from cascade_tables.connectors.locations import PASSWORD
from click.testing import CliRunner

from tests import postgres as pg
from tests.integration.jobs.kept import done, keeping
from tests.integration.serving import Served
from tests.releases import TABLE

adbc = pytest.importorskip("adbc_driver_sqlite")


def rows_of(path: Path, table: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        connection.close()


class TestTheServersTables:
    """Only who may open the server's own socket has it connect to anything else than is named."""

    @pytest.mark.parametrize(
        "output",
        [
            "postgresql://169.254.169.254/x#t",
            "sqlite:////etc/x.db#t",
            "duckdb:////etc/x.db#t",
            "delta:///etc/x",
            "mysql+pymysql://localhost/x#t",
            "/etc/x.csv",
            "s3://bucket/x.parquet",
        ],
    )
    def test_nobody_has_it_connect_anywhere_over_the_network(self, jobs: Jobs, output: str) -> None:
        with pytest.raises(PermissionDenied, match="nobody's results may go"):
            jobs.submit(TABLE, 10, output=output)

    @pytest.mark.parametrize(
        ("output", "said"),
        [
            ("postgresql://ann:geheim@db/x#t", "was given with a password"),
            ("postgresql://db/x", "names no table; allowed: postgresql://db/x#TABLE"),
            ("sqlite:///x.db#select 1", "names no table"),
            ("env:PATH#t", "names an environment variable, and would be looked up in another"),
            ("env:PATH#://", "names an environment variable, and would be looked up in another"),
        ],
    )
    def test_what_is_no_table_is_refused_and_no_password_is_shown(
        self, jobs: Jobs, output: str, said: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=said) as caught:
            jobs.submit(TABLE, 10, output=output)
        assert "geheim" not in str(caught.value)

    @pytest.fixture
    def allowing(self, repository: Path, tmp_path: Path) -> Iterator[Served]:
        allowed = f"sqlite:///{tmp_path}/made.db"
        with keeping(repository, tmp_path / "state", "--job-outputs", allowed) as served:
            yield served

    def test_a_table_that_the_operator_has_named(self, allowing: Served, tmp_path: Path) -> None:
        with allowing.client() as client:
            jobs = Jobs(client)
            url = f"sqlite:///{tmp_path}/made.db#rows"
            job = jobs.submit(TABLE, 500, fidelity="fast", seed=1, output=url)
            assert done(jobs, job).output == url
            assert len(rows_of(tmp_path / "made.db", "rows")) == 500
            (found,) = rows_of(tmp_path / "made.db", "cascade_jobs")
            assert found[:4] == (job.id, "rows", 500, 1)
            # What is there is not written over, and all rows can be fetched as well.
            again = jobs.wait(jobs.submit(TABLE, 400, fidelity="fast", seed=2, output=url).id)
            assert again.state is JobState.FAILED
            assert "is there and has rows" in again.reason
            assert fetch_into(jobs, job.id, f"{tmp_path}/rows.parquet") == 500
            # Who asks for the same again is told of the same job, as long as its rows are there.
            assert jobs.submit(TABLE, 500, fidelity="fast", seed=1, output=url).id == job.id
            connection = sqlite3.connect(tmp_path / "made.db")
            connection.execute("DROP TABLE rows")
            connection.close()
            anew = done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=1, output=url))
            assert anew.id != job.id
            assert len(rows_of(tmp_path / "made.db", "rows")) == 500
            assert pq.read_table(tmp_path / "rows.parquet").num_rows == 500


class TestTheCallersTables:
    """What a caller reads and writes, the caller opens."""

    def run(self, served: Served, *arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--target", served.target])
        assert result.exit_code == 0, result.output
        return result.stdout

    def test_conditions_and_rows_of_a_database(
        self,
        served: Served,
        jobs: Jobs,
        tmp_path: Path,
        postgres: pg.Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(PASSWORD, pg.PASSWORD)
        postgres.run("CREATE TABLE asked AS SELECT 3 AS items, 'web' AS channel, true AS is_ours")
        try:
            query = f"{postgres.url}#select items, channel from asked where is_ours"
            said = self.run(
                served, "submit", TABLE, "--conditions", query, "--draws", "3", "--fast"
            )
            job = jobs.wait(said.split()[0])
            assert job.state is JobState.DONE
            out = f"{postgres.url}#made"
            assert self.run(served, "fetch", job.id, "--out", out) == "3 rows are there\n"
            result = CliRunner().invoke(
                command, ["fetch", job.id, "--out", out, "--target", served.target]
            )
            assert result.exit_code == 1
            assert "is there and has rows" in result.output
            self.run(served, "fetch", job.id, "--out", out, "--append")
            assert postgres.run("SELECT count(*), min(items), min(channel) FROM made") == "6|3|web"
        finally:
            postgres.run("DROP TABLE IF EXISTS asked, made")

    def test_files_of_all_kinds(self, served: Served, jobs: Jobs, tmp_path: Path) -> None:
        job = done(jobs, jobs.submit(TABLE, 300, fidelity="fast", seed=5))
        expected = pq.read_table(job.output).to_pylist()
        for name in ("rows.parquet", "rows.csv", "rows.csv.gz", "rows.arrow"):
            path = tmp_path / name
            self.run(served, "fetch", job.id, "--out", str(path))
            assert len(read_rows(path)) == 300
            if not name.startswith("rows.csv"):
                assert read_rows(path).to_pylist() == expected

    def test_a_password_that_is_typed_is_refused_and_not_shown(self, served: Served) -> None:
        for arguments in (
            ("submit", TABLE, "--conditions", "postgresql://ann:geheim@db/x#t"),
            ("fetch", "nobody", "--out", "postgresql://ann:geheim@db/x#t"),
        ):
            result = CliRunner().invoke(command, [*arguments, "--target", served.target])
            assert result.exit_code == 1
            assert "was given with a password" in result.output
            assert "geheim" not in result.output


def test_over_the_servers_socket_any_table_is(
    repository: Path, tmp_path: Path, postgres: pg.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes the password from its own environment."""
    monkeypatch.setenv(PASSWORD, pg.PASSWORD)
    state = tmp_path / "state"
    with keeping(repository, state) as _, Client(f"unix:{state}/control.sock") as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, 700, fidelity="fast", seed=1, output=f"{postgres.url}#made_rows")
        try:
            assert done(jobs, job).state is JobState.DONE
            assert postgres.run("SELECT count(*) FROM made_rows") == "700"
            assert postgres.run("SELECT job FROM cascade_jobs") == job.id
        finally:
            postgres.run("DROP TABLE IF EXISTS made_rows, cascade_jobs")
    for each in state.rglob("*"):
        if each.is_file():
            assert pg.PASSWORD.encode() not in each.read_bytes(), each
