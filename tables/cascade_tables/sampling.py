"""Sampling from the teacher's denoiser, in NumPy, so that training, serving and Triton share it.

The teacher is an any-order autoregressive model (Hoogeboom et al., "Autoregressive Diffusion
Models", ICLR 2022): one pass of the denoiser gives a draw of every missing column given what is
known, and a row is made by keeping the draws of a few columns a pass, in random order. One column
a pass is exact; more columns a pass are faster and treat those columns as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]

# (tokens [n, T], observed [n, T], uniform noise [n, N]) -> drawn [n, T]; N is the sum of the sizes
Denoise = Callable[[Tokens, Mask, Noise], Tokens]
# (tokens [n, T], observed [n, T]) -> log p(token | observed) [n, T], 0 where observed
LogProb = Callable[[Tokens, Mask], NDArray[np.float32]]


def teacher_noise_width(sizes: Sequence[int], column_of_slot: Sequence[int]) -> int:
    """Uniform numbers a row that `sample_teacher` takes: one a column for the order, then one a
    token of every slot for the draws (the same in every pass; a slot is drawn for good once)."""
    return max(column_of_slot) + 1 + sum(sizes)


def reveal_schedule(
    observed: Mask, order: Noise, column_of_slot: Sequence[int], steps: int
) -> Iterator[Mask]:
    """Which slots each pass reveals.

    Args:
        observed: bool [n, T], what is known before the first pass; a column's slots agree.
        order: uniform [n, C]; each row reveals its missing columns in increasing order of it.
        column_of_slot: the schema column of each of the T slots.
        steps: passes at most, >= 1; a row with m missing columns takes min(m, steps) of them.

    Yields:
        bool [n, T] a pass; over all passes each missing slot is revealed exactly once.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    column = np.asarray(column_of_slot)
    first_slot = np.unique(column, return_index=True)[1]
    missing = ~observed[:, first_slot]
    count = missing.sum(axis=1, keepdims=True)
    key = np.where(missing, order, np.inf)
    rank = np.argsort(np.argsort(key, axis=1, kind="stable"), axis=1, kind="stable")
    passes = np.minimum(count, steps)
    # The pass of rank r of m columns in p passes is floor(r * p / m): sizes differ by at most one.
    at = rank * passes // np.maximum(count, 1)
    at = np.where(missing, at, -1)[:, column]
    for step in range(int(passes.max(initial=0))):
        yield at == step


def sample_teacher(
    denoise: Denoise,
    tokens: Tokens,
    observed: Mask,
    noise: Noise,
    column_of_slot: Sequence[int],
    steps: int,
    before_pass: Callable[[int], None] | None = None,
) -> Tokens:
    """Complete rows with the teacher.

    Args:
        denoise: one pass of the network with its draw.
        tokens: int32 [n, T]; read where `observed`.
        observed: bool [n, T].
        noise: uniform float32 [n, C + N], see `teacher_noise_width`.
        column_of_slot: the schema column of each slot.
        steps: network passes at most; at least the number of columns is exact.
        before_pass: called with each pass's index; may raise to stop (a deadline, a caller gone).

    Returns:
        int32 [n, T]; observed slots are untouched.
    """
    columns = max(column_of_slot) + 1
    drawn = np.where(observed, tokens, 0).astype(np.int32)
    known = observed.copy()
    uniform = np.ascontiguousarray(noise[:, columns:])
    schedule = reveal_schedule(observed, noise[:, :columns], column_of_slot, steps)
    for step, reveal in enumerate(schedule):
        if before_pass is not None:
            before_pass(step)
        # Rows that are done already ride along only while few are.
        rows = np.flatnonzero(reveal.any(axis=1))
        if len(rows) == len(drawn):
            drawn = np.where(reveal, denoise(drawn, known, uniform), drawn)
        else:
            part = denoise(drawn[rows], known[rows], uniform[rows])
            drawn[rows] = np.where(reveal[rows], part, drawn[rows])
        known |= reveal
    return drawn


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
