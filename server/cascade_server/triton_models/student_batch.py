"""Requests of a batch that the student can answer together.

They are encoded together, drawn in one call and decoded together.

Most requests qualify: some columns known, others wanted, nothing to explain or to score. All other
requests, and invalid ones, are planned and packed individually, as in the embedded server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from cascade_proto.cells import ABSENT_STATE, NULL_STATE, OBSERVED_STATE
from numpy.typing import NDArray

from cascade_server.cascade.answer import provenance_of
from cascade_server.engines.noise import inside_bins, new_seed
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.student_noise import UNREAD
from cascade_server.terms import Tier, Wanted
from cascade_server.triton_models.column_tensors import ColumnInputs, ColumnTensors
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.triton_models.table_requests import PROVENANCE, Outputs, provenance
from cascade_server.triton_models.unseeded import Unseeded
from cascade_server.wire.parameters import SWITCHES, Parameters

# Outputs that do not belong to one column.
OF_ROWS = frozenset((ROW, ROW_STATE, PROVENANCE))
# Most rows of a request; larger ones are as fast individually.
MOST_ROWS = 64


class BatchOptions(NamedTuple):
    """The options of a request.

    Attributes:
        draws: answers per row.
        rows: number of rows that it states; None if it does not.
        seed: its seed; None for any.
        wanted: AUTO or FAST.
        timeout: seconds; 0 for none.
        outputs: names of the outputs.
        only: the columns that they are of, bool [C]; None for all.
    """

    draws: int
    rows: int | None
    seed: int | None
    wanted: Wanted
    timeout: float
    outputs: tuple[str, ...]
    only: Mask | None

    @property
    def told(self) -> bool:
        """Whether the answer should include its provenance."""
        return PROVENANCE in self.outputs


class BatchRequest(NamedTuple):
    """One request of a batch, read but not encoded.

    Attributes:
        values: `row`, [n, C], or columns.
        states: the state of each value of `row`, [n, C]; None if not given.
        options: its options.
        seed: its seed; None for any, which is not reported.
        rows, total: n, and the number including all draws.
    """

    values: Values | ColumnInputs
    states: States | None
    options: BatchOptions
    seed: int | None
    rows: int
    total: int


class BatchRows(NamedTuple):
    """Rows of several requests, one after another.

    Attributes:
        values: the values as sent, [n, C].
        states: the state of each value, [n, C]; None: NaN means unknown.
        tokens, observed: the same for the student, int32 and bool [n, T].
        noticed: whether there are notices about how they were read.
    """

    values: Values
    states: States | None
    tokens: Tokens
    observed: Mask
    noticed: bool

    def take(self, rows: Sequence[int]) -> BatchRows:
        """Return some of the rows, in the given order."""
        return BatchRows(
            self.values.take(rows, axis=0),
            None if self.states is None else self.states.take(rows, axis=0),
            self.tokens.take(rows, axis=0),
            self.observed.take(rows, axis=0),
            self.noticed,
        )


class StudentBatch:
    """Reads, encodes and decodes requests that are answered together; see the module.

    >>> rows = batch.encode(requests)
    >>> drawn = student(rows.tokens, rows.observed, batch.noise(requests, rows.observed))
    >>> answers = batch.decode(requests, rows, drawn)

    Args:
        row: the table's `row` tensor.
        runtime: provides the student.
    """

    def __init__(self, row: RowTensor, runtime: Runtime) -> None:
        self._row, self._runtime = row, runtime
        self._numbers = row.codec.rows
        self._columns, self._outputs = ColumnTensors(row), Outputs(row)
        self._unseeded = Unseeded(runtime)
        # Numbers that follow from whole numbers beyond float64's exact range are computed
        # elsewhere.
        inexact = set(np.flatnonzero(~self._numbers.exact).tolist())
        self._may_follow_inexact = any(
            len(group) > 1 and not inexact.isdisjoint(group)
            for group in row.codec.arithmetic.groups
        )
        # A column with one of these names takes precedence.
        self._of_rows = OF_ROWS.difference(row.codec.schema.names)
        # Callers want the same outputs again and again.
        self._answer = lru_cache(1024)(self._read_outputs)

    def options(
        self, parameters: Parameters, named: Sequence[str], as_row: bool
    ) -> BatchOptions | None:
        """Return a request's options; None if it does not qualify for a batch.

        Args:
            parameters: checked parameters.
            named: outputs, as Triton reports them.
            as_row: whether the request has `row`.
        """
        given = parameters.given
        if given.get("fidelity") == "full" or any(given.get(name) for name in SWITCHES):
            return None
        answer = self._answer(tuple(named), as_row)
        return answer and BatchOptions(
            given.get("draws", 1),
            given.get("rows"),
            given.get("seed"),
            Wanted(given.get("fidelity", "auto")),
            parameters.timeout / 1e6,
            *answer,
        )

    def _read_outputs(
        self, named: tuple[str, ...], as_row: bool
    ) -> tuple[tuple[str, ...], Mask | None] | None:
        """Return `BatchOptions.outputs` and `only`; None if the outputs do not qualify."""
        outputs = self._outputs.wanted(named, as_row)
        drawn = self._columns.drawn([name for name in outputs if name not in self._of_rows])
        if drawn is None or self._may_follow_inexact:
            return None
        if not drawn or ROW in outputs or ROW_STATE in outputs:
            return outputs, None
        if self._row.codec.arithmetic:
            # A column may follow from one that is not requested.
            return None
        only = np.zeros(len(self._row.columns), np.bool_)
        only[drawn] = True
        return outputs, only

    def read(self, given: Mapping[str, NDArray[Any]], options: BatchOptions) -> BatchRequest | None:
        """Read a request; None if it does not qualify for a batch."""
        values: Values | ColumnInputs | None = given.get(ROW)
        if values is None:
            values = self._columns.read(given)
            if values is None:
                return None
            rows = values.rows
        elif len(given) > 1 + (ROW_STATE in given):
            return None
        else:
            rows = len(values)
        total = rows * options.draws
        if not 0 < total <= MOST_ROWS or options.rows not in (None, rows):
            return None
        seed = new_seed() if options.seed is None and options.told else options.seed
        return BatchRequest(values, given.get(ROW_STATE), options, seed, rows, total)

    def encode(self, requests: Sequence[BatchRequest]) -> BatchRows:
        """Return the rows of some requests, encoded, one after another.

        Raises:
            BadRequest, ValueNotAllowed: a value is not allowed.
        """
        values, states = self._values(requests), None
        if any(request.states is not None for request in requests):
            every, end = [], 0
            for request in requests:
                begin, end = end, end + request.rows
                own = request.states
                every.append(self._row.states(values[begin:end], None) if own is None else own)
            states = self._row.states(values, np.concatenate(every))
        found, noticed = self._looked_up(values, states), False
        if found is None:  # a value is invalid, or not exactly one of the column's
            stated = self._row.states(values, states)
            encoded = self._row.codec.encode_partial(self._row.given(values, stated), len(values))
            found, noticed = (encoded.tokens, encoded.observed), encoded.outside is not None
        return BatchRows(values, states, *found, noticed)

    def _looked_up(self, values: Values, states: States | None) -> tuple[Tokens, Mask] | None:
        """Return the tokens of `row`, and which are observed.

        None if the codec must decide what a value is.
        """
        known = values == values
        if states is not None:
            if ((states == NULL_STATE) > self._numbers.nullable).any():
                return None
            known = states != ABSENT_STATE
            values = np.where(states == OBSERVED_STATE, values, np.nan)
        tokens, unknown = self._numbers.encode(values)
        if unknown is not None:
            return None
        self._row.codec.mark_given(tokens, values)
        return tokens, self._numbers.observed(known)

    def _values(self, requests: Sequence[BatchRequest]) -> Values:
        """Return the values of some requests as numbers, [n, C], in whichever form sent."""
        arrays = [
            request.values for request in requests if not isinstance(request.values, ColumnInputs)
        ]
        if len(arrays) == len(requests):
            return np.concatenate(arrays)
        cells: list[tuple[int, ColumnInputs]] = []
        out = np.full((sum(request.rows for request in requests), len(self._row.columns)), np.nan)
        end = 0
        for request in requests:
            begin, end = end, end + request.rows
            if isinstance(request.values, ColumnInputs):
                cells.append((begin, request.values))
            else:
                out[begin:end] = request.values
        self._columns.write(cells, out)
        return out

    def noise(self, requests: Sequence[BatchRequest], observed: Mask) -> Noise:
        """Return uniform numbers for the student.

        Args:
            requests: in the order of their rows.
            observed: bool [n, T] of their rows, repeated for each draw.
        """
        if all(request.seed is None for request in requests):
            return self._unseeded.student(observed)
        layout = self._runtime.noise_of_student
        out = np.full((len(observed), layout.width), UNREAD, np.float32)
        end = 0
        for request in requests:
            begin, end = end, end + request.total
            seed = new_seed() if request.seed is None else request.seed
            draws = request.options.draws
            layout.fill(out[begin:end], seed, 0, draws, observed[begin:end:draws])
        return out

    def decode(
        self,
        requests: Sequence[BatchRequest],
        rows: BatchRows,
        drawn: Tokens,
    ) -> list[dict[str, NDArray[Any]]]:
        """Return each request's outputs.

        Args:
            requests: in the order of their rows.
            rows: their rows, repeated for each draw; modified.
            drawn: int32 [n, T], the drawn tokens.
        """
        values, states = rows.values, rows.states
        wanted = frozenset[str]().union(*(request.options.outputs for request in requests))
        absent = np.isnan(values) if states is None else states == ABSENT_STATE
        if states is not None:
            # The content at the position of a NULL has no meaning.
            values[states == NULL_STATE] = np.nan
        elif ROW_STATE in wanted or not wanted.isdisjoint(self._columns.states):
            states = np.zeros(values.shape, np.uint8)
        parts, end = [], 0
        for request in requests:
            parts.append(slice(end, end := end + request.total))
            if request.options.only is not None:
                absent[parts[-1]] &= request.options.only

        def uniform(columns: NDArray[np.intp]) -> NDArray[np.float64]:
            out = self._unseeded.inside(len(columns), len(values))
            for request, part in zip(requests, parts, strict=True):
                if request.seed is not None:
                    width = len(self._row.columns)
                    out[:, part] = inside_bins(request.seed, 0, request.total, width)(
                        columns.tolist()
                    )
            return out

        self._numbers.decode(drawn, values, states, absent, uniform)
        self._row.codec.compute(drawn, values, absent)
        tensors = self._columns.tensors(wanted - self._of_rows, values, states)
        for name, array in ((ROW, values), (ROW_STATE, states)):
            if name in wanted and array is not None:
                tensors[name] = array
        out = []
        for request, part in zip(requests, parts, strict=True):
            answer = {
                name: tensors[name][part] for name in request.options.outputs if name != PROVENANCE
            }
            if request.options.told:
                answer[PROVENANCE] = self._provenance(request)
            out.append(answer)
        return out

    def _provenance(self, request: BatchRequest) -> NDArray[Any]:
        """Return the provenance of a request's rows."""
        assert request.seed is not None
        said = provenance_of(self._runtime, Tier.STUDENT, 1, request.seed)
        return np.array([[provenance(self._runtime, said)]], object)
