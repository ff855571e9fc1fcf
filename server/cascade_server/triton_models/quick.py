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
from cascade_server.synthesis import new_seed, recycle, stream
from cascade_server.triton_models.row_lookup import RowLookup
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.triton_models.unseeded import Unseeded
from cascade_server.wire import ABSENT_STATE, NULL_STATE

PLAIN = frozenset((ROW, ROW_STATE))
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
        outputs: ROW, ROW_STATE or both.
    """

    draws: int
    rows: int | None
    seed: int | None
    wanted: Wanted
    timeout: float
    outputs: tuple[str, ...]


def how_of(parameters: Parameters, outputs: Collection[str]) -> How | None:
    """What a request wants; None: more than goes this way."""
    given = parameters.given
    if not PLAIN.issuperset(outputs):
        return None
    if given.get("log_likelihood") or given.get("explain") or given.get("fidelity") == "full":
        return None
    return How(
        given.get("draws", 1),
        given.get("rows"),
        given.get("seed"),
        Wanted(given.get("fidelity", "auto")),
        parameters.timeout / 1e6,
        tuple(name for name in (ROW, ROW_STATE) if name in outputs),
    )


class Ask(NamedTuple):
    """One request.

    Attributes:
        values: `row`, [n, C].
        states: what is said of each value, likewise; None: nothing.
        how: what is wanted.
        rows, total: n, and how many that is with all draws.
    """

    values: Values
    states: States | None
    how: How
    rows: int
    total: int


class Rows(NamedTuple):
    """Rows of several requests, one after the other.

    Attributes:
        values: as they were sent, [n, C].
        states: what is said of each value, likewise; None: what is no number is not known.
        tokens, observed: the same for the student, int32 and bool [n, T].
    """

    values: Values
    states: States | None
    tokens: Tokens
    observed: Mask

    def take(self, rows: Sequence[int]) -> Rows:
        """Some of them, in some order."""
        return Rows(
            self.values.take(rows, axis=0),
            None if self.states is None else self.states.take(rows, axis=0),
            self.tokens.take(rows, axis=0),
            self.observed.take(rows, axis=0),
        )


def read(given: Mapping[str, NDArray[Any]], how: How) -> Ask | None:
    """A request that this way is for; None: it is for the other."""
    values = given.get(ROW)
    if values is None or len(given) > 1 + (ROW_STATE in given):
        return None
    rows = len(values)
    total = rows * how.draws
    if total > MOST_ROWS or how.rows not in (None, rows):
        return None
    return Ask(values, given.get(ROW_STATE), how, rows, total)


class Quick:
    """Encodes and decodes batches of them.

    Args:
        row, runtime: of the table.
    """

    def __init__(self, row: RowTensor, runtime: Runtime) -> None:
        self._row, self._runtime = row, runtime
        self._lookup = RowLookup(row)
        self._unseeded = Unseeded(runtime)

    def encode(self, asks: Sequence[Ask]) -> Rows:
        """The rows of some requests.

        Raises:
            BadRequest, ValueNotAllowed: a value of one of them is not allowed.
        """
        values, states = np.concatenate([ask.values for ask in asks]), None
        if any(ask.states is not None for ask in asks):
            every = [
                self._row.states(ask.values, None) if ask.states is None else ask.states
                for ask in asks
            ]
            states = self._row.states(values, np.concatenate(every))
        found = self._lookup.encode(values, states)
        if found is None:  # a value is wrong, or not quite one of the column's
            stated = self._row.states(values, states)
            encoded = self._row.codec.encode_partial(self._row.given(values, stated), len(values))
            found = encoded.tokens, encoded.observed
        return Rows(values, states, *found)

    def noise(
        self, asks: Sequence[Ask], observed: Mask
    ) -> tuple[Noise, list[np.random.Generator] | None]:
        """Uniform numbers for the student, and what each request's further ones come from; None:
        nobody named a seed.

        Args:
            asks: requests.
            observed: bool [n, T] of their rows, each as often as it is drawn.
        """
        if all(ask.how.seed is None for ask in asks):
            return self._unseeded.student(observed), None
        width = self._runtime.student_noise
        rngs = [stream(new_seed() if ask.how.seed is None else ask.how.seed) for ask in asks]
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
        absent = np.isnan(values) if states is None else states == ABSENT_STATE
        if states is not None:
            # What a NULL's place held is nobody's value.
            values[states == NULL_STATE] = np.nan
        elif any(ROW_STATE in ask.how.outputs for ask in asks):
            states = np.zeros(values.shape, np.uint8)
        parts, end = [], 0
        for ask in asks:
            parts.append(slice(end, end := end + ask.total))

        def uniform(at: int) -> NDArray[np.float64]:
            if rngs is None:
                return self._unseeded.inside(len(values))
            # Of those of a request's columns that are missing somewhere, as when it is alone.
            out = np.zeros(len(values))
            for rng, part in zip(rngs, parts, strict=True):
                if absent[part, at].any():
                    out[part] = rng.random(part.stop - part.start)
            return out

        self._lookup.decode(drawn, values, states, absent, uniform)
        for rng in rngs or ():
            recycle(rng)
        found: dict[str, Any] = {ROW: values, ROW_STATE: states}
        return [
            {name: found[name][part] for name in ask.how.outputs}
            for ask, part in zip(asks, parts, strict=True)
        ]
