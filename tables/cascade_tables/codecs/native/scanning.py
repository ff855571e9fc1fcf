"""Scan of a one-row `SynthesizeRequest` for its fields and the location of its row, without
protobuf.

A message of one row consists of some twenty small messages, and protobuf creates an object for
each. Routing needs none of them, and the row is encoded directly from the bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from cascade_tables.codecs.native.library import Argument, load_library

# `Request` of wire.h.
_FIELDS = Struct("=9qQ3qQ2qQq")


class ScannedRequest(NamedTuple):
    """A `SynthesizeRequest` for one row, with the fields that protobuf would read.

    Attributes:
        table, table_bytes: location of its name: offset in the message and length.
        rows, rows_bytes: location of its `Rows`, likewise.
        columns, columns_bytes: location of the fields with the columns to return; empty: all.
        draws, seed: 0 unless `has_draws` and `has_seed`.
        version, fidelity, log_likelihood, timeout, explain, strict, first_row, offline: as in the
            message; booleans are 1 or 0.
    """

    table: int
    table_bytes: int
    version: int
    rows: int
    rows_bytes: int
    draws: int
    has_draws: int
    columns: int
    columns_bytes: int
    seed: int
    has_seed: int
    fidelity: int
    log_likelihood: int
    timeout: int
    explain: int
    strict: int
    first_row: int
    offline: int


def scan_request(message: bytes) -> ScannedRequest | None:
    """Scan a message; None: protobuf must read it, or there is no compiled library.

    Args:
        message: any bytes; protobuf reports what is wrong with them.
    """
    library = load_library()
    if isinstance(library, str):
        return None
    found = bytearray(_FIELDS.size)
    if library.scan(message, len(message), Argument.from_buffer(found)):
        return None
    return ScannedRequest._make(_FIELDS.unpack_from(found))
