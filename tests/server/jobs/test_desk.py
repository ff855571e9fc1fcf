"""What a worker is told of a ledger that cannot be asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import grpc
import pytest
from cascade_jobs.errors import LedgerRefused, TooManyJobs, UnknownJob
from cascade_jobs.ledger import NAME, Ledger
from cascade_server.config import ServerConfig
from cascade_server.errors import NotAllowed, NotReady, refusal_of
from cascade_server.jobs.desk import Desk, folder_of


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
