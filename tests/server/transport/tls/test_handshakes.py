"""Connections over TLS, with real handshakes: who is let in, who is not, and whom that harms."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_server.transport.http2.frames import PREFACE
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.files import TlsFiles

from tests.certificates import Authority, Pair, client_context
from tests.integration.serving import until
from tests.server.transport.peer import Peer, request
from tests.server.transport.serving import SERVICE, Serving, serving

NAMES = f"/{SERVICE}/Names"


def asks(server: Pair, authority: Authority, clients: str = "optional", **more: Any) -> Credentials:
    files = TlsFiles(server.certificate, server.key, authority.path, clients, **more)
    return Credentials(files)


@pytest.fixture
def optional(pair: Pair, authority: Authority) -> Iterator[Serving]:
    """Asks for a certificate, and lets in who has none."""
    with serving(credentials=asks(pair, authority)) as found:
        yield found


@pytest.fixture
def required(pair: Pair, authority: Authority) -> Iterator[Serving]:
    with serving(credentials=asks(pair, authority, "required")) as found:
        yield found


def ask(transport: Serving, ca: Path, shows: Pair | None = None) -> bytes:
    """Over grpcio's client: whom the server takes it for."""
    mine = () if shows is None else (shows.key.read_bytes(), shows.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *mine)
    with grpc.secure_channel(transport.target, credentials) as channel:
        said: bytes = channel.unary_unary(NAMES)(b"", timeout=30)
        return said


def reads_to_the_end(connection: socket.socket) -> bytes:
    """What comes before the server closes."""
    found = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := connection.recv(65_536):
            found += more
    return found


class TestWhoIsLetIn:
    """By what a client trusts and shows."""

    def test_who_trusts_the_server_without_a_certificate(
        self, optional: Serving, authority: Authority
    ) -> None:
        assert ask(optional, authority.path) == b"(True,)"

    def test_a_certificate_says_who_asks(self, required: Serving, authority: Authority) -> None:
        shows = authority.signs("scoring", ("scoring.bank",), uri="spiffe://bank/scoring")
        names = b"(True, 'spiffe://bank/scoring', 'scoring.bank', 'scoring')"
        assert ask(required, authority.path, shows) == names

    def test_an_optional_one_does_too(self, optional: Serving, authority: Authority) -> None:
        assert ask(optional, authority.path, authority.signs("me")) == b"(True, 'me')"

    def test_calls_that_are_taken_together_know_it_at_their_headers(
        self, required: Serving, authority: Authority
    ) -> None:
        tls = client_context(authority.path, authority.signs("me"))
        with Peer(required.port, tls=tls) as peer:
            assert peer.call("Grouped", b"x").messages == [b"here"]
        (told,) = required.group.peers
        assert told.certificate_names == ("me",)
        assert told.is_encrypted
        assert told.host == "127.0.0.1"

    @pytest.mark.parametrize(
        ("shown", "said"),
        [
            ("nothing", "it has shown no certificate"),
            ("a stranger's", "its certificate is refused: unable to get local issuer certificate"),
            ("an old one", "its certificate is refused: certificate has expired"),
        ],
    )
    def test_who_is_not(
        self,
        required: Serving,
        authority: Authority,
        stranger: Authority,
        caplog: pytest.LogCaptureFixture,
        shown: str,
        said: str,
    ) -> None:
        shows = {
            "nothing": None,
            "a stranger's": stranger.signs("me"),
            "an old one": authority.signs("me", days=-1),
        }[shown]
        context = client_context(authority.path, shows)
        # Of TLS 1.3 the client's side is over before the server has seen what it shows: the alert
        # comes in the place of an answer.
        with Peer(required.port, tls=context) as peer, pytest.raises(ssl.SSLError, match="ALERT"):
            peer.until(lambda: False)
        until(lambda: said in caplog.text)
        mine = authority.signs("me")
        assert ask(required, authority.path, mine) == b"(True, 'me')"

    def test_an_optional_certificate_has_to_be_a_good_one(
        self, optional: Serving, authority: Authority, stranger: Authority
    ) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            ask(optional, authority.path, stranger.signs("me"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]

    def test_who_trusts_somebody_else_goes_away(
        self, optional: Serving, authority: Authority, stranger: Authority
    ) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            ask(optional, stranger.path)
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
        assert ask(optional, authority.path) == b"(True,)"

    def test_an_old_version_of_tls_is_not_spoken(
        self, pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = client_context(authority.path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with serving(credentials=asks(pair, authority, minimum="1.3")) as transport:
            with pytest.raises(ssl.SSLError), Peer(transport.port, tls=old):
                pass
            assert ask(transport, authority.path) == b"(True,)"
        assert "no version of TLS that is allowed" in caplog.text

    def test_tls_1_2_has_forward_secrecy(self, optional: Serving, authority: Authority) -> None:
        old = client_context(authority.path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with Peer(optional.port, tls=old) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            cipher, _, _ = peer.socket.cipher() or ("", "", 0)
            assert cipher.startswith("ECDHE-")
            assert peer.call("Echo", b"x").messages == [b"x"]
        weak = client_context(authority.path)
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA")
        with pytest.raises(ssl.SSLError), Peer(optional.port, tls=weak):
            pass

    def test_who_does_not_ask_for_http_2_is_not_gone_on_with(
        self, optional: Serving, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        for alpn in ((), ("http/1.1",)):
            context = client_context(authority.path, alpn=alpn)
            with (
                socket.create_connection(("127.0.0.1", optional.port), timeout=20) as raw,
                context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
            ):
                assert reads_to_the_end(connection) == b""
        until(lambda: "ALPN" in caplog.text)


class TestWhatIsNone:
    """What comes to a port of TLS and is none harms nobody, and is written down."""

    @pytest.mark.parametrize(
        ("sent", "said"),
        [
            (PREFACE, "HTTP/2 in the clear"),
            (PREFACE[:10], "HTTP/2 in the clear"),
            (b"GET / HTTP/1.1\r\n\r\n", "HTTP in the clear"),
            (b"\0" * 100, "is not TLS"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "is not TLS"),
            (b"\x16\x03\x01\xff\xff" + b"\xff" * 100, "packet length too long"),
            (b"\x16\x03\x01", "during the handshake"),
        ],
    )
    def test_it_is_said_what_it_was(
        self,
        optional: Serving,
        authority: Authority,
        caplog: pytest.LogCaptureFixture,
        sent: bytes,
        said: str,
    ) -> None:
        with socket.create_connection(("127.0.0.1", optional.port), timeout=20) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            reads_to_the_end(connection)
        until(lambda: said in caplog.text)
        assert ask(optional, authority.path) == b"(True,)"
        assert all(each.levelno < logging.ERROR for each in caplog.records)

    def test_a_client_of_grpc_without_tls_is_told_so(self, optional: Serving) -> None:
        with (
            grpc.insecure_channel(optional.target) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            channel.unary_unary(NAMES)(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]

    def test_who_only_knocks_is_not_written_down(
        self, optional: Serving, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Balancers and monitors open a connection every second, to see whether they can."""
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", optional.port), timeout=20):
                pass
        assert ask(optional, authority.path) == b"(True,)"
        assert caplog.records == []

    def test_tls_to_a_port_without_is_told_of(
        self, transport: Serving, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(ssl.SSLError), Peer(transport.port, tls=client_context(authority.path)):
            pass
        until(lambda: "but TLS, which this port does not speak" in caplog.text)

    def test_a_handshake_without_end(
        self, optional: Serving, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Records that announce more and more of a message, which OpenSSL would wait for."""
        record = b"\x16\x03\x01\x40\x00"
        first = b"\x01\x01\xff\xff" + bytes(0x4000 - 4)
        with socket.create_connection(("127.0.0.1", optional.port), timeout=20) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(record + first)
                for _ in range(100):
                    connection.sendall(record + bytes(0x4000))
            reads_to_the_end(connection)
        assert ask(optional, authority.path) == b"(True,)"


class TestBounds:
    """How long a handshake may take, and how many there may be."""

    def test_a_slow_one_ends(
        self, pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            serving(credentials=asks(pair, authority), handshake_seconds=0.2) as transport,
            socket.create_connection(("127.0.0.1", transport.port), timeout=20) as slow,
        ):
            slow.sendall(b"\x16\x03\x01")
            assert reads_to_the_end(slow) == b""
        assert "no handshake within 0.2 s" in caplog.text

    def test_so_does_one_that_stops_before_http_2(self, pair: Pair, authority: Authority) -> None:
        with serving(credentials=asks(pair, authority), preface_seconds=0.2) as transport:
            context = client_context(authority.path)
            with (
                socket.create_connection(("127.0.0.1", transport.port), timeout=20) as raw,
                context.wrap_socket(raw, server_hostname="127.0.0.1") as silent,
            ):
                assert b"no HTTP/2 within" in reads_to_the_end(silent)

    def test_many_that_say_nothing_keep_nobody_out(self, pair: Pair, authority: Authority) -> None:
        with contextlib.ExitStack() as stack:
            transport = stack.enter_context(
                serving(credentials=asks(pair, authority), handshakes=4)
            )
            silent = [
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", transport.port), timeout=20)
                )
                for _ in range(20)
            ]
            assert ask(transport, authority.path) == b"(True,)"
            # Of those that came first none is left.
            for each in silent[:15]:
                assert reads_to_the_end(each) == b""

    def test_who_is_underway_is_let_finish_before_who_is_silent(
        self, pair: Pair, authority: Authority
    ) -> None:
        with contextlib.ExitStack() as stack:
            transport = stack.enter_context(
                serving(credentials=asks(pair, authority), handshakes=2)
            )
            first = stack.enter_context(
                socket.create_connection(("127.0.0.1", transport.port), timeout=20)
            )
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            mine = client_context(authority.path).wrap_bio(
                incoming, outgoing, server_hostname="127.0.0.1"
            )
            with pytest.raises(ssl.SSLWantReadError):
                mine.do_handshake()
            first.sendall(outgoing.read())
            incoming.write(first.recv(65_536))
            for _ in range(5):
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", transport.port), timeout=20)
                )
            assert ask(transport, authority.path) == b"(True,)"
            while True:
                try:
                    mine.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    incoming.write(first.recv(65_536))
            mine.write(PREFACE + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            first.sendall(outgoing.read())
            incoming.write(first.recv(65_536))
            assert len(mine.read(9)) == 9

    def test_a_server_that_stops_waits_for_none_of_them(
        self, pair: Pair, authority: Authority
    ) -> None:
        with contextlib.ExitStack() as stack:
            with serving(credentials=asks(pair, authority)) as transport:
                silent = stack.enter_context(
                    socket.create_connection(("127.0.0.1", transport.port), timeout=20)
                )
                assert ask(transport, authority.path) == b"(True,)"
            assert reads_to_the_end(silent) == b""


class TestCalls:
    """What goes over it is what goes over a plain connection."""

    def test_messages_of_any_size(self, optional: Serving, authority: Authority) -> None:
        credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
        with grpc.secure_channel(
            optional.target, credentials, [("grpc.max_receive_message_length", -1)]
        ) as channel:
            echo = channel.unary_unary(f"/{SERVICE}/Echo")
            for size in (0, 1, 16_383, 16_384, 16_385, 1_000_000, 5_000_000):
                body = bytes(size)
                assert echo(body, timeout=60) == body
            count = channel.unary_stream(f"/{SERVICE}/Count")
            assert len(list(count(b"300 20000", timeout=60))) == 300
            chat = channel.stream_stream(f"/{SERVICE}/Chat")
            sent = [bytes([number]) * 1000 for number in range(100)]
            assert list(chat(iter(sent), timeout=60)) == sent

    def test_who_does_not_read_is_not_written_for(
        self, optional: Serving, authority: Authority
    ) -> None:
        with Peer(optional.port, tls=client_context(authority.path)) as peer:
            peer.h2.increment_flow_control_window(2**30)
            stream = peer.begin(request("Count"))
            peer.h2.increment_flow_control_window(2**30, stream)
            peer.send(stream, b"\0" + (8).to_bytes(4, "big") + b"60 30000")
            # Somebody else is served meanwhile.
            assert ask(optional, authority.path) == b"(True,)"
            assert len(peer.answer(stream).messages) == 60

    def test_many_at_once(self, optional: Serving, authority: Authority) -> None:
        errors: list[BaseException] = []

        def caller() -> None:
            try:
                for _ in range(3):
                    assert ask(optional, authority.path) == b"(True,)"
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=caller) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert errors == []

    def test_what_cannot_be_decrypted(self, optional: Serving, authority: Authority) -> None:
        """A record that cannot be decrypted ends its connection, and no other."""
        with Peer(optional.port, tls=client_context(authority.path)) as peer:
            assert peer.call("Echo", b"x").messages == [b"x"]
            assert isinstance(peer.socket, ssl.SSLSocket)
            with socket.socket(fileno=peer.socket.detach()) as raw:
                raw.settimeout(20)
                raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                reads_to_the_end(raw)
        assert ask(optional, authority.path) == b"(True,)"


def test_the_newest_certificate_is_shown(tmp_path: Path, authority: Authority, pair: Pair) -> None:
    """To new connections; those that are open stay as they are, and lose no call."""
    from tests.server.transport.tls.test_credentials import install, installed

    files = installed(tmp_path, pair)
    credentials = Credentials(files)
    with serving(credentials=credentials) as transport:
        context = client_context(authority.path)
        with Peer(transport.port, tls=context) as before:
            assert serial(before) == serial_of(pair)
            new = authority.server(days=60)
            install(files, new)
            assert credentials.look(at_once=True)
            with Peer(transport.port, tls=context) as after:
                assert serial(after) == serial_of(new)
                assert after.call("Echo", b"x").messages == [b"x"]
            assert before.call("Echo", b"y").messages == [b"y"]


def serial(peer: Peer) -> bytes:
    """What a server has shown."""
    assert isinstance(peer.socket, ssl.SSLSocket)
    return peer.socket.getpeercert(binary_form=True) or b""


def serial_of(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
