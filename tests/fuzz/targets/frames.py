"""HTTP/2 without a socket: frames of anybody, and header blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.target import Target

TRANSPORT = ("cascade_server.transport",)


def _head() -> bytes:
    from hpack import Encoder

    from tests.server.transport.peer import request

    found: bytes = Encoder().encode(request("Echo", grpc_timeout="1S"))
    return found


def _connections() -> Callable[[bytes], None]:
    """A connection of a server with methods of every kind, to which an input is all that is sent.

    The input comes in one piece, and once more in small ones: what a peer's system makes of its
    writes is not the peer's to say, so that both have to end alike.
    """
    from cascade_server.transport import LingerConfig, TransportLimits, TransportServer
    from cascade_server.transport.http2.frames import PREFACE

    from tests.fuzz.targets.server import Wire
    from tests.server.transport.serving import SERVICE, Group, Service

    loop = asyncio.new_event_loop()

    async def started() -> TransportServer:
        group = {f"/{SERVICE}/Grouped": Group()}
        limits = TransportLimits(streams=4, message_bytes=65_536)
        server = TransportServer(group, limits, linger=LingerConfig(0))
        service = Service()
        service.go.set()
        server.add_generic_rpc_handlers((service.handlers(),))
        await server.start("127.0.0.1", 0, False)
        server.stop_accepting()
        return server

    server = loop.run_until_complete(started())

    async def sent(parts: Sequence[bytes]) -> None:
        wire = Wire(server)
        for part in parts:
            wire.receive(part)
            await asyncio.sleep(0)
        for _ in range(8):
            await asyncio.sleep(0)
        await wire.close()
        assert not wire.connection.rpcs, "calls of a connection that is gone"

    def run(data: bytes) -> None:
        # Nearly all of what is behind another preface is one thing: not HTTP/2.
        whole = data[1:] if data[:1] == b"\0" else PREFACE + data
        loop.run_until_complete(sent([whole]))
        if len(data) <= 256:
            loop.run_until_complete(sent([whole[at : at + 5] for at in range(0, len(whole), 5)]))
        assert server.busy == 0, "connections that are gone have calls"
        assert server.held.size == 0, "bytes are held for connections that are gone"

    return run


def _frame_seeds() -> Sequence[bytes]:
    from cascade_server.transport.http2 import frames as f

    from tests.server.transport.peer import message

    head = _head()
    call = f.frame(f.HEADERS, f.END_HEADERS, 1, head)
    body = f.frame(f.DATA, f.END_STREAM, 1, message(b"x"))
    return [
        f.settings({}) + call + body,
        f.settings({f.Setting.INITIAL_WINDOW_SIZE: 3, f.Setting.MAX_FRAME_SIZE: 16_384})
        + call + body + f.window_update(0, 9) + f.window_update(1, 9),
        call + f.frame(f.DATA, 0, 1, message(b"x" * 30)[:9]) + f.reset(1, f.Code.CANCEL),
        f.frame(f.HEADERS, 0, 1, head[:9]) + f.frame(f.CONTINUATION, f.END_HEADERS, 1, head[9:])
        + f.frame(f.DATA, f.END_STREAM | f.PADDED, 1, b"\2" + message(b"x") + b"\0\0"),
        f.frame(f.PING, 0, 0, b"12345678") + f.frame(f.PRIORITY, 0, 3, bytes(5))
        + f.goaway(0, f.Code.NO_ERROR) + f.frame(99, 0, 5, b"?"),
        call + f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, head),
        b"\0" + f.PREFACE[:9],
        f.frame(f.HEADERS, f.END_HEADERS, 1, head.replace(b"Echo", b"Chat"))
        + f.frame(f.DATA, 0, 1, message(b"a") + message(b"b")) + body,
        call + f.frame(f.DATA, f.END_STREAM, 1, message(b"\x1f\x8b\x08\0", 1)),
    ]  # fmt: skip


def _words() -> tuple[bytes, ...]:
    return (
        *(bytes((0, 0, size, kind, flags, 0, 0, 0, stream))
          for size, kind, flags, stream in
          ((0, 0, 1, 1), (4, 3, 0, 1), (6, 4, 0, 0), (0, 4, 1, 0), (8, 6, 0, 0), (4, 8, 0, 0),
           (4, 8, 0, 1), (5, 2, 0, 3), (0, 9, 4, 1), (8, 7, 0, 0), (0, 1, 5, 3))),
        *(f"/test.Service/{name}".encode()
          for name in ("Echo", "Told", "Count", "Sum", "Chat", "Grouped", "Wait", "Number")),
        b"\0\0\0\0\x01x", b"\x01\0\0\0\x02", b"grpc-encoding", b"gzip", b"deflate", b"identity",
        b"content-length", b"te", b"trailers",
    )  # fmt: skip


def _headers() -> Callable[[bytes], None]:
    """Header blocks of one connection, a byte 0xFE 0xFE between them."""
    from cascade_server.transport.http2.frames import Broken, StreamFault
    from cascade_server.transport.http2.headers import Heads

    def run(data: bytes) -> None:
        heads: Any = Heads(4096)
        for block in data.split(b"\xfe\xfe"):
            try:
                head = heads.read(block)
            except StreamFault:
                continue
            except Broken:
                return
            head.metadata()
            assert head.timeout is None or head.timeout >= 0
            # Blocks that were read before are looked up.
            assert len(head.path) <= 4 * 4096

    return run


def _header_seeds() -> Sequence[bytes]:
    head = _head()
    return [head, head + b"\xfe\xfe" + head, b"\x3f\xe1\x1f" + head, b"\x20" + head]


HEADER_WORDS = (
    b":method", b":path", b"grpc-timeout", b"1S", b"99999999H", b"-bin", b"te", b"\x40", b"\x00",
    b"\x10", b"\x82", b"\xbe", b"\xff\xff\xff\xff\x0f", b"\x3f\xe1\xff\x03", b"\x20", b"\xfe\xfe",
)  # fmt: skip

TARGETS = (
    Target("frames", "a connection's bytes: HTTP/2 and calls of every kind", _connections,
           _frame_seeds, _words(), TRANSPORT),
    Target("headers", "header blocks of a connection, one after another", _headers, _header_seeds,
           HEADER_WORDS, ("cascade_server.transport.http2", "hpack")),
)  # fmt: skip
