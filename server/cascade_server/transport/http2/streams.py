"""The states of a stream (RFC 9113, 5.1) on the server's side, as a table.

>>> NEXT[State.OPEN][Input.DATA_END]
<State.HALF_CLOSED: 2>

`printed()` shows the whole table.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, NamedTuple

from cascade_server.transport.http2.frames import Code
from cascade_server.transport.http2.headers import Head

# Cut streams, and gaps in the stream numbers, that are remembered per connection.
MOST_CUT, MOST_GAPS = 1024, 16


class State(IntEnum):
    """The state of a stream.

    IDLE: nothing has been sent. OPEN: the peer is sending. HALF_CLOSED: the peer has sent
    everything and waits for the answer. CUT: the peer has its answer and was asked to stop sending;
    what it sends before it knows is ignored. CLOSED: the stream is over.
    """

    IDLE = 0
    OPEN = 1
    HALF_CLOSED = 2
    CUT = 3
    CLOSED = 4


class Input(IntEnum):
    """The inputs of a stream: frames of the peer and (the last two) of the server."""

    HEADERS = 0
    HEADERS_END = 1
    DATA = 2
    DATA_END = 3
    RST_STREAM = 4
    WINDOW_UPDATE = 5
    ANSWERED = 6
    RESET = 7


class Fault(NamedTuple):
    """An input that is not allowed in a state.

    Attributes:
        code: the kind of error.
        whole: whether it ends the whole connection, rather than the stream only.
    """

    code: Code
    whole: bool


IDLE_FAULT = Fault(Code.PROTOCOL_ERROR, whole=True)
ENDED_FAULT = Fault(Code.STREAM_CLOSED, whole=False)
CLOSED_FAULT = Fault(Code.STREAM_CLOSED, whole=True)
MALFORMED = Fault(Code.PROTOCOL_ERROR, whole=False)
IDLE, OPEN, HALF, CUT, CLOSED = State

# Columns as in `Input`. A second HEADERS without END_STREAM is malformed (8.1); window updates and
# resets of a closed stream may have been in flight (5.1).
NEXT: tuple[tuple[State | Fault, ...], ...] = (
    # IDLE
    (OPEN, HALF, IDLE_FAULT, IDLE_FAULT, IDLE_FAULT, IDLE_FAULT, IDLE_FAULT, IDLE_FAULT),
    # OPEN
    (MALFORMED, HALF, OPEN, HALF, CLOSED, OPEN, CUT, CUT),
    # HALF_CLOSED
    (ENDED_FAULT, ENDED_FAULT, ENDED_FAULT, ENDED_FAULT, CLOSED, HALF, CLOSED, CLOSED),
    # CUT
    (CUT, CLOSED, CUT, CLOSED, CLOSED, CUT, CUT, CUT),
    # CLOSED
    (CLOSED_FAULT, CLOSED_FAULT, ENDED_FAULT, ENDED_FAULT, CLOSED, CLOSED, CLOSED, CLOSED),
)


def printed() -> str:
    """Format the table, one line per state."""
    width = 28
    lines = ["".join(name.ljust(width) for name in ("", *Input.__members__))]
    for state in State:
        cells = [
            f"{'connection' if one.whole else 'stream'} {one.code.name}"
            if isinstance(one, Fault)
            else one.name
            for one in NEXT[state]
        ]
        lines.append("".join(cell.ljust(width) for cell in (state.name, *cells)).rstrip())
    return "\n".join(lines)


class Over:
    """The little that is remembered of streams that are over.

    CUT streams are remembered, because the peer may keep sending for a while. So are skipped
    numbers: using one later is a different error from reusing a number (5.1.1).
    """

    def __init__(self) -> None:
        self._cut: dict[int, None] = {}
        self._gaps: deque[tuple[int, int]] = deque(maxlen=MOST_GAPS)

    def cut(self, number: int) -> None:
        """Remember a stream that is over, but on which the peer may still send."""
        self._cut[number] = None
        if len(self._cut) > MOST_CUT:
            del self._cut[next(iter(self._cut))]

    def close(self, number: int) -> None:
        """Note that the peer has ended a cut stream too."""
        self._cut.pop(number, None)

    def leave_out(self, last: int, number: int) -> None:
        """Remember that the numbers between these two were skipped, and may not be used."""
        self._gaps.append((last, number))

    def left_out(self, number: int) -> bool:
        """Return whether a number below the last was never used."""
        return any(low < number < high for low, high in self._gaps)

    def state(self, number: int, last: int) -> State:
        """Return the state of a stream that is not open; `last` is the largest used number."""
        if number == 0 or number > last:
            return IDLE
        return CUT if number in self._cut else CLOSED


class Stream:
    """A stream that is open or half closed.

    Attributes:
        number: the stream's number.
        state: OPEN or HALF_CLOSED.
        window: bytes that the peer may send.
        expected: bytes of DATA announced by content-length and not received yet; None: nothing was
            announced.
        since, timeout: when it began, monotonic seconds, and its timeout; None: no timeout.
        call: the connection's data for it.
    """

    __slots__ = ("call", "expected", "number", "since", "state", "timeout", "window")

    def __init__(self, number: int, state: State, window: int, head: Head, now: float) -> None:
        self.number, self.state, self.window = number, state, window
        self.expected = head.content_length
        self.since = now
        self.timeout = head.timeout
        self.call: Any = None
