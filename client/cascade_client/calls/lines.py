"""Channels for a client's stubs, replaced when one goes silent.

Using a stub on a closed channel of grpcio crashes the interpreter, and its calls raise arbitrary
errors of grpcio. So stubs are built on `Lines`, which exist before the channel and after it:
grpcio's methods are created on the first call, while the client is open, and a later call gets a
clear error. A client's sessions share its lines.
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
    """A channel for calls.

    Attributes:
        channel: of `grpc` or of `grpc.aio`.
        heard: number of signs of life from the server: messages, and errors that it sent.
        lates, since: deadlines that have passed since the last sign of life, and when the first one
            did.
        patience: factor on the usual waiting time.
        methods: grpcio's methods that were called, by path.
        in_flight: number of calls on it.
        retired: whether new calls use another line; it is closed when its calls have ended.
    """

    def __init__(self, channel: Any, patience: float = 1.0) -> None:
        self.channel, self.patience = channel, patience
        self.heard = self.lates = self.in_flight = 0
        self.since = 0.0
        self.methods: dict[str, Any] = {}
        self.retired = False

    def sign(self) -> None:
        """Record a sign of life. Two simultaneous ones in different threads may count as one."""
        self.heard += 1
        self.lates = 0


class Lines:
    """The lines of a client and of its sessions; `ThreadLines` and `TaskLines` make the calls.

    Args:
        name: of the server, for messages.
        make: makes a channel for the first call: one of `grpc.aio` belongs to the event loop that
            it is made in.
        given: the caller's own channel, which exists already and is never replaced; else None.
        showing: credentials to send with every call.
        clock: monotonic seconds.

    Attributes:
        closed: whether the client was closed.
        bounds: how long to wait for a sign of life.
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
        # Protects closing and the creation of grpcio's methods, which must not happen on a closed
        # channel. Reentrant, because an abandoned stream may be collected, and leave, while its
        # thread is in here.
        self._lock = threading.RLock()
        self._is_given = given is not None
        self._line = None if given is None else Line(given)
        self._retired: set[Line] = set()
        self._patience = 1.0

    def take(self) -> Line:
        """Return the line for a call, which counts as one of its calls until it `left`.

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
        """Return a method of grpcio's, created on the first call.

        Args:
            line: the line to call it on.
            kind: "unary_unary" and so on.
            path: its name on the wire.
            codec: serialiser and deserialiser of messages.

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
        """Return the metadata to send with a call: its own, and the credentials."""
        shown = self._showing.metadata()
        return (*(given or ()), *shown) if shown else given

    def failed(self, line: Line, error: grpc.RpcError, timeout: float | None, heard: int) -> None:
        """Record a failed call, which may be a sign of life, or of the server's absence.

        Args:
            line: of the call.
            error: of the call.
            timeout: of the call in seconds.
            heard: of the line when the call began.
        """
        if isinstance(error, CallError):
            return  # this process's own
        code: grpc.StatusCode = error.code()
        if has_passed(error):
            if timeout is not None:
                self.late(line, timeout, heard)
        elif code is not grpc.StatusCode.CANCELLED and not was_turned_away(error):
            # This includes failures that gRPC has detected by itself: it will reconnect.
            line.sign()

    def late(self, line: Line, timeout: float, heard: int) -> None:
        """Record that a call's deadline has passed without an answer; arguments as `failed`."""
        now, bounds = self._clock(), self.bounds
        line.lates += 1
        if line.lates == 1:
            line.since = now
        # A single call is enough if it had as long as the server is waited for, without any sign of
        # life.
        will_do = timeout >= bounds.rest and line.heard == heard
        seconds = bounds.seconds * line.patience
        if will_do or (line.lates >= bounds.lates and now - line.since >= seconds):
            self.replace(line)

    def replace(self, line: Line) -> None:
        """Replace a silent line: new calls use another line, and its own calls end on their own.

        Does nothing if it was replaced before, or if it is the caller's own channel.
        """
        with self._lock:
            if self.closed or self._is_given or line is not self._line:
                return
            grown = min(2 * line.patience, self.bounds.patience)
            self._patience = 1.0 if line.heard else grown
            self._line, line.retired = None, True
            self._retired.add(line)

    def refusal(self) -> RuntimeError:
        """Return the error for calls on a closed client."""
        return RuntimeError(f"the client of {self._name} is closed, and answers no more calls")

    def _check_open(self) -> None:
        if self.closed:
            raise self.refusal()

    def _left(self, line: Line) -> bool:
        """Record the end of a call; return whether to close the line, because it was the
        last call.
        """
        with self._lock:
            line.in_flight -= 1
            if line.in_flight or line not in self._retired:
                return False
            self._retired.discard(line)
            return True

    def _shut(self) -> list[Line]:
        """Accept no more calls; return the lines to close."""
        with self._lock:
            found = [*self._retired, *([self._line] if self._line is not None else [])]
            self.closed, self._line = True, None
            self._retired.clear()
        return found


class Method:
    """A method of a service, as stubs call it, on whichever line is current.

    Args:
        lines: of the client.
        kind, path, codec: as for `Lines.method`.
    """

    def __init__(self, lines: Any, kind: str, path: str, codec: Mapping[str, Any]) -> None:
        self._lines, self._kind, self._path, self._codec = lines, kind, path, codec

    def on(self, line: Line) -> Any:
        """Return grpcio's callable for this method on a line's channel."""
        return self._lines.method(line, self._kind, self._path, self._codec)
