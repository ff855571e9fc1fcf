"""An answer made of pooled rows: what was drawn ahead of time, and what the caller gave."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import NULL_STATE, OBSERVED_STATE, PLACEHOLDERS
from cascade_tables import ABSENT

from cascade_server.cascade import synthesis
from cascade_server.cascade.router import Route
from cascade_server.cascade.synthesis import Plan
from cascade_server.store.pool import Key, PoolConfig, Taken, condition_of


def poolable(job: Plan, config: PoolConfig) -> bool:
    """Whether pooled rows can answer a request without a seed: only the teacher itself scores what
    is given, and nothing is to be drawn of what is known."""
    return (
        not job.log_likelihood
        and job.total <= config.most_rows
        and (len(job.given) < job.runtime.columns or not job.encoded.observed.all())
    )


def keys_of(job: Plan) -> list[Key]:
    """What each row of a request needs of the pool."""
    release, tokens, observed = job.runtime.identity, job.encoded.tokens, job.encoded.observed
    if job.rows == 1:
        return [Key(release, condition_of(tokens, observed))]
    return [Key(release, condition_of(*row)) for row in zip(tokens, observed, strict=True)]


def pack(job: Plan, taken: Taken, route: Route | None, finished: float) -> pb.SynthesizeResponse:
    """The answer.

    Args:
        job: what was asked for.
        taken: its rows.
        route: why they are from the pool, where that was asked for.
        finished: when they had been taken (`time.perf_counter`).
    """
    response = pb.SynthesizeResponse()
    pack_rows(job, taken.contents, response.rows)
    provenance = response.provenance
    synthesis.fill_provenance(provenance, job.runtime, True, taken.steps, seed=0)
    provenance.from_pool = True
    provenance.notices.extend(job.encoded.notices)
    if route is not None:
        synthesis.explain(route, provenance.routing)
    synthesis.fill_timings(job, provenance.timings, 0.0, finished)
    return response


def pack_rows(job: Plan, contents: Sequence[bytes], out: pb.Rows) -> None:
    """Fill in the columns that were asked for, of `job.total` pooled rows."""
    names = job.names
    if len(contents) == 1 and not job.given and names == job.runtime.release.codec.schema.names:
        out.MergeFromString(contents[0])
        return
    out.count = len(contents)
    pooled = [
        {column.name: column for column in pb.Rows.FromString(content).columns}
        for content in contents
    ]
    for name in names:
        field = job.runtime.fields[name]
        if len(pooled) == 1 and name in pooled[0]:
            out.columns.append(pooled[0][name])
            continue
        column = out.columns.add(name=name)
        placeholder = PLACEHOLDERS[field]
        given, values, states = job.given.get(name), [], bytearray()
        for at, row in enumerate(pooled):
            value = ABSENT if given is None else given[at // job.draws]
            if value is ABSENT:
                value = getattr(row[name], field).values[0]
                null = bool(row[name].states)
            else:
                null = value is None
            values.append(placeholder if null else value)
            states.append(NULL_STATE if null else OBSERVED_STATE)
        getattr(column, field).values.extend(values)
        if any(states):
            column.states = bytes(states)
