"""Prometheus metrics of every call and every objective, over HTTP."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

from cascade_proto import synthesis_pb2 as pb
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from cascade_server.addresses import host_port
from cascade_server.counts.answer_metrics import AnswersCollector, ServersCollector
from cascade_server.counts.certificate_metrics import CertificateCollector
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.rpc_metrics import RpcCollector
from cascade_server.counts.shared.call_counts import CallCounts, added
from cascade_server.counts.shared.live_versions import LiveVersions
from cascade_server.counts.usage_metrics import UsageCollector
from cascade_server.errors import ConfigError
from cascade_server.objectives import metric_names as slo_names
from cascade_server.objectives.blame import BLAMED, CallerFault
from cascade_server.objectives.burn import WINDOWS
from cascade_server.objectives.metric_names import NO_TIER
from cascade_server.objectives.report import OK, Report, Status
from cascade_server.telemetry.exemplars import Exemplars, Labels, Seen
from cascade_server.telemetry.scraping import App, Refusal, ScrapeServer, guarded
from cascade_server.terms import ServiceClass, Tier

CANARY = "canary_"
OPENMETRICS, AS_THEY_ARE = "application/openmetrics-text", "escaping=allow-utf-8"
LABELS = ("table", "class", "tier", "code")


class Metrics:
    """The Prometheus metrics of calls, objectives and statistics.

    Args:
        ledger: provides the objectives and the books.
        tables: the served tables. Their series exist from the start, at 0: a counter that first
            appears with an error has no rate.

    Attributes:
        exemplars: traces shown beside the latencies in OpenMetrics responses.
        since: when counters began, Unix nanoseconds. They begin anew with their books, which are
            replaced when a release of a new table is loaded.
    """

    def __init__(self, ledger: Ledger, tables: Collection[str]) -> None:
        self.registry = CollectorRegistry()
        self.since = round(1e9 * ledger.books.usage_since.own)
        counts = [book.calls for book in ledger.books.places]
        self.exemplars = Exemplars(counts[0].bounds)
        self.registry.register(CallsCollector(counts, tables, self.exemplars))
        self.registry.register(RpcCollector([book.rpcs for book in ledger.books.places]))
        self.registry.register(UsageCollector(ledger.books))
        self.registry.register(SloCollector(ledger))
        ProcessCollector(registry=self.registry)
        self._server: ScrapeServer | None = None

    def expose(
        self,
        statistics: Callable[[], pb.GetStatisticsResponse],
        live_versions: LiveVersions | None = None,
    ) -> None:
        """Also expose answers and engines, and which versions answer."""
        for collector in (AnswersCollector, ServersCollector, SteppingCollector):
            self.registry.register(collector(statistics))
        if live_versions is not None:
            self.registry.register(ReleasesCollector(live_versions))

    def expose_certificate(self, expiry: Callable[[], float], refused: Callable[[], bool]) -> None:
        """Also expose the server's certificate; see `CertificateCollector`."""
        self.registry.register(CertificateCollector(expiry, refused))

    def serve(self, host: str, port: int, refusal: Refusal | None = None) -> int:
        """Answer scrapes from a separate thread; return the port.

        Args:
            host, port: where to listen; port 0 for any free port.
            refusal: refuses clients that may not scrape; None to allow all.

        Raises:
            ConfigError: the port is taken.
        """
        app: App = with_names_as_they_are(make_wsgi_app(self.registry))
        if refusal is not None:
            app = guarded(app, refusal)
        try:
            self._server = ScrapeServer(host, port, app)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {host_port(host, port)} for metrics: {exc.strerror}"
            ) from exc
        return self._server.server_port

    def close(self) -> None:
        """Stop answering.

        It waits for the thread to notice, so do not call it from the event loop.
        """
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def with_names_as_they_are(app: App) -> App:
    """Return an application that answers scrapes and keeps the colons of `slo:objective:ratio`.

    A Prometheus that has always accepted such names requests OpenMetrics without naming an
    escaping. prometheus_client then replaces colons by underscores in samples, in OpenMetrics only.
    """

    def answer(environ: dict[str, Any], start: Any) -> Any:
        parts = environ.get("HTTP_ACCEPT", "").split(",")
        environ["HTTP_ACCEPT"] = ",".join(
            part if OPENMETRICS not in part or "escaping=" in part else f"{part};{AS_THEY_ARE}"
            for part in parts
        )
        return app(environ, start)

    return answer


class CallsCollector(Collector):
    """Calls and rows of all processes at the time of the scrape."""

    def __init__(
        self,
        counts: Sequence[CallCounts],
        tables: Collection[str],
        exemplars: Exemplars | None = None,
    ) -> None:
        self._counts = counts
        self._exemplars = exemplars or Exemplars(counts[0].bounds)
        self._always = {
            (table, service, *end)
            for table, service in product(tables, ServiceClass)
            for end in (
                *((tier, OK) for tier in Tier),
                *((None, code) for code in BLAMED),
                (None, CallerFault.DEADLINE_TOO_SHORT),
            )
        }

    def collect(self) -> Iterator[Metric]:
        """Yield calls by ending, their durations, and rows by the tier that drew them."""
        durations, seconds, rows = added(self._counts)
        first = self._counts[0]
        bounds = [floatToGoString(bound) for bound in (*first.bounds, math.inf)]
        requests = CounterMetricFamily(
            slo_names.REQUESTS, "Calls, by how they ended.", labels=LABELS
        )
        duration = HistogramMetricFamily(
            slo_names.DURATION,
            "Time that the server took for a call; not what a stream's reader took.",
            labels=LABELS,
        )
        drawn = CounterMetricFamily(slo_names.ROWS, "Rows that were answered.", labels=LABELS[:3])
        for key, counts, took in zip(first.keys, durations, seconds.tolist(), strict=True):
            table, service, tier, code = key
            calls = counts.cumsum().tolist()
            if not calls[-1] and key not in self._always:
                continue
            labels = (table, service, tier or NO_TIER, code.name)
            requests.add_metric(labels, calls[-1])
            if calls[-1] or code is OK:
                duration.add_metric(labels, self._buckets(labels, bounds, calls), took)
        for of_rows, number in zip(first.row_keys, rows.tolist(), strict=True):
            if number or (*of_rows, OK) in self._always:
                drawn.add_metric(of_rows, number)
        yield from (requests, duration, drawn)

    def _buckets(
        self, labels: Labels, bounds: Sequence[str], calls: Sequence[int]
    ) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Return a histogram's buckets, each with the trace of one of its calls if there is one."""
        seen = self._exemplars.of(labels)
        return [
            (bound, number, _exemplar(seen[place])) if place in seen else (bound, number)
            for place, (bound, number) in enumerate(zip(bounds, calls, strict=True))
        ]


def _exemplar(seen: Seen) -> Exemplar:
    return Exemplar({"trace_id": seen.trace_id}, seen.seconds, seen.at)


class SloCollector(Collector):
    """Objectives from the ledger at the time of the scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """Yield targets, error ratios, burn rates and budgets; see `families`."""
        yield from families(self._ledger.report())


class SteppingCollector(Collector):
    """Which tables' AUTO is stepped down at the time of the scrape."""

    def __init__(self, statistics: Callable[[], pb.GetStatisticsResponse]) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a gauge for each table that has ever stepped down."""
        metric = GaugeMetricFamily(
            "cascade_steps_down",
            "Tiers that AUTO leaves out because an error budget burns too fast.",
            labels=("table",),
        )
        for table, down in self._statistics().steps_down.items():
            metric.add_metric([table], down)
        yield metric


class ReleasesCollector(Collector):
    """Which versions answer, and the outcomes of reloads and trials."""

    def __init__(self, live_versions: LiveVersions) -> None:
        self._live_versions = live_versions

    def collect(self) -> Iterator[Metric]:
        """Yield reloads and trials by outcome, and each version's share of the requests."""
        totals = self._live_versions.totals()
        reloads = CounterMetricFamily(
            "cascade_reloads",
            "Times that new processes were to take over, and whether they did.",
            labels=("outcome",),
        )
        trials = CounterMetricFamily(
            "cascade_canaries", "Trials of a version, by what happened.", labels=("event",)
        )
        for event, number in totals.items():
            if event.startswith(CANARY):
                trials.add_metric([event.removeprefix(CANARY)], number)
            else:
                reloads.add_metric([event], number)
        shares = GaugeMetricFamily(
            "cascade_release_share",
            "Share of a table's requests that a version answers, of those that name none.",
            labels=("table", "version"),
        )
        for table in sorted(self._live_versions.tables):
            for version, share in self._live_versions.shares(table).items():
                shares.add_metric([table, str(version)], share)
        yield from (reloads, trials, shares)


def families(report: Report) -> Iterator[Metric]:
    """Yield a report under the names of Sloth (https://sloth.dev), one sample per objective."""
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
    if (period := f"{days}d") not in WINDOWS:  # otherwise it is there already
        yield family(
            slo_names.ERROR_RATIO.format(window=period),
            "Share of events that was bad, over the budget's time.",
            lambda status: status.events.error_ratio,
            sloth_window=period,
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
