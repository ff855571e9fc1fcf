"""Queues the requests of all protocols, and answers them in turns, nearest deadlines first."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

from cascade_server.cascade.gate import FULL, Gate
from cascade_server.errors import Refusal, TooMuch, refusal_of
from cascade_server.services.answering import Answering
from cascade_server.services.exchange import Exchange

# Requests of a turn, and the seconds that one should take. Between turns the event loop reads what
# has arrived. A turn of 16 calls for one row takes a few milliseconds; if calls take longer, the
# next turns have fewer.
REQUESTS_A_TURN, TURN_SECONDS = 16, 0.01
# The next turn is smaller if the last took this many times `TURN_SECONDS`. A shorter overrun may
# be only a pause of the machine.
TOO_LONG = 2.0
# Most requests of callers that have hung up that one turn clears, besides those it answers.
GONE_A_TURN = 64


class Refused(NamedTuple):
    """A refusal that is reused for similar calls until the next turn; see `Gate.refused_alike`.

    Attributes:
        gate: the gate that refused.
        deadline: calls with an earlier deadline are not similar.
        remaining: nor are those with more seconds to their deadline.
        little: nor are those of a crowd of at most this size.
        full: whether the queue was full; if that has changed, the refusal no longer applies.
        refusal: the refusal that callers receive.
    """

    gate: Gate
    deadline: float
    remaining: float
    little: float
    full: bool
    refusal: Refusal


class Turns:
    """The queue of requests that wait to be answered.

    Requests that arrived together are answered together. If more have arrived than one turn takes,
    the nearest deadlines go first; between turns the event loop reads from sockets, and so notices
    callers that hang up before any work is done for them. Once a turn has inflated enough, further
    compressed messages wait in a queue of their own, where they do not count as ahead of others.

    Attributes:
        size: number of requests that the next turn takes.

    Args:
        answering: answers the exchanges of a turn.
        gate: returns the gate, which decides which requests may wait and learns how fast turns
            are. It returns None while releases are being loaded; every call then waits for its
            turn, which refuses it with that reason.
        most: most requests of a turn.
        clock: monotonic seconds.
        soon: calls a function once the event loop has read from all sockets; None: the running
            event loop's `call_soon`.
    """

    def __init__(
        self,
        answering: Answering,
        gate: Callable[[], Gate | None],
        most: int = REQUESTS_A_TURN,
        clock: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._answering, self._gate = answering, gate
        self.size = self._most = most
        self._clock, self._call_soon = clock, soon
        self._waiting: list[Exchange] = []
        # Requests whose messages wait to be inflated, in order of arrival.
        self._compressed: deque[Exchange] = deque()
        # The latest deadline among the waiting requests.
        self._farthest = -math.inf
        # How many of the waiting requests have callers that have hung up; they do not count.
        self._gone = 0
        self._is_due = self._in_turn = False
        self._last_of_turn: list[Callable[[], None]] = []
        self._refused: Refused | None = None
        # Tasks that were started and have not run yet, so that the gate does not count them yet.
        self._starting = 0
        # When the last turn began, how many requests it had, and how many it left waiting.
        self._last = (0.0, 1, 0)

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, now: float, deadline: float, patient: bool = False) -> None:
        """Check, before a request is read, that it may wait for its turn.

        Args:
            now, deadline: monotonic seconds.
            patient: whether the request may wait for a place. A request of a stream may, because
                the stream is not read meanwhile.

        Raises:
            TooMuch: the queue is full, or its turn would come too late.
        """
        refusal = self.refusal(now, deadline, patient)
        if refusal is not None:
            assert refusal.pushback_ms is not None
            raise TooMuch(refusal.message, refusal.pushback_ms)

    def refusal(
        self, now: float, deadline: float, patient: bool = False, crowd: float = math.inf
    ) -> Refusal | None:
        """Decide as `admit`, without raising, which is faster for thousands of calls a second.

        Returns:
            What to tell the caller, who is counted as refused; None: the request may wait.

        Args:
            now, deadline, patient: as for `admit`.
            crowd: see `Gate.objection`.
        """
        gate, last, remaining = self._gate(), self._refused, deadline - now
        if gate is None:
            return None
        if (
            last is not None
            and deadline >= last.deadline
            and remaining <= last.remaining
            and crowd > last.little
            and gate is last.gate
            and not patient
            and gate.is_full(self._ahead(), crowd) is last.full
        ):
            gate.refused += 1
            return last.refusal
        ahead = self._ahead()
        before = partial(self._before, deadline)
        why = gate.objection(ahead, remaining, patient, before, crowd)
        if why is None:
            return None
        refusal = _too_much(why, gate.count_refusal(ahead))
        if self._is_due and not patient:
            alike = gate.refused_alike(why, remaining, crowd)
            self._refused = Refused(gate, deadline, *alike, why is FULL, refusal)
        return refusal

    def room(self) -> float:
        """Return how many patient requests may be added without waiting at the gate."""
        gate = self._gate()
        if gate is None:
            return math.inf
        return gate.room() - self._ahead() - self._starting

    def _ahead(self) -> int:
        """Return how many waiting requests have callers that have not hung up."""
        return max(0, len(self._waiting) - self._gone)

    def _before(self, deadline: float) -> int:
        """Return how many waiting requests have a deadline no later than this one."""
        if deadline >= self._farthest:
            return self._ahead()
        return sum(each.deadline <= deadline for each in self._waiting)

    def one_gone(self) -> None:
        """Note that the caller of a waiting request has hung up."""
        self._gone += 1
        self._refused = None

    def add(self, exchange: Exchange) -> None:
        """Queue a request, to be answered in the order of deadlines, and plan the next turn."""
        self._waiting.append(exchange)
        self._farthest = max(self._farthest, exchange.deadline)
        self._schedule()

    def then(self, work: Callable[[], None]) -> None:
        """Do something at the end of the running turn or, between turns, at once."""
        if self._in_turn:
            self._last_of_turn.append(work)
        else:
            work()

    def _soon(self, work: Callable[[], None]) -> None:
        soon = self._call_soon or asyncio.get_running_loop().call_soon
        soon(work)

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Answer the requests of one turn, and schedule the next if more wait."""
        self._is_due = False
        taken = self._take()
        if self._waiting or self._compressed:
            self._schedule()
        if not taken:
            return
        gate, now, waiting = self._gate(), self._clock(), self._ahead()
        began, calls, left = self._last
        if gate is not None and left:
            # The time between turns, spent on refusing others, is part of a turn's cost.
            gate.turn_ended((now - began) / calls, left)
        self._last = (now, len(taken), waiting)
        self._in_turn = True
        try:
            started = self._answering.answer(taken, waiting)
        finally:
            self._in_turn = False
            last, self._last_of_turn = self._last_of_turn, []
            for work in last:
                work()
        if started:
            self._starting += started
            # Runs after the tasks' first step, or after their cancellation.
            self._soon(lambda: self._begun(started))
        seconds = self._clock() - now
        self.size = next_size(self.size, len(taken), seconds, self._most)
        if gate is not None and not waiting:
            gate.turn_ended(seconds / len(taken), 0)

    def _begun(self, started: int) -> None:
        self._starting -= started

    def _take(self) -> list[Exchange]:
        """Choose the requests of a turn and open their messages; the others keep waiting.

        Up to a quarter of the turn goes to compressed messages that have waited to be inflated, the
        rest to the nearest deadlines.
        """
        waiting, compressed, gate = self._waiting, self._compressed, self._gate()
        most, self._refused = self.size, None
        if len(waiting) > most:
            waiting.sort(key=_deadline)
            waiting = self._without_gone(waiting)
        room = math.inf if gate is None else max(1, gate.room() - self._starting)
        taken: list[Exchange] = []
        held: list[Exchange] = []
        share = max(1, most // 4)
        while compressed and len(taken) < share and not compressed[0].caller.paused:
            exchange = compressed.popleft()
            if exchange.caller.open():
                taken.append(exchange)
        for number, exchange in enumerate(waiting):
            caller = exchange.caller
            if len(taken) == most:
                held += waiting[number:]
                break
            if caller.paused:
                compressed.append(exchange)
            elif len(taken) >= room and caller.patient:
                held.append(exchange)
            elif caller.open():
                taken.append(exchange)
        self._waiting = held
        if not held:
            self._farthest = -math.inf
        if self._gone:
            self._gone = sum(each.caller.gone for each in held)
        return taken

    def _without_gone(self, waiting: list[Exchange]) -> list[Exchange]:
        """Drop requests whose callers have hung up, up to `GONE_A_TURN`, and count them."""
        here: list[Exchange] = []
        gone = 0
        for exchange in waiting:
            if gone < GONE_A_TURN and exchange.caller.gone:
                gone += 1
                if exchange.caller.open():
                    self._answering.gave_up(exchange)
            else:
                here.append(exchange)
        return here


@lru_cache(maxsize=1024)
def _too_much(why: str, pushback_ms: int) -> Refusal:
    """Return a refusal; cached, because the same one is sent thousands of times a second."""
    return refusal_of(TooMuch(why, pushback_ms))


def next_size(size: int, calls: int, seconds: float, most: int) -> int:
    """Return how many requests make the next turn last about `TURN_SECONDS`.

    Time that is spent on refusals between turns does not count. If it did, many refusals would make
    turns smaller, and smaller turns would cause more refusals.

    Args:
        size: how many requests the last turn could have taken.
        calls: how many it did take.
        seconds: how long it took.
        most: how many a turn may take.
    """
    if seconds > TOO_LONG * TURN_SECONDS:
        return max(1, int(calls * TURN_SECONDS / seconds))
    return min(most, 2 * size) if calls == size and seconds < TURN_SECONDS else size


def _deadline(exchange: Exchange) -> float:
    return exchange.deadline
