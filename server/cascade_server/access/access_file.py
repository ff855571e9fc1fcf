"""Reads `access.yaml`: tenants, their credentials, and their permissions.

    tenants:
      fraud-scoring:
        keys:
          - {id: csk_7f3a9c21d0b4, sha256: 5f2c..., expires: 2027-06-30}
        certificates: [scoring.bank.example]
        tables: [credit]
        may: [synthesize, statistics]
        rates: {requests: 500, rows: 5000}
      research:
        tokens:
          - {issuer: bank, claims: {groups: synthetic-data}}
        tables: "*"
        may: [synthesize, generate, jobs, results]
        priority: offline
        quotas: {rows: 50_000_000}
        limits: {rows: 1000, draws: 64, connections: 8}
    issuers:
      bank: {issuer: "https://login.bank.example", audience: cascade, algorithms: [RS256]}
    defaults:
      limits: {connections: 100}

The file allows only what it names. A file with a misspelt word is refused, and a tenant without
tables or kinds of calls may use none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cascade_tables.errors import FileRefused, listing
from cascade_tables.value_reader import where

from cascade_server.access.grants import (
    AccessConfig,
    Grant,
    Issuer,
    Kind,
    Rate,
    Tenant,
    TokenRule,
)
from cascade_server.access.keys import DIGEST, ID, KeyRecord
from cascade_server.access.reading import Reader
from cascade_server.counts.shared.last_good import LastGood
from cascade_server.errors import ConfigError
from cascade_server.terms import Priority

if TYPE_CHECKING:
    from cascade_tables.yaml_files import Place

ALL = "*"
MOST_TENANTS = 1000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Asymmetric signatures only. With a shared secret, every verifier could sign; and a token that
# could choose its algorithm could be signed with the public key as an HMAC secret.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
ISSUER_KEYS = ("issuer", "audience", "algorithms", "jwks", "keys", "leeway", "refresh")
TENANT_KEYS = ("keys", "tokens", "certificates", "tables", "may", "priority")
TERMS = ("rates", "quotas", "limits")
LARGEST = 10**15
NO_PYJWT = "tokens need PyJWT, which is not installed; run: pip install 'cascade-synthesis[access]'"


def load_access(path: Path) -> AccessConfig:
    """Load an access file; raises ConfigError as `parse_access`."""
    return parse_access(_text(path), str(path), path.parent)


def last_good_access(path: Path) -> LastGood[AccessConfig]:
    """Create the last valid content of an access file, for processes that start or reload."""
    return LastGood(lambda: _text(path), lambda text: parse_access(text, str(path), path.parent))


def _text(path: Path) -> str:
    from cascade_tables.yaml_files import read_text

    try:
        return read_text(path)
    except FileRefused as exc:
        raise ConfigError(str(exc)) from exc


def parse_access(text: str, name: str = "access.yaml", folder: Path = Path()) -> AccessConfig:
    """Parse the text of an access file.

    Args:
        text: YAML.
        name: the file's name in messages.
        folder: the folder of relative paths in the file.

    Raises:
        ConfigError: names the line, the error and what is allowed.
    """
    from cascade_tables.yaml_files import parse_yaml

    try:
        content, lines = parse_yaml(text, name)
    except FileRefused as exc:
        raise ConfigError(str(exc)) from exc
    reader = Reader(name, lines, ConfigError)
    top = reader.mapping(content, (), ("tenants", "issuers", "defaults"))
    if top.get("issuers") and find_spec("jwt") is None:
        reader.refuse(("issuers",), NO_PYJWT)
    issuers = {
        each: _issuer(reader, value, ("issuers", each), folder)
        for each, value in reader.mapping(top.get("issuers"), ("issuers",)).items()
    }
    of_all = reader.mapping(top.get("defaults"), ("defaults",), TERMS)
    named = reader.mapping(top.get("tenants"), ("tenants",))
    if not named:
        reader.refuse(("tenants",), "tenants names none; allowed: one or more")
    if len(named) > MOST_TENANTS:
        reader.refuse(("tenants",), f"tenants has {len(named):,} names; allowed: {MOST_TENANTS:,}")
    tenants = {
        each: _tenant(reader, value, ("tenants", each), issuers, of_all)
        for each, value in named.items()
    }
    _check_once(reader, tenants, issuers)
    return AccessConfig(tenants, issuers, hashlib.sha256(text.encode()).hexdigest()[:16])


def _issuer(reader: Reader, content: Any, place: Place, folder: Path) -> Issuer:
    found = reader.mapping(content, place, ISSUER_KEYS)
    if "jwks" in found and "keys" in found:
        reader.refuse(place, f"{where(place)} has jwks and keys; allowed: one of them")
    algorithms = tuple(
        reader.one_of(value, each, ALGORITHMS)
        for each, value in reader.items(found.get("algorithms"), (*place, "algorithms"))
    )
    if not algorithms:
        reader.refuse(place, f"{where(place)} has no algorithms; allowed: {listing(ALGORITHMS)}")
    keys = reader.optional(found, "keys", place, reader.text)
    issuer = reader.required(found, "issuer", place, reader.text)
    if keys is None and "jwks" not in found:
        _url(reader, issuer, (*place, "issuer"))
    leeway = reader.optional(found, "leeway", place, reader.number(0, 600))
    refresh = reader.optional(found, "refresh", place, reader.number(1, 86_400))
    return Issuer(
        name=str(place[-1]),
        issuer=issuer,
        audience=reader.required(found, "audience", place, reader.text),
        algorithms=algorithms,
        jwks=reader.optional(found, "jwks", place, lambda value, here: _url(reader, value, here)),
        keys=None if keys is None else folder / keys,
        leeway=30.0 if leeway is None else leeway,
        refresh=3600.0 if refresh is None else refresh,
    )


def _url(reader: Reader, value: Any, place: Place) -> str:
    """Read a URL of keys; it must be safe: a tampered key could sign for anybody."""
    text = reader.text(value, place)
    if not is_safe_url(text):
        reader.wrong(
            place, value, "https://HOST/..., and http only from this machine, with no password"
        )
    return text


def is_safe_url(text: str) -> bool:
    """Return whether content from a URL cannot be tampered with in transit."""
    try:
        parts = urlsplit(text)
        host, is_plain = parts.hostname, parts.username is None and parts.port != 0
    except ValueError:
        return False
    if not host or not is_plain:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _tenant(
    reader: Reader,
    content: Any,
    place: Place,
    issuers: Mapping[str, Issuer],
    of_all: Mapping[str, Any],
) -> Tenant:
    name = str(place[-1])
    if not NAME.fullmatch(name):
        reader.refuse(
            place,
            f"a tenant is called {name[:80]!r}; allowed: up to 64 letters, digits, '.', '_' and "
            "'-', a letter or a digit first",
        )
    found = reader.mapping(content, place, (*TENANT_KEYS, *TERMS))
    keys = tuple(
        _key(reader, value, each)
        for each, value in reader.items(found.get("keys"), (*place, "keys"))
    )
    tokens = tuple(
        _token_rule(reader, value, each, issuers)
        for each, value in reader.items(found.get("tokens"), (*place, "tokens"))
    )
    certificates = tuple(
        reader.text(value, each)
        for each, value in reader.items(found.get("certificates"), (*place, "certificates"))
    )
    return Tenant(name, _grant(reader, found, place, of_all), keys, tokens, certificates)


def _key(reader: Reader, content: Any, place: Place) -> KeyRecord:
    found = reader.mapping(content, place, ("id", "sha256", "expires"))

    def named(value: Any, here: Place) -> str:
        text = value if isinstance(value, str) else ""
        if not ID.fullmatch(text):
            reader.refuse(
                here,
                f"{where(here)}: allowed: csk_ and 12 digits, as `cascade access new-key` prints "
                "them",
            )
        return text

    def hashed(value: Any, here: Place) -> bytes:
        text = value if isinstance(value, str) else ""
        if not DIGEST.fullmatch(text):
            reader.refuse(
                here,
                f"{where(here)}: allowed: 64 hexadecimal digits, as `cascade access new-key` "
                "prints them; never a key itself",
            )
        return bytes.fromhex(text)

    return KeyRecord(
        reader.required(found, "id", place, named),
        reader.required(found, "sha256", place, hashed),
        reader.optional(found, "expires", place, reader.moment),
    )


def _token_rule(
    reader: Reader, content: Any, place: Place, issuers: Mapping[str, Issuer]
) -> TokenRule:
    found = reader.mapping(content, place, ("issuer", "claims"))
    named = reader.required(
        found, "issuer", place, lambda value, here: reader.one_of(value, here, tuple(issuers))
    )
    claims = reader.mapping(found.get("claims"), (*place, "claims"))
    if not claims:
        reader.refuse(
            place,
            f"{where(place)} has no claims; allowed: one or more, or all tokens of {named} would "
            "be this tenant's",
        )
    return TokenRule(
        named, {key: reader.text(value, (*place, "claims", key)) for key, value in claims.items()}
    )


def _grant(
    reader: Reader, found: Mapping[str, Any], place: Place, of_all: Mapping[str, Any]
) -> Grant:
    """Read a tenant's permissions; rates, quotas and limits fall back to the defaults."""

    def terms(name: str, keys: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Place]]:
        both = ((("defaults", name), of_all.get(name)), ((*place, name), found.get(name)))
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for each, value in both:
            own = reader.mapping(value, each, keys)
            values |= own
            places |= dict.fromkeys(own, each)
        return values, places

    def read(name: str, keys: tuple[str, ...], how: Mapping[str, Any]) -> dict[str, Any]:
        values, places = terms(name, keys)
        return {
            key: reader.optional(values, key, places[key], how[key]) for key in values if key in how
        }

    rate = _rate(reader)
    rates = read("rates", ("requests", "rows"), {"requests": rate, "rows": rate})
    whole, cost = reader.whole(0, LARGEST), reader.number(0, 1e12)
    quotas = read("quotas", ("rows", "cost"), {"rows": whole, "cost": cost})
    some = reader.whole(1, LARGEST)
    named = ("rows", "draws", "connections")
    limits = read("limits", named, dict.fromkeys(named, some))
    tables = [
        reader.text(value, each)
        for each, value in reader.items(found.get("tables"), (*place, "tables"), 10_000)
    ]
    kinds = [
        Kind(reader.one_of(value, each, tuple(map(str, Kind))))
        for each, value in reader.items(found.get("may"), (*place, "may"))
    ]
    priority = reader.optional(
        found,
        "priority",
        place,
        lambda value, here: reader.one_of(value, here, tuple(map(str, Priority))),
    )
    return Grant(
        tables=None if ALL in tables else frozenset(tables),
        kinds=frozenset(kinds),
        priority=Priority(priority or Priority.REALTIME),
        requests=rates.get("requests"),
        rows=rates.get("rows"),
        rows_a_day=quotas.get("rows"),
        cost_a_day=quotas.get("cost"),
        max_rows=limits.get("rows"),
        max_draws=limits.get("draws"),
        connections=limits.get("connections"),
    )


def _rate(reader: Reader) -> Any:
    """Return a reader of a rate: a number per second, optionally with a burst."""
    number = reader.number(0.001, 1e9)

    def read(value: Any, place: Place) -> Rate:
        if not isinstance(value, dict):
            per_second = number(value, place)
            return Rate(per_second, max(1.0, per_second))
        found = reader.mapping(value, place, ("per_second", "burst"))
        per_second = reader.required(found, "per_second", place, number)
        burst = reader.optional(found, "burst", place, reader.number(1, 1e12))
        return Rate(per_second, max(1.0, per_second) if burst is None else burst)

    return read


def _check_once(
    reader: Reader, tenants: Mapping[str, Tenant], issuers: Mapping[str, Issuer]
) -> None:
    """Refuse credentials of two tenants, and issuers whose tokens cannot be told apart."""
    signed: dict[tuple[str, str], str] = {}
    for name, issuer in issuers.items():
        other = signed.setdefault((issuer.issuer, issuer.audience), name)
        if other != name:
            message = (
                f"{name} has the issuer and the audience of {other}, so that its tokens would be "
                f"those of {other}; allowed: another issuer, or another audience"
            )
            reader.refuse(("issuers", name), message)
    seen: dict[tuple[str, str], str] = {}
    for name, tenant in tenants.items():
        own = [("keys", key.id) for key in tenant.keys]
        own += [("certificates", each) for each in tenant.certificates]
        for each in own:
            if each in seen:
                kind, value = each
                reader.refuse(
                    ("tenants", name, kind),
                    f"{value} stands in {kind} of {seen[each]} and of {name}; allowed: once",
                )
            seen[each] = name
