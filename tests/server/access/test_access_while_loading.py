"""Who is taken out of the file while a process loads is not let in by it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.server import Server

from tests.server.access.examples import key_of, lines

FILE = """
tenants:
  fraud:
    keys: {keys}
    tables: [payments]
    may: [synthesize]
"""


async def test_the_file_is_followed_from_before_anything_is_loaded(
    repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(FILE.format(keys=lines("old")))
    loading, go_on = threading.Event(), threading.Event()

    def report(_: Any) -> None:
        loading.set()
        assert go_on.wait(60)

    server = Server(ServerConfig(repository=repository, port=0, access=path), report)
    assert server.access is not None
    preparing = asyncio.create_task(server.prepare(None))
    try:
        await asyncio.to_thread(loading.wait, 60)
        path.write_text(FILE.format(keys=lines("new")))
        server.look_at_files()  # as SIGHUP has it
        while not server.access.reloads:
            await asyncio.sleep(0.01)
    finally:
        go_on.set()
    await preparing
    await server.take_over()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/cascade.v1.Synthesis/ListTables")
        assert await call(b"", metadata=_shown("new"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=_shown("old"))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await server.shutdown()


def _shown(name: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key_of(name)[0]}"),)
