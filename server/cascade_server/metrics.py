"""Prometheus metrics of every call and every objective, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from http.server import HTTPServer
from itertools import product

import grpc
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server import slo_names
from cascade_server.burn import WINDOWS
from cascade_server.errors import ConfigError
from cascade_server.ledger import BLAMED, OK, Ledger, Report, Status
from cascade_server.objectives import ClassOfService, Objective
from cascade_server.router import Tier
from cascade_server.slo_names import CAN_ANSWER, NO_TIER
from cascade_server.stepping import Stepping

LABELS = ("table", "class", "tier", "code")
Key = tuple[str, ClassOfService, Tier | None, grpc.StatusCode]


class Metrics:
    """Counts calls for Prometheus; the ledger counts them for objectives.

    Args:
        ledger: whose objectives are exposed.
        tables: those that are served. Their series are there from the start, at 0: a counter that
            appears with its first error has no rate.
    """

    def __init__(self, ledger: Ledger, tables: Collection[str]) -> None:
        # A second series for each, of when it was created; nothing here reads them.
        prometheus_client.disable_created_metrics()
        self.registry = CollectorRegistry()
        self._requests = Counter(
            slo_names.REQUESTS, "Calls, by how they ended.", LABELS, registry=self.registry
        )
        self._duration = Histogram(
            slo_names.DURATION,
            "Time that the server took for a call; not what a stream's reader took.",
            LABELS,
            registry=self.registry,
            buckets=buckets(ledger.objectives),
        )
        self._rows = Counter(
            slo_names.ROWS, "Rows that were answered.", LABELS[:3], registry=self.registry
        )
        self._calls: dict[Key, tuple[Counter, Histogram]] = {}
        self._of_rows: dict[tuple[str, ClassOfService, Tier], Counter] = {}
        self.registry.register(SloCollector(ledger))
        ProcessCollector(registry=self.registry)
        self._server: HTTPServer | None = None
        for table, service in product(sorted(tables), ClassOfService):
            for tier in CAN_ANSWER[service]:
                self._call((table, service, tier, OK))
                self._rows_of((table, service, tier))
            for code in BLAMED:
                self._requests.labels(table, service, NO_TIER, code.name)

    def record(
        self,
        table: str,
        service: ClassOfService,
        tier: Tier | None,
        code: grpc.StatusCode,
        seconds: float,
    ) -> None:
        """The end of a call; see `Ledger.record`."""
        key = (table, service, tier, code)
        requests, duration = self._calls.get(key) or self._call(key)
        requests.inc()
        duration.observe(seconds)

    def record_rows(self, table: str, service: ClassOfService, tier: Tier, rows: int) -> None:
        """Rows that are on their way; see `Ledger.record_rows`."""
        key = (table, service, tier)
        (self._of_rows.get(key) or self._rows_of(key)).inc(rows)

    def _call(self, key: Key) -> tuple[Counter, Histogram]:
        # Looking a child up by its labels costs more than counting.
        table, service, tier, code = key
        labels = (table, service, NO_TIER if tier is None else tier, code.name)
        children = (self._requests.labels(*labels), self._duration.labels(*labels))
        self._calls[key] = children
        return children

    def _rows_of(self, key: tuple[str, ClassOfService, Tier]) -> Counter:
        child = self._of_rows[key] = self._rows.labels(*key)
        return child

    def serve(self, host: str, port: int) -> int:
        """Answer scrapes from a thread of its own; returns the port.

        Raises:
            ConfigError: the port is taken.
        """
        try:
            self._server, _ = prometheus_client.start_http_server(port, host, self.registry)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {host}:{port} for metrics: {exc.strerror}"
            ) from exc
        return self._server.server_port

    def close(self) -> None:
        """Stop answering; waits for the thread to notice, so not from the event loop."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def buckets(objectives: Collection[Objective]) -> list[float]:
    """Bounds of the histogram; a latency objective is read off it only at one of them."""
    thresholds = {each.threshold for each in objectives if each.threshold is not None}
    return sorted({*slo_names.BUCKETS, *thresholds})


class SloCollector(Collector):
    """Objectives, as the ledger has them when it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """A metric for each of Sloth's names."""
        yield from families(self._ledger.report())


class SteppingCollector(Collector):
    """Which tables' AUTO is stepped down, as it is when it is asked."""

    def __init__(self, stepping: Stepping) -> None:
        self._stepping = stepping

    def collect(self) -> Iterator[Metric]:
        """A gauge for each table that has ever stepped down."""
        metric = GaugeMetricFamily(
            "cascade_steps_down",
            "Tiers that AUTO leaves out because an error budget burns too fast.",
            labels=("table",),
        )
        for table, down in self._stepping.steps.items():
            metric.add_metric([table], down)
        yield metric


def families(report: Report) -> Iterator[Metric]:
    """A report in Sloth's names."""
    days = report.window // 86_400
    identities = {
        status.objective: {
            **slo_names.identity(report.service, status.objective),
            **slo_names.descriptive(status.objective),
        }
        for status in report.statuses
    }

    def family(name: str, help_: str, value: Callable[[Status], float], **more: str) -> Metric:
        samples = [(identities[each.objective] | more, value(each)) for each in report.statuses]
        names = list(samples[0][0]) if samples else []
        metric = GaugeMetricFamily(name, help_, labels=names)
        for labels, number in samples:
            metric.add_metric(list(labels.values()), number)
        return metric

    yield family(
        slo_names.OBJECTIVE,
        "Share of events that is to be good.",
        lambda status: status.objective.target,
    )
    yield family(
        slo_names.ERROR_BUDGET,
        "Share of events that may be bad.",
        lambda status: 1 - status.objective.target,
    )
    yield family(slo_names.PERIOD_DAYS, "Days of an error budget.", lambda _: days)
    for window in WINDOWS:
        yield family(
            slo_names.ERROR_RATIO.format(window=window),
            f"Share of events that was bad, over {window}.",
            partial(_error_ratio, window),
            sloth_window=window,
        )
    yield family(
        slo_names.ERROR_RATIO.format(window=f"{days}d"),
        "Share of events that was bad, over the budget's time.",
        lambda status: status.events.error_ratio,
        sloth_window=f"{days}d",
    )
    yield family(
        slo_names.CURRENT_BURN_RATE,
        "How many times faster than allowed the budget burns, over 5m.",
        lambda status: status.burn_rates["5m"],
    )
    yield family(
        slo_names.PERIOD_BURN_RATE,
        "Share of the error budget that is spent.",
        lambda status: 1 - status.budget_remaining,
    )
    yield family(
        slo_names.BUDGET_REMAINING,
        "Share of the error budget that is left; below 0: overspent.",
        lambda status: status.budget_remaining,
    )


def _error_ratio(window: str, status: Status) -> float:
    return status.windows[window].error_ratio
