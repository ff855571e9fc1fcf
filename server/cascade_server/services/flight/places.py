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
    """

    def __init__(self, count: int, patience: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._patience = patience

    def place(self, drop: Callable[[], None]) -> Place:
        """One, to be entered.

        Args:
            drop: lets go of what is held in it; called when it is left or lost.
        """
        return Place(self._free, self._patience, drop)


class Place:
    """A place, from when it is entered until it is left or lost."""

    def __init__(self, free: asyncio.Semaphore, patience: float, drop: Callable[[], None]) -> None:
        self._free, self._patience, self._drop = free, patience, drop
        self._timer: asyncio.TimerHandle | None = None
        self._is_had = False

    async def __aenter__(self) -> Self:
        await self._free.acquire()
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
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def taken(self) -> bool:
        """The caller has taken what it was sent; whether the place is still had."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._is_had

    def _give_up(self) -> None:
        if self._free.locked():
            self._lose()
        else:
            self.sends()

    def _lose(self) -> None:
        if self._is_had:
            self._is_had = False
            self._drop()
            self._free.release()
