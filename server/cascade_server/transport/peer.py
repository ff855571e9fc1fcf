"""The other end of a connection: its address, and the names in its certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The parts of a subject alternative name that identify a client, as `ssl` calls them.
NAMING = ("URI", "DNS", "email", "IP Address")
COMMON_NAME = "commonName"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: as gRPC writes one, "ipv4:10.0.0.7:52000"; "" over a Unix socket.
        certificate_names: the names in the client's verified certificate: its subject alternative
            names in their order, then its common name; empty if it showed none. They are as
            trustworthy as the authorities in `tls_client_ca`.
        is_encrypted: whether the connection uses TLS.
    """

    address: str = ""
    certificate_names: tuple[str, ...] = ()
    is_encrypted: bool = False

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.partition(":")[2].rpartition(":")[0]


NOBODY = Peer()


def certificate_names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the names in a verified certificate, each once.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` returns it; None or empty: there is none, or it
            has not been verified.
    """
    if not certificate:
        return ()
    alternative = (value for kind, value in certificate.get("subjectAltName", ()) if kind in NAMING)
    subject = (pair for attributes in certificate.get("subject", ()) for pair in attributes)
    common = (value for name, value in subject if name == COMMON_NAME)
    return _once((*alternative, *common))


def peer_of(context: Any) -> Peer:
    """Return the other end of a handler's call, over this server's transport or over grpcio's.

    Args:
        context: the handler's context.
    """
    sender = getattr(context, "sender", None)
    if isinstance(sender, Peer):
        return sender
    known: Mapping[str, Iterable[bytes]] = context.auth_context()
    names = (
        *known.get("x509_subject_alternative_name", ()),
        *known.get("x509_common_name", ()),
    )
    texts = _once(name.decode("utf-8", "replace") for name in names)
    is_encrypted = b"ssl" in known.get("transport_security_type", ())
    return Peer(context.peer(), texts, is_encrypted)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
