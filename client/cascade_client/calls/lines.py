"""What a client's stubs are made on: a channel, and another one once nothing comes over it.

A stub that is made on a channel of grpcio's which was closed ends the interpreter, and its calls
raise whatever grpcio happens to. So stubs are made on `Lines`, which are there before the channel
is and after it: grpcio's methods are made when they are first called, while the client is open, and
who calls one later is told so. A client's sessions are on its lines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from cascade_client.calls.liveness import Bounds, has_passed
from cascade_client.calls.showing import Showing
from cascade_client.errors import CallError
from cascade_client.turns.outcomes import was_turned_away

Metadata = Sequence[tuple[str, Any]]


class Line:
    """A channel that calls go over.

    Attributes:
        channel: of `grpc` or of `grpc.aio`.
        heard: signs of the server's so far: messages, and errors that it has sent.
        lates, since: deadlines that have passed since the last sign, and when the first one did.
        patience: how many times as long as others it is waited for.
        methods: grpcio's, of those that were called, by their paths.
        in_flight: calls that it has.
        retired: whether others are made over another line by now; it is closed when its calls have
            ended.
    """

    def __init__(self, channel: Any, patience: float = 1.0) -> None:
        self.channel, self.patience = channel, patience
        self.heard = self.lates = self.in_flight = 0
        self.since = 0.0
        self.methods: dict[str, Any] = {}
        self.retired = False

    def sign(self) -> None:
        """The server has said something. What two threads say at once may count as one."""
        self.heard += 1
        self.lates = 0


class Lines:
    """The lines of a client and of its sessions; `ThreadLines` and `TaskLines` make the calls.

    Args:
        name: of the server, for messages.
        make: makes a channel, once there is a call for it: one of `grpc.aio` belongs to the event
            loop that it is made in.
        given: a channel of the caller's, which is there already, and the only one; else None.
        showing: what is sent along with every call.
        clock: monotonic seconds.

    Attributes:
        closed: whether the client was closed.
        bounds: how long one waits for a sign of the server's.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        given: Any | None,
        showing: Showing,
        clock: Callable[[], float],
    ) -> None:
        self.closed, self.bounds = False, Bounds()
        self._name, self._make, self._showing, self._clock = name, make, showing, clock
        # Closing, and making grpcio's methods, which must not be done on what was closed. A stream
        # that nobody has any more may end, and leave, while its thread is in here.
        self._lock = threading.RLock()
        self._is_given = given is not None
        self._line = None if given is None else Line(given)
        self._retired: set[Line] = set()
        self._patience = 1.0

    def take(self) -> Line:
        """The line that a call is to go over, which is one of its calls until it `left`.

        Raises:
            RuntimeError: the client was closed.
        """
        with self._lock:
            self._check_open()
            line = self._line
            if line is None:
                line = self._line = Line(self._make(), self._patience)
            line.in_flight += 1
            return line

    def method(self, line: Line, kind: str, path: str, codec: Mapping[str, Any]) -> Any:
        """A method of grpcio's, which is made when it is first called.

        Args:
            line: that it is to be called on.
            kind: "unary_unary" and so on.
            path: its name, as it is sent.
            codec: how messages are written and read.

        Raises:
            RuntimeError: the client was closed.
        """
        found = line.methods.get(path)
        if found is None:
            with self._lock:
                self._check_open()
                found = line.methods[path] = getattr(line.channel, kind)(path, **codec)
        return found

    def metadata(self, given: Metadata | None) -> Metadata | None:
        """What is sent along with a call: what it has by itself, and who asks."""
        shown = self._showing.metadata()
        return (*(given or ()), *shown) if shown else given

    def failed(self, line: Line, error: grpc.RpcError, timeout: float | None, heard: int) -> None:
        """A call has failed, which may be a sign of the server's, or of its not being there.

        Args:
            line: that it went over.
            error: how.
            timeout: seconds that it had.
            heard: of the line when it began.
        """
        if isinstance(error, CallError):
            return  # this process's own
        code: grpc.StatusCode = error.code()
        if has_passed(error):
            if timeout is not None:
                self.late(line, timeout, heard)
        elif code is not grpc.StatusCode.CANCELLED and not was_turned_away(error):
            # Also where gRPC has found out by itself that nobody is there: it connects anew.
            line.sign()

    def late(self, line: Line, timeout: float, heard: int) -> None:
        """A call's deadline has passed, and no answer had come; as `failed`."""
        now, bounds = self._clock(), self.bounds
        line.lates += 1
        if line.lates == 1:
            line.since = now
        # One will do that had as long as the server is waited for, and in which nothing came.
        will_do = timeout >= bounds.rest and line.heard == heard
        seconds = bounds.seconds * line.patience
        if will_do or (line.lates >= bounds.lates and now - line.since >= seconds):
            self.replace(line)

    def replace(self, line: Line) -> None:
        """Nothing comes over a line any more: the next calls go over another, and its own end as
        they do. Nothing happens where it was replaced before, or where the caller gave it."""
        with self._lock:
            if self.closed or self._is_given or line is not self._line:
                return
            grown = min(2 * line.patience, self.bounds.patience)
            self._patience = 1.0 if line.heard else grown
            self._line, line.retired = None, True
            self._retired.add(line)

    def refusal(self) -> RuntimeError:
        """What is raised of a client that was closed."""
        return RuntimeError(f"the client of {self._name} is closed, and answers no more calls")

    def _check_open(self) -> None:
        if self.closed:
            raise self.refusal()

    def _left(self, line: Line) -> bool:
        """A call over a line has ended; whether the line is to be closed, since it was the last."""
        with self._lock:
            line.in_flight -= 1
            if line.in_flight or line not in self._retired:
                return False
            self._retired.discard(line)
            return True

    def _shut(self) -> list[Line]:
        """No more calls are taken; the lines to be closed."""
        with self._lock:
            found = [*self._retired, *([self._line] if self._line is not None else [])]
            self.closed, self._line = True, None
            self._retired.clear()
        return found


class Method:
    """A method of a service, as stubs call it, on whichever line there is.

    Args:
        lines: of the client.
        kind, path, codec: as for `Lines.method`.
    """

    def __init__(self, lines: Any, kind: str, path: str, codec: Mapping[str, Any]) -> None:
        self._lines, self._kind, self._path, self._codec = lines, kind, path, codec

    def on(self, line: Line) -> Any:
        """The callable of grpcio for this method, on the channel of one connection."""
        return self._lines.method(line, self._kind, self._path, self._codec)
