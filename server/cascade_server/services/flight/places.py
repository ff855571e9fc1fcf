"""How many results are read at once: each takes memory, and nobody waits for whoever is slow.

Rows that are decoded and not sent yet are held in a place. There are few, and they are taken in
turn. A caller that does not take what it was sent loses its place after a while if others wait for
one; the rows are decoded anew once it has a place again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Places:
    """So many.

    Args:
        count: how many there are.
        patience: seconds that a caller may take no part of its answer before others have its place.

    Attributes:
        waiting: who waits for one.
    """

    def __init__(self, count: int, patience: float) -> None:
        self.patience, self.waiting = patience, 0
        self._free = asyncio.Semaphore(count)

    def place(self, drop: Callable[[], None]) -> Place:
        """One, to be entered.

        Args:
            drop: lets go of what is held in it; called when it is left or lost.
        """
        return Place(self, drop)

    async def enter(self) -> None:
        """Wait until a place is free, and take it."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Give a place back to whoever waits for one."""
        self._free.release()


class Place:
    """A place, from when it is entered until it is left or lost."""

    def __init__(self, places: Places, drop: Callable[[], None]) -> None:
        self._places, self._drop = places, drop
        self._timer: asyncio.TimerHandle | None = None
        self._is_had = False

    async def __aenter__(self) -> Self:
        await self._places.enter()
        self._is_had = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.taken()
        self._lose()

    def sends(self) -> None:
        """The caller is sent something, and waited for from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._places.patience, self._give_up)

    def taken(self) -> bool:
        """The caller has taken what it was sent; whether the place is still had."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._is_had

    def _give_up(self) -> None:
        if self._places.waiting:
            self._lose()
        else:
            self.sends()

    def _lose(self) -> None:
        if self._is_had:
            self._is_had = False
            self._drop()
            self._places.leave()
