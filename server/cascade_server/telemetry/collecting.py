"""What the books' keeper does with the spans of all processes: it exports them, and keeps some as
exemplars."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.telemetry.records import Record
from cascade_server.telemetry.span_pipe import PIPE_BYTES, READ_BYTES, SpanPipe

if TYPE_CHECKING:
    from cascade_server.telemetry.exporting import Spans

# Seconds between two looks at what has come: each wakes this process, which takes a processor from
# one that answers. In that time four thousand traced calls a second fill half of a whole pipe; of a
# smaller one it is less.
SECONDS_BETWEEN = 0.1
SDK = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def check_installed() -> None:
    """What exports is there.

    Raises:
        ConfigError: it is not; says how to get it.
    """
    for name in SDK:
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ConfigError(
                "otlp_endpoint needs OpenTelemetry's SDK; install it with: "
                "pip install 'cascade-synthesis[server,telemetry]'"
            )


class Collecting:
    """Reads what all processes send, in an event loop: together what comes within a tenth of a
    second, and nothing is looked for where nothing comes.

    Args:
        pipe: which they write to.
        takers: are given each record.
        spans: exports; None: nobody does.
    """

    def __init__(
        self,
        pipe: SpanPipe,
        takers: Sequence[Callable[[Record], None]] = (),
        spans: Spans | None = None,
    ) -> None:
        self._pipe, self._spans = pipe, spans
        self._takers = (*takers, spans.add) if spans is not None else tuple(takers)
        self._later: asyncio.TimerHandle | None = None

    @classmethod
    def of(
        cls, config: ServerConfig, pipe: SpanPipe, takers: Sequence[Callable[[Record], None]]
    ) -> Collecting:
        """As a server is configured.

        Raises:
            ConfigError: what exports is not installed.
        """
        if config.otlp_endpoint is None:
            return cls(pipe, takers)
        check_installed()
        # The SDK is imported by who exports, and by no process that answers calls.
        from cascade_server.telemetry.exporting import to_collector

        return cls(pipe, takers, to_collector(config.otlp_endpoint, config.service_name))

    def start(self) -> None:
        """Begin; inside an event loop."""
        asyncio.get_running_loop().add_reader(self._pipe.reader, self._has_come)

    def _has_come(self) -> None:
        """What is there, and what comes after it, is taken in a while."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pipe.reader)
        self._later = loop.call_later(SECONDS_BETWEEN * self._pipe.bytes / PIPE_BYTES, self._take)

    def _take(self) -> None:
        self._later = None
        try:
            self._give_all()
        finally:
            self.start()

    async def stop(self) -> None:
        """Take what is there, send it on, and read no more."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pipe.reader)
        if self._later is not None:
            self._later.cancel()
        self._give_all()
        if self._spans is not None:
            await loop.run_in_executor(None, self._spans.close)

    def _give_all(self) -> None:
        """What is there now. As many bytes as a pipe has at most: who writes without a pause keeps
        this loop from nothing else for long."""
        for _ in range(PIPE_BYTES // READ_BYTES):
            if not (records := self._pipe.receive()):
                break
            for record in records:
                for take in self._takers:
                    take(record)
