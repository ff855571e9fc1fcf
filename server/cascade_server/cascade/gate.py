"""Admission control: counts the requests inside the server, and refuses those it cannot answer.

`admission` decides how many may be inside; `Gate` holds the counts that it decides by, and says of
calls that still wait for their turn whether that comes in time.
"""

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

# Weight of one turn in the average `Gate.seconds_a_call`.
PACE_WEIGHT = 0.1
# Up to so many calls may arrive by chance while the loop is at work; more are a backlog. The
# student answers so many together in about half the time that they take one by one.
BACKLOG = 4
# Since nearest deadlines go first, a call may be admitted although answering all that wait would
# take longer than its patience, up to so many times as long.
OVERTAKING = 2.0
# Why a call is refused before it is read.
FULL = "as many calls wait as the server takes now"
LATE = "more calls wait than can be answered in time"
# Parts of offline work that may wait for a place at once; a stream that has begun always may.
MOST_WAITING = 64


def times_slept() -> int:
    """How often this thread has slept so far; an event loop's sleeps when it has nothing to do."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Gate:
    """Counts the requests inside the server, and learns how many may be.

    A request is *inside* between `enter` and `leave`. Calls that the student answers in their turn
    never enter: they wait in `services.turns`, which asks `objection` whether they may.

    Attributes:
        limit: how many requests may be inside, as learnt so far.
        inside: how many are, by priority.
        at_teacher: how many of the real-time ones wait for the teacher.
        refused: calls that have been refused so far.
        seconds_a_call: average seconds from one answer to the next while calls wait; 0: not known.

    Args:
        config: settings of the limit.
        slept: counts how often the event loop has had nothing to do.
        queued: seconds of work that waits in front of the students, which all calls need.
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
        """Note that `calls` calls are about to be answered together; to be called once a turn.

        If the loop has not slept since the last turn, they piled up while it was at work. Then AUTO
        must not send them to the teacher: the loop catches up by having the student answer many at
        once, while each call that waits for the teacher costs as much as one alone. If the loop had
        slept, they merely arrived together, and an idle server may spend the teacher on them.
        """
        last, self._last_slept = self._last_slept, self._slept()
        self._behind = calls > BACKLOG and self._last_slept == last

    def enter(self, service: Priority) -> None:
        """Count one more request as inside, until `leave`.

        Raises:
            TooMuch: the server is full for this priority; says when to come back.
        """
        if not admits(self.limit, self.config, self.inside, service):
            self._refuse(0)
        self.inside[service] += 1

    async def wait_to_enter(self, priority: Priority, is_new: bool) -> None:
        """Wait for a place, first come first served, then count as inside until `leave`.

        For work of many parts, such as the messages of a stream: each part waits for a place of its
        own, behind parts of other streams that came before it, so that streams take turns.

        Args:
            priority: as for `enter`.
            is_new: whether none of the work has been done yet, so that refusing it wastes nothing.

        Raises:
            TooMuch: it is new, and `MOST_WAITING` parts wait already; says when to come back.
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
                # `_let_in` may have dropped it already, if somebody left at the same moment.
                if place in waiting:
                    waiting.remove(place)
            else:  # It was let in at the same moment.
                self.leave(priority)
            raise

    def _let_in(self) -> None:
        for priority, waiting in self._waiting.items():
            while waiting and admits(self.limit, self.config, self.inside, priority):
                place = waiting.popleft()
                # A cancelled task removes its place only when it runs next.
                if not place.cancelled():
                    self.inside[priority] += 1
                    place.set_result(None)

    def room(self) -> int:
        """How many more real-time requests may enter."""
        return room(self.limit, self.config, self.inside)

    def crowded(self) -> bool:
        """Whether AUTO is to send no more requests to the teacher."""
        return self._behind or crowded(self.limit, self.config, self.at_teacher)

    @contextmanager
    def waits_for_teacher(self, service: Priority) -> Iterator[None]:
        """Count a request that is inside as waiting for the teacher, until the block ends."""
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
        """Why one more call may not wait for its turn; None: it may.

        Args:
            waiting: calls that wait already.
            remaining: seconds to the new call's deadline.
            patient: whether it may wait as long as it can still be answered in time; other calls
                may wait for a quarter of what is promised at most.
            before: counts the waiting calls whose turn comes before the new one's; None: all. So a
                call with a near deadline is not refused because of calls with far ones or none.
            crowd: how many calls would wait, the new one among them, if each caller had as many
                waiting as this caller; infinite if that is not known. A caller with few calls is
                admitted although others have filled the queue, as long as its turn is in time.
        """
        asks_little = crowd <= self.limit.value
        if patient:
            patience = in_time(remaining)
        elif self.is_full(waiting, crowd):
            return FULL
        else:
            patience = self.config.patience(remaining)
        # The first waiter is always admitted, so that a pace learnt in a bad moment decays.
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
        """Whether as many calls wait as may, for a caller of this `crowd`; see `objection`."""
        return waiting >= self.limit.value and crowd > self.limit.value

    def refused_alike(self, why: str, remaining: float, crowd: float) -> tuple[float, float]:
        """Which other calls `objection` would refuse too, as long as no waiting call is taken.

        Lets thousands of refusals a second be answered without computing each one. A call whose
        deadline is no nearer has as many calls before it, or more. But a call with more time may
        wait for longer, and a caller with few calls may be admitted.

        Args:
            why: what `objection` said of the refused call.
            remaining, crowd: as `objection` was given for it.

        Returns:
            Bounds: calls with at most so many seconds to their deadlines, and with a crowd larger
            than so many, are refused too.
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
        """Check once more that a request that is inside may wait for an engine: others may have
        joined the engine's queue since it was admitted.

        Args:
            seconds: how long it would wait.
            remaining: seconds to its deadline.

        Raises:
            TooMuch: that is longer than a call may wait; says when to come back.
        """
        if seconds > self.config.patience(remaining):
            raise TooMuch(LATE, self.count_refusal(0))

    def turn_ended(self, seconds: float, left: int) -> None:
        """Learn the pace, `seconds_a_call`, from a turn that is over.

        Args:
            seconds: how long it took, divided by its calls.
            left: calls that waited meanwhile. If there were none, the loop may have idled, and the
                turn counts only if it was faster than the pace known so far.
        """
        if left or seconds < self.seconds_a_call:
            self.seconds_a_call += (
                PACE_WEIGHT * (seconds - self.seconds_a_call) if self.seconds_a_call else seconds
            )

    def learn_from_turn(self, seconds: float, waiting: int) -> None:
        """Learn the limit from a request that was answered in its turn, without having entered.

        Args:
            seconds: from its arrival to its answer.
            waiting: other calls that waited for their turn, or had theirs together with it.
        """
        inside = sum(self.inside.values()) + waiting
        self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)

    def count_refusal(self, waiting: int) -> int:
        """Count one more refused call.

        Args:
            waiting: calls that wait for their turn.

        Returns:
            Milliseconds after which its caller should try again.
        """
        self.refused += 1
        return pushback_ms(self.limit, sum(self.inside.values()) + waiting)

    def _refuse(self, waiting: int) -> NoReturn:
        inside, takes = sum(self.inside.values()) + waiting, int(self.limit.value)
        why = f"{inside} requests are inside, and the server takes {takes} now"
        raise TooMuch(why, self.count_refusal(waiting))

    def leave(self, service: Priority, seconds: float | None = None) -> None:
        """Count a request as no longer inside, and let in the next that wait.

        Args:
            service: the priority with which it entered.
            seconds: how long it took, if the limit is to learn from it: only requests that take
                equally long on an idle server tell how busy this one is. None: it is not to.
        """
        if seconds is not None:
            inside = sum(self.inside.values())
            self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)
        self.inside[service] -= 1
        self._let_in()
