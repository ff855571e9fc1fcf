"""Decides when executors start, beside the director of releases, for the supervisor."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascade_server.config import ServerConfig
from cascade_server.errors import ServerError
from cascade_server.supervision.crews import Begin, Crew, Crews, Member, Role

log = logging.getLogger("cascade.server")

# Seconds between checks of the ledger without notice of work: for jobs to be forgotten, or jobs
# that exist when a server starts.
CHECK_SECONDS = 600.0
NAME = "executors"


class Generation(Protocol):
    """Processes that answer, with their settings."""

    config: ServerConfig


class Inner(Protocol):
    """Decides everything else: a `Director`, with the generation that answers now."""

    @property
    def current(self) -> Generation | None:
        """The generation that answers; None if none does yet."""

    def said(self, member: Member, what: dict[str, Any]) -> None: ...
    def ready(self, crew: Crew) -> None: ...
    def failed(self, crew: Crew, why: str) -> None: ...
    def hopeless(self, crew: Crew, why: str) -> None: ...
    def left(self, crew: Crew) -> None: ...
    def hung_up(self) -> None: ...
    def look(self, now: float) -> float: ...


class JobsDirector:
    """Starts executors when there is work, and delegates everything else. A `Director`.

    Executors end by themselves when there is nothing left to do, and rest until they are woken, so
    a server without jobs has none. They use the teacher of the processes that answer: the next
    generation gets new executors, which continue where the old ones were.

    Args:
        inner: decides everything else.
        crews: starts processes.
        roles: returns the executors for a generation.
        next_work: returns when there is work, in seconds since 1970-01-01 UTC.
        clock: returns such seconds.
    """

    def __init__(
        self,
        inner: Inner,
        crews: Crews,
        roles: Callable[[Any], Sequence[Role]],
        next_work: Callable[[], float | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner, self._crews, self._roles = inner, crews, roles
        self._next_work, self._clock = next_work, clock
        self._crew: Crew | None = None
        self._generation: Generation | None = None
        self._is_wanted = False
        self._check_at = 0.0

    def said(self, member: Member, what: dict[str, Any]) -> None:
        if what.get("ask") == "work":
            self._is_wanted = True
            member.tell(answer=what["number"], done={})
        elif member.crew is not self._crew:
            self._inner.said(member, what)

    def ready(self, crew: Crew) -> None:
        self._inner.ready(crew)

    def failed(self, crew: Crew, why: str) -> None:
        self._inner.failed(crew, why)

    def hopeless(self, crew: Crew, why: str) -> None:
        if crew is self._crew:
            log.error("jobs wait: %s", why.replace("worker", "executor"))
        else:
            self._inner.hopeless(crew, why)

    def left(self, crew: Crew) -> None:
        if crew.name != NAME:
            self._inner.left(crew)

    def hung_up(self) -> None:
        self._inner.hung_up()

    def look(self, now: float) -> float:
        due = self._inner.look(now)
        current = self._inner.current
        if current is None:
            return due
        if current is not self._generation:
            self._follow(current)
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            self._check(now)
        if self._is_wanted:
            self._is_wanted = False
            self._start(current)
        return min(due, self._check_at)

    def _follow(self, current: Generation) -> None:
        """Stop the executors of the generation that has been replaced; `_check` starts new ones."""
        self._generation, self._check_at = current, 0.0
        if self._crew is not None:
            self._crews.dismiss(self._crew, 0.0)
            self._crew = None

    def _check(self, now: float) -> None:
        try:
            due = self._next_work()
        except (ServerError, sqlite3.Error, OSError) as exc:
            log.error("jobs wait: %s", exc)
            return
        if due is None:
            return
        left = due - self._clock()
        if left <= 0:
            # A started executor does not end before the work is done.
            self._is_wanted = True
        else:
            self._check_at = min(self._check_at, now + left)

    def _start(self, current: Generation) -> None:
        if self._crew is not None:
            self._crews.wake(self._crew)
            return
        roles = self._roles(current)
        if roles:
            self._crew = self._crews.start(NAME, roles, Begin.NEXT)
            # Nobody waits for executors to be ready, and one that dies before that is restarted.
            self._crews.serves(self._crew)
