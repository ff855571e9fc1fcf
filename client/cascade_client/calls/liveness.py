"""Decisions about whether the server is still there; the lines do the checks.

A stopped server, or a broken network path, sends no signal at all. TCP notices after a quarter of
an hour if something was sent, and never otherwise. gRPC's keepalive, which should detect this, was
tried with a ping per second, and had noticed neither after half a minute (grpcio 1.81). So the
client watches over its calls here, in two ways.

* Calls whose deadlines pass while the server is silent on all calls: after several in a row, new
calls use another line. The late calls have already failed at their deadlines.
* Streams, and calls with long timeouts. When nothing has come over their line for a while, the
client makes a health check, which even a busy server answers at once. If it gets no answer, the
line is given up, and the waiting calls fail like those of a lost connection and are retried in the
same way.

How long a stream of rows may pause cannot be predicted: a message is a second or two of a teacher's
work on two cores, but it yields to real-time calls, waits behind other streams, and is paced to its
caller's quota. So a pause does not count as the end while the server answers at all. But a name may
stand for several servers, and another one may answer; so a call that has waited for half an hour is
given up too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from cascade_client.calls.lines import Line

# gRPC's message for a deadline that passed on the client; a refusing server sends other messages. A
# test checks this.
PASSED = "Deadline Exceeded"


@dataclass(frozen=True)
class Bounds:
    """How long to wait for a sign of life from the server.

    Attributes:
        rest: seconds of silence before a health check; calls with shorter timeouts are left to
            their deadlines.
        answer: seconds to wait for the health check's answer.
        longest: seconds of silence on one call, after which it is given up even if the server
            answers others.
        lates: deadlines in a row that pass without a sign of life before the line is replaced.
        seconds: time between the first and the last of these; it doubles each time that the new
            line is silent too.
        patience: most that this time is multiplied by.
        look, read: time limits in seconds for a stream that watches a job, and for one that reads a
            file. The next stream uses the current line, and a watch reports the job's state at
            once.
    """

    rest: float = 15.0
    answer: float = 10.0
    longest: float = 1800.0
    lates: int = 3
    seconds: float = 1.0
    patience: float = 64.0
    look: float = 15.0
    read: float = 60.0

    def is_long(self, timeout: float | None) -> bool:
        """Return whether a call with this timeout is watched over."""
        return timeout is None or timeout > self.rest


class Waited:
    """A call that is watched over while its caller waits for the next message.

    Args:
        line: of the call.
        give_up: ends the call, and raises the given message where the caller waits.
    """

    __slots__ = ("_give_up", "heard", "line", "rests", "seen", "serial", "waits")

    def __init__(self, line: Line, give_up: Callable[[str], object]) -> None:
        self.line, self._give_up = line, give_up
        self.serial, self.waits = 0, False
        # The last observed state of the call, and for how many looks in a row it was the same.
        self.seen, self.heard, self.rests = -1, 0, 0

    def begins(self) -> None:
        """Record that a caller waits from now on."""
        self.serial += 1
        self.waits = True

    def ends(self) -> None:
        """Record that the message has come, or that the caller no longer waits."""
        self.waits = False

    def fails(self, said: str) -> None:
        """Give up the call, and report the reason to the waiting caller."""
        self._give_up(said)


class Vigil:
    """The calls of a client that are watched over; the watcher looks every `rest` seconds.

    Args:
        bounds: of the client's lines.
    """

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        self._bounds = bounds
        # Reentrant like that of the lines: a stream may leave while its thread is in here.
        self._lock = threading.RLock()
        self._calls: set[Waited] = set()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Waited) -> None:
        """Watch over a call until it is removed."""
        with self._lock:
            self._calls.add(call)

    def remove(self, call: Waited) -> None:
        """Stop watching over a call."""
        with self._lock:
            self._calls.discard(call)

    def look(self) -> tuple[list[Waited], set[Line]]:
        """Return the calls that have waited too long in any case, and the lines to check.

        The latter are lines that have been silent since the last look, although a caller has waited
        on them since then.
        """
        bounds, overdue, silent = self._bounds(), [], set()
        for call in self._all():
            heard, call.heard = call.heard, call.line.heard
            if not call.waits or call.seen != call.serial:
                # Something has come since the last look, or no caller waits.
                call.seen, call.rests = call.serial if call.waits else -1, 0
                continue
            call.rests += 1
            if call.rests * bounds.rest >= bounds.longest:
                overdue.append(call)
            elif heard == call.heard:
                silent.add(call.line)
        return overdue, silent

    def over(self, line: Line) -> list[Waited]:
        """Return the calls over a line that a caller waits for."""
        return [call for call in self._all() if call.line is line and call.waits]

    def overdue(self) -> str:
        """Return the message for a call that has waited too long."""
        return f"nothing has come in {self._bounds().longest:g} s, though the server answers"

    def silence(self) -> str:
        """Return the message for calls over a silent line."""
        bounds = self._bounds()
        return (
            f"nothing has come in {bounds.rest:g} s, and the server did not say in "
            f"{bounds.answer:g} s that it is there"
        )

    def _all(self) -> list[Waited]:
        with self._lock:
            return list(self._calls)


def has_passed(error: grpc.RpcError) -> bool:
    """Return whether a call's deadline has passed on the client, without an answer of the
    server.
    """
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and PASSED in (error.details() or "")
