"""Requests of `row` for `row` that the student answers: encoded and decoded a batch at a time, not
one by one. Whatever else is asked for, or is wrong, goes the way of all requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_server.open_inference.parameters import Parameters
from cascade_server.router import Wanted
from cascade_server.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.synthesis import stream
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor, States, Values
from cascade_server.wire import ABSENT_STATE, NULL_STATE

PLAIN = frozenset((ROW, ROW_STATE))
# Rows of one request that are worth it.
MOST_ROWS = 64


@dataclass(frozen=True, eq=False)
class Ask:
    """One request.

    Attributes:
        values, states: `row` and what is said of it, [n, C].
        draws: answers a row.
        seed: None: any.
        wanted: AUTO or FAST.
        timeout: seconds; 0: none.
        outputs: ROW, ROW_STATE or both.
    """

    values: Values
    states: States
    draws: int
    seed: int | None
    wanted: Wanted
    timeout: float
    outputs: frozenset[str]

    @property
    def total(self) -> int:
        return len(self.values) * self.draws


def read(
    given: Mapping[str, NDArray[Any]],
    outputs: Collection[str],
    parameters: Parameters,
    row: RowTensor,
) -> Ask | None:
    """A request that this way is for; None: it is for the other.

    Raises:
        BadRequest: `row` and its states do not agree.
    """
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
    wanted = Wanted(how.get("fidelity", "auto"))
    states = row.states(values, given.get(ROW_STATE))
    timeout = parameters.timeout / 1e6
    return Ask(values, states, draws, how.get("seed"), wanted, timeout, frozenset(outputs))


class Quick:
    """Encodes and decodes batches of them.

    Args:
        row, runtime: of the table.
    """

    def __init__(self, row: RowTensor, runtime: Runtime) -> None:
        self._row, self._runtime = row, runtime
        # For requests that name no seed: nobody can tell whose numbers came from where.
        self._rng = np.random.default_rng()

    def encode(self, asks: Sequence[Ask]) -> tuple[list[Tokens], list[Mask]]:
        """Tokens of each request, and what is known of them: [n, T].

        Raises:
            BadRequest, ValueNotAllowed: a value of one of them is not allowed.
        """
        values = np.concatenate([ask.values for ask in asks])
        states = np.concatenate([ask.states for ask in asks])
        given = self._row.given(values, states)
        encoded = self._row.codec.encode_partial(given, len(values))
        ends = np.cumsum([len(ask.values) for ask in asks])[:-1]
        return np.split(encoded.tokens, ends), np.split(encoded.observed, ends)

    def noise(self, asks: Sequence[Ask]) -> tuple[Noise, list[np.random.Generator]]:
        """Uniform numbers for the student, and what each request's further ones come from."""
        width = self._runtime.student_noise
        rngs = [self._rng if ask.seed is None else stream(ask.seed) for ask in asks]
        if all(ask.seed is None for ask in asks):
            rows = sum(ask.total for ask in asks)
            return self._rng.random((rows, width), np.float32), rngs
        parts = [
            rng.random((ask.total, width), np.float32) for ask, rng in zip(asks, rngs, strict=True)
        ]
        return np.concatenate(parts), rngs

    def decode(
        self, asks: Sequence[Ask], tokens: Tokens, rngs: Sequence[np.random.Generator]
    ) -> list[dict[str, NDArray[Any]]]:
        """Each request's outputs, of the tokens [total, T] that were drawn for all."""
        values = np.concatenate([ask.values.repeat(ask.draws, axis=0) for ask in asks])
        states = np.concatenate([ask.states.repeat(ask.draws, axis=0) for ask in asks])
        # What a NULL's place held is nobody's value.
        values[states == NULL_STATE] = np.nan
        ends = np.cumsum([ask.total for ask in asks]).tolist()
        parts = [slice(end - ask.total, end) for ask, end in zip(asks, ends, strict=True)]
        absent = states == ABSENT_STATE
        seeded = any(ask.seed is not None for ask in asks)

        def uniform(at: int) -> NDArray[np.float64]:
            if not seeded:
                return self._rng.random(len(values))
            # Of those of a request's columns that are missing somewhere, as when it is alone.
            out = np.zeros(len(values))
            for rng, part in zip(rngs, parts, strict=True):
                if absent[part, at].any():
                    out[part] = rng.random(part.stop - part.start)
            return out

        self._row.decode(tokens, values, states, uniform)
        found = {ROW: values, ROW_STATE: states}
        return [
            {name: found[name][part] for name in (ROW, ROW_STATE) if name in ask.outputs}
            for ask, part in zip(asks, parts, strict=True)
        ]
