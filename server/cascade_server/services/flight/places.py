"""Limits how many results are read at once, and keeps slow callers from blocking others.

Decoded rows that are not sent yet take memory, and so each reading caller needs one of a few
places, which are granted in turn. A caller that does not consume what it was sent loses its place
after a while if others wait; its rows are decoded again once it has a new place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Places:
    """A fixed number of places.

    Args:
        count: number of places.
        patience: seconds without progress after which a caller's place may go to another.

    Attributes:
        waiting: callers that wait for a place.
    """

    def __init__(self, count: int, patience: float) -> None:
        self.patience, self.waiting = patience, 0
        self._free = asyncio.Semaphore(count)

    def place(self, drop: Callable[[], None]) -> Place:
        """Create a place for a caller to enter.

        Args:
            drop: releases what the place holds; called when the caller leaves or loses it.
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
        """Return the place, to the next waiting caller if there is one."""
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
        """Note that data is being sent to the caller; its patience starts now."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._places.patience, self._give_up)

    def taken(self) -> bool:
        """Note that the caller has consumed the data; return whether it still has the place."""
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
