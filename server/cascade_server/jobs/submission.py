"""Converts a `SubmitJobRequest` to a specification: fills in defaults and checks the rest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cascade_jobs.errors import SpecificationRefused
from cascade_jobs.facts import Terms, facts_of
from cascade_jobs.ledger import Asked
from cascade_jobs.outputs import checked_output
from cascade_jobs.shards import rows_of_shard
from cascade_jobs.specification import Balance, Cell, Specification, shared_out
from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2
from cascade_tables import ABSENT, Kind
from cascade_tables.errors import shown

from cascade_server.config import ServerConfig
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest
from cascade_server.jobs.conditions import conditions_of
from cascade_server.wire import rows as wire

TIERS = {
    synthesis_pb2.TIER_UNSPECIFIED: "teacher",
    synthesis_pb2.TIER_TEACHER: "teacher",
    synthesis_pb2.TIER_STUDENT: "student",
}
LONGEST_TOKEN = 128
# Most values of a number that are balanced if none are named: with more, it is a measurement.
MOST_LISTED = 20


def asked_of(
    request: pb.SubmitJobRequest,
    runtime: Runtime,
    config: ServerConfig,
    may_be_anywhere: bool,
    terms: Terms,
) -> Asked:
    """Return the requested job, checked as far as possible.

    Args:
        request: the request as it arrived.
        runtime: runtime of the release that answers; the job stays with this release.
        config: the limits.
        may_be_anywhere: whether the caller is the user that the server runs as; see `outputs`.
        terms: terms for the table's synthetic rows.

    Raises:
        BadRequest, UnknownColumn, ValueNotAllowed, SpecificationRefused: names what is wrong and
            what is allowed.
    """
    if len(request.token) > LONGEST_TOKEN:
        raise BadRequest(f"token has {len(request.token):,} characters; allowed: {LONGEST_TOKEN}")
    if request.tier not in TIERS:
        raise BadRequest(f"tier is {request.tier}; allowed: teacher, student")
    codec = runtime.release.codec
    names = wire.check_names(codec.schema, request.columns)
    given = _given(request, runtime)
    rows, conditions = _rows(request), b""
    if not 1 <= rows <= config.job_max_rows:
        raise BadRequest(f"rows is {rows:,}; allowed: 1 to {config.job_max_rows:,} (job_max_rows)")
    if request.HasField("conditions"):
        conditions = request.conditions.SerializeToString(deterministic=True)
        known = {column.name for column in request.conditions.columns}
        if twice := sorted(known & set(given)):
            raise BadRequest(f"{shown(twice[0])} is in given and in conditions; allowed: one")
    balance = _balance(request, rows, runtime, given)
    made = Specification(
        table=request.table,
        version=runtime.version,
        release=runtime.release.manifest.digest,
        tier=TIERS[request.tier],
        rows=rows,
        seed=request.seed if request.HasField("seed") else new_seed(),
        seed_given=request.HasField("seed"),
        columns=names,
        given=given,
        balance=balance,
        conditions=hashlib.sha256(conditions).hexdigest() if conditions else "",
        draws=request.draws or 1,
        output=checked_output(request.output, may_be_anywhere, config.job_outputs),
        format=request.format or "parquet",
    )
    # Refuses values that the table does not have, before anybody waits for the job.
    conditions_of(made, conditions, runtime)
    made.to_json()
    shard_rows = rows_of_shard(len(names), made.by_teacher)
    facts = facts_of(runtime.release, names, terms)
    return Asked(
        made,
        shard_rows,
        request.token,
        conditions,
        request.fresh,
        facts,
        any_version=not request.version,
    )


def _given(request: pb.SubmitJobRequest, runtime: Runtime) -> dict[str, Cell]:
    if not request.HasField("given"):
        return {}
    if request.given.count != 1:
        raise BadRequest(f"given.count is {request.given.count}; allowed: 1, the shared row")
    columns = wire.read_rows(request.given, runtime.fields)
    return {name: values[0] for name, values in columns.items() if values[0] is not ABSENT}


def _rows(request: pb.SubmitJobRequest) -> int:
    """Return the job's number of rows, which may follow from its conditions."""
    if not request.HasField("conditions"):
        if request.draws > 1:
            raise BadRequest(
                f"draws is {request.draws:,} without conditions to draw for; allowed: 1"
            )
        return request.rows
    if request.HasField("balance"):
        raise BadRequest("conditions and balance are given; allowed: one of them")
    count = request.conditions.count * max(1, request.draws)
    if count == 0:
        raise BadRequest("conditions.count is 0; allowed: 1 row or more")
    if request.rows not in (0, count):
        raise BadRequest(
            f"rows is {request.rows:,} for {request.conditions.count:,} conditions of "
            f"{max(1, request.draws):,} draws; allowed: 0, or their product"
        )
    return count


def _balance(
    request: pb.SubmitJobRequest, rows: int, runtime: Runtime, given: Mapping[str, Any]
) -> Balance | None:
    if not request.HasField("balance"):
        return None
    name = request.balance.column
    schema = runtime.release.codec.schema
    if name not in schema.names:
        raise schema.unknown(name)
    if name in given:
        raise BadRequest(f"{shown(name)} is in given and balanced; allowed: one of them")
    values = _values(request.balance, runtime)
    weights: Sequence[float] = request.balance.weights or [1.0] * len(values)
    if len(weights) != len(values):
        raise BadRequest(
            f"balance.weights has {len(weights):,} numbers; allowed: none, or {len(values):,}, one "
            "for each value"
        )
    if not all(math.isfinite(each) and each >= 0 for each in weights) or not sum(weights) > 0:
        raise BadRequest("balance.weights: allowed: numbers from 0 on that are finite, not all 0")
    if len(set(values)) < len(values):
        raise SpecificationRefused(f"balance: a value of {shown(name)} comes twice; allowed: once")
    shares = shared_out(rows, dict(zip(values, weights, strict=True)))
    return Balance(name, tuple((value, count) for value, count in shares if count))


def _values(balance: pb.Balance, runtime: Runtime) -> list[Cell]:
    """Return the values to balance: the named ones, or all values of the column."""
    name = balance.column
    if balance.HasField("values"):
        columns = wire.read_rows(balance.values, runtime.fields)
        if set(columns) != {name} or not balance.values.count:
            raise BadRequest(
                f"balance.values has columns {sorted(columns)}; allowed: {shown(name)} alone, in "
                "one row or more"
            )
        if any(value is ABSENT for value in columns[name]):
            raise BadRequest(f"balance.values: a value of {shown(name)} is absent; allowed: values")
        return list(columns[name])
    codec = runtime.release.codec
    column = codec.schema[name]
    if column.categories:
        return list(column.categories)
    listed = codec.columns[codec.schema.names.index(name)].listed or ()
    values = [value for value in listed if value is not None]
    if column.kind is Kind.DATETIME or not 1 <= len(values) <= MOST_LISTED:
        raise BadRequest(
            f"balance: {shown(name)} is no category, and has not few values; name those that are "
            "to be balanced"
        )
    return values
