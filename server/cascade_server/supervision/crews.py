"""Crews: the supervisor's records of processes, and the messages between it and them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol


class Begin(Enum):
    """How a member starts."""

    FIRST = auto()  # in the first crew: callers may be told that it is still loading
    NEXT = auto()  # in a crew that follows another: it is told when to take over
    AGAIN = auto()  # in place of a member that has died


class Post:
    """A member's end of the connection to the supervisor."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._unread = end, b""

    def tell(self, **what: Any) -> None:
        """Send a message to the supervisor; thread-safe."""
        self._end.sendall(json.dumps(what).encode() + b"\n")

    def fileno(self) -> int:
        """Return a descriptor that is readable when the supervisor has sent something."""
        return self._end.fileno()

    def read(self) -> list[dict[str, Any]]:
        """Return the received messages; empty if only part of one has arrived.

        Raises:
            ConnectionError: the supervisor is gone.
        """
        content = self._end.recv(65_536)
        if not content:
            raise ConnectionResetError("the supervisor is gone")
        *lines, self._unread = (self._unread + content).split(b"\n")
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Role:
    """The work of a member.

    Attributes:
        name: for the log.
        run: the main function of its process.
        last: whether it is stopped after all members without this flag.
        once: whether it is done when it ends well, rather than being started again.
        holds_nothing: whether it may lose its work, so that it is killed rather than asked to end.
            A process of the lowest priority may take long to notice the request.
        rests: whether it ends well when it has nothing to do, and is started again when it is
            woken.
        dismissing: called with the process id just before the process is ended on purpose: a killed
            process cannot report that it did not fail.
        left: called when a process has ended, for whatever reason, before the next one starts.
    """

    name: str
    run: Callable[[Post, Begin], None]
    last: bool = False
    once: bool = False
    holds_nothing: bool = False
    rests: bool = False
    dismissing: Callable[[int], None] = lambda _: None
    left: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RestartConfig:
    """When to start a process again after it has ended.

    Attributes:
        first_pause, multiplier, longest_pause: seconds to pause before the second start in a row,
            the growth factor, and the upper limit. The first restart is immediate.
        healthy: seconds after which a process counts as working.
        most_starts: the server gives up after this many failed starts in a row of every process
            that answers.
    """

    first_pause: float = 0.1
    multiplier: float = 2.0
    longest_pause: float = 10.0
    healthy: float = 30.0
    most_starts: int = 6


@dataclass(frozen=True)
class Restarts:
    """The history of one member's processes, as far as it matters to the next.

    Attributes:
        failures: processes in a row that did not live long enough to count as healthy.
        unready: processes in a row that never became ready: they did not die at work, but could not
            start.
    """

    failures: int = 0
    unready: int = 0

    def ended(self, config: RestartConfig, lived: float, was_ready: bool) -> tuple[Restarts, float]:
        """Account for the end of a process.

        Args:
            config: when to start again.
            lived: seconds that it lived.
            was_ready: whether it ever reported ready.

        Returns:
            The new state, and the seconds to pause before the next start.
        """
        before = 0 if lived >= config.healthy else self.failures
        after = Restarts(before + 1, 0 if was_ready else self.unready + 1)
        if before == 0:
            return after, 0.0
        pause = config.first_pause * config.multiplier ** min(before - 1, 64)
        return after, min(pause, config.longest_pause)


class Phase(Enum):
    """Where a crew is in its life."""

    STARTING = auto()
    READY = auto()
    SERVING = auto()
    LEAVING = auto()


@dataclass(eq=False)
class Member:
    """A role and its current process; pid 0 if there is none.

    Attributes:
        ended: when the last process ended that is to be started again; None if none did.
        error: the last process's own reason why it could not go on.
        deaths, how: number of processes that ended unasked, and how the last one ended.
        resting: whether it has nothing to do until it is woken.
        woken: whether there may be new work that its process, which still lives, has not seen.
    """

    role: Role
    crew: Crew
    pid: int = 0
    end: socket.socket | None = None
    began: float = 0.0
    ready: bool = False
    restarts: Restarts = field(default_factory=Restarts)
    ended: float | None = None
    start_at: float = 0.0
    unread: bytes = b""
    asked_to_end: bool = False
    error: str = ""
    deaths: int = 0
    how: str = ""
    resting: bool = False
    woken: bool = False

    def tell(self, **what: Any) -> bool:
        """Send a message to the process; False if there is none any more."""
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
        begin: how its members start.
        asked_at: when members that have not left by themselves are asked to, on the monotonic
            clock.
        until: when members that have not left are killed.
    """

    name: str
    begin: Begin
    members: list[Member] = field(default_factory=list)
    phase: Phase = Phase.STARTING
    asked_at: float = float("inf")
    until: float = float("inf")

    def hopeless(self, config: RestartConfig) -> bool:
        """Whether no member that answers, which are those not `last`, can be started any more."""
        answering = [member for member in self.members if not member.role.last]
        return all(member.restarts.unready >= config.most_starts for member in answering)

    @property
    def gone(self) -> bool:
        """Whether no process is left."""
        return not any(member.pid for member in self.members)


class Crews(Protocol):
    """Starts and ends processes; see `Supervisor`."""

    def start(self, name: str, roles: Sequence[Role], begin: Begin) -> Crew:
        """Start a crew; the director is told when it is ready or has failed."""

    def serves(self, crew: Crew) -> None:
        """From now on, restart members of the crew that die."""

    def dismiss(self, crew: Crew, grace: float, after: float = 0.0) -> None:
        """Let a crew finish its work and leave."""

    def wake(self, crew: Crew) -> None:
        """Restart the members that rest, or are about to."""
