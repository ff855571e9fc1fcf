"""Starts and stops the operations page, in the process that keeps the books."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cascade_cost import Prices
from cascade_proto import synthesis_pb2 as pb

from cascade_server.addresses import host_port
from cascade_server.config import ServerConfig
from cascade_server.counts.bill import BillSection
from cascade_server.counts.ledger import Ledger
from cascade_server.errors import ConfigError
from cascade_server.page.looking import Look
from cascade_server.page.publishing import Publisher
from cascade_server.page.sections import JobsSection, Section
from cascade_server.page.serving import PageServer


class OperationsPage:
    """The HTTP server at `ops_port`.

    Args:
        config: the server's configuration, with the port that it listens on.
        ledger: provides the books.
        statistics: returns the statistics of all processes.
        prices: prices of usage.
        sections: parts from other packages; see `Section`.
    """

    def __init__(
        self,
        config: ServerConfig,
        ledger: Ledger,
        statistics: Callable[[], pb.GetStatisticsResponse],
        prices: Prices,
        sections: Sequence[Section] = (),
    ) -> None:
        self._config = config
        bill = BillSection(ledger.books, prices)
        own = [Section("cost", bill), *sections]
        if config.state_dir is not None:
            own.append(Section("jobs", JobsSection(config.state_dir, config.job_disk_bytes)))
        self._publisher = Publisher(lambda: Look(config, ledger, statistics, own))
        self._server = PageServer(self._publisher, (config.ops_host, *config.ops_names))

    async def start(self) -> str:
        """Listen, and start recording the past; return the page's address.

        Raises:
            ConfigError: the server cannot listen on the address.
        """
        host, port = self._config.ops_host, self._config.ops_port or 0
        try:
            port = await self._server.start(host, port)
        except OSError as exc:
            why = exc.strerror or exc
            raise ConfigError(
                f"cannot listen on {host_port(host, port)} for the operations page: {why}"
            ) from exc
        await self._publisher.start()
        return f"http://{host_port(host, port)}/"

    async def stop(self) -> None:
        """Stop the HTTP server, and stop making snapshots for it."""
        await self._server.stop()
        await self._publisher.stop()
