"""How a client speaks TLS: whom it trusts, and what it shows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import grpc

from cascade_client.errors import InvalidRequest

# A file of PEM, or what is in one.
Pem: TypeAlias = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Tls:
    """How to speak TLS with a server; `Tls()` trusts the public authorities and shows nothing.

    >>> Client("cascade.bank:8470", tls=Tls(ca="ca.pem"))
    >>> Client("cascade.bank:8470", tls=Tls("ca.pem", certificate="me.crt", key="me.key"))

    Files are read when a client is made. A program that outlives its certificate makes another
    client when that is renewed: a connection stays as it was made.

    Attributes:
        ca: who vouches for the server, a file of PEM (a path) or its content (bytes); None: the
            public authorities that gRPC knows.
        certificate: what is shown to a server that asks who calls, likewise; None: nothing is.
        key: its private key, without a passphrase.
        server_name: what the server's certificate is to name, where that is not the target's host:
            a server that is reached by an address, or through a tunnel.

    Raises:
        InvalidRequest: a certificate without a key, or a key without a certificate; by the client
            that is made with it: a file cannot be read.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            allowed = str if each.name == "server_name" else (str, os.PathLike, bytes)
            if value is not None and (not isinstance(value, allowed) or not value):
                what = "a name" if each.name == "server_name" else "a path, or PEM as bytes"
                raise InvalidRequest(f"tls.{each.name} is {_shown(value)}; {what} is allowed")
        if (self.certificate is None) != (self.key is None):
            has, lacks = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise InvalidRequest(f"tls.{has} is given and tls.{lacks} is not; each needs the other")

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them.

        Raises:
            InvalidRequest: a file cannot be read, or is not PEM.
        """
        return grpc.ssl_channel_credentials(
            _content("ca", self.ca, "CERTIFICATE-----"),
            _content("key", self.key, "PRIVATE KEY-----"),
            _content("certificate", self.certificate, "CERTIFICATE-----"),
        )

    def options(self) -> tuple[tuple[str, Any], ...]:
        """The channel arguments of gRPC that these settings need."""
        if self.server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)


def checked_tls(tls: Tls | bool, credentials: grpc.ChannelCredentials | None) -> Tls | None:
    """What a client was given as `tls`; None: it speaks no TLS, or has credentials of its own.

    Raises:
        InvalidRequest: it is neither, or both were given.
    """
    if not isinstance(tls, Tls | bool):
        raise InvalidRequest(f"tls is {tls!r}; True, False or Tls(...) is allowed")
    if tls is False:
        return None
    if credentials is not None:
        raise InvalidRequest(
            "tls and credentials are both given; one of them says how to speak TLS"
        )
    return Tls() if tls is True else tls


def _content(name: str, given: Pem | None, holds: str) -> bytes | None:
    if given is None:
        return None
    where = "PEM given as bytes" if isinstance(given, bytes) else os.fspath(given)
    if isinstance(given, bytes):
        content = given
    else:
        try:
            with open(given, "rb") as file:
                content = file.read()
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise InvalidRequest(f"tls.{name} is {where}, which cannot be read: {why}") from exc
    # gRPC takes anything, and says so only when it connects.
    if holds.encode() not in content:
        kind = "private key" if "KEY" in holds else "certificate"
        raise InvalidRequest(f"tls.{name} is {where}, which holds no {kind}; PEM is allowed")
    return content


def _shown(value: object) -> str:
    return "empty" if isinstance(value, str | bytes) and not value else type(value).__name__
