"""Whether an address may be listened on: others may reach it only privately, and by name."""

from __future__ import annotations

import ipaddress

LOCAL_NAMES = ("localhost", "localhost.", "ip6-localhost", "ip6-loopback")


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches an address.

    A name other than `localhost` is taken for one that others reach: whom it stands for may change.

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
    """Why a server may not listen on an address; None: it may.

    A loopback address may always be listened on. Any other needs both: TLS, so that rows are not
    read on the way, and callers that are asked who they are. `insecure` says that something else
    sees to that: a mesh, a proxy, a network that nobody else is in.

    Args:
        host: the address.
        tls: whether what is said is encrypted.
        authentication: whether callers are asked who they are.
        insecure: whether that is wanted.

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
    """Why metrics may not be answered at an address; None: they may.

    They are plain HTTP, where nobody can show a certificate: who scrapes them is asked for a key or
    a token, if for anything.

    Args:
        host: the address.
        asked: whether who scrapes is asked for one.
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
    """Why the operations page may not be served at an address; None: it may.

    It changes nothing and asks nobody who they are, and is not encrypted: it is for who is on the
    machine, or comes there by `ssh -L` or `kubectl port-forward`.

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
