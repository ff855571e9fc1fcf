"""What a server uses, as Prometheus sees it: processors and memory, by what processes do."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.counts.shared.books import Books
from cascade_server.counts.usage import usage_of


class UsageCollector(Collector):
    """All processes of a server, as they are when it is asked."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def describe(self) -> list[Metric]:
        """Nothing: what there is is asked for when it is scraped."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Processes by role, and what answers have taken of processors, by whose they were."""
        usage = usage_of(self._books)
        alive = GaugeMetricFamily("cascade_processes", "Processes that live.", labels=("role",))
        seconds = CounterMetricFamily(
            "cascade_process_cpu_seconds_total",
            "Processor time of processes, of those that have ended too.",
            labels=("role",),
        )
        memory = GaugeMetricFamily(
            "cascade_process_memory_bytes", "Memory that processes have now.", labels=("role",)
        )
        for role, used in usage.processes.items():
            alive.add_metric([role], used.processes)
            seconds.add_metric([role], used.seconds)
            memory.add_metric([role], used.held.process)
        compute = CounterMetricFamily(
            "cascade_compute_seconds_total",
            "Processor time of answers, by who drew them and whose they were.",
            labels=("table", "tier", "tenant"),
        )
        for key, spent in usage.compute.items():
            compute.add_metric([key.table, key.tier, key.tenant], spent.seconds)
        yield from (alive, seconds, memory, compute)
