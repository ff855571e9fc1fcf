"""Offline jobs with `cascade serve` as it is typed: asked for, killed, gone on with, fetched."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from cascade_client import Client, InvalidRequest, NotFound, Overloaded, PermissionDenied
from cascade_client.commands.jobs import jobs as command
from cascade_client.job_control import Jobs
from cascade_client.jobs import Job, JobState
from click.testing import CliRunner

from tests.integration.serving import CASCADE, SOON, Served, serve, until
from tests.releases import TABLE, make_release

# Of `make kill-test`; in the suite a few are made.
KILLS = int(os.environ.get("CASCADE_KILLS", "4"))
SEED = int(os.environ.get("CASCADE_KILL_SEED", "1"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@contextmanager
def keeping(repository: Path, state: Path, *options: str) -> Iterator[Served]:
    """A server that keeps jobs."""
    given = ("--repository", str(repository), "--state-dir", str(state), "--pool-mib", "0")
    with serve(*given, *options) as served:
        yield served


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with keeping(repository, tmp_path_factory.mktemp("state"), "--job-max-rows", "100000") as one:
        yield one


@pytest.fixture
def jobs(served: Served) -> Iterator[Jobs]:
    with served.client() as client:
        yield Jobs(client)


def contents(output: str) -> dict[str, str]:
    """Checksums of all files of an output, by name."""
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(Path(output).iterdir())
    }


def done(jobs: Jobs, job: Job) -> Job:
    ended = jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.reason
    return ended


class TestRows:
    """A job's rows are those that the server draws for its seed, whoever is asked for them."""

    @pytest.mark.parametrize(("tier", "fidelity"), [("student", "fast"), ("teacher", "full")])
    def test_they_are_those_of_synthesize(
        self, served: Served, jobs: Jobs, tier: str, fidelity: str
    ) -> None:
        job = done(jobs, jobs.submit(TABLE, 1500, tier=tier, seed=11))
        table = pq.read_table(job.output)
        assert (table.num_rows, job.rows_done, job.tier) == (1500, 1500, tier)
        with served.client() as client:
            rows = client.synthesize(
                TABLE,
                [{}] * 1500,
                seed=11,
                fidelity=fidelity,
                timeout=SOON,  # type: ignore[arg-type]
            ).data
        assert table.to_pylist() == rows

    def test_given_values_stand_in_every_row(self, jobs: Jobs) -> None:
        known = {"channel": "web", "items": 3}
        job = jobs.submit(TABLE, 300, tier="student", given=known, columns=["items", "channel"])
        table = pq.read_table(done(jobs, job).output)
        assert table.column_names == ["items", "channel"]
        assert set(table["channel"].to_pylist()) == {"web"}
        assert set(table["items"].to_pylist()) == {3}

    def test_a_column_is_balanced(self, jobs: Jobs) -> None:
        asked = jobs.submit(TABLE, 1000, tier="student", balance="channel")
        channels = pq.read_table(done(jobs, asked).output)["channel"].to_pylist()
        assert sorted(map(channels.count, ("web", "app", "shop"))) == [333, 333, 334]
        asked = jobs.submit(
            TABLE, 1000, tier="teacher", balance="member", shares={True: 1, False: 3}
        )
        numbers = jobs.submit(TABLE, 100, tier="student", balance="fraud")
        frauds = pq.read_table(done(jobs, numbers).output)["fraud"].to_pylist()
        assert (frauds.count(0), frauds.count(1)) == (50, 50)
        members = pq.read_table(done(jobs, asked).output)["member"].to_pylist()
        assert (members.count(True), members.count(False)) == (250, 750)

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_conditions_are_completed_each_so_often(self, jobs: Jobs, tier: str) -> None:
        """Rows miss different columns; what is given comes back as it was."""
        conditions = [{"amount": 12.34}, {"channel": "app", "member": True}, {"items": 5}]
        job = jobs.submit(TABLE, tier=tier, conditions=conditions, draws=400, seed=2)
        rows = pq.read_table(done(jobs, job).output).to_pylist()
        assert len(rows) == 1200
        for place, row in enumerate(rows):
            given = conditions[place // 400]
            assert {name: row[name] for name in given} == given
        assert len({row["at"] for row in rows}) > 1000


class TestAskedTwice:
    """One job, however often it is asked for."""

    def test_the_same_specification_is_not_made_twice(self, jobs: Jobs) -> None:
        first = jobs.submit(TABLE, 123, tier="student", seed=5)
        again = jobs.submit(TABLE, 123, tier="student", seed=5)
        assert (first.reused, again.reused, again.id) == (False, True, first.id)
        fresh = jobs.submit(TABLE, 123, tier="student", seed=5, fresh=True)
        assert fresh.id != first.id
        assert contents(done(jobs, first).output) == contents(done(jobs, fresh).output)

    def test_without_a_seed_one_is_drawn_and_told(self, jobs: Jobs) -> None:
        job = jobs.submit(TABLE, 99, tier="student")
        assert jobs.submit(TABLE, 99, tier="student").id == job.id
        other = jobs.submit(TABLE, 99, tier="student", fresh=True)
        assert other.seed != job.seed
        again = jobs.submit(TABLE, 99, tier="student", seed=job.seed)
        assert again.id != job.id
        name = "part-00000.parquet"
        assert contents(done(jobs, again).output)[name] == contents(done(jobs, job).output)[name]

    def test_a_token_stands_for_one_job(self, jobs: Jobs) -> None:
        first = jobs.submit(TABLE, 77, tier="student", token="mine", fresh=True)
        assert jobs.submit(TABLE, 77, tier="student", token="mine", fresh=True).id == first.id
        with pytest.raises(InvalidRequest, match=f"'mine' stands for job {first.id}"):
            jobs.submit(TABLE, 78, tier="student", token="mine")


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

        job = done(jobs, jobs.submit(TABLE, 10, tier="student", seed=1))
        with served.client() as client, pytest.raises(NotFound, match="has no file"):
            list(Jobs(client)._resumed(
                lambda: Jobs(client)._stub.ReadResult(pb.ReadResultRequest(id=job.id, name=name))
            ))  # fmt: skip

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
        job = Jobs(client).submit(TABLE, 50, tier="student", output=str(tmp_path / "out"))
        assert done(Jobs(client), job).output == str(tmp_path / "out")
        with pytest.raises(InvalidRequest, match="is there and is not empty"):
            Jobs(client).submit(TABLE, 51, output=str(tmp_path / "out"))
    assert set(contents(str(tmp_path / "out"))) == {"part-00000.parquet", "_manifest.json"}


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


def executors(served: Served) -> list[psutil.Process]:
    """Processes that hold an executor's lock."""
    found = []
    for each in psutil.Process(served.process.pid).children():
        with suppress(psutil.Error):
            if any("/owners/" in file.path for file in each.open_files()):
                found.append(each)
    return found


def stop_executor(served: Served, before: int) -> int:
    """Have the executor stand still, once it is another than before; its process."""
    until(lambda: any(each.pid != before for each in executors(served)))
    (executor,) = (each for each in executors(served) if each.pid != before)
    executor.suspend()
    return executor.pid


def test_an_executor_is_there_while_there_is_work(served: Served, jobs: Jobs) -> None:
    until(lambda: not executors(served))
    before = len(served.children)
    job = jobs.submit(TABLE, 100_000, tier="student", seed=77)
    until(lambda: len(executors(served)) == 1)
    (executor,) = executors(served)
    with suppress(psutil.Error):  # it may have ended since
        assert executor.nice() == 19
        assert os.sched_getscheduler(executor.pid) == os.SCHED_IDLE
    done(jobs, job)
    until(lambda: len(served.children) == before)


def test_a_cancelled_job_leaves_nothing(served: Served, jobs: Jobs) -> None:
    job = jobs.submit(TABLE, 100_000, tier="teacher", seed=1)
    until(lambda: jobs.get(job.id).rows_done > 0)
    cancelled = jobs.cancel(job.id)
    assert (cancelled.state, cancelled.reason) == (JobState.CANCELLED, "cancelled by a caller")
    until(lambda: not Path(job.output).exists())
    assert jobs.wait(job.id).state is JobState.CANCELLED


class TestCommands:
    """What is typed, and what a terminal or a script is told."""

    def run(self, served: Served, *arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--target", served.target])
        assert result.exit_code == 0, result.output
        return result.stdout

    def test_submit_watch_list_and_fetch(self, served: Served, tmp_path: Path) -> None:
        lines = self.run(
            served,
            *("submit", TABLE, "--rows", "2000", "--tier", "student", "--seed", "21"),
            *("--given", "channel=web", "--watch", "--json"),
        ).splitlines()
        last = json.loads(lines[-1])
        assert (last["state"], last["rows_done"], last["tier"]) == ("DONE", 2000, "student")
        assert last["id"] in self.run(served, "list")
        fetched = tmp_path / "rows"
        said = self.run(served, "fetch", last["id"], "--out", str(fetched))
        assert said == f"2 files are in {fetched}, checked\n"
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
        job = done(jobs, jobs.submit(TABLE, 3000, tier="student", seed=31))
        whole = (Path(job.output) / "part-00000.parquet").read_bytes()
        begun = tmp_path / "part-00000.parquet.partial"
        begun.write_bytes(whole[:1000])
        told: list[int] = []
        jobs.fetch(job.id, tmp_path, lambda bytes_done, _: told.append(bytes_done))
        assert contents(str(tmp_path)) == contents(job.output)
        assert told[-1] == sum(each.bytes for each in jobs.get(job.id, files=True).result_files)

    def test_a_download_that_is_not_what_was_made_is_dropped(
        self, jobs: Jobs, tmp_path: Path
    ) -> None:
        from cascade_client import ServerError

        job = done(jobs, jobs.submit(TABLE, 3000, tier="student", seed=31))
        begun = tmp_path / "part-00000.parquet.partial"
        begun.write_bytes(b"not the beginning" * 10)
        with pytest.raises(ServerError, match="what came is dropped"):
            jobs.fetch(job.id, tmp_path)
        assert not begun.exists()
        jobs.fetch(job.id, tmp_path)
        assert contents(str(tmp_path)) == contents(job.output)


def test_two_servers_do_not_share_a_folder(served: Served, repository: Path) -> None:
    arguments = psutil.Process(served.process.pid).cmdline()
    state = arguments[arguments.index("--state-dir") + 1]
    result = subprocess.run(
        [*CASCADE, "serve", "--port", "0", "--repository", str(repository), "--state-dir", state],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert result.returncode == 1
    assert "is in use by another server" in result.stderr


def test_a_server_that_is_stopped_and_started_goes_on(repository: Path, tmp_path: Path) -> None:
    with keeping(repository, tmp_path / "state") as served, served.client() as client:
        job = Jobs(client).submit(TABLE, 40_000, tier="teacher", seed=4)
        until(lambda: Jobs(client).get(job.id).files_done > 0)
        kept = {
            each.name: each.sha256 for each in Jobs(client).get(job.id, files=True).result_files
        }
    with keeping(repository, tmp_path / "state") as served, served.client() as client:
        jobs = Jobs(client)
        # Nobody has to ask for it.
        until(lambda: jobs.get(job.id).files_done > len(kept))
        found = jobs.get(job.id, files=True)
        assert kept.items() <= {each.name: each.sha256 for each in found.result_files}.items()
        jobs.cancel(job.id)


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_a_job_keeps_to_its_release_whatever_is_loaded_and_unloaded(
    repository: Path, tmp_path: Path, tier: str
) -> None:
    """New processes answer, with another version and another teacher's process. Unloaded, the
    release is still in the repository, and its teacher in nobody's process but the executor's."""
    folder = Path(shutil.copytree(repository, tmp_path / "repository"))
    rows = 100_000 if tier == "student" else 17_000
    with keeping(folder, tmp_path / "state") as served, served.client() as client:
        jobs = Jobs(client)
        expected = contents(done(jobs, jobs.submit(TABLE, rows, tier=tier, seed=6)).output)
        job = jobs.submit(TABLE, rows, tier=tier, seed=6, fresh=True)
        make_release(folder, version=2, seed=8)
        with Client(f"unix:{tmp_path}/state/control.sock", timeout=SOON) as control:
            stopped = stop_executor(served, 0)
            control.releases.load(TABLE)
            stop_executor(served, stopped)
            control.releases.unload(TABLE, 1)
        assert not jobs.get(job.id).state.is_final
        ended = done(jobs, job)
        assert ended.version == 1
        assert contents(ended.output) == expected
        assert jobs.submit(TABLE, 5, tier="student").version == 2


def processes_of(served: Served) -> dict[str, psutil.Process]:
    """Those that may be killed, by what they are."""
    server = psutil.Process(served.process.pid)
    found = {"server": server}
    holding = {each.pid for each in executors(served)}
    for each in server.children():
        with suppress(psutil.Error):
            if each.pid in holding:
                found["executor"] = each
            elif each.nice() == 19:
                found["teacher"] = each
            else:
                found["worker"] = each
    return found


@pytest.mark.parametrize("tier", ["student", "teacher"])
@pytest.mark.timeout(3600)
def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(
    repository: Path, tmp_path: Path, tier: str
) -> None:
    """kill -9 at moments that a seed says, of the server, a worker, the teacher and the executor:
    the job ends with the files of a run that nobody disturbed."""
    rng = random.Random(f"{SEED} {tier}")
    rows = 60_000 if tier == "student" else 12_000
    with keeping(repository, tmp_path / "undisturbed") as served, served.client() as client:
        undisturbed = done(Jobs(client), Jobs(client).submit(TABLE, rows, tier=tier, seed=3))
        seconds = undisturbed.finished - undisturbed.started  # type: ignore[operator]
        expected = contents(undisturbed.output)
    made, kills, job = 0, 0, None
    while kills < KILLS:
        with keeping(repository, tmp_path / "disturbed") as served, served.client() as client:
            jobs = Jobs(client)
            while kills < KILLS and served.process.poll() is None:
                if job is None or jobs.get(job.id).state.is_final:
                    if job is not None:
                        assert contents(done(jobs, job).output) == expected
                        made += 1
                    job = jobs.submit(TABLE, rows, tier=tier, seed=3, fresh=True)
                # Several to a job, wherever they come.
                time.sleep(rng.random() * max(0.2, seconds.total_seconds()) / 2)
                found = processes_of(served)
                who = rng.choice(sorted(found))
                with suppress(psutil.Error):
                    found[who].send_signal(signal.SIGKILL)
                    kills += 1
                if who == "server":
                    served.process.wait(SOON)
    assert job is not None
    with keeping(repository, tmp_path / "disturbed") as served, served.client() as client:
        assert contents(done(Jobs(client), job).output) == expected
