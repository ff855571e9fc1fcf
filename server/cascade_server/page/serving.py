"""Serves the page over HTTP/1.1: a thin shell around h11 that limits what a browser may use.

A connection has limited time to send a request, and ends if it accepts nothing of a response for
some time. A client that watches is sent the newest snapshot when it has accepted the one before: a
slow reader gets fewer snapshots, and none wait for it in memory.
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
    """Limits on browsers.

    Attributes:
        connections, watchers: the most at the same time; further ones are told to come back.
        head_bytes: the most bytes of a request's head.
        idle_seconds: how long a connection may be without a request, or in the middle of one.
        stall_seconds: how long a response may wait to be accepted.
    """

    connections: int = 64
    watchers: int = 32
    head_bytes: int = 16 * 1024
    idle_seconds: float = 30.0
    stall_seconds: float = 30.0


class PageServer:
    """Answers browsers.

    Attributes:
        watchers: clients that are sent each snapshot now.

    Args:
        publisher: makes the snapshots.
        names: host names of the page, besides addresses.
        limits: limits on browsers.
        assets: the page's files; None for the ones in the package.
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
        """Number of connected browsers."""
        return len(self._tasks)

    @property
    def sockets(self) -> Sequence[socket]:
        """The sockets that it listens on."""
        return () if self._server is None else self._server.sockets

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: the server cannot listen on the address.
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
        # No part of a response is buffered while the next one is made, or when the connection ends.
        writer.transport.set_write_buffer_limits(high=0)
        connection = Connection(reader, writer, self._limits)
        try:
            if len(self._tasks) > self._limits.connections:
                await connection.turn_away()
                return
            await self._converse(connection)
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            pass  # the client is gone, or has to go
        except Exception:  # a defect: asyncio would let the task end without saying why
            log.exception("the operations page could not answer")
        finally:
            self._tasks.discard(task)
            # What the kernel has not accepted by now is dropped.
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
    """Return a response that says why the request is refused, and ends the connection."""
    return refusal(status, why, Connection="close")


class Connection:
    """One browser's connection: requests one after another, and their responses."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: PageLimits
    ) -> None:
        self._reader, self._writer, self._limits = reader, writer, limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def next_request(self) -> h11.Request | None:
        """Read the next request; None if there is none, or it is not HTTP.

        Raises:
            TimeoutError: it takes too long to arrive.
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
                        # No request here has a body.
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
        """Send a complete response."""
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
        """Send the head of a streamed response."""
        headers = {**SAFE, "Content-Type": EVENTS, "Cache-Control": "no-store"}
        response = h11.Response(status_code=200, headers=list(headers.items()))
        await self._write(self._http.send(response) or b"")
        await self.send(b"retry: 2000\n\n")

    async def send(self, content: bytes) -> None:
        """Send a part of a streamed response; return once it is accepted."""
        await self._write(self._http.send(h11.Data(data=content)) or b"")

    async def unless_gone(self, work: Coroutine[Any, Any, tuple[int, bytes]]) -> tuple[int, bytes]:
        """Wait for some work, but only while the browser is connected."""
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
        """Say that there are too many connections, without reading a request."""
        body = b"too many browsers are connected\n"
        head = (
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
            b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        await self._write(head + body)

    async def _write(self, content: bytes) -> None:
        if self._writer.is_closing():
            # uvloop writes nothing to a client that has reset the connection, and calls that an
            # error.
            raise ConnectionResetError("the browser is gone")
        self._writer.write(content)
        async with asyncio.timeout(self._limits.stall_seconds):
            await self._writer.drain()
