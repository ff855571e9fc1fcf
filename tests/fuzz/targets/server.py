"""A whole server in this process, asked over its own transport without a socket."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.fuzz.targets.documents import MEMORY
from tests.fuzz.targets.made import repository

# Bytes of answers after which a caller has seen enough and hangs up.
ENOUGH = 128 * 1024
# Seconds that an answer may take before it counts as one that does not come; a caller's deadline is
# far below that.
LONGEST = 60.0
# Codes that say that nobody has foreseen it: UNKNOWN, INTERNAL and DATA_LOSS.
UNFORESEEN = ("2", "13", "15")


class Wire(asyncio.Transport):
    """A connection between a server and its peer, both in this process."""

    def __init__(self, server: Any) -> None:
        from cascade_server.transport.connection import Connection

        super().__init__()
        self.sent = bytearray()
        self._socket, self._other = socket.socketpair()
        self.lost = asyncio.get_running_loop().create_future()
        self._closing = False
        self.connection = Connection(server, stays=True)
        self.connection.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What a connection asks of a socket's transport."""
        return {"socket": self._socket, "peername": ("127.0.0.1", 1)}.get(name, default)

    def receive(self, data: bytes) -> None:
        """Have the server read what its peer has sent."""
        if not self._closing:
            self.connection.data_received(data)

    def write(self, data: Any) -> None:
        self.sent += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.sent += part

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """What is sent next waits in the connection."""

    def resume_reading(self) -> None:
        """Nothing was kept back."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """All that is sent is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._gone)

    def _gone(self) -> None:
        self.connection.connection_lost(None)
        self._socket.close()
        self._other.close()
        self.lost.set_result(None)

    def close(self) -> Any:
        """End it; what is returned waits until both sides know."""
        self._end()
        return asyncio.shield(self.lost)


@dataclass
class Answer:
    """What came of a call."""

    body: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False


class Asking:
    """Calls methods of a server, one after another, over a connection that is made anew when the
    server has ended it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._wire: Wire | None = None

    async def _connect(self) -> Wire:
        from cascade_server.transport.http2.frames import PREFACE, settings
        from hpack import Decoder

        wire = self._wire = Wire(self._server)
        self._stream, self._read, self._decoder = -1, 0, Decoder()
        wire.receive(PREFACE + settings({}))
        await asyncio.sleep(0)
        return wire

    async def call(self, path: str, messages: Sequence[bytes], timeout: str) -> Answer:
        """One call, from its headers to its status or until there is enough of it.

        Args:
            path: of the method.
            messages: that are sent, all at once.
            timeout: of the caller, as gRPC writes it.
        """
        from cascade_server.transport.http2 import frames as f
        from hpack import Encoder

        wire = self._wire
        if wire is None or wire.is_closing() or self._stream > 2**20:
            if wire is not None:
                await wire.close()
            wire = await self._connect()
        self._stream += 2
        head = Encoder().encode(
            [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
                ("te", "trailers"), ("content-type", "application/grpc"),
                ("grpc-timeout", timeout),
            ]
        )  # fmt: skip
        data = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
        parts = [data[at : at + f.FRAME_BYTES] for at in range(0, len(data), f.FRAME_BYTES)]
        sent = f.frame(f.HEADERS, f.END_HEADERS, self._stream, head)
        for part in parts:
            sent += f.frame(f.DATA, 0, self._stream, part)
        wire.receive(sent + f.frame(f.DATA, f.END_STREAM, self._stream))
        answer = Answer()
        ends = asyncio.get_running_loop().time() + LONGEST
        pause = 0
        while not answer.done and not wire.is_closing():
            self._take(wire, answer)
            if answer.done:
                break
            if len(answer.body) > ENOUGH:
                wire.receive(f.reset(self._stream, f.Code.CANCEL))
                break
            # What answers at once is not waited for; the teacher is in a thread.
            await asyncio.sleep(0 if pause < 20 else 0.0005)
            pause += 1
            assert asyncio.get_running_loop().time() < ends, f"{path} has not been answered"
        for _ in range(4000):
            if not wire.connection.rpcs:
                break
            await asyncio.sleep(0.0005)
        assert not wire.connection.rpcs, f"{path} is over, and its call is not"
        return answer

    def _take(self, wire: Wire, answer: Answer) -> None:
        from cascade_server.transport.http2 import frames as f

        sent = wire.sent
        while len(sent) - self._read >= f.HEADER_BYTES:
            high, low, kind, flags, stream = f.head_of.unpack_from(sent, self._read)
            size = high << 8 | low
            begin = self._read + f.HEADER_BYTES
            if len(sent) < begin + size:
                break
            payload = bytes(sent[begin : begin + size])
            self._read = begin + size
            if kind == f.HEADERS:
                assert flags & f.END_HEADERS, "headers in parts"
                fields = self._decoder.decode(payload)
                if stream == self._stream:
                    answer.headers.update(fields)
            elif kind == f.DATA:
                if stream == self._stream:
                    answer.body += payload
                if payload:
                    wire.receive(f.window_update(0, size) + f.window_update(stream, size))
            elif kind == f.RST_STREAM and stream == self._stream:
                answer.done = True
                (code,) = struct.unpack(">I", payload)
                answer.headers.setdefault("reset", str(code))
            if stream == self._stream and kind in (f.HEADERS, f.DATA) and flags & f.END_STREAM:
                answer.done = True
        if self._read > 2**20:
            del sent[: self._read]
            self._read = 0


class FakeControl:
    """The line to a supervisor who starts nobody."""

    async def ask(self, what: str, **more: Any) -> dict[str, Any]:
        from cascade_server.errors import NotAllowed

        if what == "work":
            return {}
        raise NotAllowed("nobody directs this server")


class Served:
    """A server, its releases, two jobs, and who asks it.

    Args:
        release_control: whether callers may have releases changed, as far as somebody directs it.
    """

    def __init__(self, release_control: bool = False) -> None:
        from cascade_server.config import ServerConfig
        from cascade_server.jobs.desk import folder_of
        from cascade_server.server import Server

        from tests.jobs.made_up import Jobs

        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY)
        state = Path(self._folder.name)
        folder_of(state).mkdir()
        jobs = Jobs(folder_of(state))
        jobs.submit()
        jobs.finish()
        jobs.submit()
        jobs.close()
        self.loop = asyncio.new_event_loop()
        config = ServerConfig(
            repository=repository(), port=0, state_dir=state, release_control=release_control,
            versions={"payments": (1, 2), "everything": (1,), "ledger": (1,)}, linger_seconds=0.0,
            max_jobs=1_000_000, max_rows=200,
        )  # fmt: skip

        async def started() -> Server:
            control = cast(Any, FakeControl())
            server = Server(config, control=control)
            await server.prepare(None)
            await server.take_over()
            server._transport.stop_accepting()
            return server

        self.server = self.loop.run_until_complete(started())
        self.asking = Asking(self.server._transport)

    def ask(self, path: str, messages: Sequence[bytes], timeout: str = "2S") -> Answer:
        """Call a method, and look whether what came of it is something foreseen."""
        answer = self.loop.run_until_complete(self.asking.call(path, messages, timeout))
        status = answer.headers.get("grpc-status")
        message = answer.headers.get("grpc-message", "")
        assert status not in UNFORESEEN, f"{path} ended with status {status}: {message}"
        for trace in ("Traceback", 'File "', "/site-packages/", "%20line%20"):
            assert trace not in message, f"{path} tells of its insides: {message}"
        if answer.done and "reset" not in answer.headers:
            assert status is not None, f"{path} has ended without a status"
        inside = self.server.service._serving.gate.inside
        if any(inside.values()):
            self.loop.run_until_complete(self._until_left(inside))
        return answer

    async def _until_left(self, inside: Any) -> None:
        for _ in range(20_000):
            if not any(inside.values()):
                return
            await asyncio.sleep(0.0005)
        raise AssertionError(f"places are taken by calls that are over: {dict(inside)}")


_served: dict[bool, Served] = {}


def served(release_control: bool = False) -> Served:
    """The server of this process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if release_control not in _served:
        _served[release_control] = Served(release_control)
    return _served[release_control]
