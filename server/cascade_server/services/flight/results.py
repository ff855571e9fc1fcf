"""Rows of jobs' results, read and decoded by threads of their own in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cascade_jobs.job import Job, Part
from cascade_jobs.stores import Store

from cascade_server.errors import NotAllowed, NotReady
from cascade_server.jobs.desk import Desk
from cascade_server.services.flight.files import ResultFile
from cascade_server.services.flight.places import Places
from cascade_server.transport import Parts

T = TypeVar("T")

THREADS = 2
# Real-time calls go first: below them, and above those who make rows.
NICENESS = 10
# Files that are read at once, and seconds that a caller keeps its place while it takes nothing.
PLACES, PATIENCE = 4, 0.25
# Decoded bytes of a row group up to which the next is decoded while it is sent.
MOST_AHEAD = 8 * 2**20
# Schemas that are remembered; a job's never changes.
MOST_SCHEMAS = 1024


@dataclass(eq=False)
class _Held:
    """What is held of one file.

    Attributes:
        file: None: it is to be opened.
        messages: of a row group, that have not been sent.
        ahead: those of the next one, which are being decoded.
    """

    file: ResultFile | None = None
    messages: deque[Parts] = field(default_factory=deque)
    ahead: asyncio.Future[list[Parts]] | None = None

    def drop(self) -> None:
        """Let go of the open file and what was made ahead; reading on opens it again."""
        self.file = None
        self.messages.clear()
        if self.ahead is not None:
            self.ahead.cancel()
            self.ahead = None


class Results:
    """Reads results.

    Args:
        desk: knows where they are.
        places: how many are read at once.
    """

    def __init__(self, desk: Desk, places: Places | None = None) -> None:
        self._desk = desk
        self._places = places or Places(PLACES, PATIENCE)
        self._threads = ThreadPoolExecutor(THREADS, "results", initializer=_let_others_go_first)
        self._schemas: OrderedDict[str, Any] = OrderedDict()

    def close(self) -> None:
        """Let go of the threads; what waits for them is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def schema(self, job: Job, derive: Callable[[], Any]) -> Any:
        """A job's schema, of Arrow.

        Args:
            job: whose.
            derive: what it is to be, in a thread; None where that cannot be told.

        Returns:
            None: it is not known before a file is whole.

        Raises:
            NotReady, NotAllowed: as `rows`.
        """
        found = self._schemas.get(job.id)
        if found is None:
            found = await self.in_thread(derive)
        if found is None and job.shards_done:
            _, parts = await self._desk.job_and_parts(job.id)
            if parts:
                store = self._desk.store(job)
                found = (await self.in_thread(lambda: _opened(store, parts[0]))).schema
        if found is not None:
            self._schemas[job.id] = found
            while len(self._schemas) > MOST_SCHEMAS:
                self._schemas.popitem(last=False)
        return found

    async def rows(self, job: Job, part: Part) -> AsyncGenerator[Parts, None]:
        """The rows of a file as messages of Flight, without a schema's.

        Raises:
            NotReady: the file cannot be read now.
            NotAllowed: it is not what was made.
        """
        store = self._desk.store(job)
        group, sent, groups = 0, 0, 1
        held = _Held()
        while group < groups:
            async with self._places.place(held.drop) as place:
                held.file = await self.in_thread(lambda: _opened(store, part))
                groups, is_had = held.file.groups, True
                while is_had and group < groups:
                    messages = await (held.ahead or self._decoding(held.file, group))
                    held.ahead = None
                    if group + 1 < groups and held.file.bytes_of(group + 1) <= MOST_AHEAD:
                        held.ahead = self._decoding(held.file, group + 1)
                    held.messages.extend(messages[sent:])
                    del messages
                    while held.messages:
                        place.sends()
                        yield held.messages.popleft()
                        sent += 1
                        if not (is_had := place.taken()):
                            break
                    else:
                        group, sent = group + 1, 0

    def _decoding(self, file: ResultFile, group: int) -> asyncio.Future[list[Parts]]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, file.messages, group)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes long where nobody waits for it who asks in real time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _opened(store: Store, part: Part) -> ResultFile:
    """A file, if it is the one that was made.

    Raises:
        NotReady: it cannot be read now.
        NotAllowed: it is another one.
    """
    where = f"{store.where}/{part.name}"
    try:
        data = store.read(part.name, 0, part.bytes)
    except OSError as exc:
        raise NotReady(f"{where} cannot be read: {exc.strerror or exc}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise NotAllowed(
            f"{where} is not the file that was made: its SHA-256 is {found[:12]}..., not "
            f"{part.sha256[:12]}...; SubmitJob with `fresh` makes the rows anew"
        )
    return ResultFile(data)


def _let_others_go_first() -> None:
    """Lower this thread's priority, which on Linux each has of its own."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
