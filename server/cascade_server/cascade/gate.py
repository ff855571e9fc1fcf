"""The server's gate: who is inside, how many may be, and whether calls pile up in front of it."""

from __future__ import annotations

import asyncio
import math
import resource
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from cascade_server.cascade.admission import (
    Limit,
    LimitConfig,
    admits,
    crowded,
    in_time,
    pushback_ms,
    room,
    updated,
)
from cascade_server.errors import TooMuch
from cascade_server.terms import Priority

# Of one turn in `Gate.seconds_a_call`.
PACE_WEIGHT = 0.1
# Calls that come by chance while the loop is at work. A turn of the student for as many takes about
# half as long as they would one by one.
PILE = 4
# Times the patience that all who wait may take together where those with nearer deadlines go first.
OVERTAKING = 2.0
# Why a call is refused at the door.
FULL = "as many calls wait as the server takes now"
LATE = "more calls wait than can be answered in time"
# Who may wait for a place at once; a stream that has begun always may.
MOST_WAITING = 64


def times_slept() -> int:
    """How often this thread has waited for something: for an event loop, until there is work."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Gate:
    """Counts who is inside, and learns how many may be.

    Attributes:
        limit: how many may be inside.
        inside: who is, by class.
        at_teacher: of those inside in real time, who wait for the teacher.
        refused: calls that were, so far.
        seconds_a_call: that pass for each call that is answered in its turn, while others wait.

    Args:
        config: of the limit.
        slept: counts how often the loop has had nothing to do.
        queued: seconds of work that waits inside, in front of the engines that all calls need.
    """

    def __init__(
        self,
        config: LimitConfig | None = None,
        slept: Callable[[], int] = times_slept,
        queued: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.config = config or LimitConfig()
        self.limit = Limit(self.config.initial)
        self.inside = dict.fromkeys(Priority, 0)
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }
        self.at_teacher = self.refused = 0
        self.seconds_a_call = 0.0
        self._slept, self._last_slept, self._queued = slept, slept(), queued
        self._behind = False

    def turn_begins(self, calls: int) -> None:
        """So many calls are about to be answered together; to be told once a turn.

        Those that piled up while the loop was at work are told from those that just came at once,
        to a loop that had been asleep. The loop keeps up by answering from the student together
        what has piled up. A call that waits for the teacher costs it as much as one that comes
        alone, however many there are: AUTO is not to spend that when there is a pile, but a caller
        with an idle server to himself may send as many together as he likes.
        """
        last, self._last_slept = self._last_slept, self._slept()
        self._behind = calls > PILE and self._last_slept == last

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
                # Unless it has been passed over already, by others who left at the same moment.
                if place in waiting:
                    waiting.remove(place)
            else:  # It was let in at the same moment.
                self.leave(priority)
            raise

    def _let_in(self) -> None:
        for priority, waiting in self._waiting.items():
            while waiting and admits(self.limit, self.config, self.inside, priority):
                place = waiting.popleft()
                # Whoever is cancelled learns of it only when its task runs next.
                if not place.cancelled():
                    self.inside[priority] += 1
                    place.set_result(None)

    def room(self) -> int:
        """How many more real-time requests may enter."""
        return room(self.limit, self.config, self.inside)

    def crowded(self) -> bool:
        """Whether AUTO lets no more wait for the teacher."""
        return self._behind or crowded(self.limit, self.config, self.at_teacher)

    @contextmanager
    def waits_for_teacher(self, service: Priority) -> Iterator[None]:
        """One who is inside waits for the teacher, until the block ends."""
        counted = service is Priority.REALTIME
        self.at_teacher += counted
        try:
            yield
        finally:
            self.at_teacher -= counted

    def objection(
        self,
        waiting: int,
        remaining: float,
        patient: bool = False,
        before: Callable[[], int] | None = None,
        crowd: float = math.inf,
    ) -> str | None:
        """Why one more may not wait at the gate, with others that do; None: it may.

        Args:
            waiting: how many do.
            remaining: seconds to its deadline.
            patient: whether it rather waits than is refused, as long as it can be answered in time;
                others are not to wait for longer than a part of what is promised.
            before: counts those of them whose turn comes before its own; None: all of them. Who has
                a deadline is not refused for a pile of calls that have none, or far ones.
            crowd: calls that would wait, this one among them, if all who ask had as many as who
                asks now; infinite: that is not known. Who asks for little is let in beside others
                who have filled the place, as long as its turn comes in time.
        """
        asks_little = crowd <= self.limit.value
        if patient:
            patience = in_time(remaining)
        elif self.is_full(waiting, crowd):
            return FULL
        else:
            patience = self.config.patience(remaining)
        # The first waiter is always admitted, so that what was learnt in a bad moment is forgotten.
        queued = self._queued()
        takes = (waiting + 1) * self.seconds_a_call + queued
        if takes <= patience or not (waiting or queued):
            return None
        if before is None:
            return LATE
        turn_comes_after = (before() + 1) * self.seconds_a_call + queued
        if asks_little and crowd * self.seconds_a_call <= patience:
            return None if turn_comes_after <= in_time(remaining) else LATE
        if takes <= OVERTAKING * patience and turn_comes_after <= patience:
            return None
        return LATE

    def is_full(self, waiting: int, crowd: float) -> bool:
        """Whether as many wait as may, beside one who does not ask for little; see `objection`."""
        return waiting >= self.limit.value and crowd > self.limit.value

    def refused_alike(self, why: str, remaining: float, crowd: float) -> tuple[float, float]:
        """Who else is refused as one who has just been, as long as none who waits is taken.

        Others whose deadlines are no nearer find as many before them, or more. But who has more
        time may be more patient, and who asks for little may be let in.

        Args:
            why: as `objection` said.
            remaining, crowd: of the one who was refused; see `objection`.

        Returns:
            Seconds to their deadlines that others have at most, and the crowd that theirs is larger
            than, if they are refused alike.
        """
        patience = self.config.patience(remaining)
        little = self.limit.value
        if why is LATE and self.seconds_a_call:
            little = min(little, patience / self.seconds_a_call)
        if crowd <= little:
            return -math.inf, math.inf
        is_most = patience == self.config.patience(math.inf)
        return math.inf if is_most else remaining, little

    def admit_to_queue(self, seconds: float, remaining: float) -> None:
        """Let one that is inside wait in front of an engine; others may have gone there since it
        was admitted.

        Args:
            seconds: that it would wait.
            remaining: seconds to its deadline.

        Raises:
            TooMuch: that is more than a call may wait; says when to come back.
        """
        if seconds > self.config.patience(remaining):
            raise TooMuch(LATE, self.refuses(0))

    def turned(self, seconds: float, left: int) -> None:
        """A turn took so long for each of its calls, and `left` more were waiting meanwhile; where
        none were, it tells no more than that calls are answered at least as fast."""
        if left or seconds < self.seconds_a_call:
            self.seconds_a_call += (
                PACE_WEIGHT * (seconds - self.seconds_a_call) if self.seconds_a_call else seconds
            )

    def learn(self, seconds: float, waiting: int) -> None:
        """A request took so long that did not enter: it was answered in its turn at the gate,
        with `waiting` others beside it."""
        inside = sum(self.inside.values()) + waiting
        self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)

    def refuses(self, waiting: int) -> int:
        """One more has been refused.

        Args:
            waiting: for their turn.

        Returns:
            Milliseconds after which to come back.
        """
        self.refused += 1
        return pushback_ms(self.limit, sum(self.inside.values()) + waiting)

    def _refuse(self, waiting: int) -> NoReturn:
        inside, takes = sum(self.inside.values()) + waiting, int(self.limit.value)
        why = f"{inside} requests are inside, and the server takes {takes} now"
        raise TooMuch(why, self.refuses(waiting))

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
