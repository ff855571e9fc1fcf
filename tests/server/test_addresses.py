"""Addresses as they are shown, and as clients take them."""

from __future__ import annotations

import socket

import grpc
import pytest
from cascade_server.addresses import host_port
from cascade_server.config import ServerConfig
from cascade_server.transport.grpcio_server import GrpcioServer

from tests.typed import SOON


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1:8470"),
        ("localhost", "localhost:8470"),
        ("::1", "[::1]:8470"),
        ("fe80::1%eth0", "[fe80::1%eth0]:8470"),
        ("[::1]", "[::1]:8470"),
    ],
)
def test_what_has_colons_is_in_brackets(host: str, shown: str) -> None:
    assert host_port(host, 8470) == shown


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_grpcio_listens_where_others_do(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    server = GrpcioServer(ServerConfig())
    port = await server.start(host, 0, False)
    async with grpc.aio.insecure_channel(host_port(host, port)) as channel:
        await channel.channel_ready()
    await server.stop(SOON)
