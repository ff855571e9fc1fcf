"""A peer that says what a case tells it to, byte by byte, and what a case expects of the server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from cascade_server.transport.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    Code,
    frame,
    settings,
)

from benchmarks.load.attacks.wire import integer, literal
from tests.server.transport.peer import Frame, frames_of, message
from tests.server.transport.serving import SERVICE

THE_END = b"the end!"
ECHO = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", f"/{SERVICE}/Echo".encode()),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
Pairs = Iterable[tuple[bytes, bytes]]


def fields(*more: tuple[bytes, bytes], base: Pairs = ECHO, without: bytes = b"") -> bytes:
    """A block of literals that leaves the table as it is; a name of `more` replaces the base's."""
    pairs = [*(each for each in base if each[0] != without), *more]
    return b"".join(literal(*each) for each in pairs)


def of(method: str) -> bytes:
    """The block of a call of another method."""
    path = f"/{SERVICE}/{method}".encode()
    return fields(base=tuple((n, path if n == b":path" else v) for n, v in ECHO))


def begins(stream: int = 1, block: bytes | None = None, flags: int = END_HEADERS) -> bytes:
    """HEADERS."""
    return frame(HEADERS, flags, stream, fields() if block is None else block)


def ends(stream: int = 1, body: bytes = b"x") -> bytes:
    """The only message of a call."""
    return frame(DATA, END_STREAM, stream, message(body))


def call(stream: int = 1, body: bytes = b"x") -> bytes:
    """The whole of a call that is answered with what it says."""
    return begins(stream) + ends(stream, body)


@dataclass
class Said:
    """What the server said.

    Attributes:
        frames: all of them.
        closed: whether it closed the connection.
    """

    frames: list[Frame] = field(default_factory=list)
    closed: bool = False

    def of(self, kind: int, stream: int | None = None) -> list[Frame]:
        return [f for f in self.frames if f[0] == kind and stream in (None, f[2])]

    def has_ended(self, stream: int) -> bool:
        """Whether there will be nothing more on a stream."""
        return any(
            f[2] == stream and (f[0] == RST_STREAM or (f[0] in (DATA, HEADERS) and f[1] & 1))
            for f in self.frames
        )

    @property
    def lives(self) -> bool:
        """Whether the connection went on until the case had ended."""
        return (PING, ACK, 0, THE_END) in self.frames and not self.of(GOAWAY)


Expected = Callable[[Said], None]


@dataclass(frozen=True)
class Case:
    """One rule.

    Attributes:
        section: of the RFC.
        rule: what it says.
        sent: after the preface and SETTINGS.
        expected: checks what came.
        waits_for: streams whose end is waited for.
        preface: whether it is sent.
        then: what is sent once so many bytes of DATA have come on stream 1.
    """

    section: str
    rule: str
    sent: bytes
    expected: Expected
    waits_for: tuple[int, ...] = ()
    preface: bool = True
    then: tuple[tuple[int, bytes], ...] = ()


def told(*codes: Code) -> Expected:
    """A connection error (RFC 9113, 5.4.1)."""

    def check(said: Said) -> None:
        found = [int.from_bytes(f[3][4:8], "big") for f in said.of(GOAWAY)]
        assert found, f"no GOAWAY; {said.frames}"
        assert found[-1] in codes
        assert said.closed

    return check


def reset(code: Code, stream: int = 1) -> Expected:
    """A stream error (RFC 9113, 5.4.2): the connection goes on."""

    def check(said: Said) -> None:
        assert said.lives, said.frames
        assert [int.from_bytes(f[3], "big") for f in said.of(RST_STREAM, stream)] == [code]

    return check


def answered(*streams: int, body: bytes = b"x") -> Expected:
    """Calls have their answers."""

    def check(said: Said) -> None:
        assert not said.of(GOAWAY), said.frames
        for stream in streams or (1,):
            data = b"".join(f[3] for f in said.of(DATA, stream))
            assert data == message(body)
            assert not said.of(RST_STREAM, stream)

    return check


def status(code: bytes, stream: int = 1) -> Expected:
    """A call ends with an HTTP status; the connection goes on."""

    def check(said: Said) -> None:
        assert said.lives, said.frames
        assert [f[3] for f in said.of(HEADERS, stream)] == [literal(b":status", code)]

    return check


def lives(said: Said) -> None:
    """Nothing is wrong."""
    assert said.lives, said.frames
    assert not said.of(RST_STREAM), said.frames


def converse(port: int, case: Case) -> Said:
    """Send what a case says, and read until all that it waits for has come."""
    said, data = Said(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        start = PREFACE + settings({}) if case.preface else b""
        connection.sendall(start + case.sent)
        left = [*case.then]
        if case.preface and not left:
            connection.sendall(frame(PING, 0, 0, THE_END))
        while True:
            while left and sum(len(f[3]) for f in said.of(DATA, 1)) >= left[0][0]:
                connection.sendall(left.pop(0)[1])
                if not left:
                    connection.sendall(frame(PING, 0, 0, THE_END))
            over = (PING, ACK, 0, THE_END) in said.frames and not said.of(GOAWAY)
            if over and all(map(said.has_ended, case.waits_for)):
                return said
            try:
                more = connection.recv(65_536)
            except ConnectionError:
                more = b""
            if not more:
                said.closed = True
                return said
            data += more
            found, data = frames_of(data)
            said.frames.extend(found)


def cases(found: Iterable[Case], short: dict[str, str] | None = None) -> pytest.MarkDecorator:
    """Parametrize by cases; `short` has the reasons of those that do not hold, by their rules."""
    short = short or {}
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                each,
                id=f"{each.section} {each.rule}",
                marks=[pytest.mark.xfail(reason=short[each.rule], strict=True)]
                if each.rule in short
                else [],
            )
            for each in found
        ],
    )


__all__ = ["integer", "literal"]
