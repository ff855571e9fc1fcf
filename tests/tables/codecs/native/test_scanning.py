"""What the compiled scanner finds of a request is what protobuf finds, whatever bytes come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import WireRow, scan_request
from cascade_tables.codecs.native.library import load_library
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tables.codecs.native.wire_rows import (
    CODECS,
    cells,
    compiled,
    rows_of,
    uniform_numbers,
    wide,
)

pytestmark = pytest.mark.skipif(
    isinstance(load_library(), str), reason="the compiled codec was not built"
)


def message(found: Mapping[str, tuple[Any, str]]) -> pb.SynthesizeRequest:
    return pb.SynthesizeRequest(table="wide", rows=rows_of(found))


FULL = pb.SynthesizeRequest(
    table="täble",
    version=-7,
    rows=rows_of({"channel": ("телефон", ""), "items": (-3, ""), "score": (0.5, "")}),
    draws=4_000_000_000,
    columns=["amount", "телефон", ""],
    seed=2**64 - 1,
    fidelity=pb.FIDELITY_FAST,
    log_likelihood=True,
    timeout_microseconds=2**63,
    explain=True,
    strict=True,
    first_row=2**33,
    offline=True,
)


def scanned(content: bytes) -> pb.SynthesizeRequest | None:
    """What was found of a message, as the message that says the same."""
    found = scan_request(content)
    if found is None:
        return None
    columns = content[found.columns : found.columns + found.columns_bytes]
    out = pb.SynthesizeRequest.FromString(columns)
    out.table = content[found.table : found.table + found.table_bytes].decode()
    out.rows.ParseFromString(content[found.rows : found.rows + found.rows_bytes])
    out.version, out.fidelity = found.version, found.fidelity
    if found.has_draws:
        out.draws = found.draws
    if found.has_seed:
        out.seed = found.seed
    out.log_likelihood, out.explain = bool(found.log_likelihood), bool(found.explain)
    out.strict, out.offline = bool(found.strict), bool(found.offline)
    out.timeout_microseconds, out.first_row = found.timeout, found.first_row
    return out


class TestScanning:
    @pytest.mark.parametrize("codec", CODECS)
    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_it_finds_what_protobuf_finds(self, codec: str, data: st.DataObject) -> None:
        asked = message(data.draw(cells(CODECS[codec]())))
        found = scanned(asked.SerializeToString())
        if found is not None:
            assert found == asked or any(math.isnan(v) for v in numbers_of(asked))
        if all(column.WhichOneof("values") or column.states for column in asked.rows.columns):
            assert found is not None

    def test_all_fields(self) -> None:
        assert scanned(FULL.SerializeToString()) == FULL

    @pytest.mark.parametrize("count", [0, 2])
    def test_other_than_one_row(self, count: int) -> None:
        assert (
            scan_request(pb.SynthesizeRequest(rows=pb.Rows(count=count)).SerializeToString())
            is None
        )

    @settings(max_examples=600, deadline=None)
    @given(data=st.data())
    def test_garbage(self, data: st.DataObject) -> None:
        """Whatever it takes, protobuf takes too, and reads the same in it."""
        content = bytearray(FULL.SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content)))
            some = data.draw(st.binary(max_size=3))
            content[at : at + data.draw(st.integers(0, 4))] = some
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(0, len(content))) :]
        self.check(bytes(content))

    @settings(max_examples=1000, deadline=None)
    @given(content=st.binary(max_size=40))
    def test_nothing_but_garbage(self, content: bytes) -> None:
        self.check(content)

    def test_every_beginning_and_every_bit(self) -> None:
        content = FULL.SerializeToString()
        for size in range(len(content)):
            self.check(content[:size])
        for at in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[at // 8] ^= 1 << at % 8
            self.check(bytes(flipped))

    @settings(max_examples=1000, deadline=None)
    @given(text=st.binary(max_size=6))
    def test_text(self, text: bytes) -> None:
        content = b"\x0a" + bytes([len(text)]) + text + b"\x1a\x02\x08\x01"
        try:
            text.decode()
        except UnicodeDecodeError:
            assert scan_request(content) is None
        else:
            assert scan_request(content) is not None

    def check(self, content: bytes) -> None:
        found = scanned(content)
        if found is not None:
            expected = pb.SynthesizeRequest.FromString(content)
            assert found == expected or any(math.isnan(v) for v in numbers_of(expected))
        codec = compiled(wide())
        row = WireRow(content, 0, len(content), dict)
        for size in (len(content), len(content) + 1, -1, 2**62, -(2**62)):
            for begin in (0, 1, -1, len(content), 2**62):
                bad = WireRow(content, begin, size, dict)
                if begin != 0 or size != len(content):
                    is_inside = begin >= 0 and size >= 0 and begin + size <= len(content)
                    assert is_inside or codec.encode(bad) is None
        try:
            rows = pb.Rows.FromString(content)
        except DecodeError:
            assert codec.encode(row) is None
        else:
            encoded = codec.encode(row)
            assert encoded is None or rows.count == 1
        tokens = np.zeros(len(wide().layout.sizes), np.int32)
        codec.write(tokens, uniform_numbers(0, wide()), wide().schema.names, row)


def numbers_of(asked: pb.SynthesizeRequest) -> list[float]:
    return [value for column in asked.rows.columns for value in column.doubles.values]
