"""One connection of HTTP/2 (RFC 9113): frames in, calls out of them, frames out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

import grpc

from cascade_server.transport import headers
from cascade_server.transport.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    GOAWAY,
    HEADER_BYTES,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WINDOW_UPDATE,
    Broken,
    Code,
    PeerSettings,
    Setting,
    block_of,
    frame,
    goaway,
    head_of,
    increment,
    reset,
    settings,
    told,
    unpadded,
    window_update,
)
from cascade_server.transport.headers import HEADER_LIST_BYTES, Head, Heads
from cascade_server.transport.inbox import AHEAD, Refused
from cascade_server.transport.outbox import Outbox
from cascade_server.transport.rpc import Rpc, Status

# Unsent bytes above which nothing more is read or sent.
UNSENT_BYTES = 256 * 1024
LAST_PING = b"cascade!"


class Calls(Protocol):
    """Who is told of calls."""

    def handler(self, path: str) -> Any:
        """Handles a method; None: nobody does."""

    def refuses(self, head: Head) -> bytes | None:
        """The block that ends a call of which nothing but its head has come; None: it may go on."""

    def came(self, rpc: Rpc) -> None:
        """A unary call has sent all; a streaming one has begun."""

    def gives_away(self, connection: int) -> bool:
        """Whether a connection, by its file descriptor, is another process's now."""

    def opened(self, connection: Connection) -> None:
        """A connection has been made."""

    def closed(self, connection: Connection) -> None:
        """A connection is no more."""

    def heard(self) -> None:
        """A connection has read what has come."""


class Connection(asyncio.Protocol):
    """One peer.

    Attributes:
        rpcs: calls that have not ended, by stream.

    Args:
        calls: is told of each.
        most_streams: calls at once.
        most_bytes: of a message.
        patience: seconds in which the peer is to begin to speak HTTP/2.
        stays: whether it is not to be given to another process.
    """

    def __init__(
        self,
        calls: Calls,
        most_streams: int,
        most_bytes: int,
        patience: float,
        stays: bool = False,
    ) -> None:
        self._calls, self._most_streams, self._most_bytes = calls, most_streams, most_bytes
        self._seconds, self._stays = patience, stays
        self._patience: asyncio.TimerHandle | None = None
        self.rpcs: dict[int, Rpc] = {}
        self.peer = ""
        self._rest = b""
        self._begun = self._closing = self._draining = False
        self._heads = Heads()
        # Of the headers that go on in CONTINUATION frames: stream, flags, blocks.
        self._open: tuple[int, int, list[bytes]] | None = None
        # The last stream that was taken up, and the last that may be.
        self._last_stream, self._last_taken = 0, LARGEST_STREAM
        self._settings = PeerSettings()
        # Bytes received since the last WINDOW_UPDATE.
        self._received = 0
        self._react: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            PRIORITY: self._on_priority,
            RST_STREAM: self._on_reset,
            SETTINGS: self._on_settings,
            PUSH_PROMISE: self._on_push,
            PING: self._on_ping,
            GOAWAY: lambda *_: None,
            WINDOW_UPDATE: self._on_window,
            CONTINUATION: self._on_continuation,
        }

    # What asyncio says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        if not self._stays and self._calls.gives_away(connection.fileno()):
            # The other process has a descriptor of its own, and the peer notices nothing.
            self._closing = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(UNSENT_BYTES)
        self._outbox = Outbox(self._transport)
        self._put = self._outbox.put
        # A peer that has vanished without a word is found out by the system.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._seconds, self._out_of_patience)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = f"ipv{6 if ':' in name[0] else 4}:{name[0]}:{name[1]}"
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: self._most_streams,
            Setting.INITIAL_WINDOW_SIZE: AHEAD,
            Setting.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
        }
        self._calls.opened(self)
        self._put(settings(ours) + window_update(0, LARGEST_WINDOW - WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._patience is None:
            return  # It was given away.
        self._patience.cancel()
        for rpc in list(self.rpcs.values()):
            rpc.lost()
        self.rpcs.clear()
        self._calls.closed(self)

    def pause_writing(self) -> None:
        self._outbox.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._outbox.paused = False
        self._transport.resume_reading()
        self._outbox.pump()

    def _out_of_patience(self) -> None:
        self._break(Broken(Code.ENHANCE_YOUR_CALM, f"no HTTP/2 within {self._seconds:g} s"))

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._read(self._rest + data if self._rest else data)
        except Broken as exc:
            self._break(exc)
        self._calls.heard()

    def _break(self, why: Broken) -> None:
        self._put(goaway(self._last_stream, why.code, str(why)))
        self.close()

    # Frames in.

    def _read(self, data: bytes) -> None:
        at, size = 0, len(data)
        if not self._begun:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Broken(Code.PROTOCOL_ERROR, "not HTTP/2; this is a gRPC server's port")
            if size < len(PREFACE) + HEADER_BYTES:
                self._rest = data
                return
            if data[len(PREFACE) + 3] != SETTINGS:
                raise Broken(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._begun, at = True, len(PREFACE)
            assert self._patience is not None
            self._patience.cancel()
        while size - at >= HEADER_BYTES:
            high, low, kind, flags, stream = head_of.unpack_from(data, at)
            length = high << 8 | low
            if length > FRAME_BYTES:
                raise Broken(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + HEADER_BYTES + length
            if end > size:
                break
            react = self._react.get(kind)
            if self._open is not None and kind != CONTINUATION:
                raise Broken(Code.PROTOCOL_ERROR, "headers are interrupted by another frame")
            if react is not None:
                react(stream & LARGEST_STREAM, flags, data[at + HEADER_BYTES : end])
            at = end
        self._rest = data[at:]

    def _on_data(self, stream: int, flags: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > LARGEST_WINDOW // 2:
            self._put(window_update(0, self._received))
            self._received = 0
        rpc = self.rpcs.get(stream)
        if rpc is None or rpc.inbox.complete:
            if stream == 0 or stream > self._last_stream:
                raise Broken(Code.PROTOCOL_ERROR, f"DATA on stream {stream}, which is not open")
            return  # What was under way when the call ended.
        rpc.inbox.granted -= len(payload)
        if rpc.inbox.granted < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR, f"more DATA on stream {stream} than was granted")
        if flags & PADDED:
            padded = len(payload)
            payload = unpadded(flags, payload)
            self.grant(rpc, padded - len(payload))
        self._receive(rpc, payload, bool(flags & END_STREAM))

    def _on_headers(self, stream: int, flags: int, payload: bytes) -> None:
        if stream % 2 == 0:
            raise Broken(Code.PROTOCOL_ERROR, f"HEADERS on stream {stream}; the odd are a client's")
        block = block_of(flags, payload)
        if flags & END_HEADERS:
            self._on_block(stream, flags, block)
        else:
            self._open = (stream, flags, [block])

    def _on_continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._open is None or self._open[0] != stream:
            raise Broken(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first, blocks = self._open
        blocks.append(payload)
        if not payload or sum(map(len, blocks)) > HEADER_LIST_BYTES:
            raise Broken(Code.ENHANCE_YOUR_CALM, f"headers of more than {HEADER_LIST_BYTES} bytes")
        if flags & END_HEADERS:
            self._open = None
            self._on_block(stream, first, b"".join(blocks))

    def _on_block(self, stream: int, flags: int, block: bytes) -> None:
        if stream <= self._last_stream:
            self._on_trailers(stream, flags, block)
            return
        head = self._heads.read(block)
        self._last_stream = stream
        if len(self.rpcs) >= self._most_streams or stream > self._last_taken:
            self._put(reset(stream, Code.REFUSED_STREAM))
            return
        ends = headers.http_status(head.wrong) if head.wrong else self._calls.refuses(head)
        if ends is not None:
            self._put(frame(HEADERS, END_HEADERS | END_STREAM, stream, ends))
            if not flags & END_STREAM:
                self._put(reset(stream, Code.NO_ERROR))
            return
        handler = self._calls.handler(head.path)
        window = self._settings.window
        rpc = self.rpcs[stream] = Rpc(self, stream, head, handler, window, self._most_bytes)
        if handler is None:
            rpc.inbox.complete = bool(flags & END_STREAM)
            message = f"there is no method {head.path}"
            rpc.finish(Status(grpc.StatusCode.UNIMPLEMENTED, message))
            return
        if handler.request_streaming:
            self._calls.came(rpc)
        if flags & END_STREAM:
            self._receive(rpc, b"", True)

    def _on_trailers(self, stream: int, flags: int, block: bytes) -> None:
        """A second block of a call's headers ends what the caller sends."""
        self._heads.skip(block)
        if not flags & END_STREAM:
            raise Broken(Code.PROTOCOL_ERROR, f"a second HEADERS on stream {stream}")
        rpc = self.rpcs.get(stream)
        if rpc is not None and not rpc.inbox.complete:
            self._receive(rpc, b"", True)

    def _receive(self, rpc: Rpc, data: bytes, last: bool) -> None:
        if rpc.ended:
            rpc.inbox.complete = last
            return
        try:
            rpc.received(data, last)
        except Refused as exc:
            rpc.cancel()
            rpc.finish(Status(exc.code, str(exc)))
            return
        if last and not rpc.handler.request_streaming:
            self._calls.came(rpc)

    def _on_priority(self, stream: int, flags: int, payload: bytes) -> None:
        if len(payload) != 5:
            raise Broken(Code.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes; 5 are allowed")

    def _on_push(self, stream: int, flags: int, payload: bytes) -> None:
        raise Broken(Code.PROTOCOL_ERROR, "a client does not push")

    def _on_reset(self, stream: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(
                Code.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes; 4 are allowed"
            )
        if stream == 0 or stream > self._last_stream:
            raise Broken(Code.PROTOCOL_ERROR, f"RST_STREAM of stream {stream}, which is not open")
        rpc = self.rpcs.pop(stream, None)
        if rpc is not None:
            self._outbox.forget(rpc.out)
            rpc.lost()
            self._close_if_done()

    def _on_settings(self, stream: int, flags: int, payload: bytes) -> None:
        if stream != 0:
            raise Broken(Code.PROTOCOL_ERROR, f"SETTINGS on stream {stream}; allowed: 0")
        if flags & ACK:
            return
        before, self._settings = self._settings, told(payload, self._settings)
        wider = self._settings.window - before.window
        for rpc in self.rpcs.values():
            rpc.out.window += wider
        self._outbox.frame_bytes = self._settings.frame_bytes
        self._put(frame(SETTINGS, ACK, 0))
        self._outbox.pump()

    def _on_ping(self, stream: int, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Broken(Code.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes; 8 are allowed")
        if not flags & ACK:
            self._put(frame(PING, ACK, 0, payload))
        elif payload == LAST_PING:
            # Whatever the peer sends from now on, it sends knowing that nothing is taken up.
            self._last_taken = self._last_stream
            self._put(goaway(self._last_stream, Code.NO_ERROR))
            self._close_if_done()

    def _on_window(self, stream: int, flags: int, payload: bytes) -> None:
        by = increment(payload)
        if stream == 0:
            self._outbox.widen(None, by)
        elif (rpc := self.rpcs.get(stream)) is not None:
            self._outbox.widen(rpc.out, by)

    # Frames out; what a call asks for.

    def begin(self, rpc: Rpc, block: bytes) -> None:
        self._put(frame(HEADERS, END_HEADERS, rpc.stream, block))

    def send(self, rpc: Rpc, body: bytes) -> None:
        self._outbox.send(rpc.out, body)

    def end(self, rpc: Rpc, block: bytes) -> None:
        self._outbox.forget(rpc.out)
        self._put(frame(HEADERS, END_HEADERS | END_STREAM, rpc.stream, block))
        if not rpc.inbox.complete:
            # There is an answer; what else the caller would send is of no use.
            self._put(reset(rpc.stream, Code.NO_ERROR))
        self.rpcs.pop(rpc.stream, None)
        self._close_if_done()

    def grant(self, rpc: Rpc, by: int) -> None:
        rpc.inbox.granted += by
        self._put(window_update(rpc.stream, by))

    # The end.

    def drain(self) -> None:
        """Take up no more calls; end once those there are have ended.

        The peer is told twice: calls that it sends before it hears of this are still taken up, and
        are over once it has answered the ping.
        """
        if self._draining or self._closing:
            return  # A second GOAWAY may not name a higher stream than the first.
        self._put(goaway(LARGEST_STREAM, Code.NO_ERROR, "the server drains"))
        self._put(frame(PING, 0, 0, LAST_PING))
        self._draining = True

    def _close_if_done(self) -> None:
        if self._draining and not self.rpcs and self._last_taken < LARGEST_STREAM:
            self.close()

    def close(self) -> None:
        """End now."""
        self._closing = True
        self._outbox.flush()
        self._transport.close()
