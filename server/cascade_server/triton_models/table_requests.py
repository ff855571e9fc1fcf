"""A request of the cascade: its inputs and the outputs that it wants; pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from cascade_proto.cells import ABSENT_STATE
from numpy.typing import NDArray

from cascade_server.cascade.answer import Answer, ParameterValue
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.wire import rows as wire
from cascade_server.wire import tensor_rows as rows
from cascade_server.wire.model_tensors import DATATYPES, LOG_LIKELIHOOD, STATE, STATE_TYPE
from cascade_server.wire.parameters import Parameters
from cascade_server.wire.synthesis_request import SynthesisRequest
from cascade_server.wire.tensors import BYTES, Tensor

PROVENANCE = "provenance"


class Outputs:
    """The possible outputs of a table's model.

    Args:
        row: the table's `row` tensor.
    """

    def __init__(self, row: RowTensor) -> None:
        schema = row.codec.schema
        self._row, self._columns = row, schema.columns
        every = [*schema.names, *(f"{name}{STATE}" for name in schema.names)]
        every += [ROW, ROW_STATE, LOG_LIKELIHOOD, PROVENANCE]
        self.every = tuple(dict.fromkeys(every))

    def wanted(self, named: Collection[str], as_row: bool) -> tuple[str, ...]:
        """Return the outputs of a response, in the order of the schema.

        For a model, a request that names no outputs looks the same as one that names all. Both get
        the form of the request, columns or `row`, and the provenance.

        Args:
            named: outputs, as Triton reports them.
            as_row: whether the request has `row`.
        """
        if len(named) < len(self.every):
            return tuple(name for name in self.every if name in named)
        if as_row:
            return (ROW, *((ROW_STATE,) if self._row.nullable else ()), PROVENANCE)
        out = []
        for column in self._columns:
            out += [column.name, *((f"{column.name}{STATE}",) if column.nullable else ())]
        return (*out, PROVENANCE)


def checked_row(given: Mapping[str, NDArray[Any]], row: RowTensor) -> tuple[Values, States]:
    """Return `row` of a request, and the state of each of its values.

    Raises:
        BadRequest: names the tensor, and what is allowed.
    """
    for name in given:
        if name not in (ROW, ROW_STATE):
            raise BadRequest(f"input {name!r} and input {ROW!r} exclude each other")
    if ROW not in given:
        raise BadRequest(f"input {ROW_STATE!r} says of {ROW!r} what is observed, which is missing")
    values = given[ROW]
    return values, row.states(values, given.get(ROW_STATE))


def as_columns(values: Values, states: States, row: RowTensor) -> dict[str, Tensor]:
    """Convert `row` to the tensors of its columns that are known in some row.

    Raises:
        BadRequest: as `RowTensor.given`.
    """
    out: dict[str, Tensor] = {}
    count = len(values)
    for name, cells in row.given(values, states).items():
        kind = row.codec.kinds[name]
        index = row.codec.schema.names.index(name)
        datatype, column_states = DATATYPES[kind][0], states[:, index]
        plain: Any = [b"" if datatype == BYTES else 0] * count
        for i in np.flatnonzero(column_states == 0).tolist():
            plain[i] = cells[i].encode() if datatype == BYTES else cells[i]
        flat = plain if datatype == BYTES else np.array(plain)
        out[name] = Tensor(name, datatype, (count, 1), flat)
        if column_states.any():
            out[f"{name}{STATE}"] = Tensor(f"{name}{STATE}", STATE_TYPE, (count, 1), column_states)
    if not out:
        first = f"{row.columns[0].name}{STATE}"
        absent = np.full(count, ABSENT_STATE, np.uint8)
        out[first] = Tensor(first, STATE_TYPE, (count, 1), absent)
    return out


def to_request(
    inputs: Mapping[str, Tensor],
    wanted: Sequence[str],
    parameters: Parameters,
    row: RowTensor,
) -> SynthesisRequest:
    """Convert inputs and parameters to a request.

    Raises:
        BadRequest, UnknownColumn: names the tensor, and what is allowed.
    """
    given = dict(parameters.given)
    if PROVENANCE not in row.codec.schema.names:
        wanted = [name for name in wanted if name != PROVENANCE]
    if not wanted or is_wanted(wanted, row):
        given["log_likelihood"] = given.get("log_likelihood", False) or LOG_LIKELIHOOD in wanted
        wanted = ()
    column_states = replace(parameters, given=given)
    return rows.read_request(inputs, wanted, column_states, row.codec.schema)


def to_outputs(answer: Answer, wanted: Sequence[str], row: RowTensor) -> dict[str, Tensor]:
    """Return the wanted tensors of an answer."""
    schema, columns = row.codec.schema, answer.values
    every = [*schema.names, *(f"{name}{STATE}" for name in schema.names)]
    listed = [name for name in wanted if name in every]
    if answer.log_likelihood:
        listed.append(LOG_LIKELIHOOD)
    found = rows.to_tensors(columns, answer.log_likelihood, listed, schema) if listed else []
    out = {tensor.name: tensor for tensor in found}
    if is_wanted(wanted, row):
        values, states = as_row(columns, answer.request.total, row)
        for name, array in ((ROW, values), (ROW_STATE, states)):
            datatype = "FP64" if name == ROW else STATE_TYPE
            tensor = Tensor(name, datatype, array.shape, array.reshape(-1))
            if name in wanted:
                out.setdefault(name, tensor)
    if PROVENANCE in wanted:
        said = provenance(answer.request.runtime, answer.provenance())
        out.setdefault(PROVENANCE, Tensor(PROVENANCE, BYTES, (1, 1), [said]))
    return out


def is_wanted(wanted: Collection[str], row: RowTensor) -> bool:
    """Return whether an answer should have `row` or its states."""
    return row.offered and (ROW in wanted or ROW_STATE in wanted)


def as_row(columns: Mapping[str, wire.Values], total: int, row: RowTensor) -> tuple[Values, States]:
    """Convert every column of an answer to the tensor `row` and its states."""
    values = np.empty((total, len(row.columns)))
    states = np.zeros(values.shape, np.uint8)
    for name, column in columns.items():
        row.put(name, wire.as_arrays(column, row.codec.kinds[name]), values, states)
    return values, states


def provenance(runtime: Runtime, said: Mapping[str, ParameterValue]) -> bytes:
    """Return the provenance as JSON: Triton's models cannot set parameters of a response."""
    manifest = runtime.release.manifest
    whole = {"table": manifest.table, "version": manifest.version, **said}
    return json.dumps(whole, ensure_ascii=False).encode()
