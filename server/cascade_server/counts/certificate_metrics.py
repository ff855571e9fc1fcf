"""What Prometheus sees of the certificate that a server shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cascade_server.objectives.metric_names import CERTIFICATE_EXPIRY, CERTIFICATE_REFUSED


class CertificateCollector(Collector):
    """The certificate in use, as it is when it is asked.

    Args:
        expiry: when it expires, seconds since 1970.
        refused: whether the files as they are now are not used.
    """

    def __init__(self, expiry: Callable[[], float], refused: Callable[[], bool]) -> None:
        self._expiry, self._refused = expiry, refused

    def describe(self) -> list[Metric]:
        """Nothing: what there is is asked for when it is scraped."""
        return []

    def collect(self) -> Iterator[Metric]:
        """When it expires, and whether a newer one was refused."""
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
