"""One connection over TLS: a handshake, then bytes for the protocol inside, as if it were plain.

asyncio's own TLS would do but for three things: it drops the alert that tells a client why it was
refused, it makes a handshake as soon as its bytes come, however many do at once, and it takes a
connection before another process can be given it. What it costs is OpenSSL's work in either case.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from cascade_server.transport.http2.frames import PREFACE, Code, goaway
from cascade_server.transport.tls.contexts import ALPN
from cascade_server.transport.tls.reasons import reason_of

READ_BYTES = 256 * 1024
# Of a handshake: what a peer may send before it is gone on with; a long chain of certificates.
MOST_HANDSHAKE_BYTES = 128 * 1024
IN_THE_CLEAR = "it speaks HTTP/2 in the clear, and this port speaks TLS"


class Doorway(Protocol):
    """Whom connections are made for; see `handshakes.Handshakes`."""

    def context(self) -> ssl.SSLContext:
        """What the next connection is made with."""

    def gives_away(self, connection: int) -> bool:
        """Whether a connection, by its file descriptor, is another process's now."""

    def begins(self, connection: Secured) -> None:
        """A connection is this process's, and its handshake is to come."""

    def has_more(self, connection: Secured) -> None:
        """Something of its handshake has come; `step` is to be called when it is its turn."""

    def has_ended(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client's certificate, as `ssl` tells it, holds no longer."""

    def agreed(self, connection: Secured) -> None:
        """Its handshake is over, well."""

    def gone(self, connection: Secured) -> None:
        """It is no more."""

    def refused(self, address: str, why: str) -> None:
        """It is none of a client that this server could serve."""


class SecureTransport(asyncio.Transport):
    """What the protocol inside writes to: encrypts, and hands on. Behind what was no TLS nothing
    can be said any more: a peer that sends such a thing, and waits for answers, gets none.

    Args:
        raw: the connection's own transport.
        tls: the connection's side of TLS, whose handshake is over.
        outgoing: where that puts what is to be sent.
    """

    def __init__(self, raw: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        super().__init__()
        self._raw, self._tls, self._outgoing = raw, tls, outgoing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._raw.is_closing() or not data:
            return
        try:
            self._encrypt(data)
        except ssl.SSLError:
            self._raw.close()
            return
        self._raw.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self._raw.is_closing():
            return
        try:
            for data in list_of_data:
                if data:
                    self._encrypt(data)
        except ssl.SSLError:
            self._raw.close()
            return
        self._raw.write(self._outgoing.read())

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        # A record, at most 16 KiB, at a time.
        written = self._tls.write(data)
        if written < len(data):
            rest = memoryview(data)
            while written < len(rest):
                written += self._tls.write(rest[written:])

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def close(self) -> None:
        """Send what waits, say that this is the end, and end; the peer is not waited for."""
        if self._raw.is_closing():
            return
        say_farewell(self._tls)
        self._raw.write(self._outgoing.read())
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)


def say_farewell(tls: ssl.SSLObject) -> None:
    """Put TLS's last word where what is to be sent is put."""
    # It fails where the peer has not said so too, which it need not.
    with contextlib.suppress(ssl.SSLError):
        tls.unwrap()


class Secured(asyncio.Protocol):
    """One peer, from before its handshake on.

    Attributes:
        since: when it came, monotonic seconds.
        is_silent: whether nothing has come of it yet.

    Args:
        doorway: is told what becomes of it.
        make: the protocol inside, once there is a handshake.
        stays: whether it is not to be given to another process.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        doorway: Doorway,
        make: Callable[[], asyncio.Protocol],
        stays: bool,
        clock: Callable[[], float],
    ) -> None:
        self._doorway, self._make, self._stays = doorway, make, stays
        self.since, self.is_silent = clock(), True
        self._inside: asyncio.Protocol | None = None
        self._is_kept = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = self._raw = cast(asyncio.Transport, transport)
        connection = raw.get_extra_info("socket")
        if not self._stays and self._doorway.gives_away(connection.fileno()):
            # Nothing was read: the other process makes the handshake.
            raw.abort()
            return
        self._is_kept = True
        name = raw.get_extra_info("peername")
        self.address = str(name[0]) if isinstance(name, tuple) else ""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self._doorway.context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._doorway.begins(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_kept:
            return
        if self._inside is not None:
            self._inside.connection_lost(exc)
        elif not self.is_silent and not self._is_refused:
            self._doorway.refused(self.address, "it has gone during the handshake")
        self._doorway.gone(self)

    _is_refused = False

    def eof_received(self) -> bool:
        """The peer sends no more: as over TCP, that ends the connection."""
        return False

    def pause_writing(self) -> None:
        if self._inside is not None:
            self._inside.pause_writing()

    def resume_writing(self) -> None:
        if self._inside is not None:
            self._inside.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._raw.is_closing():
            return
        if self._inside is None:
            if self.is_silent and data.startswith(PREFACE[: len(data)]):
                self._tell_in_the_clear()
                return
            self.is_silent = False
            self._incoming.write(data)
            if self._incoming.pending > MOST_HANDSHAKE_BYTES:
                self.refuse(f"a handshake of more than {MOST_HANDSHAKE_BYTES} bytes")
                return
            self._doorway.has_more(self)
            return
        self._incoming.write(data)
        self._decrypt()

    # The handshake.

    def step(self) -> None:
        """Go on with the handshake, as far as what has come allows."""
        if self._raw.is_closing() or self._inside is not None:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as exc:
            # OpenSSL has written the alert that tells the peer why.
            self._flush()
            self.refuse(reason_of(exc))
            return
        self._flush()
        if self._tls.selected_alpn_protocol() != ALPN:
            self.refuse(f"it has not asked for {ALPN} (ALPN), which gRPC's clients do")
            return
        # Of TLS 1.2 OpenSSL resumes sessions by their ids, without looking at anything again.
        if self._tls.session_reused and self._doorway.has_ended(self._tls.getpeercert()):
            self.refuse("its certificate has expired since it was shown")
            return
        self._inside = self._make()
        self._doorway.agreed(self)
        self._inside.connection_made(SecureTransport(self._raw, self._tls, self._outgoing))
        if self._incoming.pending or self._tls.pending():
            self._decrypt()

    def refuse(self, why: str) -> None:
        """End before there was a call, and say why in the log."""
        if self._raw.is_closing():
            return
        self._is_refused = True
        self._doorway.refused(self.address, why)
        self._raw.close()

    def abort(self) -> None:
        """End now, without a word: the server stops, or needs the place."""
        self._is_refused = True
        self._raw.abort()

    def _tell_in_the_clear(self) -> None:
        """Tell a client of gRPC that has been told of no TLS so, in the way that it understands."""
        why = "this port speaks TLS, and the client does not"
        # Without SETTINGS: else gRPC takes the server for one that will answer, and waits.
        self._raw.write(goaway(0, Code.INADEQUATE_SECURITY, why))
        self.refuse(IN_THE_CLEAR)

    # Bytes.

    def _decrypt(self) -> None:
        """Hand on what has come, as far as it can be read."""
        incoming, tls, inside = self._incoming, self._tls, self._inside
        assert inside is not None
        parts: list[bytes] = []
        is_over = False
        try:
            while incoming.pending or tls.pending():
                part = tls.read(READ_BYTES)
                if not part:
                    is_over = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass  # part of a record
        except ssl.SSLError:
            is_over = True
        # An alert, or new keys.
        if self._outgoing.pending:
            self._flush()
        if parts:
            inside.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if is_over and not self._raw.is_closing():
            self._raw.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())
