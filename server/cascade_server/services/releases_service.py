"""The gRPC service that loads releases and routes traffic to them: a thin layer over `Control`.

Methods catch `Exception` so that `refuse` turns any error into a status, a defect's too: whoever
changes what is served has to learn how that ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server.access.asking import asking
from cascade_server.access.auditing import Auditor
from cascade_server.access.grants import Grant
from cascade_server.errors import NotAllowed, NotPermitted, UnknownTable
from cascade_server.services.unary import Context, refuse
from cascade_server.supervision.control import Control

NAME = pb.DESCRIPTOR.services_by_name["Releases"].full_name
ALONE = (
    "this server is a process by itself, which loads nothing while it answers; `cascade serve` "
    "starts one that replaces its processes"
)
OVER_THE_NETWORK = (
    "releases are not changed over the network, where nobody is asked who they are; the Unix "
    "socket control.sock in the server's --state-dir takes changes, and so does this port of a "
    "server that is started with --release-control"
)


async def asked(
    control: Control | None,
    may_change: bool,
    what: str,
    auditor: Auditor | None = None,
    **more: Any,
) -> Mapping[str, Any]:
    """Send the supervisor a command; return its answer, limited to tables that the caller sees.

    Args:
        control: the connection to the supervisor; None: there is no supervisor.
        may_change: whether callers without a tenant may make changes. A tenant that gets here may
            always: its grant was checked at the headers of the call.
        what, more: the command, as for `Control.ask`.
        auditor: logs the changes that tenants make; None: they are not logged.

    Raises:
        NotAllowed: there is no supervisor.
        NotPermitted: the caller may only list.
        UnknownTable: the table does not exist, or the caller may not see it.
        ServerError: the command failed; says why.
    """
    if control is None:
        raise NotAllowed(ALONE)
    caller = asking()
    if what != "list":
        if not (may_change or caller.tenant):
            raise NotPermitted(OVER_THE_NETWORK)
        if not caller.grant.sees(table := more.get("table", "")):
            raise UnknownTable.table(table, sorted(caller.grant.tables or ()))
        if auditor is not None and caller.tenant:
            await auditor.control(caller, what, more)
    return seen(await control.ask(what, **more), caller.grant)


def seen(told: Mapping[str, Any], grant: Grant) -> Mapping[str, Any]:
    """Limit the supervisor's answer to the tables that a grant may see."""
    if grant.tables is None:
        return told
    policies = {name: each for name, each in told["policies"].items() if grant.sees(name)}
    releases = [each for each in told["releases"] if grant.sees(each["table"])]
    return {**told, "releases": releases, "policies": policies}


class ReleasesService:
    """Answers calls with the supervisor's answers.

    Args:
        may_change: whether callers without a tenant may make changes.
        control: the connection to the supervisor; None: there is no supervisor.
        auditor: logs the changes that tenants make; None: they are not logged.
    """

    def __init__(
        self, may_change: bool, control: Control | None, auditor: Auditor | None = None
    ) -> None:
        self._may_change, self._control, self._auditor = may_change, control, auditor

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers that gRPC routes calls to."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    getattr(self, method.name),
                    response_serializer=pb.ReleasesResponse.SerializeToString,
                )
                for method in pb.DESCRIPTOR.services_by_name["Releases"].methods
            },
        )

    async def ListReleases(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "list", pb.ListReleasesRequest, message)

    async def LoadRelease(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "load", pb.LoadReleaseRequest, message)

    async def UnloadRelease(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "unload", pb.UnloadReleaseRequest, message)

    async def StartCanary(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "canary", pb.StartCanaryRequest, message)

    async def PromoteRelease(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "promote", pb.PromoteReleaseRequest, message)

    async def RollBackRelease(self, message: bytes, context: Context) -> pb.ReleasesResponse:
        return await self._do(context, "roll_back", pb.RollBackReleaseRequest, message)

    async def _do(
        self, context: Context, what: str, kind: Any, message: bytes
    ) -> pb.ReleasesResponse:
        try:
            request = kind.FromString(message)
            given = {field.name: getattr(request, field.name) for field in kind.DESCRIPTOR.fields}
            told = await asked(self._control, self._may_change, what, self._auditor, **given)
            return response(told)
        except Exception as exc:
            return await refuse(context, exc)


def response(told: Mapping[str, Any]) -> pb.ReleasesResponse:
    """Convert the supervisor's answer to its message."""
    out = pb.ReleasesResponse(
        generation=told["generation"], since=told["since"], policies=told["policies"]
    )
    for each in told["releases"]:
        state = pb.ReleaseState.Value(f"RELEASE_STATE_{each['state'].upper()}")
        out.releases.add(**{**each, "state": state})
    return out
