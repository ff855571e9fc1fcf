"""One connection over TLS: what it makes of sessions from before, and of what is no TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any

import pytest
from cascade_server.transport.http2.frames import PREFACE
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.files import TlsFiles

from tests.certificates import Authority, Pair, client_context
from tests.server.transport.serving import serving
from tests.server.transport.tls.test_handshakes import asks, reads_to_the_end


class Later:
    """The server's clock, which a test sets forward."""

    def __init__(self) -> None:
        self.by = 0.0

    def __call__(self) -> float:
        return time.time() + self.by


@pytest.mark.parametrize("days", [0, 4000])
def test_a_session_is_not_resumed_beyond_its_certificate(
    authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    files, clock = TlsFiles(pair.certificate, pair.key, authority.path, "required"), Later()
    context = client_context(authority.path, authority.signs("me"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connection(session: Any = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", transport.port), 30)
        return context.wrap_socket(plain, server_hostname="localhost", session=session)

    with serving(credentials=Credentials(files, clock)) as transport:
        with connection() as first:
            first.sendall(PREFACE)
            assert first.recv(1)
            session = first.session
        clock.by = days * 86_400
        with connection(session) as again:
            assert again.session_reused
            with contextlib.suppress(ConnectionError):
                again.sendall(PREFACE)
            found = reads_to_the_end(again) if days else again.recv(1)
        assert bool(found) is not bool(days)
    assert ("expired since it was shown" in caplog.text) is bool(days)


@pytest.mark.parametrize(
    "what",
    [b"garbage" * 9, b"\x17\x03\x03\x00\x20" + bytes(32)],
    ids=["no TLS", "no record of ours"],
)
def test_what_is_no_tls_behind_what_waits_for_an_answer(
    authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture, what: bytes
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_context(authority.path)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with (
        serving(credentials=asks(pair, authority)) as transport,
        socket.create_connection(("127.0.0.1", transport.port), 30) as connection,
    ):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
        settings = b"\0\0\0\4\0\0\0\0\0"
        tls.write(PREFACE + settings)
        # In one segment: the settings, which are to be answered, and what is none of TLS.
        connection.sendall(outgoing.read() + what)
        reads_to_the_end(connection)
    assert "Traceback" not in caplog.text
    assert not [each for each in caplog.records if each.exc_info]
