"""RFC 7541: header compression, as a decoder has to hold to it."""

from __future__ import annotations

from cascade_server.transport.http2.frames import (
    END_HEADERS,
    END_STREAM,
    Code,
)
from hpack import Encoder

from tests.server.transport.conformance.peer import (
    ECHO,
    Case,
    answered,
    begins,
    cases,
    converse,
    ends,
    fields,
    integer,
    literal,
    told,
)
from tests.server.transport.serving import Serving

WRONG = told(Code.COMPRESSION_ERROR)
LAST = END_HEADERS | END_STREAM
PATH = ECHO[2][1]
NEWEST = b"\xbe"
TABLE = 4096


def size(value: int) -> bytes:
    """An update of the table's size (6.3)."""
    return integer(value, 5, 0x20)


def wrong(section: str, rule: str, block: bytes) -> Case:
    return Case(section, rule, begins(1, block, LAST), WRONG)


def fine(section: str, rule: str, *blocks: bytes) -> Case:
    """Calls one after another, whose blocks build on each other."""
    streams = [1 + 2 * number for number in range(len(blocks))]
    sent = b"".join(
        begins(stream, block) + ends(stream) for stream, block in zip(streams, blocks, strict=True)
    )
    return Case(section, rule, sent, answered(*streams), tuple(streams))


def table_cases() -> list[Case]:
    entry, large = literal(b"a", b"b", 0x40), literal(b"a", b"y" * 5000, 0x40)
    indexed = b"\x83\x86" + fields(base=ECHO[2:])
    huffman = Encoder().encode([(n, v, True) for n, v in ECHO], huffman=True)
    return [
        fine("2.3.1", "entries of the static table", indexed),
        fine("2.3.2", "entries of the dynamic table", fields() + entry, fields() + NEWEST),
        fine("2.3.2", "the newest comes first",
             fields() + entry + literal(b"c", b"d", 0x40),
             fields() + NEWEST + b"\xbf"),
        wrong("2.3.3", "an index beyond both tables", fields() + NEWEST),
        wrong("2.3.3", "an index far beyond", fields() + integer(100_000, 7, 0x80)),
        wrong("2.3.3", "a name beyond both tables", fields() + integer(70, 4) + b"\1x"),
        Case("3.2", "a block is whole by itself", begins(1, fields()[:-1], LAST), WRONG),
        wrong("4.2", "a table larger than allowed", size(TABLE + 1) + fields()),
        fine("4.2", "a table as large as allowed", size(TABLE) + fields()),
        fine("4.2", "two updates of its size", size(0) + size(TABLE) + fields()),
        wrong("4.2", "three updates of its size", size(0) + size(1) + size(2) + fields()),
        wrong("4.2", "an update after a field", fields() + size(0)),
        Case("4.3", "a smaller table loses what does not fit",
             begins(1, fields() + entry) + ends() + begins(3, size(0) + fields() + NEWEST, LAST),
             WRONG),
        Case("4.4", "an entry that does not fit empties the table",
             begins(1, fields() + entry) + ends() + begins(3, fields() + large) + ends(3)
             + begins(5, fields() + NEWEST, LAST), WRONG),
        fine("4.4", "an entry that does not fit is a field all the same", fields() + large),
        fine("5.2", "strings by Huffman's code", huffman),
    ]  # fmt: skip


def coding_cases() -> list[Case]:
    def huffman(code: bytes) -> bytes:
        return fields() + b"\0\1a" + integer(len(code), 7, 0x80) + code

    long = literal(b"a", b"y" * 200)
    return [
        fine("5.1", "an integer in several bytes", fields() + long),
        fine("5.1", "an integer with zeros after it",
             fields() + b"\0\1a\x7f\x81\x80\x00" + b"y" * 128),
        wrong("5.1", "an integer without its end", fields() + b"\xff\xff\xff"),
        wrong("5.1", "an integer that is too long", b"\xff" + b"\x80" * 40 + b"\1"),
        wrong("5.1", "an integer that is too large", b"\xff" + b"\xff" * 9 + b"\x7f"),
        wrong("5.2", "a name that is cut short", fields() + b"\0\x0aabc"),
        wrong("5.2", "a value that is cut short", fields() + b"\0\1a\x0ab"),
        wrong("5.2", "a value that is not there", fields() + b"\0\1a"),
        wrong("5.2", "padding of more than 7 bits", huffman(b"\x1f\xff")),
        wrong("5.2", "padding that is no part of EOS", huffman(b"\x18")),
        wrong("5.2", "EOS in a string", huffman(b"\xff\xff\xff\xff")),
        fine("5.2", "padding as it should be", huffman(b"\x1f")),
        wrong("6.1", "index 0", fields() + b"\x80"),
        fine("6.2.1", "a literal that is kept", fields() + literal(b"a", b"b", 0x40)),
        fine("6.2.1", "a literal whose name is indexed",
             b"\x83\x86" + b"\x44" + bytes((len(PATH),)) + PATH + fields(base=ECHO[3:])),
        Case("6.2.2", "a literal that is not kept",
             begins(1, fields() + literal(b"a", b"b")) + ends()
             + begins(3, fields() + NEWEST, LAST), WRONG),
        Case("6.2.3", "a literal that is never kept",
             begins(1, fields() + literal(b"a", b"b", 0x10)) + ends()
             + begins(3, fields() + NEWEST, LAST), WRONG),
        fine("6.2.3", "a literal that is never kept is a field all the same",
             fields() + literal(b"a", b"b", 0x10)),
        Case("6.3", "an update empties the table, and it can be filled anew",
             begins(1, fields() + literal(b"a", b"b", 0x40)) + ends()
             + begins(3, size(0) + size(TABLE) + fields() + literal(b"c", b"d", 0x40)) + ends(3)
             + begins(5, fields() + NEWEST) + ends(5), answered(1, 3, 5), (1, 3, 5)),
        Case("6.3", "a wrong block ends the connection, and no other",
             begins(1, b"\x80", LAST), WRONG),
    ]  # fmt: skip


@cases(table_cases())
def test_tables(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))


@cases(coding_cases())
def test_coding(server: Serving, case: Case) -> None:
    case.expected(converse(server.port, case))
