"""What the headers of a call say of its message."""

from __future__ import annotations

import pytest
from cascade_proto import headers as names
from cascade_server.terms import ServiceClass
from cascade_server.wire.announced import announced

PATH = (b":path", b"/cascade.v1.Synthesis/Synthesize")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([PATH], (None, None)),
        ([PATH, (b"cascade-table", b"credit")], ("credit", None)),
        (
            [(b"cascade-table", b"credit"), (b"cascade-class", b"full")],
            ("credit", ServiceClass.FULL),
        ),
        ([(b"cascade-class", b"realtime")], (None, ServiceClass.REALTIME)),
        ([(b"cascade-class", b"offline")], (None, ServiceClass.OFFLINE)),
        ([(b"cascade-class", b"some")], (None, None)),
        ([(b"cascade-class", b"\xff")], (None, None)),
        ([(b"cascade-table", b"\xff")], ("\ufffd", None)),
    ],
)
def test_table_and_class(headers: list[tuple[bytes, bytes]], expected: object) -> None:
    assert announced(headers) == expected


def test_their_names_are_headers() -> None:
    """gRPC takes lower-case letters, digits and _ - . only."""
    assert (names.TABLE, names.CLASS) == ("cascade-table", "cascade-class")
