"""A transport with a service of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import uvloop
from cascade_server.transport import TransportLimits, TransportServer
from cascade_server.transport.outcomes import Arrival, Outcome, Status
from cascade_server.transport.peer import Peer, peer_of
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.turns import Door, Grouped

T = TypeVar("T")
MOST_STREAMS, MOST_BYTES = 4, 8 * 1024 * 1024
SERVICE = "test.Service"


@dataclass
class Service:
    """Methods of every kind.

    Attributes:
        cancelled: calls of `Wait` that were cancelled.
        waiting: calls of `Wait` that have begun.
        go: set: `Wait` answers.
    """

    cancelled: list[str] = field(default_factory=list)
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
                "Peer": grpc.unary_unary_rpc_method_handler(self.peer),
                "Names": grpc.unary_unary_rpc_method_handler(self.names),
                "Told": grpc.unary_unary_rpc_method_handler(self.told),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Crash": grpc.unary_unary_rpc_method_handler(self.crash),
                "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
                "Number": grpc.unary_unary_rpc_method_handler(
                    self.number, request_deserializer=int
                ),
                "Numbers": grpc.stream_stream_rpc_method_handler(
                    self.numbers, request_deserializer=int
                ),
                "Grouped": grpc.unary_unary_rpc_method_handler(self.echo),
            },
        )

    async def echo(self, message: bytes, context: Any) -> bytes:
        return message

    async def peer(self, message: bytes, context: Any) -> bytes:
        """Who asks, by address and port."""
        return str(context.peer()).encode()

    async def names(self, message: bytes, context: Any) -> bytes:
        """Who asks, by certificate."""
        peer = peer_of(context)
        return repr((peer.is_encrypted, *peer.certificate_names)).encode()

    async def told(self, message: bytes, context: Any) -> bytes:
        """What the caller said beside its message."""
        await context.send_initial_metadata((("said-first", "one"),))
        context.set_trailing_metadata((("said-last", "two"), ("said-bin", b"\x00\xff")))
        left = context.time_remaining()
        known = sorted(context.invocation_metadata())
        return repr((None if left is None else round(left), known)).encode()

    async def fail(self, message: bytes, context: Any) -> bytes:
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED, message.decode(), (("come-back", "7"),)
        )
        raise AssertionError

    async def crash(self, message: bytes, context: Any) -> bytes:
        raise ZeroDivisionError(message)

    async def wait(self, message: bytes, context: Any) -> bytes:
        self.waiting.release()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message.decode())
            raise
        finally:
            self.ended.release()
        return message

    async def count(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        number, size = map(int, message.split())
        for at in range(number):
            yield str(at).encode().ljust(size)

    async def sum(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        return str(sum([int(each) async for each in messages])).encode()

    async def number(self, number: int, context: Any) -> bytes:
        return str(number).encode()

    async def numbers(self, numbers: AsyncIterator[int], context: Any) -> AsyncIterator[bytes]:
        async for each in numbers:
            yield str(each).encode()

    async def chat(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for each in messages:
            yield each


@dataclass
class Group:
    """Takes calls together, and writes down which.

    Attributes:
        turns: messages of each turn.
        may_wait: more are refused.
        crowds, peers: as they were told.
    """

    turns: list[list[bytes]] = field(default_factory=list)
    may_wait: int = 100
    waiting: list[Arrival] = field(default_factory=list)
    hung_up: int = 0
    crowds: list[int] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)

    def admit(
        self,
        arrived: float,
        deadline: float,
        headers: Sequence[tuple[bytes, bytes]],
        crowd: int,
        peer: Peer,
    ) -> Status | None:
        self.crowds.append(crowd)
        self.peers.append(peer)
        if len(self.waiting) >= self.may_wait:
            return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (("back", "5"),))
        return None

    def came(self, arrival: Arrival) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.turn)
        self.waiting.append(arrival)
        arrival.when_gone = self.one_gone

    def one_gone(self) -> None:
        self.hung_up += 1

    def turn(self) -> None:
        held = [each for each in self.waiting if each.paused]
        taken = [each for each in self.waiting if not each.paused and each.open()]
        self.waiting = held
        if held:
            asyncio.get_running_loop().call_soon(self.turn)
        if taken:
            self.turns.append([each.message for each in taken])
        for each in taken:
            outcome = self.outcome(each)
            if isinstance(outcome, Coroutine):
                each.start(outcome)
            else:
                each.ends(outcome)

    def outcome(self, arrival: Arrival) -> Outcome | Coroutine[Any, Any, Outcome]:
        if arrival.message.startswith(b"later"):
            return self.later(arrival)
        if arrival.message.startswith(b"no"):
            return Status(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b"gone" if arrival.gone else b"here"

    async def later(self, arrival: Arrival) -> Outcome:
        await asyncio.sleep(0)
        return b"gone later" if arrival.gone else b"later"


@dataclass(frozen=True)
class Serving:
    """A transport that listens.

    Attributes:
        refused: paths and codes of the calls that it has ended for want of room.
    """

    port: int
    server: TransportServer
    service: Service
    group: Group
    loop: asyncio.AbstractEventLoop
    refused: list[tuple[str, grpc.StatusCode]]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)


@contextmanager
def serving(
    max_age: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    credentials: Credentials | None = None,
    door: Door | None = None,
    open_to_all: Sequence[str] = (),
    **limits: Any,
) -> Iterator[Serving]:
    """One that is stopped at the end; `limits` are some of `TransportLimits`'s."""
    box: dict[str, Any] = {}
    started = threading.Event()

    async def life() -> None:
        service, group = Service(), Group()
        groups: Mapping[str, Grouped] = {f"/{SERVICE}/Grouped": group}
        given = {"streams": MOST_STREAMS, "message_bytes": MOST_BYTES, **limits}
        refused: list[tuple[str, grpc.StatusCode]] = []
        server = TransportServer(
            groups,
            TransportLimits(**given),
            max_age=max_age,
            clock=clock,
            refusing=lambda head, _arrived, _until, code, _peer: refused.append((head.path, code)),
            credentials=credentials,
            door=door,
            open_to_all=open_to_all,
        )
        server.add_generic_rpc_handlers((service.handlers(),))
        port = await server.start("127.0.0.1", 0, False)
        stop = box["stop"] = asyncio.Event()
        loop = asyncio.get_running_loop()
        box["serving"] = Serving(port, server, service, group, loop, refused)
        started.set()
        await stop.wait()
        await server.stop(0)

    thread = threading.Thread(target=uvloop.run, args=(life(),))
    thread.start()
    started.wait(30)
    try:
        yield box["serving"]
    finally:
        box["serving"].loop.call_soon_threadsafe(box["stop"].set)
        thread.join()
