"""Crews: what the supervisor knows of processes, and how it and they tell each other things."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol


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
        """What it has said; empty where only part of it has come.

        Raises:
            ConnectionError: there is no supervisor any more.
        """
        content = self._end.recv(65_536)
        if not content:
            raise ConnectionResetError("the supervisor is gone")
        *lines, self._unread = (self._unread + content).split(b"\n")
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Role:
    """What a member does.

    Attributes:
        name: for the log.
        run: its life, in its own process.
        last: whether it is stopped after all that are not.
        once: whether it is done when it has ended well, rather than to be started again.
        holds_nothing: whether nobody misses what it has begun, so that it is killed rather than
            asked to end. A process of the lowest priority may take long to hear that it is asked.
        rests: whether it ends well when there is nothing for it to do, and is started again when it
            is woken.
        dismissing: is told which process is about to be ended on purpose, before it is: one that is
            killed can tell nobody that it did not come to grief.
        left: is told that a process has ended, however it did, before the next one is started.
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
    """When a process that has ended is started again.

    Attributes:
        first_pause, multiplier, longest_pause: seconds of rest before the second start in a row,
            how they grow, and what they do not exceed. The first is at once.
        healthy: seconds after which a process counts as one that works.
        most_starts: in a row that came to nothing, of every process that answers, after which the
            server gives up.
    """

    first_pause: float = 0.1
    multiplier: float = 2.0
    longest_pause: float = 10.0
    healthy: float = 30.0
    most_starts: int = 6


@dataclass(frozen=True)
class Restarts:
    """What has become of the processes of one member, as far as it matters to the next.

    Attributes:
        failures: processes in a row that did not live long enough to count as healthy.
        unready: processes in a row that were never ready: not one that worked and died, but one
            that cannot begin.
    """

    failures: int = 0
    unready: int = 0

    def ended(self, config: RestartConfig, lived: float, was_ready: bool) -> tuple[Restarts, float]:
        """After the end of a process.

        Args:
            config: of starting again.
            lived: seconds.
            was_ready: whether it ever said so.

        Returns:
            The new state, and the seconds to rest before the next start.
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
    """A role and the process that has it now; pid 0: none has.

    Attributes:
        ended: when the last process did, which is started again; None: none was.
        error: why the last process could not go on, as it has said itself.
        deaths, how: how many processes ended without having been asked to, and how the last did.
        resting: whether there is nothing to do for it until it is woken.
        woken: whether there may be more to do than its process, which still lives, has seen.
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

    def hopeless(self, config: RestartConfig) -> bool:
        """Whether none of those that answer, which are not `last`, can be started any more."""
        answering = [member for member in self.members if not member.role.last]
        return all(member.restarts.unready >= config.most_starts for member in answering)

    @property
    def gone(self) -> bool:
        """Whether no process is left."""
        return not any(member.pid for member in self.members)


class Crews(Protocol):
    """Who starts and ends processes; see `Supervisor`."""

    def start(self, name: str, roles: Sequence[Role], begin: Begin) -> Crew:
        """Start a crew; it is told of when it is ready, or has failed."""

    def serves(self, crew: Crew) -> None:
        """From now on, who of the crew dies is started again."""

    def dismiss(self, crew: Crew, grace: float, after: float = 0.0) -> None:
        """Have a crew end what is inside and leave."""

    def wake(self, crew: Crew) -> None:
        """Have members start again who rest, or are about to."""
