"""Who answers scrapes: a small HTTP server in threads of its own, with bounds on who asks.

The port may be one that strangers reach. What they hold is bounded, and what they do, such as to
leave in the midst of an answer, is no line of the log, let alone a stack trace.
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

# Connections at once, each with a thread: a Prometheus or two, and who looks by hand.
CONNECTIONS = 16
# That one may take to ask, all in all, or to take a part of what it is answered.
PATIENCE_SECONDS = 10.0
UNAUTHORIZED, FORBIDDEN = 401, 403
REFUSED = {UNAUTHORIZED: "401 Unauthorized", FORBIDDEN: "403 Forbidden"}
# Of WSGI: the environment, and what begins an answer.
App: TypeAlias = Callable[[dict[str, Any], Any], Any]
# By what a request has as `Authorization` ("": nothing), the status of HTTP that it is refused
# with; 0: it is answered.
Refusal: TypeAlias = Callable[[str], int]


class Places:
    """Who has a connection, and which of them have yet to say what they want, and who asks.

    Those hold no place that another wants, nor for long: a byte now and then says nothing.

    Args:
        most: that there may be.
        patience: seconds in which a request is to be there, with all that shows who sends it.
        clock: monotonic seconds.
    """

    def __init__(self, most: int, patience: float, clock: Callable[[], float]) -> None:
        self._most, self._patience, self._clock = most, patience, clock
        self._lock = threading.Lock()
        # Since when; those that came first are first.
        self._silent: dict[socket.socket, float] = {}
        self._asked: set[socket.socket] = set()

    def take(self, connection: socket.socket) -> bool:
        """Have another; False: all have asked, and none has a place to spare."""
        with self._lock:
            if len(self._silent) + len(self._asked) >= self._most:
                oldest = next(iter(self._silent), None)
                if oldest is None:
                    return False
                self._end(oldest)
            self._silent[connection] = self._clock()
            return True

    def asked(self, connection: socket.socket) -> None:
        """A connection has sent its request."""
        with self._lock:
            if self._silent.pop(connection, None) is not None:
                self._asked.add(connection)

    def give_back(self, connection: socket.socket) -> None:
        """A connection is no more."""
        with self._lock:
            self._silent.pop(connection, None)
            self._asked.discard(connection)

    def end_the_late(self) -> None:
        """End those that have taken too long to ask."""
        with self._lock:
            before = self._clock() - self._patience
            for connection in [each for each, since in self._silent.items() if since < before]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._silent[connection]
        # Its thread reads that there is no more, and closes it.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Answers scrapes by an application of WSGI until `shutdown`.

    Args:
        host, port: to listen on; port 0: any that is free.
        app: what is asked.
        connections: at once; beyond it the oldest ends that has not asked yet, or the new one.
        patience: seconds that one may take to ask, and for each part of its answer.
        clock: monotonic seconds.

    Raises:
        OSError: the address cannot be listened on.
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
        """Listen, without asking a name server what this machine is called, as HTTP's server does:
        where none answers, that takes half a minute, in which nothing is served."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where there is one to spare."""
        if not self.places.take(request):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # as when no thread can start: another may have the place
            self.places.give_back(request)
            raise

    def service_actions(self) -> None:
        """Done between connections, twice a second at least."""
        self.places.end_the_late()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.give_back(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Something went wrong: who asked is gone, or takes too long, or there is a defect."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("a scrape could not be answered", exc_info=error)


def with_defects_said(app: App) -> App:
    """An application whose errors are lines of the log; WSGI's own server writes stack traces to
    standard error, as often as it is asked."""

    def answer(environ: dict[str, Any], start: Any) -> Any:
        try:
            return app(environ, start)
        except Exception as exc:  # of any collector: a scrape that fails is to say so
            log.error("a scrape could not be answered", exc_info=exc)
            start("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"the metrics cannot be read; the server's log says why\n"]

    return answer


def guarded(app: App, refusal: Refusal) -> App:
    """An application of WSGI that answers only who may ask."""

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
    """Says nothing of each request, but when it is there."""

    server: ScrapeServer

    def parse_request(self) -> bool:
        """Read the headers, and with them all that shows who asks."""
        is_whole = super().parse_request()
        if is_whole:
            self.server.places.asked(self.connection)
        return is_whole

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: there is a scrape every few seconds."""
