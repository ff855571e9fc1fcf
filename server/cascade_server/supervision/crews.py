"""Crews: what the supervisor knows of processes, and how it and they tell each other things."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from cascade_server.supervision.restarts import Restarts


class Begin(Enum):
    """How a member is to begin."""

    FIRST = auto()  # of the first crew: whoever asks may be told that it still loads
    NEXT = auto()  # of one that follows another: it is told when to take over
    AGAIN = auto()  # in the place of a member that has died


class Post:
    """A member's end of what it and the supervisor tell each other."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._unread = end, b""

    def tell(self, **what: Any) -> None:
        """Tell the supervisor; any thread may."""
        self._end.sendall(json.dumps(what).encode() + b"\n")

    def fileno(self) -> int:
        """Readable when the supervisor has said something."""
        return self._end.fileno()

    def read(self) -> list[dict[str, Any]]:
        """What it has said; empty where only part of it has come."""
        *lines, self._unread = (self._unread + self._end.recv(65_536)).split(b"\n")
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Role:
    """What a member does.

    Attributes:
        name: for the log.
        run: its life, in its own process.
        last: whether it is stopped after all that are not.
        once: whether it is done when it has ended well, rather than to be started again.
    """

    name: str
    run: Callable[[Post, Begin], None]
    last: bool = False
    once: bool = False


class Phase(Enum):
    """Where a crew is in its life."""

    STARTING = auto()
    READY = auto()
    SERVING = auto()
    LEAVING = auto()


@dataclass(eq=False)
class Member:
    """A role and the process that has it now; pid 0: none has."""

    role: Role
    crew: Crew
    pid: int = 0
    end: socket.socket | None = None
    began: float = 0.0
    ready: bool = False
    restarts: Restarts = field(default_factory=Restarts)
    ended: float = 0.0
    start_at: float = 0.0
    unread: bytes = b""
    asked_to_end: bool = False

    def tell(self, **what: Any) -> bool:
        """Say something to the process; False: there is none any more."""
        if self.end is None:
            return False
        try:
            self.end.sendall(json.dumps(what).encode() + b"\n")
        except OSError:
            return False
        return True


@dataclass(eq=False)
class Crew:
    """Members that start together, and leave together.

    Attributes:
        name: for the log.
        begin: how its members do.
        asked_at: when who has not left by itself is asked to, on the monotonic clock.
        until: when who has not left is killed.
    """

    name: str
    begin: Begin
    members: list[Member] = field(default_factory=list)
    phase: Phase = Phase.STARTING
    asked_at: float = float("inf")
    until: float = float("inf")

    @property
    def gone(self) -> bool:
        """Whether no process is left."""
        return not any(member.pid for member in self.members)
