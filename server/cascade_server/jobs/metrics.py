"""Prometheus metrics of offline jobs, from the ledger at the time of the scrape.

All numbers are in the ledger. They were counted in the transaction of each event, by whichever
process, of this server or of an earlier one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path

from cascade_jobs.errors import Cause, LedgerRefused
from cascade_jobs.ledger import NAME, Ledger
from cascade_jobs.ledger.counting import Count, JobStatistics
from cascade_jobs.states import JobState
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.jobs.desk import folder_of

log = logging.getLogger("cascade.server")

TIERS = ("student", "teacher")
NONE = JobStatistics(dict.fromkeys(JobState, 0), 0, 0.0, 0.0, 0, {})


class JobsCollector(Collector):
    """The number of jobs, their outcomes, and their disk usage.

    Args:
        state_dir: the server's state directory.
        limit_bytes: limit for results in the server's own folder.
        tables: the served tables. Their series, and those of every cause, exist from the start at
            0: a counter that first appears with an event has no rate.
    """

    def __init__(self, state_dir: Path, limit_bytes: int, tables: Collection[str]) -> None:
        self._path = folder_of(state_dir) / NAME
        self._limit, self._tables = limit_bytes, sorted(tables)

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each number of the ledger, or that it cannot be read."""
        found = self._statistics()
        yield GaugeMetricFamily(
            "cascade_job_ledger_up",
            "Whether the ledger of jobs can be read.",
            value=found is not None,
        )
        if found is not None:
            yield from self._gauges(found)
            yield from self._counters(found)

    def _statistics(self) -> JobStatistics | None:
        # No job has been submitted yet; a scrape must not create a ledger.
        if not self._path.exists():
            return NONE
        try:
            with Ledger(self._path) as ledger:
                return ledger.statistics()
        except (LedgerRefused, sqlite3.Error, OSError) as exc:
            log.error("jobs cannot be counted, %s: %s", self._path, exc)
            return None

    def _gauges(self, found: JobStatistics) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("cascade_jobs", "Jobs that are kept, by state.", labels=("state",))
        for state, number in found.states.items():
            jobs.add_metric([state], number)
        yield jobs
        for name, help_, value in (
            (
                "cascade_jobs_waiting",
                "Jobs that have not ended and cannot go on now; `cascade jobs list` says why.",
                found.waiting,
            ),
            (
                "cascade_job_oldest_pending_seconds",
                "Age of the oldest job that nobody has begun with; 0: there is none.",
                found.oldest_pending,
            ),
            (
                "cascade_job_oldest_waiting_seconds",
                "Time for which a job has not gone on, the longest; 0: all do.",
                found.oldest_waiting,
            ),
            (
                "cascade_job_disk_bytes",
                "Bytes of results in the server's own folder.",
                found.bytes,
            ),
            (
                "cascade_job_disk_limit_bytes",
                "Bytes that they may take: job_disk_mib.",
                self._limit,
            ),
        ):
            yield GaugeMetricFamily(name, help_, value=value)

    def _counters(self, found: JobStatistics) -> Iterator[Metric]:
        made = {(table, tier) for count, table, tier in found.counts if count is Count.ROWS}
        keys = sorted(made | set(product(self._tables, TIERS)))
        for count, name, help_ in (
            (Count.SHARDS, "cascade_job_shards", "Files of rows that are whole."),
            (Count.ROWS, "cascade_job_rows", "Rows in files that are whole."),
        ):
            counter = CounterMetricFamily(name, help_, labels=("table", "tier"))
            for table, tier in keys:
                counter.add_metric([table, tier], found.counts.get((count, table, tier), 0))
            yield counter
        for count, name, help_ in (
            (
                Count.RETRIES,
                "cascade_job_retries",
                "Times that a file could not be made then, and is tried again, by why.",
            ),
            (Count.FAILURES, "cascade_job_failures", "Jobs that have failed, by why."),
        ):
            counter = CounterMetricFamily(name, help_, labels=("reason",))
            for cause in Cause:
                counter.add_metric([cause], found.counts.get((count, "", cause), 0))
            yield counter
        yield CounterMetricFamily(
            "cascade_job_leases_lost",
            "Files that another one makes, since whoever made them was gone or silent.",
            value=found.counts.get((Count.LEASES_LOST, "", ""), 0),
        )
