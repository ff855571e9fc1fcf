"""Turns in a `TurnQueue` for tasks of one event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from cascade_client.errors import Overloaded
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


class TaskTurns:
    """Sends the calls of any number of tasks, with a limit on concurrent ones; `ThreadTurns` for
    asyncio.

    Args:
        limits: on concurrent calls; None: no limit.
        clock: monotonic seconds.
        sleep: waits, in seconds of that clock.
        rng: uniform numbers in [0, 1), to decide at random which calls are sent.
        shared: returns the turns shared with other clients, for each call; None: nothing is shared.
    """

    def __init__(
        self,
        limits: Limits | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        rng: Callable[[], float],
        shared: Callable[[TaskTurns], TaskTurns | None] | None = None,
    ) -> None:
        self._queue = None if limits is None else TurnQueue(limits)
        self._clock, self._sleep, self._rng = clock, sleep, rng
        self._shared = shared
        # Calls that have their own turn and wait for a shared one.
        self._between = 0

    @property
    def waits(self) -> bool:
        """Whether calls can wait here at all."""
        return self._queue is not None

    def statistics(self) -> TurnStatistics | None:
        """Return a snapshot of the queue; None if calls cannot wait here."""
        if self._queue is None:
            return None
        found, between = self._queue.statistics(), self._between
        return replace(found, in_flight=found.in_flight - between, waiting=found.waiting + between)

    def check(self, expiry: float, kind: str) -> None:
        """Refuse a call before any work is spent on it; see `ThreadTurns.check`."""
        if self._queue is None:
            return
        self._check(self._queue, expiry, kind)
        outer = self._outer()
        if outer is not None:
            try:
                outer.check(expiry, kind)
            except Overloaded:
                self._queue.refused += 1
                raise
            return
        now, lot = self._clock(), self._rng()
        if not self._queue.has_time(now, expiry, kind, lot):
            raise hasty(expiry - now)
        if not self._queue.sends(now, kind, lot):
            raise throttled()

    def tries_again(self, kind: str) -> bool:
        """Return whether a refused call may be retried; see `Throttle`."""
        if self._queue is None:
            return True
        outer = self._outer()
        if outer is not None:
            return outer.tries_again(kind)
        return self._queue.tries_again(self._clock(), kind)

    def _outer(self) -> TaskTurns | None:
        return None if self._shared is None else self._shared(self)

    async def send(self, call: Callable[[], Awaitable[T]], expiry: float, kind: str) -> T:
        """Make a call when its turn has come; see `ThreadTurns.send`.

        A cancelled task passes its turn to the next call.
        """
        queue = self._queue
        if queue is None:
            return await call()
        while True:
            sent = await self._enter(queue, expiry, kind)
            outer = self._outer()
            if outer is not None:
                sent = await self._enter_outer(queue, outer, expiry, kind)
            end = End.FAILED
            try:
                answer = await call()
                end = End.ANSWERED
                return answer
            except grpc.RpcError as exc:
                end = end_of(exc)
                if end is not End.TURNED_AWAY:
                    raise
            finally:
                if outer is not None:
                    outer._end(sent, kind, end, expiry)
                alone = self._leave(queue, sent, kind, end, expiry)
            if alone:
                await self._sleep(AGAIN)

    async def _enter_outer(
        self, queue: TurnQueue, outer: TaskTurns, expiry: float, kind: str
    ) -> float:
        """Wait for a shared turn while holding one's own; return when it came."""
        assert outer._queue is not None
        self._between += 1
        try:
            return await outer._enter(outer._queue, expiry, kind)
        except BaseException as exc:  # also a cancelled task: its turn would be lost to the others
            queue.refused += isinstance(exc, Overloaded)
            _wake(queue.give_back(self._clock()))
            raise
        finally:
            self._between -= 1

    def _end(self, sent: float, kind: str, end: End, expiry: float) -> None:
        """Record the end of a call with a shared turn.

        A full connection of its own says nothing about the shared limit.
        """
        assert self._queue is not None
        if end is End.TURNED_AWAY:
            _wake(self._queue.give_back(self._clock()))
        else:
            self._leave(self._queue, sent, kind, end, expiry)

    @asynccontextmanager
    async def holding(self, expiry: float) -> AsyncIterator[None]:
        """Hold a turn while a stream is open; see `ThreadTurns.holding`."""
        if self._queue is None:
            yield
            return
        sent = await self._enter(self._queue, expiry, "")
        end = End.FAILED
        try:
            yield
        except grpc.RpcError as exc:
            end = end_of(exc)
            raise
        finally:
            if self._leave(self._queue, sent, "", end, expiry) and end is End.TURNED_AWAY:
                await self._sleep(AGAIN)

    def _check(self, queue: TurnQueue, expiry: float, kind: str) -> None:
        if not queue.has_waiting:
            return
        lateness = queue.lateness(self._clock(), expiry, kind)
        if lateness > 0:
            queue.refused += 1
            raise foreseen(lateness, queue.statistics().waiting)

    async def _enter(self, queue: TurnQueue, expiry: float, kind: str) -> float:
        """Wait for a turn; return when it came."""
        self._check(queue, expiry, kind)
        now = self._clock()
        waiting = queue.enter(now, expiry, kind)
        if waiting is None:
            return now
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.wake = told
        try:
            async with asyncio.timeout(None if math.isinf(expiry) else max(0.0, expiry - now)):
                await told
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            _wake(queue.give_up(self._clock(), waiting))
            raise
        if waiting.state is State.ITS_TURN:
            return self._clock()
        _wake(queue.give_up(self._clock(), waiting))
        is_dropped = waiting.state is State.LATE and self._clock() < expiry
        raise dropped() if is_dropped else expired()

    def _leave(self, queue: TurnQueue, sent: float, kind: str, end: End, expiry: float) -> bool:
        """Record the end of a call; return whether no call is in flight any more."""
        told = queue.leave(self._clock(), sent, kind, end, expiry)
        if told:
            _wake(told)
        return queue.in_flight == 0


def _wake(told: Iterable[Waiting]) -> None:
    for each in told:
        future: Any = each.wake
        if not future.done():
            future.set_result(None)
