"""The clients' queries about the server itself: tables, statistics, objectives, readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.calls import health
from cascade_client.calls.base import POLL_INTERVAL
from cascade_client.calls.tasks import AsyncCalls
from cascade_client.calls.threads import BlockingCalls
from cascade_client.messages import wire
from cascade_client.release_control import AsyncReleases, Releases
from cascade_client.turns.queue import TurnStatistics
from cascade_client.values.descriptions import TableDescription, TableSummary
from cascade_client.values.service_level import ServiceLevel
from cascade_client.values.statistics import ServerStatistics, server_statistics

if TYPE_CHECKING:
    from cascade_cost.usage import Usage


class Inspection(BlockingCalls):
    """Methods of `Client` that query the server."""

    def tables(self, *, timeout: float | None = None) -> tuple[TableSummary, ...]:
        """Return the tables that the server has releases of."""
        expiry = self._expiry(timeout)
        return wire.tables(self._call(self._stub.ListTables, pb.ListTablesRequest(), expiry))

    def statistics(self, *, timeout: float | None = None) -> ServerStatistics:
        """Return counters and queue lengths of the server: engines, pool, cache, processes.

        For dashboards and tests; `service_level` has the objectives and whether they are met.
        """
        expiry, request = self._expiry(timeout), pb.GetStatisticsRequest()
        return server_statistics(self._call(self._stub.GetStatistics, request, expiry))

    @property
    def turns(self) -> TurnStatistics | None:
        """Number of calls in flight and of calls that wait in this process.

        For a session: the requests of its stream. None with ``wait_for_turn=False``, where nothing
        waits.
        """
        return self._synthesize_turns.statistics()

    def service_level(self, *, timeout: float | None = None) -> ServiceLevel:
        """Return the server's objectives and whether it meets them; print it to read it."""
        expiry, request = self._expiry(timeout), pb.GetServiceLevelRequest()
        return wire.service_level(self._call(self._stub.GetServiceLevel, request, expiry))

    def usage(self, *, timeout: float | None = None) -> Usage:
        """Return the compute that the server has used, by tenant; `cascade cost` makes a bill of
        it.
        """
        from cascade_cost.usage import Usage  # few have a use for it

        expiry, request = self._expiry(timeout), pb.GetUsageRequest()
        return Usage.from_message(self._call(self._stub.GetUsage, request, expiry))

    def describe(
        self, table: str, *, version: int | None = None, timeout: float | None = None
    ) -> TableDescription:
        """Return schema, releases and fidelity figures of a table; print it to read it.

        Raises:
            NotFound: no such table or version.
        """
        return self._describe(table, version, self._expiry(timeout))

    @property
    def releases(self) -> Releases:
        """The server's loaded releases, with methods to change them and to choose the serving
        version.
        """
        self._check_open()
        return Releases(self)

    def health(self, *, timeout: float | None = None) -> dict[str, str]:
        """Return the server's health by name: SERVING or NOT_SERVING.

        "" is the server as a whole; `cascade.v1.Synthesis/TABLE` says whether a table is served. An
        overloaded server that refuses calls is SERVING. A server that cannot list its services
        reports only "".

        Raises:
            Unavailable: no server answers there.
        """
        expiry = self._expiry(timeout)
        try:
            listed = self._channel.unary_unary(health.LIST)(
                health.NOTHING, timeout=self._left(expiry)
            )
            return health.statuses(listed)
        except grpc.RpcError as exc:
            if exc.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._error(exc) from exc
        try:
            check = self._channel.unary_unary(health.CHECK)
            said = check(health.WHOLE_SERVER, timeout=self._left(expiry))
            return {"": health.status(said)}
        except grpc.RpcError as exc:
            raise self._error(exc) from exc

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server reports that it is serving.

        Raises:
            Unavailable: it did not within `timeout` seconds; the message has its last report.
        """
        expiry, said = self._expiry(timeout), "no answer"
        check = self._channel.unary_unary(health.CHECK)
        while True:
            patience = self._poll_or_raise(expiry, timeout, said)
            try:
                said = health.status(check(health.WHOLE_SERVER, timeout=patience))
            except grpc.RpcError as exc:
                said = self._why_not_ready(exc)
            if said == "SERVING":
                return
            self._sleep(POLL_INTERVAL)


class AsyncInspection(AsyncCalls):
    """Methods of `AsyncClient` that query the server."""

    async def tables(self, *, timeout: float | None = None) -> tuple[TableSummary, ...]:
        """Return the tables that the server has releases of."""
        expiry = self._expiry(timeout)
        return wire.tables(await self._call(self._stub.ListTables, pb.ListTablesRequest(), expiry))

    async def statistics(self, *, timeout: float | None = None) -> ServerStatistics:
        """Return counters and queue lengths of the server; see `Client.statistics`."""
        expiry, request = self._expiry(timeout), pb.GetStatisticsRequest()
        return server_statistics(await self._call(self._stub.GetStatistics, request, expiry))

    @property
    def turns(self) -> TurnStatistics | None:
        """Number of calls in flight and of calls that wait in this process; see `Client.turns`."""
        return self._synthesize_turns.statistics()

    async def service_level(self, *, timeout: float | None = None) -> ServiceLevel:
        """Return the server's objectives and whether it meets them; see `Client.service_level`."""
        expiry, request = self._expiry(timeout), pb.GetServiceLevelRequest()
        return wire.service_level(await self._call(self._stub.GetServiceLevel, request, expiry))

    async def usage(self, *, timeout: float | None = None) -> Usage:
        """Return the compute that the server has used, by tenant; see `Client.usage`."""
        from cascade_cost.usage import Usage  # few have a use for it

        expiry, request = self._expiry(timeout), pb.GetUsageRequest()
        return Usage.from_message(await self._call(self._stub.GetUsage, request, expiry))

    async def describe(
        self, table: str, *, version: int | None = None, timeout: float | None = None
    ) -> TableDescription:
        """Return schema, releases and fidelity figures of a table; see `Client.describe`."""
        return await self._describe(table, version, self._expiry(timeout))

    @property
    def releases(self) -> AsyncReleases:
        """The server's loaded releases; see `Client.releases`."""
        self._check_open()
        return AsyncReleases(self)

    async def health(self, *, timeout: float | None = None) -> dict[str, str]:
        """Return the server's health by name; see `Client.health`."""
        expiry = self._expiry(timeout)
        try:
            listed = await self._channel.unary_unary(health.LIST)(
                health.NOTHING, timeout=self._left(expiry)
            )
            return health.statuses(listed)
        except grpc.RpcError as exc:
            if exc.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._error(exc) from exc
        try:
            check = self._channel.unary_unary(health.CHECK)
            said = await check(health.WHOLE_SERVER, timeout=self._left(expiry))
            return {"": health.status(said)}
        except grpc.RpcError as exc:
            raise self._error(exc) from exc

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server reports that it is serving; see `Client.wait_ready`."""
        expiry, said = self._expiry(timeout), "no answer"
        check = self._channel.unary_unary(health.CHECK)
        while True:
            patience = self._poll_or_raise(expiry, timeout, said)
            try:
                said = health.status(await check(health.WHOLE_SERVER, timeout=patience))
            except grpc.RpcError as exc:
                said = self._why_not_ready(exc)
            if said == "SERVING":
                return
            await self._sleep(POLL_INTERVAL)
