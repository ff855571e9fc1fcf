"""`cascade jobs` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cascade_client.commands.jobs import jobs as command
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job
from click.testing import CliRunner

from tests.integration.jobs.kept import contents, done
from tests.integration.serving import Served
from tests.releases import TABLE


class TestCommands:
    """What is typed, and what a terminal or a script is told."""

    def run(self, served: Served, *arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--target", served.target])
        assert result.exit_code == 0, result.output
        return result.stdout

    def test_submit_watch_list_and_fetch(self, served: Served, tmp_path: Path) -> None:
        lines = self.run(
            served,
            *("submit", TABLE, "--rows", "2000", "--fast", "--seed", "21"),
            *("--given", "channel=web", "--watch", "--json"),
        ).splitlines()
        last = json.loads(lines[-1])
        assert (last["state"], last["rows_done"], last["tier"]) == ("DONE", 2000, "student")
        assert last["id"] in self.run(served, "list")
        fetched = tmp_path / "rows"
        said = self.run(served, "fetch", last["id"], "--out", str(fetched))
        assert said == f"4 files are in {fetched}, checked; rows are in {fetched}/data\n"
        assert contents(str(fetched)) == contents(last["output"])
        assert set(pq.read_table(fetched)["channel"].to_pylist()) == {"web"}

    def test_a_file_of_conditions(self, served: Served, tmp_path: Path) -> None:
        """Empty cells of a CSV are not known, or NULL where there was NULL to learn."""
        file = tmp_path / "conditions.csv"
        file.write_text("items,channel\n3,web\n4,\n")
        said = self.run(
            served, "submit", TABLE, "--conditions", str(file), "--draws", "2", "--watch", "--json"
        )
        output = json.loads(said.splitlines()[-1])["output"]
        rows = pq.read_table(output).to_pylist()
        assert [(row["items"], row["channel"]) for row in rows] == [
            (3, "web"), (3, "web"), (4, None), (4, None),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("submit", TABLE), "give --rows N or --conditions FILE"),
            (("submit", TABLE, "--rows", "5", "--share", "a=1"), "--share is for the values of"),
            (("submit", TABLE, "--rows", "5", "--balance", "chanel"), "Did you mean 'channel'"),
            (("watch", "nobody"), "there is no job 'nobody'"),
            (("fetch", "nobody"), "there is no job 'nobody'"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, served: Served, arguments: tuple[str, ...], said: str
    ) -> None:
        result = CliRunner().invoke(command, [*arguments, "--target", served.target])
        assert result.exit_code in (1, 2)
        assert said in result.output

    def test_a_download_goes_on_where_it_broke(
        self, served: Served, jobs: Jobs, tmp_path: Path
    ) -> None:
        job = done(jobs, jobs.submit(TABLE, 3000, fidelity="fast", seed=31))
        whole = (Path(job.output) / "data/part-00000.parquet").read_bytes()
        begun_at(jobs, job, tmp_path).write_bytes(whole[:1000])
        told: list[int] = []
        jobs.fetch(job.id, tmp_path, lambda bytes_done, _: told.append(bytes_done))
        assert contents(str(tmp_path)) == contents(job.output)
        assert told[-1] == sum(each.bytes for each in jobs.get(job.id, files=True).result_files)

    def test_a_download_that_is_not_what_was_made_is_begun_anew(
        self, jobs: Jobs, tmp_path: Path
    ) -> None:
        job = done(jobs, jobs.submit(TABLE, 3000, fidelity="fast", seed=31))
        begun_at(jobs, job, tmp_path).write_bytes(b"not the beginning" * 10)
        jobs.fetch(job.id, tmp_path)
        assert contents(str(tmp_path)) == contents(job.output)


def begun_at(jobs: Jobs, job: Job, folder: Path) -> Path:
    """Where what has come of a job's first file is, while more is to come."""
    first = jobs.get(job.id, files=True).result_files[0]
    return folder / f"data%2Fpart-00000.parquet.{first.sha256[:12]}.partial"
