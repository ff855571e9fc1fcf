"""A gRPC server over HTTP/2 in the running event loop: listens and manages connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias

import grpc

from cascade_server.transport.call import Call
from cascade_server.transport.calls import Over
from cascade_server.transport.connection import Connection
from cascade_server.transport.http2.budgets import Held, Inflation
from cascade_server.transport.http2.frames import Broken, Code
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.limits import TransportLimits
from cascade_server.transport.linger import Linger, LingerConfig
from cascade_server.transport.peer import Peer
from cascade_server.transport.rpc import Rpc
from cascade_server.transport.strangers import Strangers
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.handshakes import Handshakes, Others
from cascade_server.transport.tls.remarks import Remarks
from cascade_server.transport.turns import CallTurns, Door, Grouped

BACKLOG = 1024
# Seconds between checks of connections for anything that takes too long.
CHECK_SECONDS = 1.0
# Seconds in which a peer without a call must answer the ping of a stopping server. After that the
# server waits only for connections with calls: silent ones would use up the whole grace.
SILENCE_SECONDS = 0.5
# Streams that never end by themselves, and whose callers lose nothing when they are cut.
ENDLESS = (
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


class Sharing(Others, Protocol):
    """Other processes that serve the same port; see `placement.Placement`."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when another process has given a connection away."""

    def take(self) -> socket.socket | None:
        """Take a connection that another process has given away; None: there is none."""


def lifetime(seconds: float, uniform: float) -> float:
    """Return the age at which a connection is drained: `seconds`, give or take a tenth.

    The variation keeps clients that connected together from reconnecting together.
    """
    return seconds * (0.9 + 0.2 * uniform)


# Called with a call that ended before it reached a handler, through no fault of its caller: its
# head, arrival and deadline (monotonic seconds; infinite: none), status, and the other end of its
# connection.
Refusing: TypeAlias = Callable[[Head, float, float, grpc.StatusCode, Peer], None]


class TransportServer:
    """A gRPC server, to which generated code adds servicers as to one of grpc's own.

    Args:
        grouped: groups that answer the calls of a method together, by path,
            "/package.Service/Method".
        limits: bounds on what callers may use.
        linger: how long an idle event loop polls before it sleeps.
        max_age: seconds after which a connection is drained; None: never.
        rng: uniform numbers in [0, 1), one for each connection's age.
        clock: monotonic seconds.
        refusing: called with calls refused here for lack of room; None: no callback.
        over: called with each call that has ended; None: no callback.
        door: decides whether callers may make calls, and is notified when a connection has ended;
            None: anybody may call.
        open_to_all: paths of methods that anybody may call regardless of the door; their messages
            must be small.
        credentials: for TLS; None: connections are in the clear.

    Attributes:
        limits: as given.
        limits_of: other limits of some methods, by path.
        held: counts the bytes held for all connections together.
        inflation: paces the inflating of messages.
        busy: number of connections with calls, without those that have identified no caller.
    """

    def __init__(
        self,
        grouped: Mapping[str, Grouped],
        limits: TransportLimits | None = None,
        linger: LingerConfig | None = None,
        max_age: float | None = None,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        refusing: Refusing | None = None,
        door: Door | None = None,
        open_to_all: Collection[str] = (),
        credentials: Credentials | None = None,
        over: Over | None = None,
    ) -> None:
        self._credentials = credentials
        self._handshakes: Handshakes | None = None
        self._remarks = Remarks()
        self._refusing, self._door, self.over = refusing, door, over
        self.limits = limits or TransportLimits()
        small = min(self.limits.open_message_bytes, self.limits.message_bytes)
        self.limits_of: Mapping[str, TransportLimits] = dict.fromkeys(
            open_to_all, replace(self.limits, message_bytes=small)
        )
        self._strangers: Strangers | None = None
        if door is not None:
            self._strangers = Strangers(door, open_to_all, self.limits.connections)
        self.held = Held(self.limits.held_bytes_in_all)
        self._clock = clock
        self.inflation = Inflation(self.limits.inflated_a_turn, self._soon)
        self.busy = 0
        self._turns = CallTurns(grouped, self._soon, clock, door)
        self._lingering = linger or LingerConfig()
        self._behind: deque[Connection] = deque()
        # When this turn of the event loop stops parsing; None: nothing has been read yet.
        self._reads_until: float | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._max_age, self._rng = max_age, rng
        self._ages: dict[Connection, asyncio.TimerHandle] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._handlers: dict[str, Any] = {}
        self._connections: set[Connection] = set()
        # Connections ended to make room, until they are closed.
        self._leaving: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._all_closed = asyncio.Event()
        self._sharing: Sharing | None = None
        self._taking: set[asyncio.Task[Any]] = set()

    def _soon(self, work: Callable[[], None]) -> None:
        self._loop.call_soon(work)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers."""
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: generated code calls this besides `add_generic_rpc_handlers`."""

    async def start(
        self,
        host: str,
        port: int,
        reuse_port: bool,
        sharing: Sharing | None = None,
        listener: socket.socket | None = None,
    ) -> int:
        """Begin to listen, in the running event loop.

        Args:
            host, port: the address; with port 0, any free port.
            reuse_port: whether other processes listen on the same port.
            sharing: the processes that connections are shared with; None: there are none.
            listener: a listening socket that several processes accept connections from; it is not
                closed here. None: listen on `host` and `port`.

        Returns:
            The port; 0 for a Unix socket.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._loop = asyncio.get_running_loop()
        self._sharing = sharing
        if self._credentials is not None:
            inside = partial(Connection, self, stays=True, clock=self._clock)
            self._handshakes = Handshakes(
                self._credentials, inside, self.limits, self._remarks, sharing, self._clock
            )
        make = partial(self._protocol, False)
        self._linger = Linger(self._lingering)
        if listener is not None:
            is_local = listener.family == socket.AF_UNIX
            create = self._loop.create_unix_server if is_local else self._loop.create_server
            self._listener = await create(make, sock=listener.dup(), backlog=BACKLOG)
        else:
            self._listener = await self._loop.create_server(
                make, host.strip("[]"), port, reuse_port=reuse_port, backlog=BACKLOG
            )
        if sharing is not None:
            self._loop.add_reader(sharing.fileno(), self._take_over, sharing)
        if listener is not None and listener.family == socket.AF_UNIX:
            return 0
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def _protocol(self, stays: bool) -> asyncio.Protocol:
        """Create the protocol of a new connection; see `Connection` for `stays`."""
        if self._handshakes is not None:
            return self._handshakes.connection(stays)
        return Connection(self, stays, self._clock)

    def _take_over(self, sharing: Sharing) -> None:
        """Take the connections that other processes have given away."""
        while (taken := sharing.take()) is not None:
            make = partial(self._protocol, True)
            task = self._loop.create_task(self._loop.connect_accepted_socket(make, taken))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    def stop_accepting(self) -> None:
        """Accept no new connections, except those that other processes have already given away."""
        if self._listener is not None:
            self._listener.close()

    async def stop(
        self,
        grace: float,
        hurry: asyncio.Event | None = None,
        gives_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Accept no new calls, wait until those in flight have ended, and close all connections.

        Args:
            grace: seconds that calls in flight have.
            hurry: the grace begins when this is set; None: now.
            gives_up: called before calls are cut off at the end of the grace.
        """
        if self._listener is None:
            return
        self._listener.close()
        if self._sharing is not None:
            self._take_over(self._sharing)
            self._loop.remove_reader(self._sharing.fileno())
            await asyncio.gather(*self._taking, return_exceptions=True)
        if self._handshakes is not None:
            # A client can be redirected only after its handshake.
            await self._handshakes.ended(min(grace, SILENCE_SECONDS))
        for connection in list(self._connections):
            connection.drain()
        self._end_the_endless()
        if hurry is not None and not hurry.is_set():
            await first_of(self._none_left(), hurry.wait())
        silence = min(grace, SILENCE_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_left(), silence)
        for connection in list(self._connections):
            if not connection.rpcs:
                connection.leave("the server stops")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_left(), grace - silence)
        gives_up()
        for connection in list(self._connections):
            tasks = [rpc.task for rpc in connection.rpcs.values() if rpc.task is not None]
            for rpc in list(connection.rpcs.values()):
                rpc.give_up()
            connection.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end_the_endless(self) -> None:
        for connection in list(self._connections):
            for rpc in list(connection.rpcs.values()):
                if rpc.head.path in ENDLESS:
                    rpc.give_up()

    async def _none_left(self) -> None:
        while self._connections:
            self._all_closed.clear()
            await self._all_closed.wait()

    # Called by connections; see `calls.Calls`.

    @property
    def _counts_connections(self) -> Sharing | None:
        """The processes to notify of connections; None: none, or `Handshakes` does it."""
        return self._sharing if self._handshakes is None else None

    def stranger(self, peer: Peer, why: str) -> None:
        """Log a connection that ends before it has spoken HTTP/2."""
        self._remarks.refused(peer.host, why)

    def gives_away(self, connection: int) -> bool:
        """Offer a connection, by its descriptor, to other processes; True: one took it."""
        return self._sharing is not None and self._sharing.gives_away(connection)

    def opened(self, connection: Connection) -> None:
        """Take a new connection into the count, ending another one if there are too many.

        Raises:
            Broken: there are too many, and all are in use.
        """
        if (others := self._counts_connections) is not None:
            others.opened()
        strangers = self._strangers
        if strangers is not None and (excess := strangers.in_excess(connection.peer.host)):
            self._show_out(excess)
        if len(self._connections) >= self.limits.connections:
            self._make_room()
        self._connections.add(connection)
        if strangers is not None:
            strangers.came(connection)
        if self._checking is None:
            self._checking = self._loop.call_later(CHECK_SECONDS, self.check)
        if self._max_age is not None:
            seconds = lifetime(self._max_age, self._rng())
            self._ages[connection] = self._loop.call_later(seconds, connection.drain)

    def _make_room(self) -> None:
        """End a connection that identified no caller or, if there is none, the longest idle one."""
        if self._strangers is not None and (stranger := self._strangers.oldest()) is not None:
            self._show_out(stranger)
            return
        idle = [each for each in self._connections if each.idle_since is not None]
        if not idle:
            most = self.limits.connections
            raise Broken(Code.ENHANCE_YOUR_CALM, f"all of {most} connections are in use")
        self._show_out(min(idle, key=lambda each: each.idle_since or 0.0))

    def _show_out(self, connection: Connection) -> None:
        if self._strangers is not None:
            self._strangers.gone(connection)
        self._connections.discard(connection)
        self._leaving.add(connection)
        connection.leave("others need the connection more")

    def closed(self, connection: Connection) -> None:
        """Take a connection that has ended out of the count."""
        self._connections.discard(connection)
        self._leaving.discard(connection)
        if self._strangers is not None:
            self._strangers.gone(connection)
        if self._door is not None:
            self._door.gone(connection.peer)
        if not self._connections and not self._leaving and self._checking is not None:
            self._checking.cancel()
            self._checking = None
        if (timer := self._ages.pop(connection, None)) is not None:
            timer.cancel()
        self._all_closed.set()
        if (others := self._counts_connections) is not None:
            others.closed()

    def heard(self) -> None:
        """Note that a connection has read bytes, so that the event loop stays awake for more."""
        self._linger.heard()

    def handler(self, path: str) -> Any:
        """Return the handler of a method; None: there is no such method."""
        found = self._handlers.get(path)
        if found is None:
            details = SimpleNamespace(method=path, invocation_metadata=())
            found = next(filter(None, (each.service(details) for each in self._generic)), None)
            if found is not None:
                self._handlers[path] = found
        return found

    def refuses(self, head: Head, connection: Connection) -> bytes | None:
        """Return the block that refuses a call at its headers; None: it may go on."""
        others = len(connection.rpcs)
        crowd = (others + 1) * (self.busy + (not others or connection.is_stranger))
        block = self._turns.refuses(head, crowd, connection.peer)
        if block is None and self._strangers is not None:
            block = self._strangers.refuses(head, connection)
        if block is not None and self.over is not None:
            self.over(head.path, grpc.StatusCode.RESOURCE_EXHAUSTED, 0.0)
        return block

    def came(self, rpc: Rpc) -> None:
        """Take a unary call that is complete, or a streaming one that has begun."""
        self._turns.came(rpc)

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        """Count a call that ended before it reached a handler, through no fault of its caller."""
        if self._refusing is not None:
            self._refusing(call.head, call.arrived, call.deadline, code, call.sender)

    def behind(self, connection: Connection) -> None:
        """Schedule `connection.catch_up`: it has more to parse than a turn allows.

        It goes before connections that have had a turn already, so a light sender waits little.
        """
        self._behind.appendleft(connection)
        if len(self._behind) == 1:
            self._loop.call_soon(self._catch_up)

    def has_time(self) -> bool:
        """Return whether this turn of the event loop has time left to parse newly read bytes."""
        now = self._clock()
        if self._reads_until is None:
            self._reads_until = now + self.limits.reading_seconds
            self._loop.call_soon(self._read_anew)
        return now <= self._reads_until

    def _read_anew(self) -> None:
        self._reads_until = None

    def _catch_up(self) -> None:
        """Parse what connections have read earlier, one after another, for a bounded time."""
        ends = self._clock() + self.limits.backlog_seconds
        behind = self._behind
        for _ in range(len(behind)):
            connection = behind.popleft()
            if connection.catch_up():
                behind.append(connection)
            if self._clock() >= ends:
                break
        if behind:
            self._loop.call_soon(self._catch_up)

    def check(self) -> None:
        """End whatever takes too long; called every second while there are connections."""
        now = self._clock()
        for connection in (*self._connections, *self._leaving):
            connection.check(now)
        if self._checking is not None:
            self._checking.cancel()
            self._checking = self._loop.call_later(CHECK_SECONDS, self.check)


async def first_of(*work: Awaitable[Any]) -> None:
    """Wait for one of several awaitables, and cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
