"""What the keeper of the books does with the spans of all processes.

It exports them, and keeps some as exemplars.
"""

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

# Seconds between two reads: each wakes this process, which takes a processor from one that answers.
# In that time four thousand traced calls a second fill half of a full-size pipe; a smaller pipe is
# read more often.
SECONDS_BETWEEN = 0.1
SDK = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def check_installed() -> None:
    """Check that the exporter's packages are installed.

    Raises:
        ConfigError: they are not; says how to get them.
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
    """Reads the records of all processes, in an event loop.

    It reads the records of a tenth of a second together, and does nothing while there are none.

    Args:
        pipe: the pipe that the processes write to.
        takers: called with each record.
        spans: exports spans; None to export nothing.
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
        """Create it from a server's configuration.

        Raises:
            ConfigError: the exporter's packages are not installed.
        """
        if config.otlp_endpoint is None:
            return cls(pipe, takers)
        check_installed()
        # Only the process that exports imports the SDK, not the processes that answer calls.
        from cascade_server.telemetry.exporting import to_collector

        return cls(pipe, takers, to_collector(config.otlp_endpoint, config.service_name))

    def start(self) -> None:
        """Start reading; call it inside an event loop."""
        asyncio.get_running_loop().add_reader(self._pipe.reader, self._has_come)

    def _has_come(self) -> None:
        """Read the present records after a while, together with those that arrive until then."""
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
        """Read and forward the present records, then stop."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pipe.reader)
        if self._later is not None:
            self._later.cancel()
        self._give_all()
        if self._spans is not None:
            await loop.run_in_executor(None, self._spans.close)

    def _give_all(self) -> None:
        """Read the present records, but no more bytes than a pipe holds.

        Otherwise a writer that never pauses would block this loop.
        """
        for _ in range(PIPE_BYTES // READ_BYTES):
            if not (records := self._pipe.receive()):
                break
            for record in records:
                for take in self._takers:
                    take(record)
