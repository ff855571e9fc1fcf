"""What the keeper of the books sends to a collector on its own: spans and metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cascade_server.config import ServerConfig
from cascade_server.telemetry.collecting import Collecting
from cascade_server.telemetry.span_pipe import SpanPipe

if TYPE_CHECKING:
    from cascade_server.counts.metrics import Metrics
    from cascade_server.counts.otlp import MetricsPusher


class Telling:
    """Reads spans, keeps some as exemplars, and sends spans and metrics.

    Args:
        config: where to send to, if anywhere.
        pipe: the pipe that carries the spans.
        metrics: metrics to send, which also show exemplars; None if metrics are disabled.

    Raises:
        ConfigError: the package that sends is not installed.
    """

    def __init__(self, config: ServerConfig, pipe: SpanPipe, metrics: Metrics | None) -> None:
        takers = () if metrics is None else (metrics.exemplars.add,)
        self._collecting = Collecting.of(config, pipe, takers)
        self._pusher: MetricsPusher | None = None
        if config.otlp_endpoint is not None and metrics is not None:
            # The SDK is installed, or `Collecting` would have raised.
            from cascade_server.counts.otlp import to_collector

            collect, name = metrics.registry.collect, config.service_name
            self._pusher = to_collector(config.otlp_endpoint, name, metrics.since, collect)
        self._collecting.start()

    async def stop(self) -> None:
        """Send what is left, as far as that takes little time."""
        if self._pusher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._pusher.close)
        await self._collecting.stop()
