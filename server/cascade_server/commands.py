"""`cascade serve`."""

from __future__ import annotations

import logging
from pathlib import Path

import click
from cascade_tables import CascadeTablesError
from rich.console import Console

from cascade_server.config import TRANSPORTS, ServerConfig
from cascade_server.errors import ConfigError, ServerError
from cascade_server.objectives.canary import CanaryConfig
from cascade_server.processes import serve_in_processes
from cascade_server.releases.found import source_of
from cascade_server.releases.generation import ReleaseConfig
from cascade_server.releases.policy import Policy

MIB = 2**20


@click.command()
@click.option(
    "--repository",
    default="model_repository",
    show_default=True,
    metavar="FOLDER|URL",
    help="Model repository to serve; a URL is any that fsspec knows, such as s3://bucket/path.",
)
@click.option(
    "--serve",
    "only",
    multiple=True,
    metavar="TABLE[=POLICY]",
    help="Serve this table, in these versions, and no table that is not named; may be repeated.",
)
@click.option(
    "--version-policy",
    default="all",
    show_default=True,
    metavar="POLICY",
    help="Versions to load where --serve says nothing: all, latest, latest:N, or 1,3.",
)
@click.option(
    "--poll-seconds",
    default=0.0,
    show_default=True,
    help="Look at the repository so often, and load what is new; 0: only when told, or on SIGHUP.",
)
@click.option(
    "--canary-share",
    default="0",
    show_default=True,
    metavar="SHARE",
    help="Share of requests for a new version, on trial, as 5% or 0.05; 0: it answers at once.",
)
@click.option(
    "--canary-seconds",
    default=CanaryConfig.seconds,
    show_default=True,
    help="How long a trial lasts at least.",
)
@click.option(
    "--canary-calls",
    default=CanaryConfig.calls,
    show_default=True,
    help="Calls that a canary has to answer at least before it is promoted.",
)
@click.option(
    "--release-control/--no-release-control",
    default=False,
    show_default=True,
    help="Whether callers over the network, who are not asked who they are, may have releases "
    "loaded, unloaded, promoted and rolled back; on this machine the socket in --state-dir serves.",
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
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="What runs the networks: auto, cpu, cuda, tensorrt-ep or tensorrt here (docs/gpu.md), or "
    "triton://HOST:PORT[,HOST:PORT...] (docs/remote.md).",
)
@click.option("--teacher-threads", default=1, show_default=True, help="Threads of a teacher pass.")
@click.option(
    "--max-concurrent-streams",
    default=16,
    show_default=True,
    help="Calls that one connection may have in the server at once; more wait at the caller's.",
)
@click.option(
    "--max-connection-age",
    type=float,
    help="Seconds after which a connection is asked to end, so that callers find servers that are "
    "new. Never where not given.",
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
@click.option(
    "--linger-us",
    default=200.0,
    show_default=True,
    help="How long a worker at most looks for more calls before it sleeps; 0: it sleeps at once.",
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
def serve(
    repository: str,
    only: tuple[str, ...],
    version_policy: str,
    poll_seconds: float,
    canary_share: str,
    canary_seconds: float,
    canary_calls: int,
    release_control: bool,
    host: str,
    port: int,
    workers: int,
    runtime: str,
    teacher_threads: int,
    max_concurrent_streams: int,
    max_connection_age: float | None,
    max_stream_in_flight: int,
    transport: str,
    linger_us: float,
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
) -> None:
    """Serve a model repository over gRPC.

    Every release is verified against its hashes and warmed before the health service says SERVING.
    SIGTERM drains: calls in flight finish, new ones are refused. A worker that dies is started
    again within a second, and takes with it only the calls inside it. Releases that come later are
    loaded by new processes while the old ones answer (see `cascade releases`).

    \b
    Example:
      cascade serve --repository model_repository --port 8470
      cascade serve --workers 4 --host 0.0.0.0
      cascade serve --runtime triton://10.0.0.5:8001,10.0.0.6:8001
      cascade serve --slo slo.yaml --state-dir /var/lib/cascade --metrics-port 9464
      cascade serve --serve credit=1,3 --serve adult=latest --poll-seconds 10 --canary-share 5%
      cascade ask credit --given age=25            in another terminal
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    console = Console(highlight=False, soft_wrap=True)
    try:
        policy = Policy.parse(version_policy)
        releases = ReleaseConfig(
            default=policy,
            policies=policies_of(only, policy),
            poll_seconds=poll_seconds,
            canary_share=share_of(canary_share),
            canary=CanaryConfig(seconds=canary_seconds, calls=canary_calls),
        )
        source = source_of(repository)
        config = ServerConfig(
            repository=source.path,
            release_control=release_control,
            host=host,
            port=port,
            runtime=runtime,
            teacher_threads=teacher_threads,
            max_concurrent_streams=max_concurrent_streams,
            max_connection_age=max_connection_age,
            max_stream_in_flight=max_stream_in_flight,
            transport=transport,
            linger_seconds=linger_us / 1e6,
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
        )
        serve_in_processes(config, workers, console.print, releases, source)
    except (ServerError, CascadeTablesError) as exc:
        raise click.ClickException(str(exc)) from exc


def policies_of(only: tuple[str, ...], default: Policy) -> dict[str, Policy]:
    """What `--serve` says, by table.

    Raises:
        ConfigError: a table is named twice, or its policy is none.
    """
    policies: dict[str, Policy] = {}
    for each in only:
        table, given, policy = each.partition("=")
        if not table or table in policies:
            raise ConfigError(f"--serve {each!r}: allowed: TABLE or TABLE=POLICY, each table once")
        policies[table] = Policy.parse(policy) if given else default
    return policies


def share_of(text: str) -> float:
    """ "5%" or "0.05".

    Raises:
        ConfigError: it is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError as exc:
        raise ConfigError(f"share is {text + rest!r}; allowed: as in 5% or 0.05") from exc
