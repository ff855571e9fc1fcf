"""Converts tensors of a table's model to a `SynthesisRequest`, and answers to tensors; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cascade_proto.cells import NULL_STATE
from cascade_tables import Column, ColumnData, Kind, Schema
from cascade_tables.errors import shown

from cascade_server.errors import BadRequest
from cascade_server.terms import Wanted
from cascade_server.wire.model_tensors import DATATYPES, LOG_LIKELIHOOD, STATE, STATE_TYPE
from cascade_server.wire.parameters import Parameters
from cascade_server.wire.rows import PYTHON, Values, as_arrays, with_states
from cascade_server.wire.synthesis_request import SynthesisRequest
from cascade_server.wire.tensors import DTYPES, Tensor


def read_request(
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    parameters: Parameters,
    schema: Schema,
) -> SynthesisRequest:
    """Read a request.

    Args:
        inputs: known columns and states; other columns are absent.
        outputs: requested tensors; none: all.
        parameters, schema: the request's parameters, and the table's schema.

    Raises:
        BadRequest, UnknownColumn: names the input or the output, and what is allowed.
    """
    given = parameters.given
    columns = {column.name: column for column in schema.columns}
    names = _wanted(outputs, columns)
    count = _rows(inputs, given.get("rows"))
    values: dict[str, list[Any]] = {}
    # In order of first appearance, by values or by states.
    states: dict[str, bytes] = {}
    for name, tensor in inputs.items():
        column = name if name in columns else name.removesuffix(STATE)
        if column not in columns:
            raise schema.unknown(column)
        states.setdefault(column, b"")
        if column == name:
            values[column] = _plain(columns[name].kind, tensor)
        else:
            _check_type(tensor, (STATE_TYPE,))
            assert isinstance(tensor.values, np.ndarray)
            states[column] = tensor.values.tobytes()
    return SynthesisRequest(
        rows=count,
        given={
            column: with_states(column, values.get(column), said, count)
            for column, said in states.items()
        },
        names=names,
        draws=given.get("draws", 1),
        seed=given.get("seed"),
        wanted=Wanted(given.get("fidelity", "auto")),
        log_likelihood=given.get("log_likelihood", False) or LOG_LIKELIHOOD in outputs,
        explain=given.get("explain", False),
        offline=parameters.offline,
        strict=given.get("strict", False),
    )


def _rows(inputs: Mapping[str, Tensor], asked: int | None) -> int:
    """Return the number of rows: that of all inputs or, without inputs, the requested one."""
    count = asked
    for name, tensor in inputs.items():
        shape = tensor.shape
        if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            raise BadRequest(
                f"input {shown(name)} has shape {list(shape)}; allowed: [n, 1] and [n]"
            )
        if count is None:
            count = shape[0]
        elif shape[0] != count:
            raise BadRequest(f"input {shown(name)} has {shape[0]:,} rows; there are {count:,}")
    return 1 if count is None else count


def _wanted(outputs: Sequence[str], columns: Mapping[str, Column]) -> list[str]:
    """Return the columns of the requested outputs; none: all."""
    out: dict[str, None] = {}
    for name in outputs:
        if name == LOG_LIKELIHOOD and name not in columns:
            continue
        column = name if name in columns else name.removesuffix(STATE)
        if column not in columns:
            raise BadRequest(
                f"output {shown(name)} is unknown; "
                f"allowed: a column, a column's name and {STATE!r}, "
                f"and {LOG_LIKELIHOOD!r}; the columns are: {', '.join(columns)}"
            )
        out[column] = None
    return list(out)


def _check_type(tensor: Tensor, allowed: Sequence[str]) -> None:
    if tensor.datatype not in allowed:
        raise BadRequest(
            f"input {shown(tensor.name)} has datatype {tensor.datatype}; "
            f"allowed: {', '.join(allowed)}"
        )


def _plain(kind: Kind, tensor: Tensor) -> list[Any]:
    """Convert a column's tensor to Python values.

    Raises:
        BadRequest: the tensor has a wrong type, or text that is not UTF-8.
    """
    _check_type(tensor, DATATYPES[kind])
    values: Any = tensor.values
    if not isinstance(values, list):
        # Numbers of another type are converted to the column's.
        return [PYTHON[kind](value) for value in values.tolist()]
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as exc:
        raise BadRequest(
            f"input {shown(tensor.name)} has an element that is no UTF-8: {exc.object[:32]!r}"
        ) from exc


def to_tensors(
    columns: Mapping[str, Values],
    log_likelihood: Sequence[float],
    outputs: Sequence[str],
    schema: Schema,
) -> list[Tensor]:
    """Convert an answer to the requested tensors, in their order, or to all.

    All tensors include the states of columns that may be NULL. The value of a NULL is empty, 0,
    false or NaN.

    Args:
        columns: values by name, in the order of the answer.
        log_likelihood: one value per row of the request; empty: not requested.
        outputs: names of the tensors; none: all.
        schema: the table's schema.
    """
    found: dict[str, Tensor] = {}
    schema_columns = {column.name: column for column in schema.columns}
    for name, values in columns.items():
        column = schema_columns[name]
        data = as_arrays(values, column.kind)
        shape = (len(data.values), 1)
        found[name] = Tensor(name, DATATYPES[column.kind][0], shape, _elements(data, column.kind))
        state = f"{name}{STATE}"
        # Includes a NULL that the caller gave in a column that is not nullable.
        if column.nullable or state in outputs or data.null.any():
            states = data.null * np.uint8(NULL_STATE)
            # Does not hide a column of that name.
            found.setdefault(state, Tensor(state, STATE_TYPE, shape, states))
    if log_likelihood:
        scores = np.array(log_likelihood, np.float64)
        found.setdefault(LOG_LIKELIHOOD, Tensor(LOG_LIKELIHOOD, "FP64", (len(scores), 1), scores))
    return [found[name] for name in outputs] if outputs else list(found.values())


def _elements(data: ColumnData, kind: Kind) -> Any:
    """Convert a column's values to tensor elements."""
    if kind is Kind.CATEGORICAL:
        return [value.encode() for value in data.values.tolist()]
    out = data.values.astype(DTYPES[DATATYPES[kind][0]])
    if kind is Kind.CONTINUOUS:
        out[data.null] = np.nan
    return out
