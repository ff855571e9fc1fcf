"""Whether anybody is still there at the other end: decisions; the lines do the asking.

A server that has stopped, and a way that leads nowhere any more, say nothing at all. TCP finds out
after a quarter of an hour where something was sent, and never where nothing is. gRPC's keepalive,
which is to, was tried with a ping a second, and in half a minute had noticed neither (grpcio 1.81).
So what a client waits for is looked after here, in two ways.

* Calls whose deadlines pass while the server says nothing to anybody: after several in a row the
  next calls go over another line. They have failed as they would have.
* Streams, and calls that may take long. When nothing has come over their line for a while the
  server is asked how it is, which it says at once also where it has much to do. If it does not say
  that either, the line is given up, and the calls that wait fail as those of a lost connection do,
  and are tried again as these are.

How long a stream of rows may rest nobody can tell: a message is a second or two of a teacher's
work on two cores, but it yields to calls, waits behind other streams, and is paced to what its
caller may have. So rest is not taken for the end while the server answers at all. But a name may
stand for several servers, of which another one answers: what has waited for half an hour is given
up too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from cascade_client.calls.lines import Line

# How gRPC says that a deadline has passed here; a server that refuses has words of its own. A test
# holds it to that.
PASSED = "Deadline Exceeded"


@dataclass(frozen=True)
class Bounds:
    """How long one waits for a sign of the server's.

    Attributes:
        rest: seconds of nothing, after which the server is asked; calls with less time than that
            are left to their deadlines.
        answer: seconds that it may take to answer that.
        longest: seconds of nothing for one call, after which it is given up though the server
            answers others.
        lates: deadlines in a row, and seconds between the first of them and the last, that pass
            without a sign before the line is replaced. Twice as many seconds each time that nothing
            came over the new one either.
        seconds: these.
        patience: how many times as many at most.
        look, read: seconds that a watch of a job is open for, and the reading of a file. The next
            one goes over whichever line is there, and a watch tells the job's state at once.
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
        """Whether a call that may take so long is looked after."""
        return timeout is None or timeout > self.rest


class Waited:
    """A call that is looked after while somebody waits for what comes next of it.

    Args:
        line: that it goes over.
        give_up: ends it, and has what is said raised where it is waited for.
    """

    __slots__ = ("_give_up", "heard", "line", "rests", "seen", "serial", "waits")

    def __init__(self, line: Line, give_up: Callable[[str], object]) -> None:
        self.line, self._give_up = line, give_up
        self.serial, self.waits = 0, False
        # What was last seen of it, and how often in a row it was the same.
        self.seen, self.heard, self.rests = -1, 0, 0

    def begins(self) -> None:
        """Somebody waits from now on."""
        self.serial += 1
        self.waits = True

    def ends(self) -> None:
        """What was waited for has come, or nobody waits any more."""
        self.waits = False

    def fails(self, said: str) -> None:
        """Nothing will come over it: whoever waits is told what is said."""
        self._give_up(said)


class Vigil:
    """The calls of a client that are looked after. Whoever does looks every `rest` seconds.

    Args:
        bounds: of the client's lines.
    """

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        self._bounds = bounds
        # As that of the lines: a stream may leave while its thread is in here.
        self._lock = threading.RLock()
        self._calls: set[Waited] = set()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Waited) -> None:
        """Look after a call until it is removed."""
        with self._lock:
            self._calls.add(call)

    def remove(self, call: Waited) -> None:
        """Look after it no more."""
        with self._lock:
            self._calls.discard(call)

    def look(self) -> tuple[list[Waited], set[Line]]:
        """Calls that have waited for too long whatever the server says, and lines over which
        nothing came since the last look, for who has waited since then: their servers are to be
        asked."""
        bounds, overdue, silent = self._bounds(), [], set()
        for call in self._all():
            heard, call.heard = call.heard, call.line.heard
            if not call.waits or call.seen != call.serial:
                # Something has come since the last look, or nobody waits.
                call.seen, call.rests = call.serial if call.waits else -1, 0
                continue
            call.rests += 1
            if call.rests * bounds.rest >= bounds.longest:
                overdue.append(call)
            elif heard == call.heard:
                silent.add(call.line)
        return overdue, silent

    def over(self, line: Line) -> list[Waited]:
        """The calls over a line that somebody waits for."""
        return [call for call in self._all() if call.line is line and call.waits]

    def overdue(self) -> str:
        """What is said of a call that has waited for too long."""
        return f"nothing has come in {self._bounds().longest:g} s, though the server answers"

    def silence(self) -> str:
        """What is said of calls over a line that is silent."""
        bounds = self._bounds()
        return (
            f"nothing has come in {bounds.rest:g} s, and the server did not say in "
            f"{bounds.answer:g} s that it is there"
        )

    def _all(self) -> list[Waited]:
        with self._lock:
            return list(self._calls)


def has_passed(error: grpc.RpcError) -> bool:
    """Whether a call's deadline has passed here, with no word of the server's."""
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and PASSED in (error.details() or "")
