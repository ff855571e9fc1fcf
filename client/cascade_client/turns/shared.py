"""One queue for all clients of an event loop that ask the same target in the same name.

What the server has too much of, and what their process has too little of, is the same for all of
them: forty clients with a queue of their own each have few calls in flight, so that no limit is
reached, and learn from few. So where there are several, a call whose client's connection has room
then waits for a turn among the calls of all. In this order: a client that has to wait for its own
slow calls keeps no turn from the others meanwhile.

Clients with credentials of their own share nothing: what a proxy refuses one tenant it may well
take of another.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

from cascade_client.turns.queue import Limits
from cascade_client.turns.tasks import TaskTurns

# Calls of all clients that may be in flight at once.
SHARED_LIMITS = Limits(first=32, most=4096)


@dataclass(eq=False)
class _Company:
    """The clients of a loop that ask one target.

    Attributes:
        turns: for the calls of all of them.
        clients: those that have asked.
    """

    turns: TaskTurns
    clients: weakref.WeakSet[TaskTurns] = field(default_factory=weakref.WeakSet)


# A company is its clients': without any it is gone.
_companies: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, weakref.WeakValueDictionary[Hashable, _Company]
] = weakref.WeakKeyDictionary()


@dataclass
class Shared:
    """Whom a client shares its turns with; called by its own.

    Attributes:
        key: whom it asks, and in whose name; clients whose keys are equal share.
        clock, sleep, rng: as for `TaskTurns`.
    """

    key: Hashable
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    rng: Callable[[], float]
    _found: _Company | None = None
    _left: bool = False

    def __call__(self, own: TaskTurns) -> TaskTurns | None:
        """The turns of all, in the running loop; None: it is alone.

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
        """The client asks no more."""
        if self._found is not None:
            self._found.clients.discard(own)
        self._found, self._left = None, True
