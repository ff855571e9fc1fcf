"""Offline jobs with `cascade serve` as it is typed: what is asked for, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import psutil
import pyarrow.parquet as pq
import pytest
from cascade_client import Client, InvalidRequest, NotFound, Overloaded, PermissionDenied
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job, JobState
from cascade_jobs.job import DESCRIPTIONS, MANIFEST

from tests.integration.jobs.kept import contents, done, keeping
from tests.integration.serving import SOON, Served, serve
from tests.releases import TABLE


class TestRows:
    """A job's rows are those that the server draws for its seed, whoever is asked for them."""

    @pytest.mark.parametrize(("tier", "fidelity"), [("student", "fast"), ("teacher", "full")])
    def test_they_are_those_of_synthesize(
        self, served: Served, jobs: Jobs, tier: str, fidelity: str
    ) -> None:
        job = done(jobs, jobs.submit(TABLE, 1500, fidelity=fidelity, seed=11))
        table = pq.read_table(job.output)
        assert (table.num_rows, job.rows_done, job.tier) == (1500, 1500, tier)
        with served.client() as client:
            rows = client.synthesize(
                TABLE,
                [{}] * 1500,
                seed=11,
                fidelity=fidelity,
                timeout=10 * SOON,  # type: ignore[arg-type]
            ).data
        assert table.to_pylist() == rows

    def test_given_values_stand_in_every_row(self, jobs: Jobs) -> None:
        known = {"channel": "web", "items": 3}
        job = jobs.submit(TABLE, 300, fidelity="fast", given=known, columns=["items", "channel"])
        table = pq.read_table(done(jobs, job).output)
        assert table.column_names == ["items", "channel"]
        assert set(table["channel"].to_pylist()) == {"web"}
        assert set(table["items"].to_pylist()) == {3}

    def test_a_column_is_balanced(self, jobs: Jobs) -> None:
        asked = jobs.submit(TABLE, 1000, fidelity="fast", balance="channel")
        channels = pq.read_table(done(jobs, asked).output)["channel"].to_pylist()
        assert sorted(map(channels.count, ("web", "app", "shop"))) == [333, 333, 334]
        asked = jobs.submit(
            TABLE, 1000, fidelity="full", balance="member", shares={True: 1, False: 3}
        )
        large = {True: 5e307, False: 1.5e308}  # of which only the proportions matter
        asked_large = jobs.submit(TABLE, 100, fidelity="fast", balance="member", shares=large)
        numbers = jobs.submit(TABLE, 100, fidelity="fast", balance="fraud")
        frauds = pq.read_table(done(jobs, numbers).output)["fraud"].to_pylist()
        assert (frauds.count(0), frauds.count(1)) == (50, 50)
        members = pq.read_table(done(jobs, asked).output)["member"].to_pylist()
        assert (members.count(True), members.count(False)) == (250, 750)
        members = pq.read_table(done(jobs, asked_large).output)["member"].to_pylist()
        assert (members.count(True), members.count(False)) == (25, 75)

    @pytest.mark.parametrize("fidelity", ["fast", "full"])
    def test_conditions_are_completed_each_so_often(self, jobs: Jobs, fidelity: str) -> None:
        """Rows miss different columns; what is given comes back as it was."""
        conditions = [{"amount": 12.34}, {"channel": "app", "member": True}, {"items": 5}]
        job = jobs.submit(TABLE, fidelity=fidelity, conditions=conditions, draws=400, seed=2)
        rows = pq.read_table(done(jobs, job).output).to_pylist()
        assert len(rows) == 1200
        for place, row in enumerate(rows):
            given = conditions[place // 400]
            assert {name: row[name] for name in given} == given
        assert len({row["at"] for row in rows}) > 1000


class TestAskedTwice:
    """One job, however often it is asked for."""

    def test_the_same_specification_is_not_made_twice(self, jobs: Jobs) -> None:
        first = jobs.submit(TABLE, 123, fidelity="fast", seed=5)
        again = jobs.submit(TABLE, 123, fidelity="fast", seed=5)
        assert (first.reused, again.reused, again.id) == (False, True, first.id)
        fresh = jobs.submit(TABLE, 123, fidelity="fast", seed=5, fresh=True)
        assert fresh.id != first.id
        assert contents(done(jobs, first).output) == contents(done(jobs, fresh).output)

    def test_what_somebody_has_removed_is_made_anew(self, jobs: Jobs) -> None:
        first = done(jobs, jobs.submit(TABLE, 124, fidelity="fast", seed=5))
        next(Path(first.output).rglob("part-00000.parquet")).unlink()
        again = jobs.submit(TABLE, 124, fidelity="fast", seed=5)
        assert (again.reused, again.id == first.id) == (False, False)
        assert next(Path(done(jobs, again).output).rglob("part-00000.parquet")).is_file()

    def test_without_a_seed_one_is_drawn_and_told(self, jobs: Jobs) -> None:
        job = jobs.submit(TABLE, 99, fidelity="fast")
        assert jobs.submit(TABLE, 99, fidelity="fast").id == job.id
        other = jobs.submit(TABLE, 99, fidelity="fast", fresh=True)
        assert other.seed != job.seed
        again = jobs.submit(TABLE, 99, fidelity="fast", seed=job.seed)
        assert again.id != job.id
        name = "data/part-00000.parquet"
        assert contents(done(jobs, again).output)[name] == contents(done(jobs, job).output)[name]

    def test_a_token_stands_for_one_job(self, jobs: Jobs) -> None:
        first = jobs.submit(TABLE, 77, fidelity="fast", token="mine", fresh=True)
        assert jobs.submit(TABLE, 77, fidelity="fast", token="mine", fresh=True).id == first.id
        with pytest.raises(InvalidRequest, match=f"'mine' stands for job {first.id}"):
            jobs.submit(TABLE, 78, fidelity="fast", token="mine")


class TestRefused:
    """What cannot be is refused by name, before anybody waits for it."""

    @pytest.mark.parametrize("output", ["/etc/x", "/tmp/../etc/x", "file:///etc/x", "s3://b/x"])
    def test_nobody_writes_anywhere_over_the_network(self, jobs: Jobs, output: str) -> None:
        with pytest.raises(PermissionDenied, match="where nobody's results may go"):
            jobs.submit(TABLE, 10, output=output)
        assert not Path("/etc/x").exists()

    @pytest.mark.parametrize("name", ["../jobs.sqlite", "../../jobs.sqlite", "/etc/passwd", ""])
    def test_nobody_reads_anything_but_results(self, served: Served, jobs: Jobs, name: str) -> None:
        from cascade_proto import jobs_pb2 as pb

        job = done(jobs, jobs.submit(TABLE, 10, fidelity="fast", seed=1))
        with served.client() as client, pytest.raises(grpc.RpcError, match="has no file") as raised:
            list(Jobs(client)._stub.ReadResult(pb.ReadResultRequest(id=job.id, name=name)))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"rows": 100_001}, r"rows is 100,001; allowed: 1 to 100,000 \(job_max_rows\)"),
            ({"rows": 0}, "rows is 0; allowed: 1 to 100,000"),
            ({"given": {"chanel": "web"}}, "unknown column 'chanel'.*Did you mean 'channel'"),
            ({"given": {"channel": "fax"}}, "column 'channel'.*'fax' is not allowed.*web"),
            ({"columns": ["amont"]}, "unknown column 'amont'.*Did you mean 'amount'"),
            ({"balance": "chanel"}, "unknown column 'chanel'"),
            ({"balance": "amount"}, "'amount' is no category, and has not few values; name those"),
            ({"balance": "channel", "shares": {"fax": 1.0}}, "'fax' is not allowed"),
            ({"balance": "channel", "shares": {"web": -1.0}}, "balance.weights: allowed"),
            ({"balance": "channel", "given": {"channel": "web"}}, "is in given and balanced"),
            ({"draws": 3}, "draws is 3 without conditions"),
            ({"conditions": [{"items": 99}], "rows": 0}, "column 'items'.*99 is not allowed"),
            ({"conditions": [{"items": 3}], "rows": 7}, "rows is 7 for 1 conditions"),
            ({"token": "a" * 129}, "token has 129 characters; allowed: 128"),
            ({"output": "../up"}, "output is '../up'; allowed: an absolute path"),
        ],
    )
    def test_by_name(self, jobs: Jobs, given: Mapping[str, object], said: str) -> None:
        asked: dict[str, object] = {"rows": 10, **given}
        with pytest.raises(InvalidRequest, match=f"(?s){said}"):
            jobs.submit(TABLE, **asked)  # type: ignore[arg-type]

    def test_unknown_tables_and_jobs(self, jobs: Jobs) -> None:
        with pytest.raises(NotFound, match="unknown table 'paymentz'"):
            jobs.submit("paymentz", 10)
        for ask in (jobs.get, jobs.cancel, jobs.wait):
            with pytest.raises(NotFound, match="there is no job 'nobody'"):
                ask("nobody")

    def test_a_server_without_a_folder_keeps_no_jobs(self, repository: Path) -> None:
        with (
            serve("--repository", str(repository), "--pool-mib", "0") as served,
            served.client() as client,
            pytest.raises(InvalidRequest, match="`cascade serve --state-dir FOLDER`"),
        ):
            Jobs(client).submit(TABLE, 10)


def test_over_the_servers_own_socket_results_go_anywhere(served: Served, tmp_path: Path) -> None:
    arguments = psutil.Process(served.process.pid).cmdline()
    state = arguments[arguments.index("--state-dir") + 1]
    with Client(f"unix:{state}/control.sock", timeout=SOON) as client:
        job = Jobs(client).submit(TABLE, 50, fidelity="fast", output=str(tmp_path / "out"))
        assert done(Jobs(client), job).output == str(tmp_path / "out")
        with pytest.raises(InvalidRequest, match=f"has the results of job {job.id}"):
            Jobs(client).submit(TABLE, 51, output=str(tmp_path / "out"))
    assert set(contents(str(tmp_path / "out"))) == {
        "data/part-00000.parquet",
        MANIFEST,
        *DESCRIPTIONS,
    }


@pytest.mark.parametrize("output", ["out", "rows.parquet"])
def test_who_asks_again_is_given_the_same_job(served: Served, tmp_path: Path, output: str) -> None:
    """By its token or by its specification: what is at its output is what it has made."""
    arguments = psutil.Process(served.process.pid).cmdline()
    state = arguments[arguments.index("--state-dir") + 1]
    with Client(f"unix:{state}/control.sock", timeout=SOON) as client:
        jobs = Jobs(client)

        def ask(**more: Any) -> Job:
            return jobs.submit(
                TABLE, 50, fidelity="fast", seed=4, output=str(tmp_path / output), **more
            )

        job = done(jobs, ask(token=f"night {output}"))
        assert ask(token=f"night {output}").id == job.id
        assert ask().id == job.id
        with pytest.raises(InvalidRequest, match=r"(is there and is not empty|has the results of)"):
            ask(fresh=True)


def test_a_server_may_take_no_jobs(repository: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with keeping(repository, state, "--max-jobs", "0") as served, served.client() as client:
        with pytest.raises(InvalidRequest, match=r"takes no jobs .max_jobs is 0."):
            client.submit(TABLE, 10)
        assert client.jobs.list() == ()


def test_what_the_operator_allows_is_allowed_to_all(repository: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    given = ("--job-outputs", str(allowed), "--max-jobs", "1", "--executors", "0")
    with keeping(repository, tmp_path / "state", *given) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, 10, output=f"{allowed}/mine")
        assert (job.output, job.state) == (f"{allowed}/mine", JobState.PENDING)
        with pytest.raises(Overloaded, match="1 jobs have not ended, and max_jobs allows 1"):
            jobs.submit(TABLE, 11)
        assert [each.id for each in jobs.list()] == [job.id]
        assert jobs.cancel(job.id).state is JobState.CANCELLED
