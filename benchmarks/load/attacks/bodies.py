"""Attacks by what calls carry: bombs, sizes, texts, and answers that nobody reads."""

from __future__ import annotations

from cascade_proto import synthesis_pb2 as pb

from benchmarks.load.attacks.attacker import Attack, Script
from benchmarks.load.attacks.floods import by_stream, flood, nothing, trickle
from benchmarks.load.attacks.wire import (
    DATA,
    END_HEADERS,
    GENERATE,
    GZIP,
    HEADERS,
    HEALTH,
    PREFACE,
    REFLECTION,
    STREAM,
    SYNTHESIZE,
    WATCH,
    WINDOW_UPDATE,
    begin,
    bomb,
    call,
    data,
    frame,
    head,
    message,
    settings,
)

WINDOW = 65_535
WIDE = frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - WINDOW).to_bytes(4, "big"))
ROWS = 100_000


def generate() -> bytes:
    """A request for a large answer."""
    return pb.GenerateRequest(table="credit", count=ROWS).SerializeToString()


def unread(path: str, body: bytes, windows: bytes, calls: int = 16) -> Attack:
    """Answers for which there is no window."""

    def script() -> Script:
        yield windows
        yield b"".join(call(1 + 2 * number, path, body) for number in range(calls))
        while True:
            yield 0.5

    name = f"unread_{path.rpartition('/')[2].lower()}"
    return Attack(name, "answers that are kept", script)


def long_name(size: int) -> bytes:
    """A request for a table whose name nobody wants to read."""
    return pb.SynthesizeRequest(table="é" * size, rows=pb.Rows(count=1)).SerializeToString()


def long_columns(count: int) -> bytes:
    """A request whose every column is nearly one that there is."""
    asked = pb.SynthesizeRequest(table="credit", fidelity=pb.FIDELITY_FAST)
    asked.columns.extend(f"default_payment_next_mont{number}" for number in range(count))
    asked.rows.count = 1
    return asked.SerializeToString()


def bombs_of(path: str, size_mib: int) -> Attack:
    """Sixteen streams, each with as many bombs as a window holds."""
    whole = message(bomb(size_mib), flag=1)
    body = whole * (262_144 // len(whole))

    def make(stream: int) -> bytes:
        return begin(stream, path, GZIP) + data(stream, body)

    name = f"gzip_{path.rpartition('/')[2].lower()}_{size_mib}_mib"
    return Attack(name, "a thousand times what was sent", by_stream(make, 16))


def one_bomb_a_call() -> Attack:
    """Calls as they should be, but for what is in them."""

    def make(stream: int) -> bytes:
        return begin(stream, SYNTHESIZE, GZIP) + data(stream, message(bomb(15), flag=1), end=True)

    return Attack("gzip_one_a_call", "time and memory", by_stream(make, 16))


def large_unfinished() -> Script:
    """Sixteen large messages that never end, each sent as if there were a window for it."""
    for number in range(16):
        yield begin(1 + 2 * number, SYNTHESIZE) + frame(DATA, 0, 1 + 2 * number, b"\0\0\xf0\0\0")
    yield 0.3
    part = bytes(16_384)
    for _ in range(15 * 64):
        yield b"".join(frame(DATA, 0, 1 + 2 * number, part) for number in range(16))
        yield 0.001
    while True:
        yield 0.5


def half_open() -> Script:
    """Calls that wait for a message."""
    yield b"".join(begin(1 + 2 * number, SYNTHESIZE) for number in range(16))
    while True:
        yield 0.5


BODIES = (
    bombs_of(SYNTHESIZE, 16),
    bombs_of(STREAM, 16),
    bombs_of(STREAM, 1),
    bombs_of(HEALTH, 16),
    one_bomb_a_call(),
    Attack(
        "second_messages",
        "messages of a call that has one",
        by_stream(lambda stream: begin(stream, SYNTHESIZE) + data(stream, bytes(250_000)), 16),
    ),
    Attack(
        "oversize_prefix",
        "4 GiB are announced",
        by_stream(lambda s: begin(s, SYNTHESIZE) + frame(DATA, 0, s, b"\0\xff\xff\xff\xff"), 64),
    ),
    Attack("large_unfinished", "messages that are kept", large_unfinished),
    Attack(
        "large_garbage",
        "a parser",
        by_stream(lambda stream: call(stream, SYNTHESIZE, b"\x0a\0" * 120_000), 4),
    ),
    unread(GENERATE, generate(), settings(s4=0)),
    unread(SYNTHESIZE, long_name(100), settings(s4=0)),
    Attack(
        "unread_by_tcp",
        "answers that the system does not take",
        by_stream(lambda stream: call(stream, GENERATE, generate()), 16),
        reads=False,
        preface=PREFACE + settings(s4=2**31 - 1) + WIDE,
    ),
    Attack(
        "slow_reader",
        "a byte of window at a time",
        trickle(
            frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 1000,
            0.001,
            first=settings(s4=0) + call(1, GENERATE, generate()),
        ),
    ),
    Attack(
        "long_names",
        "texts about names",
        by_stream(lambda stream: call(stream, SYNTHESIZE, long_name(3000)), 16),
    ),
    Attack(
        "very_long_names",
        "comparisons of names",
        by_stream(lambda stream: call(stream, SYNTHESIZE, long_name(100_000)), 4),
    ),
    Attack(
        "many_nearly_right_columns",
        "comparisons of names",
        by_stream(lambda stream: call(stream, SYNTHESIZE, long_columns(4000)), 4),
    ),
    Attack(
        "health_garbage",
        "tracebacks in the log",
        by_stream(lambda stream: call(stream, HEALTH, b"\xff" * 50)),
    ),
    Attack(
        "reflection_garbage",
        "tracebacks in the log",
        by_stream(lambda stream: call(stream, REFLECTION, b"\xff" * 50)),
    ),
    Attack(
        "unknown_methods",
        "entries of a table of methods",
        by_stream(lambda stream: call(stream, f"/no/{stream}" + "x" * 2000, b"")),
    ),
    Attack(
        "watches",
        "tasks that stand",
        by_stream(lambda stream: call(stream, WATCH, b""), 16),
        connections=50,
    ),
    Attack("slow_headers", "blocks that stand", trickle(b"x" * 99, 0.2, frame(HEADERS, 0, 1)[:8])),
    Attack(
        "slow_blocks",
        "blocks that stand open",
        trickle(b"\0" * 99, 0.2, frame(HEADERS, 0, 1, head(HEALTH))),
        connections=100,
    ),
    Attack(
        "slow_message",
        "calls that stand",
        trickle(frame(DATA, 0, 1, b"\0") * 99, 0.05, begin(1, SYNTHESIZE)),
        connections=100,
    ),
    Attack("half_open_calls", "calls that stand", half_open, connections=50),
    Attack("idle_connections", "connections that stand", nothing, connections=500),
    Attack("silent_connections", "connections that stand", nothing, connections=500, preface=b""),
    Attack(
        "connections_that_come_and_go",
        "connections",
        flood(b"\0" * 9),
        connections=50,
        comes_again=100,
        preface=b"\0",
    ),
    Attack(
        "many_at_once",
        "calls of a hundred connections",
        by_stream(lambda stream: call(stream, HEALTH, b""), 64),
        connections=100,
    ),
    Attack(
        "headers_without_a_path",
        "requests that are none",
        by_stream(lambda stream: frame(HEADERS, END_HEADERS, stream, b"\x83\x86")),
    ),
)
