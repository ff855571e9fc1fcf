"""Checks of single settings that need more than a range or a list of choices."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from cascade_tables.connectors.locations import is_url, others_location
from cascade_tables.errors import DataError, shown

from cascade_server import runtimes
from cascade_server.addresses import servers_of, without_password
from cascade_server.errors import ConfigError

# The executor of jobs: this server's own processes, or a Ray cluster at a URL with this scheme.
LOCAL_EXECUTOR, RAY = "local", "ray://"
TRANSPORTS = ("http2", "grpcio")
CLIENT_CERTIFICATES = ("none", "optional", "required")
MONTH = 30 * 86_400
LOG_LEVELS = ("debug", "info", "warning", "error")


def check_executor(executor: str) -> None:
    """Check the setting `executor`.

    Raises:
        ConfigError: it is not a known executor; names the allowed ones.
    """
    host, colon, port = executor.removeprefix(RAY).rpartition(":")
    is_ray = executor.startswith(RAY) and host and colon and port.isascii() and port.isdigit()
    if executor != LOCAL_EXECUTOR and not (is_ray and 0 < int(port) < 65_536):
        raise ConfigError(
            f"executor is {shown(executor)}; allowed: {LOCAL_EXECUTOR}, or {RAY}HOST:PORT, whose "
            "port is that of Ray Client, 10001 by default"
        )


def check_otlp_endpoint(endpoint: str | None) -> None:
    """Check the setting `otlp_endpoint`.

    Raises:
        ConfigError: it is not the URL of a collector; shows the format.
    """
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port
        is_one = False
    if not is_one:
        raise ConfigError(
            f"otlp_endpoint is {shown(without_password(endpoint))}; allowed: http://HOST:PORT or "
            "https://HOST:PORT, where a collector takes OTLP over HTTP, 4318 by default"
        )


def check_job_outputs(prefixes: Sequence[str]) -> None:
    """Check the setting `job_outputs`.

    Its URLs must not contain passwords: callers' URLs have none, and the message that refuses a
    caller's URL lists these.

    Raises:
        ConfigError: a URL is malformed or has a password; names it without the password.
    """
    for each in filter(is_url, prefixes):
        try:
            others_location(each)
        except DataError as exc:
            raise ConfigError(f"job_outputs: {exc}") from None


def check_runtime(runtime: str) -> None:
    """Check the setting `runtime`.

    Raises:
        ConfigError: it is not a known runtime; names the allowed ones.
    """
    if not servers_of(runtime):
        runtimes.check(runtime)
