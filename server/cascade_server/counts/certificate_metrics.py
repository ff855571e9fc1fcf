"""Prometheus metrics of the server's certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.objectives.metric_names import CERTIFICATE_EXPIRY, CERTIFICATE_REFUSED


class CertificateCollector(Collector):
    """Metrics of the certificate in use at the time of the scrape.

    Args:
        expiry: returns when the certificate expires, in seconds since 1970.
        refused: returns whether the current files were refused.
    """

    def __init__(self, expiry: Callable[[], float], refused: Callable[[], bool]) -> None:
        self._expiry, self._refused = expiry, refused

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are determined at each scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield when the certificate expires, and whether a newer one was refused."""
        yield GaugeMetricFamily(
            CERTIFICATE_EXPIRY,
            "When the certificate that new connections get expires, seconds since 1970.",
            self._expiry(),
        )
        yield GaugeMetricFamily(
            CERTIFICATE_REFUSED,
            "1: the files of TLS have changed and are not sound, and those from before are used.",
            float(self._refused()),
        )
