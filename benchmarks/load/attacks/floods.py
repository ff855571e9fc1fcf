"""Attacks by frames: floods, resets, settings, windows, priorities, continuations."""

from __future__ import annotations

import struct
from collections.abc import Callable

from benchmarks.load.attacks.attacker import Attack, Script
from benchmarks.load.attacks.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    HEALTH,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM,
    SYNTHESIZE,
    WATCH,
    WINDOW_UPDATE,
    begin,
    call,
    frame,
    head,
    integer,
    literal,
    settings,
)

CANCEL = struct.pack(">I", 8)
MANY = 4000
LARGEST_STREAM = 2**31


def flood(frames: bytes, *, first: bytes = b"", times: int = MANY) -> Callable[[], Script]:
    """The same frames without end."""

    def script() -> Script:
        if first:
            yield first
        again = frames * times
        while True:
            yield again

    return script


def by_stream(make: Callable[[int], bytes], streams: int = 500) -> Callable[[], Script]:
    """Frames of ever new streams."""

    def script() -> Script:
        for start in range(1, LARGEST_STREAM, 2 * streams):
            yield b"".join(make(start + 2 * number) for number in range(streams))

    return script


def trickle(parts: bytes, seconds: float, first: bytes = b"") -> Callable[[], Script]:
    """A byte at a time."""

    def script() -> Script:
        yield first
        for at in range(len(parts)):
            yield parts[at : at + 1]
            yield seconds

    return script


def nothing() -> Script:
    """The attack that is none: what the good caller sees of the machine itself."""
    while True:
        yield 0.5


def one_byte_continuations(stream: int) -> bytes:
    """A block of 15 kB, a byte a frame."""
    block = head(SYNTHESIZE, *((b"x-%d" % number, b"v" * 900) for number in range(15)))
    parts = [frame(CONTINUATION, 0, stream, block[at : at + 1]) for at in range(1, len(block) - 1)]
    last = frame(CONTINUATION, END_HEADERS, stream, block[-1:])
    return frame(HEADERS, END_STREAM, stream, block[:1]) + b"".join(parts) + last


UNFINISHED = begin(1, SYNTHESIZE) + frame(DATA, 0, 1, b"\0\0\0\1\0ab")
TOGGLED = settings(s4=100) + settings(s4=65_535)
SIXTEEN = b"".join(begin(1 + 2 * number, STREAM) for number in range(16))
AN_END = begin(1, HEALTH, end=True)

FLOODS = (
    Attack("nothing", "none: how far this machine's own noise goes", nothing, connections=1),
    Attack("empty_data", "work for no bytes", flood(frame(DATA, 0, 1), first=UNFINISHED)),
    Attack(
        "empty_data_many_streams",
        "the same, on sixteen streams",
        flood(b"".join(frame(DATA, 0, 1 + 2 * each) for each in range(16)), first=SIXTEEN),
    ),
    Attack(
        "empty_padded_data",
        "DATA that is nothing but padding",
        flood(frame(DATA, PADDED, 1, b"\xff" + bytes(255)), first=UNFINISHED, times=200),
    ),
    Attack("one_byte_data", "frames of one byte", flood(frame(DATA, 0, 1, b"x"), first=UNFINISHED)),
    Attack(
        "tiny_messages",
        "a stream of empty messages",
        flood(frame(DATA, 0, 1, bytes(16_380)), first=begin(1, STREAM), times=4),
    ),
    Attack("one_byte_continuations", "copies of a block", by_stream(one_byte_continuations, 2)),
    Attack(
        "endless_continuation",
        "a block without end",
        flood(frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 20), first=frame(HEADERS, 0, 1), times=500),
    ),
    Attack(
        "empty_continuations",
        "a block of nothing, without end",
        flood(frame(CONTINUATION, 0, 1), first=frame(HEADERS, 0, 1, head(HEALTH))),
    ),
    Attack(
        "rapid_reset",
        "calls that are taken back",
        by_stream(
            lambda stream: call(stream, SYNTHESIZE, b"") + frame(RST_STREAM, 0, stream, CANCEL)
        ),
    ),
    Attack(
        "rapid_reset_of_streams",
        "tasks that are begun and cancelled",
        by_stream(lambda stream: begin(stream, STREAM) + frame(RST_STREAM, 0, stream, CANCEL)),
    ),
    Attack(
        "resets_by_the_server",
        "calls that the server has to reset (MadeYouReset)",
        by_stream(lambda stream: begin(stream, STREAM) + frame(WINDOW_UPDATE, 0, stream, bytes(4))),
    ),
    Attack(
        "data_after_the_end",
        "the same, by DATA where none may come",
        by_stream(
            lambda stream: begin(stream, WATCH, end=True) + frame(DATA, END_STREAM, stream, b"x")
        ),
    ),
    Attack("settings", "acknowledgements", flood(settings())),
    Attack(
        "settings_of_many_values",
        "values to go through",
        flood(frame(SETTINGS, 0, 0, struct.pack(">HI", 0x99, 1) * 2700), times=10),
    ),
    Attack("settings_acknowledged", "what was never asked", flood(frame(SETTINGS, ACK, 0))),
    Attack("ping", "answers", flood(frame(PING, 0, 0, b"12345678"))),
    Attack("ping_acknowledged", "what was never asked", flood(frame(PING, ACK, 0, b"12345678"))),
    Attack("ping_unread", "answers that pile up", flood(frame(PING, 0, 0, b"8" * 8)), reads=False),
    Attack("priority", "a tree", flood(frame(PRIORITY, 0, 1, b"\0\0\0\0\1"))),
    Attack(
        "priority_of_idle_streams",
        "a tree of streams that are none",
        by_stream(lambda stream: frame(PRIORITY, 0, stream, b"\0\0\0\0\1"), 2000),
    ),
    Attack("window_update", "sums", flood(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))),
    Attack(
        "window_update_of_a_stream",
        "attempts to send",
        flood(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), first=begin(1, STREAM)),
    ),
    Attack(
        "window_update_by_0", "errors", flood(frame(WINDOW_UPDATE, 0, 1, bytes(4)), first=AN_END)
    ),
    Attack(
        "window_overflow",
        "a sum that does not fit",
        flood(frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), first=begin(1, STREAM), times=2),
    ),
    Attack(
        "initial_window_toggled",
        "every stream is gone through",
        flood(TOGGLED, first=SIXTEEN, times=2000),
    ),
    Attack("frame_size_toggled", "changes", flood(settings(s5=16_384) + settings(s5=2**24 - 1))),
    Attack("table_size_toggled", "changes", flood(settings(s1=0) + settings(s1=2**32 - 1))),
    Attack("unknown_frames", "work for nothing", flood(frame(0x42, 0, 1, b"what"))),
    Attack("empty_unknown_frames", "work for nothing", flood(frame(0x42, 0, 0))),
    Attack("large_unknown_frames", "copies", flood(frame(0x42, 0, 0, bytes(16_384)), times=8)),
    Attack(
        "refused_streams",
        "streams beyond the limit",
        by_stream(lambda stream: begin(stream, STREAM)),
    ),
    Attack("goaway", "farewells", flood(frame(GOAWAY, 0, 0, bytes(8)))),
    Attack("push_promise", "errors", flood(frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)))),
    Attack(
        "frames_of_closed_streams",
        "errors",
        flood(frame(DATA, 0, 1, b"x") + frame(RST_STREAM, 0, 1, CANCEL), first=AN_END),
    ),
    Attack(
        "oversize_frame", "a buffer", flood(b"\xff\xff\xff\0\0\0\0\0\1" + bytes(16_384), times=4)
    ),
    Attack(
        "headers_again_and_again",
        "trailers that are none",
        flood(frame(HEADERS, END_HEADERS, 1, literal(b"x", b"y")), first=begin(1, STREAM)),
    ),
    Attack(
        "table_inserts",
        "a table that is always new",
        by_stream(
            lambda stream: frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                head(HEALTH) + literal(b"x-%d" % (stream % 97), b"y" * 3000, 0x40) * 3,
            ),
            20,
        ),
    ),
    Attack(
        "table_references",
        "a kilobyte a byte",
        by_stream(
            lambda stream: frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                head(HEALTH) + literal(b"bomb", b"y" * 4000, 0x40) + b"\xbe" * 12_000,
            ),
            4,
        ),
    ),
    Attack(
        "table_size_updates",
        "updates before every block",
        by_stream(
            lambda stream: frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                (b"\x20" + integer(4096, 5, 0x20)) * 3000 + head(HEALTH),
            ),
            4,
        ),
    ),
    Attack(
        "huffman",
        "bits to go through",
        by_stream(
            lambda stream: frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                head(HEALTH) + b"\0\1x" + integer(9000, 7, 0x80) + b"\x18\xc6\x31\x8c\x63" * 1800,
            ),
            4,
        ),
    ),
    Attack(
        "many_cookies",
        "thousands of small headers",
        by_stream(
            lambda stream: frame(
                HEADERS, END_HEADERS | END_STREAM, stream, head(HEALTH) + b"\x0f\x11\1a" * 380
            ),
            20,
        ),
    ),
    Attack(
        "long_integers",
        "numbers without end",
        by_stream(
            lambda stream: frame(
                HEADERS, END_HEADERS | END_STREAM, stream, b"\xff" + b"\x80" * 16_000 + b"\1"
            ),
            4,
        ),
    ),
    Attack(
        "garbage",
        "what is no HTTP/2",
        flood(b"GET / HTTP/1.1\r\n\r\n"),
        preface=b"",
        comes_again=200,
    ),
    Attack(
        "prefaces_cut_short", "connections", trickle(PREFACE, 1.0), connections=200, preface=b""
    ),
)
