"""What one process reports about its calls besides their counts."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.config import ServerConfig
from cascade_server.telemetry.span_pipe import SpanPipe
from cascade_server.telemetry.tracer import Tracer


@dataclass(frozen=True)
class Telemetry:
    """The telemetry of a process, for the code that answers calls.

    Attributes:
        tracer: begins traces; None: no call is traced, and no header is read for it.
    """

    tracer: Tracer | None = None

    @classmethod
    def of(cls, config: ServerConfig, pipe: SpanPipe | None, process: str) -> Telemetry:
        """Return the telemetry of a process, by the server's configuration.

        Args:
            pipe: the pipe to the exporting process; None to trace nothing.
            process: the process's name, such as "worker 0".
        """
        if pipe is None:
            return cls()
        # Without a collector nobody would see a trace that begins here.
        share = config.trace_share if config.otlp_endpoint is not None else 0.0
        return cls(Tracer(pipe.send, process, share))


OFF = Telemetry()
