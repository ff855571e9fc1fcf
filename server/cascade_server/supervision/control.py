"""A worker's end of the messages between it and the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

from cascade_server.errors import BadRequest, NotAllowed, NotReady, ServerError, UnknownTable
from cascade_server.supervision.crews import Post

# Errors that the supervisor may answer with, by class name.
ERRORS = {each.__name__: each for each in (BadRequest, NotAllowed, NotReady, UnknownTable)}

GONE = "the server is stopping: the process that directs it is gone"


class Control:
    """Sends requests to the supervisor, and follows its orders.

    Args:
        post: the connection to the supervisor.
        orders: functions to call, by the order's name.
        orphaned: called once if the supervisor is gone, since nothing else will end this process.
    """

    def __init__(
        self, post: Post, orders: Mapping[str, Callable[[], None]], orphaned: Callable[[], None]
    ) -> None:
        self._post, self._orders, self._orphaned = post, orders, orphaned
        # Numbers must not repeat those of an earlier process, whose answers may still be on their
        # way.
        self._numbers = itertools.count((os.getpid() << 32) + 1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._is_gone = False
        asyncio.get_running_loop().add_reader(post.fileno(), self._heard)

    async def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Send a request, and wait until it is done.

        Raises:
            NotReady: the supervisor is gone.
            ServerError: the request is impossible; says why.
        """
        if self._is_gone:
            raise NotReady(GONE)
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._post.tell(ask=what, number=number, **more)
            said = await answer
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                self._post.tell(withdrawn=number)
            raise
        finally:
            del self._waiting[number]
        if "error" in said:
            raise ERRORS.get(said["kind"], ServerError)(said["error"])
        done: dict[str, Any] = said["done"]
        return done

    def _heard(self) -> None:
        try:
            said = self._post.read()
        except ConnectionError:
            self._lost()
            return
        for each in said:
            if "do" in each:
                self._orders[each["do"]]()
            elif (answer := self._waiting.get(each["answer"])) is not None and not answer.done():
                answer.set_result(each)

    def _lost(self) -> None:
        # A connection whose other end is closed is always readable, but empty.
        asyncio.get_running_loop().remove_reader(self._post.fileno())
        self._is_gone = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NotReady(GONE))
        self._orphaned()
