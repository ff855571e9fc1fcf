"""grpcio's own server with the same certificate, and what it cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.transport.grpcio_server import GrpcioServer
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.files import TlsFiles

from tests.certificates import Authority, Pair
from tests.server.transport.serving import SERVICE, Service
from tests.server.transport.tls.test_credentials import install, installed

CONFIG = ServerConfig(transport="grpcio")


@asynccontextmanager
async def serving(credentials: Credentials) -> AsyncIterator[int]:
    server = GrpcioServer(CONFIG, credentials)
    server.add_generic_rpc_handlers((Service().handlers(),))
    port = await server.start("127.0.0.1", 0, False)
    try:
        yield port
    finally:
        await server.stop(0)


async def ask(port: int, ca: Path, shows: Pair | None = None) -> bytes:
    mine = () if shows is None else (shows.key.read_bytes(), shows.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *mine)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        said: bytes = await channel.unary_unary(f"/{SERVICE}/Names")(b"", timeout=30)
        return said


async def test_a_certificate_says_who_asks(authority: Authority, pair: Pair) -> None:
    files = TlsFiles(pair.certificate, pair.key, authority.path, "required")
    async with serving(Credentials(files)) as port:
        shows = authority.signs("scoring", ("scoring.bank",))
        assert await ask(port, authority.path, shows) == b"(True, 'scoring.bank', 'scoring')"
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, authority.path)


async def test_the_newest_certificate_is_shown(
    tmp_path: Path, authority: Authority, stranger: Authority, pair: Pair
) -> None:
    files = installed(tmp_path, pair)
    credentials = Credentials(files)
    async with serving(credentials) as port:
        assert await ask(port, authority.path) == b"(True,)"
        install(files, stranger.server())
        assert credentials.look(at_once=True)
        assert await ask(port, stranger.path) == b"(True,)"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"clients": "optional"}, "tls_client_certificates is optional.*none or required"),
        ({"minimum": "1.3"}, "tls_minimum_version is 1.3.*allowed beside it: 1.2"),
    ],
)
def test_what_it_does_not_have_is_refused(
    authority: Authority, pair: Pair, more: dict[str, Any], said: str
) -> None:
    credentials = Credentials(TlsFiles(pair.certificate, pair.key, authority.path, **more))
    with pytest.raises(ConfigError, match=said):
        GrpcioServer(CONFIG, credentials)
