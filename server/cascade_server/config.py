"""The server's settings, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cascade_server.errors import ConfigError


@dataclass(frozen=True)
class ServerConfig:
    """How to serve.

    Attributes:
        repository: the model repository.
        host: address to listen on.
        port: 0 lets the system choose.
        teacher_threads: threads of one pass of the teacher.
        max_rows: rows x draws of one `Synthesize`.
        max_generate_rows: rows of one `Generate`.
        max_message_bytes: of a request; gRPC refuses larger ones.
        inline_rows: up to so many rows the student runs in the event loop, where a hop to a
            thread would cost more than the draw.
        chunk_rows: rows of one message of `Generate`, and of one teacher batch.
        drain_seconds: how long calls in flight may take once the server is asked to stop.
        slo: the file of objectives; None: `objectives.DEFAULTS`.
        state_dir: where error budgets are kept over a restart; None: they are not.
        state_seconds: how often they are written.
        metrics_port: where Prometheus may scrape; 0: any free port; None: nowhere.
    """

    repository: Path = Path("model_repository")
    host: str = "127.0.0.1"
    port: int = 8470
    teacher_threads: int = 1
    max_rows: int = 65_536
    max_generate_rows: int = 10_000_000
    max_message_bytes: int = 16 * 1024 * 1024
    inline_rows: int = 16
    chunk_rows: int = 1024
    drain_seconds: float = 10.0
    slo: Path | None = None
    state_dir: Path | None = None
    state_seconds: float = 60.0
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("port", 0, 65_535),
            ("teacher_threads", 1, 1024),
            ("max_rows", 1, 2**24),
            ("max_generate_rows", 1, 2**40),
            ("max_message_bytes", 1024, 2**30),
            ("inline_rows", 0, 1024),
            ("chunk_rows", 1, 65_536),
            ("drain_seconds", 0, 3600),
            ("state_seconds", 0.1, 86_400),
            ("metrics_port", 0, 65_535),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} is {value}; allowed: {low} to {high}")
