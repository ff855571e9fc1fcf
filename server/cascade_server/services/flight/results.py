"""Rows of jobs' results, read and decoded by threads of their own in bounded memory."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import importlib
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
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
# Row groups that are decoded while one is sent, each by a thread, and the decoded bytes of the
# largest one that is.
AHEAD = 2
MOST_AHEAD = 8 * 2**20
# Schemas that are remembered; a job's never changes.
MOST_SCHEMAS = 1024


@dataclass(eq=False)
class _Held:
    """What is held of one file.

    Attributes:
        file: None: it is to be opened.
        messages: of a row group, that have not been sent.
        ahead: those of the next ones, which are being decoded.
    """

    file: ResultFile | None = None
    messages: deque[Parts] = field(default_factory=deque)
    ahead: deque[asyncio.Future[list[Parts]]] = field(default_factory=deque)

    def drop(self) -> None:
        """Let go of the open file and what was made ahead; reading on opens it again."""
        self.file = None
        self.messages.clear()
        while self.ahead:
            self.ahead.pop().cancel()


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
            await self.in_thread(load_arrow)
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
                file = held.file = await self.in_thread(lambda: _opened(store, part))
                groups, is_had = file.groups, True
                while is_had and group < groups:
                    self._decode(file, held.ahead, group, 1)
                    # Nobody loses a place who waits for rows.
                    messages = await held.ahead[0]
                    held.ahead.popleft()
                    self._decode(file, held.ahead, group + 1, 0)
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

    def _decode(
        self,
        file: ResultFile,
        ahead: deque[asyncio.Future[list[Parts]]],
        first: int,
        at_least: int,
    ) -> None:
        """Have row groups decoded, from one on, by as many threads.

        Args:
            file: whose they are.
            ahead: those that are being decoded, the first one at its head.
            first: its number; those behind it are decoded ahead, if they are not large.
            at_least: so many are, however large.
        """
        loop = asyncio.get_running_loop()
        for group in range(first + len(ahead), min(first + AHEAD, file.groups)):
            if len(ahead) >= at_least and file.bytes_of(group) > MOST_AHEAD:
                return
            ahead.append(loop.run_in_executor(self._threads, file.messages, group))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes long where nobody waits for it who asks in real time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def load_arrow() -> None:
    """Load what results are read with, in a thread that others need not wait for.

    A server that is never asked for results is without it: that saves each worker a third of a
    second of its start. Its largest library is linked first, by what leaves the interpreter to
    others meanwhile, as an import does not.
    """
    if "pyarrow.parquet" in sys.modules:
        return
    for folder in find_spec("pyarrow").submodule_search_locations or ():  # type: ignore[union-attr]
        for library in sorted(Path(folder).glob("libarrow.so.*")):
            ctypes.CDLL(str(library))
    importlib.import_module("pyarrow.parquet")


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
