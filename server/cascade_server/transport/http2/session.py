"""HTTP/2 without a socket (RFC 9113): bytes in, events and the server's own frames out.

>>> session.receive(data)
>>> while (event := session.step()) is not None:
...     ...

One step handles one frame, so that the driver can stop in between. Nothing here waits, and the time
comes only from the given clock.
"""

from __future__ import annotations

from collections.abc import Callable

from cascade_server.transport.http2.budgets import Bucket, Budgets
from cascade_server.transport.http2.events import (
    QUIET,
    CallBegan,
    CallEnded,
    DataCame,
    Event,
    PingAnswered,
    SettingsChanged,
    WindowOpened,
)
from cascade_server.transport.http2.frame_reader import FrameReader
from cascade_server.transport.http2.frames import (
    ACK,
    DATA,
    END_STREAM,
    FRAME_BYTES,
    HEADER_BYTES,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PADDED,
    PING,
    SETTINGS,
    WINDOW,
    Broken,
    Code,
    PeerSettings,
    Setting,
    StreamFault,
    changed,
    frame,
    head_of,
    header_frames,
    increment,
    reset,
    settings,
    unpadded,
    window_update,
)
from cascade_server.transport.http2.headers import Head, Heads
from cascade_server.transport.http2.limits import TransportLimits
from cascade_server.transport.http2.streams import NEXT, Fault, Input, Over, State, Stream

DATA_IN, DATA_END = Input.DATA, Input.DATA_END
OPEN, HALF_CLOSED, CLOSED = State.OPEN, State.HALF_CLOSED, State.CLOSED


class Session(FrameReader):
    """The protocol of one connection.

    Attributes:
        streams: open streams, by number.
        last_stream: the largest stream number that the peer has used.
        last_taken: streams above this number are refused.
        use: number of signs of use; see `limits.Rate`.

    Args:
        limits: limits on the peer.
        put: takes frames to send.
        clock: monotonic seconds.
        door: returns the block that ends a call at its headers, or None if the call may go on.
    """

    def __init__(
        self,
        limits: TransportLimits,
        put: Callable[[bytes], None],
        clock: Callable[[], float],
        door: Callable[[Head], bytes | None] = lambda head: None,
    ) -> None:
        super().__init__(limits, clock)
        self._put, self._door = put, door
        self._most_streams, self._ahead_bytes = limits.streams, limits.ahead_bytes
        self.streams: dict[int, Stream] = {}
        self.last_stream, self.last_taken = 0, LARGEST_STREAM
        self.use = 0
        self._heads = Heads(limits.header_list_bytes)
        self._ended = Over()
        self._settings = PeerSettings()
        # Bytes received since the last WINDOW_UPDATE of the connection.
        self._received = 0
        self._budgets = Budgets(limits, clock())
        self._react = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_reset,
            self._on_settings,
            self._on_push,
            self._on_ping,
            self._on_goaway,
            self._on_window,
            self._on_continuation,
        )

    def unknown(self) -> Event:
        self._spend(self._budgets.unknown)
        return QUIET

    def _spend(self, bucket: Bucket) -> None:
        bucket.spend(self._clock(), self.use)

    def _next(self, stream: Stream, what: Input) -> State:
        found = NEXT[stream.state][what]
        if found.__class__ is State:
            return found
        assert isinstance(found, Fault)
        raise _fault_of(found, f"{what.name} on stream {stream.number}, {stream.state.name}")

    def fault(self, number: int, fault: StreamFault) -> Event:
        """Reset one stream because of an error of the peer."""
        self._spend(self._budgets.faults)
        self._put(reset(number, fault.code))
        stream = self.streams.pop(number, None)
        if stream is None:
            return QUIET
        if stream.state is State.OPEN:
            self._ended.cut(number)
        stream.state = State.CLOSED
        return CallEnded(stream)

    def _of_none(self, number: int, what: Input, name: str) -> bool:
        """Return whether a stream that no longer exists was cut.

        If it was not, and the input is not allowed on it, this raises the peer's error.
        """
        state = self._ended.state(number, self.last_stream)
        found = NEXT[state][what]
        if isinstance(found, Fault):
            raise _fault_of(found, f"{name} on stream {number}, {state.name}")
        if found is State.CLOSED:
            self._ended.close(number)
        return state is State.CUT

    # Handlers of frames, by kind.

    def _on_data(self, number: int, flags: int, payload: bytes) -> Event:
        size = len(payload)
        self._count_received(size)
        if flags & PADDED:
            payload = unpadded(flags, payload)
        last = flags & END_STREAM
        if not payload and not last:
            self._spend(self._budgets.empty)
        stream = self.streams.get(number)
        what = DATA_END if last else DATA_IN
        if stream is None:
            self._of_none(number, what, "DATA")
            return QUIET
        found = NEXT[stream.state][what]
        # `_next`, inlined: every message takes this path.
        stream.state = found if found.__class__ is State else self._next(stream, what)
        stream.window -= size
        if stream.window < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR, f"more DATA on stream {number} than was granted")
        if stream.expected is not None:
            stream.expected -= len(payload)
            self._check_length(stream, bool(last))
        return DataCame(stream, payload, bool(last))

    def _count_received(self, size: int) -> None:
        self._received += size
        if self._received > LARGEST_WINDOW // 2:
            self._put(window_update(0, self._received))
            self._received = 0

    def _check_length(self, stream: Stream, last: bool) -> None:
        left = stream.expected
        if left is not None and (left < 0 or (last and left)):
            raise StreamFault(Code.PROTOCOL_ERROR, "more or less DATA than content-length says")

    def _on_block(self, number: int, flags: int, block: bytes) -> Event:
        last = bool(flags & END_STREAM)
        if number <= self.last_stream:
            return self._on_trailers(number, last, block)
        if number > self.last_stream + 2:
            self._ended.leave_out(self.last_stream, number)
        self.last_stream = number
        try:
            head = self._heads.read(block)
        except StreamFault:
            if not last:
                self._ended.cut(number)
            raise
        if len(self.streams) >= self._most_streams or number > self.last_taken:
            self._put(reset(number, Code.REFUSED_STREAM))
            if not last:
                self._ended.cut(number)
            if number <= self.last_taken:
                self._spend(self._budgets.refused)
            return QUIET
        if last and head.content_length:
            raise StreamFault(Code.PROTOCOL_ERROR, "no DATA where content-length announces some")
        refusal = self._door(head)
        if refusal is not None:
            self._turn_away(number, last, refusal)
            return QUIET
        state = HALF_CLOSED if last else OPEN
        stream = Stream(number, state, self._ahead_bytes, head, self._clock())
        self.streams[number] = stream
        return CallBegan(stream, head, last)

    def _turn_away(self, number: int, last: bool, block: bytes) -> None:
        """End a call at its headers, without creating a stream or any other state."""
        self.use += 1
        self._put(header_frames(END_STREAM, number, block, self._settings.frame_bytes))
        if not last and not self._skips_message(number):
            self._put(reset(number, Code.NO_ERROR))
            self._ended.cut(number)

    def _skips_message(self, number: int) -> bool:
        """Skip the one DATA frame of an ended call, if that comes next.

        It nearly always does: callers send both together. No reset is needed then.
        """
        data, start = self._data, self._start
        if len(data) - start < HEADER_BYTES:
            return False
        high, low, kind, flags, stream = head_of.unpack_from(data, start)
        length = high << 8 | low
        end = start + HEADER_BYTES + length
        if (
            kind != DATA
            or flags != END_STREAM
            or stream != number
            or length > FRAME_BYTES
            or end > len(data)
        ):
            return False
        self._start = end
        self._count_received(length)
        return True

    def _on_trailers(self, number: int, last: bool, block: bytes) -> Event:
        """Handle trailers, which end what the caller sends."""
        what = Input.HEADERS_END if last else Input.HEADERS
        stream = self.streams.get(number)
        if stream is None and self._ended.left_out(number):
            raise Broken(
                Code.PROTOCOL_ERROR, f"stream {number} after {self.last_stream} had been begun"
            )
        self._heads.trailers(block)
        if stream is None:
            self._of_none(number, what, "HEADERS")
            return QUIET
        stream.state = self._next(stream, what)
        self._check_length(stream, last)
        return DataCame(stream, b"", True)

    def _on_priority(self, number: int, flags: int, payload: bytes) -> Event:
        if number == 0:
            raise Broken(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._spend(self._budgets.priorities)
        if len(payload) != 5:
            raise StreamFault(
                Code.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes; 5 are allowed"
            )
        return QUIET

    def _on_push(self, number: int, flags: int, payload: bytes) -> Event:
        raise Broken(Code.PROTOCOL_ERROR, "a client does not push")

    def _on_reset(self, number: int, flags: int, payload: bytes) -> Event:
        if len(payload) != 4:
            raise Broken(
                Code.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes; 4 are allowed"
            )
        stream = self.streams.pop(number, None)
        now = self._clock()
        if stream is None:
            if not self._of_none(number, Input.RST_STREAM, "RST_STREAM"):
                self._spend(self._budgets.late_resets)
            return QUIET
        stream.state = State.CLOSED
        # A caller that has waited for half of its time had a reason to give up.
        if stream.timeout is None or now - stream.since < stream.timeout / 2:
            self._spend(self._budgets.resets)
        return CallEnded(stream)

    def _on_settings(self, number: int, flags: int, payload: bytes) -> Event:
        if number != 0:
            raise Broken(Code.PROTOCOL_ERROR, f"SETTINGS on stream {number}; allowed: 0")
        if flags & ACK:
            if payload:
                raise Broken(Code.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with values")
            self._spend(self._budgets.unknown)
            return QUIET
        self._spend(self._budgets.settings)
        before, self._settings = self._settings, changed(payload, self._settings)
        self._put(frame(SETTINGS, ACK, 0))
        return SettingsChanged(self._settings, self._settings.window - before.window)

    def _on_ping(self, number: int, flags: int, payload: bytes) -> Event:
        if number != 0:
            raise Broken(Code.PROTOCOL_ERROR, f"PING on stream {number}; allowed: 0")
        if len(payload) != 8:
            raise Broken(Code.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes; 8 are allowed")
        self._spend(self._budgets.pings)
        if flags & ACK:
            return PingAnswered(payload)
        self._put(frame(PING, ACK, 0, payload))
        return QUIET

    def _on_goaway(self, number: int, flags: int, payload: bytes) -> Event:
        if number != 0:
            raise Broken(Code.PROTOCOL_ERROR, f"GOAWAY on stream {number}; allowed: 0")
        if len(payload) < 8:
            raise Broken(Code.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes; at least 8")
        self._spend(self._budgets.unknown)
        return QUIET

    def _on_window(self, number: int, flags: int, payload: bytes) -> Event:
        size = increment(payload)
        self._spend(self._budgets.updates)
        if number == 0:
            if size == 0:
                raise Broken(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            return WindowOpened(None, size)
        stream = self.streams.get(number)
        if stream is None:
            self._of_none(number, Input.WINDOW_UPDATE, "WINDOW_UPDATE")
            return QUIET
        if size == 0:
            raise StreamFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        return WindowOpened(stream, size)

    # Called by the connection.

    def greet(self) -> None:
        """Send the server's settings, before anything else."""
        limits = self._limits
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: limits.ahead_bytes,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
        self._put(settings(ours) + window_update(0, LARGEST_WINDOW - WINDOW))

    def grant(self, stream: Stream, size: int) -> None:
        """Let the peer send more of a call."""
        stream.window += size
        self._put(window_update(stream.number, size))

    def answered(self, stream: Stream) -> None:
        """Note that the last frame of an answer was queued; ignore the rest of the request."""
        self.use += 1
        if stream.state is HALF_CLOSED:
            del self.streams[stream.number]
            stream.state = CLOSED
        else:
            self._leave(stream, Input.ANSWERED, Code.NO_ERROR)

    def reset(self, stream: Stream, code: Code) -> None:
        """End a stream at once."""
        if stream.state is not State.CLOSED:
            self._put(reset(stream.number, code))
            self._leave(stream, Input.RESET, None)

    def _leave(self, stream: Stream, what: Input, code: Code | None) -> None:
        state = self._next(stream, what) if stream.state is not State.CLOSED else State.CLOSED
        self.streams.pop(stream.number, None)
        if state is State.CUT:
            if code is not None:
                self._put(reset(stream.number, code))
            self._ended.cut(stream.number)
        stream.state = State.CLOSED


def _fault_of(found: Fault, message: str) -> Exception:
    return (Broken if found.whole else StreamFault)(found.code, message)
