"""One connection: joins asyncio's transport, the HTTP/2 `Session`, and the calls that arrive."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc

from cascade_server.transport.call import Call
from cascade_server.transport.calls import Calls
from cascade_server.transport.http2 import blocks
from cascade_server.transport.http2.budgets import Held
from cascade_server.transport.http2.events import (
    QUIET,
    CallBegan,
    CallEnded,
    DataCame,
    PingAnswered,
    SettingsChanged,
    WindowOpened,
)
from cascade_server.transport.http2.frames import (
    END_STREAM,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PING,
    WINDOW,
    Broken,
    Code,
    StreamFault,
    frame,
    goaway,
    header_frames,
)
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.session import Session
from cascade_server.transport.inbox import NoRoom, Refused
from cascade_server.transport.outbox import Outbox, nothing
from cascade_server.transport.outcomes import Status
from cascade_server.transport.peer import NOBODY, Peer, certificate_names
from cascade_server.transport.rpc import Rpc

log = logging.getLogger("cascade.server")

# Unsent bytes above which nothing more is read from the peer or sent to it.
UNSENT_BYTES = 256 * 1024
# After a read of this many bytes, other connections are read first.
MUCH_BYTES = 64 * 1024
LAST_PING = b"cascade!"


class Connection(asyncio.Protocol):
    """A connection to one peer.

    Attributes:
        rpcs: calls in progress, by the number of their HTTP/2 stream.
        idle_since: when the last call ended, monotonic seconds; None: a call is in progress.
        is_stranger: whether the server requires identification and no call on the connection has
            identified its caller; see `Strangers`.

    Args:
        calls: the server, which takes the calls.
        stays: whether it must not be given to another process.
        clock: monotonic seconds.
    """

    def __init__(
        self, calls: Calls, stays: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls, self._limits, self.clock = calls, calls.limits, clock
        self._stays = stays
        self._patience: asyncio.TimerHandle | None = None
        self.rpcs: dict[int, Rpc] = {}
        self.peer = NOBODY
        self.inflation, self.over = calls.inflation, calls.over
        self.idle_since: float | None = clock()
        self.is_stranger = False
        self._held = Held(self._limits.held_bytes, calls.held)
        # Whether a call waits for room for its large message.
        self._is_starved = False
        self._closing = self._draining = self._is_behind = False
        # Since when it only waits for the peer to read the last bytes; None: it is not closing.
        self._closing_since: float | None = None
        self._react: dict[type, Callable[[Any], None]] = {
            CallBegan: self._on_began,
            DataCame: self._on_data,
            CallEnded: self._on_ended,
            WindowOpened: self._on_window,
            SettingsChanged: self._on_settings,
            PingAnswered: self._on_ping_answered,
        }

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        if not self._stays and self._calls.gives_away(connection.fileno()):
            # The other process has its own descriptor of the socket, so the peer notices nothing.
            self._closing = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(UNSENT_BYTES)
        self._outbox = Outbox(self._transport, self._held, self.clock)
        self._put = self._outbox.put
        self._session = Session(self._limits, self._put, self.clock, self._refuses)
        # Lets the system detect a peer that has vanished.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._limits.preface_seconds, self._out_of_patience)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            address = f"ipv{6 if ':' in name[0] else 4}:{name[0]}:{name[1]}"
            self.peer = Peer(address)
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            names = certificate_names(tls.getpeercert())
            self.peer = Peer(self.peer.address, names, is_encrypted=True)
        self._session.greet()
        try:
            self._calls.opened(self)
        except Broken as exc:
            self._break(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._patience is None:
            return  # the connection was given away
        self._patience.cancel()
        for rpc in list(self.rpcs.values()):
            self._forget(rpc)
            rpc.lost()
        self._held.give(self._held.size)
        self._calls.closed(self)

    def pause_writing(self) -> None:
        self._outbox.paused_since = self.clock()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._outbox.paused_since = None
        self._outbox.pump()
        if self._outbox.paused_since is None and not self._closing:
            # Bytes read earlier are parsed first.
            self._is_behind = True
            self._calls.behind(self)

    def _out_of_patience(self) -> None:
        if not self._session.begun:
            seconds = self._limits.preface_seconds
            self._break(Broken(Code.ENHANCE_YOUR_CALM, f"no HTTP/2 within {seconds:g} s"))

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._session.receive(data)
        if self._is_behind:
            return
        more = not self._calls.has_time() or self.work()
        # Otherwise a peer that fills the system's buffers would be read repeatedly in this turn.
        if (more or len(data) >= MUCH_BYTES) and not self._closing:
            self._is_behind = True
            self._transport.pause_reading()
            self._calls.behind(self)
        self._calls.heard()

    # Frames in.

    def work(self) -> bool:
        """Parse received frames for at most one turn; return whether more remain."""
        clock, session, outbox, react = self.clock, self._session, self._outbox, self._react
        step = session.step
        ends = clock() + self._limits.turn_seconds
        try:
            while (event := step()) is not None:
                if event is not QUIET:
                    try:
                        react[event.__class__](event)
                    except StreamFault as fault:
                        self._on_ended(session.fault(event.stream.number, fault))  # type: ignore[union-attr]
                    if self._closing:
                        return False
                if outbox.paused_since is not None or (clock() >= ends and session.has_frame):
                    return session.has_frame
        except Broken as exc:
            self._break(exc)
        except Exception:  # a defect: callers are to be told, not only cut off
            log.exception("a connection failed")
            self._break(Broken(Code.INTERNAL_ERROR, "the server failed"))
        return False

    def catch_up(self) -> bool:
        """Call `work` on waiting bytes; return whether there is more to do now."""
        if self._closing or self._outbox.paused_since is not None:
            self._is_behind = False
            return False
        self._is_behind = self.work()
        if not self._is_behind and not self._closing and self._outbox.paused_since is None:
            self._transport.resume_reading()
        return self._is_behind and self._outbox.paused_since is None

    def _refuses(self, head: Head) -> bytes | None:
        """Return the block that ends a call at its headers; None: the call may go on."""
        if head.wrong:
            return blocks.http_status(head.wrong)
        return self._calls.refuses(head, self)

    def introduced(self) -> None:
        """Note that a call has identified its caller: the connection is no longer a stranger's."""
        self.is_stranger = False
        self._calls.busy += bool(self.rpcs)

    def _on_began(self, event: CallBegan) -> None:
        stream, head, last = event
        handler = self._calls.handler(head.path)
        limits = self._calls.limits_of.get(head.path, self._limits)
        rpc = Rpc(self, stream, head, handler, self._window, limits)
        stream.call = self.rpcs[stream.number] = rpc
        if self.idle_since is not None:
            self.idle_since = None
            self._calls.busy += not self.is_stranger
        if handler is None:
            message = f"there is no method {head.path[: self._limits.status_bytes]}"
            rpc.finish(Status(grpc.StatusCode.UNIMPLEMENTED, message))
            return
        if handler.request_streaming:
            self._calls.came(rpc)
        if last:
            self._receive(rpc, b"", True)

    def _on_data(self, event: DataCame) -> None:
        stream, data, last = event
        if stream.call is not None:
            self._receive(stream.call, data, last)

    def _receive(self, rpc: Rpc, data: bytes, last: bool) -> None:
        if rpc.ended:
            rpc.inbox.complete = last
            return
        try:
            rpc.received(data, last)
        except Refused as exc:
            rpc.refuse(exc)
            return
        if last and not rpc.handler.request_streaming:
            self._calls.came(rpc)

    def _on_ended(self, event: Any) -> None:
        rpc = getattr(event.stream, "call", None) if event.__class__ is CallEnded else None
        if rpc is not None:
            self._forget(rpc)
            rpc.lost()
            self._close_if_done()

    def _on_settings(self, event: SettingsChanged) -> None:
        for rpc in self.rpcs.values():
            rpc.out.window += event.wider
            if rpc.out.window > LARGEST_WINDOW:
                raise Broken(Code.FLOW_CONTROL_ERROR, f"a window of {rpc.out.window} bytes")
        self._window = event.settings.window
        self._outbox.frame_bytes = event.settings.frame_bytes
        self._outbox.pump()

    _window = WINDOW

    def _on_ping_answered(self, event: PingAnswered) -> None:
        if self._draining and event.payload == LAST_PING:
            # The peer knows by now that new calls are not accepted.
            self._session.last_taken = self._session.last_stream
            self._put(goaway(self._session.last_stream, Code.NO_ERROR))
            self._close_if_done()

    def _on_window(self, event: WindowOpened) -> None:
        if event.stream is None:
            self._outbox.widen(None, event.size)
        elif event.stream.call is not None:
            self._outbox.widen(event.stream.call.out, event.size)
        self._session.use += self._outbox.use
        self._outbox.use = 0

    # Frames out; called by calls.

    def begin(self, call: Call, block: bytes) -> None:
        self._put(header_frames(0, call.stream.number, block, self._outbox.frame_bytes))

    def send(self, call: Call, body: bytes) -> None:
        self._outbox.send(call.out, body)

    def send_parts(self, call: Call, parts: Sequence[memoryview]) -> None:
        self._outbox.send_parts(call.out, parts)

    def end(self, call: Call, block: bytes) -> None:
        self._put(header_frames(END_STREAM, call.stream.number, block, self._outbox.frame_bytes))
        self._session.answered(call.stream)
        self._forget(call)
        if self._draining:
            self._close_if_done()

    def answer(self, call: Call, message: bytes) -> bool:
        if not self._outbox.send_all(call.out, message):
            return False
        self._session.answered(call.stream)
        self._forget(call)
        if self._draining:
            self._close_if_done()
        return True

    def reset(self, call: Call, code: Code) -> None:
        self._session.reset(call.stream, code)
        self._forget(call)
        self._close_if_done()

    def grant(self, call: Call) -> None:
        if self._closing:
            return
        inbox, stream = call.inbox, call.stream
        if (more := inbox.beyond - inbox.extra) > 0:
            if self._held.take(more):
                inbox.extra += more
            elif not self._held.size:
                raise NoRoom
            else:
                self._is_starved = True
        if (size := inbox.to_grant(stream.window)) > 0:
            self._session.grant(stream, size)

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        self._calls.refused(call, code)

    def hold(self, size: int) -> bool:
        return not self._closing and self._held.take(size)

    def release(self, size: int) -> None:
        self._held.give(size)
        if self._is_starved:
            self._is_starved = False
            for call in list(self.rpcs.values()):
                if call.ended:
                    continue
                try:
                    self.grant(call)
                except Refused as exc:
                    call.refuse(exc)

    def _forget(self, call: Call) -> None:
        """Forget a call that is over for its peer."""
        if call.out.held:
            self._outbox.forget(call.out)
        self.rpcs.pop(call.stream.number, None)
        # Breaks reference cycles, so that the call is freed with its handler, not by the garbage
        # collector.
        call.stream.call, call.out.sent = None, nothing
        if call.holds or call.inbox.extra:
            call.let_go()
        if not self.rpcs and self.idle_since is None:
            self.idle_since = self.clock()
            self._calls.busy -= not self.is_stranger

    # The end.

    def check(self, now: float) -> None:
        """End whatever has taken too long; called periodically."""
        limits, outbox = self._limits, self._outbox
        if self._closing:
            since = self._closing_since
            if since is not None and now - since > limits.stall_seconds:
                # The peer does not read the last bytes.
                self._transport.abort()
            return
        if (late := self._session.overdue(now)) is not None:
            self._break(Broken(Code.ENHANCE_YOUR_CALM, late))
            return
        before = now - limits.stall_seconds
        if outbox.paused_since is not None and outbox.paused_since < before:
            self._closing = True
            self._transport.abort()
            return
        for number in outbox.stalled(before):
            self.rpcs[number].stalled()
        for rpc in list(self.rpcs.values()):
            rpc.check(now)
        if self.idle_since is not None and now - self.idle_since > limits.idle_seconds:
            if not self._draining:
                self.drain()
            elif now - self.idle_since > limits.idle_seconds + limits.stall_seconds:
                self.close()

    def drain(self) -> None:
        """Accept no more calls, and close once those in progress have ended.

        The peer is sent two GOAWAYs: calls that it sends before it receives the first are still
        accepted, and its answer to the ping shows that no more of them will come.
        """
        if self._draining or self._closing:
            return  # A second GOAWAY may not name a higher stream than the first.
        self._put(goaway(LARGEST_STREAM, Code.NO_ERROR, "the server drains"))
        self._put(frame(PING, 0, 0, LAST_PING))
        self._draining = True

    def _close_if_done(self) -> None:
        if self._draining and not self.rpcs and self._session.last_taken < LARGEST_STREAM:
            self.close()

    def leave(self, why: str) -> None:
        """Close now without an error; there are no calls, except possibly a stranger's."""
        if not self._closing:
            self._put(goaway(self._session.last_stream, Code.NO_ERROR, why))
            self.close()

    def _break(self, why: Broken) -> None:
        if not self._session.begun:
            self._calls.stranger(self.peer, str(why))
        self._put(goaway(self._session.last_stream, why.code, str(why)))
        self.close()

    def close(self) -> None:
        """Close the connection once the bytes that are queued have been written."""
        self._closing, self._closing_since = True, self.clock()
        self._outbox.flush()
        self._transport.close()
