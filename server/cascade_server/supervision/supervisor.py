"""Starts processes in crews, monitors them, restarts and ends them.

A crew is a set of processes that belong together: workers and their teacher. It is ready when every
member is. Once it serves, members that die are restarted. If a member dies or reports an error
before all are ready, the whole crew has failed. A crew that is dismissed finishes its calls, and is
killed when its time is over.

The supervisor forks before any part of gRPC or ONNX Runtime exists, and has no event loop. Members
and the supervisor exchange lines of JSON. The kernel tells members when the supervisor is gone;
they then drain.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascade_server.supervision.crews import (
    Begin,
    Crew,
    Member,
    Phase,
    RestartConfig,
    Restarts,
    Role,
)
from cascade_server.supervision.system import System, describe

log = logging.getLogger("cascade.server")

# Seconds beyond the drain before a member is killed.
KILL_AFTER = 5.0
# Seconds between starts of members while others answer: a fork takes milliseconds.
BETWEEN_FORKS = 0.1


class Director(Protocol):
    """Makes the decisions; the supervisor calls it, and it starts and dismisses crews."""

    def said(self, member: Member, what: dict[str, Any]) -> None:
        """A member has sent a message."""

    def ready(self, crew: Crew) -> None:
        """All members of a crew are ready."""

    def failed(self, crew: Crew, why: str) -> None:
        """A crew cannot become ready; it is being dismissed."""

    def hopeless(self, crew: Crew, why: str) -> None:
        """No answering member of a serving crew can be started any more; attempts continue.

        Raises:
            ServerError: the server gives up.
        """

    def left(self, crew: Crew) -> None:
        """A crew that was dismissed is gone."""

    def hung_up(self) -> None:
        """SIGHUP has arrived: check the repository now."""

    def look(self, now: float) -> float:
        """Do what is due; return when to call again."""


class Supervisor:
    """Starts crews, restarts members that die, and stops everything.

    Args:
        draining: called when all are asked to stop.
        grace: seconds that they may take to drain.
        config: when to restart.
        system: processes and a clock.
        watching: called with all crews before each wait, when something may have changed.
    """

    def __init__(
        self,
        draining: Callable[[], None],
        grace: float,
        config: RestartConfig | None = None,
        system: System | None = None,
        watching: Callable[[Sequence[Crew]], None] = lambda _: None,
    ) -> None:
        self._draining, self._grace = draining, grace
        self._watching = watching
        self._director: Director
        self._config = config or RestartConfig()
        self._crews: list[Crew] = []
        self._system = system or System()
        self._selector, self._clock = self._system.selector, self._system.clock
        self._wakeup = -1
        self._stopping = self._hung_up = False

    def directed_by(self, director: Director) -> None:
        """Set the director, which is told of all events."""
        self._director = director

    # Called by the director.

    def start(self, name: str, roles: Sequence[Role], begin: Begin) -> Crew:
        """Start a crew; the director is told when it is ready or has failed."""
        crew = Crew(name, begin)
        pause = BETWEEN_FORKS if begin is Begin.NEXT else 0.0
        now = self._clock()
        crew.members = [
            Member(role, crew, start_at=now + pause * number) for number, role in enumerate(roles)
        ]
        self._crews.append(crew)
        return crew

    def serves(self, crew: Crew) -> None:
        """From now on, restart members of the crew that die."""
        crew.phase = Phase.SERVING

    def dismiss(self, crew: Crew, grace: float, after: float = 0.0) -> None:
        """Let a crew finish its work and leave; call it again to shorten the time.

        Args:
            crew: the crew.
            grace: seconds for its members once they are asked to leave.
            after: seconds before that, in which they may leave by themselves.
        """
        crew.phase = Phase.LEAVING
        crew.asked_at = min(crew.asked_at, self._clock() + after)
        crew.until = min(crew.until, crew.asked_at + grace + KILL_AFTER)

    def wake(self, crew: Crew) -> None:
        """Restart members of a crew that rest, or are about to.

        One may have looked for work just before there was some.
        """
        for member in crew.members:
            member.woken = True
            if member.resting:
                self._rouse(member)

    def _rouse(self, member: Member) -> None:
        member.resting = member.woken = False
        member.start_at = self._clock()

    # The supervisor's main loop.

    def run(
        self, director: Director, begin: Callable[[], None], last: Callable[[Crew], bool]
    ) -> None:
        """Run until SIGTERM or SIGINT; return when all processes have ended.

        Args:
            director: makes the decisions.
            begin: starts the first crews.
            last: whether a crew is stopped after those for which this is false.

        Raises:
            ServerError: an error of the director.
        """
        self.directed_by(director)
        wakeup, signals = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(signals, False)
        before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
        handlers = {number: signal.signal(number, self._on_signal) for number in numbers}
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._wakeup = wakeup
        try:
            begin()
            while not self._stopping:
                self.step()
            self._draining()
        finally:
            self._end_all(last)
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(wakeup)
            os.close(signals)

    def _on_signal(self, number: int, _frame: Any) -> None:
        if number == signal.SIGHUP:
            self._hung_up = True
        elif number != signal.SIGCHLD:
            self._stopping = True

    def _end_all(self, last: Callable[[Crew], bool]) -> None:
        self._stopping = True
        for now in (False, True):
            for crew in self._crews:
                if last(crew) is now:
                    self.dismiss(crew, self._grace)
            while any(last(crew) is now for crew in self._crews):
                self.step()

    def step(self) -> None:
        """Do what is due, then wait for the next event."""
        now = self._clock()
        due = [float("inf")]
        if not self._stopping:
            if self._hung_up:
                self._hung_up = False
                for crew in self._crews:
                    for member in crew.members:
                        if member.pid:
                            self._system.kill(member.pid, signal.SIGHUP)
                self._director.hung_up()
            due.append(self._director.look(now))
        for crew in list(self._crews):
            due.append(self._tend(crew, now))
        self._watching(self._crews)
        soonest = min(due)
        timeout = None if soonest == float("inf") else max(0.0, soonest - self._clock())
        for key, _ in self._selector.select(timeout):
            if key.fd == self._wakeup:
                os.read(self._wakeup, 4096)
            else:
                self._hear(key.data)
        self._reap()

    def _tend(self, crew: Crew, now: float) -> float:
        """Start, end and kill the members that are due; return when to look again."""
        due = float("inf")
        if crew.phase is Phase.LEAVING:
            if crew.gone:
                self._crews.remove(crew)
                if not self._stopping:
                    self._director.left(crew)
                return now
            first = [each for each in crew.members if each.pid and not each.role.last]
            for member in first or [each for each in crew.members if each.pid]:
                if not member.asked_to_end and (now >= crew.asked_at or member.role.last):
                    member.asked_to_end = True
                    member.role.dismissing(member.pid)
                    ends = signal.SIGKILL if member.role.holds_nothing else signal.SIGTERM
                    self._system.kill(member.pid, ends)
                if now >= crew.until:
                    self._system.kill(member.pid, signal.SIGKILL)
            return min((each for each in (crew.asked_at, crew.until) if each > now), default=due)
        for member in crew.members:
            if member.pid or member.resting or (member.role.once and member.ready):
                continue
            if member.start_at <= now and not self._start(member):
                return now
            if not member.pid:
                due = min(due, member.start_at)
        if crew.phase is Phase.STARTING and all(member.ready for member in crew.members):
            crew.phase = Phase.READY
            self._director.ready(crew)
            return now  # it may have found something to do
        return due

    def _start(self, member: Member) -> bool:
        """Start a member's process, if there is room; return whether its crew goes on."""
        begin = Begin.AGAIN if member.crew.phase is Phase.SERVING else member.crew.begin
        member.unread = b""
        member.began, member.ready, member.asked_to_end = self._clock(), False, False
        member.error, member.woken = "", False
        try:
            member.pid, end = self._system.start(member.role, begin)
        except OSError as exc:
            # A machine without room for a process may have some in a moment; that is no reason to
            # end the processes that answer.
            self._died(member, 0, f"could not be started: {exc.strerror or exc}")
            return member.crew.phase is not Phase.LEAVING
        try:
            self._selector.register(end, selectors.EVENT_READ, member)
        except OSError as exc:
            # A process that cannot be heard is of no use; its end is noticed like any other.
            log.error("%s cannot be heard: %s", member.role.name, exc.strerror or exc)
            end.close()
            self._system.kill(member.pid, signal.SIGKILL)
            return True
        member.end = end
        return True

    def _hear(self, member: Member) -> None:
        if member.end is None:
            return
        try:
            content = member.end.recv(65_536)
        except ConnectionError:
            content = b""
        if not content:
            self._hang_up(member)
            return
        *lines, member.unread = (member.unread + content).split(b"\n")
        for line in lines:
            self._heard(member, json.loads(line))

    def _heard(self, member: Member, said: dict[str, Any]) -> None:
        crew = member.crew
        self._director.said(member, said)
        if "error" in said:
            member.error = said["error"]
            if crew.phase in (Phase.STARTING, Phase.READY):
                self._fail(crew, said["error"])
            elif crew.phase is Phase.SERVING:
                log.error("%s cannot start: %s", member.role.name, said["error"])
        if "ready" in said:
            member.ready = True
            if crew.phase is Phase.SERVING and member.ended is not None:
                away = self._clock() - member.ended
                log.warning("%s is ready again, after %.2f s", member.role.name, away)

    def _fail(self, crew: Crew, why: str) -> None:
        self.dismiss(crew, 0.0)
        if not self._stopping:
            self._director.failed(crew, why)

    def _reap(self) -> None:
        for crew in list(self._crews):
            for member in crew.members:
                if member.pid:
                    status = self._system.ended(member.pid)
                    if status is not None:
                        self._ended(member, status)

    def _ended(self, member: Member, status: int) -> None:
        pid, member.pid = member.pid, 0
        while member.end is not None:  # its last messages
            self._hear(member)
        member.role.left()
        crew = member.crew
        if crew.phase is Phase.LEAVING or (member.role.once and member.ready):
            return
        if crew.phase is Phase.SERVING and member.role.rests and status == 0:
            member.resting, member.ended, member.restarts = True, None, Restarts()
            if member.woken:
                self._rouse(member)
            return
        self._died(member, pid, describe(status))

    def _died(self, member: Member, pid: int, how: str) -> None:
        """Handle a process that ended unasked, or could not start: pid 0."""
        crew = member.crew
        if crew.phase is not Phase.SERVING:
            before = " before it was ready" if pid else ""
            self._fail(crew, f"{member.role.name} {how}{before}")
            return
        member.ended, member.how = self._clock(), how
        member.deaths += 1
        lived = member.ended - member.began
        member.restarts, pause = member.restarts.ended(self._config, lived, member.ready)
        member.start_at = member.ended + pause
        number = f" (process {pid})" if pid else ""
        log.warning("%s%s %s; starting it again", member.role.name, number, how)
        if not self._stopping and crew.hopeless(self._config):
            times = member.restarts.unready
            why = member.error or f"{member.role.name} {how}"
            self._director.hopeless(
                crew, f"no worker can start, after {times} tries in a row: {why}"
            )

    def _hang_up(self, member: Member) -> None:
        if member.end is not None:
            self._selector.unregister(member.end)
            member.end.close()
            member.end = None
