"""Requests and answers as protobuf messages: pure functions that both clients share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from cascade_proto import headers
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import InvalidRequest
from cascade_client.messages.cells import NULLS, Form, Nulls
from cascade_client.messages.frames import ARROW, PANDAS, POLARS, FrameKind
from cascade_client.messages.given import Given, read
from cascade_client.messages.provenance import provenance
from cascade_client.messages.rows import no_text, pack, unpack
from cascade_client.values.answers import Chunk, Synthesis
from cascade_client.values.date_times import from_microseconds
from cascade_client.values.descriptions import (
    ColumnDescription,
    DroppedColumn,
    ReleaseDescription,
    TableDescription,
    TableSummary,
)
from cascade_client.values.provenance import TIERS, Tier
from cascade_client.values.service_level import (
    Alert,
    BurnRate,
    CallerFault,
    CallerFaults,
    LatencyQuantiles,
    ObjectiveKind,
    ObjectiveStatus,
    ServiceClass,
    ServiceLevel,
)

Fidelity = Literal["auto", "fast", "full"]
Kind = Literal["pandas", "rows", "arrow", "polars"]

FIDELITIES: Mapping[str, pb.Fidelity.ValueType] = {
    "auto": pb.FIDELITY_AUTO,
    "fast": pb.FIDELITY_FAST,
    "full": pb.FIDELITY_FULL,
}

CLASSES: Mapping[int, ServiceClass] = {
    pb.CLASS_OF_SERVICE_REALTIME: ServiceClass.REALTIME,
    pb.CLASS_OF_SERVICE_FULL: ServiceClass.FULL,
    pb.CLASS_OF_SERVICE_OFFLINE: ServiceClass.OFFLINE,
}

KINDS: Mapping[int, ObjectiveKind] = {
    pb.OBJECTIVE_KIND_AVAILABILITY: ObjectiveKind.AVAILABILITY,
    pb.OBJECTIVE_KIND_LATENCY: ObjectiveKind.LATENCY,
    pb.OBJECTIVE_KIND_FIDELITY: ObjectiveKind.FIDELITY,
}

CALLER_FAULTS: Mapping[int, CallerFault] = {
    pb.CALLER_FAULT_HUNG_UP: CallerFault.HUNG_UP,
    pb.CALLER_FAULT_DEADLINE_TOO_SHORT: CallerFault.DEADLINE_TOO_SHORT,
    pb.CALLER_FAULT_BAD_REQUEST: CallerFault.BAD_REQUEST,
}
ALERTS: Mapping[int, Alert] = {
    pb.ALERT_STATE_OK: Alert.OK,
    pb.ALERT_STATE_TICKET: Alert.TICKET,
    pb.ALERT_STATE_PAGE: Alert.PAGE,
}

FORMS: Mapping[str, Form | FrameKind] = {
    "pandas": PANDAS,
    "rows": Form.ROWS,
    "arrow": ARROW,
    "polars": POLARS,
}


def synthesize_request(
    schema: TableDescription,
    given: Given,
    *,
    draws: int = 1,
    columns: Sequence[str] | None = None,
    seed: int | None = None,
    fidelity: Fidelity = "auto",
    log_likelihood: bool = False,
    explain: bool = False,
    strict: bool = False,
    version: int | None = None,
    nulls: Nulls = "observed",
    timeout: float | None = None,
    first_row: int = 0,
    offline: bool = False,
) -> pb.SynthesizeRequest:
    """Build the message for `Client.synthesize`, or for a part of it that begins at `first_row`.

    The message carries the timeout in microseconds, because gRPC rounds its own timeout up, by
    milliseconds for short ones. A retry with less time left is bounded by gRPC's own deadline.

    Raises:
        InvalidRequest: an argument that the wire cannot carry, by its name.
    """
    fidelity = checked_fidelity(fidelity)
    if nulls not in NULLS:
        raise InvalidRequest(f"nulls is {nulls!r}; {' or '.join(map(repr, NULLS))} is allowed")
    request = pb.SynthesizeRequest(
        table=schema.table,
        version=version or 0,
        draws=draws,
        columns=checked_names(columns),
        seed=checked_seed(seed),
        fidelity=FIDELITIES[fidelity],
        log_likelihood=log_likelihood,
        explain=explain,
        strict=strict,
        timeout_microseconds=0 if timeout is None else max(1, round(timeout * 1e6)),
        first_row=first_row,
        offline=offline,
    )
    pack(given, schema.by_name, request.rows, nulls)
    return request


# Visible ASCII, as in headers.
ANNOUNCED = re.compile(r"[!-~]{1,128}")


def announcement(request: pb.SynthesizeRequest) -> tuple[tuple[str, str], ...]:
    """Return headers that announce a request's content before the server reads it.

    An overloaded server refuses calls at their headers; these say whose error budget the refusal
    spends. A name that no header may carry is not announced.
    """
    if not ANNOUNCED.fullmatch(request.table):
        return ()
    table = (headers.TABLE, request.table)
    if request.offline:
        return table, (headers.CLASS, "offline")
    if request.fidelity == pb.FIDELITY_FULL or request.log_likelihood:
        return table, (headers.CLASS, "full")
    return (table,)


def generate_request(
    schema: TableDescription,
    n: int,
    *,
    given: Mapping[str, Any] | None = None,
    columns: Sequence[str] | None = None,
    seed: int | None = None,
    version: int | None = None,
) -> pb.GenerateRequest:
    """Build the message for `Client.generate` and `Client.stream`.

    Raises:
        InvalidRequest: an argument that the wire cannot carry, by its name.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRequest(f"given is a {type(given).__name__}; a dict or None is allowed")
    request = pb.GenerateRequest(
        table=schema.table,
        version=version or 0,
        count=checked_integer("n", n, 1, 2**63 - 1),
        columns=checked_names(columns),
        seed=checked_seed(seed),
    )
    if given:
        pack(read(given), schema.by_name, request.given, "observed")
    return request


def describe_request(table: str, version: int | None) -> pb.DescribeTableRequest:
    """Build the message for `Client.describe`.

    Raises:
        InvalidRequest: a table that is no string of Unicode, or a version below 1.
    """
    if not isinstance(table, str):
        raise InvalidRequest(f"table is a {type(table).__name__}; a str is allowed")
    if version is not None:
        checked_integer("version", version, 1, 2**63 - 1)
    try:
        return pb.DescribeTableRequest(table=table, version=version or 0)
    except UnicodeEncodeError as exc:
        raise no_text("table", table, exc) from exc


def form_of(kind: str) -> Form | FrameKind:
    """Return the form for the `kind` argument of `Client.generate`.

    Raises:
        InvalidRequest: there is no such kind.
    """
    if kind not in FORMS:
        raise InvalidRequest(f"kind is {kind!r}; {_listed(FORMS)} is allowed")
    return FORMS[kind]


def synthesis(
    response: pb.SynthesizeResponse, schema: TableDescription, given: Given, draws: int
) -> Synthesis[Any]:
    """Build the result of `Client.synthesize`, with rows in the form of the request's."""
    form = given.form
    if form is Form.ROW and draws > 1:
        form = Form.ROWS
    scores = np.array(list(response.log_likelihood)) if response.log_likelihood else None
    data = unpack([response.rows], schema, form, given.frame, draws)
    return Synthesis(data, provenance(response.provenance), scores, draws)


def chunk(
    response: pb.GenerateResponse, schema: TableDescription, form: Form | FrameKind
) -> Chunk[Any]:
    """Build what `Client.stream` yields for one message of the stream."""
    rows = unpack([response.rows], schema, form)
    return Chunk(rows, response.done, response.total, provenance(response.provenance))


class Collection:
    """The messages of a stream, kept packed until `synthesis` converts them all to rows."""

    def __init__(
        self, form: Form | FrameKind, progress: Callable[[int, int], object] | None
    ) -> None:
        self._form = form
        self._progress = progress
        self._responses: list[pb.GenerateResponse] = []
        self._schema: TableDescription | None = None

    def add(self, response: pb.GenerateResponse, schema: TableDescription) -> None:
        """Keep one message, and report the stream's progress."""
        self._responses.append(response)
        self._schema = schema
        if self._progress is not None:
            self._progress(response.done, response.total)

    def synthesis(self) -> Synthesis[Any]:
        """Return the result of `Client.generate`, once all messages have come."""
        assert self._schema is not None
        rows = unpack([response.rows for response in self._responses], self._schema, self._form)
        return Synthesis(rows, provenance(self._responses[-1].provenance))


def tables(response: pb.ListTablesResponse) -> tuple[TableSummary, ...]:
    """Return the answer of `Client.tables` as values, in the server's order."""
    return tuple(TableSummary(t.table, tuple(t.versions), t.columns) for t in response.tables)


def description(response: pb.DescribeTableResponse, version: int | None) -> TableDescription:
    """Return the result of `Client.describe`; without a version, the latest release's schema."""
    releases = tuple(_release(release) for release in response.releases)
    return TableDescription(
        table=response.table,
        version=version or max((release.version for release in releases), default=0),
        columns=tuple(_column(column) for column in response.columns),
        dropped=tuple(DroppedColumn(d.name, d.reason) for d in response.dropped),
        releases=releases,
        max_rows=response.max_rows or TableDescription.max_rows,
        max_message_bytes=response.max_message_bytes or TableDescription.max_message_bytes,
    )


def service_level(response: pb.GetServiceLevelResponse) -> ServiceLevel:
    """Return the answer of `Client.service_level` as values; times are in seconds."""
    return ServiceLevel(
        service=response.service,
        window=response.window_seconds,
        since=from_microseconds(response.since),
        objectives=tuple(_objective(each) for each in response.objectives),
        latencies=tuple(
            LatencyQuantiles(
                table=each.table,
                service=CLASSES.get(each.class_of_service, ServiceClass.UNKNOWN),
                tier=TIERS.get(each.tier, Tier.UNKNOWN),
                count=each.count,
                quantiles={q.quantile: q.microseconds / 1e6 for q in each.quantiles},
            )
            for each in response.latencies
        ),
        caller_faults=tuple(
            CallerFaults(
                table=each.table,
                service=CLASSES.get(each.class_of_service, ServiceClass.UNKNOWN),
                fault=CALLER_FAULTS.get(each.fault, CallerFault.UNKNOWN),
                calls=each.calls,
            )
            for each in response.caller_faults
        ),
    )


def _objective(message: pb.ObjectiveStatus) -> ObjectiveStatus:
    kind = KINDS.get(message.kind, ObjectiveKind.UNKNOWN)
    latency, fidelity = kind is ObjectiveKind.LATENCY, kind is ObjectiveKind.FIDELITY
    return ObjectiveStatus(
        name=message.name,
        table=message.table,
        service=CLASSES.get(message.class_of_service, ServiceClass.UNKNOWN),
        kind=kind,
        target=message.target,
        threshold=message.threshold_microseconds / 1e6 if latency else None,
        tier=TIERS.get(message.tier, Tier.UNKNOWN) if fidelity else None,
        good=message.good,
        total=message.total,
        budget_remaining=message.budget_remaining,
        burn_rates=tuple(
            BurnRate(burn.window_seconds, burn.rate, burn.good, burn.total)
            for burn in message.burn_rates
        ),
        alert=ALERTS.get(message.alert, Alert.UNKNOWN),
    )


def _column(message: pb.ColumnDescription) -> ColumnDescription:
    return ColumnDescription(
        name=message.name,
        kind=message.kind,
        nullable=message.nullable,
        dtype=message.dtype,
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        categories=tuple(message.categories),
        other=message.other or None,
    )


def _release(message: pb.ReleaseDescription) -> ReleaseDescription:
    return ReleaseDescription(
        version=message.version,
        created=message.created,
        schema_fingerprint=message.schema_fingerprint,
        epsilon=message.epsilon if message.HasField("epsilon") else None,
        fidelity={f.tier: dict(f.figures) for f in message.fidelity},
        libraries=dict(message.libraries),
    )


def checked_names(columns: Sequence[str] | None) -> list[str]:
    """Check requested column names; empty: all columns.

    Raises:
        InvalidRequest: they are no names.
    """
    if isinstance(columns, str):  # a sequence of letters, which nobody means
        raise InvalidRequest(f"columns is the string {columns!r}; a list of names is allowed")
    if columns is not None and not columns:
        raise InvalidRequest("columns is empty; None asks for all of them")
    names = list(columns or ())
    for name in names:
        if not isinstance(name, str):
            raise InvalidRequest(f"columns holds {name!r}; names of columns are allowed")
        try:
            name.encode()
        except UnicodeEncodeError as exc:
            raise no_text("column", name, exc) from exc
    return names


def checked_fidelity(fidelity: str) -> Fidelity:
    """Check the requested tier.

    Raises:
        InvalidRequest: there is no tier of that name.
    """
    # An unhashable value is not a tier either.
    if not isinstance(fidelity, str) or fidelity not in FIDELITIES:
        raise InvalidRequest(
            f"fidelity is {fidelity!r}; 'auto', 'fast' (the student) or 'full' (the teacher) is "
            "allowed"
        )
    return cast("Fidelity", fidelity)


def checked_draws(draws: int) -> int:
    """Check the number of answers per row.

    Raises:
        InvalidRequest: it is not a number that the wire can carry.
    """
    return checked_integer("draws", draws, 1, 2**32 - 1)


def checked_seed(seed: int | None) -> int | None:
    """Check a seed; raises as `checked_integer`."""
    return None if seed is None else checked_integer("seed", seed, 0, 2**64 - 1)


def checked_integer(name: str, value: int, least: int, most: int) -> int:
    """Check an integer argument.

    Raises:
        InvalidRequest: it is no integer, or outside the allowed range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidRequest(f"{name} is {value!r}; an integer is allowed")
    if not least <= value <= most:
        raise InvalidRequest(f"{name} is {value}; an integer from {least} to {most} is allowed")
    return int(value)


def _listed(allowed: Mapping[str, Any]) -> str:
    return " or ".join(repr(name) for name in allowed)
