"""The turns in which requests of all edges are answered, the nearest deadlines first."""

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

# Between turns the event loop looks at what else there is. A turn of so many calls of one row takes
# a few milliseconds; of calls that take longer, fewer are taken, so that no turn takes much longer.
REQUESTS_A_TURN, TURN_SECONDS = 16, 0.01
# Times as long that a turn takes before the next one is made smaller: the machine may have paused.
TOO_LONG = 2.0
# At most so many requests whose callers have hung up are cleared in a turn, beside those that are
# answered.
GONE_A_TURN = 64


class Refused(NamedTuple):
    """A refusal that holds for others too until the next turn; see `Gate.refused_alike`.

    Attributes:
        gate: whose it is.
        deadline, remaining: of those for whom it holds: the nearest, and the most seconds to one.
        little: their crowds are larger than this.
        full: whether as many waited as may: if others find that otherwise, they are told otherwise.
        refusal: what they are told.
    """

    gate: Gate
    deadline: float
    remaining: float
    little: float
    full: bool
    refusal: Refusal


class Turns:
    """Everything that waits for its turn.

    What comes together is answered together. Where more has come than one turn takes, the nearest
    deadlines go first, and in between the system is asked for more: who hangs up meanwhile costs
    no work. A message that has to be inflated, once enough has been in a turn, waits apart, where
    it is in nobody's way: who sends many of them makes no others be refused.

    Attributes:
        size: requests that the next turn takes.

    Args:
        answering: answers exchanges that are taken together.
        gate: says who may enter, and learns how fast turns are; None: releases are being loaded,
            and all may wait to be told so.
        most: requests of a turn, where they do not take long.
        clock: monotonic seconds.
        soon: has something called once all that the system has for us now is read; None: the
            running event loop's `call_soon`.
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
        # Those whose messages are to be inflated, once that may be; in their order.
        self._compressed: deque[Exchange] = deque()
        # The farthest deadline of those that wait: of calls that all have as much time, the newest.
        self._farthest = -math.inf
        # Of those that wait, whose callers have hung up: they are in nobody's way either.
        self._gone = 0
        self._is_due = self._in_turn = False
        self._last_of_turn: list[Callable[[], None]] = []
        self._refused: Refused | None = None
        # Tasks that have not begun, and so are not yet inside.
        self._starting = 0
        # Of the last turn: when it began, its requests, and how many it left waiting.
        self._last = (0.0, 1, 0)

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, now: float, deadline: float, patient: bool = False) -> None:
        """Decide at the door, before a request is read, whether it may wait for its turn.

        Args:
            now, deadline: monotonic seconds.
            patient: whether the caller would rather wait than be refused, as a stream that is
                read no further meanwhile.

        Raises:
            TooMuch: as many wait as may, or its turn would come too late.
        """
        refusal = self.refusal(now, deadline, patient)
        if refusal is not None:
            assert refusal.pushback_ms is not None
            raise TooMuch(refusal.message, refusal.pushback_ms)

    def refusal(
        self, now: float, deadline: float, patient: bool = False, crowd: float = math.inf
    ) -> Refusal | None:
        """What to tell who may not wait for its turn, and is counted as refused; None: it may.

        As `admit`, for callers who come by the thousand.

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
        """How many more patient requests may be added without one of them being refused."""
        gate = self._gate()
        if gate is None:
            return math.inf
        return gate.room() - self._ahead() - self._starting

    def _ahead(self) -> int:
        """How many are to be answered before one that comes now."""
        return max(0, len(self._waiting) - self._gone)

    def _before(self, deadline: float) -> int:
        """How many of those that wait have no later deadline."""
        if deadline >= self._farthest:
            return self._ahead()
        return sum(each.deadline <= deadline for each in self._waiting)

    def one_gone(self) -> None:
        """The caller of one that waits has hung up."""
        self._gone += 1
        self._refused = None

    def add(self, exchange: Exchange) -> None:
        """Have a request answered in its turn."""
        self._waiting.append(exchange)
        self._farthest = max(self._farthest, exchange.deadline)
        self._come_round()

    def then(self, work: Callable[[], None]) -> None:
        """Have something done once the turn that is underway is over; outside of one, now."""
        if self._in_turn:
            self._last_of_turn.append(work)
        else:
            work()

    def _soon(self, work: Callable[[], None]) -> None:
        soon = self._call_soon or asyncio.get_running_loop().call_soon
        soon(work)

    def _come_round(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Answer what has come."""
        self._is_due = False
        taken = self._take()
        if self._waiting or self._compressed:
            self._come_round()
        if not taken:
            return
        gate, now, waiting = self._gate(), self._clock(), self._ahead()
        began, calls, left = self._last
        if gate is not None and left:
            # The time between turns, in which others were refused, is part of what a turn costs.
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
            # After the tasks' first step, or after they were cancelled before that.
            self._soon(lambda: self._begun(started))
        seconds = self._clock() - now
        self.size = next_size(self.size, len(taken), seconds, self._most)
        if gate is not None and not waiting:
            gate.turn_ended(seconds / len(taken), 0)

    def _begun(self, started: int) -> None:
        self._starting -= started

    def _take(self) -> list[Exchange]:
        """Close the turn: take as many as it may have, the nearest deadlines first where more
        wait, and open their messages; the others wait on. Compressed messages that have waited for
        that come first, up to a quarter of the turn."""
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
        """Those whose callers are still there: who has gone takes nobody's place."""
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
    """Kept, for the same is said thousands of times a second."""
    return refusal_of(TooMuch(why, pushback_ms))


def next_size(size: int, calls: int, seconds: float, most: int) -> int:
    """How many requests the next turn takes.

    What is refused between turns does not count: with that, turns would become smaller the more
    there is to refuse, and that more by it.

    Args:
        size: what the last turn might have taken.
        calls, seconds: that it did take.
        most: that any may.
    """
    if seconds > TOO_LONG * TURN_SECONDS:
        return max(1, int(calls * TURN_SECONDS / seconds))
    return min(most, 2 * size) if calls == size and seconds < TURN_SECONDS else size


def _deadline(exchange: Exchange) -> float:
    return exchange.deadline
