"""Requests of `row` or of columns that the student answers: encoded and decoded a batch at a time,
not one by one. Whatever else is asked for, or is wrong, goes the way of all requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import ABSENT_STATE, NULL_STATE, OBSERVED_STATE
from numpy.typing import NDArray

from cascade_server.cascade.synthesis import fill_provenance
from cascade_server.engines.noise import new_seed, recycle, stream
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.terms import Wanted
from cascade_server.triton_models.asked import PROVENANCE, Outputs, provenance
from cascade_server.triton_models.columns import Cells, Columns
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.triton_models.unseeded import Unseeded
from cascade_server.wire.parameters import Parameters

# Outputs that are not a column's.
OF_ALL = frozenset((ROW, ROW_STATE, PROVENANCE))
# Rows of one request that are worth it.
MOST_ROWS = 64


class How(NamedTuple):
    """What is wanted of a request's rows.

    Attributes:
        draws: answers a row.
        rows: that it says it has; None: it does not say.
        seed: None: any.
        wanted: AUTO or FAST.
        timeout: seconds; 0: none.
        outputs: names.
        only: the columns that they are of, bool [C]; None: all.
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
        """Whether the answer is to say where it comes from."""
        return PROVENANCE in self.outputs


class Ask(NamedTuple):
    """One request.

    Attributes:
        values: `row`, [n, C], or columns.
        states: what is said of each value of `row`, likewise; None: nothing.
        how: what is wanted.
        seed: None: any, and nobody is told.
        rows, total: n, and how many that is with all draws.
    """

    values: Values | Cells
    states: States | None
    how: How
    seed: int | None
    rows: int
    total: int


class Rows(NamedTuple):
    """Rows of several requests, one after the other.

    Attributes:
        values: as they were sent, [n, C].
        states: what is said of each value, likewise; None: what is no number is not known.
        tokens, observed: the same for the student, int32 and bool [n, T].
        noticed: whether something is to be said of how they were read.
    """

    values: Values
    states: States | None
    tokens: Tokens
    observed: Mask
    noticed: bool

    def take(self, rows: Sequence[int]) -> Rows:
        """Some of them, in some order."""
        return Rows(
            self.values.take(rows, axis=0),
            None if self.states is None else self.states.take(rows, axis=0),
            self.tokens.take(rows, axis=0),
            self.observed.take(rows, axis=0),
            self.noticed,
        )


class Quick:
    """Encodes and decodes batches of them.

    Args:
        row, runtime: of the table.
    """

    def __init__(self, row: RowTensor, runtime: Runtime) -> None:
        self._row, self._runtime = row, runtime
        self._numbers, self._columns, self._outputs = row.codec.rows, Columns(row), Outputs(row)
        self._unseeded = Unseeded(runtime)
        # A column of that very name is not hidden.
        self._of_all = OF_ALL.difference(row.codec.schema.names)
        # Callers want the same outputs again and again.
        self._answer = lru_cache(1024)(self._answer_of)

    def how(self, parameters: Parameters, named: Sequence[str], as_row: bool) -> How | None:
        """What a request wants; None: more than goes this way.

        Args:
            parameters: checked.
            named: outputs, as Triton tells.
            as_row: whether the request has `row`.
        """
        given = parameters.given
        if given.get("log_likelihood") or given.get("explain") or given.get("fidelity") == "full":
            return None
        answer = self._answer(tuple(named), as_row)
        return answer and How(
            given.get("draws", 1),
            given.get("rows"),
            given.get("seed"),
            Wanted(given.get("fidelity", "auto")),
            parameters.timeout / 1e6,
            *answer,
        )

    def _answer_of(
        self, named: tuple[str, ...], as_row: bool
    ) -> tuple[tuple[str, ...], Mask | None] | None:
        """`How.outputs` and `How.only`; None: they are not of this way."""
        outputs = self._outputs.wanted(named, as_row)
        drawn = self._columns.drawn([name for name in outputs if name not in self._of_all])
        # Places inside bins are drawn in the schema's order here.
        if drawn is None or drawn != sorted(drawn):
            return None
        if not drawn or ROW in outputs or ROW_STATE in outputs:
            return outputs, None
        only = np.zeros(len(self._row.columns), np.bool_)
        only[drawn] = True
        return outputs, only

    def read(self, given: Mapping[str, NDArray[Any]], how: How) -> Ask | None:
        """A request that this way is for; None: it is for the other."""
        values: Values | Cells | None = given.get(ROW)
        if values is None:
            values = self._columns.read(given)
            if values is None:
                return None
            rows = values.rows
        elif len(given) > 1 + (ROW_STATE in given):
            return None
        else:
            rows = len(values)
        total = rows * how.draws
        if not 0 < total <= MOST_ROWS or how.rows not in (None, rows):
            return None
        seed = new_seed() if how.seed is None and how.told else how.seed
        return Ask(values, given.get(ROW_STATE), how, seed, rows, total)

    def encode(self, asks: Sequence[Ask]) -> Rows:
        """The rows of some requests.

        Raises:
            BadRequest, ValueNotAllowed: a value of one of them is not allowed.
        """
        values, states = self._values(asks), None
        if any(ask.states is not None for ask in asks):
            every, end = [], 0
            for ask in asks:
                begin, end = end, end + ask.rows
                of = ask.states
                every.append(self._row.states(values[begin:end], None) if of is None else of)
            states = self._row.states(values, np.concatenate(every))
        found, noticed = self._looked_up(values, states), False
        if found is None:  # a value is wrong, or not quite one of the column's
            stated = self._row.states(values, states)
            encoded = self._row.codec.encode_partial(self._row.given(values, stated), len(values))
            found, noticed = (encoded.tokens, encoded.observed), bool(encoded.notices)
        return Rows(values, states, *found, noticed)

    def _looked_up(self, values: Values, states: States | None) -> tuple[Tokens, Mask] | None:
        """Tokens of `row`, and which of them are observed; None: the codec is to say what some
        value is."""
        known = values == values
        if states is not None:
            if ((states == NULL_STATE) > self._numbers.nullable).any():
                return None
            known = states != ABSENT_STATE
            values = np.where(states == OBSERVED_STATE, values, np.nan)
        tokens, unknown = self._numbers.encode(values)
        return None if np.count_nonzero(unknown) else (tokens, self._numbers.observed(known))

    def _values(self, asks: Sequence[Ask]) -> Values:
        """`row` of some requests."""
        arrays = [ask.values for ask in asks if not isinstance(ask.values, Cells)]
        if len(arrays) == len(asks):
            return np.concatenate(arrays)
        cells: list[tuple[int, Cells]] = []
        out = np.full((sum(ask.rows for ask in asks), len(self._row.columns)), np.nan)
        end = 0
        for ask in asks:
            begin, end = end, end + ask.rows
            if isinstance(ask.values, Cells):
                cells.append((begin, ask.values))
            else:
                out[begin:end] = ask.values
        self._columns.write(cells, out)
        return out

    def noise(
        self, asks: Sequence[Ask], observed: Mask
    ) -> tuple[Noise, list[np.random.Generator] | None]:
        """Uniform numbers for the student, and what each request's further ones come from; None:
        nobody named a seed.

        Args:
            asks: requests.
            observed: bool [n, T] of their rows, each as often as it is drawn.
        """
        if all(ask.seed is None for ask in asks):
            return self._unseeded.student(observed), None
        width = self._runtime.student_noise
        rngs = [stream(new_seed() if ask.seed is None else ask.seed) for ask in asks]
        parts = [
            rng.random((ask.total, width), np.float32) for ask, rng in zip(asks, rngs, strict=True)
        ]
        return np.concatenate(parts), rngs

    def decode(
        self,
        asks: Sequence[Ask],
        rows: Rows,
        drawn: Tokens,
        rngs: Sequence[np.random.Generator] | None,
    ) -> list[dict[str, NDArray[Any]]]:
        """Each request's outputs.

        Args:
            asks: requests.
            rows: theirs, each as often as it is drawn; written over.
            drawn: int32 [n, T], what was drawn for them.
            rngs: as `noise` gave them.
        """
        values, states = rows.values, rows.states
        wanted = frozenset[str]().union(*(ask.how.outputs for ask in asks))
        absent = np.isnan(values) if states is None else states == ABSENT_STATE
        if states is not None:
            # What a NULL's place held is nobody's value.
            values[states == NULL_STATE] = np.nan
        elif ROW_STATE in wanted or not wanted.isdisjoint(self._columns.states):
            states = np.zeros(values.shape, np.uint8)
        parts, end = [], 0
        for ask in asks:
            parts.append(slice(end, end := end + ask.total))
            if ask.how.only is not None:
                absent[parts[-1]] &= ask.how.only

        columns = np.flatnonzero(absent.any(axis=0))
        binned = columns[self._numbers.binned[columns]]
        if rngs is None:
            uniform = self._unseeded.inside(len(binned), len(values))
        else:
            uniform = np.zeros((len(binned), len(values)))
            for rng, part in zip(rngs, parts, strict=True):
                # Of those of a request's columns that are to be drawn, as when it is alone.
                which = absent[part][:, binned].any(axis=0)
                shape = np.count_nonzero(which), part.stop - part.start
                uniform[which, part] = rng.random(shape)
        if len(columns):
            found, null = self._numbers.decode(drawn, columns, uniform)
            here = absent[:, columns]
            values[:, columns] = np.where(here, found, values[:, columns])
            if states is not None:
                drawn_states = null * np.uint8(NULL_STATE)
                states[:, columns] = np.where(here, drawn_states, states[:, columns])
        for rng in rngs or ():
            recycle(rng)
        tensors = self._columns.tensors(wanted - self._of_all, values, states)
        for name, array in ((ROW, values), (ROW_STATE, states)):
            if name in wanted and array is not None:
                tensors[name] = array
        out = []
        for ask, part in zip(asks, parts, strict=True):
            answer = {name: tensors[name][part] for name in ask.how.outputs if name != PROVENANCE}
            if ask.how.told:
                answer[PROVENANCE] = self._provenance(ask)
            out.append(answer)
        return out

    def _provenance(self, ask: Ask) -> NDArray[Any]:
        """Where a request's rows come from."""
        assert ask.seed is not None
        said = pb.Provenance()
        fill_provenance(said, self._runtime, False, 1, ask.seed)
        return np.array([[provenance(said)]], object)
