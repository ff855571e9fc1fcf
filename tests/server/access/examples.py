"""Tenants, keys and an issuer for tests of access."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cascade_server.access.access import Access
from cascade_server.access.grants import Issuer
from cascade_server.access.keys import KeyRecord, new_key
from cascade_server.counts.shared.tenant_counts import TenantCounts
from cascade_server.memory import Memory
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://login.bank.example"
AUDIENCE = "cascade"
BANK = Issuer("bank", ISSUER, AUDIENCE, ("RS256", "ES256"), leeway=10)


@cache
def key_of(name: str) -> tuple[str, KeyRecord]:
    """A key that is always the same in a run, and its record."""
    return new_key()


def lines(name: str, **more: Any) -> str:
    """A key's lines in a file, as one list of YAML."""
    _, record = key_of(name)
    content = {"id": record.id, "sha256": record.sha256.hex(), **more}
    return "[" + json.dumps(content).replace('"id"', "id").replace('"sha256"', "sha256") + "]"


class Clock:
    """Time that a test lets pass, in Unix seconds; the machine's clock goes with it."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def nanoseconds(self) -> int:
        return round(1e9 * self.now)


class Peer:
    """The other end of a connection."""

    def __init__(self, address: str = "ipv4:10.0.0.1:50000", *names: str) -> None:
        self.address, self.certificate_names = address, names


def access_of(text: str, folder: Path, clock: Clock, place: int = 0, **more: Any) -> Access:
    """What decides by a file of some text.

    Args:
        text: YAML.
        folder: where the file is made.
        clock: of all times.
        place: of the process.
        more: as `Access`, or `counts`, which processes share.
    """
    path = folder / "access.yaml"
    path.write_text(text)
    counts = more.pop("counts", None) or TenantCounts(2, Memory())
    return Access(path, counts.of(place), clock.nanoseconds, clock, **more)


def headers(secret: str = "", **more: str) -> tuple[tuple[bytes, bytes], ...]:
    """A call's headers."""
    fields = {":path": "/any", "te": "trailers", **more}
    if secret:
        fields["authorization"] = f"Bearer {secret}"
    return tuple((name.encode(), value.encode()) for name, value in fields.items())


@cache
def rsa_key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(private: Any, kid: str, **more: Any) -> Mapping[str, Any]:
    """The public part of a key, as an issuer publishes it."""
    public = private.public_key()
    is_curve = isinstance(public, ec.EllipticCurvePublicKey)
    kind: Any = jwt.algorithms.ECAlgorithm if is_curve else jwt.algorithms.RSAAlgorithm
    return {**kind.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", **more}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def token(
    now: float, kid: str = "one", algorithm: str = "RS256", key: Any = None, **more: Any
) -> str:
    """A token of the bank's; more: claims, None leaves one out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, "sub": "svc", **more}
    claims = {name: value for name, value in claims.items() if value is not None}
    private = key if key is not None else rsa_key()
    return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": kid} if kid else {})
