"""The server's settings, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_server import runtimes as local_runtime
from cascade_server.addresses import servers_of
from cascade_server.errors import ConfigError

TRANSPORTS = ("http2", "grpcio")


@dataclass(frozen=True)
class ServerConfig:
    """How to serve.

    Attributes:
        repository: the model repository.
        host: address to listen on.
        port: 0 lets the system choose.
        runtime: where the networks run: "auto", here, or "triton://HOST:PORT[,HOST:PORT...]", on
            servers that speak the Open Inference Protocol; see docs/remote.md.
        teacher_threads: threads of one pass of the teacher.
        max_rows: rows x draws of one `Synthesize`.
        max_generate_rows: rows of one `Generate`.
        max_message_bytes: of a request; gRPC refuses larger ones.
        inline_rows: up to so many rows the student runs in the event loop, where a hop to a
            thread would cost more than the draw.
        max_stream_in_flight: requests of one `SynthesizeStream` between read and answered; beyond
            it nothing is read.
        chunk_rows: rows of one message of `Generate`, and of one teacher batch.
        drain_seconds: how long calls in flight may take once the server is asked to stop.
        slo: the file of objectives; None: `objectives.DEFAULTS`.
        state_dir: where error budgets are kept over a restart; None: they are not.
        state_seconds: how often they are written.
        transport: "http2", the server's own, or "grpcio", gRPC's: see docs/adr/0007.
        max_concurrent_streams: calls that a connection may have in the server at once (HTTP/2's
            SETTINGS_MAX_CONCURRENT_STREAMS). More wait in the caller's process, where they cost the
            server nothing; a worker gains nothing from more than a batch of them.
        linger_seconds: that the event loop at most looks for more before it sleeps, where calls
            have lately come that soon; 0: it sleeps at once.
        max_connection_age: seconds after which a connection is asked to end, and its caller to make
            another, give or take a tenth; None: never.
        reuse_port: whether other workers of this server listen on the port too.
        teacher_socket: where the teacher's process listens; None: the teacher is in this process.
        await_teacher: whether the server is not ready before that process is, or, where the
            networks run on other servers, before one of these is.
        metrics_port: where Prometheus may scrape; 0: any free port; None: nowhere.
        pool_bytes: of rows that the teacher makes ahead of time; 0: it makes none.
        pool_age_seconds: how long such a row may be given out.
        pool_max_reuse: to how many requests.
        cache_bytes: of answers to requests with a seed; 0: none are kept.
        cache_age_seconds: how long they are kept.
        cache_url: a Valkey or Redis that servers share as a second level; None: there is none.
        cache_timeout_seconds: that a request waits for it at most.
        versions: what to load, by table; None: all that the repository holds.
        release_control: whether callers over the network, who are not asked who they are, may have
            releases loaded, unloaded and promoted. Who may open the socket in `state_dir` may.
    """

    repository: Path = Path("model_repository")
    host: str = "127.0.0.1"
    port: int = 8470
    runtime: str = "auto"
    teacher_threads: int = 1
    max_rows: int = 65_536
    max_generate_rows: int = 10_000_000
    max_message_bytes: int = 16 * 1024 * 1024
    inline_rows: int = 64
    max_stream_in_flight: int = 256
    chunk_rows: int = 1024
    drain_seconds: float = 10.0
    slo: Path | None = None
    state_dir: Path | None = None
    state_seconds: float = 60.0
    transport: str = "http2"
    max_concurrent_streams: int = 16
    linger_seconds: float = 200e-6
    max_connection_age: float | None = None
    reuse_port: bool = False
    teacher_socket: Path | None = None
    await_teacher: bool = True
    metrics_port: int | None = None
    pool_bytes: int = 0
    pool_age_seconds: float = 3600.0
    pool_max_reuse: int = 1
    cache_bytes: int = 0
    cache_age_seconds: float = 3600.0
    cache_url: str | None = None
    cache_timeout_seconds: float = 0.005
    versions: Mapping[str, Sequence[int]] | None = None
    release_control: bool = False

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            allowed = ", ".join(TRANSPORTS)
            raise ConfigError(f"transport is {self.transport!r}; allowed: {allowed}")
        if not servers_of(self.runtime):
            local_runtime.check(self.runtime)
        for name, low, high in (
            ("port", 0, 65_535),
            ("teacher_threads", 1, 1024),
            ("max_rows", 1, 2**24),
            ("max_generate_rows", 1, 2**40),
            ("max_message_bytes", 1024, 2**30),
            ("inline_rows", 0, 1024),
            ("max_stream_in_flight", 1, 65_536),
            ("chunk_rows", 1, 65_536),
            ("drain_seconds", 0, 3600),
            ("state_seconds", 0.1, 86_400),
            ("max_concurrent_streams", 1, 2**31 - 1),
            ("linger_seconds", 0, 0.01),
            ("max_connection_age", 1, 30 * 86_400),
            ("metrics_port", 0, 65_535),
            ("pool_bytes", 0, 2**40),
            ("pool_age_seconds", 1, 30 * 86_400),
            ("pool_max_reuse", 1, 1_000_000),
            ("cache_bytes", 0, 2**40),
            ("cache_age_seconds", 1, 30 * 86_400),
            ("cache_timeout_seconds", 0.0001, 60),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} is {value}; allowed: {low} to {high}")
