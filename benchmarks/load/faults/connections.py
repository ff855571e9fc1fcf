"""Faults of callers and of what lies between: connections cut, idle by the thousand, and slow."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from cascade_client import Client
from cascade_loadtest.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    frame,
    grpc_headers,
    grpc_message,
    preface,
)
from cascade_proto import synthesis_pb2 as pb

from benchmarks.load.faults.processes import Injected
from benchmarks.load.faults.stage import Stage

IDLE_CONNECTIONS, SLOW_CALLERS = 1000, 50
# Seconds that they stay; between two cuts; and how many cuts there are.
STAY_SECONDS, BETWEEN_CUTS, CUTS = 3.0, 0.3, 5
# Rows of the stream that is cut: of several messages.
STREAM_ROWS = 4000
GENERATE, BETWEEN_BYTES = "/cascade.v1.Synthesis/Generate", 0.05
# Sends RST where a connection is closed.
ABRUPT = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on, and resets every connection when it is told to.

    Args:
        target: "host:port", who is behind it.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._behind = host, int(port)
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.target = ""
        self.resets = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pass_on, "127.0.0.1", 0))
        host, port = server.sockets[0].getsockname()[:2]
        self.target = f"{host}:{port}"
        self._ready.set()
        self._loop.run_forever()

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """While the block runs."""
        self._thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self.cut()
            self._loop.call_soon_threadsafe(self._end)
            self._thread.join()

    def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        done = asyncio.gather(*tasks, return_exceptions=True)
        done.add_done_callback(lambda _: self._loop.stop())

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._behind)
        except OSError:
            writer.close()
            return
        ends = {writer, back}
        self._open |= ends
        try:
            # Python 3.11's streams write a traceback of a connection's task that was cancelled.
            with suppress(asyncio.CancelledError):
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._open -= ends
            for each in ends:
                each.close()

    def cut(self) -> None:
        """Reset all connections, in the middle of whatever they say."""

        def reset() -> None:
            for each in list(self._open):
                own = each.get_extra_info("socket")
                with suppress(OSError):
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
                each.transport.abort()
            self.resets += len(self._open)

        self._loop.call_soon_threadsafe(reset)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(65_536):
            writer.write(content)
            await writer.drain()
    writer.close()


def cut_connections(stage: Stage, table: str, proxy: Proxy) -> Injected:
    """Every connection of the callers, and of a `Generate` that runs, is reset five times."""
    with Client(proxy.target, timeout=30) as client:
        whole = client.generate(table, STREAM_ROWS, seed=3, kind="rows", timeout=120).data
        rows: list[object] = []

        def stream() -> None:
            for part in client.stream(table, STREAM_ROWS, seed=3, kind="rows", timeout=120):
                rows.extend(part.data)

        thread = threading.Thread(target=stream)
        thread.start()
        done = Injected()
        for _ in range(CUTS):
            proxy.cut()
            time.sleep(BETWEEN_CUTS)
        done.is_over()
        thread.join(120)
    done.notes["connections_reset"] = proxy.resets
    done.kept["the stream that was cut is whole and the same"] = rows == whole
    return done


def idle_connections(stage: Stage, table: str) -> Injected:
    """1,000 connections that say no more than that they are HTTP/2."""
    host, _, port = stage.target.rpartition(":")
    with ExitStack() as stack:
        done = Injected()
        for _ in range(IDLE_CONNECTIONS):
            each = stack.enter_context(socket.create_connection((host, int(port))))
            each.sendall(preface())
        time.sleep(STAY_SECONDS)
        done.notes["worker_mb"] = round(max(each.memory_info().rss for each in stage.workers) / 1e6)
    done.is_over()
    return done


def slow_callers(stage: Stage, table: str) -> Injected:
    """50 callers that send a byte now and then, and 50 that read nothing of what they ask for."""
    host, _, port = stage.target.rpartition(":")
    request = pb.GenerateRequest(table=table, count=100_000, seed=1).SerializeToString()
    call = frame(HEADERS, END_HEADERS, 1, grpc_headers(stage.target, GENERATE))
    call += frame(DATA, END_STREAM, 1, grpc_message(request))
    with ExitStack() as stack:
        slow = []
        done = Injected()
        for _ in range(SLOW_CALLERS):
            slow.append(stack.enter_context(socket.create_connection((host, int(port)))))
            # Windows that never fill, a buffer of a few kilobytes, and nobody who reads it.
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((host, int(port)))
            deaf.sendall(preface() + call)
        whole = preface() + call
        for place in range(round(STAY_SECONDS / BETWEEN_BYTES)):
            for each in slow:
                with suppress(OSError):
                    each.sendall(whole[place : place + 1])
            time.sleep(BETWEEN_BYTES)
        done.notes["worker_mb"] = round(max(each.memory_info().rss for each in stage.workers) / 1e6)
    done.is_over()
    return done
