"""The floor: a bare grpc.aio server under uvloop whose answers have a given size.

    python -m benchmarks.echo --answer-bytes 900

Any method is answered; the first line it prints is where it listens.
"""

from __future__ import annotations

import argparse
from typing import Any

import grpc
import uvloop


class Echo(grpc.GenericRpcHandler):
    """Answers every unary call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def _call(self, _message: bytes, _context: Any) -> bytes:
        return self._answer

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._call)


async def serve(answer: bytes) -> None:
    """Until the process is ended."""
    server = grpc.aio.server(handlers=(Echo(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.echo")
    parser.add_argument("--answer-bytes", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(serve(bytes(options.answer_bytes)))


if __name__ == "__main__":
    main()
