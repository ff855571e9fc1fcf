"""Whatever is sent, the server answers the others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from cascade_server.transport.http2.frames import PREFACE, frame, settings
from hpack import Encoder
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from tests.server.transport.peer import Peer, message, request
from tests.server.transport.serving import Serving, serving

HEAD = Encoder().encode(request("Echo"))
PAYLOADS = st.one_of(
    st.binary(max_size=40), st.just(HEAD), st.just(message(b"x")), st.just(b"\0" * 8)
)
FRAMES = st.lists(
    st.builds(frame, st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), PAYLOADS),
    max_size=12,
)


@pytest.fixture(scope="module")
def transport() -> Iterator[Serving]:
    with serving() as found:
        yield found


def survives(transport: Serving, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with (
        socket.create_connection(("127.0.0.1", transport.port), timeout=20) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    with Peer(transport.port) as peer:
        assert peer.call("Echo", b"well").messages == [b"well"]
    # Not so much as an exception that asyncio would have written down, but that it was nothing.
    said = [each for each in caplog.records if "has come to nothing" not in each.message]
    assert said == []


MANY = how(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@MANY
@given(st.binary(max_size=300))
def test_bytes(transport: Serving, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    survives(transport, sent, caplog)


@MANY
@given(st.binary(max_size=300))
def test_bytes_after_the_preface(
    transport: Serving, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    survives(transport, PREFACE + settings({}) + sent, caplog)


@MANY
@given(FRAMES)
def test_frames(transport: Serving, caplog: pytest.LogCaptureFixture, sent: list[bytes]) -> None:
    survives(transport, PREFACE + settings({}) + b"".join(sent), caplog)
