"""Sampling from the teacher's denoiser in NumPy, shared by training, serving and Triton.

The teacher is an any-order autoregressive model (Hoogeboom et al., "Autoregressive Diffusion
Models", ICLR 2022): one pass of the denoiser draws every missing column given what is known, and a
row is made by keeping the draws of a few columns per pass, in random order. One column per pass is
exact; more columns per pass are faster and treat those columns as independent. Leading columns (see
`TokenLayout`) come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]

# (tokens [n, T], observed [n, T], uniform noise [n, N]) -> drawn [n, T]; N is the sum of the sizes
Denoise = Callable[[Tokens, Mask, Noise], Tokens]
# (tokens [n, T], observed [n, T]) -> log p(token | observed) [n, T], 0 where observed
LogProb = Callable[[Tokens, Mask], NDArray[np.float32]]


class Slots(Protocol):
    """Properties of a row's slots that sampling needs; see `TokenLayout`."""

    @property
    def column(self) -> Sequence[int]:
        """Schema column of each slot."""

    @property
    def leading(self) -> int:
        """Number of first slots whose columns are revealed before all others."""


def teacher_noise_width(sizes: Sequence[int], column_of_slot: Sequence[int]) -> int:
    """Return the uniform numbers per row for `sample_teacher`: one per column for the order, then
    one per token of every slot for the draws (the same in every pass; a slot is kept only once).
    """
    return max(column_of_slot) + 1 + sum(sizes)


def reveal_passes(
    observed: Mask, order: Noise, column_of_slot: Sequence[int], leading: int, steps: int
) -> NDArray[np.int64]:
    """Return which pass reveals each slot.

    Args:
        observed: bool [n, T], what is known before the first pass; equal for a column's slots.
        order: uniform [n, C]; each row reveals its missing columns in increasing order of it, with
            leading columns before all others.
        column_of_slot: the schema column of each of the T slots.
        leading: number of first slots whose columns lead; see `TokenLayout`.
        steps: most passes, >= 1; a row with m missing columns takes min(m, steps) of them.

    Returns:
        int64 [n, T]: a pass, from 0; -1 where observed.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    column = np.asarray(column_of_slot)
    first_slot = np.unique(column, return_index=True)[1]
    missing = ~observed[:, first_slot]
    count = missing.sum(axis=1, keepdims=True)
    # Numbers in [0, 1), which stay distinct and in the same order after one is subtracted.
    key = np.where(missing, order - (first_slot < leading).astype(order.dtype), np.inf)
    rank = np.argsort(np.argsort(key, axis=1, kind="stable"), axis=1, kind="stable")
    passes = np.minimum(count, steps)
    # The pass of rank r of m columns in p passes is floor(r * p / m): sizes differ by at most one.
    revealed_in = rank * passes // np.maximum(count, 1)
    return np.where(missing, revealed_in, -1)[:, column]


class TeacherRows:
    """State of rows between the teacher's passes.

    >>> while not rows.done:
    ...     rows.keep(denoise(*rows.next_pass()))

    Rows of different requests, at different passes, may share a pass of the network: join the
    results of `next_pass` before it, and split its output.

    Attributes:
        tokens: int32 [n, T], as far as they are drawn; observed slots are unchanged.
        passes: total number of passes.
        step: number of passes kept so far.
    """

    def __init__(
        self,
        tokens: Tokens,
        observed: Mask,
        noise: Noise,
        layout: Slots,
        steps: int,
    ) -> None:
        """Start to complete rows.

        Args:
            tokens: int32 [n, T]; read where `observed`.
            observed: bool [n, T].
            noise: uniform float32 [n, C + N], see `teacher_noise_width`.
            layout: of the slots.
            steps: most network passes; at least the number of columns is exact.
        """
        columns = max(layout.column) + 1
        self.tokens: Tokens = np.where(observed, tokens, 0).astype(np.int32)
        self.step = 0
        self._at = reveal_passes(observed, noise[:, :columns], layout.column, layout.leading, steps)
        self.passes = int(self._at.max(initial=-1)) + 1
        self._uniform = np.ascontiguousarray(noise[:, columns:])

    @property
    def done(self) -> bool:
        return self.step == self.passes

    @property
    def pending(self) -> int:
        """Number of rows in the next pass."""
        return len(self._rows())

    def next_pass(self) -> tuple[Tokens, Mask, Noise]:
        """Return the network's inputs for the rows in which the next pass reveals something."""
        known = self._at < self.step
        rows = self._rows()
        if len(rows) == len(self.tokens):
            return self.tokens, known, self._uniform
        return self.tokens[rows], known[rows], self._uniform[rows]

    def keep(self, drawn: Tokens) -> None:
        """Keep the pass's columns of what the network drew for `next_pass`."""
        rows = self._rows()
        reveal = self._at[rows] == self.step
        self.tokens[rows] = np.where(reveal, drawn, self.tokens[rows])
        self.step += 1

    def rest(self) -> tuple[Tokens, NDArray[np.int64], Noise]:
        """Return all remaining work, for a caller that makes every pass itself.

        Returns:
            tokens int32 [n, T]; the pass that reveals each slot, from 0 for the next one, int64 [n,
            T], negative where it is known; uniform noise [n, N].
        """
        return self.tokens, self._at - self.step, self._uniform

    def finish(self, tokens: Tokens) -> None:
        """Take the result of all work from `rest`."""
        self.tokens = tokens
        self.step = self.passes

    def _rows(self) -> NDArray[np.int64]:
        return np.flatnonzero((self._at == self.step).any(axis=1))


def sample_teacher(
    denoise: Denoise,
    tokens: Tokens,
    observed: Mask,
    noise: Noise,
    layout: Slots,
    steps: int,
) -> Tokens:
    """Complete rows with the teacher, pass after pass; see `TeacherRows` for the arguments.

    Returns:
        int32 [n, T]; observed slots are untouched.
    """
    rows = TeacherRows(tokens, observed, noise, layout, steps)
    while not rows.done:
        rows.keep(denoise(*rows.next_pass()))
    return rows.tokens


def log_likelihood(
    log_prob: LogProb, tokens: Tokens, observed: Mask, column_of_slot: Sequence[int]
) -> NDArray[np.float64]:
    """ln p(observed columns) of each row, in nats, by the chain rule in schema order.

    All terms of all rows go through the denoiser as one batch of (row, column) pairs. The value is
    a probability of the row's tokens: a mass for categories and exact values, and for a binned
    number the mass of its fine bin, not a density.

    Args:
        log_prob: scores each slot's token given the observed ones.
        tokens: int32 [n, T].
        observed: bool [n, T].
        column_of_slot: the schema column of each slot.

    Returns:
        float64 [n]; 0 for a row with nothing observed.
    """
    column = np.asarray(column_of_slot)
    first_slot = np.unique(column, return_index=True)[1]
    row, target = np.nonzero(observed[:, first_slot])
    total = np.zeros(len(tokens))
    if len(row) == 0:
        return total
    known = observed[row] & (column[None, :] < target[:, None])
    scored = log_prob(tokens[row], known)
    term = np.where(column[None, :] == target[:, None], scored, 0.0).sum(axis=1, dtype=np.float64)
    np.add.at(total, row, term)
    return total
