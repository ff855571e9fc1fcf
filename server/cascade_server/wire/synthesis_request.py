"""A request for rows as plain values, independent of its message type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ScannedRequest, WireRow

from cascade_server.errors import BadRequest
from cascade_server.terms import ServiceClass, Wanted
from cascade_server.wire.rows import read_rows

WANTED = {
    pb.FIDELITY_AUTO: Wanted.AUTO,
    pb.FIDELITY_FAST: Wanted.FAST,
    pb.FIDELITY_FULL: Wanted.FULL,
}


# Cached lists of columns to return, in serialized form, and the most bytes of one. The second
# keeps a caller from filling memory with lists longer than any table.
ASKED, ASKED_BYTES = 256, 4096


class Heading(NamedTuple):
    """The part of a request that is read before its rows: the release and the time limit.

    Attributes:
        table, version: the release; version 0: the one that currently answers such requests.
        service: the class that it counts for.
        seed: None if the caller named none.
        timeout: microseconds from the start of processing; 0: only the call's deadline applies.
        rows: rows to draw, unchecked: they may exceed the limit.
    """

    table: str
    version: int
    service: ServiceClass
    seed: int | None
    timeout: int
    rows: int


@dataclass(slots=True)
class SynthesisRequest:
    """A request to complete rows.

    Attributes:
        rows: number of rows, n.
        given: n values of each column that is known in some row, by name: numbers, booleans and
            text as they are, a datetime as microseconds since 1970-01-01 UTC; None is NULL, and
            `cascade_tables.ABSENT` is a value to draw.
        names: columns to return, in their order; none: all.
        draws: completions of each row.
        seed: the seed; None: any.
        wanted: the requested fidelity.
        log_likelihood: whether to return ln p(given) of each row.
        explain: whether the answer explains how it was drawn.
        offline: whether it yields to real-time requests.
        strict: whether to refuse values that were never learnt.
        first_row: number of the caller's rows before these, in other requests.
    """

    rows: int
    given: Mapping[str, list[Any]] = field(default_factory=dict)
    names: Sequence[str] = ()
    draws: int = 1
    seed: int | None = None
    wanted: Wanted = Wanted.AUTO
    log_likelihood: bool = False
    explain: bool = False
    offline: bool = False
    strict: bool = False
    first_row: int = 0


def seed_of(request: pb.SynthesizeRequest) -> int | None:
    """Return the seed that the caller named; None: none."""
    return request.seed if request.HasField("seed") else None


def heading_of(request: pb.SynthesizeRequest) -> Heading:
    """Read the heading of a message and nothing more."""
    full = request.fidelity == pb.FIDELITY_FULL or request.log_likelihood
    service = ServiceClass.FULL if full else ServiceClass.REALTIME
    if request.offline:
        service = ServiceClass.OFFLINE
    return Heading(
        request.table,
        request.version,
        service,
        seed_of(request),
        request.timeout_microseconds,
        request.rows.count * (request.draws or 1),
    )


def heading_of_scanned(message: bytes, scanned: ScannedRequest) -> Heading:
    """Read the heading of a scanned message, as `heading_of`."""
    table = message[scanned.table : scanned.table + scanned.table_bytes].decode()
    service = ServiceClass.REALTIME
    if scanned.fidelity == pb.FIDELITY_FULL or scanned.log_likelihood:
        service = ServiceClass.FULL
    if scanned.offline:
        service = ServiceClass.OFFLINE
    return Heading(
        table,
        scanned.version,
        service,
        scanned.seed if scanned.has_seed else None,
        scanned.timeout,
        scanned.draws or 1,
    )


def read_scanned(
    message: bytes, scanned: ScannedRequest, fields: Mapping[str, str]
) -> SynthesisRequest:
    """Read the rest of a scanned message, as `read_request`. Its row is not copied."""

    def read() -> dict[str, list[Any]]:
        return read_rows(pb.SynthesizeRequest.FromString(message).rows, fields)

    columns = scanned.columns
    return SynthesisRequest(
        1,
        WireRow(message, scanned.rows, scanned.rows_bytes, read),
        _names_in(message[columns : columns + scanned.columns_bytes]),
        scanned.draws if scanned.has_draws else 1,
        scanned.seed if scanned.has_seed else None,
        WANTED[pb.Fidelity.ValueType(scanned.fidelity)],
        bool(scanned.log_likelihood),
        bool(scanned.explain),
        bool(scanned.offline),
        bool(scanned.strict),
        scanned.first_row,
    )


def _names_in(fields: bytes) -> tuple[str, ...]:
    """Parse the columns to return; cached, because callers repeat the same lists."""
    return (_names_read if len(fields) > ASKED_BYTES else _names_before)(fields)


def _names_read(fields: bytes) -> tuple[str, ...]:
    return tuple(pb.SynthesizeRequest.FromString(fields).columns)


_names_before = lru_cache(ASKED)(_names_read)


def read_request(request: pb.SynthesizeRequest, fields: Mapping[str, str]) -> SynthesisRequest:
    """Read the rest of a message.

    Args:
        request: the received request.
        fields: for each column of the table, the field of `Column` that holds its values.

    Raises:
        BadRequest: names the field, its value and what is allowed. Errors in a single row are found
            only when its values are read.
    """
    wanted = WANTED.get(request.fidelity)
    if wanted is None:
        raise BadRequest(
            f"fidelity is {request.fidelity}; allowed: {', '.join(pb.Fidelity.keys())}"
        )
    rows = request.rows
    given: Mapping[str, list[Any]]
    if rows.count == 1:
        alone = rows.SerializeToString()
        given = WireRow(alone, 0, len(alone), lambda: read_rows(rows, fields))
    else:
        given = read_rows(rows, fields)
    return SynthesisRequest(
        rows.count,
        given,
        request.columns,
        request.draws if request.HasField("draws") else 1,
        seed_of(request),
        wanted,
        request.log_likelihood,
        request.explain,
        offline=request.offline,
        strict=request.strict,
        first_row=request.first_row,
    )
