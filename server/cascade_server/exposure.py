"""Decides whether a server may listen on an address: if others can reach it, it must be safe."""

from __future__ import annotations

import ipaddress

LOCAL_NAMES = ("localhost", "localhost.", "ip6-localhost", "ip6-loopback")


def is_loopback(host: str) -> bool:
    """Return whether an address cannot be reached from other machines.

    Any name but `localhost` counts as reachable, because it may resolve to another address later.

    Args:
        host: as `host` in the settings: an address, with or without brackets, or a name.
    """
    bare = host.strip().removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return bare.lower() in LOCAL_NAMES
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def exposure(host: str, tls: bool, authentication: bool, insecure: bool) -> str | None:
    """Return why a server may not listen on an address; None: it may.

    A loopback address is always allowed. Any other address needs both TLS, so that rows cannot be
    read in transit, and identified callers. `insecure` states that something else provides that: a
    service mesh, a proxy, or a trusted network.

    Args:
        host: the address.
        tls: whether connections are encrypted.
        authentication: whether callers must identify themselves.
        insecure: whether the operator has allowed it.

    Returns:
        One line that names what to set.
    """
    if insecure or is_loopback(host) or (tls and authentication):
        return None
    lacks, needs = [], []
    if not tls:
        lacks.append("could read along")
        needs.append("tls_certificate and tls_key")
    if not authentication:
        lacks.append("could ask without saying who they are")
        needs.append("access, or tls_client_certificates: required with tls_client_ca")
    return (
        f"host is {host!r}, an address that others reach, who {' and '.join(lacks)}. Set "
        f"{' and '.join(needs)}, or host to 127.0.0.1; or insecure (--insecure), where something "
        "else keeps strangers out"
    )


def metrics_exposure(host: str, asked: bool, insecure: bool) -> str | None:
    """Return why metrics may not be served at an address; None: they may.

    Metrics use plain HTTP, which has no client certificates: a scraper identifies itself by a key
    or a token, or not at all.

    Args:
        host: the address.
        asked: whether scrapers must identify themselves.
        insecure: as in `exposure`.
    """
    if insecure or asked or is_loopback(host):
        return None
    return (
        f"metrics_port is set, and host is {host!r}, an address that others reach: metrics are "
        "plain HTTP, where nobody shows a certificate, and without access anybody is answered. Set "
        "access, or metrics_port to none; or insecure (--insecure), where something else keeps "
        "strangers out"
    )


def page_exposure(host: str, insecure: bool) -> str | None:
    """Return why the operations page may not be served at an address; None: it may.

    The page changes nothing, but is neither encrypted nor protected. It is for users of the
    machine, who may connect by `ssh -L` or `kubectl port-forward`.

    Args:
        host: the address.
        insecure: as in `exposure`.
    """
    if insecure or is_loopback(host):
        return None
    return (
        f"ops_host is {host!r}, an address that others reach, and the operations page asks nobody "
        "who they are. Set ops_host to 127.0.0.1, and come by `ssh -L` or `kubectl port-forward` "
        "(docs/operations.md); or insecure (--insecure), where something else keeps strangers out"
    )
