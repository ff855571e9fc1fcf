"""Who may ask and what for, and who a caller was found to be: values."""

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
    JOBS = "jobs"  # to have jobs made, watched and cancelled
    RESULTS = "results"  # to read what jobs have made
    RELEASES = "releases"  # to load, unload, try and promote releases
    STATISTICS = "statistics"  # how the server does: statistics, service level, metrics


class Known(StrEnum):
    """How a caller is known."""

    KEY = "key"
    TOKEN = "token"
    CERTIFICATE = "certificate"
    NOBODY = "nobody"  # access is not configured
    STRANGER = "stranger"  # asks what is for anybody, and has not shown who it is
    LOCAL = "local"  # over a socket that only who runs the server may open


class Reason(StrEnum):
    """Why a call is refused, as metrics and the audit log have it."""

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
        per_second: tokens that come back in a second, > 0.
        burst: that there are at most, >= 1.
        token, depth: nanoseconds in which one token comes back, and in which all do.
    """

    per_second: float
    burst: float
    token: int = field(init=False, repr=False, default=0)
    depth: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        # Reckoned once, for they are asked for with every call.
        object.__setattr__(self, "token", max(1, round(1e9 / self.per_second)))
        object.__setattr__(self, "depth", round(1e9 * self.burst / self.per_second))


@dataclass(frozen=True)
class Grant:
    """What a tenant may do; `Grant()` may do all.

    Attributes:
        tables: it sees and asks; None: all there are.
        kinds: of calls.
        priority: of its requests; offline ones yield to those that somebody waits for.
        requests, rows: rates; None: as fast as the server answers.
        rows_a_day, cost_a_day: quotas of a day of UTC; cost in the unit of the prices. None: none.
        max_rows, max_draws: of one request; None: as the server has it.
        connections: at once, in all processes of the server; None: as the server has it.
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
        # Asked for every call; an attribute is all that most of them need.
        has = self.rows_a_day is not None or self.cost_a_day is not None
        object.__setattr__(self, "has_quota", has)

    def sees(self, table: str) -> bool:
        """Whether there is such a table, as far as the tenant is told."""
        return self.tables is None or table in self.tables

    def seen(self, tables: Collection[str]) -> list[str]:
        """Those of some tables that it sees, in their order."""
        return [table for table in tables if self.sees(table)]


EVERYTHING = Grant()


@dataclass(frozen=True, eq=False)
class Caller:
    """Who asks.

    Attributes:
        tenant: its name; "" where access is not configured, or over the server's own socket.
        known: how it is known.
        grant: what it may do.
        credential: what may be said of how it showed who it is: a key's id, whom a token or a
            certificate names. Never the credential itself.
        until: Unix seconds until which that holds.
        slot: where it is counted; -1: nowhere.
    """

    tenant: str
    known: Known
    grant: Grant = EVERYTHING
    credential: str = ""
    until: float = math.inf
    slot: int = -1

    @property
    def sees_all_tenants(self) -> bool:
        """Whether it is shown jobs and figures of all tenants."""
        return self.known in (Known.NOBODY, Known.LOCAL)

    def owns(self, tenant: str) -> bool:
        """Whether a tenant's job is its own."""
        return self.sees_all_tenants or tenant == self.tenant


def priority_of(found: object) -> Priority:
    """Of the requests of who was found to ask; of whoever was not, who is not let in, as of all."""
    return found.grant.priority if isinstance(found, Caller) else Priority.REALTIME


ANYBODY = Caller("", Known.NOBODY)
LOCAL = Caller("", Known.LOCAL)
# Of calls that are for anybody: is told of no table.
STRANGER = Caller("", Known.STRANGER, Grant(frozenset(), frozenset()))


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens.

    Attributes:
        name: what the file calls it.
        issuer: the claim `iss` of its tokens, exactly.
        audience: one of the values of the claim `aud`.
        algorithms: of signatures; no others are looked at.
        jwks: URL of its keys; None: its discovery document names it.
        keys: a file with them, a JWK Set or one public key in PEM; None: they are fetched.
        leeway: seconds by which clocks may differ.
        refresh: seconds after which its keys are fetched anew.
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
    """Whose tokens are a tenant's.

    Attributes:
        issuer: what the file calls it.
        claims: that a token has; of a claim that is a list, or words with spaces in between
            (`scope`), one of them.
    """

    issuer: str
    claims: Mapping[str, str]

    def holds(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Whether it is about a token that has been verified."""
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
    """Somebody who asks, in all its processes.

    Attributes:
        name: what it is called in logs, metrics and jobs.
        grant: what it may do.
        keys: of its callers.
        tokens: whose tokens are its own.
        certificates: names of client certificates.
    """

    name: str
    grant: Grant
    keys: tuple[KeyRecord, ...] = ()
    tokens: tuple[TokenRule, ...] = ()
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True)
class AccessConfig:
    """Who may ask.

    Attributes:
        tenants: by name.
        issuers: by the name that the file gives them.
        digest: tells this file's content from any other.
        keys: of all tenants, by id.
        key_tenants, certificate_tenants: whose a key, by its id, and a certificate's name is.
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
        """Whose a verified token is: the first in the file of whom a rule holds."""
        for tenant in self.tenants.values():
            if any(rule.holds(issuer, claims) for rule in tenant.tokens):
                return tenant
        return None


@dataclass(frozen=True)
class Holding:
    """What holds of who may ask, all of it of one file: whoever takes its time over a look, as the
    threads do that answer scrapes and write quotas, has it from here, once.

    Attributes:
        config: what the file says.
        slots: where its tenants are counted.
    """

    config: AccessConfig
    slots: Mapping[str, int]

    def named(self, most: int) -> tuple[Mapping[str, int], Collection[int]]:
        """The first tenants of the file, which metrics name, and the slots of the others."""
        slots = [(name, self.slots[name]) for name in self.config.tenants]
        return dict(slots[:most]), [slot for _, slot in slots[most:]]
