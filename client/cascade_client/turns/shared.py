"""One queue for all clients of an event loop with the same target and credentials.

An overloaded server, or an overloaded client process, affects all of them equally. Forty clients
with separate queues have few calls in flight each, so that they reach no limit and learn from few
answers. So with several clients, a call whose own connection has room then waits for a turn among
the calls of all. In this order, a client that waits for its own slow calls holds no turn that
others could use.

Clients with different credentials share nothing: a proxy that refuses one tenant may well accept
another.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

from cascade_client.turns.queue import Limits
from cascade_client.turns.tasks import TaskTurns

# Concurrent calls of all clients.
SHARED_LIMITS = Limits(first=32, most=4096)


@dataclass(eq=False)
class _Company:
    """The clients of a loop with one target.

    Attributes:
        turns: for the calls of all of them.
        clients: those that have made calls.
    """

    turns: TaskTurns
    clients: weakref.WeakSet[TaskTurns] = field(default_factory=weakref.WeakSet)


# The clients hold the references, so that a company without clients disappears.
_companies: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, weakref.WeakValueDictionary[Hashable, _Company]
] = weakref.WeakKeyDictionary()


@dataclass
class Shared:
    """Access of a client's turns to the shared ones.

    Attributes:
        key: target and credentials; clients with equal keys share.
        clock, sleep, rng: as for `TaskTurns`.
    """

    key: Hashable
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    rng: Callable[[], float]
    _found: _Company | None = None
    _left: bool = False

    def __call__(self, own: TaskTurns) -> TaskTurns | None:
        """Return the shared turns in the running loop; None: the client is alone.

        Args:
            own: the client's.
        """
        if self._left:
            return None
        if self._found is None:
            loop = asyncio.get_running_loop()
            here = _companies.setdefault(loop, weakref.WeakValueDictionary())
            self._found = here.get(self.key)
            if self._found is None:
                turns = TaskTurns(SHARED_LIMITS, self.clock, self.sleep, self.rng)
                self._found = here[self.key] = _Company(turns)
            self._found.clients.add(own)
        return self._found.turns if len(self._found.clients) > 1 else None

    def leave(self, own: TaskTurns) -> None:
        """Remove a client that makes no more calls."""
        if self._found is not None:
            self._found.clients.discard(own)
        self._found, self._left = None, True
