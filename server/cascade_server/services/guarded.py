"""Access control around the services: identifies callers, and hides what they may not see.

Callers are checked at the headers of each call (`AccessDoor`), and identified again where a handler
begins (`Guarded`), which then knows its caller by `asking()`. `only_seen` removes from answers the
tables and tenants that a caller may not see. The `open_...` functions make, from the settings, the
parts of access control that every process of a server has.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import grpc
from cascade_jobs.audit.log import FOLDER as AUDIT
from cascade_jobs.audit.log import AuditLog
from google.protobuf.message import Message

from cascade_server.access.access import Access, tells_nobody
from cascade_server.access.access_file import last_good_access
from cascade_server.access.asking import asks
from cascade_server.access.auditing import Auditor
from cascade_server.access.deciding import OPEN, Refused, may_call
from cascade_server.access.grants import LOCAL, STRANGER, AccessConfig, Caller
from cascade_server.access.quotas import CostMeter
from cascade_server.access.refusals import error_of, refusal_for
from cascade_server.access.watching import Watch
from cascade_server.config import ServerConfig
from cascade_server.counts.shared.compute import ComputeCounts
from cascade_server.counts.shared.last_good import LastGood
from cascade_server.counts.sla import Sla
from cascade_server.services.unary import Context, end_refused, headers_of, status_of
from cascade_server.transport import Peer, Status, peer_of
from cascade_server.transport.http2.headers import Fields

if TYPE_CHECKING:
    from cascade_cost import Prices

TABLE, TABLES, TENANT = "table", "tables", "tenant"
# Map fields whose keys are names of tables.
BY_TABLE = frozenset({"steps_down"})


@lru_cache(maxsize=1024)
def _status(refused: Refused) -> Status:
    return status_of(refusal_for(refused))


class AccessDoor:
    """Checks callers at the headers of each call; a `transport.Door`.

    Args:
        access: who may call what.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def refuses(self, path: str, headers: Fields, peer: Peer) -> Status | None:
        """Return the status that refuses a call; None: its caller may make it."""
        refused = self._access.door(path, headers, peer)
        return None if refused is None else _status(refused)

    def knows(self, headers: Fields, peer: Peer) -> bool:
        """Return whether a call identifies its caller, even if its method is open to anybody."""
        return isinstance(self._access.caller(headers, peer.certificate_names), Caller)

    def gone(self, peer: Peer) -> None:
        """Forget a connection that has ended."""
        self._access.gone(peer)


class Handlers(Protocol):
    """A server to which services add the handlers of their methods, as grpc's own."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Called by generated code besides the other method."""


# Finds who has sent a call, from its method and its handler's context.
Identify = Callable[[str, Context], Caller | Refused]


class Guarded:
    """Wraps handlers, so that each call first identifies its caller; `asking()` then returns it.

    Args:
        transport: serves the wrapped handlers.
        identify: finds the caller of a call.
    """

    def __init__(self, transport: Handlers, identify: Identify) -> None:
        self._transport, self._identify = transport, identify

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers to callers who may call them."""
        guarded = tuple(_GuardedHandlers(each, self._identify) for each in handlers)
        self._transport.add_generic_rpc_handlers(guarded)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: generated code calls this besides `add_generic_rpc_handlers`."""


def by_access(access: Access, at_door: bool) -> Identify:
    """Identify callers by the access file.

    Args:
        access: who may call what.
        at_door: whether the transport has checked the headers already.
    """

    def identify(method: str, context: Context) -> Caller | Refused:
        if method in OPEN:
            found = access.caller(headers_of(context), peer_of(context).certificate_names)
            return found if isinstance(found, Caller) else STRANGER
        return access.handler(method, headers_of(context), peer_of(context), at_door)

    return identify


def still_asks(access: Access, context: Context, path: str) -> Callable[[], Caller]:
    """Identify the caller of a standing stream again for each of its messages.

    Its token may have expired, or its key may have been removed, since the stream began.

    Args:
        access: who may call what.
        context: of the stream's call.
        path: the stream's method.

    Returns:
        A function that returns the caller, or raises the error to send to the caller.
    """
    headers, names = headers_of(context), peer_of(context).certificate_names

    def asks_now() -> Caller:
        found = access.caller(headers, names)
        refused = found if isinstance(found, Refused) else may_call(found, path)
        if refused is not None:
            raise error_of(access.refuses(refused, path))
        assert isinstance(found, Caller)
        return found

    return asks_now


def locally(_method: str, _context: Context) -> Caller:
    """Identify callers over `control.sock`: whoever may open that file may do everything."""
    return LOCAL


class _GuardedHandlers(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, identify: Identify) -> None:
        self._inner, self._identify = inner, identify

    def service(self, details: Any) -> Any:
        """Return the wrapped handler of a method; None: there is none."""
        handler: Any = self._inner.service(details)
        if handler is None:
            return None
        kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        behaviours = {
            kind: self._guarded(details.method, behaviour)
            for kind in kinds
            if (behaviour := getattr(handler, kind)) is not None
        }
        return _Handler(handler, behaviours)

    def _guarded(self, method: str, behaviour: Any) -> Any:
        identify = self._identify

        if inspect.isasyncgenfunction(behaviour):

            async def streams(request: Any, context: Context) -> AsyncIterator[Any]:
                await _let_in(identify(method, context), context)
                async with aclosing(behaviour(request, context)) as answers:
                    async for each in answers:
                        yield each

            return streams

        async def answers(request: Any, context: Context) -> Any:
            await _let_in(identify(method, context), context)
            return await behaviour(request, context)

        return answers


async def _let_in(found: Caller | Refused, context: Context) -> None:
    """Make `asking()` return the caller in this task, or end the call with a refusal."""
    if isinstance(found, Refused):
        await end_refused(context, refusal_for(found))
    else:
        asks(found)


class _Handler(grpc.RpcMethodHandler):
    """A handler with other functions to call, and all else of the inner one."""

    def __init__(self, inner: Any, behaviours: Mapping[str, Any]) -> None:
        self.request_streaming = inner.request_streaming
        self.response_streaming = inner.response_streaming
        self.request_deserializer = inner.request_deserializer
        self.response_serializer = inner.response_serializer
        self.unary_unary = behaviours.get("unary_unary")
        self.unary_stream = behaviours.get("unary_stream")
        self.stream_unary = behaviours.get("stream_unary")
        self.stream_stream = behaviours.get("stream_stream")


def only_seen(message: Message, caller: Caller) -> None:
    """Remove from a message, at any depth, tables that a caller may not see and other tenants.

    Args:
        message: changed in place.
        caller: who is to receive it.
    """
    if caller.sees_all_tenants:
        return
    grant = caller.grant
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.is_repeated and field.name == TABLES:
                seen = grant.seen(value)
                del value[:]
                value.extend(seen)
            continue
        if field.message_type.GetOptions().map_entry:
            if field.name in BY_TABLE:
                for name in [each for each in value if not grant.sees(each)]:
                    del value[name]
        elif not field.is_repeated:
            only_seen(value, caller)
        elif field.message_type.fields_by_name.get(TABLE) is not None:
            has_tenants = field.message_type.fields_by_name.get(TENANT) is not None
            kept = [
                each
                for each in value
                if grant.sees(each.table) and (not has_tenants or caller.owns(each.tenant))
            ]
            if len(kept) < len(value):
                copies = [type(each).FromString(each.SerializeToString()) for each in kept]
                del value[:]
                value.extend(copies)
            for each in value:
                only_seen(each, caller)
        else:
            for each in value:
                only_seen(each, caller)


def open_auditor(config: ServerConfig) -> Auditor | None:
    """Open the audit log of refusals and changes.

    Returns None if access is not configured, or if there is no state folder to write to.
    """
    if config.access is None or config.state_dir is None:
        return None
    return Auditor(AuditLog(config.state_dir / AUDIT), time.monotonic)


class Files(NamedTuple):
    """The files that settings name and all processes read, with their last valid content.

    Attributes:
        access: `access.yaml`; None: anybody may call everything.
        prices: `prices.yaml`; None: example prices.
    """

    access: LastGood[AccessConfig] | None = None
    prices: LastGood[Prices] | None = None

    @classmethod
    def of(cls, config: ServerConfig) -> Files:
        """Create the files that the settings name, without reading them."""
        access = None if config.access is None else last_good_access(config.access)
        if config.prices is None:
            return cls(access)
        # Imported here because few servers have a price file.
        from cascade_server.counts.bill import last_good_prices

        return cls(access, last_good_prices(config.prices))

    def check(self) -> None:
        """Read all files once, before any process is started.

        Raises:
            ConfigError: a file is invalid.
        """
        for each in self:
            if each is not None:
                each.now()

    def prices_now(self) -> Prices:
        """Return the prices, for a starting process.

        Raises:
            ConfigError: the file is invalid, and never was valid.
        """
        from cascade_cost import DEFAULT_PRICES

        return DEFAULT_PRICES if self.prices is None else self.prices.to_begin_with()[0]


def open_access(
    config: ServerConfig, sla: Sla, files: Files, auditor: Auditor | None = None
) -> Access | None:
    """Create the access control of a process; None: anybody may call everything.

    Raises:
        ConfigError: the access file is invalid, and never was valid.
    """
    tenants = sla.books.tenants
    if config.access is None or tenants is None:
        return None
    counts = tenants.of(sla.place)
    access = Access(
        config.access,
        counts,
        refused=tells_nobody if auditor is None else auditor.refused,
        # grpcio does not say when a connection ends.
        knows_connections=config.transport != "grpcio",
        file=files.access,
    )
    # From the first scrape on, which may come while releases are still being loaded.
    sla.scrape_refusal = access.scrape_refusal
    return access


def open_watch(
    files: Files, access: Access | None, compute: Sequence[ComputeCounts]
) -> Watch | None:
    """Create the `Watch` that refreshes access in a process and charges tenants for compute.

    Args:
        files: the server's files.
        access: the process's access control; None: callers are not identified.
        compute: the compute charged in this process; see `CostMeter`.

    Raises:
        ConfigError: the price file is invalid, and never was valid.
    """
    if access is None:
        return None
    prices = files.prices_now()
    core, gpu = float(prices.core_hour) / 3600, float(prices.gpu_hour) / 3600
    meter = CostMeter(access, compute, lambda seconds, on_gpu: core * seconds + gpu * on_gpu)
    return Watch(access, also=meter.look)


def expose_access(sla: Sla, access: Access) -> None:
    """Add the metrics of access to those of the process."""
    # Imported here because only a scraped process needs it.
    from cascade_server.access.metrics import AccessCollector

    assert sla.metrics is not None
    sla.metrics.registry.register(AccessCollector(access))
