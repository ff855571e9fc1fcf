"""When executors are started: by whom there is work, and by what the ledger says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from cascade_server.config import ServerConfig
from cascade_server.errors import ServerError
from cascade_server.jobs.directing import CHECK_SECONDS, JobsDirector
from cascade_server.supervision.crews import Begin, Crew, Member, Role

NOW = 1_000.0
TOLD = ["ready", "failed", "hopeless", "left"]


@dataclass
class Generation:
    config: ServerConfig = field(default_factory=ServerConfig)


@dataclass
class Inner:
    """Decides about all else; keeps what it is told."""

    current: Generation | None = field(default_factory=Generation)
    told: list[str] = field(default_factory=list)
    due: float = math.inf

    def said(self, member: Member, what: dict[str, Any]) -> None:
        self.told.append(f"said {what}")

    def ready(self, crew: Crew) -> None:
        self.told.append("ready")

    def failed(self, crew: Crew, why: str) -> None:
        self.told.append("failed")

    def hopeless(self, crew: Crew, why: str) -> None:
        self.told.append("hopeless")

    def left(self, crew: Crew) -> None:
        self.told.append("left")

    def hung_up(self) -> None:
        self.told.append("hung up")

    def look(self, now: float) -> float:
        return self.due


@dataclass
class Started:
    """Who starts crews; keeps what is asked."""

    asked: list[str] = field(default_factory=list)
    crews: list[Crew] = field(default_factory=list)

    def start(self, name: str, roles: Sequence[Role], begin: Begin) -> Crew:
        self.asked.append(f"start {len(roles)}")
        self.crews.append(Crew(name, begin))
        return self.crews[-1]

    def serves(self, crew: Crew) -> None:
        self.asked.append("serves")

    def dismiss(self, crew: Crew, grace: float, after: float = 0.0) -> None:
        self.asked.append("dismiss")

    def wake(self, crew: Crew) -> None:
        self.asked.append("wake")


class End:
    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, content: bytes) -> None:
        self.sent += content


def life(*_: object) -> None:
    raise AssertionError("no process is started here")


@dataclass
class Directed:
    inner: Inner = field(default_factory=Inner)
    crews: Started = field(default_factory=Started)
    due: float | Exception | None = None
    wall: float = 50.0

    def __post_init__(self) -> None:
        self.director = JobsDirector(
            self.inner,
            self.crews,
            lambda current: [Role("executor", life)] * current.config.executors,
            self.next_work,
            lambda: self.wall,
        )

    def next_work(self) -> float | None:
        if isinstance(self.due, Exception):
            raise self.due
        return self.due

    def work(self) -> bytes:
        """A worker says that there is work."""
        end: Any = End()
        member = Member(Role("worker 0", life), Crew("workers", Begin.FIRST), end=end)
        self.director.said(member, {"ask": "work", "number": 7})
        sent: bytes = end.sent
        return sent


@pytest.fixture
def directed() -> Directed:
    return Directed()


def test_a_server_without_jobs_starts_nobody(directed: Directed) -> None:
    assert directed.director.look(NOW) == NOW + CHECK_SECONDS
    assert directed.crews.asked == []


def test_they_are_started_once_and_then_woken(directed: Directed) -> None:
    assert directed.work() == b'{"answer": 7, "done": {}}\n'
    directed.director.look(NOW)
    assert directed.crews.asked == ["start 1", "serves"]
    directed.director.look(NOW + 1)
    directed.work()
    directed.director.look(NOW + 2)
    assert directed.crews.asked == ["start 1", "serves", "wake"]


def test_what_a_server_before_has_left_is_gone_on_with(directed: Directed) -> None:
    directed.due = 0.0
    directed.director.look(NOW)
    assert directed.crews.asked == ["start 1", "serves"]


def test_what_is_due_later_is_begun_then(directed: Directed) -> None:
    directed.due = directed.wall + 30
    assert directed.director.look(NOW) == NOW + 30
    assert directed.crews.asked == []
    directed.wall += 30
    directed.director.look(NOW + 30)
    assert directed.crews.asked == ["start 1", "serves"]


def test_with_the_next_processes_come_the_next_executors(directed: Directed) -> None:
    directed.work()
    directed.director.look(NOW)
    directed.inner.current = Generation()
    directed.due = 0.0
    directed.director.look(NOW + 1)
    assert directed.crews.asked == ["start 1", "serves", "dismiss", "start 1", "serves"]


def test_before_anybody_answers_nobody_is_started(directed: Directed) -> None:
    directed.inner.current = None
    directed.work()
    assert directed.director.look(NOW) == math.inf
    assert directed.crews.asked == []


def test_a_server_that_is_to_have_no_executors_has_none(directed: Directed) -> None:
    directed.inner.current = Generation(ServerConfig(executors=0))
    directed.work()
    directed.director.look(NOW)
    assert directed.crews.asked == []


def test_a_ledger_that_cannot_be_read_stops_nobody(
    directed: Directed, caplog: pytest.LogCaptureFixture
) -> None:
    directed.due = ServerError("jobs.sqlite is damaged")
    assert directed.director.look(NOW) == NOW + CHECK_SECONDS
    assert "jobs wait: jobs.sqlite is damaged" in caplog.text


def test_all_else_is_handed_on(directed: Directed) -> None:
    other = Crew("workers", Begin.FIRST)
    member = Member(Role("worker 0", life), other)
    directed.director.said(member, {"ask": "list", "number": 1})
    directed.director.ready(other)
    directed.director.failed(other, "why")
    directed.director.hopeless(other, "why")
    directed.director.left(other)
    directed.director.hung_up()
    assert directed.inner.told == ["said {'ask': 'list', 'number': 1}", *TOLD, "hung up"]


def test_of_executors_nobody_else_is_told(
    directed: Directed, caplog: pytest.LogCaptureFixture
) -> None:
    directed.work()
    directed.director.look(NOW)
    (crew,) = directed.crews.crews
    directed.director.said(Member(Role("executor", life), crew), {"ready": True})
    directed.director.hopeless(crew, "no worker can start")
    directed.director.left(crew)
    assert directed.inner.told == []
    assert "jobs wait: no executor can start" in caplog.text
