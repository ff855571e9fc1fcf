"""Addresses in settings: the other servers that `runtime` names, and URLs as they may be shown."""

from __future__ import annotations

import re

from cascade_server.errors import ConfigError

SCHEME, TLS_SCHEME = "triton://", "tritons://"
FORM = f"{SCHEME}HOST:PORT[,HOST:PORT...], or {TLS_SCHEME} for TLS"
# A name or an IPv4 address, or an IPv6 address in brackets; then a port.
_SERVER = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

# Valkey's and Redis's clients take them in the query too.
_SECRETS = re.compile(r"([?&](?:username|password)=)[^&]*", re.IGNORECASE)


def host_port(host: str, port: int) -> str:
    """Both as one word, which clients and browsers take: IPv6 addresses are in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def servers_of(runtime: str) -> tuple[str, ...]:
    """The servers that a runtime names, each HOST:PORT; none: the networks run here.

    Raises:
        ConfigError: one of them is no address, or is named twice.
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
    """A URL as it may be shown: without user and password, wherever it has them."""
    scheme, slashes, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    _, at, host = rest.rpartition("@")
    shown = f"{scheme}{slashes}{'…@' if at else ''}{host if at else rest}"
    return _SECRETS.sub(r"\1…", shown)
