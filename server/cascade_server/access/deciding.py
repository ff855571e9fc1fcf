"""Who a caller is, and whether it may do what it asks: decisions on values, with no I/O.

What a refusal says never names a tenant, a table or a key that the caller did not name.
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

# Every method of every service, by what a tenant needs to call it. None: anybody who is known may,
# and is told of its own tables alone.
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
# Whether a server lives and answers is for anybody: probes have no key.
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
    """What a call shows of who sends it.

    Attributes:
        secret: an API key or a token; "": neither.
        is_malformed: whether it shows something in a form that is not understood.
    """

    secret: str = ""
    is_malformed: bool = False


NOTHING = Presented()


def presented(headers: Fields) -> Presented:
    """What headers show; of several the first counts."""
    for name, value in headers:
        if name == AUTHORIZATION:
            found = BEARER.fullmatch(value.decode("latin1"))
            return Presented(is_malformed=True) if found is None else Presented(found[1])
        if name == API_KEY:
            # An empty one is a variable that was not set, and not who shows a certificate alone.
            return Presented(value.decode("latin1"), is_malformed=not value)
    return NOTHING


@dataclass(frozen=True)
class Refused:
    """Why somebody is not let in.

    Attributes:
        reason: for metrics and the audit log.
        message: for the caller.
        tenant: whose call it is, where that is known.
        seconds: after which to come back; None: that would not help.
    """

    reason: Reason
    message: str
    tenant: str = ""
    seconds: float | None = None


# Verifies a token, and says whose it is: a tenant, what may be said of it, and until when it holds.
TokenJudge = Callable[[str, float], "Caller | Refused"]


def identify(
    config: AccessConfig,
    shown: Presented,
    certificate_names: Sequence[str],
    now: float,
    token: TokenJudge,
) -> Caller | Refused:
    """Who a caller is.

    A key or a token counts before a certificate: it says more.

    Args:
        config: who there is.
        shown: in the call's headers.
        certificate_names: of the connection's verified client certificate.
        now: Unix seconds.
        token: judges tokens.
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
    """Who has sent a token that holds."""
    if tenant is None:
        return Refused(Reason.NO_TENANT, "the token holds, and no tenant here is its subject's")
    said = "".join(each for each in subject if each.isprintable())[:80]
    return Caller(tenant.name, Known.TOKEN, tenant.grant, f"{issuer.name}: {said}", expires)


def may_call(caller: Caller, path: str) -> Refused | None:
    """Why somebody who is known may not call a method; None: it may."""
    kind = KINDS.get(path)
    if kind is None or kind in caller.grant.kinds:
        return None
    return not_permitted(caller, kind)


def not_permitted(caller: Caller, kind: Kind) -> Refused:
    """That a kind of calls is not allowed."""
    allowed = ", ".join(sorted(caller.grant.kinds)) or "none"
    return Refused(
        Reason.NOT_PERMITTED,
        f"this caller may not ask for {kind}; it may ask for: {allowed}",
        caller.tenant,
    )
