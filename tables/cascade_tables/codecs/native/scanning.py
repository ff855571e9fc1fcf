"""What of a `SynthesizeRequest` for one row is no row, and where its row lies, without protobuf.

A message of one row is some twenty small messages, and protobuf makes an object of each of them.
Nothing of that is needed to say who is to answer, and the row is encoded where it lies.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from cascade_tables.codecs.native.library import Argument, load_library

# `Request` of wire.h.
_FIELDS = Struct("=9qQ3qQ2qQq")


class ScannedRequest(NamedTuple):
    """A `SynthesizeRequest` for one row, which protobuf would read in full too.

    Attributes:
        table, table_bytes: where its name is: from which byte of the message on, and how many.
        rows, rows_bytes: where its `Rows` is, likewise.
        columns, columns_bytes: where the fields of the columns to return are, likewise; none: all.
        draws, seed: 0 where `has_draws` and `has_seed` say that there is none.
        version, fidelity, log_likelihood, timeout, explain, strict, first_row, offline: as in the
            message; what is true or false is 1 or 0.
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
    """Pass over a message; None: it is for protobuf to read, or there is no compiled library.

    Args:
        message: any bytes; what is wrong with them protobuf says.
    """
    library = load_library()
    if isinstance(library, str):
        return None
    found = bytearray(_FIELDS.size)
    if library.scan(message, len(message), Argument.from_buffer(found)):
        return None
    return ScannedRequest._make(_FIELDS.unpack_from(found))
