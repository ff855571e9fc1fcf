"""A table's model: tensors to a `SynthesizeRequest`, and its answer to tensors; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cascade_proto import inference_pb2, synthesis_pb2
from cascade_proto.cells import FIELDS, NULL_STATE
from cascade_tables import Column, Kind, Schema

from cascade_server.errors import BadRequest
from cascade_server.wire.model_tensors import DATATYPES, LOG_LIKELIHOOD, STATE, STATE_TYPE
from cascade_server.wire.parameters import Parameters, put
from cascade_server.wire.tensors import DTYPES, Tensor

FIDELITIES = {
    "auto": synthesis_pb2.FIDELITY_AUTO,
    "fast": synthesis_pb2.FIDELITY_FAST,
    "full": synthesis_pb2.FIDELITY_FULL,
}
TIERS = {synthesis_pb2.TIER_STUDENT: "student", synthesis_pb2.TIER_TEACHER: "teacher"}


def to_request(
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    parameters: Parameters,
    schema: Schema,
    version: int,
    table: str,
) -> synthesis_pb2.SynthesizeRequest:
    """What `Synthesize` would be asked.

    Args:
        inputs: columns that are known, and states; the others are absent.
        outputs: tensors that are wanted; none: all.
        parameters, schema, version, table: of the request, and of what it asks.

    Raises:
        BadRequest, UnknownColumn: names the input or the output, and what is allowed.
    """
    given = parameters.given
    columns = {column.name: column for column in schema.columns}
    request = synthesis_pb2.SynthesizeRequest(
        table=table,
        version=version,
        columns=_wanted(outputs, columns),
        fidelity=FIDELITIES[given.get("fidelity", "auto")],
        log_likelihood=given.get("log_likelihood", False) or LOG_LIKELIHOOD in outputs,
        timeout_microseconds=parameters.timeout,
        explain=given.get("explain", False),
    )
    for name in ("draws", "seed"):
        if name in given:
            setattr(request, name, given[name])
    request.rows.count = _rows(inputs, given.get("rows"))
    out: dict[str, synthesis_pb2.Column] = {}
    for name, tensor in inputs.items():
        of = name if name in columns else name.removesuffix(STATE)
        if of not in columns:
            raise schema.unknown(of)
        column = out.setdefault(of, synthesis_pb2.Column(name=of))
        if of == name:
            _fill(column, columns[name].kind, tensor)
        else:
            _check_type(tensor, (STATE_TYPE,))
            assert isinstance(tensor.values, np.ndarray)
            column.states = tensor.values.tobytes()
    request.rows.columns.extend(out.values())
    return request


def _rows(inputs: Mapping[str, Tensor], asked: int | None) -> int:
    """Rows that all inputs have; with none, as many as are asked for."""
    count = asked
    for name, tensor in inputs.items():
        shape = tensor.shape
        if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            raise BadRequest(f"input {name!r} has shape {list(shape)}; allowed: [n, 1] and [n]")
        if count is None:
            count = shape[0]
        elif shape[0] != count:
            raise BadRequest(f"input {name!r} has {shape[0]:,} rows; there are {count:,}")
    return 1 if count is None else count


def _wanted(outputs: Sequence[str], columns: Mapping[str, Column]) -> list[str]:
    """Columns that the outputs are of; none: all."""
    out: dict[str, None] = {}
    for name in outputs:
        if name == LOG_LIKELIHOOD and name not in columns:
            continue
        of = name if name in columns else name.removesuffix(STATE)
        if of not in columns:
            raise BadRequest(
                f"output {name!r} is unknown; allowed: a column, a column's name and {STATE!r}, "
                f"and {LOG_LIKELIHOOD!r}; the columns are: {', '.join(columns)}"
            )
        out[of] = None
    return list(out)


def _check_type(tensor: Tensor, allowed: Sequence[str]) -> None:
    if tensor.datatype not in allowed:
        raise BadRequest(
            f"input {tensor.name!r} has datatype {tensor.datatype}; allowed: {', '.join(allowed)}"
        )


def _fill(out: synthesis_pb2.Column, kind: Kind, tensor: Tensor) -> None:
    """Set a column's values from its tensor.

    Raises:
        BadRequest: the tensor is of another type, or has text that is no UTF-8.
    """
    _check_type(tensor, DATATYPES[kind])
    values: Any = tensor.values
    if isinstance(values, list):
        try:
            values = [value.decode() for value in values]
        except UnicodeDecodeError as exc:
            raise BadRequest(
                f"input {tensor.name!r} has an element that is no UTF-8: {exc.object[:32]!r}"
            ) from exc
    else:
        values = values.tolist()
    field = getattr(out, FIELDS[kind])
    field.SetInParent()
    field.values.extend(values)


def to_tensors(
    answer: synthesis_pb2.SynthesizeResponse, outputs: Sequence[str], schema: Schema
) -> list[Tensor]:
    """An answer's tensors: those that are wanted in their order, or all, with the states of
    columns that may be NULL. A NULL's place is empty, 0, false or not a number."""
    found: dict[str, Tensor] = {}
    nullable = {column.name: column.nullable for column in schema.columns}
    kinds = {column.name: column.kind for column in schema.columns}
    rows = answer.rows.count
    for column in answer.rows.columns:
        name, kind = column.name, kinds[column.name]
        states = np.frombuffer(column.states or bytes(rows), np.uint8)
        found[name] = Tensor(name, DATATYPES[kind][0], (rows, 1), _values(column, kind, states))
        if nullable[name] or f"{name}{STATE}" in outputs:
            state = f"{name}{STATE}"
            # A column of that very name is not hidden.
            found.setdefault(state, Tensor(state, STATE_TYPE, (rows, 1), states))
    if answer.log_likelihood:
        values = np.array(answer.log_likelihood, np.float64)
        found.setdefault(LOG_LIKELIHOOD, Tensor(LOG_LIKELIHOOD, "FP64", (len(values), 1), values))
    return [found[name] for name in outputs] if outputs else list(found.values())


def _values(column: synthesis_pb2.Column, kind: Kind, states: Any) -> Any:
    values = getattr(column, FIELDS[kind]).values
    if kind is Kind.CATEGORICAL:
        return [value.encode() for value in values]
    out = np.array(values, DTYPES[DATATYPES[kind][0]])
    if kind is Kind.CONTINUOUS:
        out[states == NULL_STATE] = np.nan
    return out


def provenance(of: synthesis_pb2.Provenance) -> dict[str, bool | int | float | str]:
    """Where rows come from, as parameters of a response; see `Provenance` of the wire."""
    out: dict[str, bool | int | float | str] = {"synthetic": True, "tier": TIERS[of.tier]}
    out["steps"] = of.steps
    if of.from_pool:
        out["from_pool"] = True
    else:
        out["seed"] = of.seed
    if of.cached:
        out["cached"] = True
    if of.HasField("epsilon"):
        out["epsilon"] = of.epsilon
    if of.notices:
        out["notices"] = "\n".join(of.notices)
    if of.HasField("routing"):
        out["reason"] = of.routing.reason
    return out


def answered(
    request: inference_pb2.ModelInferRequest,
    answer: synthesis_pb2.SynthesizeResponse,
) -> inference_pb2.ModelInferResponse:
    """The response's head, without tensors."""
    out = inference_pb2.ModelInferResponse(
        model_name=request.model_name,
        model_version=str(answer.provenance.version),
        id=request.id,
    )
    for name, value in provenance(answer.provenance).items():
        put(out.parameters, name, value)
    return out
