"""Admission control: counts the requests inside the server, and refuses those it cannot answer.

`admission` decides how many may be inside. `Gate` holds the counts for that decision, and predicts
whether the turn of a waiting call comes in time.
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
# Up to this many calls may arrive by chance while the loop is busy; more are a backlog. The student
# answers this many together in about half the time that they take one by one.
BACKLOG = 4
# Because nearest deadlines go first, a call may be admitted even if answering all waiting calls
# would take up to this many times its patience.
OVERTAKING = 2.0
# Why a call is refused before it is read.
FULL = "as many calls wait as the server takes now"
LATE = "more calls wait than can be answered in time"
# Parts of offline work that may wait for a place; parts of a stream that has begun always may.
MOST_WAITING = 64


def times_slept() -> int:
    """Return how often this thread has slept; an event loop's thread sleeps when it is idle."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Gate:
    """Counts the requests inside the server, and learns how many may be.

    A request is *inside* between `enter` and `leave`. Calls that the student answers in their turn
    never enter: they wait in `services.turns`, which asks `objection` whether they may.

    Attributes:
        limit: how many requests may be inside, as learnt so far.
        inside: number of requests inside, by priority.
        at_teacher: number of real-time requests that wait for the teacher.
        refused: number of calls refused so far.
        seconds_a_call: average seconds from one answer to the next while calls wait; 0: not known.

    Args:
        config: settings of the limit.
        slept: returns how often the event loop has been idle.
        queued: returns the seconds of work waiting for the students, which all calls need.
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
        """Note that `calls` calls are about to be answered together; called once a turn.

        If the loop has not slept since the last turn, the calls piled up while it was busy. Then
        AUTO must not send them to the teacher: the loop catches up because the student answers many
        at once, while each call for the teacher costs as much as one alone. If the loop has slept,
        the calls merely arrived together, and an idle server can afford the teacher for them.
        """
        last, self._last_slept = self._last_slept, self._slept()
        self._behind = calls > BACKLOG and self._last_slept == last

    def enter(self, service: Priority) -> None:
        """Count one more request as inside, until `leave`.

        Raises:
            TooMuch: the server is full for this priority; says when to retry.
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
            is_new: whether the work has not started, so that a refusal wastes nothing.

        Raises:
            TooMuch: it is new, and `MOST_WAITING` parts already wait; says when to retry.
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
                # `_let_in` may already have removed it, if another request left at the same moment.
                if place in waiting:
                    waiting.remove(place)
            else:  # the place was granted at the same moment
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
        """Return how many more real-time requests may enter."""
        return room(self.limit, self.config, self.inside)

    def crowded(self) -> bool:
        """Return whether AUTO must send no more requests to the teacher."""
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
        """Return why one more call may not wait for its turn; None: it may.

        Args:
            waiting: number of calls that already wait.
            remaining: seconds to the new call's deadline.
            patient: whether it may wait as long as it can still be answered in time; other calls
                may wait for a quarter of what is promised at most.
            before: counts the waiting calls whose turn comes before the new one's; None: all. With
                it, calls with far deadlines do not cause refusals of calls with near ones.
            crowd: the number of waiting calls, including the new one, if each caller had as many
                as this one; infinite if unknown. A caller with few calls is admitted even if others
                have filled the queue, as long as its turn is in time.
        """
        asks_little = crowd <= self.limit.value
        if patient:
            patience = in_time(remaining)
        elif self.is_full(waiting, crowd):
            return FULL
        else:
            patience = self.config.patience(remaining)
        # The first waiter is always admitted, so that a pace learnt at a bad moment decays.
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
        """Return whether the queue is full for a caller with this `crowd`; see `objection`."""
        return waiting >= self.limit.value and crowd > self.limit.value

    def refused_alike(self, why: str, remaining: float, crowd: float) -> tuple[float, float]:
        """Return which other calls `objection` would also refuse, until a waiting call is taken.

        This allows thousands of refusals a second without computing each one. A call whose deadline
        is no nearer has as many calls before it, or more. But a call with more time may wait
        longer, and a caller with few calls may be admitted.

        Args:
            why: the result of `objection` for the refused call.
            remaining, crowd: its arguments of `objection`.

        Returns:
            Bounds (seconds, crowd): calls with at most these seconds to their deadlines, and with a
            larger crowd, are refused too.
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
        """Check again that a request inside may wait for an engine.

        Others may have joined the engine's queue since the request was admitted.

        Args:
            seconds: seconds that it would wait.
            remaining: seconds to its deadline.

        Raises:
            TooMuch: that is longer than a call may wait; says when to retry.
        """
        if seconds > self.config.patience(remaining):
            raise TooMuch(LATE, self.count_refusal(0))

    def turn_ended(self, seconds: float, left: int) -> None:
        """Learn the pace, `seconds_a_call`, from a finished turn.

        Args:
            seconds: duration of the turn, divided by its calls.
            left: calls that waited meanwhile. If there were none, the loop may have been idle, and
                the turn counts only if it was faster than the known pace.
        """
        if left or seconds < self.seconds_a_call:
            self.seconds_a_call += (
                PACE_WEIGHT * (seconds - self.seconds_a_call) if self.seconds_a_call else seconds
            )

    def learn_from_turn(self, seconds: float, waiting: int) -> None:
        """Learn the limit from a request that was answered in its turn, without entering.

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
        """Count a request as no longer inside, and admit the next waiting ones.

        Args:
            service: the priority with which it entered.
            seconds: its duration, for the limit to learn from; None: do not learn from it. Only
                requests that take equally long on an idle server show how busy this one is.
        """
        if seconds is not None:
            inside = sum(self.inside.values())
            self.limit = updated(self.limit, self.config, max(seconds, 1e-6), inside)
        self.inside[service] -= 1
        self._let_in()
