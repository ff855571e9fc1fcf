"""The life of the process that keeps a server's books, and how any process of it lives."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import CascadeTablesError

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


def keeper(
    config: ServerConfig,
    books: Books,
    metrics: list[int],
    pages: list[int],
    credentials: Credentials | None,
    files: Files,
    spans: SpanPipe | None,
    post: Post,
    _begin: Begin,
) -> None:
    """Keep the state file, answer scrapes, export spans and serve the operations page, until
    SIGTERM; no generation ends it."""

    async def life() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        # What looks at its files once more when it is told to.
        looks: list[Callable[[], Any]] = []
        loop.add_signal_handler(signal.SIGHUP, lambda: [look() for look in looks])
        place = len(books.places) - 1
        of_port = replace(config, metrics_port=metrics[0]) if metrics else config
        sla = Sla(of_port, books=books, place=place)
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
                    # By the same decisions as the workers': what they show is what is told here.
                    credentials.expose(sla.metrics.expose_certificate)
                    credentials.start_looking(config.tls_poll_seconds)
                    looks.append(partial(credentials.look, at_once=True))
                if access is not None:
                    expose_access(sla, access)
                if config.state_dir is not None:
                    # What answers scrapes is imported by who is scraped.
                    from cascade_server.jobs.metrics import JobsCollector

                    jobs = JobsCollector(config.state_dir, config.job_disk_bytes, books.tables)
                    sla.metrics.registry.register(jobs)
                if not metrics and config.metrics_port is not None:
                    port = sla.metrics_port or 0
                    post.tell(metrics=f"{METRICS}http://{host_port(config.host, port)}/metrics")
            if config.ops_port is not None:
                # Few servers have a page, and what serves it takes a while to import.
                from cascade_server.page.operations_page import OperationsPage

                of_page = replace(config, ops_port=pages[0]) if pages else config
                page = OperationsPage(of_page, sla.ledger, statistics, files.prices_now())
                address = await page.start()
                if not pages:
                    post.tell(page=f"{PAGE}{address}")
            post.tell(ready=True)
            await stop.wait()
        finally:
            there = [each.stop for each in (telling, watch, quotas, page) if each is not None]
            await all_end(*there, meter.stop, sla.stop)
            if auditor is not None:
                await asyncio.to_thread(auditor.close)

    run_life(life, post)


def run_life(life: Callable[[], Any], post: Post) -> None:
    """Live in an event loop; what it cannot go on for is told, and ends the process."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(life())
    except ReleaseRefused as exc:
        post.tell(error=str(exc), release=[exc.table, exc.version])
        raise SystemExit(1) from exc
    except (ServerError, CascadeTablesError) as exc:
        post.tell(error=str(exc))
        raise SystemExit(1) from exc
