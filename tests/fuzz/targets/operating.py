"""What whoever runs a server writes for it, and tokens that its callers send."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.targets.documents import JSON_WORDS, YAML_WORDS, document

ACCESS = b"""\
tenants:
  scoring:
    keys:
      - id: csk_7f3a9c21d0b4
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        expires: 2027-06-30
    certificates: [scoring.bank.example]
    tables: [credit]
    may: [synthesize, statistics]
    rates: {requests: 500, rows: {per_second: 5000, burst: 20000}}
  research:
    tokens: [{issuer: bank, claims: {groups: synthetic-data}}]
    tables: "*"
    may: [synthesize, generate, jobs, results]
    priority: offline
    quotas: {rows: 50_000_000}
    limits: {rows: 1000, draws: 64, connections: 8}
issuers:
  bank: {issuer: "https://login.bank.example", audience: cascade, algorithms: [RS256]}
defaults:
  limits: {connections: 100}
"""
ACCESS_WORDS = (
    b"tenants", b"keys", b"sha256", b"expires", b"certificates", b"tables", b"may", b"rates",
    b"per_second", b"burst", b"tokens", b"issuer", b"claims", b"quotas", b"limits", b"priority",
    b"audience", b"algorithms", b"leeway", b"jwks", b"https://", b"none", b"HS256", b"ES256",
)  # fmt: skip
PRICES = b"""\
currency: EUR
core_hour: 0.035
gib_hour: 0.0045
gpu_hour: 0.62
reserved: {cores: 4, memory_gib: 8, gpus: 0}
bill: {provider: Example Cloud, account: "1234", region: eu-west-1}
"""
TRACE = (
    b'{"at": 0.0153, "table": "credit", "given": {"age": 25}, "draws": 1, "deadline": 0.05}\n'
    b'{"at": 0.0391, "table": "credit", "given": ["age", "limit_bal"], "draws": 16}\n'
)
QUOTAS = b'{"day": 20790, "tenants": {"research": [10, 2000000]}}'
ISSUER, AUDIENCE, ALGORITHM = "https://login.bank.example", "cascade", "RS256"


def _access(path: Path) -> None:
    from cascade_server.access.access_file import load_access
    from cascade_server.access.commands import described

    for tenant in load_access(path).tenants.values():
        described(tenant.grant)


def _prices(path: Path) -> None:
    from cascade_cost.focus import as_csv
    from cascade_cost.prices import load_prices
    from cascade_cost.statement import statement

    from tests.cost.made_up import usage

    as_csv(statement(usage(), load_prices(path)))


def _curves(path: Path) -> None:
    from cascade_cost.curves import load_curves
    from cascade_cost.errors import NotPossible
    from cascade_cost.sizing import Load, size

    curves = load_curves(path)
    for load in (Load(500, 3, 1, 1, 0.01, 0), Load(2000, 24, 8, 32, 1.0, 24)):
        with contextlib.suppress(NotPossible):
            size(load, curves, "credit", True)


def _trace(path: Path) -> None:
    from cascade_loadtest.schedule.traces import read_trace, write_trace

    calls = read_trace(path)
    write_trace(path, calls)
    assert len(read_trace(path)) == len(calls)


def _quotas(path: Path) -> None:
    from cascade_server.access import quotas

    quotas.load(path, quotas._decoded, "they begin anew")


@cache
def _issuer() -> tuple[bytes, Any]:
    """A public key, and a function that signs."""
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public, lambda claims: jwt.encode(claims, key, ALGORITHM).encode()


def _token() -> Callable[[bytes], None]:
    """A token of a stranger; one that holds is that of the seeds, whose payload is known."""
    from cascade_server.access.access_file import parse_access
    from cascade_server.access.tokens import TokenRefused, issuer_of, key_set_of, unverified, verify

    public, _ = _issuer()
    issuers, keys = parse_access(ACCESS.decode()).issuers, key_set_of(public)
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    def run(data: bytes) -> None:
        token = data.decode("latin1")
        with contextlib.suppress(TokenRefused):
            claims = verify(token, issuer_of(unverified(token)[1], issuers), keys, now)
            assert claims["iss"] == ISSUER
            assert token.split(".")[1] == _tokens()[0].decode().split(".")[1], "it was not signed"

    return run


@cache
def _tokens() -> list[bytes]:
    _, signed = _issuer()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": 1_800_000_000, "sub": "me", "groups": ["a"]}
    return [signed(claims)]


def _keys(path: Path) -> None:
    from cascade_server.access.tokens import key_set_of

    found = key_set_of(path.read_bytes())
    assert found.keys


def _key_sets() -> tuple[bytes, ...]:
    return (
        _issuer()[0],
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "use": "sig", "x": '
        b'"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}, {"kty": "EC", "crv": "P-256", "x": "", '
        b'"y": ""}, {"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS256"}]}',
    )


def _config_refused() -> tuple[type[Exception], ...]:
    from cascade_server.errors import ConfigError

    return (ConfigError,)


def _cost_refused() -> tuple[type[Exception], ...]:
    from cascade_cost.errors import CostError

    return (CostError,)


def _trace_refused() -> tuple[type[Exception], ...]:
    from cascade_loadtest.errors import TraceError

    return (TraceError,)


def _measured_curves() -> tuple[bytes, ...]:
    """Those that come with cascade, with few points, so that changes reach all of it."""
    import json

    from cascade_cost.curves import MEASURED

    content = json.loads(MEASURED.read_text())
    content["points"] = content["points"][:3]
    return (json.dumps(content).encode(),)


TARGETS = (
    document("access", "access.yaml", "access.yaml", _access, _config_refused, (ACCESS,),
             (*YAML_WORDS, *ACCESS_WORDS), "cascade_server.access", "cascade_tables.yaml_files"),
    Target("token", "a token of a caller, verified", _token, _tokens,
           (*JSON_WORDS, b"eyJhbGciOiJub25lIn0", b"eyJhbGciOiJIUzI1NiJ9", b".", b".."),
           ("cascade_server.access",)),
    document("key-set", "an issuer's keys: a JWK Set or PEM", "keys", _keys, lambda: (ValueError,),
             _key_sets, (*JSON_WORDS, b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN CERTIFICATE-----",
             b'"kty"', b'"RSA"', b'"EC"', b'"OKP"', b'"oct"', b'"use"', b'"key_ops"', b'"enc"'),
             "cascade_server.access.tokens"),
    document("quotas", "what tenants have used of their quotas", "quotas.json", _quotas, tuple,
             (QUOTAS,), JSON_WORDS, "cascade_server.access.quotas"),
    document("prices", "prices.yaml, and a bill with it", "prices.yaml", _prices, _cost_refused,
             (PRICES,), (*YAML_WORDS, b"1e-9", b"1e9", b"-0", b".inf", b".nan"), "cascade_cost"),
    document("curves", "measured curves, and a size by them", "curves.json", _curves, _cost_refused,
             _measured_curves, JSON_WORDS, "cascade_cost"),
    document("trace", "a trace of calls to be replayed", "calls.jsonl", _trace, _trace_refused,
             (TRACE,), JSON_WORDS, "cascade_loadtest.schedule"),
)  # fmt: skip
