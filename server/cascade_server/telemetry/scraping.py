"""A small HTTP server for scrapes, in its own threads, with limits on its clients.

Strangers may be able to reach the port. Their resources are limited, and what they do, such as
leaving in the middle of a response, causes no log line or stack trace.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

log = logging.getLogger("cascade.server")

# Simultaneous connections, each with a thread: for one or two Prometheus servers and a person.
CONNECTIONS = 16
# Seconds that a client may take for its whole request, or to receive a part of the response.
PATIENCE_SECONDS = 10.0
UNAUTHORIZED, FORBIDDEN = 401, 403
REFUSED = {UNAUTHORIZED: "401 Unauthorized", FORBIDDEN: "403 Forbidden"}
# A WSGI application: takes the environment, and the function that begins a response.
App: TypeAlias = Callable[[dict[str, Any], Any], Any]
# Maps the `Authorization` header ("" if there is none) to the HTTP status of a refusal; 0 to
# answer.
Refusal: TypeAlias = Callable[[str], int]


class Places:
    """The open connections, and which of them have not yet sent a request with its credentials.

    Those lose their places to new connections, and end after a while even if a byte arrives now and
    then.

    Args:
        most: the most connections.
        patience: seconds within which a request must arrive, including its credentials.
        clock: monotonic seconds.
    """

    def __init__(self, most: int, patience: float, clock: Callable[[], float]) -> None:
        self._most, self._patience, self._clock = most, patience, clock
        self._lock = threading.Lock()
        # When each connection began; the oldest first.
        self._silent: dict[socket.socket, float] = {}
        self._asked: set[socket.socket] = set()

    def take(self, connection: socket.socket) -> bool:
        """Add a connection; return False if all others have sent requests and there is no room."""
        with self._lock:
            if len(self._silent) + len(self._asked) >= self._most:
                oldest = next(iter(self._silent), None)
                if oldest is None:
                    return False
                self._end(oldest)
            self._silent[connection] = self._clock()
            return True

    def asked(self, connection: socket.socket) -> None:
        """Note that a connection has sent its request."""
        with self._lock:
            if self._silent.pop(connection, None) is not None:
                self._asked.add(connection)

    def give_back(self, connection: socket.socket) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            self._silent.pop(connection, None)
            self._asked.discard(connection)

    def end_the_late(self) -> None:
        """End the connections that have taken too long to send a request."""
        with self._lock:
            before = self._clock() - self._patience
            for connection in [each for each, since in self._silent.items() if since < before]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._silent[connection]
        # Its thread then reads the end of the stream, and closes it.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Answers scrapes with a WSGI application until `shutdown`.

    Args:
        host, port: where to listen; port 0 for any free one.
        app: the application.
        connections: the most connections. Beyond that, the oldest without a request ends, or the
            new one.
        patience: seconds for a request, and for each part of its response.
        clock: monotonic seconds.

    Raises:
        OSError: the server cannot listen on the address.
    """

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        app: App,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        self.places = Places(connections, patience, clock)
        handler = type("Handler", (_Handler,), {"timeout": patience})
        super().__init__(found[0][4][:2], handler)  # type: ignore[arg-type]
        self.set_app(with_defects_said(app))
        threading.Thread(target=self.serve_forever, name="scrapes", daemon=True).start()

    def server_bind(self) -> None:
        """Listen without looking up this machine's name.

        HTTPServer looks it up. Without a name server, that takes half a minute in which nothing is
        served.
        """
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if one is free."""
        if not self.places.take(request):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # as when no thread can start: another may have the place
            self.places.give_back(request)
            raise

    def service_actions(self) -> None:
        """Do the work between connections, at least twice a second."""
        self.places.end_the_late()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.give_back(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Handle an error: the client is gone or too slow, or there is a defect."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("a scrape could not be answered", exc_info=error)


def with_defects_said(app: App) -> App:
    """Return an application whose errors become log lines.

    WSGI's own server writes a stack trace to standard error for each request.
    """

    def answer(environ: dict[str, Any], start: Any) -> Any:
        try:
            return app(environ, start)
        except Exception as exc:  # of any collector: a scrape that fails is to say so
            log.error("a scrape could not be answered", exc_info=exc)
            start("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"the metrics cannot be read; the server's log says why\n"]

    return answer


def guarded(app: App, refusal: Refusal) -> App:
    """Return a WSGI application that answers only authorized clients."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status = refusal(environ.get("HTTP_AUTHORIZATION", ""))
        if not status:
            answered: Iterable[bytes] = app(environ, start)
            return answered
        challenge = [("WWW-Authenticate", "Bearer")] if status == UNAUTHORIZED else []
        start(REFUSED[status], [("Content-Type", "text/plain"), *challenge])
        return [f"{REFUSED[status]}\n".encode()]

    return answer


class _Handler(WSGIRequestHandler):
    """Logs no requests, but notes when one has arrived."""

    server: ScrapeServer

    def parse_request(self) -> bool:
        """Read the headers, including the credentials."""
        is_whole = super().parse_request()
        if is_whole:
            self.server.places.asked(self.connection)
        return is_whole

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: there is a scrape every few seconds."""
