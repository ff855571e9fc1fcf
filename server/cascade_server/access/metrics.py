"""Prometheus metrics of access control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.access import rates
from cascade_server.access.access import REASONS, Access
from cascade_server.access.grants import AccessConfig

# The first tenants of the file have their own series; all others share one.
MOST_NAMED, OTHERS = 100, "(others)"


class AccessCollector(Collector):
    """Refusals by reason, calls and rows by tenant, of all processes of a server.

    Args:
        access: the access control of the process that answers scrapes.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def describe(self) -> list[Metric]:
        """Return nothing: metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        # One snapshot for the whole scrape: this is a thread, and the file may be reloaded.
        holding, counts = self._access.holding, self._access.counts.all
        refusals = CounterMetricFamily(
            "cascade_access_refusals", "Calls that were refused, by why.", labels=("reason",)
        )
        for reason, number in zip(REASONS, counts.refusals(), strict=False):
            refusals.add_metric([str(reason)], number)
        yield refusals
        named, others = holding.named(MOST_NAMED)
        calls = CounterMetricFamily(
            "cascade_access_calls", "Calls that were let in.", labels=("tenant",)
        )
        rows = CounterMetricFamily(
            "cascade_access_rows", "Rows that tenants were let have.", labels=("tenant",)
        )
        for family, name in ((calls, "calls"), (rows, "answered")):
            for tenant, slot in named.items():
                family.add_metric([tenant], counts.total(name, slot))
            if others:
                family.add_metric([OTHERS], sum(counts.total(name, slot) for slot in others))
        yield from (calls, rows)
        yield self._quotas(holding.config, named)
        reloads = CounterMetricFamily(
            "cascade_access_reloads",
            "Times that the file of who may ask was read anew, by what became of it.",
            labels=("outcome",),
        )
        reloads.add_metric(["taken"], self._access.reloads)
        reloads.add_metric(["refused"], self._access.failed_reloads)
        yield reloads

    def _quotas(self, config: AccessConfig, named: Mapping[str, int]) -> Metric:
        access, day = self._access, rates.day_of(self._access.now())
        used = GaugeMetricFamily(
            "cascade_access_quota_used_ratio",
            "Share of a tenant's quota of the day (UTC) that is used.",
            labels=("tenant", "quota"),
        )
        for tenant, slot in named.items():
            grant = config.tenants[tenant].grant
            if grant.rows_a_day:
                share = access.counts.all.today("rows", slot, day) / grant.rows_a_day
                used.add_metric([tenant, "rows"], share)
            if grant.cost_a_day:
                share = access.cost_today(slot) / grant.cost_a_day
                used.add_metric([tenant, "cost"], share)
        return used
