"""`cascade serve`."""

from __future__ import annotations

import logging
from pathlib import Path

import click
from cascade_tables import CascadeTablesError
from rich.console import Console

from cascade_server.config import TRANSPORTS, ServerConfig
from cascade_server.errors import ServerError
from cascade_server.processes import serve_in_processes

MIB = 2**20


@click.command()
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to serve.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8470, show_default=True, help="0: any free port.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that answer calls; the teacher has one of its own beside them.",
)
@click.option("--teacher-threads", default=1, show_default=True, help="Threads of a teacher pass.")
@click.option(
    "--max-concurrent-streams",
    default=16,
    show_default=True,
    help="Calls that one connection may have in the server at once; more wait at the caller's.",
)
@click.option(
    "--max-stream-in-flight",
    default=256,
    show_default=True,
    help="Requests of one standing stream between read and answered; beyond it nothing is read.",
)
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    default=TRANSPORTS[0],
    show_default=True,
    help="Who speaks gRPC: this server itself, or grpcio, at three times the cost of a call.",
)
@click.option("--drain-seconds", default=10.0, show_default=True, help="Grace for calls in flight.")
@click.option(
    "--slo",
    type=click.Path(path_type=Path),
    help="Objectives, a YAML file; those of docs/sla.md where not given.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Folder that keeps error budgets over a restart; one for each server.",
)
@click.option(
    "--metrics-port",
    type=int,
    help="Answer Prometheus here, over HTTP; 0: any free port. Nowhere where not given.",
)
@click.option(
    "--pool-mib",
    default=64,
    show_default=True,
    help="Memory for rows that the idle teacher makes ahead of time; 0: it makes none.",
)
@click.option("--pool-age", default=3600.0, show_default=True, help="Seconds that they are good.")
@click.option(
    "--pool-max-reuse",
    default=1,
    show_default=True,
    help="Requests that may be given the same pooled row.",
)
@click.option(
    "--cache-mib",
    default=32,
    show_default=True,
    help="Memory for answers to requests with a seed; 0: none are kept.",
)
@click.option("--cache-age", default=3600.0, show_default=True, help="Seconds that they are kept.")
@click.option(
    "--cache-url",
    help="Valkey or Redis that servers share as a second level, redis://HOST:PORT/DATABASE.",
)
@click.option(
    "--cache-timeout-ms",
    default=5.0,
    show_default=True,
    help="How long a request waits for the second level at most.",
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="What runs the networks: auto, cpu, cuda, tensorrt-ep or tensorrt; see docs/gpu.md.",
)
def serve(
    repository: Path,
    host: str,
    port: int,
    workers: int,
    teacher_threads: int,
    max_concurrent_streams: int,
    max_stream_in_flight: int,
    transport: str,
    drain_seconds: float,
    slo: Path | None,
    state_dir: Path | None,
    metrics_port: int | None,
    pool_mib: int,
    pool_age: float,
    pool_max_reuse: int,
    cache_mib: int,
    cache_age: float,
    cache_url: str | None,
    cache_timeout_ms: float,
    runtime: str,
) -> None:
    """Serve a model repository over gRPC.

    Every release is verified against its hashes and warmed before the health service says SERVING.
    SIGTERM drains: calls in flight finish, new ones are refused. A worker that dies is started
    again within a second, and takes with it only the calls inside it.

    \b
    Example:
      cascade serve --repository model_repository --port 8470
      cascade serve --workers 4 --host 0.0.0.0
      cascade serve --slo slo.yaml --state-dir /var/lib/cascade --metrics-port 9464
      cascade ask credit --given age=25            in another terminal
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    console = Console(highlight=False, soft_wrap=True)
    try:
        config = ServerConfig(
            repository=repository,
            host=host,
            port=port,
            teacher_threads=teacher_threads,
            max_concurrent_streams=max_concurrent_streams,
            max_stream_in_flight=max_stream_in_flight,
            transport=transport,
            drain_seconds=drain_seconds,
            slo=slo,
            state_dir=state_dir,
            metrics_port=metrics_port,
            pool_bytes=pool_mib * MIB,
            pool_age_seconds=pool_age,
            pool_max_reuse=pool_max_reuse,
            cache_bytes=cache_mib * MIB,
            cache_age_seconds=cache_age,
            cache_url=cache_url,
            cache_timeout_seconds=cache_timeout_ms / 1e3,
            runtime=runtime,
        )
        serve_in_processes(config, workers, console.print)
    except (ServerError, CascadeTablesError) as exc:
        raise click.ClickException(str(exc)) from exc
