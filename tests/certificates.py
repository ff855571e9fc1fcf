"""Certificates for tests: authorities, and what they sign, made anew each time."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM and as files.

    Attributes:
        ends: when it expires, seconds since 1970.
    """

    certificate: Path
    key: Path
    ends: float

    def replaces(self, other: Pair) -> None:
        """Put these in the place of others, as programs that renew certificates do."""
        self.key.replace(other.key)
        self.certificate.replace(other.certificate)


class Authority:
    """Who signs; `path` is its own certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._made = folder, 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(PEM))

    def signs(
        self,
        common_name: str,
        names: Sequence[str] = (),
        days: float = 30,
        uri: str | None = None,
    ) -> Pair:
        """A certificate for some names.

        Args:
            common_name: of its subject.
            names: hosts and addresses.
            days: that it holds from now on; negative: it has expired that long ago.
            uri: another name, as SPIFFE's.
        """
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        ends = (now + days * DAY).replace(microsecond=0)
        alternative: list[x509.GeneralName] = []
        if uri is not None:
            alternative.append(x509.UniformResourceIdentifier(uri))
        for name in names:
            try:
                alternative.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternative.append(x509.DNSName(name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, ends) - DAY)
            .not_valid_after(ends)
        )
        if alternative:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternative), critical=False
            )
        made = builder.sign(self._key, hashes.SHA256())
        self._made += 1
        stem = f"{self.path.stem}-{self._made}"
        pair = Pair(self._folder / f"{stem}.crt", self._folder / f"{stem}.key", ends.timestamp())
        pair.certificate.write_bytes(made.public_bytes(PEM))
        pair.key.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return pair

    def server(self, days: float = 30) -> Pair:
        """For a server on this machine."""
        return self.signs("server", ("localhost", "127.0.0.1"), days)


def client_context(
    ca: Path, shows: Pair | None = None, alpn: tuple[str, ...] = ("h2",)
) -> ssl.SSLContext:
    """Of a client that trusts an authority and may have a certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(list(alpn))
    if shows is not None:
        context.load_cert_chain(shows.certificate, shows.key)
    return context
