"""The port, its connections, and the turns in which calls that came together are taken."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

import grpc

from cascade_server.transport.connection import Connection
from cascade_server.transport.headers import Head
from cascade_server.transport.linger import Linger, LingerConfig
from cascade_server.transport.rpc import Arrival, Outcome, Rpc, Status, last_block

BACKLOG = 1024
# Streams that have no end of their own, and say nothing that their callers could not ask for again.
ENDLESS = (
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


class Grouped(Protocol):
    """Takes the unary calls of a method that came together.

    Attributes:
        most: calls that are taken at once; the others have to wait for another turn.
    """

    most: int

    def admit(self, arrived: float, deadline: float, waiting: int) -> Status | None:
        """Whether a call of which only the head has come may wait for its turn, with `waiting`
        before it; else how it ends.

        Args:
            arrived, deadline: monotonic seconds; infinite where there is no deadline.
            waiting: calls.
        """

    def take(
        self, arrivals: Sequence[Arrival], waiting: int
    ) -> Sequence[Outcome | Coroutine[Any, Any, Outcome]]:
        """How each call ends, or what is to be awaited to know; `waiting` more have come."""


class Sharing(Protocol):
    """Other processes that listen on the port too; see `placement.Placement`."""

    def gives_away(self, connection: int) -> bool:
        """Whether a new connection, by its file descriptor, is another's now."""

    def opened(self) -> None:
        """A connection is this process's."""

    def closed(self) -> None:
        """It is no more."""

    def fileno(self) -> int:
        """Readable when there is something to take."""

    def take(self) -> socket.socket | None:
        """A connection that another process has given away; None: there is none."""


@dataclass
class _Group:
    taker: Grouped
    waiting: list[Rpc] = field(default_factory=list)


def lifetime(seconds: float, uniform: float) -> float:
    """Of one connection: a tenth more or less, so that who came together does not come again so."""
    return seconds * (0.9 + 0.2 * uniform)


class TransportServer:
    """A gRPC server, to which generated code adds servicers as to one of grpc's own.

    Args:
        grouped: who takes the calls of a method together; by path, "/package.Service/Method".
        most_streams: calls that a connection may have at once.
        most_bytes: of a message.
        patience: seconds in which a connection is to begin to speak HTTP/2.
        linger: how long the event loop looks for more before it sleeps.
        max_age: seconds after which a connection is drained; None: never.
        rng: uniform numbers in [0, 1), one for each connection's age.
    """

    def __init__(
        self,
        grouped: Mapping[str, Grouped],
        most_streams: int,
        most_bytes: int,
        patience: float = 20.0,
        linger: LingerConfig | None = None,
        max_age: float | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._groups = {path: _Group(taker) for path, taker in grouped.items()}
        self._most_streams, self._most_bytes = most_streams, most_bytes
        self._patience, self._lingering = patience, linger or LingerConfig()
        self._max_age, self._rng = max_age, rng
        self._ages: dict[Connection, asyncio.TimerHandle] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._handlers: dict[str, Any] = {}
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._turn_is_due = False
        self._all_closed = asyncio.Event()
        self._sharing: Sharing | None = None
        self._taking: set[asyncio.Task[Any]] = set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers."""
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What generated code calls too; says nothing new."""

    async def start(
        self,
        host: str,
        port: int,
        reuse_port: bool,
        sharing: Sharing | None = None,
        listener: socket.socket | None = None,
    ) -> int:
        """Listen.

        Args:
            host, port: where; 0: any free port.
            reuse_port: whether others listen there too.
            sharing: those with whom connections are shared.
            listener: takes connections for several processes, and is not closed here; None: a
                socket of this process's own does.

        Returns:
            The port, where any was asked for; 0: it is a Unix socket.

        Raises:
            OSError: the address cannot be listened on.
        """
        make = partial(Connection, self, self._most_streams, self._most_bytes, self._patience)
        self._loop = asyncio.get_running_loop()
        self._linger = Linger(self._lingering)
        if listener is not None:
            is_local = listener.family == socket.AF_UNIX
            create = self._loop.create_unix_server if is_local else self._loop.create_server
            self._listener = await create(make, sock=listener.dup(), backlog=BACKLOG)
        else:
            self._listener = await self._loop.create_server(
                make, host.strip("[]"), port, reuse_port=reuse_port, backlog=BACKLOG
            )
        self._sharing = sharing
        if sharing is not None:
            self._loop.add_reader(sharing.fileno(), self._take_over, sharing)
        if listener is not None and listener.family == socket.AF_UNIX:
            return 0
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def _take_over(self, sharing: Sharing) -> None:
        """Take what others have given away."""
        while (taken := sharing.take()) is not None:
            make = partial(
                Connection, self, self._most_streams, self._most_bytes, self._patience, True
            )
            task = self._loop.create_task(self._loop.connect_accepted_socket(make, taken))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    def stop_accepting(self) -> None:
        """Take no new connections, but for those that others have given away already."""
        if self._listener is not None:
            self._listener.close()

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Take no new calls, and end once those there are have ended.

        Args:
            grace: seconds that they get.
            hurry: from when on; None: from now on.
        """
        if self._listener is None:
            return
        self._listener.close()
        if self._sharing is not None:
            self._take_over(self._sharing)
            self._loop.remove_reader(self._sharing.fileno())
            await asyncio.gather(*self._taking, return_exceptions=True)
        for connection in list(self._connections):
            connection.drain()
        self._end_the_endless()
        if hurry is not None and not hurry.is_set():
            await first_of(self._none_left(), hurry.wait())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_left(), grace)
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

    # What connections say.

    def gives_away(self, connection: int) -> bool:
        """Whether a connection, by its file descriptor, is another process's now."""
        return self._sharing is not None and self._sharing.gives_away(connection)

    def opened(self, connection: Connection) -> None:
        """A connection has been made."""
        self._connections.add(connection)
        if self._max_age is not None:
            after = lifetime(self._max_age, self._rng())
            self._ages[connection] = self._loop.call_later(after, connection.drain)
        if self._sharing is not None:
            self._sharing.opened()

    def closed(self, connection: Connection) -> None:
        """A connection is no more."""
        self._connections.discard(connection)
        if (timer := self._ages.pop(connection, None)) is not None:
            timer.cancel()
        self._all_closed.set()
        if self._sharing is not None:
            self._sharing.closed()

    def heard(self) -> None:
        """A connection has read what has come."""
        self._linger.heard()

    def handler(self, path: str) -> Any:
        """Handles a method; None: nobody does."""
        found = self._handlers.get(path)
        if found is None:
            details = SimpleNamespace(method=path, invocation_metadata=())
            found = next(filter(None, (each.service(details) for each in self._generic)), None)
            if found is not None:
                self._handlers[path] = found
        return found

    def refuses(self, head: Head) -> bytes | None:
        """How a call ends that may not wait for its turn; None: it may.

        That is decided before there is anything of it but its head: a server that has too much to
        do can refuse nearly ten calls in the time that one takes to be answered.
        """
        group = self._groups.get(head.path)
        if group is None:
            return None
        arrived = time.monotonic()
        deadline = math.inf if head.timeout is None else arrived + head.timeout
        refused = group.taker.admit(arrived, deadline, len(group.waiting))
        return None if refused is None else last_block(refused)

    def came(self, rpc: Rpc) -> None:
        """A unary call has sent all; a streaming one has begun."""
        group = self._groups.get(rpc.head.path)
        if group is None:
            rpc.start()
            return
        group.waiting.append(rpc)
        self._come_round()

    def _come_round(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            # All that the system has for us now is read before that.
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take what has come, the nearest deadlines first."""
        self._turn_is_due = False
        for group in self._groups.values():
            if group.waiting:
                self._take(group)

    def _take(self, group: _Group) -> None:
        waiting, most = group.waiting, group.taker.most
        if len(waiting) > most:
            waiting.sort(key=lambda rpc: rpc.deadline)
            # Between turns the system is asked for more: who hangs up meanwhile costs no work.
            self._come_round()
        taken, group.waiting = waiting[:most], waiting[most:]
        outcomes = group.taker.take(taken, len(group.waiting))
        for rpc, outcome in zip(taken, outcomes, strict=True):
            if isinstance(outcome, Coroutine):
                rpc.start(outcome)
            else:
                rpc.ends(outcome)


async def first_of(*work: Awaitable[Any]) -> None:
    """Wait for one of several things; the others are given up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
