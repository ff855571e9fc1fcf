"""The page over HTTP/1.1: a thin shell around h11, with bounds on all that a browser may hold.

A connection has a while to say what it wants, and one that takes nothing of its answer for a while
ends. Who watches is sent the newest snapshot when it has taken the one before: a slow reader sees
fewer of them, and none wait for it in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from socket import socket
from typing import Any

import h11

from cascade_server.page.assets import Asset, load_assets
from cascade_server.page.publishing import Publisher
from cascade_server.page.requests import EVENTS, JSON, SAFE, Answer, Wanted, decide, refusal

log = logging.getLogger("cascade.server")


@dataclass(frozen=True)
class PageLimits:
    """What browsers may hold.

    Attributes:
        connections, watchers: at once; more are told to come back.
        head_bytes: of a request.
        idle_seconds: that a connection may be without a request, or in the midst of one.
        stall_seconds: that an answer may wait to be taken.
    """

    connections: int = 64
    watchers: int = 32
    head_bytes: int = 16 * 1024
    idle_seconds: float = 30.0
    stall_seconds: float = 30.0


class PageServer:
    """Answers browsers.

    Attributes:
        watchers: who is sent each snapshot now.

    Args:
        publisher: makes what they are shown.
        names: by which the page is known, beside addresses.
        limits: what they may hold.
        assets: the page's files; None: those that are shipped.
    """

    def __init__(
        self,
        publisher: Publisher,
        names: Collection[str] = (),
        limits: PageLimits | None = None,
        assets: Mapping[str, Asset] | None = None,
    ) -> None:
        self._publisher, self._limits = publisher, limits or PageLimits()
        self._names = frozenset(name.lower().removesuffix(".") for name in names)
        self._assets = load_assets() if assets is None else assets
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.watchers = 0

    @property
    def connections(self) -> int:
        """Browsers that are connected now."""
        return len(self._tasks)

    @property
    def sockets(self) -> Sequence[socket]:
        """Those that it listens on."""
        return () if self._server is None else self._server.sockets

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=self._limits.head_bytes, backlog=64
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # Nothing of an answer waits here while the next one is made, or when the connection ends.
        writer.transport.set_write_buffer_limits(high=0)
        connection = Connection(reader, writer, self._limits)
        try:
            if len(self._tasks) > self._limits.connections:
                await connection.turn_away()
                return
            await self._converse(connection)
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            pass  # whoever it was is gone, or has to go
        except Exception:  # a defect: asyncio would let the task end without saying why
            log.exception("the operations page could not answer")
        finally:
            self._tasks.discard(task)
            # What the kernel has not taken by now is nobody's.
            writer.transport.abort()

    async def _converse(self, connection: Connection) -> None:
        while (request := await connection.next_request()) is not None:
            headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
            decided = decide(
                request.method.decode("latin-1"),
                request.target.decode("latin-1"),
                headers,
                self._assets,
                self._names,
            )
            is_head = request.method == b"HEAD"
            if isinstance(decided, Wanted):
                if decided.what == "events" and not is_head:
                    await self._watch(connection)
                    return
                decided = await self._look_up(decided)
            await connection.answer(decided, is_head)

    async def _look_up(self, wanted: Wanted) -> Answer:
        fresh = {"Cache-Control": "no-store"}
        if wanted.what == "events":
            return Answer(200, b"", EVENTS, fresh)
        if wanted.what == "past":
            found = await self._publisher.past(wanted.table, wanted.service)
        else:
            found = await self._publisher.snapshot()
        return Answer(200, found, JSON, fresh)

    async def _watch(self, connection: Connection) -> None:
        if self.watchers >= self._limits.watchers:
            why = f"{self.watchers} others watch already; /snapshot.json is answered"
            await connection.answer(refusal(503, why, **{"Retry-After": "5"}), is_head=False)
            return
        self.watchers += 1
        try:
            await connection.begin_events()
            number, snapshot = await self._publisher.newest()
            while True:
                await connection.send(b"data: " + snapshot + b"\n\n")
                number, snapshot = await connection.unless_gone(self._publisher.after(number))
        finally:
            self.watchers -= 1


def last_word(status: int, why: str) -> Answer:
    """An answer that says why there is none, after which the connection ends."""
    return refusal(status, why, Connection="close")


class Connection:
    """One browser's: requests one after another, and their answers."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: PageLimits
    ) -> None:
        self._reader, self._writer, self._limits = reader, writer, limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def next_request(self) -> h11.Request | None:
        """What it asks for next; None: nothing more, or nothing that is HTTP.

        Raises:
            TimeoutError: it takes too long to say.
        """
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        elif self._http.our_state is not h11.IDLE:
            return None
        async with asyncio.timeout(self._limits.idle_seconds):
            try:
                while True:
                    event = self._http.next_event()
                    if event is h11.NEED_DATA:
                        self._http.receive_data(await self._reader.read(self._limits.head_bytes))
                    elif isinstance(event, h11.Request):
                        request = event
                    elif isinstance(event, h11.EndOfMessage):
                        return request
                    elif isinstance(event, h11.Data):
                        # Nothing that is asked for here has a body.
                        await self.answer(last_word(413, "a request has no body here"), False)
                        return None
                    else:
                        return None
            except h11.RemoteProtocolError as exc:
                await self.answer(
                    last_word(exc.error_status_hint, "that is no HTTP request"), False
                )
                return None

    async def answer(self, found: Answer, is_head: bool) -> None:
        """Send a whole answer."""
        headers = {**SAFE, "Content-Type": found.kind, **found.headers}
        headers["Content-Length"] = str(len(found.body))
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        response = h11.Response(status_code=found.status, headers=list(headers.items()))
        content = self._http.send(response) or b""
        if not is_head and found.status != 304 and found.body:
            content += self._http.send(h11.Data(data=found.body)) or b""
        content += self._http.send(h11.EndOfMessage()) or b""
        await self._write(content)

    async def begin_events(self) -> None:
        """Send the head of an answer that goes on."""
        headers = {**SAFE, "Content-Type": EVENTS, "Cache-Control": "no-store"}
        response = h11.Response(status_code=200, headers=list(headers.items()))
        await self._write(self._http.send(response) or b"")
        await self.send(b"retry: 2000\n\n")

    async def send(self, content: bytes) -> None:
        """Send a part of an answer that goes on; returns once it is taken."""
        await self._write(self._http.send(h11.Data(data=content)) or b"")

    async def unless_gone(self, work: Coroutine[Any, Any, tuple[int, bytes]]) -> tuple[int, bytes]:
        """Wait for something, but no longer than the browser is there."""
        waiting = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ConnectionResetError("the browser is gone")
            return waiting.result()
        finally:
            for each in (waiting, gone):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await each

    async def turn_away(self) -> None:
        """Say that there are too many, without waiting for what is asked."""
        body = b"too many browsers are connected\n"
        head = (
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
            b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        await self._write(head + body)

    async def _write(self, content: bytes) -> None:
        if self._writer.is_closing():
            # uvloop writes nothing to who has reset the connection, and calls that an error.
            raise ConnectionResetError("the browser is gone")
        self._writer.write(content)
        async with asyncio.timeout(self._limits.stall_seconds):
            await self._writer.drain()
