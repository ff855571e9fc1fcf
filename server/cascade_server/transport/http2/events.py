"""The events of a session: at most one per frame."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cascade_server.transport.http2.frames import PeerSettings
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.streams import Stream


class CallBegan(NamedTuple):
    """The headers of a call have arrived; `last`: the peer will send nothing more."""

    stream: Stream
    head: Head
    last: bool


class DataCame(NamedTuple):
    """Part of a call's messages has arrived; `last`: the peer will send nothing more."""

    stream: Stream
    data: bytes
    last: bool


class CallEnded(NamedTuple):
    """A call has ended before its answer: the peer cancelled it or made an error."""

    stream: Stream


class WindowOpened(NamedTuple):
    """The peer accepts more bytes, of one answer or (None) of the connection."""

    stream: Stream | None
    size: int


class SettingsChanged(NamedTuple):
    """The peer changed its settings; `wider`: the increase of each stream's window."""

    settings: PeerSettings
    wider: int


class PingAnswered(NamedTuple):
    """The peer has received everything that was sent before the ping."""

    payload: bytes


class Quiet(NamedTuple):
    """A frame that needs no reaction from the connection."""


Event: TypeAlias = (
    CallBegan | DataCame | CallEnded | WindowOpened | SettingsChanged | PingAnswered | Quiet
)
QUIET = Quiet()
