"""One connection over TLS: does the handshake, then decrypts for the protocol inside.

asyncio's own TLS has three drawbacks: it drops the alert that tells a client why it was refused, it
handles a handshake as soon as its bytes arrive, however many arrive at once, and it accepts a
connection before the connection can be given to another process. The cost is that of OpenSSL in
either case.
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
# Most unprocessed bytes of a handshake; enough for a long certificate chain.
MOST_HANDSHAKE_BYTES = 128 * 1024
IN_THE_CLEAR = "it speaks HTTP/2 in the clear, and this port speaks TLS"


class Doorway(Protocol):
    """The owner of connections; see `handshakes.Handshakes`."""

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of the next connection."""

    def gives_away(self, connection: int) -> bool:
        """Offer a connection, by its descriptor, to other processes; True: one took it."""

    def begins(self, connection: Secured) -> None:
        """Note that a connection stays in this process, and that its handshake begins."""

    def has_more(self, connection: Secured) -> None:
        """Note that handshake bytes have arrived; schedule a call of `step`."""

    def has_ended(self, certificate: Mapping[str, Any] | None) -> bool:
        """Return whether a client's certificate, as `ssl` returns it, has expired."""

    def agreed(self, connection: Secured) -> None:
        """Note that a handshake has succeeded."""

    def gone(self, connection: Secured) -> None:
        """Note that a connection has closed."""

    def refused(self, address: str, why: str) -> None:
        """Note that a connection failed or was refused, for the log."""


class SecureTransport(asyncio.Transport):
    """The transport of the protocol inside: encrypts and forwards.

    Once the peer has sent data that is not TLS, nothing more can be sent to it, even if it waits
    for answers.

    Args:
        raw: the transport of the connection's socket.
        tls: the TLS object, after its handshake.
        outgoing: the buffer that `tls` writes encrypted bytes to.
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
        # One record, at most 16 KiB, at a time.
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
        """Send waiting bytes and TLS's close_notify, and close without waiting for the peer."""
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
    """Write TLS's close_notify to the outgoing buffer."""
    # `unwrap` fails if the peer has not sent its own close_notify, which it need not.
    with contextlib.suppress(ssl.SSLError):
        tls.unwrap()


class Secured(asyncio.Protocol):
    """A connection over TLS, starting before its handshake.

    Attributes:
        since: arrival time, monotonic seconds.
        is_silent: whether the peer has sent nothing yet.

    Args:
        doorway: the owner, which is notified of the connection's events.
        make: creates the protocol inside after the handshake.
        stays: whether it must not be given to another process.
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
            # Nothing was read, so the other process does the handshake.
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
        """Close the connection, as over TCP, because the peer will send nothing more."""
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
        """Advance the handshake as far as the received bytes allow."""
        if self._raw.is_closing() or self._inside is not None:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as exc:
            # Sends the alert from OpenSSL that tells the peer why.
            self._flush()
            self.refuse(reason_of(exc))
            return
        self._flush()
        if self._tls.selected_alpn_protocol() != ALPN:
            self.refuse(f"it has not asked for {ALPN} (ALPN), which gRPC's clients do")
            return
        # With TLS 1.2, OpenSSL resumes sessions by their ids without checking certificates again.
        if self._tls.session_reused and self._doorway.has_ended(self._tls.getpeercert()):
            self.refuse("its certificate has expired since it was shown")
            return
        self._inside = self._make()
        self._doorway.agreed(self)
        self._inside.connection_made(SecureTransport(self._raw, self._tls, self._outgoing))
        if self._incoming.pending or self._tls.pending():
            self._decrypt()

    def refuse(self, why: str) -> None:
        """End the connection before any call, and log why."""
        if self._raw.is_closing():
            return
        self._is_refused = True
        self._doorway.refused(self.address, why)
        self._raw.close()

    def abort(self) -> None:
        """End at once and silently: the server stops, or needs the place."""
        self._is_refused = True
        self._raw.abort()

    def _tell_in_the_clear(self) -> None:
        """Tell a gRPC client that connects without TLS, in plain HTTP/2, that TLS is required."""
        why = "this port speaks TLS, and the client does not"
        # No SETTINGS are sent: after them, gRPC would expect answers and wait.
        self._raw.write(goaway(0, Code.INADEQUATE_SECURITY, why))
        self.refuse(IN_THE_CLEAR)

    # Bytes.

    def _decrypt(self) -> None:
        """Decrypt received bytes and pass them to the protocol inside."""
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
