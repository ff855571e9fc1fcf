"""Requests for offline jobs as protobuf messages."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2

from cascade_client.errors import DeadlineExceeded, InvalidRequest
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack
from cascade_client.messages.wire import (
    Fidelity,
    checked_draws,
    checked_fidelity,
    checked_integer,
    checked_names,
    checked_seed,
)
from cascade_client.values.descriptions import TableDescription
from cascade_client.values.jobs import Job

# Largest number that the wire can carry.
MOST = 2**63 - 1
# Tier that draws a job; "auto" has no deadline to consider.
TIERS: Mapping[Fidelity, synthesis_pb2.Tier.ValueType] = {
    "auto": synthesis_pb2.TIER_TEACHER,
    "fast": synthesis_pb2.TIER_STUDENT,
    "full": synthesis_pb2.TIER_TEACHER,
}


def not_ended(
    name: str, last: Job | None, timeout: float | None, error: DeadlineExceeded
) -> DeadlineExceeded:
    """Build the error for a job that did not end in the time that the caller waited.

    Args:
        name: its id.
        last: the server's last report of its state; None: there was none.
        timeout: seconds that the caller waited.
        error: of the call, which says nothing about the job.
    """
    how = "" if last is None else f": {last.state}, {last.rows_done:,} of {last.rows:,} rows"
    waited = "in time" if timeout is None else f"within {timeout:g} seconds"
    return DeadlineExceeded(f"job {name} has not ended {waited}{how}; it goes on", code=error.code)


def submit_request(
    schema: TableDescription,
    rows: int,
    *,
    fidelity: Fidelity,
    version: int | None,
    seed: int | None,
    columns: Sequence[str] | None,
    given: Mapping[str, Any] | None,
    balance: str | None,
    shares: Mapping[Any, float] | None,
    conditions: Any,
    draws: int,
    output: str | os.PathLike[str],
    token: str | None,
    fresh: bool,
) -> pb.SubmitJobRequest:
    """Build the message for `Jobs.submit`; the arguments are the same.

    Raises:
        InvalidRequest: a value cannot be stored in a table, or an argument cannot be sent.
    """
    seed = checked_seed(seed)
    weights = {} if shares is None else dict(shares)
    for value, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, Real):
            raise InvalidRequest(f"shares is {weight!r} for {value!r}; a number is allowed")
    request = pb.SubmitJobRequest(
        table=schema.table,
        version=checked_integer("version", version or 0, 0, MOST),
        tier=TIERS[checked_fidelity(fidelity)],
        rows=checked_integer("rows", rows, 0, MOST),
        columns=checked_names(columns or None),
        draws=checked_draws(draws),
        output=os.fspath(output),
        token=secrets.token_hex(16) if token is None else token,
        fresh=fresh,
    )
    if seed is not None:
        request.seed = seed
    if given:
        pack(read(given), schema.by_name, request.given, "observed")
    if balance is not None:
        request.balance.column = balance
        if shares is not None:
            values = [{balance: value} for value in weights]
            pack(read(values), schema.by_name, request.balance.values)
            request.balance.weights.extend(map(float, weights.values()))
    if conditions is not None:
        pack(read(conditions), schema.by_name, request.conditions, "observed")
    return request
