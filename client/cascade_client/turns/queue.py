"""Who is sent next, who waits and who is refused: decisions over told times, with no I/O.

A server lets a connection have so many calls at once (HTTP/2's SETTINGS_MAX_CONCURRENT_STREAMS).
What is beyond them waits in gRPC's core if it is let, oldest first: while more is asked than can be
answered all of it waits until hardly any time is left, and nearly nothing is answered in time. Here
the call with the earliest deadline is sent next, and one whose turn would come too late is refused
while its caller still has time for something else.

How many calls may be in flight is learnt, for the limits are the server's and a client is not told
them. gRPC turns a call away that is one too many for the connection: then one fewer is the limit.
The server refuses calls because it has too many of all its callers: then the limit shrinks by a
tenth. A server that does not refuse answers late: then it shrinks by more. It shrinks once for all
calls that were sent before it shrank. And each time that as many calls as the limit have been
answered while others waited, it grows by one (additive increase, multiplicative decrease; Chiu and
Jain 1989).

Where many channels make few calls each, no limit of what is in flight keeps them from asking for
more than there is: what the server refuses too often is not sent either (`throttle`). And where the
process that sends them is what there is too little of, few of those are sent that have as little
time left as others had that came late (`late`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum, auto
from operator import attrgetter

from cascade_client.turns.late import TooLittle
from cascade_client.turns.throttle import Throttle

# A call is let wait if its answer is predicted to come within this share of the time it has left:
# the rest is for what the prediction does not know.
MARGIN = 0.8
# A call whose turn has come is dropped if less is left than this share of what answers take.
PLAINLY_LATE = 0.8
# Weight of the newest answer in what is known of the pace and of how long answers take.
NEWEST = 1 / 32
# How much of the way to a newer, longer time the best one goes.
FORGETTING = 1 / 4096
# Answers after which the pace is known well enough to refuse for.
KNOWN = 8
# Seconds after which calls without a deadline are no longer overtaken by new ones.
PATIENCE = 5.0
# Seconds between two looks through all that wait for calls that will be late.
SWEEP = 0.01
# What is left of the limit after a refusal, and after an answer that did not come in time.
REFUSED, LATE = 0.9, 0.7
# A call that is late says something of the server if it had so many times what one takes at best;
# with less it is its deadline that was too short. Not much: calls of a process that falls behind
# have ever less, and its limit is to shrink.
ENOUGH = 1.5
# How much slower the limit grows past one that a connection is known to have had.
PROBING = 16
BY_PLACE = attrgetter("place")


class End(Enum):
    """How a call that was sent has ended."""

    ANSWERED = auto()
    REFUSED = auto()  # the server has too much to do
    LATE = auto()  # no answer came before the deadline
    TURNED_AWAY = auto()  # it never left: one call too many for the connection
    FAILED = auto()  # in any other way, which says nothing of limits


class State(Enum):
    """How things stand with a call that waits."""

    WAITING = auto()
    ITS_TURN = auto()
    LATE = auto()


@dataclass(frozen=True)
class Limits:
    """Calls that may be in flight at once.

    Attributes:
        first: before anything has been learnt, >= 1.
        most: whatever is learnt, >= first.
        foresees: whether a call is refused that would be late by what others took. What is open for
            as long as anybody likes says nothing of that, and its deadline nothing of an answer.
    """

    first: int = 16
    most: int = 128
    foresees: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.most:
            raise ValueError(f"first is {self.first}; 1 to most ({self.most}) is allowed")


@dataclass(frozen=True)
class TurnStatistics:
    """How things stand in a client's queue.

    Attributes:
        in_flight: calls that have been sent and not answered.
        limit: how many may be.
        waiting: calls that wait for their turn.
        refused: calls that were not sent, since their answers would have been late, or too many of
            them were refused or late before; since the client was made.
    """

    in_flight: int
    limit: int
    waiting: int
    refused: int


@dataclass(eq=False, slots=True)
class Waiting:
    """A call that waits for its turn.

    Attributes:
        expiry: its deadline; infinite where it has none.
        kind: what is asked; answers of one kind take about the same time.
        state: how things stand with it.
        wake: what its caller waits for, a thing of the shell's.
    """

    expiry: float
    kind: str
    place: tuple[float, int]
    state: State = State.WAITING
    wake: object = None


@dataclass(slots=True)
class Seconds:
    """What has been measured of one thing.

    Attributes:
        mean: exponentially weighted; the first values count in full.
        best: the least, which slowly forgets.
        count: values so far.
    """

    mean: float = 0.0
    best: float = math.inf
    count: int = 0

    def add(self, value: float) -> None:
        """Take in a new value."""
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

    All times are seconds of one monotonic clock. Not for several threads at once.

    Attributes:
        limits: bounds of `limit`.
        limit: how many calls may be in flight, as learnt so far.
        in_flight: how many are.
        refused: how many were refused, here.
    """

    limits: Limits = Limits()
    limit: float = field(init=False)
    in_flight: int = 0
    refused: int = 0
    _waiting: list[Waiting] = field(default_factory=list)
    _entered: int = 0
    # Seconds from one answer to the next while as many are in flight as may be.
    _pace: Seconds = field(default_factory=Seconds)
    # Seconds from when a call is sent to its answer, by kind.
    _answers: dict[str, Seconds] = field(default_factory=dict)
    _full_since: float = 0.0
    # What the connection was last known to let in, as far as gRPC has said so.
    _allowed: float = math.inf
    _shrunk: float = -math.inf
    _swept: float = -math.inf
    # Whether calls are sent at all, by kind: a server may take those of one and refuse others.
    _throttles: dict[str, Throttle] = field(default_factory=dict)
    # With how little time left calls came late, by kind, of those of which one ever did.
    _too_little: dict[str, TooLittle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limit = self.limits.first

    @property
    def has_waiting(self) -> bool:
        """Whether any call waits; while none does nobody is late."""
        return bool(self._waiting)

    def tries_again(self, now: float, kind: str) -> bool:
        """Whether a call that the server has refused may be tried again; see `Throttle`."""
        throttle = self._throttles.get(kind)
        return throttle is None or throttle.tries_again(now)

    def sends(self, now: float, kind: str, lot: float) -> bool:
        """Whether a call that has come is to be sent, now or in its turn; see `Throttle`."""
        throttle = self._throttles.get(kind)
        if throttle is None or throttle.sends(now, lot):
            return True
        self.refused += 1
        return False

    def has_time(self, now: float, expiry: float, kind: str, lot: float) -> bool:
        """Whether a call that has come is to be sent, though others with as little time left came
        late; see `TooLittle`. By lot, a number in [0, 1), as `sends` decides."""
        too_little = self._too_little.get(kind)
        if too_little is None or lot < too_little.share(now, expiry - now):
            return True
        self.refused += 1
        return False

    def statistics(self) -> TurnStatistics:
        """A snapshot for people who watch a client, and for tests."""
        return TurnStatistics(self.in_flight, int(self.limit), len(self._waiting), self.refused)

    def lateness(self, now: float, expiry: float, kind: str) -> float:
        """Seconds by which a call that came now would be late; none is where it is 0 or less.

        Who need not wait and who would be the first to wait is not late, so that there are always
        answers to learn from and a bad pace is forgotten.
        """
        if not self._waiting or not self._knows_pace:
            return 0.0
        place = self._key(now, expiry), self._entered + 1
        ahead = bisect_left(self._waiting, place, key=BY_PLACE)
        if not ahead:
            return 0.0
        return self._wait(ahead, kind) - MARGIN * (expiry - now)

    def enter(self, now: float, expiry: float, kind: str) -> Waiting | None:
        """A call that wants to be sent: None if it is at once, else what it waits with.

        Ask for its `lateness` before; a call that was let in is not refused here.
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
        """A call has ended that was sent then: who is to be told that its state has changed."""
        self._learn(now, sent, kind, end)
        if expiry < math.inf and end in (End.ANSWERED, End.LATE):
            self._learn_little(now, expiry - sent, kind, end is End.ANSWERED)
        self.in_flight -= 1
        return self._pass_on(now) if self._waiting else []

    def give_up(self, now: float, waiting: Waiting) -> list[Waiting]:
        """A caller no longer wants its turn, which it may have been given; as `leave`."""
        if waiting.state is State.WAITING:
            del self._waiting[bisect_left(self._waiting, waiting.place, key=BY_PLACE)]
            return []
        return self.give_back(now) if waiting.state is State.ITS_TURN else []

    def give_back(self, now: float) -> list[Waiting]:
        """A turn that was given is not used: nothing was sent, so nothing is learnt; as `leave`."""
        self.in_flight -= 1
        return self._pass_on(now) if self._waiting else []

    @property
    def _knows_pace(self) -> bool:
        return self.limits.foresees and self._pace.count >= KNOWN

    def _key(self, now: float, expiry: float) -> float:
        return min(expiry, now + PATIENCE)

    def _wait(self, ahead: int, kind: str) -> float:
        """Seconds until the answer of a call that so many go before."""
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
            # It would have taken longer still.
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
            # If it is by now, then since now.
            self._full_since = now
        self._shrunk = now

    def _pass_on(self, now: float) -> list[Waiting]:
        """Give turns to those with the earliest deadlines, and drop who will be late."""
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
            # The first is always kept, as it is let in.
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
