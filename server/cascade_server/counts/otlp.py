"""Sends everything that Prometheus sees to an OpenTelemetry collector at regular intervals.

Nothing is counted twice: the process that keeps the books reads the numbers from the memory that
all processes share when it sends them. Names are the same as Prometheus's, except
`rpc.server.call.duration`, whose name the OpenTelemetry conventions define.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from prometheus_client.samples import Sample

from cascade_server.counts.rpc_metrics import CONVENTIONAL
from cascade_server.telemetry.exporting import (
    EXPORT_SECONDS,
    SCHEMA,
    SCOPE,
    Remarks,
    resource,
    session_of,
)

log = logging.getLogger("cascade.server")

CUMULATIVE = AggregationTemporality.CUMULATIVE
# As in the SDK's own reader, in milliseconds.
INTERVAL_VARIABLE, INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL", 60_000
UNITS = {"_seconds": "s", "_seconds_total": "s", "_bytes": "By", "_bytes_total": "By"}


def metrics_data(families: Iterable[Metric], who: Resource, since: int, now: int) -> MetricsData:
    """Convert Prometheus's families to OTLP.

    Args:
        families: as a registry collects them.
        who: the server that they describe.
        since, now: when counting began, and the time of the values; Unix nanoseconds.
    """
    found = [metric for each in families if (metric := _metric(each, since, now)) is not None]
    scope = ScopeMetrics(SCOPE, found, SCHEMA)
    return MetricsData([ResourceMetrics(who, [scope], SCHEMA)])


def _metric(family: Metric, since: int, now: int) -> OtlpMetric | None:
    samples = [each for each in family.samples if not each.name.endswith("_created")]
    if not samples:
        return None
    name, labels = CONVENTIONAL.get(family.name, (samples[0].name, {}))
    if family.type == "histogram":
        points = list(_histograms(samples, labels, since, now))
        name = name if family.name in CONVENTIONAL else family.name
        return OtlpMetric(name, family.documentation, _unit(name), Histogram(points, CUMULATIVE))
    numbers = [
        NumberDataPoint(dict(each.labels), since, now, each.value)
        for each in samples
        if each.name == name and math.isfinite(each.value)
    ]
    if family.type == "counter":
        data: Sum | Gauge = Sum(numbers, CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge(numbers)
    return OtlpMetric(name, family.documentation, _unit(name), data)


def _unit(name: str) -> str:
    if name in {known for known, _ in CONVENTIONAL.values()}:
        return "s"
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "1")


def _histograms(
    samples: Sequence[Sample], names: dict[str, str], since: int, now: int
) -> Iterable[HistogramDataPoint]:
    """Convert a histogram's series to points; Prometheus's buckets are cumulative."""
    series: dict[tuple[tuple[str, str], ...], dict[str, list[Sample]]] = {}
    for each in samples:
        labels = tuple((names.get(k, k), v) for k, v in each.labels.items() if k != "le")
        kind = each.name.rpartition("_")[2]
        series.setdefault(labels, {}).setdefault(kind, []).append(each)
    for labels, kinds in series.items():
        upto = [int(each.value) for each in kinds["bucket"]]
        bounds = [float(each.labels["le"]) for each in kinds["bucket"]]
        yield HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=since,
            time_unix_nano=now,
            count=upto[-1],
            sum=kinds["sum"][0].value if "sum" in kinds else 0.0,
            bucket_counts=[upto[0], *(b - a for a, b in pairwise(upto))],
            explicit_bounds=[each for each in bounds if math.isfinite(each)],
            # Minimum and maximum are not recorded.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


class MetricsPusher:
    """Sends metrics at regular intervals, in a separate thread.

    Args:
        collect: returns the metrics.
        exporter: sends them.
        who: the server that they describe.
        since: when counting began, Unix nanoseconds.
        remarks: receives the outcome of each attempt.
        seconds: interval between sends.
    """

    def __init__(
        self,
        collect: Callable[[], Iterable[Metric]],
        exporter: MetricExporter,
        who: Resource,
        since: int,
        remarks: Remarks,
        seconds: float,
    ) -> None:
        self._collect, self._exporter, self._who, self._since = collect, exporter, who, since
        self._remarks, self._seconds = remarks, seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self.push()

    def push(self) -> None:
        """Send the current metrics; an error is logged, and the next ones are sent nonetheless."""
        result = MetricExportResult.FAILURE
        try:
            data = metrics_data(self._collect(), self._who, self._since, time.time_ns())
            result = self._exporter.export(data)
        except Exception as exc:  # a defect, which must not end the thread
            log.error("metrics could not be pushed", exc_info=exc)
        self._remarks.came_out(result is MetricExportResult.SUCCESS)

    def close(self) -> None:
        """Send a last time, unless sending has been failing or takes too long."""
        self._stopping.set()
        if not self._remarks.failing:
            last = threading.Thread(target=self.push, daemon=True)
            last.start()
            last.join(EXPORT_SECONDS / 2)
        self._exporter.shutdown()


def to_collector(
    endpoint: str, name: str, since: int, collect: Callable[[], Iterable[Metric]]
) -> MetricsPusher:
    """Send to a collector's OTLP/HTTP receiver, at the interval OTEL_METRIC_EXPORT_INTERVAL."""
    exporter = OTLPMetricExporter(
        f"{endpoint.rstrip('/')}/v1/metrics", timeout=EXPORT_SECONDS, session=session_of("METRICS")
    )
    said = os.environ.get(INTERVAL_VARIABLE, "")
    seconds = (int(said) if said.isdigit() and int(said) else INTERVAL) / 1000
    remarks = Remarks("metrics", endpoint)
    return MetricsPusher(collect, exporter, resource(name), since, remarks, seconds)
