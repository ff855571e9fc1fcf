"""Prometheus metrics of requests, of pool and cache, and of the servers that run the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cascade_proto import synthesis_pb2 as pb
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class AnswersCollector(Collector):
    """Counters and gauges of requests and of where answers come from; absent parts have none."""

    def __init__(self, statistics: Callable[[], pb.GetStatisticsResponse]) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each count of the statistics."""
        found = self._statistics()
        yield of_outside(found.outside)
        if found.HasField("pool"):
            yield from of_pool(found.pool)
        if found.HasField("cache"):
            yield from of_cache(found.cache)


class ServersCollector(Collector):
    """Counters and gauges of the servers that run the networks; none if networks run here."""

    def __init__(self, statistics: Callable[[], pb.GetStatisticsResponse]) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each count of the statistics."""
        servers = self._statistics().servers
        for kind, name, help_, field in SERVERS if servers else ():
            metric = kind(name, help_, labels=("server",))
            for server in servers:
                metric.add_metric([server.target], getattr(server, field))
            yield metric


# Kind, name, help and field of the statistics.
SERVERS = (
    (
        GaugeMetricFamily,
        "cascade_runtime_server_up",
        "Whether a server that runs the networks is asked.",
        "up",
    ),
    (
        GaugeMetricFamily,
        "cascade_runtime_server_outstanding_rows",
        "Rows that it has now.",
        "outstanding_rows",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_batches_total",
        "Batches that it has answered.",
        "batches",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_rows_total",
        "Rows in them.",
        "rows",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_failures_total",
        "Batches that failed there.",
        "failures",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_failovers_total",
        "Batches that another server was asked for after they had failed there.",
        "failovers",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_hedges_total",
        "Batches that another server was asked for too, since it took too long.",
        "hedges",
    ),
    (
        CounterMetricFamily,
        "cascade_runtime_server_times_away_total",
        "How often it has gone away.",
        "times_away",
    ),
)


def of_outside(counts: Iterable[pb.OutsideStatistics]) -> Metric:
    """Return the metric of values that were never learnt, by their kind."""
    metric = CounterMetricFamily(
        "cascade_outside_values_total",
        "Values of answered rows that were never learnt, by column and kind.",
        labels=("table", "column", "kind"),
    )
    for each in counts:
        kind = pb.OutsideKind.Name(each.kind).removeprefix("OUTSIDE_KIND_").lower()
        metric.add_metric([each.table, each.column, kind], each.values)
    return metric


def of_pool(pool: pb.PoolStatistics) -> Iterator[Metric]:
    """Yield metrics of the pool's answers, by table and version, and of its content."""
    asked = CounterMetricFamily(
        "cascade_pool_requests_total",
        "Requests that pooled rows could answer, and whether there were enough.",
        labels=("table", "version", "outcome"),
    )
    made = CounterMetricFamily(
        "cascade_pool_refilled_rows_total",
        "Rows that were made ahead of time.",
        labels=("table", "version"),
    )
    rows = GaugeMetricFamily("cascade_pool_rows", "Rows in the pool.", labels=("table", "version"))
    for counts in pool.releases:
        labels = [counts.table, str(counts.version)]
        asked.add_metric([*labels, "hit"], counts.hits)
        asked.add_metric([*labels, "miss"], counts.misses)
        made.add_metric(labels, counts.refilled_rows)
        rows.add_metric(labels, counts.rows)
    dropped = CounterMetricFamily(
        "cascade_pool_dropped_rows_total", "Rows that nobody was given.", labels=("reason",)
    )
    dropped.add_metric(["age"], pool.expired_rows)
    dropped.add_metric(["room"], pool.evicted_rows)
    yield from (asked, made, rows, dropped)
    yield GaugeMetricFamily("cascade_pool_bytes", "Memory that the pool takes.", pool.bytes)
    yield GaugeMetricFamily(
        "cascade_pool_conditions", "Conditions that there are rows for.", pool.conditions
    )


def of_cache(cache: pb.CacheStatistics) -> Iterator[Metric]:
    """Yield metrics of requests with a seed, by their outcome, and of the cache's content."""
    asked = CounterMetricFamily(
        "cascade_cache_requests_total",
        "Requests with a seed, by where their answer was: here (hit), in the second level, being "
        "drawn for an equal request (joined), nowhere (miss).",
        labels=("outcome",),
    )
    asked.add_metric(["hit"], cache.hits)
    asked.add_metric(["second_level"], cache.second_level_hits)
    asked.add_metric(["joined"], cache.joined)
    asked.add_metric(["miss"], cache.misses)
    failures = CounterMetricFamily(
        "cascade_cache_second_level_failures_total",
        "Times that the shared cache was of no use; requests went on without it.",
        labels=("reason",),
    )
    for reason, count in cache.second_level_failures.items():
        failures.add_metric([reason], count)
    yield from (asked, failures)
    yield CounterMetricFamily(
        "cascade_cache_evicted_total", "Answers dropped to make room.", cache.evicted
    )
    yield GaugeMetricFamily("cascade_cache_entries", "Answers that are kept.", cache.entries)
    yield GaugeMetricFamily("cascade_cache_bytes", "Memory that they take.", cache.bytes)
