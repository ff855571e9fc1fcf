"""Calls of every service by OpenTelemetry's RPC conventions, under Prometheus's names.

The version is 1.45, the first in which these conventions are stable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from cascade_server.counts.shared.rpc_counts import BOUNDS, KEYS, RpcCounts, added

NAME = "rpc_server_call_duration_seconds"
LABELS = ("rpc_system_name", "rpc_method", "rpc_response_status_code")
# OpenTelemetry's name of the family, and of its labels.
CONVENTIONAL = {
    NAME: (
        "rpc.server.call.duration",
        {
            "rpc_system_name": "rpc.system.name",
            "rpc_method": "rpc.method",
            "rpc_response_status_code": "rpc.response.status_code",
        },
    )
}


class RpcCollector(Collector):
    """Calls of all processes at the time of the scrape."""

    def __init__(self, counts: Sequence[RpcCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield a histogram for each method and status that has occurred."""
        durations, seconds = added(self._counts)
        bounds = [floatToGoString(bound) for bound in (*BOUNDS, math.inf)]
        metric = HistogramMetricFamily(
            NAME,
            "Calls of all services, from their headers to their end: rpc.server.call.duration.",
            labels=LABELS,
        )
        for (method, code), counts, took in zip(KEYS, durations, seconds.tolist(), strict=True):
            upto = counts.cumsum().tolist()
            if upto[-1]:
                buckets = list(zip(bounds, upto, strict=True))
                metric.add_metric(("grpc", method, code.name), buckets, took)
        yield metric
