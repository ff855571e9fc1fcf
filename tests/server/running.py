"""A real server on a free port, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import uvloop
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.cascade.admission import LimitConfig
from cascade_server.config import ServerConfig
from cascade_server.health.ability import CheckConfig
from cascade_server.server import Server

T = TypeVar("T")

# Where a test looks at what is drawn: no rows made ahead of time, no answers kept. By default a
# server has both.
DRAWN_ANEW = {"pool_bytes": 0, "cache_bytes": 0}


@dataclass(frozen=True)
class Running:
    """A server that is SERVING, and a channel to it."""

    server: Server
    channel: grpc.Channel
    stub: Any
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's event loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    @property
    def target(self) -> str:
        return f"{self.server.config.host}:{self.server.port}"


def unhurried(server: Server) -> None:
    """What a server answers does not depend on this machine's speed: AUTO takes the teacher where
    it is in time, since no latency is promised that it would have to fit, and none that was missed
    has it step down; and as many are let in however long they take. What is counted is what a test
    has asked for: the server asks itself for nothing."""
    assert server.service.checkup is not None
    server.service.checkup.checks = CheckConfig(math.inf, math.inf)
    dispatcher = server.service.dispatcher
    dispatcher.promised.clear()
    dispatcher.stepping.stop()
    dispatcher.gate.config = LimitConfig(tolerance=math.inf)


@contextmanager
def running(config: ServerConfig) -> Iterator[Running]:
    """Start, hand out, drain and stop; an error of the server's is raised here."""
    started = threading.Event()
    box: dict[str, Any] = {}

    async def life() -> None:
        server = Server(config)
        box["loop"] = asyncio.get_running_loop()
        try:
            await server.startup()
            unhurried(server)
            box["server"] = server
            started.set()
            await server.main_loop()
        finally:
            await server.shutdown()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(life())
        except BaseException as exc:
            box["error"] = exc
        finally:
            started.set()

    thread = threading.Thread(target=run, name="server")
    thread.start()
    started.wait()
    try:
        if "error" in box:
            raise box["error"]
        server = box["server"]
        with grpc.insecure_channel(f"{config.host}:{server.port}") as channel:
            yield Running(server, channel, SynthesisStub(channel), box["loop"])
    finally:
        if "server" in box:
            # A test may have stopped it already, and its loop may be gone.
            with contextlib.suppress(RuntimeError):
                box["loop"].call_soon_threadsafe(box["server"].stop)
        thread.join()
    if "error" in box:
        raise box["error"]
