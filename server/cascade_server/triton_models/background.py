"""Runs work that a model's `execute` does not wait for, so that Triton sends the next batch."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any

from cascade_server.triton_models import backend
from cascade_server.triton_models.backend import Response, Sender

log = logging.getLogger("cascade.server")


class Background:
    """An event loop in a separate thread, for work that `execute` does not wait for."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start some work; an unhandled error goes to Triton's log."""
        asyncio.run_coroutine_threadsafe(_logged(work), self._loop)

    def close(self) -> None:
        """Stop the loop, and wait for its thread; work in progress is not finished."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:  # nobody asks the future, which would keep it to itself
        log.exception("unforeseen error beside the batches")


async def answer(sender: Sender, of: Coroutine[Any, Any, Response]) -> None:
    """Send a response when it is ready, or its error."""
    try:
        response = await of
    except Exception as exc:  # Triton waits for ever for a response that is not sent
        response = backend.refused(exc)
    backend.send(sender, response)
