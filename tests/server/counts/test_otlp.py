"""Metrics on their way to a collector."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")

from cascade_server.counts.ledger import Ledger
from cascade_server.counts.metrics import Metrics
from cascade_server.counts.otlp import MetricsPusher
from cascade_server.counts.shared.books import Books
from cascade_server.objectives.objective import SloConfig
from cascade_server.releases.next_generation import carry_over
from cascade_server.telemetry.exporting import Remarks
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

NEVER = 1e6


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[MetricsData] = []

    def export(self, data: MetricsData) -> MetricExportResult:
        self.given.append(data)
        return MetricExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_what_cannot_be_collected_once_is_sent_the_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks = iter([OSError("the ledger is gone"), None])

    def collect() -> Iterator[Metric]:
        if (error := next(looks)) is not None:
            raise error
        yield CounterMetricFamily("calls", "Calls.", value=3)

    kept = Kept()
    remarks = Remarks("metrics", "http://collector")
    pusher = MetricsPusher(collect, kept, Resource({}), 5, remarks, NEVER)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        pusher.push()
        assert remarks.failing
        assert "metrics could not be pushed" in caplog.text
        pusher.push()
    assert not remarks.failing
    [data] = kept.given
    [scope] = data.resource_metrics[0].scope_metrics
    [point] = scope.metrics[0].data.data_points
    assert (point.start_time_unix_nano, point.value) == (5, 3)  # type: ignore[union-attr]
    pusher.close()


def test_counters_begin_with_the_books_that_they_are_read_from() -> None:
    now = 1_796_000_000.0
    old = Books(SloConfig(), ["credit"], clock=lambda: now)
    now += 3600
    new = Books(SloConfig(), ["credit", "new"], clock=lambda: now)
    carry_over(old, new)
    began = [
        Metrics(Ledger(each.config, each.tables, each.clock, each), each.tables).since
        for each in (old, new)
    ]
    assert began == [1_796_000_000 * 10**9, 1_796_003_600 * 10**9]
