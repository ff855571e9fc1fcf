"""Who may ask, asked at the headers of a call, and once more where its handler begins; and of what
is answered, what whoever asks may not see."""

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
# Fields whose keys are tables.
BY_TABLE = frozenset({"steps_down"})


@lru_cache(maxsize=1024)
def _status(refused: Refused) -> Status:
    return status_of(refusal_for(refused))


class AccessDoor:
    """Asks at the headers of each call; a `transport.Door`.

    Args:
        access: who may ask.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def refuses(self, path: str, headers: Fields, peer: Peer) -> Status | None:
        """How a call ends that its caller may not make; None: it may."""
        refused = self._access.door(path, headers, peer)
        return None if refused is None else _status(refused)

    def knows(self, headers: Fields, peer: Peer) -> bool:
        """Whether a call shows who sends it, of a method that anybody may call."""
        return isinstance(self._access.caller(headers, peer.certificate_names), Caller)

    def gone(self, peer: Peer) -> None:
        """A connection is no more."""
        self._access.gone(peer)


class Handlers(Protocol):
    """Takes what services give it to have their methods served."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What generated code calls too."""


# Who has sent a call, by its method and the context of its handler.
Finds = Callable[[str, Context], Caller | Refused]


class Guarded:
    """Hands handlers on that begin by finding out who asks; `asking` says so within them.

    Args:
        transport: serves them.
        finds: finds it out.
    """

    def __init__(self, transport: Handlers, finds: Finds) -> None:
        self._transport, self._finds = transport, finds

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of some handlers, for who may call them."""
        guarded = tuple(_Guarded(each, self._finds) for each in handlers)
        self._transport.add_generic_rpc_handlers(guarded)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What generated code calls too; says nothing new."""


def by_access(access: Access, at_door: bool) -> Finds:
    """Finds who asks among those who may.

    Args:
        access: who may.
        at_door: whether the transport has asked at the headers already.
    """

    def finds(method: str, context: Context) -> Caller | Refused:
        if method in OPEN:
            found = access.caller(headers_of(context), peer_of(context).certificate_names)
            return found if isinstance(found, Caller) else STRANGER
        return access.handler(method, headers_of(context), peer_of(context), at_door)

    return finds


def still_asks(access: Access, context: Context, path: str) -> Callable[[], Caller]:
    """Says who has sent the requests of a stream, whenever some come; raises what the caller is to
    be told. What a token, a key or the file allowed when it began may have ended since.

    Args:
        access: who may ask.
        context: of the stream's call.
        path: of its method.
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
    """Whoever may open the server's own socket may do all."""
    return LOCAL


class _Guarded(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, finds: Finds) -> None:
        self._inner, self._finds = inner, finds

    def service(self, details: Any) -> Any:
        """The guarded handler of a method; None: there is none."""
        handler: Any = self._inner.service(details)
        if handler is None:
            return None
        kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        behaviours = {
            kind: self._guards(details.method, behaviour)
            for kind in kinds
            if (behaviour := getattr(handler, kind)) is not None
        }
        return _Handler(handler, behaviours)

    def _guards(self, method: str, behaviour: Any) -> Any:
        finds = self._finds

        if inspect.isasyncgenfunction(behaviour):

            async def streams(request: Any, context: Context) -> AsyncIterator[Any]:
                await _let_in(finds(method, context), context)
                async with aclosing(behaviour(request, context)) as answers:
                    async for each in answers:
                        yield each

            return streams

        async def answers(request: Any, context: Context) -> Any:
            await _let_in(finds(method, context), context)
            return await behaviour(request, context)

        return answers


async def _let_in(found: Caller | Refused, context: Context) -> None:
    """Have the task work for a caller, or end its call."""
    if isinstance(found, Refused):
        await end_refused(context, refusal_for(found))
    else:
        asks(found)


class _Handler(grpc.RpcMethodHandler):
    """A handler as it is, but for what it calls."""

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
    """Leave out of a message, and of what is in it, all that names a table which is not seen, and
    all that is another tenant's.

    Args:
        message: changed in place.
        caller: who asks.
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
    """Who writes down who was refused, and who changed what; None: nobody is asked who they are, or
    there is no folder to write in."""
    if config.access is None or config.state_dir is None:
        return None
    return Auditor(AuditLog(config.state_dir / AUDIT), time.monotonic)


class Files(NamedTuple):
    """Files that each process of a server reads as it begins, some of them again and again.

    Attributes:
        access: who may ask; None: anybody.
        prices: None: an example's are taken.
    """

    access: LastGood[AccessConfig] | None = None
    prices: LastGood[Prices] | None = None

    @classmethod
    def of(cls, config: ServerConfig) -> Files:
        """Those of the settings; nothing is read yet."""
        access = None if config.access is None else last_good_access(config.access)
        if config.prices is None:
            return cls(access)
        # Few servers have files of prices.
        from cascade_server.counts.bill import last_good_prices

        return cls(access, last_good_prices(config.prices))

    def check(self) -> None:
        """Read all of them, before there is any process; raises ConfigError."""
        for each in self:
            if each is not None:
                each.now()

    def prices_now(self) -> Prices:
        """For a process that begins; raises ConfigError where the file never had any."""
        from cascade_cost import DEFAULT_PRICES

        return DEFAULT_PRICES if self.prices is None else self.prices.to_begin_with()[0]


def open_access(
    config: ServerConfig, sla: Sla, files: Files, auditor: Auditor | None = None
) -> Access | None:
    """Who may ask a server; None: anybody.

    Raises:
        ConfigError: the file is not what it should be, and never was.
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
    """Who keeps access up to date in a process, and charges tenants what was computed for them.

    Args:
        files: of the server.
        access: of the process; None: nobody is asked who they are.
        compute: what is charged here; see `CostMeter`.

    Raises:
        ConfigError: the file of prices is none, and never was one.
    """
    if access is None:
        return None
    prices = files.prices_now()
    core, gpu = float(prices.core_hour) / 3600, float(prices.gpu_hour) / 3600
    meter = CostMeter(access, compute, lambda seconds, on_gpu: core * seconds + gpu * on_gpu)
    return Watch(access, also=meter.look)


def expose_access(sla: Sla, access: Access) -> None:
    """Tell whoever scrapes metrics of access too."""
    # What answers scrapes is imported by who is scraped.
    from cascade_server.access.metrics import AccessCollector

    assert sla.metrics is not None
    sla.metrics.registry.register(AccessCollector(access))
