"""Checks settings against each other, and addresses against their protection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cascade_tables.errors import shown

from cascade_server.addresses import TLS_SCHEME
from cascade_server.errors import ConfigError
from cascade_server.exposure import exposure, metrics_exposure, page_exposure

if TYPE_CHECKING:
    from cascade_server.config import ServerConfig

log = logging.getLogger("cascade.server")

# Certificates and their private keys; neither is useful without the other.
PAIRS = (("tls_certificate", "tls_key"), ("runtime_certificate", "runtime_key"))


def check_exposure(config: ServerConfig) -> None:
    """Refuse to listen on unprotected addresses that other machines can reach; see `exposure`.

    Called when a server starts, because settings alone may be meant for another machine. With
    `insecure` the problem is still logged: container images set it, and a misspelt variable for
    access control must not leave the server open silently.

    Raises:
        ConfigError: an address is not protected; names it and what to set.
    """
    authentication = config.access is not None or config.tls_client_certificates == "required"
    problems = [exposure(config.host, config.tls_certificate is not None, authentication, False)]
    if config.metrics_port is not None:
        problems.append(metrics_exposure(config.host, config.access is not None, False))
    if config.ops_port is not None:
        problems.append(page_exposure(config.ops_host, False))
    found = [each for each in problems if each is not None]
    if found and not config.insecure:
        raise ConfigError(found[0])
    for problem in found:
        log.warning("insecure is set, without which the server would not start: %s", problem)


def check_together(config: ServerConfig) -> None:
    """Refuse settings that are allowed alone but not together.

    Raises:
        ConfigError: names the settings, and what is allowed.
    """
    for name, needs in PAIRS:
        if (getattr(config, name) is None) != (getattr(config, needs) is None):
            alone, other = (name, needs) if getattr(config, needs) is None else (needs, name)
            raise ConfigError(f"{alone} is set and {other} is not; each needs the other")
    asks = config.tls_client_certificates != "none"
    if config.tls_client_ca is not None and not asks:
        raise ConfigError(
            "tls_client_ca is set, and tls_client_certificates is none, so that nobody is asked "
            "for a certificate; allowed: optional or required beside it"
        )
    if asks and config.tls_client_ca is None:
        raise ConfigError(
            f"tls_client_certificates is {config.tls_client_certificates}, which needs "
            "tls_client_ca: the authorities that sign clients' certificates"
        )
    if asks and config.tls_certificate is None:
        raise ConfigError(
            f"tls_client_certificates is {config.tls_client_certificates}, which needs "
            "tls_certificate and tls_key: without TLS nobody can show a certificate"
        )
    is_far = config.runtime.startswith(TLS_SCHEME)
    if not is_far and (config.runtime_ca or config.runtime_certificate):
        raise ConfigError(
            f"runtime_ca or runtime_certificate is set, and runtime is {shown(config.runtime)}; "
            f"they are for {TLS_SCHEME}HOST:PORT"
        )
