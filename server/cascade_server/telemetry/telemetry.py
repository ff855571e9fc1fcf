"""What one process tells of its calls beside their counts."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.config import ServerConfig
from cascade_server.telemetry.span_pipe import SpanPipe
from cascade_server.telemetry.tracer import Tracer


@dataclass(frozen=True)
class Telemetry:
    """Handed to whoever answers.

    Attributes:
        tracer: begins traces; None: no call is traced, and nobody looks at a header for it.
    """

    tracer: Tracer | None = None

    @classmethod
    def of(cls, config: ServerConfig, pipe: SpanPipe | None, process: str) -> Telemetry:
        """Of a process of a server that is configured so.

        Args:
            pipe: to who exports; None: nothing is traced.
            process: what it is called, such as "worker 0".
        """
        if pipe is None:
            return cls()
        # Without a collector nobody would see a trace that begins here.
        share = config.trace_share if config.otlp_endpoint is not None else 0.0
        return cls(Tracer(pipe.send, process, share))


OFF = Telemetry()
