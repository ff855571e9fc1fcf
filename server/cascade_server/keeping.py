"""The process that keeps a server's books, and the event loop that all its processes use.

The *books* are the counts of all processes, in shared memory. The keeper writes them to the state
file and publishes them: to Prometheus, as exported telemetry, and on the operations page.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import CascadeTablesError

from cascade_server.access.access import Access
from cascade_server.access.quotas import QuotaFile
from cascade_server.addresses import host_port
from cascade_server.config import ServerConfig
from cascade_server.counts.metering import ProcessMeter
from cascade_server.counts.shared.books import Books
from cascade_server.counts.sla import Sla
from cascade_server.counts.telling import Telling
from cascade_server.errors import ReleaseRefused, ServerError
from cascade_server.services.guarded import (
    Files,
    expose_access,
    open_access,
    open_auditor,
    open_watch,
)
from cascade_server.supervision.crews import Begin, Post
from cascade_server.supervision.ending import all_end
from cascade_server.telemetry.span_pipe import SpanPipe
from cascade_server.transport.tls.credentials import Credentials

if TYPE_CHECKING:
    from cascade_server.page.operations_page import OperationsPage

METRICS, PAGE = "metrics on ", "operations page on "


@dataclass
class KeeperPorts:
    """The HTTP ports of the keeper, so that a restarted keeper uses the same ones.

    If the settings say 0, the first keeper finds free ports and reports them to the supervisor,
    which calls `note`. Processes forked later inherit the ports.

    Attributes:
        metrics: Prometheus's; None: not known yet.
        page: the operations page's; None: not known yet.
    """

    metrics: int | None = None
    page: int | None = None

    def note(self, message: str) -> None:
        """Store the port in a keeper's terminal message, if it is the first of its kind."""
        if self.metrics is None and message.startswith(METRICS):
            self.metrics = _port_of(message)
        elif self.page is None and message.startswith(PAGE):
            self.page = _port_of(message)


def _port_of(message: str) -> int:
    """Return the port of the URL that ends a message."""
    return int(message.rpartition(":")[2].partition("/")[0])


def keeper(
    config: ServerConfig,
    books: Books,
    ports: KeeperPorts,
    credentials: Credentials | None,
    files: Files,
    spans: SpanPipe | None,
    post: Post,
    _begin: Begin,
) -> None:
    """Keep the state file, answer scrapes, export spans and serve the operations page.

    Runs until SIGTERM, and outlives generations of workers.

    Args:
        config: the settings.
        books: the counts of all processes.
        ports: as found by an earlier keeper.
        credentials: TLS credentials, whose certificate the metrics show; None: no TLS.
        files: the files that settings name.
        spans: delivers traces' spans from all processes; None: spans are not collected.
        post: the connection to the supervisor.
    """

    async def life() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        # Functions that check files; SIGHUP calls them at once.
        looks: list[Callable[[], Any]] = []
        loop.add_signal_handler(signal.SIGHUP, lambda: [look() for look in looks])
        place = len(books.places) - 1
        with_port = config if ports.metrics is None else replace(config, metrics_port=ports.metrics)
        sla = Sla(with_port, books=books, place=place)
        telling = None
        auditor = open_auditor(config)
        access = open_access(config, sla, files, auditor)
        watch = open_watch(files, access, books.executors)
        quotas = None
        if access is not None and config.state_dir is not None:
            quotas = QuotaFile(config.state_dir, access, config.state_seconds)
        statistics = partial(books.statistics, pb.GetStatisticsResponse(), place)
        page: OperationsPage | None = None
        meter = ProcessMeter(books.processes[place])
        meter.start()
        try:
            await sla.start()
            if watch is not None:
                watch.start()
                looks.append(watch.look_now)
            if quotas is not None:
                quotas.restore()
                quotas.start()
            if spans is not None:
                telling = Telling(config, spans, sla.metrics)
            if sla.metrics is not None:
                sla.metrics.expose(statistics, books.live_versions)
                if credentials is not None:
                    # The keeper reads the files as the workers do, and so shows their certificate.
                    credentials.expose(sla.metrics.expose_certificate)
                    credentials.start_looking(config.tls_poll_seconds)
                    looks.append(partial(credentials.look, at_once=True))
                _expose_others(sla, config, access, books)
                if ports.metrics is None and config.metrics_port is not None:
                    address = host_port(config.host, sla.metrics_port or 0)
                    post.tell(metrics=f"{METRICS}http://{address}/metrics")
            if config.ops_port is not None:
                page = _operations_page(config, ports, sla, statistics, files)
                address = await page.start()
                if ports.page is None:
                    post.tell(page=f"{PAGE}{address}")
            post.tell(ready=True)
            await stop.wait()
        finally:
            there = [each.stop for each in (telling, watch, quotas, page) if each is not None]
            await all_end(*there, meter.stop, sla.stop)
            if auditor is not None:
                await asyncio.to_thread(auditor.close)

    run_life(life, post)


def _expose_others(sla: Sla, config: ServerConfig, access: Access | None, books: Books) -> None:
    """Add the metrics of tenants and of jobs, if there are any."""
    if access is not None:
        expose_access(sla, access)
    if sla.metrics is not None and config.state_dir is not None:
        # Imported here because only a scraped keeper needs it.
        from cascade_server.jobs.metrics import JobsCollector

        jobs = JobsCollector(config.state_dir, config.job_disk_bytes, books.tables)
        sla.metrics.registry.register(jobs)


def _operations_page(
    config: ServerConfig,
    ports: KeeperPorts,
    sla: Sla,
    statistics: Callable[[], pb.GetStatisticsResponse],
    files: Files,
) -> OperationsPage:
    """Create the operations page, which the caller starts."""
    # Imported here because it takes a while and few servers have a page.
    from cascade_server.page.operations_page import OperationsPage

    with_port = config if ports.page is None else replace(config, ops_port=ports.page)
    return OperationsPage(with_port, sla.ledger, statistics, files.prices_now())


def run_life(life: Callable[[], Any], post: Post) -> None:
    """Run a process's main coroutine in its own event loop.

    An error that the operator can fix is reported to the supervisor and ends the process with
    status 1. Any other error is a defect and is raised.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(life())
    except ReleaseRefused as exc:
        post.tell(error=str(exc), release=[exc.table, exc.version])
        raise SystemExit(1) from exc
    except (ServerError, CascadeTablesError) as exc:
        post.tell(error=str(exc))
        raise SystemExit(1) from exc
