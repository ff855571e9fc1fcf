"""The server's gate: who is inside, and how many may be."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from cascade_server.cascade.admission import (
    Limit,
    LimitConfig,
    admits,
    crowded,
    pushback_ms,
    room,
    updated,
)
from cascade_server.errors import TooMuch
from cascade_server.terms import Priority

# Of one turn in `Gate.pace`.
PACE_WEIGHT = 0.1
# Who may wait for a place at once; a stream that has begun always may.
MOST_WAITING = 64


class Gate:
    """Counts who is inside, and learns how many may be."""

    def __init__(self, config: LimitConfig | None = None) -> None:
        self.config = config or LimitConfig()
        self.limit = Limit(self.config.initial)
        self.inside = dict.fromkeys(Priority, 0)
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }
        # Of those inside in real time, who wait for the teacher.
        self.at_teacher = 0
        # Calls pile up; see `Pace`.
        self.behind = False
        self.refused = 0
        # Seconds that pass for each call that is answered in its turn, while others wait.
        self.pace = 0.0

    def enter(self, service: Priority) -> None:
        """Be inside, until `leave`.

        Raises:
            TooMuch: the server is full for this class; says when to come back.
        """
        if not admits(self.limit, self.config, self.inside, service):
            self._refuse(0)
        self.inside[service] += 1

    async def wait_to_enter(self, priority: Priority, is_new: bool) -> None:
        """Be inside, until `leave`, once there is a place; who waits is let in by turns.

        For work of many parts, such as a stream's messages: each part waits for a place of its own,
        behind the parts of others that came before it, so that streams take turns.

        Args:
            priority: as for `enter`.
            is_new: whether nothing of the work is done yet, so that to refuse it loses nothing.

        Raises:
            TooMuch: it is new, and as many wait as may; says when to come back.
        """
        waiting = self._waiting[priority]
        if not waiting and admits(self.limit, self.config, self.inside, priority):
            self.inside[priority] += 1
            return
        if is_new and len(waiting) >= MOST_WAITING:
            self._refuse(len(waiting))
        place = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                waiting.remove(place)
            else:  # It was let in at the same moment.
                self.leave(priority)
            raise

    def _let_in(self) -> None:
        for priority, waiting in self._waiting.items():
            while waiting and admits(self.limit, self.config, self.inside, priority):
                self.inside[priority] += 1
                waiting.popleft().set_result(None)

    def room(self) -> int:
        """How many more real-time requests may enter."""
        return room(self.limit, self.config, self.inside)

    def crowded(self) -> bool:
        """Whether AUTO lets no more wait for the teacher."""
        return self.behind or crowded(self.limit, self.config, self.at_teacher)

    @contextmanager
    def waits_for_teacher(self, service: Priority) -> Iterator[None]:
        """One who is inside waits for the teacher, until the block ends."""
        counted = service is Priority.REALTIME
        self.at_teacher += counted
        try:
            yield
        finally:
            self.at_teacher -= counted

    def admit(self, waiting: int, remaining: float) -> None:
        """Let one more wait at the gate, behind others that do, with so many seconds left.

        Raises:
            TooMuch: as many wait as the limit is, or too many for it to be answered in time; says
                when to come back.
        """
        if waiting >= self.limit.value:
            self._refuse(waiting)
        # Who is the first is taken in any case: what was learnt in a bad moment is forgotten so.
        if waiting and (waiting + 1) * self.pace > self.config.patience(remaining):
            self._refuse(waiting, waiting)

    def turned(self, seconds: float, left: int) -> None:
        """A turn took so long for each of its calls, and `left` more were waiting meanwhile; where
        none were, it tells no more than that calls are answered at least as fast."""
        if left or seconds < self.pace:
            self.pace += PACE_WEIGHT * (seconds - self.pace) if self.pace else seconds

    def learn(self, seconds: float, waiting: int) -> None:
        """A request took so long that did not enter: it was answered in its turn at the gate,
        with `waiting` others beside it."""
        inside = sum(self.inside.values()) + waiting
        self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)

    def _refuse(self, waiting: int, takes: int | None = None) -> NoReturn:
        self.refused += 1
        inside = sum(self.inside.values()) + waiting
        takes = int(self.limit.value) if takes is None else takes
        raise TooMuch(
            f"{inside} requests are inside, and the server takes {takes} now",
            pushback_ms=pushback_ms(self.limit, inside),
        )

    def leave(self, service: Priority, seconds: float | None = None) -> None:
        """Be outside again.

        Args:
            service: as it entered.
            seconds: that it took, if it is one of those that the limit is learnt from: requests
                that take equally long on an idle server.
        """
        if seconds is not None:
            inside = sum(self.inside.values())
            self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)
        self.inside[service] -= 1
        self._let_in()
