"""Identifies callers and decides what they may call; pure functions without I/O.

The message of a refusal never names a tenant, a table or a key that the caller did not name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cascade_server.access import keys as api_keys
from cascade_server.access.grants import AccessConfig, Caller, Issuer, Kind, Known, Reason, Tenant

Fields = Sequence[tuple[bytes, bytes]]

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.I)
HOW = (
    "send `authorization: Bearer KEY`, with an API key or a token, or a client certificate; see "
    "`api_key` and `token` of the SDK's clients, and CASCADE_API_KEY"
)

# The permission that each method of every service needs. None: any identified caller may call it,
# and sees only its own tables.
KINDS: Mapping[str, Kind | None] = {
    "/cascade.v1.Synthesis/Synthesize": Kind.SYNTHESIZE,
    "/cascade.v1.Synthesis/SynthesizeStream": Kind.SYNTHESIZE,
    "/cascade.v1.Synthesis/Generate": Kind.GENERATE,
    "/cascade.v1.Synthesis/ListTables": None,
    "/cascade.v1.Synthesis/DescribeTable": None,
    "/cascade.v1.Synthesis/GetStatistics": Kind.STATISTICS,
    "/cascade.v1.Synthesis/GetServiceLevel": Kind.STATISTICS,
    "/cascade.v1.Synthesis/GetUsage": Kind.STATISTICS,
    "/cascade.v1.Releases/ListReleases": Kind.RELEASES,
    "/cascade.v1.Releases/LoadRelease": Kind.RELEASES,
    "/cascade.v1.Releases/UnloadRelease": Kind.RELEASES,
    "/cascade.v1.Releases/StartCanary": Kind.RELEASES,
    "/cascade.v1.Releases/PromoteRelease": Kind.RELEASES,
    "/cascade.v1.Releases/RollBackRelease": Kind.RELEASES,
    "/cascade.v1.Jobs/SubmitJob": Kind.JOBS,
    "/cascade.v1.Jobs/GetJob": Kind.JOBS,
    "/cascade.v1.Jobs/WatchJob": Kind.JOBS,
    "/cascade.v1.Jobs/CancelJob": Kind.JOBS,
    "/cascade.v1.Jobs/ListJobs": Kind.JOBS,
    "/cascade.v1.Jobs/ReadResult": Kind.RESULTS,
    "/inference.GRPCInferenceService/ModelReady": None,
    "/inference.GRPCInferenceService/ServerMetadata": None,
    "/inference.GRPCInferenceService/ModelMetadata": None,
    "/inference.GRPCInferenceService/ModelInfer": Kind.SYNTHESIZE,
    "/inference.GRPCInferenceService/ModelStatistics": Kind.STATISTICS,
    "/inference.GRPCInferenceService/RepositoryIndex": None,
    "/inference.GRPCInferenceService/RepositoryModelLoad": Kind.RELEASES,
    "/inference.GRPCInferenceService/RepositoryModelUnload": Kind.RELEASES,
    "/arrow.flight.protocol.FlightService/Handshake": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/ListFlights": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/GetFlightInfo": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/PollFlightInfo": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/GetSchema": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/DoGet": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/DoPut": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/DoExchange": Kind.RESULTS,
    "/arrow.flight.protocol.FlightService/DoAction": Kind.JOBS,
    "/arrow.flight.protocol.FlightService/ListActions": Kind.RESULTS,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": None,
}
# Anybody may check the server's health, because probes have no key.
OPEN = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.health.v1.Health/List",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)


@dataclass(frozen=True)
class Presented:
    """The credentials that a call presents.

    Attributes:
        secret: an API key or a token; "": neither.
        is_malformed: whether the credentials have an unknown form.
    """

    secret: str = ""
    is_malformed: bool = False


NOTHING = Presented()


def presented(headers: Fields) -> Presented:
    """Read the credentials in headers; the first one counts."""
    for name, value in headers:
        if name == AUTHORIZATION:
            found = BEARER.fullmatch(value.decode("latin1"))
            return Presented(is_malformed=True) if found is None else Presented(found[1])
        if name == API_KEY:
            # Empty probably means an unset variable, not a caller with only a certificate.
            return Presented(value.decode("latin1"), is_malformed=not value)
    return NOTHING


@dataclass(frozen=True)
class Refused:
    """The refusal of a caller.

    Attributes:
        reason: the reason, for metrics and the audit log.
        message: the message for the caller.
        tenant: the tenant of the call, if known.
        seconds: seconds after which to retry; None: a retry would not help.
    """

    reason: Reason
    message: str
    tenant: str = ""
    seconds: float | None = None


# Verifies a token and returns its caller, with the token's expiry.
TokenJudge = Callable[[str, float], "Caller | Refused"]


def identify(
    config: AccessConfig,
    shown: Presented,
    certificate_names: Sequence[str],
    now: float,
    token: TokenJudge,
) -> Caller | Refused:
    """Identify a caller.

    A key or a token takes precedence over a certificate, because it is more specific.

    Args:
        config: the tenants.
        shown: the credentials in the call's headers.
        certificate_names: the names in the connection's verified client certificate.
        now: Unix seconds.
        token: verifies tokens.
    """
    if shown.is_malformed:
        return Refused(Reason.BAD_CREDENTIAL, f"the authorization is not understood; {HOW}")
    if shown.secret.startswith(api_keys.PREFIX):
        return _by_key(config, shown.secret, now)
    if shown.secret:
        return token(shown.secret, now)
    for name in certificate_names:
        if (tenant := config.certificate_tenants.get(name)) is not None:
            return Caller(tenant.name, Known.CERTIFICATE, tenant.grant, name)
    if certificate_names:
        message = "no name of the client's certificate is known here"
        return Refused(Reason.NO_TENANT, message)
    return Refused(Reason.NO_CREDENTIAL, f"this server asks callers who they are; {HOW}")


def _by_key(config: AccessConfig, key: str, now: float) -> Caller | Refused:
    record = api_keys.find(key, config.keys)
    if record is None:
        return Refused(Reason.BAD_CREDENTIAL, "the API key is not known here")
    tenant = config.key_tenants[record.id]
    if record.expires is not None and now >= record.expires:
        return Refused(Reason.EXPIRED, "the API key has expired", tenant.name)
    expires = float("inf") if record.expires is None else record.expires
    return Caller(tenant.name, Known.KEY, tenant.grant, record.id, expires)


def caller_of_token(
    tenant: Tenant | None, issuer: Issuer, subject: str, expires: float
) -> Caller | Refused:
    """Return the caller of a verified token."""
    if tenant is None:
        return Refused(Reason.NO_TENANT, "the token holds, and no tenant here is its subject's")
    said = "".join(each for each in subject if each.isprintable())[:80]
    return Caller(tenant.name, Known.TOKEN, tenant.grant, f"{issuer.name}: {said}", expires)


def may_call(caller: Caller, path: str) -> Refused | None:
    """Return why an identified caller may not call a method; None: it may."""
    kind = KINDS.get(path)
    if kind is None or kind in caller.grant.kinds:
        return None
    return not_permitted(caller, kind)


def not_permitted(caller: Caller, kind: Kind) -> Refused:
    """Return the refusal of a kind of calls."""
    allowed = ", ".join(sorted(caller.grant.kinds)) or "none"
    return Refused(
        Reason.NOT_PERMITTED,
        f"this caller may not ask for {kind}; it may ask for: {allowed}",
        caller.tenant,
    )
