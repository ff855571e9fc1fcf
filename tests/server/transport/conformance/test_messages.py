"""RFC 9113, section 8: requests, and what makes them malformed; section 10.5: their size."""

from __future__ import annotations

from cascade_server.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    Code,
    frame,
)

from tests.server.transport.conformance.peer import (
    ECHO,
    Case,
    Said,
    answered,
    begins,
    call,
    cases,
    converse,
    ends,
    fields,
    literal,
    reset,
    status,
    told,
)
from tests.server.transport.serving import Serving

MALFORMED = reset(Code.PROTOCOL_ERROR)
PLAIN = literal(b"a", b"b")
LAST = END_HEADERS | END_STREAM


def malformed(section: str, rule: str, block: bytes) -> Case:
    """A block that is read, and that no request may have."""
    return Case(section, rule, begins(1, block) + ends(), MALFORMED)


def fine(section: str, rule: str, block: bytes) -> Case:
    return Case(section, rule, begins(1, block) + ends(), answered(), (1,))


def without(name: bytes) -> bytes:
    return fields(without=name)


def length(value: bytes, *frames: bytes) -> bytes:
    """A call that says how long it is."""
    return begins(1, fields((b"content-length", value))) + b"".join(frames)


def order_cases() -> list[Case]:
    trailers = begins(1, PLAIN, LAST)
    body = frame(DATA, 0, 1, b"\0\0\0\0\1x")
    return [
        Case("8.1", "trailers end a request", begins() + body + trailers, answered(), (1,)),
        Case("8.1", "trailers in parts",
             begins() + body + begins(1, PLAIN[:2], END_STREAM)
             + frame(CONTINUATION, END_HEADERS, 1, PLAIN[2:]), answered(), (1,)),
        Case("8.1", "trailers that do not end it", begins() + body + begins(1, PLAIN), MALFORMED),
        Case("8.1", "trailers with a pseudo-header",
             begins() + body + begins(1, literal(b":path", b"/"), LAST), MALFORMED),
        Case("8.1", "trailers with an upper-case name",
             begins() + body + begins(1, literal(b"A", b"b"), LAST), MALFORMED),
        Case("8.1.1", "content-length is right", length(b"6", ends()), answered(), (1,)),
        Case("8.1.1", "content-length is right, in parts",
             length(b"6", frame(DATA, 0, 1, b"\0\0\0"), frame(DATA, END_STREAM, 1, b"\0\1x")),
             answered(), (1,)),
        Case("8.1.1", "padding is no content",
             length(b"6", frame(DATA, END_STREAM | 8, 1, b"\2\0\0\0\0\1x\0\0")), answered(), (1,)),
        Case("8.1.1", "more content than was said", length(b"5", ends()), MALFORMED),
        Case("8.1.1", "less content than was said", length(b"7", ends()), MALFORMED),
        Case("8.1.1", "less content, and trailers", length(b"7", body, trailers), MALFORMED),
        Case("8.1.1", "no content where some was said",
             begins(1, fields((b"content-length", b"1")), LAST), MALFORMED),
        Case("8.1.1", "content-length is no number", length(b"six", ends()), MALFORMED),
        Case("8.1.1", "content-length is below 0", length(b"-1", ends()), MALFORMED),
        Case("8.1.1", "content-length twice, and not the same",
             begins(1, fields((b"content-length", b"6"), (b"content-length", b"7"))) + ends(),
             MALFORMED),
        Case("8.1.1", "others go on", begins(1, literal(b"A", b"b")) + call(3), answered(3), (3,)),
        Case("8.1.1", "what follows a malformed request is passed over",
             begins(1, literal(b"A", b"b")) + body + ends() + call(3), answered(3), (3,)),
        Case("8.1.1", "it may be taken back all the same",
             begins(1, literal(b"A", b"b")) + frame(RST_STREAM, 0, 1, bytes(4)), MALFORMED),
    ]  # fmt: skip


def field_cases() -> list[Case]:
    names = {
        "an upper-case letter": b"Name",
        "a space": b"na me",
        "a control character": b"na\x01me",
        "DEL": b"na\x7fme",
        "a character beyond ASCII": b"na\xe9me",
        "a colon": b"na:me",
        "NUL": b"na\0me",
        "a line's end": b"na\nme",
        "nothing": b"",
    }
    values = {
        "NUL": b"a\0b",
        "CR": b"a\rb",
        "LF": b"a\nb",
        "a space before it": b" a",
        "a space after it": b"a ",
        "a tab before it": b"\ta",
        "a tab after it": b"a\t",
    }
    of_connections = {
        b"connection": b"close",
        b"keep-alive": b"timeout=1",
        b"proxy-connection": b"keep-alive",
        b"transfer-encoding": b"chunked",
        b"upgrade": b"h2c",
        b"te": b"gzip",
    }
    return [
        *(malformed("8.2.1", f"a name with {what}", fields((name, b"v")))
          for what, name in names.items()),
        *(malformed("8.2.1", f"a value with {what}", fields((b"name", value)))
          for what, value in values.items()),
        fine("8.2.1", "a value beyond ASCII", fields((b"name", b"caf\xc3\xa9"))),
        fine("8.2.1", "a value with spaces inside", fields((b"name", b"a  b\tc"))),
        fine("8.2.1", "an empty value", fields((b"name", b""))),
        fine("8.2.1", "every character that a name may have",
             fields((b"!#$%&'*+-.^_`|~0123456789abcxyz", b"v"))),
        *(malformed("8.2.2", f"{name.decode()}: {value.decode()}",
                    fields((name, value), without=name))
          for name, value in of_connections.items()),
        fine("8.2.2", "te: trailers", fields()),
        fine("8.2.3", "cookies in several fields",
             fields((b"cookie", b"a=b"), (b"cookie", b"c=d"))),
    ]  # fmt: skip


def pseudo_cases() -> list[Case]:
    regular = literal(b"a", b"b")
    return [
        malformed("8.3", "an unknown one", literal(b":what", b"x") + fields()),
        malformed("8.3", "one of answers", literal(b":status", b"200") + fields()),
        malformed("8.3", "after a regular field", regular + fields()),
        malformed("8.3", "one among regular fields",
                  without(b":path") + literal(b":path", b"/test.Service/Echo")),
        *(malformed("8.3.1", f"two {name.decode()}", literal(name, value) + fields())
          for name, value in ECHO[:3]),
        *(malformed("8.3.1", f"no {name.decode()}", without(name)) for name, _ in ECHO[:3]),
        malformed("8.3.1", "an empty :path", literal(b":path", b"") + without(b":path")),
        malformed("8.3.1", "an empty :method", literal(b":method", b"") + without(b":method")),
        malformed("8.3.1", "an empty :scheme", literal(b":scheme", b"") + without(b":scheme")),
        malformed("8.3.1", "a :path without its slash",
                  literal(b":path", b"Echo") + without(b":path")),
        malformed("8.3.1", "none at all", fields(base=ECHO[3:])),
        malformed("8.3.1", "a block of nothing", b""),
        malformed("8.3.1", "two :authority",
                  2 * literal(b":authority", b"x") + fields()),
        fine("8.3.1", "with :authority", literal(b":authority", b"x") + fields()),
        fine("8.3.1", "in another order",
             literal(b":path", b"/test.Service/Echo") + without(b":path")),
        fine("8.3.1", "scheme https",
             literal(b":scheme", b"https") + without(b":scheme")),
        Case("8.4", "other methods than POST have no answer here",
             begins(1, literal(b":method", b"GET") + without(b":method"), LAST), status(b"405"),
             (1,)),
        Case("8.5", "CONNECT is not served",
             begins(1, literal(b":method", b"CONNECT") + literal(b":authority", b"x")),
             lambda said: check_connect(said), (1,)),
        malformed("8.5", "CONNECT with a :path", literal(b":method", b"CONNECT")
                  + literal(b":authority", b"x") + literal(b":path", b"/")),
        malformed("8.5", "CONNECT without :authority", literal(b":method", b"CONNECT")),
    ]  # fmt: skip


def check_connect(said: Said) -> None:
    assert said.lives
    assert said.of(HEADERS, 1)[0][3] == literal(b":status", b"405")


def size_cases() -> list[Case]:
    def parts(block: bytes) -> bytes:
        rest = [block[at : at + 16_384] for at in range(16_384, len(block), 16_384)]
        last = len(rest) - 1
        return begins(1, block[:16_384], 0) + b"".join(
            frame(CONTINUATION, END_HEADERS if at == last else 0, 1, part)
            for at, part in enumerate(rest)
        )

    many = b"".join(literal(b"x-%d" % number, b"y" * 100) for number in range(250))
    return [
        Case("10.5.1", "as many headers as are allowed",
             begins(1, fields(*((b"x-%d" % n, b"y" * 100) for n in range(80)))) + ends(),
             answered(), (1,)),
        Case("10.5.1", "more cost their call", parts(fields() + many), status(b"431"), (1,)),
        Case("10.5.1", "and no other", parts(fields() + many) + call(3), answered(3), (3,)),
        Case("10.5.1", "far more are not read", parts(fields() + 2 * many),
             told(Code.ENHANCE_YOUR_CALM)),
        Case("10.5.1", "nor are a few bytes that stand for far more",
             begins(1, fields() + literal(b"a", b"y" * 3900, 0x40) + b"\xbe" * 100),
             told(Code.ENHANCE_YOUR_CALM)),
    ]  # fmt: skip


@cases(order_cases())
def test_order_and_length(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(field_cases())
def test_fields(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(pseudo_cases())
def test_pseudo_headers(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(size_cases())
def test_sizes(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))
