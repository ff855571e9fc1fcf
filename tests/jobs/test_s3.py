"""Results in a bucket, over the S3 API of a real server: moto's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cascade_jobs.states import JobState
from cascade_tables import read_table
from cascade_tables.connectors import sinks
from cascade_tables.connectors.sources import fetch_source
from cascade_tables.errors import DataError

from tests.jobs.made_up import Jobs, contents, made_up

moto = pytest.importorskip("moto.server", reason="needs moto[s3], flask and s3fs")
s3fs = pytest.importorskip("s3fs", reason="needs moto[s3], flask and s3fs")
# botocore's own, about its and Python's versions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system with one bucket, "rows", and its server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    with suppress(FileExistsError):  # what servers of this process have is moto's one memory
        files.mkdir("rows")
    yield files, server
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def names(files: Any, folder: str) -> list[str]:
    """What is in a folder, also what begins with a dot."""
    return sorted(path.removeprefix(f"{folder}/") for path in files.find(folder))


def test_a_job_goes_there_whole(jobs: Jobs, bucket: Any) -> None:
    files, _ = bucket
    there, here = jobs.submit(output="s3://rows/whole"), jobs.submit()
    jobs.finish()
    assert jobs.ledger.job(there.id).state is JobState.DONE
    assert names(files, "rows/whole") == sorted(contents(here.output))
    for part in jobs.ledger.parts(here.id):
        assert files.cat_file(f"rows/whole/{part.name}") == contents(here.output)[part.name]


def test_what_a_cancelled_job_has_made_there_is_removed(jobs: Jobs, bucket: Any) -> None:
    files, _ = bucket
    job, executor = jobs.submit(output="s3://rows/cancelled"), jobs.executor()
    executor.step()
    assert names(files, "rows/cancelled") == ["data/part-00000.parquet"]
    jobs.ledger.cancel(job.id, "not wanted")
    jobs.finish(executor)
    assert names(files, "rows/cancelled") == []


def test_a_bucket_that_there_is_not_is_named_and_not_made(jobs: Jobs, bucket: Any) -> None:
    files, _ = bucket
    job = jobs.submit(output="s3://rosw/whole")
    jobs.executor().step()
    failed = jobs.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert failed.reason.startswith("s3://rosw/whole cannot be written: ")
    assert "does not exist" in failed.reason
    assert not files.exists("rosw")


def test_a_server_that_is_away_is_waited_for(jobs: Jobs, bucket: Any) -> None:
    _, server = bucket
    job = jobs.submit(10, output="s3://rows/away")
    server.stop()
    jobs.executor().step()
    waits = jobs.ledger.job(job.id)
    assert waits.state is JobState.RUNNING
    assert "Could not connect" in waits.waiting


def test_tables_go_there_and_come_back(bucket: Any, tmp_path: Path) -> None:
    rows = made_up(7, 0, 100)
    for name in ("one.parquet", "two.parquet"):
        sinks.write_table(f"s3://rows/tables/{name}", rows)
    with pytest.raises(DataError, match=r"s3://rows/tables/one.parquet is there"):
        sinks.write_table("s3://rows/tables/one.parquet", rows)
    files = fetch_source("s3://rows/tables/*.parquet", tmp_path)
    assert [read_table(file).to_rows() for file in files] == [rows.to_rows()] * 2
    with pytest.raises(DataError, match=r"there is no s3://rows/tables/absent.csv"):
        fetch_source("s3://rows/tables/absent.csv", tmp_path)
