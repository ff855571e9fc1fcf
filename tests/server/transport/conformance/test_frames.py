"""RFC 9113, sections 3 to 5: the beginning, frames, streams, errors, extensions."""

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
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Code,
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
from tests.server.transport.serving import MOST_STREAMS, Serving

CANCEL = struct.pack(">I", Code.CANCEL)
PROTOCOL, CLOSED = Code.PROTOCOL_ERROR, Code.STREAM_CLOSED
EIGHT = b"12345678"
# A call that is open, one that has said all and is not answered, one that has been answered before
# it had said all, and one that was taken back.
OPEN = begins(1, of("Wait"))
HALF_CLOSED = OPEN + ends()
CUT = begins(1, of("Nothing"))
TAKEN_BACK = OPEN + frame(RST_STREAM, 0, 1, CANCEL)
WHOLE = fields()
DEPENDS = b"\0\0\0\0\x10"


def first_is_settings(said: Said) -> None:
    assert said.frames[0][:3] == (SETTINGS, 0, 0)


def acknowledges(said: Said) -> None:
    assert said.of(SETTINGS)[1:] == [(SETTINGS, ACK, 0, b"")]


def last_stream_is(number: int) -> Expected:
    def check(said: Said) -> None:
        assert struct.unpack(">I", said.of(GOAWAY)[-1][3][:4]) == (number,)

    return check


def refused(stream: int) -> Expected:
    return reset(Code.REFUSED_STREAM, stream)


MANY = b"".join(begins(1 + 2 * each, of("Wait")) for each in range(MOST_STREAMS))
BEYOND = 1 + 2 * MOST_STREAMS


def begin_cases() -> list[Case]:
    first = PREFACE + settings({})
    ping = frame(PING, 0, 0, EIGHT)
    return [
        Case("3.4", "a preface that is none", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 9,
             told(PROTOCOL), preface=False),
        Case("3.4", "HTTP/1.1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", told(PROTOCOL),
             preface=False),
        Case("3.4", "SETTINGS come first", PREFACE + ping, told(PROTOCOL), preface=False),
        Case("3.4", "SETTINGS that acknowledge do not", PREFACE + frame(SETTINGS, ACK, 0),
             told(PROTOCOL), preface=False),
        Case("3.4", "the server begins with SETTINGS", b"", first_is_settings),
        Case("3.4", "SETTINGS are acknowledged", b"", acknowledges),
        Case("3.4", "a call may follow at once", call(), answered(), (1,)),
        Case("3.4", "a preface twice", first + call(), told(PROTOCOL, Code.FRAME_SIZE_ERROR)),
    ]  # fmt: skip


def frame_cases() -> list[Case]:
    large = b"\0" + (16_379).to_bytes(4, "big") + bytes(16_379)
    block = frame(HEADERS, 0, 1, WHOLE[:5])
    rest = frame(CONTINUATION, END_HEADERS, 1, WHOLE[5:])
    size, compression = Code.FRAME_SIZE_ERROR, Code.COMPRESSION_ERROR
    return [
        Case("4.1", "frames of unknown kinds are ignored", frame(0x16, 0, 0, b"x") + call(),
             answered(), (1,)),
        Case("4.1", "undefined flags are ignored", frame(PING, 0x16, 0, EIGHT), lives),
        Case("4.1", "undefined flags of DATA are ignored",
             begins() + frame(DATA, END_STREAM | 0xC0, 1, b"\0\0\0\0\1x"), answered(), (1,)),
        Case("4.1", "the reserved bit is ignored",
             begins() + frame(DATA, END_STREAM, 1 | 1 << 31, b"\0\0\0\0\1x"), answered(), (1,)),
        Case("4.2", "a frame of 16,384 bytes", begins() + frame(DATA, END_STREAM, 1, large),
             answered(body=bytes(16_379)), (1,)),
        Case("4.2", "DATA that is too long", begins() + frame(DATA, 0, 1, bytes(16_385)),
             told(size)),
        Case("4.2", "HEADERS that are too long", frame(HEADERS, END_HEADERS, 1, bytes(16_385)),
             told(size)),
        Case("4.2", "SETTINGS that are too long", frame(SETTINGS, 0, 0, bytes(16_386)), told(size)),
        Case("4.2", "unknown frames that are too long", frame(0x16, 0, 0, bytes(16_385)),
             told(size)),
        Case("4.2", "unknown frames of 16,384 bytes", frame(0x16, 0, 0, bytes(16_384)), lives),
        Case("4.3", "a block that is none", begins(1, b"\xff\xff\xff\xff\xff\xff"),
             told(compression)),
        Case("4.3", "a block in parts", block + rest + ends(), answered(), (1,)),
        Case("4.3", "PRIORITY within a block", block + frame(PRIORITY, 0, 1, DEPENDS),
             told(PROTOCOL)),
        Case("4.3", "HEADERS within a block", block + begins(3), told(PROTOCOL)),
        Case("4.3", "DATA within a block", block + ends(), told(PROTOCOL)),
        Case("4.3", "SETTINGS within a block", block + settings({}), told(PROTOCOL)),
        Case("4.3", "an unknown frame within a block", block + frame(0x16, 0, 1), told(PROTOCOL)),
        Case("4.3", "CONTINUATION of another stream within a block",
             block + frame(CONTINUATION, END_HEADERS, 3, WHOLE[5:]), told(PROTOCOL)),
        Case("4.3", "a block that was refused has moved the table",
             MANY + frame(HEADERS, END_HEADERS, BEYOND, fields() + b"\x40\1a\1b")
             + frame(RST_STREAM, 0, 1, CANCEL) + begins(BEYOND + 2, fields() + b"\xbe")
             + ends(BEYOND + 2), answered(BEYOND + 2), (BEYOND + 2,)),
    ]  # fmt: skip


def stream_cases() -> list[Case]:
    priority = frame(PRIORITY, 0, 1, DEPENDS)
    back = frame(RST_STREAM, 0, 1, CANCEL)
    answered_call = call() + frame(PING, ACK, 0, EIGHT)
    return [
        Case("5.1", "idle: DATA", frame(DATA, 0, 1, b"x"), told(PROTOCOL)),
        Case("5.1", "idle: RST_STREAM", back, told(PROTOCOL)),
        Case("5.1", "idle: WINDOW_UPDATE", window_update(1, 1), told(PROTOCOL)),
        Case("5.1", "idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, WHOLE),
             told(PROTOCOL)),
        Case("5.1", "idle: PRIORITY", priority + call(), answered(), (1,)),
        Case("5.1", "open: PRIORITY and WINDOW_UPDATE", OPEN + priority + window_update(1, 1),
             lives),
        Case("5.1", "open: RST_STREAM", TAKEN_BACK, lives),
        Case("5.1", "half closed: DATA", HALF_CLOSED + frame(DATA, 0, 1, b"x"), reset(CLOSED)),
        Case("5.1", "half closed: the end again", HALF_CLOSED + ends(), reset(CLOSED)),
        Case("5.1", "half closed: HEADERS",
             HALF_CLOSED + begins(1, fields(base=()) or b"\0\1a\1b", END_HEADERS | END_STREAM),
             reset(CLOSED)),
        Case("5.1", "half closed: CONTINUATION",
             HALF_CLOSED + frame(CONTINUATION, END_HEADERS, 1, WHOLE), told(PROTOCOL)),
        Case("5.1", "half closed: PRIORITY and WINDOW_UPDATE",
             HALF_CLOSED + priority + window_update(1, 1), lives),
        Case("5.1", "half closed: RST_STREAM", HALF_CLOSED + back, lives),
        Case("5.1", "closed by RST_STREAM: DATA", TAKEN_BACK + frame(DATA, 0, 1, b"x"),
             reset(CLOSED)),
        Case("5.1", "closed by RST_STREAM: HEADERS",
             TAKEN_BACK + begins(1, b"\0\1a\1b", END_HEADERS | END_STREAM), told(CLOSED)),
        Case("5.1", "closed by RST_STREAM: CONTINUATION",
             TAKEN_BACK + frame(CONTINUATION, END_HEADERS, 1, WHOLE), told(PROTOCOL)),
        Case("5.1", "closed by RST_STREAM: PRIORITY", TAKEN_BACK + priority, lives),
        Case("5.1", "closed by RST_STREAM: WINDOW_UPDATE", TAKEN_BACK + window_update(1, 1), lives),
        Case("5.1", "closed by RST_STREAM: RST_STREAM", TAKEN_BACK + back, lives),
        Case("5.1", "closed by both ends: DATA", answered_call + frame(DATA, 0, 1, b"x"),
             reset(CLOSED), (1,)),
        Case("5.1", "closed by the server: DATA that was under way", CUT + ends(),
             answered_early),
        Case("5.1", "closed by the server: trailers that were under way",
             CUT + begins(1, b"\0\1a\1b", END_HEADERS | END_STREAM),
             answered_early),
        Case("5.1", "closed by the server: RST_STREAM", CUT + back,
             answered_early),
        Case("5.1.1", "an even number", begins(2), told(PROTOCOL)),
        Case("5.1.1", "number 0", begins(0), told(PROTOCOL)),
        Case("5.1.1", "a number below one that was used", begins(5, of("Wait")) + begins(3),
             told(PROTOCOL)),
        Case("5.1.1", "numbers may be left out", call(1001), answered(1001), (1001,)),
        Case("5.1.1", "the largest number", call(2**31 - 1), answered(2**31 - 1), (2**31 - 1,)),
        Case("5.1.2", "as many as are allowed", MANY, lives),
        Case("5.1.2", "one more", MANY + begins(BEYOND), refused(BEYOND), (BEYOND,)),
        Case("5.1.2", "one more once one is over", MANY + back + call(BEYOND), answered(BEYOND),
             (BEYOND,)),
        Case("5.3", "HEADERS with a priority",
             frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, DEPENDS + WHOLE) + ends(), answered(),
             (1,)),
        Case("5.3", "a stream that depends on itself is none of a server's business",
             frame(PRIORITY, 0, 1, b"\0\0\0\1\x10") + call(), answered(), (1,)),
        Case("5.4.1", "the last stream is named", call() + frame(PING, 0, 1, EIGHT),
             last_stream_is(1)),
        Case("5.4.1", "the connection is closed", frame(PING, 0, 1, EIGHT), told(PROTOCOL)),
        Case("5.4.2", "others go on", begins(1, fields(base=())) + call(3), answered(3), (3,)),
        Case("5.4.2", "RST_STREAM is not answered by one", HALF_CLOSED + back, lives),
        Case("5.5", "unknown frames of a stream", OPEN + frame(0x16, 0, 1, b"x"), lives),
        Case("5.5", "unknown SETTINGS", frame(SETTINGS, 0, 0, struct.pack(">HI", 0xFFFF, 1)),
             lives),
    ]  # fmt: skip


def answered_early(said: Said) -> None:
    """The call had its answer, was asked to stop, and what came then was passed over."""
    assert said.lives
    assert [f[3] for f in said.of(RST_STREAM, 1)] == [struct.pack(">I", Code.NO_ERROR)]
    assert len(said.of(HEADERS, 1)) == 1


@cases(begin_cases())
def test_the_beginning(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(frame_cases())
def test_frames(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(stream_cases())
def test_streams(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))
