"""Turns in a `TurnQueue` for threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from cascade_client.turns.outcomes import (
    AGAIN,
    dropped,
    end_of,
    expired,
    foreseen,
    hasty,
    throttled,
)
from cascade_client.turns.queue import End, Limits, State, TurnQueue, TurnStatistics, Waiting

T = TypeVar("T")


class ThreadTurns:
    """Sends the calls of any number of threads, with a limit on concurrent ones.

    Args:
        limits: on concurrent calls; None: no limit.
        clock: monotonic seconds.
        sleep: waits, in seconds of that clock.
        rng: uniform numbers in [0, 1), to decide at random which calls are sent.
    """

    def __init__(
        self,
        limits: Limits | None,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        rng: Callable[[], float],
    ) -> None:
        self._queue = None if limits is None else TurnQueue(limits)
        self._clock, self._sleep, self._rng = clock, sleep, rng
        self._lock = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether calls can wait here at all."""
        return self._queue is not None

    def statistics(self) -> TurnStatistics | None:
        """Return a snapshot of the queue; None if calls cannot wait here."""
        if self._queue is None:
            return None
        with self._lock:
            return self._queue.statistics()

    def check(self, expiry: float, kind: str) -> None:
        """Refuse a call before any work is spent on it, if its kind requires that.

        Use it once per call, when the call's kind is known: a call refused because of another kind
        might have been answered.

        Raises:
            Overloaded: its answer would be late, or the server refuses most calls, or most calls
                with as little time left were late.
        """
        if self._queue is None:
            return
        with self._lock:
            self._check(self._queue, expiry, kind)
            now, lot = self._clock(), self._rng()
            if not self._queue.has_time(now, expiry, kind, lot):
                raise hasty(expiry - now)
            if not self._queue.sends(now, kind, lot):
                raise throttled()

    def tries_again(self, kind: str) -> bool:
        """Return whether a refused call may be retried; see `Throttle`."""
        if self._queue is None:
            return True
        with self._lock:
            return self._queue.tries_again(self._clock(), kind)

    def send(self, call: Callable[[], T], expiry: float, kind: str) -> T:
        """Make a call when its turn has come.

        Args:
            call: makes it, and waits for its answer.
            expiry: its deadline, on the clock; infinite: none.
            kind: calls of one kind take about the same time.

        Raises:
            Overloaded: its answer would be late; it was not made.
            DeadlineExceeded: its deadline passed before its turn came.
            grpc.RpcError: the call's own.
        """
        if self._queue is None:
            return call()
        while True:
            sent = self._enter(self._queue, expiry, kind)
            end = End.FAILED
            try:
                answer = call()
                end = End.ANSWERED
                return answer
            except grpc.RpcError as exc:
                end = end_of(exc)
                if end is not End.TURNED_AWAY:
                    raise
            finally:
                alone = self._leave(self._queue, sent, kind, end, expiry)
            if alone:
                self._sleep(AGAIN)

    @contextmanager
    def holding(self, expiry: float) -> Iterator[None]:
        """Hold a turn while a stream of answers is open; errors are those of `send`."""
        if self._queue is None:
            yield
            return
        sent = self._enter(self._queue, expiry, "")
        end = End.FAILED
        try:
            yield
        except grpc.RpcError as exc:
            end = end_of(exc)
            raise
        finally:
            if self._leave(self._queue, sent, "", end, expiry) and end is End.TURNED_AWAY:
                self._sleep(AGAIN)

    def _check(self, queue: TurnQueue, expiry: float, kind: str) -> None:
        if not queue.has_waiting:
            return
        lateness = queue.lateness(self._clock(), expiry, kind)
        if lateness > 0:
            queue.refused += 1
            raise foreseen(lateness, queue.statistics().waiting)

    def _enter(self, queue: TurnQueue, expiry: float, kind: str) -> float:
        """Wait for a turn; return when it came."""
        with self._lock:
            self._check(queue, expiry, kind)
            now = self._clock()
            waiting = queue.enter(now, expiry, kind)
            if waiting is None:
                return now
            told = threading.Event()
            waiting.wake = told
        try:
            told.wait(None if math.isinf(expiry) else max(0.0, expiry - now))
        except BaseException:  # such as KeyboardInterrupt
            self._give_up(queue, waiting)
            raise
        if waiting.state is State.ITS_TURN:
            return self._clock()
        self._give_up(queue, waiting)
        is_dropped = waiting.state is State.LATE and self._clock() < expiry
        raise dropped() if is_dropped else expired()

    def _give_up(self, queue: TurnQueue, waiting: Waiting) -> None:
        with self._lock:
            _wake(queue.give_up(self._clock(), waiting))

    def _leave(self, queue: TurnQueue, sent: float, kind: str, end: End, expiry: float) -> bool:
        """Record the end of a call; return whether no call is in flight any more."""
        with self._lock:
            told = queue.leave(self._clock(), sent, kind, end, expiry)
            if told:
                _wake(told)
            return queue.in_flight == 0


def _wake(told: Iterable[Waiting]) -> None:
    for each in told:
        event: Any = each.wake
        event.set()
