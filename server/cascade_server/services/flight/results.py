"""Reads and decodes job results in dedicated threads and in bounded memory."""

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
# Lower priority than real-time calls, higher than the processes that generate rows.
NICENESS = 10
# Files read at once, and seconds that a caller keeps its place while it consumes nothing.
PLACES, PATIENCE = 4, 0.25
# Row groups decoded ahead while one is sent, each in its own thread, and the decoded bytes of the
# largest row group that is decoded ahead.
AHEAD = 2
MOST_AHEAD = 8 * 2**20
# Cached schemas; a job's schema never changes.
MOST_SCHEMAS = 1024


@dataclass(eq=False)
class _Held:
    """The data held of one file.

    Attributes:
        file: the open file; None: not opened yet.
        messages: unsent messages of the current row group.
        ahead: pending messages of the next row groups.
    """

    file: ResultFile | None = None
    messages: deque[Parts] = field(default_factory=deque)
    ahead: deque[asyncio.Future[list[Parts]]] = field(default_factory=deque)

    def drop(self) -> None:
        """Close the file and drop what was decoded ahead; further reading opens the file again."""
        self.file = None
        self.messages.clear()
        while self.ahead:
            self.ahead.pop().cancel()


class Results:
    """Reads results.

    Args:
        desk: knows where the results are.
        places: number of files read at once.
    """

    def __init__(self, desk: Desk, places: Places | None = None) -> None:
        self._desk = desk
        self._places = places or Places(PLACES, PATIENCE)
        self._threads = ThreadPoolExecutor(THREADS, "results", initializer=_let_others_go_first)
        self._schemas: OrderedDict[str, Any] = OrderedDict()

    def close(self) -> None:
        """Stop the threads and drop queued work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def schema(self, job: Job, derive: Callable[[], Any]) -> Any:
        """Return the Arrow schema of a job's files.

        Args:
            job: the job.
            derive: derives the schema from the release, in a thread; None if it cannot.

        Returns:
            The schema; None: not known before a file is complete.

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
        """Yield the rows of a file as Flight messages, without the schema message.

        Raises:
            NotReady: the file cannot be read now.
            NotAllowed: the file is not the one that the job made.
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
                    # A caller that waits for rows does not lose its place.
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
        """Start decoding row groups, each in its own thread.

        Args:
            file: the file.
            ahead: the groups being decoded, in order.
            first: the number of the group at the head of `ahead`; later ones are decoded ahead if
                they are not large.
            at_least: decode at least this many groups, however large they are.
        """
        loop = asyncio.get_running_loop()
        for group in range(first + len(ahead), min(first + AHEAD, file.groups)):
            if len(ahead) >= at_least and file.bytes_of(group) > MOST_AHEAD:
                return
            ahead.append(loop.run_in_executor(self._threads, file.messages, group))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run slow work in a thread, so that real-time calls do not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def load_arrow() -> None:
    """Load pyarrow without blocking other threads.

    A server that serves no results never loads it, which saves each worker a third of a second at
    startup. The largest library is loaded first, with a call that releases the interpreter lock,
    which an import does not.
    """
    if "pyarrow.parquet" in sys.modules:
        return
    for folder in find_spec("pyarrow").submodule_search_locations or ():  # type: ignore[union-attr]
        for library in sorted(Path(folder).glob("libarrow.so.*")):
            ctypes.CDLL(str(library))
    importlib.import_module("pyarrow.parquet")


def _opened(store: Store, part: Part) -> ResultFile:
    """Open a file, if it is the one that the job made.

    Raises:
        NotReady: the file cannot be read now.
        NotAllowed: it is another file.
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
    """Lower this thread's priority; on Linux each thread has its own."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
