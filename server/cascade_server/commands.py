"""`cascade serve`: reads the settings and starts the server's processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from cascade_tables import CascadeTablesError

from cascade_server.access.access_file import load_access
from cascade_server.allowed import LOCAL_EXECUTOR
from cascade_server.config import SETTINGS, ServerConfig
from cascade_server.configuration.options import SettingsCommand, settings_options
from cascade_server.configuration.shown import as_file
from cascade_server.configuration.sources import FILE_VARIABLE, effective
from cascade_server.errors import ServerError
from cascade_server.jobs.gates import check_policy
from cascade_server.jobs.ray_cluster.drawing import check_installed
from cascade_server.processes import serve_in_processes
from cascade_server.releases.found import source_of
from cascade_server.releases.generation import ReleaseConfig, policies_of
from cascade_server.releases.policy import Policy
from cascade_server.telemetry import logs
from cascade_server.telemetry.collecting import check_installed as telemetry_installed

# Checks of settings whose values need more than a type.
CHECKS: Mapping[str, Callable[[Any], object]] = {
    "version_policy": Policy.parse,
    "serve": lambda serve: policies_of(serve, Policy()),
    "policy": lambda path: None if path is None else check_policy(path),
    "otlp_endpoint": lambda endpoint: None if endpoint is None else telemetry_installed(),
    "access": lambda path: None if path is None else load_access(path),
    "executor": lambda executor: None if executor == LOCAL_EXECUTOR else check_installed(),
}


@click.command(cls=SettingsCommand)
@settings_options
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Settings, a YAML or TOML file; {FILE_VARIABLE} names one too.",
)
@click.option(
    "--print-config",
    is_flag=True,
    help="Print what holds and where it comes from, as a file for --config, and serve nothing.",
)
def serve(file: Path | None, print_config: bool, **flags: Any) -> None:
    """Serve a model repository over gRPC.

    Every release is verified against its hashes and warmed before the health service says SERVING.
    SIGTERM drains: calls in flight finish, new ones are refused. A worker that dies is started
    again within a second, and takes with it only the calls inside it. Releases that come later are
    loaded by new processes while the old ones answer (see `cascade releases`).

    Every setting is an option (--pool-mib 0), a variable (CASCADE_POOL_MIB=0) and a key of a file
    (pool_mib: 0); an option comes before a variable, and a variable before the file.

    \b
    Example:
      cascade serve --repository model_repository --port 8470
      cascade serve --tls-certificate tls.crt --tls-key tls.key
      cascade serve --runtime triton://10.0.0.5:8001,10.0.0.6:8001
      cascade serve --slo slo.yaml --state-dir /var/lib/cascade --metrics-port 9464
      cascade serve --serve credit=1,3 --serve adult=latest --poll-seconds 10 --canary-share 5%
      cascade serve --workers 4 --print-config > cascade.yaml
      cascade serve --config cascade.yaml
      cascade ask credit --given age=25            in another terminal
    """
    logs.configure("text", "warning")
    style = "text"
    try:
        found = effective(flags, os.environ, file, CHECKS)
        config = ServerConfig(**found.fields())
        releases = ReleaseConfig.of(config)
        for remark in found.remarks:
            click.echo(f"Warning: {remark}", err=True)
        if print_config:
            click.echo(as_file(found), nl=False)
            return
        style = config.log_format
        addresses = [value for each in SETTINGS if each.secret and (value := found[each.name])]
        logs.configure(style, config.log_level, addresses)
        say = click.echo if style == "text" else _say_json
        source = source_of(found["repository"])
        config = ServerConfig(**{**found.fields(), "repository": source.path})
        serve_in_processes(config, config.workers, say, releases, source)
    except (ServerError, CascadeTablesError) as exc:
        if style == "json":
            logging.getLogger("cascade.server").error("%s", exc)
            raise SystemExit(1) from exc
        raise click.ClickException(str(exc)) from exc


def _say_json(message: str) -> None:
    """Write a message to the terminal as JSON."""
    click.echo(logs.line_of(message))
