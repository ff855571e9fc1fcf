"""Callers themselves, in processes of their own, against a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cascade_loadtest.callers import Plan, offer
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.open_loop import End
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig

from tests.releases import TABLE, make_release
from tests.server.messages import ask, row
from tests.server.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    repository: Path = tmp_path_factory.mktemp("model_repository")
    make_release(repository)
    with running(ServerConfig(repository=repository, port=0)) as found:
        yield found


def plan(kind: str, target: str, deadline: float = 60.0, table: str = TABLE) -> Plan:
    message = ask(row(amount=12.5), fidelity=pb.FIDELITY_FAST).SerializeToString()
    return Plan(
        kind=kind,
        target=target,
        table=table,
        known={"amount": 12.5, "at": datetime(2026, 1, 7, 12, 30)},
        late=["channel"],
        draws=1,
        message=base64.b64encode(message).decode(),
        due=[0.01 * number for number in range(9)],
        deadline=deadline,
        connections=3,
    )


@pytest.mark.parametrize("kind", ["sdk", "grpcio"])
def test_all_calls_of_all_processes_are_told(server: Running, kind: str) -> None:
    found = offer(plan(kind, server.target), processes=2)
    assert list(found.ends) == [End.OK] * 9
    assert len(found.in_time(60.0)) == 9
    assert found.lag >= 0


def test_a_deadline_that_nobody_can_keep(server: Running) -> None:
    """One that has passed: of a microsecond, an answer may come before the timer."""
    found = offer(plan("grpcio", server.target, deadline=-60.0), processes=1)
    assert list(found.ends) == [End.GAVE_UP] * 9


def test_a_process_that_cannot_connect_says_so(
    server: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LoadFailed, match="ended before it was ready"):
        offer(plan("sdk", server.target, table="nope"), processes=1)
    assert "unknown table 'nope'" in capfd.readouterr().err
