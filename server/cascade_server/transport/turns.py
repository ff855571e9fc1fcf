"""The turns in which calls are taken: those that came together are, and none before its turn."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from cascade_server.transport.budgets import Inflation
from cascade_server.transport.headers import Fields, Head
from cascade_server.transport.outcomes import Arrival, Outcome, Status, last_block
from cascade_server.transport.rpc import Rpc

log = logging.getLogger("cascade.server")

# Calls of methods that nobody takes together which are begun in a turn, and calls whose callers
# have gone that are told of in one, beside those that are taken.
ALONE_A_TURN, GONE_A_TURN = 4, 64


class Grouped(Protocol):
    """Takes the unary calls of a method that came together.

    Attributes:
        most: calls that are taken at once; the others have to wait for another turn.
    """

    most: int

    def admit(
        self, arrived: float, deadline: float, waiting: int, headers: Fields
    ) -> Status | None:
        """Whether a call of which only the head has come may wait for its turn, with `waiting`
        before it; else how it ends.

        Args:
            arrived, deadline: monotonic seconds; infinite where there is no deadline.
            waiting: calls.
            headers: all, as they came.
        """

    def take(
        self, arrivals: Sequence[Arrival], waiting: int
    ) -> Sequence[Outcome | Coroutine[Any, Any, Outcome]]:
        """How each call ends, or what is to be awaited to know; `waiting` more have come."""


@dataclass
class _Group:
    taker: Grouped
    waiting: list[Rpc] = field(default_factory=list)


class Turns:
    """All calls that wait, and how they are taken.

    Args:
        grouped: who takes the calls of a method together; by path.
        inflation: paces the inflating of messages.
        soon: has something called once all that the system has for us now is read.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        grouped: Mapping[str, Grouped],
        inflation: Inflation,
        soon: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self._groups = {path: _Group(taker) for path, taker in grouped.items()}
        self._alone: deque[Rpc] = deque()
        self._inflation, self._soon, self._clock = inflation, soon, clock
        self._is_due = False

    def refuses(self, head: Head) -> bytes | None:
        """How a call ends that may not wait for its turn; None: it may.

        That is decided before there is anything of it but its head: a server that has too much to
        do can refuse nearly ten calls in the time that one takes to be answered.
        """
        group = self._groups.get(head.path)
        if group is None:
            return None
        arrived = self._clock()
        deadline = math.inf if head.timeout is None else arrived + head.timeout
        refused = group.taker.admit(arrived, deadline, len(group.waiting), head.headers)
        return None if refused is None else last_block(refused)

    def came(self, rpc: Rpc) -> None:
        """A unary call has sent all; a streaming one has begun."""
        group = self._groups.get(rpc.head.path)
        (self._alone if group is None else group.waiting).append(rpc)
        self._come_round()

    def _come_round(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Take what has come."""
        self._is_due = False
        for group in self._groups.values():
            if group.waiting:
                self._take(group)
        for _ in range(min(ALONE_A_TURN, len(self._alone))):
            rpc = self._alone.popleft()
            # Of who has gone before the turn came there is nothing to be done.
            if rpc.ended:
                continue
            if rpc.is_unary and rpc.inbox.compressed and self._inflation.pauses:
                self._alone.append(rpc)
            elif rpc.open():
                rpc.start()
        if self._alone:
            self._come_round()

    def _take(self, group: _Group) -> None:
        """Take calls of a group, the nearest deadlines first."""
        taken, group.waiting = group.waiting, []
        most = group.taker.most
        if len(taken) > most:
            taken.sort(key=lambda rpc: rpc.deadline)
            # Those whose callers have gone take nobody's place.
            gone = [rpc for rpc in taken if rpc.ended]
            here = [rpc for rpc in taken if not rpc.ended] if gone else taken
            taken = here[:most] + gone[:GONE_A_TURN]
            group.waiting = here[most:] + gone[GONE_A_TURN:]
        ready, pauses = [], []
        for rpc in taken:
            # What has to be inflated waits for its turn, and keeps nobody else waiting.
            if rpc.inbox.compressed and self._inflation.pauses:
                pauses.append(rpc)
            elif rpc.open():
                ready.append(rpc)
        if pauses:
            group.waiting[:0] = pauses
        if group.waiting:
            # Between turns the system is asked for more: who hangs up meanwhile costs no work.
            self._come_round()
        if not ready:
            return
        for rpc, outcome in zip(ready, self._outcomes(group, ready), strict=True):
            try:
                if isinstance(outcome, Coroutine):
                    rpc.start(outcome)
                else:
                    rpc.ends(outcome)
            except Exception as exc:
                log.exception("a call of %s failed", rpc.head.path)
                rpc.finish(failed(exc))

    def _outcomes(
        self, group: _Group, rpcs: Sequence[Rpc]
    ) -> Sequence[Outcome | Coroutine[Any, Any, Outcome]]:
        """How calls end; where taking them together fails, each by itself."""
        try:
            outcomes = group.taker.take(rpcs, len(group.waiting))
            if len(outcomes) == len(rpcs):
                return outcomes
            raise ValueError(f"{len(outcomes)} outcomes of {len(rpcs)} calls")
        except Exception as exc:
            log.exception("calls of %s failed", rpcs[0].head.path)
            if len(rpcs) == 1:
                return [failed(exc)]
        return [outcome for rpc in rpcs for outcome in self._outcomes(group, [rpc])]


def failed(error: Exception) -> Status:
    """How a call ends whose handler failed: no more is said than how."""
    kind = type(error).__name__
    return Status(grpc.StatusCode.UNKNOWN, f"the server failed with a {kind}")
