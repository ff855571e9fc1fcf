"""Requests of `row` for `row` that the student answers: encoded and decoded a batch at a time, not
one by one. Whatever else is asked for, or is wrong, goes the way of all requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_server.open_inference.parameters import Parameters
from cascade_server.router import Wanted
from cascade_server.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.synthesis import stream
from cascade_server.triton_models.row_lookup import RowLookup
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.wire import ABSENT_STATE, NULL_STATE

PLAIN = frozenset((ROW, ROW_STATE))
# Rows of one request that are worth it.
MOST_ROWS = 64


class Ask(NamedTuple):
    """One request.

    Attributes:
        values: `row`, [n, C].
        states: what is said of each value, likewise; None: nothing.
        draws: answers a row.
        seed: None: any.
        wanted: AUTO or FAST.
        timeout: seconds; 0: none.
        outputs: ROW, ROW_STATE or both.
    """

    values: Values
    states: States | None
    draws: int
    seed: int | None
    wanted: Wanted
    timeout: float
    outputs: Collection[str]

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def total(self) -> int:
        return len(self.values) * self.draws


class Rows(NamedTuple):
    """Rows of several requests, one after the other.

    Attributes:
        values, states: as they were sent, [n, C].
        tokens, observed: the same for the student, int32 and bool [n, T].
    """

    values: Values
    states: States
    tokens: Tokens
    observed: Mask

    def take(self, rows: Sequence[int]) -> Rows:
        """Some of them, in some order."""
        return Rows(
            self.values.take(rows, axis=0),
            self.states.take(rows, axis=0),
            self.tokens.take(rows, axis=0),
            self.observed.take(rows, axis=0),
        )


def read(
    given: Mapping[str, NDArray[Any]],
    outputs: Collection[str],
    parameters: Parameters,
    row: RowTensor,
) -> Ask | None:
    """A request that this way is for; None: it is for the other."""
    how = parameters.given
    if not (PLAIN.issuperset(given) and PLAIN.issuperset(outputs) and ROW in given):
        return None
    if how.get("log_likelihood") or how.get("explain") or how.get("fidelity") == "full":
        return None
    if not row.offered:
        return None
    values, draws = given[ROW], how.get("draws", 1)
    if len(values) * draws > MOST_ROWS or how.get("rows", len(values)) != len(values):
        return None
    wanted = Wanted.FAST if how.get("fidelity") == Wanted.FAST else Wanted.AUTO
    timeout = parameters.timeout / 1e6
    return Ask(values, given.get(ROW_STATE), draws, how.get("seed"), wanted, timeout, outputs)


class Quick:
    """Encodes and decodes batches of them.

    Args:
        row, runtime: of the table.
    """

    def __init__(self, row: RowTensor, runtime: Runtime) -> None:
        self._row, self._runtime = row, runtime
        self._lookup = RowLookup(row)
        # For requests that name no seed: nobody can tell whose numbers came from where.
        self._rng = np.random.default_rng()

    def encode(self, asks: Sequence[Ask]) -> Rows:
        """The rows of some requests.

        Raises:
            BadRequest, ValueNotAllowed: a value of one of them is not allowed.
        """
        values = np.concatenate([ask.values for ask in asks])
        stated = None
        if any(ask.states is not None for ask in asks):
            stated = np.concatenate(
                [
                    self._row.states(ask.values, None) if ask.states is None else ask.states
                    for ask in asks
                ]
            )
        states = self._row.states(values, stated)
        found = self._lookup.encode(values, states)
        if found is None:  # a value is wrong, or not quite one of the column's
            encoded = self._row.codec.encode_partial(self._row.given(values, states), len(values))
            found = encoded.tokens, encoded.observed
        return Rows(values, states, *found)

    def noise(self, asks: Sequence[Ask]) -> tuple[Noise, list[np.random.Generator] | None]:
        """Uniform numbers for the student, and what each request's further ones come from; None:
        nobody named a seed."""
        width = self._runtime.student_noise
        if all(ask.seed is None for ask in asks):
            rows = sum(ask.total for ask in asks)
            return self._rng.random((rows, width), np.float32), None
        rngs = [self._rng if ask.seed is None else stream(ask.seed) for ask in asks]
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
        if any(ask.states is not None for ask in asks):
            # What a NULL's place held is nobody's value.
            values[states == NULL_STATE] = np.nan
        absent = states == ABSENT_STATE
        parts, end = [], 0
        for ask in asks:
            parts.append(slice(end, end := end + ask.total))

        def uniform(at: int) -> NDArray[np.float64]:
            if rngs is None:
                return self._rng.random(len(values))
            # Of those of a request's columns that are missing somewhere, as when it is alone.
            out = np.zeros(len(values))
            for rng, part in zip(rngs, parts, strict=True):
                if absent[part, at].any():
                    out[part] = rng.random(part.stop - part.start)
            return out

        self._lookup.decode(drawn, values, states, uniform)
        found: dict[str, NDArray[Any]] = {ROW: values, ROW_STATE: states}
        return [
            {name: found[name][part] for name in (ROW, ROW_STATE) if name in ask.outputs}
            for ask, part in zip(asks, parts, strict=True)
        ]
