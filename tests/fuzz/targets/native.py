"""Compiled code that reads messages where they lie: the row codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.targets.made import TABLES, repository

# What stands before and behind a row in its message.
BEFORE, BEHIND = b"\x0a\x03", b"\xff"


@cache
def codec_of(table: str) -> Any:
    """A table's codec."""
    from cascade_tables import load_release

    return load_release(repository(), table, 1).codec


def row_message(table: str, tokens_seed: int) -> bytes:
    """Learnt values of a table's columns, as a `Rows` of one row."""
    import numpy as np
    from cascade_proto import synthesis_pb2 as pb
    from cascade_proto.cells import FIELDS

    codec = codec_of(table)
    rng = np.random.default_rng(tokens_seed)
    sizes = np.array(codec.layout.sizes)
    tokens = (rng.random(len(sizes)) * sizes).astype(np.int32).tolist()
    numbers = rng.random((len(codec.columns), 1))
    drawn = codec.decode_row(tokens, lambda columns: numbers[list(columns)], codec.schema.names)
    rows = pb.Rows(count=1)
    for name, value in drawn.items():
        column = rows.columns.add(name=name)
        if value is None:
            column.states = b"\1"
        else:
            getattr(column, FIELDS[codec.kinds[name]]).values.append(value)
    found: bytes = rows.SerializeToString()
    return found


def _scan() -> Callable[[bytes], None]:
    """Passes over a request, and finds in it what protobuf finds."""
    from cascade_proto import synthesis_pb2 as pb
    from cascade_tables.codecs.native.scanning import scan_request
    from google.protobuf.message import DecodeError

    def run(data: bytes) -> None:
        found = scan_request(data)
        if found is None:
            return
        try:
            request = pb.SynthesizeRequest.FromString(data)
        except DecodeError:
            raise AssertionError("protobuf cannot read what was read in compiled code") from None
        table = data[found.table : found.table + found.table_bytes]
        assert table == request.table.encode()
        assert found.version == request.version
        assert found.seed == request.seed
        assert bool(found.has_seed) == request.HasField("seed")
        assert found.draws == request.draws
        assert found.fidelity == request.fidelity
        assert found.timeout == request.timeout_microseconds
        assert found.first_row == request.first_row
        assert (found.strict, found.explain, found.offline) == (
            *(request.strict, request.explain, request.offline),
        )

    return run


def _rows(table: str) -> Callable[[], Callable[[bytes], None]]:
    """Encodes a row where it lies, writes draws of it; each as the codec's own way does, or not at
    all."""

    def opened() -> Callable[[bytes], None]:
        import numpy as np
        from cascade_proto import synthesis_pb2 as pb
        from cascade_tables import UnknownColumn, WireRow
        from cascade_tables.codecs.native.row_codec import RowCodec
        from google.protobuf.message import DecodeError

        codec = codec_of(table)
        compiled: RowCodec = codec.compiled
        assert compiled is not None, "the compiled codec was not built"
        rng = np.random.default_rng(0)
        sizes, names = np.array(codec.layout.sizes), codec.schema.names
        tokens = (rng.random((3, len(sizes))) * sizes).astype(np.int32)
        numbers = rng.random((len(codec.columns), 3))

        def run(data: bytes) -> None:
            row = WireRow(BEFORE + data + BEHIND, len(BEFORE), len(data), dict)
            # An exact copy, behind which there is nothing that may be read.
            alone = WireRow(bytes(bytearray(data)), 0, len(data), dict)
            try:
                asked = [each.name for each in pb.Rows.FromString(data).columns]
            except DecodeError:
                asked = None
            found, other = compiled.encode(row), compiled.encode(alone)
            assert (found is None) == (other is None)
            if found is not None:
                assert other is not None
                drawn, known, _ = found
                assert asked is not None, "protobuf cannot read what was read in compiled code"
                assert (drawn == other[0]).all()
                assert ((drawn >= 0) & (drawn < sizes)).all(), "a token that its slot has not"
                assert known.dtype == np.bool_
            # Whatever was not read is not asked to be written either; it may not hurt all the same.
            for wanted in (names, asked):
                try:
                    one = compiled.write(
                        tokens[0], lambda at: numbers[list(at), :1], wanted or names, alone
                    )
                    many = compiled.write_draws(
                        tokens, lambda at: numbers[list(at)], wanted or names, alone
                    )
                except UnknownColumn:
                    continue
                for written, rows in ((one, 1), (many, 3)):
                    if written is not None and asked is not None:
                        assert pb.Rows.FromString(written).count == rows

        return run

    return opened


def _row_seeds(table: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [row_message(table, seed) for seed in range(6)]


def _requests() -> Sequence[bytes]:
    from tests.fuzz.targets.requests import synthesize

    return synthesize()


def _words(table: str) -> tuple[bytes, ...]:
    return {
        "payments": (b"amount", b"channel", b"items", b"member", b"fraud", b"web", b"shop"),
        "everything": (b"real", b"whole", b"big", b"merchant", b"label", b"flag", b"merchant 3"),
        "ledger": (b"injury", b"vehicle", b"total", b"paid", b"opened", b"days", b"closed"),
    }[table] + (b"\x32\x01\x01", b"\x32\x01\x02", b"\x08\x01", b"\x12\x00", b"\x80\x80\x80\x80\x10")


TARGETS = (
    Target("scan", "a SynthesizeRequest, passed over in compiled code", _scan, _requests,
           native=True, words=_words("payments")),
    *(
        Target(f"row-{table}", f"a row of {table} in its message, in compiled code",
               _rows(table), _row_seeds(table), _words(table),
               ("cascade_tables.codecs.native",), native=True)
        for table in TABLES
    ),
)  # fmt: skip
