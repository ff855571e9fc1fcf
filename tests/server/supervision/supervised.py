"""A supervisor on a machine of which a test says what happens there."""

from __future__ import annotations

import json
import math
import selectors
import signal
from collections import deque
from types import SimpleNamespace
from typing import Any

from cascade_server.supervision.crews import Begin, Crew, Member, RestartConfig, Role
from cascade_server.supervision.supervisor import Supervisor
from cascade_server.supervision.system import System

GRACE = 10.0
CONFIG = RestartConfig(most_starts=3)
SIGKILLED, FAILED, WELL = signal.SIGKILL.value, 1 << 8, 0


class End:
    """This end of the line to a process."""

    def __init__(self) -> None:
        self.unread: deque[bytes] = deque()
        self.closed = False

    def recv(self, _: int) -> bytes:
        return self.unread.popleft() if self.unread else b""

    def sendall(self, content: bytes) -> None:
        """Nobody is there."""

    def close(self) -> None:
        self.closed = True


class Machine:
    """A clock that goes on when somebody waits, and processes that are only numbers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pids = 100
        self.begun: list[tuple[float, str, Begin]] = []
        self.kills: list[tuple[float, str, signal.Signals]] = []
        self.names: dict[int, str] = {}
        self.ends: dict[int, End] = {}
        self.statuses: dict[int, int] = {}
        # Of processes that are asked for from now on; None: there is room for one.
        self.refusals: deque[OSError | None] = deque()
        # Of ends of lines, likewise.
        self.unheard: deque[OSError] = deque()
        self.lines: dict[Any, Any] = {}
        # Whether who is asked to end does.
        self.obeys = False

    def system(self) -> System:
        selector: Any = SimpleNamespace(
            register=self.register, unregister=self.unregister, select=self.select
        )
        start: Any = self.start
        return System(lambda: self.now, start, self.kill, self.ended, selector)

    def start(self, role: Role, begin: Begin) -> tuple[int, End]:
        if self.refusals and (refusal := self.refusals.popleft()) is not None:
            raise refusal
        self.pids += 1
        self.begun.append((self.now, role.name, begin))
        self.names[self.pids], end = role.name, End()
        self.ends[self.pids] = end
        return self.pids, end

    def kill(self, pid: int, number: int) -> None:
        self.kills.append((self.now, self.names[pid], signal.Signals(number)))
        if number == signal.SIGKILL:
            self.statuses[pid] = SIGKILLED
        elif self.obeys:
            self.statuses[pid] = WELL

    def ended(self, pid: int) -> int | None:
        return self.statuses.pop(pid, None)

    def register(self, end: End, events: int, member: Member) -> None:
        assert events == selectors.EVENT_READ
        if self.unheard:
            raise self.unheard.popleft()
        self.lines[end] = member

    def unregister(self, end: End) -> None:
        del self.lines[end]

    def select(self, timeout: float | None) -> list[Any]:
        heard = [
            (SimpleNamespace(fd=None, data=member), selectors.EVENT_READ)
            for end, member in self.lines.items()
            if end.unread
        ]
        if not heard and not self.statuses and timeout is not None:
            self.now += timeout
        return heard

    def pid(self, name: str) -> int:
        """The process that has a role now."""
        return max(pid for pid, each in self.names.items() if each == name)

    def says(self, name: str, **what: Any) -> None:
        self.ends[self.pid(name)].unread.append(json.dumps(what).encode() + b"\n")

    def ends_with(self, name: str, status: int) -> None:
        self.statuses[self.pid(name)] = status


class Told:
    """A director that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.crews: list[tuple[str, str]] = []

    def said(self, member: Member, what: dict[str, Any]) -> None:
        self.heard.append((member.role.name, what))

    def ready(self, crew: Crew) -> None:
        self.crews.append((crew.name, "ready"))

    def failed(self, crew: Crew, why: str) -> None:
        self.crews.append((crew.name, why))

    def hopeless(self, crew: Crew, why: str) -> None:
        self.crews.append((crew.name, f"hopeless: {why}"))

    def left(self, crew: Crew) -> None:
        self.crews.append((crew.name, "left"))

    def hung_up(self) -> None:
        """Nobody does."""

    def look(self, now: float) -> float:
        return math.inf


def life(*_: object) -> None:
    raise AssertionError("no process is started here")


WORKERS = [Role("a", life), Role("b", life)]
TEACHER = Role("teacher", life, last=True, holds_nothing=True)


class Supervised:
    """A supervisor on such a machine."""

    def __init__(self) -> None:
        self.machine, self.told = Machine(), Told()
        self.supervisor = Supervisor(lambda: None, GRACE, CONFIG, self.machine.system())
        self.supervisor.directed_by(self.told)

    def serving(self, *roles: Role) -> Crew:
        crew = self.supervisor.start("crew", roles, Begin.FIRST)
        self.steps(2)
        for role in roles:
            self.machine.says(role.name, ready=True)
        self.steps(2)
        assert self.told.crews == [("crew", "ready")]
        self.supervisor.serves(crew)
        self.told.crews.clear()
        self.machine.begun.clear()
        return crew

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.supervisor.step()
