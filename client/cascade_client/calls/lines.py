"""What a client's stubs are made on: a channel of its own, for as long as the client is open.

A stub that is made on a channel of grpcio's which was closed ends the interpreter, and its calls
raise whatever grpcio happens to. So stubs are made on `Lines`, which are there before the
channel is and after it: grpcio's methods are made when they are first called, while the channel is
open, and who calls one later is told so. A client's sessions are on its lines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade_client.calls.showing import Showing

Metadata = Sequence[tuple[str, Any]]


class Line:
    """A channel that calls go over.

    Attributes:
        channel: of `grpc` or of `grpc.aio`.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel


class Lines:
    """The channel of a client and of its sessions; `ThreadLines` and `TaskLines` make the calls.

    Args:
        name: of the server, for messages.
        make: makes the channel, once there is a call for it: one of `grpc.aio` belongs to the event
            loop that it is made in.
        given: a channel of the caller's, which is there already; else None.
        showing: what is sent along with every call.

    Attributes:
        closed: whether the client was closed.
    """

    def __init__(
        self, name: str, make: Callable[[], Any], given: Any | None, showing: Showing
    ) -> None:
        self.closed = False
        self._name, self._make, self._showing = name, make, showing
        # Closing, and making grpcio's methods, which must not be done on what was closed.
        self._lock = threading.Lock()
        self._line = None if given is None else Line(given)

    def take(self) -> Line:
        """The line that the next call is to go over.

        Raises:
            RuntimeError: the client was closed.
        """
        with self._lock:
            self._check_open()
            if self._line is None:
                self._line = Line(self._make())
            return self._line

    def method(self, line: Line, kind: str, path: str, codec: Mapping[str, Any]) -> Any:
        """A method of grpcio's.

        Args:
            line: that it is to be called on.
            kind: "unary_unary" and so on.
            path: its name, as it is sent.
            codec: how messages are written and read.

        Raises:
            RuntimeError: the client was closed.
        """
        with self._lock:
            self._check_open()
            return getattr(line.channel, kind)(path, **codec)

    def metadata(self, given: Metadata | None) -> Metadata | None:
        """What is sent along with a call: what it has by itself, and who asks."""
        shown = self._showing.metadata()
        return (*(given or ()), *shown) if shown else given

    def refusal(self) -> RuntimeError:
        """What is raised of a client that was closed."""
        return RuntimeError(f"the client of {self._name} is closed, and answers no more calls")

    def _check_open(self) -> None:
        if self.closed:
            raise self.refusal()

    def _shut(self) -> list[Line]:
        """No more calls are taken; the lines to be closed."""
        with self._lock:
            self.closed, line, self._line = True, self._line, None
        return [] if line is None else [line]


class Method:
    """A method of a service, as stubs call it, on whichever line there is.

    Args:
        lines: of the client.
        kind, path, codec: as for `Lines.method`.
    """

    def __init__(self, lines: Lines, kind: str, path: str, codec: Mapping[str, Any]) -> None:
        self._lines, self._kind, self._path, self._codec = lines, kind, path, codec
        self._made: tuple[Line, Any] | None = None

    def on(self, line: Line) -> Any:
        """grpcio's own method."""
        made = self._made
        if made is None or made[0] is not line:
            found = self._lines.method(line, self._kind, self._path, self._codec)
            made = self._made = line, found
        return made[1]
