"""The models served over the protocol: each table, and its student and teacher.

A table's model maps values to values: columns as tensors, through the whole cascade. Its networks
map tokens to tokens, as the files of the model repository do.
"""

from __future__ import annotations

from collections.abc import Iterator

from cascade_proto import inference_pb2 as pb
from cascade_tables import Schema
from cascade_tables.errors import did_you_mean, listing, shown

from cascade_server.cascade.repository import Repository
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest, UnknownTable
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import (
    DATATYPES,
    DRAWN,
    LOG_LIKELIHOOD,
    NOISE,
    OBSERVED,
    STATE,
    STATE_TYPE,
    TOKENS,
    Model,
)


def models(repository: Repository) -> Iterator[Model]:
    """Yield all models; a table takes precedence over a network of the same name."""
    for table in repository.tables:
        yield Model(table, table, None)
    for table in repository.tables:
        for tier in Tier:
            if (name := f"{table}_{tier}") not in repository.tables:
                yield Model(name, table, tier)


def find(repository: Repository, name: str, version: str) -> tuple[Model, Runtime]:
    """Return a model and its release; an empty version: the latest.

    Raises:
        UnknownTable: names the models that exist.
        BadRequest: the version is not a number.
    """
    model = named(repository, name)
    return model, release_of(repository, model, version)


def named(repository: Repository, name: str) -> Model:
    """Return the model of a name.

    Raises:
        UnknownTable: names the models that exist.
    """
    if name in repository.tables:
        return Model(name, name, None)
    for tier in Tier:
        table = name.removesuffix(f"_{tier}")
        if table != name and table in repository.tables:
            return Model(name, table, tier)
    known = [model.name for model in models(repository)]
    hint = did_you_mean(name, known)
    hint = f".{hint}" if hint else ""
    raise UnknownTable(f"unknown model {shown(name)}; the models are: {listing(known)}{hint}")


def release_of(repository: Repository, model: Model, version: str, lot: float = 1.0) -> Runtime:
    """Return the release of a model's version; an empty version: the one that answers now.

    Args:
        repository, model, version: what to look up.
        lot: decides between a stable version and a canary. It is ignored for networks: tokens are
            specific to one version, so their callers must not be sent to a canary by chance.

    Raises:
        UnknownTable: the version does not exist.
        BadRequest: the version is not a number.
    """
    number = version_number(version)
    return repository.find(model.table, number, lot if model.tier is None else 1.0)


def version_number(version: str) -> int:
    """Parse a version, which is a text in the protocol; "" gives 0.

    Raises:
        BadRequest: it is not a positive number.
    """
    if not version:
        return 0
    if not (version.isascii() and version.isdigit() and len(version) < 19 and int(version)):
        raise BadRequest(
            f"version is {shown(version)}; allowed: a number, or nothing for the latest"
        )
    return int(version)


def metadata(model: Model, runtime: Runtime, out: pb.ModelMetadataResponse) -> None:
    """Describe a model's tensors."""
    if model.tier is None:
        _describe_rows(runtime.release.codec.schema, out)
        return
    slots = runtime.slots
    width = runtime.student_noise if model.tier is Tier.STUDENT else runtime.teacher_noise
    for name, datatype, length in (
        (TOKENS, "INT32", slots),
        (OBSERVED, "BOOL", slots),
        (NOISE, "FP32", width),
    ):
        out.inputs.add(name=name, datatype=datatype, shape=[-1, length])
    out.outputs.add(name=DRAWN, datatype="INT32", shape=[-1, slots])
    if model.tier is Tier.TEACHER:
        out.outputs.add(name=LOG_LIKELIHOOD, datatype="FP64", shape=[-1, 1])


def _describe_rows(schema: Schema, out: pb.ModelMetadataResponse) -> None:
    for column in schema.columns:
        datatype, state = DATATYPES[column.kind][0], f"{column.name}{STATE}"
        out.inputs.add(name=column.name, datatype=datatype, shape=[-1, 1])
        out.outputs.add(name=column.name, datatype=datatype, shape=[-1, 1])
        out.inputs.add(name=state, datatype=STATE_TYPE, shape=[-1, 1])
        if column.nullable:
            out.outputs.add(name=state, datatype=STATE_TYPE, shape=[-1, 1])
    out.outputs.add(name=LOG_LIKELIHOOD, datatype="FP64", shape=[-1, 1])
