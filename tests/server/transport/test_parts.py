"""Messages in several places of memory: the same to who reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.transport import Parts, TransportServer
from cascade_server.transport.grpcio_server import GrpcioServer

NAME = "test.Large"


def parts(size: int) -> Parts:
    """A message of which every byte says where it is."""
    content = bytes(at * 31 % 251 for at in range(size))
    third = size // 3
    rest = (content[7:third], b"", content[third : 2 * third], content[2 * third :])
    return Parts(content[:7], [memoryview(each) for each in rest])


async def give(message: bytes, context: Any) -> AsyncIterator[Parts]:
    for size in map(int, message.split()):
        yield parts(size)


HANDLERS = grpc.method_handlers_generic_handler(
    NAME, {"Give": grpc.unary_stream_rpc_method_handler(give, response_serializer=bytes)}
)


def test_they_are_one_message() -> None:
    assert bytes(parts(100)) == bytes(at * 31 % 251 for at in range(100))
    assert len(parts(100)) == 100
    assert all(len(each) for each in parts(100).rest)


@pytest.mark.parametrize("kind", [TransportServer, GrpcioServer])
@pytest.mark.parametrize("window", [0, 65_536], ids=["any window", "a small window"])
async def test_whoever_reads_them_has_every_byte(kind: type, window: int) -> None:
    """Smaller and larger than frames, than windows, and than what the system takes at once."""
    server = kind({}) if kind is TransportServer else kind(ServerConfig(transport="grpcio"))
    server.add_generic_rpc_handlers((HANDLERS,))
    port = await server.start("127.0.0.1", 0, False)
    options = [("grpc.max_receive_message_length", -1)]
    if window:
        options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", window)]
    sizes = (21, 1000, 16_384, 70_000, 1_000_003, 3_000_000, 50)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.unary_stream(f"/{NAME}/Give")(" ".join(map(str, sizes)).encode())
        found = [each async for each in call]
    assert found == [bytes(parts(size)) for size in sizes]
    await server.stop(0)
