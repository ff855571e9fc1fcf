"""Prometheus metrics of computation by beneficiary, and of the processes' usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.compute import UsageTier, Used
from cascade_server.counts.shared.process_usage import Held, ProcessRole, ProcessUsed
from cascade_server.counts.usage import Usage, usage_of_this

LABELS = ("table", "tier", "tenant")
IDLE = "idle"
Key = tuple[str, str, str]


class UsageCollector(Collector):
    """Usage of all processes of this server at the time of the scrape."""

    def __init__(self, books: Books) -> None:
        self._books, self._idle = books, 0.0

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield processors and rows by beneficiary; processors and memory by role and tier."""
        usage = usage_of_this(self._books)
        # Processes report their usage once a second; the counter must not fall because of that.
        self._idle = max(self._idle, idle_seconds(usage))
        yield from _of_compute(billed(usage), self._idle)
        yield from _of_processes(usage.processes)


def billed(usage: Usage) -> Mapping[Key, Used]:
    """Return usage by table, tier and tenant.

    What was made for the pool counts as the pool's, and its rows count when a request takes them.
    """
    found: dict[Key, Used] = {}
    for key, used in usage.compute.items():
        tier = key.tier
        if tier is UsageTier.REFILL:
            tier, used = UsageTier.POOL, Used(used.seconds, used.gpu_seconds)
        elif tier is UsageTier.GENERATE:
            tier = UsageTier.TEACHER
        name = key.table, str(tier), key.tenant
        found[name] = found.get(name, Used()).plus(used)
    return found


def idle_seconds(usage: Usage) -> float:
    """Return the processor seconds used for no request: to load, to keep books, to refuse."""
    whole = sum(each.seconds for each in usage.processes.values())
    return max(0.0, whole - sum(each.seconds for each in usage.compute.values()))


def _of_compute(found: Mapping[Key, Used], idle: float) -> Iterator[Metric]:
    seconds = CounterMetricFamily(
        "cascade_compute_seconds",
        "Processor seconds, by whom they were for; tier idle: for no request.",
        labels=LABELS,
    )
    seconds.add_metric(["", IDLE, ""], idle)
    gpus = CounterMetricFamily(
        "cascade_gpu_seconds", "Seconds of GPUs, by whom they were for.", labels=LABELS
    )
    answers = CounterMetricFamily(
        "cascade_compute_answers", "Answers, messages and parts of jobs.", labels=LABELS
    )
    rows = CounterMetricFamily(
        "cascade_compute_rows", "Rows that were computed or given out.", labels=LABELS
    )
    tokens = CounterMetricFamily(
        "cascade_compute_tokens", "Tokens of these rows that were not given.", labels=LABELS
    )
    for name, used in found.items():
        seconds.add_metric(name, used.seconds)
        answers.add_metric(name, used.answers)
        rows.add_metric(name, used.rows)
        tokens.add_metric(name, used.tokens)
        if used.gpu_seconds:
            gpus.add_metric(name, used.gpu_seconds)
    yield from (seconds, gpus, answers, rows, tokens)


def _of_processes(found: Mapping[ProcessRole, ProcessUsed]) -> Iterator[Metric]:
    seconds = CounterMetricFamily(
        "cascade_process_compute_seconds", "Processor seconds, whatever for.", labels=("role",)
    )
    memory = GaugeMetricFamily(
        "cascade_process_memory_bytes",
        "Memory of processes; what they share counts in parts.",
        labels=("role",),
    )
    peak = GaugeMetricFamily(
        "cascade_process_memory_peak_bytes", "The most that each has had, added.", labels=("role",)
    )
    lasting = CounterMetricFamily(
        "cascade_process_memory_byte_seconds",
        "Memory times the time it was held.",
        labels=("role",),
    )
    for role, used in found.items():
        seconds.add_metric([role], used.seconds)
        memory.add_metric([role], used.held.process)
        peak.add_metric([role], used.peak)
        lasting.add_metric([role], used.byte_seconds.process)
    by_tier = GaugeMetricFamily(
        "cascade_tier_memory_bytes", "Memory by what it is for.", labels=("tier",)
    )
    for tier, size in memory_of_tiers({role: used.held for role, used in found.items()}).items():
        by_tier.add_metric([tier], size)
    yield from (seconds, memory, peak, lasting, by_tier)


def memory_of_tiers(held: Mapping[ProcessRole, Held]) -> Mapping[str, float]:
    """Return bytes by purpose. A worker's memory beyond pool and cache counts as the student's."""
    worker = held.get(ProcessRole.WORKER, Held())
    return {
        "student": max(0.0, worker.process - worker.pool - worker.cache),
        "pool": worker.pool,
        "cache": worker.cache,
        "teacher": held.get(ProcessRole.TEACHER, Held()).process,
        "job": held.get(ProcessRole.EXECUTOR, Held()).process,
    }
