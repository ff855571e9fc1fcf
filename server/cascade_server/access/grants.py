"""Value types of access control: tenants, grants, issuers and identified callers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade_server.access.keys import KeyRecord
from cascade_server.terms import Priority


class Kind(StrEnum):
    """Kinds of calls that a tenant is allowed or not."""

    SYNTHESIZE = "synthesize"  # Synthesize, SynthesizeStream, ModelInfer
    GENERATE = "generate"  # Generate
    JOBS = "jobs"  # submit, watch and cancel jobs
    RESULTS = "results"  # read the results of jobs
    RELEASES = "releases"  # load, unload, try and promote releases
    STATISTICS = "statistics"  # statistics, service level, metrics


class Known(StrEnum):
    """How a caller was identified."""

    KEY = "key"
    TOKEN = "token"
    CERTIFICATE = "certificate"
    NOBODY = "nobody"  # access is not configured
    STRANGER = "stranger"  # an unidentified caller of a method open to anybody
    LOCAL = "local"  # over a socket that only the server's own user may open


class Reason(StrEnum):
    """Why a call is refused, for metrics and the audit log."""

    NO_CREDENTIAL = "no_credential"
    BAD_CREDENTIAL = "bad_credential"
    EXPIRED = "expired"
    NO_TENANT = "no_tenant"
    KEYS_NOT_READY = "keys_not_ready"
    NOT_PERMITTED = "not_permitted"
    REQUEST_RATE = "request_rate"
    ROW_RATE = "row_rate"
    ROW_QUOTA = "row_quota"
    COST_QUOTA = "cost_quota"
    CONNECTIONS = "connections"


@dataclass(frozen=True)
class Rate:
    """A token bucket.

    Attributes:
        per_second: tokens gained per second, > 0.
        burst: most tokens, >= 1.
        token, depth: nanoseconds to gain one token, and to gain all.
    """

    per_second: float
    burst: float
    token: int = field(init=False, repr=False, default=0)
    depth: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        # Computed once, because every call needs them.
        object.__setattr__(self, "token", max(1, round(1e9 / self.per_second)))
        object.__setattr__(self, "depth", round(1e9 * self.burst / self.per_second))


@dataclass(frozen=True)
class Grant:
    """The permissions of a tenant; `Grant()` allows everything.

    Attributes:
        tables: tables that it sees and may use; None: all.
        kinds: allowed kinds of calls.
        priority: the priority of its requests; offline ones yield to real-time ones.
        requests, rows: rates; None: unlimited.
        rows_a_day, cost_a_day: quotas per UTC day; cost in the unit of the prices. None: no quota.
        max_rows, max_draws: limits of one request; None: the server's limits.
        connections: simultaneous connections to all processes of the server; None: the server's
            limit.
    """

    tables: frozenset[str] | None = None
    kinds: frozenset[Kind] = frozenset(Kind)
    priority: Priority = Priority.REALTIME
    requests: Rate | None = None
    rows: Rate | None = None
    rows_a_day: int | None = None
    cost_a_day: float | None = None
    max_rows: int | None = None
    max_draws: int | None = None
    connections: int | None = None
    has_quota: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        # Every call reads this, and most need no more than the attribute.
        has = self.rows_a_day is not None or self.cost_a_day is not None
        object.__setattr__(self, "has_quota", has)

    def sees(self, table: str) -> bool:
        """Return whether the tenant may see a table."""
        return self.tables is None or table in self.tables

    def seen(self, tables: Collection[str]) -> list[str]:
        """Return the tables that the tenant may see, in their order."""
        return [table for table in tables if self.sees(table)]


EVERYTHING = Grant()


@dataclass(frozen=True, eq=False)
class Caller:
    """An identified caller.

    Attributes:
        tenant: the tenant's name; "" if access is not configured, or over the server's own socket.
        known: how the caller was identified.
        grant: its permissions.
        credential: a loggable name of its credential: a key's id, or the subject of a token or a
            certificate. Never the credential itself.
        until: Unix seconds until which the credential is valid.
        slot: the index of its counts; -1: not counted.
    """

    tenant: str
    known: Known
    grant: Grant = EVERYTHING
    credential: str = ""
    until: float = math.inf
    slot: int = -1

    @property
    def sees_all_tenants(self) -> bool:
        """Whether it may see jobs and figures of all tenants."""
        return self.known in (Known.NOBODY, Known.LOCAL)

    def owns(self, tenant: str) -> bool:
        """Return whether jobs of a tenant belong to it."""
        return self.sees_all_tenants or tenant == self.tenant


def priority_of(found: object) -> Priority:
    """Return the priority of a caller's requests; a refused caller counts as real-time."""
    return found.grant.priority if isinstance(found, Caller) else Priority.REALTIME


ANYBODY = Caller("", Known.NOBODY)
LOCAL = Caller("", Known.LOCAL)
# The caller of methods open to anybody; it sees no tables.
STRANGER = Caller("", Known.STRANGER, Grant(frozenset(), frozenset()))


@dataclass(frozen=True)
class Issuer:
    """An issuer of tokens.

    Attributes:
        name: its name in the file.
        issuer: the exact claim `iss` of its tokens.
        audience: a required value of the claim `aud`.
        algorithms: the accepted signature algorithms.
        jwks: the URL of its keys; None: its discovery document names it.
        keys: a file with the keys, a JWK Set or one public key in PEM; None: they are fetched.
        leeway: seconds by which clocks may differ.
        refresh: seconds after which its keys are fetched again.
    """

    name: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks: str | None = None
    keys: Path | None = None
    leeway: float = 30.0
    refresh: float = 3600.0


@dataclass(frozen=True)
class TokenRule:
    """A rule that assigns tokens to a tenant.

    Attributes:
        issuer: the issuer's name in the file.
        claims: claims that a token must have; in a claim that is a list, or words separated by
            spaces (`scope`), one entry must match.
    """

    issuer: str
    claims: Mapping[str, str]

    def holds(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Return whether the rule matches a verified token."""
        return issuer == self.issuer and all(
            wanted in _values(name, claims.get(name)) for name, wanted in self.claims.items()
        )


def _values(name: str, claim: Any) -> tuple[Any, ...]:
    if isinstance(claim, list):
        return tuple(each for each in claim if isinstance(each, str))
    if isinstance(claim, str):
        return (claim, *claim.split()) if name in ("scope", "scp") else (claim,)
    return ()


@dataclass(frozen=True)
class Tenant:
    """A tenant: the owner of a set of callers.

    Attributes:
        name: its name in logs, metrics and jobs.
        grant: its permissions.
        keys: its API keys.
        tokens: rules that assign tokens to it.
        certificates: names of its client certificates.
    """

    name: str
    grant: Grant
    keys: tuple[KeyRecord, ...] = ()
    tokens: tuple[TokenRule, ...] = ()
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True)
class AccessConfig:
    """The content of an access file.

    Attributes:
        tenants: by name.
        issuers: by their names in the file.
        digest: a digest of the file's content.
        keys: the keys of all tenants, by id.
        key_tenants, certificate_tenants: the tenant of each key id, and of each certificate name.
    """

    tenants: Mapping[str, Tenant]
    issuers: Mapping[str, Issuer]
    digest: str = ""
    keys: Mapping[str, KeyRecord] = field(init=False)
    key_tenants: Mapping[str, Tenant] = field(init=False)
    certificate_tenants: Mapping[str, Tenant] = field(init=False)

    def __post_init__(self) -> None:
        tenants = self.tenants.values()
        found: dict[str, Mapping[str, Any]] = {
            "keys": {key.id: key for each in tenants for key in each.keys},
            "key_tenants": {key.id: each for each in tenants for key in each.keys},
            "certificate_tenants": {name: each for each in tenants for name in each.certificates},
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def tenant_of_token(self, issuer: str, claims: Mapping[str, Any]) -> Tenant | None:
        """Return the tenant of a verified token: the first in the file with a matching rule."""
        for tenant in self.tenants.values():
            if any(rule.holds(issuer, claims) for rule in tenant.tokens):
                return tenant
        return None


@dataclass(frozen=True)
class Holding:
    """A consistent snapshot of one access file.

    Slow readers, such as the threads that answer scrapes and write quotas, take it once.

    Attributes:
        config: the content of the file.
        slots: the index of each tenant's counts.
    """

    config: AccessConfig
    slots: Mapping[str, int]

    def named(self, most: int) -> tuple[Mapping[str, int], Collection[int]]:
        """Return the first tenants, which metrics name, and the slots of the others."""
        slots = [(name, self.slots[name]) for name in self.config.tenants]
        return dict(slots[:most]), [slot for _, slot in slots[most:]]
