"""The states of a stream (RFC 9113, 5.1), as a server sees them: a table, and nothing else.

>>> NEXT[State.OPEN][Input.DATA_END]
<State.HALF_CLOSED: 2>

`printed()` shows the whole of it.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, NamedTuple

from cascade_server.transport.http2.frames import Code
from cascade_server.transport.http2.headers import Head

# Streams that are cut, and gaps in the numbers, which are remembered of a connection.
MOST_CUT, MOST_GAPS = 1024, 16


class State(IntEnum):
    """Of a stream.

    IDLE: nothing has been sent on it. OPEN: the peer is sending. HALF_CLOSED: the peer has sent
    all, and waits for the answer. CUT: it has its answer and was asked to send no more; what it
    sends all the same, since it cannot know yet, is passed over. CLOSED: it is over.
    """

    IDLE = 0
    OPEN = 1
    HALF_CLOSED = 2
    CUT = 3
    CLOSED = 4


class Input(IntEnum):
    """What happens to a stream: frames of the peer's, and (the last two) what we send."""

    HEADERS = 0
    HEADERS_END = 1
    DATA = 2
    DATA_END = 3
    RST_STREAM = 4
    WINDOW_UPDATE = 5
    ANSWERED = 6
    RESET = 7


class Fault(NamedTuple):
    """What is not allowed in a state.

    Attributes:
        code: says what kind of mistake it is.
        whole: whether it ends the connection; else its stream only.
    """

    code: Code
    whole: bool


IDLE_FAULT = Fault(Code.PROTOCOL_ERROR, whole=True)
ENDED_FAULT = Fault(Code.STREAM_CLOSED, whole=False)
CLOSED_FAULT = Fault(Code.STREAM_CLOSED, whole=True)
MALFORMED = Fault(Code.PROTOCOL_ERROR, whole=False)
IDLE, OPEN, HALF, CUT, CLOSED = State

# Columns as in `Input`. A second HEADERS that is not the last is malformed (8.1); window updates
# and resets of what is closed may have been under way (5.1).
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
    """The table, a line a state."""
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
    """What is remembered of streams that are over, which is not much.

    A stream that is CUT is remembered, since its peer may go on sending for a while. So are numbers
    that were left out: to use one later is another mistake than to use one again (5.1.1).
    """

    def __init__(self) -> None:
        self._cut: dict[int, None] = {}
        self._gaps: deque[tuple[int, int]] = deque(maxlen=MOST_GAPS)

    def cut(self, number: int) -> None:
        """A stream is over, and its peer has not yet ended what it sends."""
        self._cut[number] = None
        if len(self._cut) > MOST_CUT:
            del self._cut[next(iter(self._cut))]

    def close(self, number: int) -> None:
        """The peer has ended it too."""
        self._cut.pop(number, None)

    def leave_out(self, last: int, number: int) -> None:
        """No number between these two has been used, and none may be."""
        self._gaps.append((last, number))

    def left_out(self, number: int) -> bool:
        """Whether a number below the last has never been used."""
        return any(low < number < high for low, high in self._gaps)

    def state(self, number: int, last: int) -> State:
        """Of a stream that is not open; `last` is the largest number that was used."""
        if number == 0 or number > last:
            return IDLE
        return CUT if number in self._cut else CLOSED


class Stream:
    """One that is open or half closed.

    Attributes:
        number: of the stream.
        state: OPEN or HALF_CLOSED.
        window: bytes that the peer may send.
        expected: bytes of DATA that content-length has announced and that have not come; None:
            nothing was announced.
        since, timeout: when it began, monotonic, and what it was given; None: all the time.
        call: what the connection keeps of it.
    """

    __slots__ = ("call", "expected", "number", "since", "state", "timeout", "window")

    def __init__(self, number: int, state: State, window: int, head: Head, now: float) -> None:
        self.number, self.state, self.window = number, state, window
        self.expected = head.content_length
        self.since = now
        self.timeout = head.timeout
        self.call: Any = None
