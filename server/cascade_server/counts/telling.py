"""What the books' keeper sends to others of its own accord: spans and metrics, to a collector."""

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
    """Reads spans, keeps some as exemplars, and sends what is to be sent.

    Args:
        config: where to; it may say nowhere.
        pipe: which spans come by.
        metrics: what is sent beside them, and shows exemplars; None: nobody asks for metrics.

    Raises:
        ConfigError: what sends it is not installed.
    """

    def __init__(self, config: ServerConfig, pipe: SpanPipe, metrics: Metrics | None) -> None:
        takers = () if metrics is None else (metrics.exemplars.add,)
        self._collecting = Collecting.of(config, pipe, takers)
        self._pusher: MetricsPusher | None = None
        if config.otlp_endpoint is not None and metrics is not None:
            # The SDK is there, as collecting has seen.
            from cascade_server.counts.otlp import to_collector

            collect, name = metrics.registry.collect, config.service_name
            self._pusher = to_collector(config.otlp_endpoint, name, metrics.since, collect)
        self._collecting.start()

    async def stop(self) -> None:
        """Send what there is, as far as that takes no time to speak of."""
        if self._pusher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._pusher.close)
        await self._collecting.stop()
