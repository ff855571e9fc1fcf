"""Decides what a browser requests and whether it may; pure, without sockets.

The page only shows data, so only GET and HEAD are answered. Other sites must not read it through a
visitor's browser: no response may be read across origins, and a request under an unknown host name
is refused, since another site could point its own name here (DNS rebinding). IP addresses are
always accepted, since they do not allow that.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from cascade_server.page.assets import Asset
from cascade_server.page.past import EVERY
from cascade_server.terms import ServiceClass

METHODS = ("GET", "HEAD")
# Only content served here, no script or style in the document itself, and no way to turn text into
# script or markup.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
TEXT, JSON, EVENTS = "text/plain; charset=utf-8", "application/json", "text/event-stream"


@dataclass(frozen=True)
class Answer:
    """A complete response.

    Attributes:
        status: HTTP status.
        body, kind: content and media type.
        headers: in addition to `SAFE`.
    """

    status: int
    body: bytes = b""
    kind: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Something to look up: `what` is "snapshot", "past" or "events"."""

    what: str
    table: str = EVERY
    service: ServiceClass = ServiceClass.REALTIME


def decide(
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    assets: Mapping[str, Asset],
    names: Collection[str],
) -> Answer | Wanted:
    """Return the response, or what has to be looked up for it.

    Args:
        method, target, headers: parts of the request; names of headers in lower case.
        assets: the page's files by path.
        names: host names of the page, in lower case, besides addresses and `localhost`.
    """
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) != 1 or not is_known(hosts[0], names):
        said = hosts[0] if hosts else ""
        return refusal(
            421,
            f"the page was asked for under the name {json.dumps(said[:200])}; allowed: an address, "
            "localhost, and the names of the setting ops_names",
        )
    if method not in METHODS:
        return refusal(405, "the page only shows; allowed: GET, HEAD", Allow=", ".join(METHODS))
    try:
        parts = urlsplit(target)
        asked = parse_qs(parts.query, max_num_fields=10)
    except ValueError:
        return refusal(400, "the address is none")
    if parts.path in assets:
        return of_asset(assets[parts.path], headers)
    if parts.path == "/snapshot.json":
        return Wanted("snapshot")
    if parts.path == "/events":
        return Wanted("events")
    if parts.path == "/past.json":
        service = asked.get("class", [ServiceClass.REALTIME])[-1]
        if service not in list(ServiceClass):
            return refusal(400, f"class is not allowed; allowed: {', '.join(ServiceClass)}")
        return Wanted("past", asked.get("table", [EVERY])[-1], ServiceClass(service))
    return refusal(404, "there is no such page; allowed: /, /snapshot.json, /past.json, /events")


def of_asset(asset: Asset, headers: Sequence[tuple[str, str]]) -> Answer:
    """Return a file of the page, unless the browser has it."""
    known = [value for name, value in headers if name == "if-none-match"]
    # Checked each time, so that an upgraded server is not shown by an old script.
    fixed = {"ETag": asset.tag, "Cache-Control": "no-cache"}
    if any(asset.tag in value for value in known):
        return Answer(304, b"", asset.kind, fixed)
    return Answer(200, asset.content, asset.kind, fixed)


def refusal(status: int, why: str, **headers: str) -> Answer:
    """Return a response that says why the request is refused."""
    return Answer(status, f"{why}\n".encode(), TEXT, {"Cache-Control": "no-store", **headers})


def is_known(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header names this page: an address, localhost, or one of its names."""
    name, port = host.strip().lower(), ""
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        port = port.removeprefix(":")
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    name = name.removesuffix(".")
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
