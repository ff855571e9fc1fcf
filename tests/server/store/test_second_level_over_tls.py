"""The shared cache over `rediss://`: a real Valkey, behind what speaks TLS for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cascade_server.errors import ConfigError
from cascade_server.store.second_level import SecondLevel

from tests.certificates import Authority
from tests.server.store.test_second_level import KEY, PATIENT, written
from tests.server.store.valkey import Valkey, valkey


@asynccontextmanager
async def behind_tls(server: Valkey, authority: Authority, asks: bool) -> AsyncIterator[int]:
    """A port that speaks TLS, as stunnel does; Valkey from the wheel is built without it."""
    pair = authority.server()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while content := await source.read(65_536):
            target.write(content)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(server.socket))
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    listener = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def asked(url: str) -> tuple[bytes | None, dict[str, int]]:
    """What comes back of what was written, and what has failed."""
    level = SecondLevel(url, 60.0, PATIENT)
    level.put(KEY, b"answer")
    await written(level)
    found = await level.get(KEY, 60.0)
    failures = {why: count for why, count in level.failures.items() if count}
    await level.close()
    return found and found.content, failures


@pytest.mark.parametrize("asks", [False, True])
async def test_an_answer_is_read_back(tmp_path: Path, asks: bool) -> None:
    authority = Authority(tmp_path)
    mine = authority.signs("cascade")
    with valkey() as server:
        async with behind_tls(server, authority, asks) as port:
            url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.path}"
            if asks:
                url += f"&ssl_certfile={mine.certificate}&ssl_keyfile={mine.key}"
            assert await asked(url) == (b"answer", {})


async def test_who_is_not_trusted_is_not_asked(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    with valkey() as server:
        async with behind_tls(server, authority, False) as port:
            url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={stranger.path}"
            found, failures = await asked(url)
            assert found is None
            assert failures


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_said_before_anything_is_served(
    tmp_path: Path, name: str
) -> None:
    url = f"rediss://me:secret@127.0.0.1:6379/0?{name}={tmp_path}/none.pem"
    with pytest.raises(ConfigError, match=f"cache_url has {name}=.*none.pem") as caught:
        SecondLevel(url, 60.0, PATIENT)
    assert "secret" not in str(caught.value)
