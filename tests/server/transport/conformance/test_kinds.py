"""RFC 9113, section 6: each kind of frame."""

from __future__ import annotations

import struct

from cascade_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    Setting,
    frame,
    settings,
    window_update,
)

from tests.server.transport.conformance.peer import (
    Case,
    Expected,
    Said,
    answered,
    begins,
    call,
    cases,
    converse,
    ends,
    fields,
    lives,
    of,
    reset,
    told,
)
from tests.server.transport.serving import Serving

PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
CALM = Code.ENHANCE_YOUR_CALM
OPEN = begins(1, of("Wait"))
EIGHT = b"12345678"
BODY = b"\0\0\0\0\1x"
CANCEL = struct.pack(">I", Code.CANCEL)
DEPENDS = b"\0\0\0\0\x10"
WHOLE = fields()
LARGEST = 2**31 - 1


def acknowledgements(count: int) -> Expected:
    """So many, beside the one of the first SETTINGS."""

    def check(said: Said) -> None:
        assert said.lives
        assert said.of(SETTINGS)[1:] == [(SETTINGS, ACK, 0, b"")] * (count + 1)

    return check


def pongs(*payloads: bytes) -> Expected:
    def check(said: Said) -> None:
        assert said.lives
        assert [f[3] for f in said.of(PING)][:-1] == [*payloads]

    return check


def sizes(*found: int) -> Expected:
    """DATA frames that have come of stream 1."""

    def check(said: Said) -> None:
        assert said.lives, said.frames
        assert [len(f[3]) for f in said.of(DATA, 1)] == [*found]

    return check


def raw(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def data_cases() -> list[Case]:
    return [
        Case("6.1", "DATA of stream 0", frame(DATA, 0, 0, b"x"), told(PROTOCOL)),
        Case("6.1", "DATA in parts",
             begins() + frame(DATA, 0, 1, BODY[:3]) + frame(DATA, END_STREAM, 1, BODY[3:]),
             answered(), (1,)),
        Case("6.1", "an empty DATA at the end",
             begins() + frame(DATA, 0, 1, BODY) + frame(DATA, END_STREAM, 1), answered(), (1,)),
        Case("6.1", "padding is no data",
             begins() + frame(DATA, END_STREAM | PADDED, 1, b"\4" + BODY + bytes(4)), answered(),
             (1,)),
        Case("6.1", "no padding where it is announced",
             begins() + frame(DATA, END_STREAM | PADDED, 1, b"\0" + BODY), answered(), (1,)),
        Case("6.1", "as much padding as the frame has", OPEN + frame(DATA, PADDED, 1, b"\1"),
             told(PROTOCOL)),
        Case("6.1", "more padding than frame", OPEN + frame(DATA, PADDED, 1, b"\x63x"),
             told(PROTOCOL)),
        Case("6.1", "padding without its length", OPEN + frame(DATA, PADDED, 1), told(SIZE)),
        Case("6.2", "HEADERS of stream 0", begins(0), told(PROTOCOL)),
        Case("6.2", "HEADERS with padding",
             frame(HEADERS, END_HEADERS | PADDED, 1, b"\3" + WHOLE + bytes(3)) + ends(),
             answered(), (1,)),
        Case("6.2", "HEADERS with padding and priority",
             frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1,
                   b"\3" + DEPENDS + WHOLE + bytes(3)) + ends(), answered(), (1,)),
        Case("6.2", "more padding than HEADERS",
             frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + WHOLE[:60]), told(PROTOCOL)),
        Case("6.2", "priority that is cut short",
             frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0"), told(SIZE)),
        Case("6.3", "PRIORITY of stream 0", frame(PRIORITY, 0, 0, DEPENDS), told(PROTOCOL)),
        Case("6.3", "PRIORITY that is too short", OPEN + frame(PRIORITY, 0, 1, DEPENDS[:4]),
             reset(SIZE)),
        Case("6.3", "PRIORITY that is too long", OPEN + frame(PRIORITY, 0, 1, DEPENDS + b"x"),
             reset(SIZE)),
        Case("6.4", "RST_STREAM of stream 0", frame(RST_STREAM, 0, 0, CANCEL), told(PROTOCOL)),
        Case("6.4", "RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, CANCEL),
             told(PROTOCOL)),
        Case("6.4", "RST_STREAM that is too short", OPEN + frame(RST_STREAM, 0, 1, CANCEL[:3]),
             told(SIZE)),
        Case("6.4", "RST_STREAM that is too long", OPEN + frame(RST_STREAM, 0, 1, CANCEL + b"x"),
             told(SIZE)),
        Case("6.4", "RST_STREAM with a code that is unknown",
             OPEN + frame(RST_STREAM, 0, 1, b"\xff" * 4), lives),
        Case("6.6", "a client does not push", OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
             told(PROTOCOL)),
    ]  # fmt: skip


def settings_cases() -> list[Case]:
    one = settings({Setting.HEADER_TABLE_SIZE: 4096})
    return [
        Case("6.5", "an acknowledgement has no values", frame(SETTINGS, ACK, 0, bytes(6)),
             told(SIZE)),
        Case("6.5", "SETTINGS of a stream", frame(SETTINGS, 0, 1), told(PROTOCOL)),
        Case("6.5", "SETTINGS of 3 bytes", frame(SETTINGS, 0, 0, bytes(3)), told(SIZE)),
        Case("6.5", "SETTINGS of 7 bytes", frame(SETTINGS, 0, 0, bytes(7)), told(SIZE)),
        Case("6.5", "SETTINGS of nothing", settings({}), acknowledgements(1)),
        Case("6.5.2", "ENABLE_PUSH is 2", settings({Setting.ENABLE_PUSH: 2}), told(PROTOCOL)),
        Case("6.5.2", "ENABLE_PUSH is 0", settings({Setting.ENABLE_PUSH: 0}), lives),
        Case("6.5.2", "ENABLE_PUSH is 1", settings({Setting.ENABLE_PUSH: 1}), lives),
        Case("6.5.2", "INITIAL_WINDOW_SIZE is too large",
             settings({Setting.INITIAL_WINDOW_SIZE: LARGEST + 1}), told(FLOW)),
        Case("6.5.2", "INITIAL_WINDOW_SIZE is the largest",
             settings({Setting.INITIAL_WINDOW_SIZE: LARGEST}) + call(), answered(), (1,)),
        Case("6.5.2", "MAX_FRAME_SIZE is too small", settings({Setting.MAX_FRAME_SIZE: 16_383}),
             told(PROTOCOL)),
        Case("6.5.2", "MAX_FRAME_SIZE is too large", settings({Setting.MAX_FRAME_SIZE: 2**24}),
             told(PROTOCOL)),
        Case("6.5.2", "MAX_FRAME_SIZE is the largest",
             settings({Setting.MAX_FRAME_SIZE: 2**24 - 1}) + call(), answered(), (1,)),
        Case("6.5.2", "HEADER_TABLE_SIZE is 0",
             settings({Setting.HEADER_TABLE_SIZE: 0}) + call(), answered(), (1,)),
        Case("6.5.2", "MAX_CONCURRENT_STREAMS is 0",
             settings({Setting.MAX_CONCURRENT_STREAMS: 0}) + call(), answered(), (1,)),
        Case("6.5.2", "MAX_HEADER_LIST_SIZE is small",
             settings({Setting.MAX_HEADER_LIST_SIZE: 1}) + call(), answered(), (1,)),
        Case("6.5.2", "settings that are unknown", raw(0x1234, 5) + call(), answered(), (1,)),
        Case("6.5.3", "the last of several values counts",
             frame(SETTINGS, 0, 0, struct.pack(">HIHI", 4, 1, 4, 6)) + call(), sizes(6), (1,)),
        Case("6.5.3", "each is acknowledged", one * 3, acknowledgements(3)),
        Case("6.5.3", "they hold from then on",
             settings({Setting.INITIAL_WINDOW_SIZE: 2}) + call(), sizes(2), then=((2, b""),)),
    ]  # fmt: skip


def ping_cases() -> list[Case]:
    return [
        Case("6.7", "PING is answered", frame(PING, 0, 0, EIGHT), pongs(EIGHT)),
        Case("6.7", "PINGs are answered in order",
             frame(PING, 0, 0, EIGHT) + frame(PING, 0, 0, EIGHT[::-1]), pongs(EIGHT, EIGHT[::-1])),
        Case("6.7", "an answer is not answered", frame(PING, ACK, 0, EIGHT), pongs()),
        Case("6.7", "PING of a stream", frame(PING, 0, 1, EIGHT), told(PROTOCOL)),
        Case("6.7", "PING of 7 bytes", frame(PING, 0, 0, bytes(7)), told(SIZE)),
        Case("6.7", "PING of 9 bytes", frame(PING, 0, 0, bytes(9)), told(SIZE)),
        Case("6.7", "PING of nothing", frame(PING, 0, 0), told(SIZE)),
        Case("6.8", "GOAWAY of a stream", frame(GOAWAY, 0, 1, bytes(8)), told(PROTOCOL)),
        Case("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), told(SIZE)),
        Case("6.8", "calls go on after GOAWAY", begins() + frame(GOAWAY, 0, 0, bytes(8)) + ends(),
             answered(), (1,)),
        Case("6.8", "GOAWAY with a reason", frame(GOAWAY, 0, 0, bytes(8) + b"because"), lives),
    ]  # fmt: skip


def window_cases() -> list[Case]:
    none = settings({Setting.INITIAL_WINDOW_SIZE: 0})
    two = settings({Setting.INITIAL_WINDOW_SIZE: 2})
    wait = begins(1, of("Wait"))
    return [
        Case("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), told(SIZE)),
        Case("6.9", "WINDOW_UPDATE of 5 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), told(SIZE)),
        Case("6.9", "by 0, of the connection", window_update(0, 0), told(PROTOCOL)),
        Case("6.9", "by 0, of a stream", wait + window_update(1, 0), reset(PROTOCOL)),
        Case("6.9", "of a stream that is idle", window_update(1, 1), told(PROTOCOL)),
        Case("6.9", "the reserved bit is ignored",
             none + call() + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 31 | 6)), sizes(6),
             (1,)),
        Case("6.9.1", "no more DATA than the window", none + call() + window_update(1, 1), sizes(1),
             then=((1, b""),)),
        Case("6.9.1", "as much DATA as the window", two + call(), sizes(2), then=((2, b""),)),
        Case("6.9.1", "more as it opens", two + call(), sizes(2, 3),
             then=((2, window_update(1, 3)), (5, b""))),
        Case("6.9.1", "headers need no window", none + begins(1, of("Nothing")),
             check_unimplemented, (1,)),
        Case("6.9.1", "the connection's window is too large",
             window_update(0, LARGEST), told(FLOW)),
        Case("6.9.1", "a stream's window is too large",
             wait + window_update(1, LARGEST), reset(FLOW)),
        Case("6.9.1", "a stream's window is as large as can be",
             wait + window_update(1, LARGEST - 65_535), lives),
        Case("6.9.1", "padding counts",
             wait + frame(DATA, PADDED, 1, b"\xff" + bytes(255)) * 3, lives),
        Case("6.9.2", "a larger window for streams that are open",
             two + call(), sizes(2, 3),
             then=((2, settings({Setting.INITIAL_WINDOW_SIZE: 5})), (5, b""))),
        Case("6.9.2", "a window below 0 is made up for first",
             two + call(), sizes(2, 1),
             then=((2, none + window_update(1, 2) + window_update(1, 1)), (3, b""))),
        Case("6.9.2", "a window that SETTINGS make too large",
             wait + window_update(1, LARGEST - 65_535)
             + settings({Setting.INITIAL_WINDOW_SIZE: 65_536}), told(FLOW)),
        Case("6.9.2", "SETTINGS leave the connection's window alone",
             settings({Setting.INITIAL_WINDOW_SIZE: 100_000}) + begins(1, of("Count"))
             + ends(1, b"1 70000"),
             lambda said: check_total(said, 65_535), then=((65_535, b""),)),
    ]  # fmt: skip


def check_unimplemented(said: Said) -> None:
    assert said.lives
    assert b"grpc-status\x0212" in said.of(HEADERS, 1)[0][3]


def check_total(said: Said, most: int) -> None:
    assert said.lives
    assert sum(len(f[3]) for f in said.of(DATA, 1)) <= most


def continuation_cases() -> list[Case]:
    first, last = WHOLE[:2], frame(CONTINUATION, END_HEADERS, 1, WHOLE[4:])
    parts = [frame(CONTINUATION, 0, 1, WHOLE[at : at + 1]) for at in (2, 3)]
    head = frame(HEADERS, 0, 1, first)
    nothing = frame(CONTINUATION, 0, 1)
    return [
        Case("6.10", "several CONTINUATIONs", head + b"".join(parts) + last + ends(), answered(),
             (1,)),
        Case("6.10", "HEADERS without a byte",
             frame(HEADERS, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, WHOLE) + ends(),
             answered(), (1,)),
        Case("6.10", "CONTINUATION without a byte",
             begins(1, WHOLE, 0) + frame(CONTINUATION, END_HEADERS, 1) + ends(), answered(), (1,)),
        Case("6.10", "END_STREAM is of the HEADERS",
             begins(1, WHOLE, END_STREAM) + frame(CONTINUATION, END_HEADERS, 1),
             lambda said: check_status(said, b"3"), (1,)),
        Case("6.10", "after the end of a block", begins() + frame(CONTINUATION, 0, 1, b"x"),
             told(PROTOCOL)),
        Case("6.10", "of stream 0", head + frame(CONTINUATION, END_HEADERS, 0, WHOLE),
             told(PROTOCOL)),
        Case("6.10", "before any HEADERS", frame(CONTINUATION, END_HEADERS, 1, WHOLE),
             told(PROTOCOL)),
        Case("6.10", "after DATA", OPEN + frame(DATA, 0, 1, b"x") + last, told(PROTOCOL)),
        Case("10.5", "eight are allowed",
             begins(1, WHOLE, 0) + nothing * 7 + frame(CONTINUATION, END_HEADERS, 1) + ends(),
             answered(), (1,)),
        Case("10.5", "nine are not", begins(1, WHOLE, 0) + nothing * 9, told(CALM)),
    ]  # fmt: skip


def check_status(said: Said, status: bytes) -> None:
    assert said.lives
    assert b"grpc-status\1" + status in said.of(HEADERS, 1)[0][3]


@cases(data_cases())
def test_streams(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(settings_cases())
def test_settings(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(ping_cases())
def test_pings_and_farewells(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(window_cases())
def test_windows(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(continuation_cases())
def test_continuations(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))
