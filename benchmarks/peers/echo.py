"""The floor: a bare grpc.aio server under uvloop whose answers have a given size.

    python -m benchmarks.peers.echo --answer-bytes 900
    python -m benchmarks.peers.echo --answer-bytes 900 --own     this project's transport instead

Any method is answered (of our transport: `Synthesize`); the first line it prints is where it
listens.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
from cascade_loadtest.requests import SYNTHESIZE
from cascade_server.transport import Arrival, TransportServer
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.files import TlsFiles


def command(answer_bytes: int, *options: str) -> tuple[str, ...]:
    """What starts it in a process of its own."""
    size = ("--answer-bytes", str(answer_bytes))
    return (sys.executable, "-m", "benchmarks.peers.echo", *size, *options)


class Echo(grpc.GenericRpcHandler):
    """Answers every unary call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def _call(self, _message: bytes, _context: Any) -> bytes:
        return self._answer

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._call)


class Same:
    """Answers calls with the same bytes, as they come."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def admit(self, *_: Any) -> None:
        """Let every call wait for its turn: an echo is never behind."""

    def came(self, arrival: Arrival) -> None:
        if arrival.open():
            arrival.ends(self._answer)


async def serve_own(answer: bytes, files: TlsFiles | None) -> None:
    """Until the process is ended."""
    credentials = None if files is None else Credentials(files)
    server = TransportServer({SYNTHESIZE: Same(answer)}, credentials=credentials)
    port = await server.start("127.0.0.1", 0, reuse_port=False)
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


async def serve(answer: bytes, files: TlsFiles | None) -> None:
    """Until the process is ended."""
    server = grpc.aio.server(handlers=(Echo(answer),))
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.echo")
    parser.add_argument("--answer-bytes", type=int, required=True)
    parser.add_argument("--own", action="store_true", help="this project's transport")
    parser.add_argument("--certificate", type=Path, help="over TLS")
    parser.add_argument("--key", type=Path)
    options = parser.parse_args()
    answering = serve_own if options.own else serve
    files = None if options.key is None else TlsFiles(options.certificate, options.key)
    uvloop.run(answering(bytes(options.answer_bytes), files))


if __name__ == "__main__":
    main()
