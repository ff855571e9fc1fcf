"""Where a server is said to be, and what is said where nobody is."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import grpc
import pytest
from cascade_client import AsyncClient, Client, InvalidRequest, Retry, Unavailable
from cascade_client.errors import CascadeError
from cascade_client.testing import FakeServer


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("localhost", "localhost:8470"),
        ("db.example.org", "db.example.org:8470"),
        ("127.0.0.1", "127.0.0.1:8470"),
        ("[::1]", "[::1]:8470"),
        ("localhost:1234", "localhost:1234"),
        ("[::1]:1234", "[::1]:1234"),
        ("unix:/run/cascade.sock", "unix:/run/cascade.sock"),
        ("dns:///db.example.org:1", "dns:///db.example.org:1"),
    ],
)
async def test_a_host_without_a_port_has_the_servers(target: str, asked: str) -> None:
    with Client(target) as client:
        assert client.target == asked
    async with AsyncClient(target) as other:
        assert other.target == asked


@pytest.mark.parametrize(
    ("target", "asked"),
    [("cascade.example.com", "cascade.example.com"), ("localhost:8470", "localhost:8470")],
)
async def test_with_credentials_the_port_is_https(target: str, asked: str) -> None:
    credentials = grpc.ssl_channel_credentials()
    with Client(target, credentials=credentials) as client:
        assert client.target == asked
    async with AsyncClient(target, credentials=credentials) as other:
        assert other.target == asked


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("target", ["http://localhost:8470", "grpc://localhost:1", "", None, 8470])
def test_what_is_no_address_is_refused_at_once(kind: type, target: object) -> None:
    with pytest.raises(InvalidRequest, match=r"HOST:PORT is allowed, such as '127.0.0.1:8470'"):
        kind(target)


def test_of_a_channel_of_ones_own_it_is_a_name() -> None:
    with FakeServer({"people": [{"age": 1}]}).client() as client:
        assert client.target == "fake server"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def test_where_nobody_is_that_is_said(nobody: str) -> None:
    with (
        Client(nobody, retry=Retry(attempts=1)) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.tables()
    assert str(caught.value) == f"{nobody}: nobody answers there (Connection refused)"


def test_all_of_it_is_in_the_tree(nobody: str) -> None:
    with Client(nobody, retry=Retry(attempts=1)) as client:
        for ask in (
            lambda: client.generate("people", 1),
            lambda: client.complete([{"age": None}]),
            lambda: client.submit("people", 1),
            lambda: client.job("1"),
        ):
            with pytest.raises(CascadeError, match=nobody):
                ask()
