"""Queue decisions: which call is sent next, waits or is refused; times are arguments, and there is
no I/O.

A server limits the concurrent calls of a connection (HTTP/2's SETTINGS_MAX_CONCURRENT_STREAMS). By
default, excess calls wait in gRPC's core, oldest first: under overload, every call waits until
hardly any time is left, and almost none is answered in time. Here the call with the earliest
deadline is sent next, and a call whose turn would come too late is refused while its caller still
has time for a fallback.

The number of calls that may be in flight is learnt, because clients are not told the server's
limits. If gRPC rejects a call beyond the connection's limit, the limit becomes one less than the
calls in flight. If the server refuses calls because it has too many of all its callers, the limit
shrinks by a tenth. If a server does not refuse but answers late, it shrinks by more. It shrinks
once for all calls that were sent before it shrank. Each time as many calls as the limit have been
answered while others waited, it grows by one (additive increase, multiplicative decrease; Chiu and
Jain 1989).

If many channels make few calls each, limits on calls in flight do not prevent overload, so calls
that the server refuses too often are not sent at all (`throttle`). If the sending process is the
bottleneck, only a few calls are sent that have as little time left as others that were late
(`late`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum, auto
from operator import attrgetter

from cascade_client.turns.late import TooLittle
from cascade_client.turns.throttle import Throttle

# A call may wait if its answer is predicted within this share of its remaining time; the rest
# allows for prediction errors.
MARGIN = 0.8
# A call whose turn has come is dropped if less than this share of a typical answer time is left.
PLAINLY_LATE = 0.8
# Weight of the newest answer in the averages of pace and answer time.
NEWEST = 1 / 32
# How far the best time moves towards a newer, longer one.
FORGETTING = 1 / 4096
# Answers after which the pace is known well enough to refuse calls.
KNOWN = 8
# Seconds after which new calls no longer overtake calls without a deadline.
PATIENCE = 5.0
# Seconds between two scans of the waiting calls for those that will be late.
SWEEP = 0.01
# Factor on the limit after a refusal, and after a late answer.
REFUSED, LATE = 0.9, 0.7
# A late call is evidence about the server only if it had this many times the best answer time; with
# less, its deadline was too short. The factor is small because a process that falls behind leaves
# its calls ever less time, and its limit should shrink.
ENOUGH = 1.5
# How much slower the limit grows beyond the connection's known limit.
PROBING = 16
BY_PLACE = attrgetter("place")


class End(Enum):
    """How a sent call has ended."""

    ANSWERED = auto()
    REFUSED = auto()  # the server has too much to do
    LATE = auto()  # no answer came before the deadline
    TURNED_AWAY = auto()  # it never left: one call too many for the connection
    FAILED = auto()  # in any other way, which says nothing of limits


class State(Enum):
    """State of a waiting call."""

    WAITING = auto()
    ITS_TURN = auto()
    LATE = auto()


@dataclass(frozen=True)
class Limits:
    """Limits on calls in flight.

    Attributes:
        first: before anything has been learnt, >= 1.
        most: upper bound of the learnt limit, >= first.
        foresees: whether to refuse a call that is predicted to be late. Streams that stay open
            indefinitely give no basis for predictions, and their deadline is not that of an answer.
    """

    first: int = 16
    most: int = 128
    foresees: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.most:
            raise ValueError(f"first is {self.first}; 1 to most ({self.most}) is allowed")


@dataclass(frozen=True)
class TurnStatistics:
    """State of a client's queue.

    Attributes:
        in_flight: calls that have been sent and not answered.
        limit: how many may be in flight.
        waiting: calls that wait for their turn.
        refused: calls that were not sent since the client was created, because their answers would
            have been late, or too many calls were refused or late before.
    """

    in_flight: int
    limit: int
    waiting: int
    refused: int


@dataclass(eq=False, slots=True)
class Waiting:
    """A call that waits for its turn.

    Attributes:
        expiry: its deadline; infinite without one.
        kind: answers of one kind take about the same time.
        state: its current state.
        wake: what its caller waits on, such as an event; set by the caller's side.
    """

    expiry: float
    kind: str
    place: tuple[float, int]
    state: State = State.WAITING
    wake: object = None


@dataclass(slots=True)
class Seconds:
    """Statistics of one measured time.

    Attributes:
        mean: exponentially weighted; the first values count in full.
        best: the minimum, which slowly fades.
        count: values so far.
    """

    mean: float = 0.0
    best: float = math.inf
    count: int = 0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        weight = NEWEST if self.count * NEWEST > 1 else 1 / self.count
        self.mean += weight * (value - self.mean)
        if value < self.best:
            self.best = value
        else:
            self.best += FORGETTING * (value - self.best)


@dataclass(slots=True)
class TurnQueue:
    """The calls of one channel, or the requests of one standing stream.

    All times are seconds of one monotonic clock. Not thread-safe.

    Attributes:
        limits: bounds of `limit`.
        limit: how many calls may be in flight, as learnt so far.
        in_flight: calls in flight.
        refused: calls refused here.
    """

    limits: Limits = Limits()
    limit: float = field(init=False)
    in_flight: int = 0
    refused: int = 0
    _waiting: list[Waiting] = field(default_factory=list)
    _entered: int = 0
    # Seconds from one answer to the next while the limit is fully used.
    _pace: Seconds = field(default_factory=Seconds)
    # Seconds from sending a call to its answer, by kind.
    _answers: dict[str, Seconds] = field(default_factory=dict)
    _full_since: float = 0.0
    # The connection's limit, as last observed from gRPC.
    _allowed: float = math.inf
    _shrunk: float = -math.inf
    _swept: float = -math.inf
    # Whether calls are sent at all, by kind: a server may take calls of one kind and refuse others.
    _throttles: dict[str, Throttle] = field(default_factory=dict)
    # How little remaining time was too little, by kind; only for kinds with a late call.
    _too_little: dict[str, TooLittle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limit = self.limits.first

    @property
    def has_waiting(self) -> bool:
        """Whether any call waits; otherwise no call can be late."""
        return bool(self._waiting)

    def tries_again(self, now: float, kind: str) -> bool:
        """Return whether a refused call may be retried; see `Throttle`."""
        throttle = self._throttles.get(kind)
        return throttle is None or throttle.tries_again(now)

    def sends(self, now: float, kind: str, lot: float) -> bool:
        """Return whether to send a new call, now or in its turn; see `Throttle`."""
        throttle = self._throttles.get(kind)
        if throttle is None or throttle.sends(now, lot):
            return True
        self.refused += 1
        return False

    def has_time(self, now: float, expiry: float, kind: str, lot: float) -> bool:
        """Return whether to send a new call although others with as little time left were late; see
        `TooLittle`.

        `lot` is a random number in [0, 1), as for `sends`.
        """
        too_little = self._too_little.get(kind)
        if too_little is None or lot < too_little.share(now, expiry - now):
            return True
        self.refused += 1
        return False

    def statistics(self) -> TurnStatistics:
        """Return a snapshot for monitoring and tests."""
        return TurnStatistics(self.in_flight, int(self.limit), len(self._waiting), self.refused)

    def lateness(self, now: float, expiry: float, kind: str) -> float:
        """Return the seconds by which a new call would be late; 0 or less: it would be in time.

        A call that need not wait, or would be the first to wait, is never late, so that there are
        always answers to learn from and a wrong pace is corrected.
        """
        if not self._waiting or not self._knows_pace:
            return 0.0
        place = self._key(now, expiry), self._entered + 1
        ahead = bisect_left(self._waiting, place, key=BY_PLACE)
        if not ahead:
            return 0.0
        return self._wait(ahead, kind) - MARGIN * (expiry - now)

    def enter(self, now: float, expiry: float, kind: str) -> Waiting | None:
        """Admit a call: return None if it is sent at once, else its place in the queue.

        Check its `lateness` before; this method does not refuse calls.
        """
        if not self._waiting and self.in_flight + 1 <= self.limit:
            self._sends(now)
            return None
        self._entered += 1
        waiting = Waiting(expiry, kind, (self._key(now, expiry), self._entered))
        insort(self._waiting, waiting, key=BY_PLACE)
        return waiting

    def leave(
        self, now: float, sent: float, kind: str, end: End, expiry: float = math.inf
    ) -> list[Waiting]:
        """Record the end of a call; return the waiting calls whose state has changed."""
        self._learn(now, sent, kind, end)
        if expiry < math.inf and end in (End.ANSWERED, End.LATE):
            self._learn_little(now, expiry - sent, kind, end is End.ANSWERED)
        self.in_flight -= 1
        return self._pass_on(now) if self._waiting else []

    def give_up(self, now: float, waiting: Waiting) -> list[Waiting]:
        """Handle a caller that no longer wants its turn, which it may already have; returns as
        `leave`.
        """
        if waiting.state is State.WAITING:
            del self._waiting[bisect_left(self._waiting, waiting.place, key=BY_PLACE)]
            return []
        return self.give_back(now) if waiting.state is State.ITS_TURN else []

    def give_back(self, now: float) -> list[Waiting]:
        """Return an unused turn: nothing was sent, so nothing is learnt; returns as `leave`."""
        self.in_flight -= 1
        return self._pass_on(now) if self._waiting else []

    @property
    def _knows_pace(self) -> bool:
        return self.limits.foresees and self._pace.count >= KNOWN

    def _key(self, now: float, expiry: float) -> float:
        return min(expiry, now + PATIENCE)

    def _wait(self, ahead: int, kind: str) -> float:
        """Return the seconds until the answer of a call with this many others ahead of it."""
        return (ahead + 1) * self._pace.mean + self._takes(kind)

    def _takes(self, kind: str) -> float:
        seconds = self._answers.get(kind)
        return 0.0 if seconds is None else seconds.mean

    def _sends(self, now: float) -> None:
        self.in_flight += 1
        if self.in_flight + 1 > self.limit:
            self._full_since = now

    def _learn(self, now: float, sent: float, kind: str, end: End) -> None:
        full = self.in_flight + 1 > self.limit
        if end is not End.TURNED_AWAY:
            if kind not in self._throttles:
                self._throttles[kind] = Throttle()
            self._throttles[kind].learn(now, end is not End.REFUSED)
        if end is End.TURNED_AWAY:
            self._allowed = self.limit = max(1.0, min(self.limit, self.in_flight - 1.0))
            self._full_since = now
            return
        if full:
            self._pace.add(now - self._full_since)
            self._full_since = now
        if end is End.ANSWERED:
            answers = self._answers.get(kind)
            if answers is None:
                answers = self._answers[kind] = Seconds()
            answers.add(now - sent)
            if full and self._waiting:
                probing = PROBING if self.limit >= self._allowed else 1
                self.limit = min(self.limits.most, self.limit + 1 / (probing * self.limit))
            return
        answers = self._answers.get(kind)
        if end is End.LATE and answers is not None:
            # The answer would have taken even longer.
            answers.mean += NEWEST * max(0.0, now - sent - answers.mean)
        if sent > self._shrunk:
            if end is End.REFUSED:
                self._shrink(now, REFUSED)
            elif end is End.LATE and answers is not None and now - sent > ENOUGH * answers.best:
                self._shrink(now, LATE)

    def _learn_little(self, now: float, left: float, kind: str, in_time: bool) -> None:
        if not in_time and kind not in self._too_little:
            self._too_little[kind] = TooLittle()
        if kind in self._too_little:
            self._too_little[kind].learn(now, left, in_time)

    def _shrink(self, now: float, share: float) -> None:
        was_full = self.in_flight + 1 > self.limit
        self.limit = max(1.0, share * self.limit)
        if not was_full:
            # If the limit is fully used now, it is so from this moment.
            self._full_since = now
        self._shrunk = now

    def _pass_on(self, now: float) -> list[Waiting]:
        """Give turns to the calls with the earliest deadlines, and drop those that will be late."""
        told = self._sweep(now) if now >= self._swept + SWEEP else []
        while self._waiting and self.in_flight + 1 <= self.limit:
            first = self._waiting.pop(0)
            late = first.expiry - now < PLAINLY_LATE * self._takes(first.kind)
            if late and self.in_flight:
                self._drop(first)
            else:
                first.state = State.ITS_TURN
                self._sends(now)
            told.append(first)
        return told

    def _sweep(self, now: float) -> list[Waiting]:
        self._swept = now
        if not self._knows_pace:
            return []
        kept: list[Waiting] = []
        told = []
        for each in self._waiting:
            # The first one is always kept, just as it is always admitted.
            if kept and self._wait(len(kept), each.kind) > each.expiry - now:
                self._drop(each)
                told.append(each)
            else:
                kept.append(each)
        self._waiting = kept
        return told

    def _drop(self, waiting: Waiting) -> None:
        waiting.state = State.LATE
        self.refused += 1
