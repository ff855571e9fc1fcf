"""The same services on grpcio's own server, as an alternative; see docs/adr/0007."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from cascade_server.addresses import host_port
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.transport.server import Sharing, first_of
from cascade_server.transport.tls.credentials import Credentials

# Seconds that calls may take in a server with a successor, unless it is hurried.
LONGEST_STAY = 3600.0


class GrpcioServer:
    """`grpc.aio.server`, with the interface of `TransportServer`."""

    def __init__(self, config: ServerConfig, credentials: Credentials | None = None) -> None:
        self._credentials = None if credentials is None else grpcio_credentials(credentials)
        age = config.max_connection_age
        self._server = grpc.aio.server(
            options=(
                *(() if age is None else (("grpc.max_connection_age_ms", round(age * 1e3)),)),
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would each get part of the calls, without any error.
                ("grpc.so_reuseport", int(config.reuse_port)),
                ("grpc.max_concurrent_streams", config.max_concurrent_streams),
                # Otherwise a call counts until it is deallocated. A caller at the limit cannot
                # know when that is, and its next call would be refused.
                ("grpc.http.overload_protection", 0),
            )
        )
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: generated code calls this besides `add_generic_rpc_handlers`."""

    async def start(
        self,
        host: str,
        port: int,
        reuse_port: bool,
        sharing: Sharing | None = None,
        listener: socket.socket | None = None,
    ) -> int:
        """Start to listen; grpcio does not expose its connections, so none can be shared.

        Returns:
            The port, which matters if port 0 was requested.

        Raises:
            OSError: the address cannot be listened on.
        """
        address = host_port(host, port)
        try:
            if self._credentials is None:
                bound: int = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as exc:
            raise OSError(str(exc)) from exc
        await self._server.start()
        return bound

    def stop_accepting(self) -> None:
        """Do nothing: grpcio can only stop accepting as part of `stop`."""

    async def stop(
        self,
        grace: float,
        hurry: asyncio.Event | None = None,
        gives_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Accept no new calls, and end once those in flight have; as `TransportServer.stop`."""
        if hurry is not None and not hurry.is_set():
            ended = asyncio.create_task(self._server.stop(LONGEST_STAY))
            await first_of(asyncio.shield(ended), hurry.wait())
            if ended.done():
                return
        timer = asyncio.get_running_loop().call_later(grace, gives_up)
        await self._server.stop(grace)
        timer.cancel()


def grpcio_credentials(credentials: Credentials) -> grpc.ServerCredentials:
    """Convert credentials for grpcio's TLS, which fetches the newest with each connection.

    Raises:
        ConfigError: grpcio does not support one of the settings.
    """
    clients = credentials.files.clients
    if clients == "optional":
        raise ConfigError(
            "tls_client_certificates is optional, and transport is grpcio, which asks everybody or "
            "nobody; allowed beside it: none or required"
        )
    if credentials.files.minimum != "1.2":
        raise ConfigError(
            f"tls_minimum_version is {credentials.files.minimum}, and transport is grpcio, which "
            "chooses by itself; allowed beside it: 1.2"
        )
    told = credentials.pem

    def configuration() -> grpc.ServerCertificateConfiguration:
        pem = credentials.pem
        return grpc.ssl_server_certificate_configuration(
            [(pem.key, pem.certificate)], root_certificates=pem.client_ca
        )

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal told
        if credentials.pem is told:
            return None
        told = credentials.pem
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(), newest, require_client_authentication=clients == "required"
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a log record of gRPC's is worth keeping.

    Answering a call that has ended meanwhile, because its deadline passed or its caller hung up,
    fails. Under overload that is every other call, and each would log a stack trace.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, grpc.aio.InternalError)
