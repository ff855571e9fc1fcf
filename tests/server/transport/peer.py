"""A client of HTTP/2 that says what it is told to: h2's state machine, or bytes of one's own."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events as events
from cascade_server.transport.http2.frames import PREFACE, settings

from tests.server.transport.serving import SERVICE


def message(body: bytes, flag: int = 0) -> bytes:
    """gRPC's length-prefixed message."""
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


def request(rpc: str, /, *more: tuple[str, str], **changed: str) -> list[tuple[str, str]]:
    """Headers of a call; an empty value leaves one out."""
    pseudo = {
        "method": "POST",
        "scheme": "http",
        "authority": "test",
        "path": f"/{SERVICE}/{rpc}",
    }
    plain = {"te": "trailers", "content-type": "application/grpc"}
    for name, value in changed.items():
        (pseudo if name in pseudo else plain)[name.replace("_", "-")] = value
    found = [(f":{name}", value) for name, value in pseudo.items()]
    return [*((n, v) for n, v in (*found, *plain.items()) if v), *more]


@dataclass
class Answer:
    """What came back on a stream."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None

    @property
    def status(self) -> str | None:
        """gRPC's, whether it came with the headers or after the messages."""
        return self.trailers.get("grpc-status", self.headers.get("grpc-status"))

    @property
    def details(self) -> str:
        return self.trailers.get("grpc-message", self.headers.get("grpc-message", ""))

    @property
    def messages(self) -> list[bytes]:
        out, at = [], 0
        while at < len(self.body):
            end = at + 5 + int.from_bytes(self.body[at + 1 : at + 5], "big")
            out.append(self.body[at + 5 : end])
            at = end
        return out


class Peer:
    """A connection by h2.

    Attributes:
        h2: its state.
        answers: by stream.
        ended: streams that are over.
        goaway: the codes that came.
        closed: whether the server has closed.
    """

    def __init__(
        self, port: int, acknowledges: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.ended: set[int] = set()
        self.goaway: list[int] = []
        self.closed = False
        # Of windows: what has come is given back.
        self.acknowledges = acknowledges
        self.seen: list[events.Event] = []
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def begin(self, headers: Iterable[tuple[str, str]], end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, end: bool = True, pad: int | None = None) -> None:
        """Send, as windows and frames allow it."""
        while True:
            room = self.h2.local_flow_control_window(stream)
            room = min(room, self.h2.max_outbound_frame_size)
            if room or not data:
                part, data = data[:room], data[room:]
                self.h2.send_data(stream, part, end_stream=end and not data, pad_length=pad)
                self.flush()
                if not data:
                    return
            else:
                self.read()

    def raw(self, data: bytes) -> None:
        """Send bytes that h2 knows nothing of."""
        self.socket.sendall(data)

    def read(self) -> None:
        """What comes next."""
        data = self.socket.recv(65_536)
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self.seen.append(event)
            self._take(event)
        self.flush()

    def until(self, done: Callable[[], bool]) -> None:
        """Read until something is so, or the server has closed."""
        while not done() and not self.closed:
            self.read()

    def answer(self, stream: int) -> Answer:
        """Wait for the end of a stream."""
        self.until(lambda: stream in self.ended)
        return self.answers[stream]

    def call(self, method: str, body: bytes, *more: tuple[str, str]) -> Answer:
        stream = self.begin(request(method, *more))
        self.send(stream, message(body))
        return self.answer(stream)

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.ConnectionTerminated):
            self.goaway.append(int(event.error_code or 0))
            return
        stream = getattr(event, "stream_id", None)
        if not stream:
            return
        answer = self.answers[stream]
        if isinstance(event, events.ResponseReceived):
            answer.headers = dict(event.headers)
        elif isinstance(event, events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, events.DataReceived):
            answer.body += event.data
            if self.acknowledges and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, events.StreamReset):
            answer.reset = int(event.error_code)
            self.ended.add(stream)
        elif isinstance(event, events.StreamEnded):
            self.ended.add(stream)


Frame = tuple[int, int, int, bytes]


def frames_of(data: bytes) -> tuple[list[Frame], bytes]:
    """Kind, flags, stream and payload of every whole frame, and what is left."""
    found, at = [], 0
    while at + 9 <= len(data):
        end = at + 9 + int.from_bytes(data[at : at + 3], "big")
        if end > len(data):
            break
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        found.append((data[at + 3], data[at + 4], stream, data[at + 9 : end]))
        at = end
    return found, data[at:]


@dataclass
class Raw:
    """A connection by hand: every frame that came, once the server has closed."""

    port: int
    frames: list[Frame] = field(default_factory=list)

    def say(self, *parts: bytes, preface: bool = True, ends: bool = True) -> Raw:
        """Send all and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall((PREFACE + settings({}) if preface else b"") + b"".join(parts))
            if ends:
                connection.shutdown(socket.SHUT_WR)
            data = b""
            while more := connection.recv(65_536):
                data += more
        self.frames, rest = frames_of(data)
        assert rest == b""
        return self

    @property
    def goaway(self) -> tuple[int, str] | None:
        """Code and message of the last GOAWAY."""
        found = [payload for kind, _, _, payload in self.frames if kind == 7]
        return (int.from_bytes(found[-1][4:8], "big"), found[-1][8:].decode()) if found else None
