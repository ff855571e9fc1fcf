"""Addresses in settings: the servers that `runtime` names, and URLs without passwords."""

from __future__ import annotations

import re

from cascade_server.errors import ConfigError

SCHEME, TLS_SCHEME = "triton://", "tritons://"
FORM = f"{SCHEME}HOST:PORT[,HOST:PORT...], or {TLS_SCHEME} for TLS"
# A name or an IPv4 address, or an IPv6 address in brackets; then a port.
_SERVER = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

# Valkey's and Redis's clients also accept them in the query.
_SECRETS = re.compile(r"([?&](?:username|password)=)[^&]*", re.IGNORECASE)


def host_port(host: str, port: int) -> str:
    """Join host and port as clients and browsers expect: IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def servers_of(runtime: str) -> tuple[str, ...]:
    """Return the servers that a runtime names, each HOST:PORT; none: the networks run here.

    Raises:
        ConfigError: one is not an address, or is named twice.
    """
    if not runtime.startswith((SCHEME, TLS_SCHEME)):
        return ()
    servers = tuple(runtime.partition("://")[2].rstrip("/").split(","))
    for server in servers:
        found = _SERVER.fullmatch(server)
        if found is None or not 1 <= int(found[1]) <= 65_535:
            said = without_password(server)
            raise ConfigError(f"runtime names {said!r}; allowed: {FORM}, gRPC's port of each")
    twice = sorted({server for server in servers if servers.count(server) > 1})
    if twice:
        raise ConfigError(f"runtime names {twice[0]} twice; each server counts once")
    return servers


def without_password(url: str) -> str:
    """Remove user and password from a URL, so that it may be shown."""
    scheme, slashes, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    _, at, host = rest.rpartition("@")
    shown = f"{scheme}{slashes}{'…@' if at else ''}{host if at else rest}"
    return _SECRETS.sub(r"\1…", shown)
