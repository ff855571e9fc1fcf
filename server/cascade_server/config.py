"""The server's settings, each declared once; `settings` makes options and variables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_server import allowed
from cascade_server.allowed import CLIENT_CERTIFICATES, LOCAL_EXECUTOR, MONTH, TRANSPORTS
from cascade_server.consistency import check_together
from cascade_server.settings import (
    BYTES,
    DAYS,
    MIB,
    MICROSECONDS,
    MILLISECONDS,
    SECONDS,
    SHARE,
    setting,
    settings_of,
)


@dataclass(frozen=True)
class ServerConfig:
    """How to serve. `ServerConfig()` is what `cascade serve` uses without options. Beside settings,
    which describe themselves, it has what the supervisor decides for the processes that it starts.

    Attributes:
        reuse_port: whether other workers of this server listen on the port too.
        teacher_socket: where the teacher's process listens; None: the teacher is in this process.
        await_teacher: whether the server becomes ready only after the teacher's process or, if
            other servers run the networks, after one of them.
        versions: versions to load by table; None: all that the repository holds.

    Raises:
        ConfigError: a setting is not allowed; names it, its value and what is allowed.
    """

    repository: Path = setting(
        Path("model_repository"),
        "Model repository to serve; a URL is any that fsspec knows, such as s3://bucket/path.",
        section="Releases",
        metavar="FOLDER|URL",
        kind=str,
        secret=True,
    )
    serve: tuple[str, ...] = setting(
        (),
        "Serve this table, in these versions, and no table that is not named. May be repeated; a "
        "list in a file, separated by spaces in the environment.",
        metavar="TABLE[=POLICY]",
    )
    version_policy: str = setting(
        "all",
        "Versions to load where `serve` says nothing: all, latest, latest:N, or 1,3.",
        metavar="POLICY",
    )
    poll_seconds: float = setting(
        0.0,
        "How often to look for new releases, and load them; 0: only on request, or on SIGHUP.",
        unit=SECONDS,
        low=0,
        high=86_400,
    )
    canary_share: float = setting(
        0.0,
        "Share of requests for a new version on trial, as 5% or 0.05; 0: it answers at once.",
        metavar="SHARE",
        unit=SHARE,
        low=0,
        high=0.5,
    )
    canary_seconds: float = setting(
        60.0, "How long a trial lasts at least.", unit=SECONDS, low=0, high=MONTH
    )
    canary_calls: int = setting(
        500,
        "Calls that a canary has to answer before it is promoted.",
        low=0,
        high=2**31 - 1,
    )
    load_seconds: float = setting(
        1800.0,
        "How long new releases may take to be loaded before the attempt is given up.",
        unit=SECONDS,
        low=1,
        high=86_400,
    )
    release_control: bool = setting(
        False,
        "Whether callers over the network may have releases loaded, unloaded, promoted and rolled "
        "back without being identified. Users of `control.sock` in `state_dir` always may.",
    )

    host: str = setting(
        "127.0.0.1",
        "Address to listen on. One that other machines can reach needs TLS and identified callers, "
        "or `insecure` (docs/security.md).",
        section="Calls",
    )
    port: int = setting(8470, "Port to listen on; 0: any free one.", low=0, high=65_535)
    transport: str = setting(
        TRANSPORTS[0],
        "Implementation of gRPC: the server's own, or grpcio's, at three times the cost of a call.",
        choices=TRANSPORTS,
    )
    max_concurrent_streams: int = setting(
        64,
        "Calls of one connection that may be in the server at once. More wait in the client, at no "
        "cost to the server, but a plain gRPC client may let them wait too long.",
        low=1,
        high=2**31 - 1,
    )
    max_connection_age: float | None = setting(
        None,
        "Seconds after which a connection is asked to end, give or take a tenth, so that clients "
        "find new servers; none: never.",
        unit=SECONDS,
        low=1,
        high=MONTH,
    )
    max_stream_in_flight: int = setting(
        256,
        "Requests of one standing stream between read and answered; beyond it nothing is read.",
        low=1,
        high=65_536,
    )
    max_rows: int = setting(65_536, "Rows times draws of one `Synthesize`.", low=1, high=2**24)
    max_generate_rows: int = setting(10_000_000, "Rows of one `Generate`.", low=1, high=2**40)
    max_message_bytes: int = setting(
        16 * 2**20, "Size of a request; larger ones are refused.", unit=BYTES, low=1024, high=2**30
    )
    max_connections: int = setting(
        1000,
        "Connections of each worker at once. Beyond it one is ended: with `access`, one on which "
        "no caller was identified; else the one that has been idle longest; else the new one.",
        low=1,
        high=1_000_000,
    )
    connection_idle_seconds: float = setting(
        600.0,
        "How long a connection may be without a call before it is asked to end.",
        unit=SECONDS,
        low=1,
        high=MONTH,
    )
    message_seconds: float = setting(
        60.0,
        "How long a message may take to arrive before its connection ends.",
        unit=SECONDS,
        low=0.1,
        high=3600,
    )
    stall_seconds: float = setting(
        30.0,
        "How long a caller may take no part of an answer before its connection ends.",
        unit=SECONDS,
        low=0.1,
        high=3600,
    )
    held_bytes: int = setting(
        512,
        "Memory of each worker for large messages, and for answers that callers have not taken.",
        name="held_mib",
        unit=MIB,
        low=1,
        high=2**20,
    )
    linger_seconds: float = setting(
        200.0,
        "How long an idle worker polls for calls before it sleeps, if calls have lately come that "
        "soon; 0: it sleeps at once.",
        name="linger_us",
        unit=MICROSECONDS,
        low=0,
        high=10_000,
    )
    drain_seconds: float = setting(
        10.0,
        "Grace for calls in flight once the server is asked to stop.",
        unit=SECONDS,
        low=0,
        high=3600,
    )

    tls_certificate: Path | None = setting(
        None,
        "Certificate for TLS, a PEM file: the server's own first, then those up to a root; none: "
        "no TLS. It and the files below are reloaded when they change.",
        section="Transport security",
        metavar="FILE",
    )
    tls_key: Path | None = setting(
        None, "Its private key, a PEM file without a passphrase.", metavar="FILE"
    )
    tls_client_ca: Path | None = setting(
        None, "Authorities that sign clients' certificates, a PEM file.", metavar="FILE"
    )
    tls_client_certificates: str = setting(
        CLIENT_CERTIFICATES[0],
        "Whether clients show a certificate: they are not asked for one, they may show one, or "
        "they are not let in without.",
        choices=CLIENT_CERTIFICATES,
    )
    tls_minimum_version: str = setting(
        "1.2", "Oldest version of TLS that is spoken.", choices=("1.2", "1.3")
    )
    tls_poll_seconds: float = setting(
        5.0,
        "How often these files are checked for changes; SIGHUP checks at once.",
        unit=SECONDS,
        low=0.1,
        high=86_400,
    )
    runtime_ca: Path | None = setting(
        None,
        "Authorities that sign the certificates of the servers in `runtime: tritons://...`, a PEM "
        "file; none: the public authorities that gRPC knows.",
        metavar="FILE",
    )
    runtime_certificate: Path | None = setting(
        None,
        "Client certificate for those servers, a PEM file; none: none is sent.",
        metavar="FILE",
    )
    runtime_key: Path | None = setting(None, "Its private key, a PEM file.", metavar="FILE")
    insecure: bool = setting(
        False,
        "Allow an address that other machines can reach without TLS, or without identifying "
        "callers, where something else keeps strangers out.",
    )

    workers: int = setting(
        1,
        "Processes that answer calls; the teacher has one of its own beside them.",
        section="Networks",
        low=1,
        high=256,
    )
    runtime: str = setting(
        "auto",
        "What runs the networks: auto, cpu, onnxruntime, cuda, tensorrt-ep or tensorrt here "
        "(docs/gpu.md), or triton://HOST:PORT[,HOST:PORT...], or tritons:// for TLS "
        "(docs/remote.md).",
        check=allowed.check_runtime,
    )
    teacher_threads: int = setting(1, "Threads of a teacher pass.", low=1, high=1024)
    inline_rows: int = setting(
        64,
        "Rows up to which the student runs in the event loop, saving a hop to a thread.",
        low=0,
        high=1024,
    )
    chunk_rows: int = setting(
        1024, "Rows of one message of `Generate`, and of one teacher batch.", low=1, high=65_536
    )

    pool_bytes: int = setting(
        64,
        "Memory of each worker for rows that the idle teacher makes ahead of time; 0: it makes "
        "none.",
        section="Answers that need not be drawn anew",
        name="pool_mib",
        unit=MIB,
        low=0,
        high=2**20,
    )
    pool_age_seconds: float = setting(
        3600.0, "Seconds that a row is kept.", name="pool_age", unit=SECONDS, low=1, high=MONTH
    )
    pool_max_reuse: int = setting(
        1, "Requests that may be given the same pooled row.", low=1, high=1_000_000
    )
    cache_bytes: int = setting(
        32,
        "Memory of each worker for answers to requests with a seed; 0: none are kept.",
        name="cache_mib",
        unit=MIB,
        low=0,
        high=2**20,
    )
    cache_age_seconds: float = setting(
        3600.0, "Seconds an answer is kept.", name="cache_age", unit=SECONDS, low=1, high=MONTH
    )
    cache_url: str | None = setting(
        None,
        "Valkey or Redis that servers share as a second level, redis://HOST:PORT/DATABASE, or "
        "rediss:// for TLS, with ?ssl_ca_certs=FILE (docs/cache.md).",
        secret=True,
    )
    cache_timeout_seconds: float = setting(
        5.0,
        "How long a request waits for the second level at most.",
        name="cache_timeout_ms",
        unit=MILLISECONDS,
        low=0.1,
        high=60_000,
    )

    slo: Path | None = setting(
        None,
        "Objectives, a YAML file; none: those of docs/sla.md.",
        section="Service levels",
    )
    state_dir: Path | None = setting(
        None, "Folder that keeps error budgets over a restart; one for each server."
    )
    state_seconds: float = setting(
        60.0, "How often error budgets are written there.", unit=SECONDS, low=0.1, high=86_400
    )
    metrics_port: int | None = setting(
        None,
        "Port that Prometheus scrapes, over HTTP; 0: any free port; none: no metrics.",
        low=0,
        high=65_535,
    )

    prices: Path | None = setting(
        None, "Prices for the operations page, a YAML file (docs/cost.md).", section="Cost"
    )

    ops_port: int | None = setting(
        None,
        "Port of the operations page, over HTTP (docs/operations.md); 0: any free port; none: no "
        "page.",
        section="Operations page",
        low=0,
        high=65_535,
    )
    ops_host: str = setting(
        "127.0.0.1",
        "Address of the operations page. Its viewers are not identified: from other machines it is "
        "reached by `ssh -L` or `kubectl port-forward`, unless `insecure`.",
    )
    ops_names: tuple[str, ...] = setting(
        (),
        "Host names by which browsers may open it, besides addresses and `localhost`. May be "
        "repeated; a list in a file, separated by spaces in the environment.",
        metavar="NAME",
    )

    executors: int = setting(
        1,
        "Processes that work on jobs, while there are any, with the processor time that all others "
        "leave; 0: none, jobs wait.",
        section="Jobs",
        low=0,
        high=64,
    )
    executor: str = setting(
        LOCAL_EXECUTOR,
        "What draws the rows of jobs: this server's processes, or the workers of a Ray cluster "
        "(docs/jobs.md).",
        metavar="local|ray://HOST:PORT",
        check=allowed.check_executor,
    )
    executor_name: str | None = setting(
        None, "Its name in the policy; none: `local`, or `ray` for a Ray cluster."
    )
    max_jobs: int = setting(
        100,
        "Unfinished jobs at once; beyond it new ones are refused. 0: the server takes no jobs.",
        low=0,
        high=1_000_000,
    )
    job_max_rows: int = setting(100_000_000, "Rows of one job at most.", low=1, high=2**32)
    job_disk_bytes: int = setting(
        10_240,
        "Disk for results in the server's own folder, `jobs` in `state_dir`; beyond it jobs wait, "
        "and new ones are refused.",
        name="job_disk_mib",
        unit=MIB,
        low=1,
        high=2**30,
    )
    job_seconds: int = setting(
        7,
        "How long a finished job is remembered, and its results are kept there.",
        name="job_days",
        unit=DAYS,
        low=1,
        high=3650,
    )
    job_outputs: tuple[str, ...] = setting(
        (),
        "Folders and URLs below which callers over the network may have results written. May be "
        "repeated; a list in a file. Users of `control.sock` in `state_dir` may name any.",
        metavar="FOLDER|URL",
        check=allowed.check_job_outputs,
    )

    policy: Path | None = setting(
        None,
        "Which tables may be where, and which executors may work on their jobs, a YAML file "
        "(docs/residency.md); none: there are no restrictions. Reloaded when it changes.",
    )

    access: Path | None = setting(
        None,
        "Who may call what, and how much, a YAML file (docs/access.md); none: anybody may call "
        "everything. Reloaded when it changes, and on SIGHUP.",
        section="Who may ask",
    )

    otlp_endpoint: str | None = setting(
        None,
        "Collector to which traces and metrics are sent over OTLP/HTTP, such as http://host:4318.",
        section="Telemetry",
        metavar="URL",
        secret=True,
        check=allowed.check_otlp_endpoint,
    )
    trace_share: float = setting(
        0.01,
        "Share of calls that are traced where callers send no `traceparent`.",
        unit=SHARE,
        low=0,
        high=1,
    )
    service_name: str = setting("cascade", "Name of this deployment in traces.")
    log_format: str = setting("text", "Format of log lines.", choices=("text", "json"))
    log_level: str = setting(
        "warning", "Least severe messages; info: callers' errors too.", choices=allowed.LOG_LEVELS
    )

    @property
    def tells_metrics(self) -> bool:
        """Whether metrics are kept, for Prometheus or for a collector."""
        return self.metrics_port is not None or self.otlp_endpoint is not None

    @property
    def draws_on_ray(self) -> bool:
        """Whether a Ray cluster draws the rows of jobs."""
        return self.executor != LOCAL_EXECUTOR

    # Not settings: what the supervisor decides for its processes.
    reuse_port: bool = False
    teacher_socket: Path | None = None
    await_teacher: bool = True
    versions: Mapping[str, Sequence[int]] | None = None

    def __post_init__(self) -> None:
        for each in SETTINGS:
            each.check_held(getattr(self, each.field))
        check_together(self)


SETTINGS = settings_of(ServerConfig)
