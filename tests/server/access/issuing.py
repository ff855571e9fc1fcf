"""An issuer of tokens (OpenID Connect) on this machine, whose keys a test changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cascade_server.access.issuers import DISCOVERY

from tests.server.access.examples import jwks

KEYS = "/keys"


class Issuing:
    """What the issuer says.

    Attributes:
        url: the issuer.
        keys: that it publishes.
        fetched: paths that were asked for.
        is_away: whether it answers nothing but errors.
        says: what it says instead of HTTP; b"": it speaks HTTP.
    """

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[Mapping[str, Any]] = []
        self.fetched: list[str] = []
        self.is_away = False
        self.says = b""

    def answer(self, path: str) -> bytes | None:
        """What there is at a path; None: nothing."""
        self.fetched.append(path)
        if self.is_away:
            return None
        if path == DISCOVERY:
            return json.dumps({"issuer": self.url, "jwks_uri": self.url + KEYS}).encode()
        return jwks(*self.keys) if path == KEYS else None


@contextmanager
def issuing() -> Iterator[Issuing]:
    """An issuer that answers while the block runs."""
    issuer = Issuing()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = issuer.answer(self.path)
            if issuer.says:
                self.wfile.write(issuer.says)
                return
            self.send_response(503 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
