"""What a session's bytes turn out to be: one event a frame at most."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cascade_server.transport.http2.frames import PeerSettings
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.streams import Stream


class CallBegan(NamedTuple):
    """The headers of a call are there; `last`: and nothing else will come."""

    stream: Stream
    head: Head
    last: bool


class DataCame(NamedTuple):
    """A part of a call's messages; `last`: the peer has sent all."""

    stream: Stream
    data: bytes
    last: bool


class CallEnded(NamedTuple):
    """A call is over before its answer: the peer has taken it back, or has made a mistake."""

    stream: Stream


class WindowOpened(NamedTuple):
    """The peer takes more bytes, of one answer or (None) of all together."""

    stream: Stream | None
    size: int


class SettingsChanged(NamedTuple):
    """The peer wants to be sent other sizes; `wider`: than before, each stream's window."""

    settings: PeerSettings
    wider: int


class PingAnswered(NamedTuple):
    """The peer has seen all that was sent before the ping."""

    payload: bytes


class Quiet(NamedTuple):
    """A frame that nobody has to be told of."""


Event: TypeAlias = (
    CallBegan | DataCame | CallEnded | WindowOpened | SettingsChanged | PingAnswered | Quiet
)
QUIET = Quiet()
