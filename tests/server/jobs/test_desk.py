"""What a worker is told of a ledger that cannot be asked, and of what earlier jobs have left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import fsspec
import grpc
import pytest
from cascade_jobs.errors import LedgerRefused, SpecificationRefused, TooManyJobs, UnknownJob
from cascade_jobs.job import Job
from cascade_jobs.ledger import NAME, Asked, Ledger
from cascade_server.config import ServerConfig
from cascade_server.errors import NotAllowed, NotReady, refusal_of
from cascade_server.jobs import desk as desk_module
from cascade_server.jobs.desk import Desk, folder_of

from tests.jobs.made_up import SHARD_ROWS, SPECIFICATION, Jobs


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder_of(tmp_path).mkdir()
    return tmp_path


async def test_a_damaged_ledger_is_named_and_stops_nobody(state: Path) -> None:
    (folder_of(state) / NAME).write_bytes(b"no database" * 1000)
    desk = Desk(ServerConfig(state_dir=state), None)
    with pytest.raises(LedgerRefused, match="move the file away") as raised:
        await desk.jobs(10)
    assert refusal_of(raised.value).code is grpc.StatusCode.FAILED_PRECONDITION
    desk.close()


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ("database or disk is full", TooManyJobs, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("database is locked", NotReady, grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_why_it_cannot_be_asked_is_said(
    state: Path,
    said: str,
    kind: type[Exception],
    code: grpc.StatusCode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError(said)

    monkeypatch.setattr(Ledger, "cancel", fails)
    desk = Desk(ServerConfig(state_dir=state), None)
    with pytest.raises(kind, match=said) as raised:
        await desk.cancel("a")
    refusal = refusal_of(raised.value)
    assert refusal.code is code
    # Who is told that the disk is full need not try again at once.
    assert refusal.pushback_ms == (-1 if kind is TooManyJobs else None)
    desk.close()


async def test_a_server_without_a_folder_says_how_to_have_one() -> None:
    desk = Desk(ServerConfig(), None)
    with pytest.raises(NotAllowed, match="--state-dir FOLDER"):
        await desk.jobs(10)
    desk.close()


async def test_what_there_is_not_is_not_found(state: Path) -> None:
    desk = Desk(ServerConfig(state_dir=state), None)
    with pytest.raises(UnknownJob) as raised:
        await desk.job("nobody")
    assert refusal_of(raised.value).code is grpc.StatusCode.NOT_FOUND
    assert await desk.jobs(10) == []
    desk.close()


class Supervisor:
    """The line to it; has nobody started."""

    async def ask(self, what: str) -> dict[str, Any]:
        return {}


class Submitting:
    """A desk, jobs that are done, and where they have put their files: a store in memory."""

    def __init__(self, state: Path) -> None:
        self.jobs = Jobs(folder_of(state))
        control: Any = Supervisor()
        self.desk = Desk(ServerConfig(state_dir=state), control)
        self.output = f"memory://desk{state}"
        self.files, self.folder = fsspec.core.url_to_fs(self.output)

    def close(self) -> None:
        self.desk.close()
        self.jobs.close()

    async def submit(self, fresh: bool = False, **more: Any) -> tuple[Job, bool]:
        asked = Asked(replace(SPECIFICATION, **more), SHARD_ROWS, fresh=fresh)
        return await self.desk.submit(asked)

    def finish(self) -> None:
        self.jobs.clock.now += 1
        self.jobs.finish()

    def looks(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Job], bool]) -> list[str]:
        """Of which jobs it is looked whether they are there, which `answer` says."""
        looked: list[str] = []

        def look(job: Job, *_: object) -> bool:
            looked.append(job.id)
            return answer(job)

        monkeypatch.setattr(desk_module, "is_still_there", look)
        return looked


@pytest.fixture
def submitting(state: Path) -> Iterator[Submitting]:
    made = Submitting(state)
    yield made
    made.close()


class TestWhereOthersWere:
    """Rows of two jobs are never in one folder: whoever reads it would read both."""

    async def test_not_where_a_file_of_another_job_is_left(self, submitting: Submitting) -> None:
        first, _ = await submitting.submit(output=submitting.output)
        submitting.finish()
        submitting.files.rm_file(f"{submitting.folder}/data/part-00000.parquet")
        # Of the same specification, too, which is not all there to be reused.
        for more in ({}, {"seed": 8, "rows": 1500}):
            with pytest.raises(SpecificationRefused, match=f"has the results of job {first.id}"):
                await submitting.submit(output=submitting.output, **more)
        submitting.files.rm(submitting.folder, recursive=True)
        assert (await submitting.submit(output=submitting.output, seed=8))[1] is False

    async def test_not_where_a_job_was_that_is_forgotten(self, submitting: Submitting) -> None:
        first, _ = await submitting.submit(output=submitting.output)
        submitting.finish()
        submitting.jobs.ledger.forget(first.id)
        with pytest.raises(SpecificationRefused, match="is there and is not empty; allowed: a fol"):
            await submitting.submit(output=submitting.output, seed=8)

    async def test_what_is_there_whole_is_reused(self, submitting: Submitting) -> None:
        first, _ = await submitting.submit(output=submitting.output)
        assert (await submitting.submit(output=submitting.output))[0].id == first.id
        submitting.finish()
        found, was_there = await submitting.submit(output=submitting.output)
        assert (found.id, was_there) == (first.id, True)

    async def test_a_file_that_is_there_is_left_alone(
        self, submitting: Submitting, tmp_path: Path
    ) -> None:
        mine = tmp_path / "rows.parquet"
        mine.write_text("mine")
        with pytest.raises(SpecificationRefused, match=f"output {mine} is there and is not empty"):
            await submitting.submit(output=str(mine))
        assert mine.read_text() == "mine"

    async def test_a_folder_with_anything_in_it_is_left_alone(
        self, submitting: Submitting, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/notes.txt").write_text("mine")
        with pytest.raises(SpecificationRefused, match="mine is there and is not empty; allowed"):
            await submitting.submit(output=str(tmp_path / "mine"))


class TestLooking:
    """Nobody waits for a store longer than for a while, nor for more than need be."""

    async def test_who_wants_fresh_rows_has_nobody_look(
        self, submitting: Submitting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, _ = await submitting.submit()
        submitting.finish()
        looked = submitting.looks(monkeypatch, lambda _: True)
        assert (await submitting.submit(fresh=True))[0].id != first.id
        assert looked == []

    async def test_it_stops_at_the_newest_that_is_there(
        self, submitting: Submitting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []
        for _ in range(3):
            made.append((await submitting.submit(fresh=True))[0].id)
            submitting.finish()
        looked = submitting.looks(monkeypatch, lambda job: job.id != made[2])
        assert (await submitting.submit())[0].id == made[1]
        assert looked == [made[2], made[1]]

    async def test_a_store_that_does_not_answer_is_not_waited_for(
        self, submitting: Submitting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What cannot be told counts as there."""
        first, _ = await submitting.submit()
        submitting.finish()
        monkeypatch.setattr(desk_module, "LOOK_SECONDS", 0.05)
        answers = Event()
        submitting.looks(monkeypatch, lambda _: answers.wait(60) and False)
        try:
            assert (await submitting.submit())[0].id == first.id
        finally:
            answers.set()

    async def test_nor_where_the_jobs_own_files_are_to_go(
        self, submitting: Submitting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody is known to be there; of somebody who is, it is not known that he is gone."""
        monkeypatch.setattr(desk_module, "LOOK_SECONDS", 0.05)
        answers = Event()
        monkeypatch.setattr(desk_module, "is_empty", lambda _: answers.wait(60))
        try:
            first, _ = await submitting.submit(output=submitting.output)
            submitting.finish()
            with pytest.raises(SpecificationRefused, match=f"has the results of job {first.id}"):
                await submitting.submit(output=submitting.output, seed=8)
        finally:
            answers.set()
