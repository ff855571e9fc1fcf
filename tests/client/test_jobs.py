"""Jobs in one's hand: submitted, waited for, read and brought elsewhere, by both clients."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from cascade_client import (
    AsyncClient,
    Client,
    ColumnDescription,
    DeadlineExceeded,
    InvalidRequest,
    JobFailed,
    JobState,
    NotFound,
    ServerError,
    Unavailable,
)
from cascade_client.testing import FakeServer, FakeTable
from cascade_proto import jobs_pb2 as pb

COLUMNS = (
    ColumnDescription("age", "integer", False, "int8", 0, 100),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
    ColumnDescription("member", "boolean", False, "bool"),
)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": FakeTable(columns=COLUMNS)}, chunk_rows=40)


class Asking:
    """A client of either kind, asked as if it were a blocking one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return awaited(getattr(self._client, name))


def awaited(found: Any) -> Any:
    """What an attribute of a client gives in the end."""
    if inspect.isawaitable(found):
        return awaited(asyncio.run(_the(found)))
    if hasattr(found, "to_arrow") and hasattr(found, "wait"):
        return Asking(found)
    if callable(found) and not isinstance(found, type):

        def ask(*positional: Any, **named: Any) -> Any:
            return awaited(found(*positional, **named))

        return ask
    return found


async def _the(found: Any) -> Any:
    return await found


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, server: FakeServer) -> Any:
    made: Client | AsyncClient = (
        server.client() if request.param == "blocking" else server.async_client()
    )
    return Asking(made)


class TestRows:
    """A job's rows, in the form that somebody wants."""

    def test_as_a_frame_of_any_kind(self, client: Any) -> None:
        job = client.submit("people", 100, seed=1)
        table = job.wait().to_arrow()
        assert (table.num_rows, table.column_names) == (100, ["age", "city", "member"])
        assert job.to_polars().equals(pl.from_arrow(table))
        assert len(job.to_pandas()) == 100

    def test_reading_waits(self, client: Any) -> None:
        job = client.submit("people", 50)
        assert job.status.state is JobState.PENDING
        assert len(job.to_pandas()) == 50
        assert job.status.state is JobState.DONE

    def test_what_is_asked_for(self, client: Any, server: FakeServer) -> None:
        job = client.submit(
            "people", 30, columns=["age", "member"], given={"age": 7}, balance="member", seed=3
        )
        frame = job.to_pandas()
        assert list(frame.columns) == ["age", "member"]
        assert set(frame["age"]) == {7}
        assert frame["member"].value_counts().to_dict() == {False: 15, True: 15}
        assert server.asked[0].method == "submit"
        assert server.asked[0].seed == 3

    def test_conditions(self, client: Any) -> None:
        rows = pd.DataFrame({"age": [3, 4]})
        assert list(client.submit("people", conditions=rows, draws=2).to_pandas()["age"]) == [
            3, 3, 4, 4,
        ]  # fmt: skip

    def test_of_another_day(self, client: Any) -> None:
        first = client.submit("people", 10, seed=1)
        again = client.job(first.id)
        assert again.to_pandas().equals(first.to_pandas())
        with pytest.raises(NotFound, match="no job"):
            client.job("nothing")


class TestWaiting:
    """How it goes, and how it ends."""

    def test_progress_is_told(self, client: Any) -> None:
        told: list[tuple[int, int]] = []
        client.submit("people", 100).wait(progress=lambda *each: told.append(each))
        assert told == [(0, 100), (0, 100), (40, 100), (80, 100), (100, 100)]

    def test_a_job_that_fails_says_why(self, client: Any, server: FakeServer) -> None:
        server.fail_job("the disk is gone")
        job = client.submit("people", 100)
        for read in (job.wait, job.to_pandas):
            with pytest.raises(JobFailed, match="is FAILED: the disk is gone"):
                read()

    def test_one_that_is_cancelled_has_no_rows(self, client: Any) -> None:
        job = client.submit("people", 100)
        assert job.cancel().state is JobState.CANCELLED
        with pytest.raises(JobFailed, match="is CANCELLED: cancelled by a caller"):
            job.wait()
        with pytest.raises(InvalidRequest, match="is CANCELLED"):
            job.cancel()

    @pytest.mark.parametrize("messages", [0, 1, 2])
    def test_a_watch_that_just_ends_is_taken_up(
        self, client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch, messages: int
    ) -> None:
        """A proxy may end one: the job goes on, and has not failed."""
        whole = server._jobs.watch
        cut = iter([True, True])

        def watch(body: bytes) -> Any:
            yield from islice(whole(body), messages if next(cut, False) else None)

        monkeypatch.setattr(server._jobs, "watch", watch)
        job = client.submit("people", 200)
        assert job.wait().status.rows_done == 200

    def test_others_look_at_it_meanwhile(self, client: Any, server: FakeServer) -> None:
        """It goes on whenever it is told of, to whomever."""
        job, other = client.submit("people", 200), server.client()
        told: list[tuple[int, int]] = []

        def report(*each: int) -> None:
            told.append(each)  # type: ignore[arg-type]
            for _ in range(9):
                other.jobs.get(job.id)

        assert job.wait(progress=report).status.state is JobState.DONE
        assert told[-1] == (200, 200)

    def test_it_is_cancelled_meanwhile(self, client: Any, server: FakeServer) -> None:
        job, other = client.submit("people", 200), server.client()
        cancel = iter([lambda: other.jobs.cancel(job.id)])

        def report(done: int, _: int) -> None:
            if done == 40:
                next(cancel, lambda: None)()

        with pytest.raises(JobFailed, match="is CANCELLED: cancelled by a caller"):
            job.wait(progress=report)

    def test_a_state_of_a_later_server_is_no_failure(
        self, client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = client.submit("people", 200)
        later = pb.Job(id=job.id, state=17)  # type: ignore[arg-type]
        monkeypatch.setattr(server._jobs, "watch", lambda _: iter([(later, 0)]))
        with pytest.raises(ServerError, match=f"job {job.id}, whose state .* does not know"):
            job.wait()

    def test_a_watch_that_breaks_is_taken_up(self, client: Any, server: FakeServer) -> None:
        job = client.submit("people", 100)
        server.refuse(Unavailable, after=40)
        assert job.wait().status.rows_done == 100

    def test_not_in_time(self, client: Any, server: FakeServer) -> None:
        job = client.submit("people", 100)
        server.refuse(DeadlineExceeded, after=40)
        expected = (
            rf"job {job.id} has not ended within 5 seconds: RUNNING, \d+ of 100 rows; it goes"
        )
        with pytest.raises(DeadlineExceeded, match=expected):
            job.wait(5)
        assert job.refresh().state is JobState.RUNNING
        assert job.status.state is JobState.RUNNING


class TestFiles:
    """Downloads that go on where they were broken off, and files that are checked."""

    @pytest.fixture
    def job(self, client: Any) -> Any:
        return client.submit("people", 200, seed=1).wait()

    def test_a_broken_stream_is_gone_on_with(
        self, job: Any, server: FakeServer, tmp_path: Path
    ) -> None:
        server.refuse(Unavailable, after=1024, times=3)
        names = [path.relative_to(tmp_path).as_posix() for path in job.fetch(tmp_path)]
        parts = [f"data/part-{part:05d}.parquet" for part in range(5)]
        assert names == [*parts, "_croissant.json", "_provenance.json", "_manifest.json"]
        assert len(pd.read_parquet(tmp_path)) == 200

    def test_another_process_goes_on(self, job: Any, server: FakeServer, tmp_path: Path) -> None:
        server.refuse(ServerError, after=1024)
        with pytest.raises(ServerError):
            job.fetch(tmp_path)
        (begun,) = tmp_path.iterdir()
        assert re.fullmatch(r"data%2Fpart-00000\.parquet\.[0-9a-f]{12}\.partial", begun.name)
        assert begun.stat().st_size == 1024
        assert len(job.to_pandas(tmp_path)) == 200
        assert not list(tmp_path.glob("*.partial"))

    def test_what_is_there_is_not_read_again(
        self, job: Any, server: FakeServer, tmp_path: Path
    ) -> None:
        job.fetch(tmp_path)
        server.refuse(ServerError, times=None)
        assert len(job.to_arrow(tmp_path)) == 200

    def test_a_file_of_another_is_not_overwritten(self, job: Any, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        mine = tmp_path / "data/part-00001.parquet"
        mine.write_text("mine")
        with pytest.raises(InvalidRequest, match="is not the file of job"):
            job.fetch(tmp_path)
        assert mine.read_text() == "mine"

    @pytest.mark.parametrize("name", [lambda path: path, str, Path.as_uri])
    def test_into_a_folder(self, job: Any, tmp_path: Path, name: Callable[[Path], Any]) -> None:
        names = job.to_parquet(name(tmp_path / "rows"))
        assert names[-1] == "_manifest.json"
        assert len(pd.read_parquet(tmp_path / "rows")) == 200

    def test_into_a_store_and_on(
        self, job: Any, server: FakeServer, request: pytest.FixtureRequest
    ) -> None:
        fsspec = pytest.importorskip("fsspec")
        files = fsspec.filesystem("memory")
        root = f"/sdk/{request.node.name}"
        server.refuse(ServerError, after=1024)
        with pytest.raises(ServerError):
            job.to_parquet(f"memory:/{root}")
        told: list[tuple[int, int]] = []
        names = job.to_parquet(f"memory:/{root}", progress=lambda *each: told.append(each))
        assert sorted(path.removeprefix(f"{root}/") for path in files.find(root)) == sorted(names)
        assert told[-1][0] == told[-1][1]
        assert len(told) == len(names)
        server.refuse(ServerError, times=None)
        assert job.to_parquet(f"memory:/{root}") == names


class TestOneFile:
    """`to_parquet` of a name that is a file's writes that file, as pandas would."""

    @pytest.fixture
    def job(self, client: Any) -> Any:
        return client.submit("people", 200, seed=1).wait()

    @pytest.mark.parametrize("name", [lambda path: path, str, Path.as_uri])
    def test_all_rows_are_in_it(
        self, job: Any, tmp_path: Path, name: Callable[[Path], Any]
    ) -> None:
        path = tmp_path / "rows.parquet"
        assert job.to_parquet(name(path)) == ["rows.parquet"]
        assert pd.read_parquet(path).equals(job.to_pandas())

    def test_one_that_is_there_is_left_alone(self, job: Any, tmp_path: Path) -> None:
        path = tmp_path / "rows.parquet"
        path.write_text("mine")
        with pytest.raises(InvalidRequest, match=r"rows\.parquet"):
            job.to_parquet(path)
        assert path.read_text() == "mine"

    def test_files_of_other_kinds_are_refused(self, job: Any, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequest, match=r"rows\.csv is the name of a file that"):
            job.to_parquet(tmp_path / "rows.csv")
        assert not list(tmp_path.iterdir())

    async def test_with_asyncio(self, server: FakeServer, tmp_path: Path) -> None:
        async with server.async_client() as client:
            job = await client.submit("people", 200, seed=1)
            assert await job.to_parquet(tmp_path / "rows.parquet") == ["rows.parquet"]
        assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 200

    def test_urls_that_nobody_knows_are_named(self, job: Any) -> None:
        pytest.importorskip("fsspec")
        with pytest.raises(InvalidRequest, match=r"s4://a/b cannot be written: .*s4; allowed: a"):
            job.to_parquet("s4://a/b")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_may_be_said_is_shown_where_one_types(kind: type[Client]) -> None:
    """Notebooks complete the names of a signature, and show no others."""
    assert {"fidelity", "given", "balance", "conditions", "seed"} <= set(
        inspect.signature(kind.submit).parameters
    )


class TestBar:
    """A bar in a notebook is one thing that changes."""

    def test_in_a_notebook(self) -> None:
        from cascade_client.progress import Bar

        shown: list[Any] = []

        class Shown:
            def update(self, said: Any, raw: bool) -> None:
                shown.append((said["text/plain"], raw))

        def display(said: Any, raw: bool, display_id: bool) -> Shown:
            shown.append((said["text/plain"], raw and display_id))
            return Shown()

        bar = Bar("job 1", notebook=display)
        bar(0, 10)
        bar(10, 10)
        assert [text for text, _ in shown] == [
            f"job 1 {'░' * 30} 0 of 10 rows",
            f"job 1 {'█' * 30} 10 of 10 rows",
        ]
        assert all(as_it_is for _, as_it_is in shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": -1}, "rows is -1; an integer from 0"),
        ({"rows": 1.5}, "rows is 1.5; an integer is allowed"),
        ({"rows": "many"}, "rows is 'many'; an integer is allowed"),
        (
            {"rows": 5, "fidelity": "student"},
            "fidelity is 'student'; 'auto', 'fast' .the student. or",
        ),
        ({"rows": 5, "seed": -1}, "seed is -1; an integer from 0"),
        ({"rows": 5, "seed": 2**70}, "seed is 1180591620717411303424; an integer from 0"),
        ({"rows": 5, "version": -3}, "version is -3; an integer from"),
        ({"rows": 5, "draws": "two"}, "draws is 'two'; an integer is allowed"),
        ({"rows": 5, "columns": "city"}, "columns is the string 'city'; a list of names"),
        ({"rows": 5, "balance": "city", "shares": {"Rome": "1"}}, "shares is '1' for 'Rome'"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(
    client: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.submit("people", **arguments)
