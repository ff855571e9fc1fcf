"""TLS settings of a client: trusted authorities, and its own certificate."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import grpc

from cascade_client.errors import InvalidRequest

# Path of a PEM file, or its content.
Pem: TypeAlias = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Tls:
    """TLS settings; `Tls()` trusts the public authorities and sends no client certificate.

    >>> Client("cascade.bank:8470", tls=Tls(ca="ca.pem"))
    >>> Client("cascade.bank:8470", tls=Tls("ca.pem", certificate="me.crt", key="me.key"))

    Files are read when a client is created. After a certificate is renewed, a running program must
    create a new client: an existing connection keeps the old one.

    Attributes:
        ca: authorities that vouch for the server, as a PEM file (a path) or its content (bytes);
            None: the public authorities that gRPC knows.
        certificate: the client certificate, in the same form, for a server that requests one; None:
            none.
        key: its private key, without a passphrase.
        server_name: name expected in the server's certificate if it is not the target's host, for
            example for a server that is reached by an address, or through a tunnel.

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
        """Return the settings as gRPC's credentials.

        Raises:
            InvalidRequest: a file cannot be read, or is not PEM.
        """
        return grpc.ssl_channel_credentials(
            _content("ca", self.ca, "CERTIFICATE-----"),
            _content("key", self.key, "PRIVATE KEY-----"),
            _content("certificate", self.certificate, "CERTIFICATE-----"),
        )

    def options(self) -> tuple[tuple[str, Any], ...]:
        """Return the gRPC channel arguments that these settings need."""
        if self.server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)


def checked_tls(tls: Tls | bool, credentials: grpc.ChannelCredentials | None) -> Tls | None:
    """Check a client's `tls` argument; return None if it uses no TLS, or has credentials of its
    own.

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
    # gRPC accepts anything, and fails only when it connects.
    if holds.encode() not in content:
        kind = "private key" if "KEY" in holds else "certificate"
        raise InvalidRequest(f"tls.{name} is {where}, which holds no {kind}; PEM is allowed")
    return content


def _shown(value: object) -> str:
    return "empty" if isinstance(value, str | bytes) and not value else type(value).__name__
