"""Held-out rows: which rows they are, and the loss of a network on them.

They are a random part of the table, or a separate file. The split depends only on the table's
length and a seed, so that anyone who has the table can reproduce it: `cascade evaluate` compares
synthetic rows with the training rows and with the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from cascade_tables import CascadeTablesError, Codec, ColumnData, Frame
from cascade_tables.files.table import Stream
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.errors import HeldOutRefused
from cascade_distill.models.teacher import Denoiser, random_observed
from cascade_distill.recipes import MOST_HELD_OUT
from cascade_distill.runs.token_store import TokenWriter

# Rows (each with a mask) per evaluation; a small set of rows is evaluated under several masks.
LOOKED_AT = 2_048
# Rows per forward pass.
PART = 1_024
# Separate these random streams from those of batches and of initialisation.
SPLIT, MASKS = 0x5EED, 0x3A5C


def split(rows: int, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split a table into training and held-out rows; return the indices of each in table order."""
    order = np.random.default_rng([SPLIT, seed]).permutation(rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def encode_learnt(
    codec: Codec, stream: Stream, kept: NDArray[np.int64], writer: TokenWriter
) -> NDArray[np.int32]:
    """Encode a table's rows in parts, and write the training rows in order.

    Args:
        codec: of the table.
        stream: its rows.
        kept: indices of the held-out rows, ascending.
        writer: receives the training rows.

    Returns:
        The held-out rows, int32 [n, T + relations].
    """
    parts = [np.zeros((0, codec.learnable_width), np.int32)]
    begin = 0
    for chunk in stream.chunks():
        tokens = codec.learnable(chunk)
        first, end = np.searchsorted(kept, [begin, begin + len(tokens)])
        here = kept[first:end] - begin
        learnt = np.ones(len(tokens), bool)
        learnt[here] = False
        writer.append(tokens[learnt])
        parts.append(tokens[here])
        begin += len(tokens)
    return np.concatenate(parts)


def encode_file(codec: Codec, frame: Frame, seed: int) -> tuple[NDArray[np.int32], int]:
    """Encode the rows of a validation file; leave out rows with values that the training rows lack.

    Args:
        codec: of the training rows.
        frame: the file; if it has many rows, a random sample is used.
        seed: selects the sample.

    Returns:
        int32 [n, T], and how many rows were left out.

    Raises:
        HeldOutRefused: the file lacks columns, or no row is left.
    """
    if lacking := [name for name in codec.schema.names if name not in frame.columns]:
        raise HeldOutRefused(f"the rows to validate by lack columns: {', '.join(lacking)}")
    if len(frame) > MOST_HELD_OUT:
        frame = frame.take(split(len(frame), MOST_HELD_OUT, seed)[1])
    known = np.ones(len(frame), bool)
    first: CascadeTablesError | None = None
    for name, column in zip(codec.schema.names, codec.columns, strict=True):
        data = frame[name]
        try:
            column.encode(data)
        except CascadeTablesError as exc:
            first = first or exc
            known &= [_is_known(column.encode, data, row) for row in range(len(frame))]
    if not known.any():
        raise HeldOutRefused(f"none of the {len(frame):,} rows to validate by can be used: {first}")
    return codec.learnable(frame.take(np.flatnonzero(known))), int((~known).sum())


def _is_known(encode: Callable[[ColumnData], object], data: ColumnData, row: int) -> bool:
    part = slice(row, row + 1)
    try:
        encode(ColumnData(data.values[part], data.null[part], data.dtype))
    except CascadeTablesError:
        return False
    return True


def held_out_loss(model: Denoiser, tokens: Tensor, seed: int) -> Callable[[], Tensor]:
    """Return a function that computes the model's mean loss on held-out rows, with the same masks
    at each call.

    Args:
        model: the model in training.
        tokens: int64 [n, T + relations] on the model's device.
        seed: of the masks.
    """
    index = torch.arange(max(len(tokens), LOOKED_AT)) % len(tokens)
    generator = torch.Generator().manual_seed(MASKS + seed)
    observed = random_observed(len(index), model.layout, generator).to(tokens.device)
    index = index.to(tokens.device)

    def loss() -> Tensor:
        parts = [
            model.loss(tokens[rows], known) * len(rows)
            for rows, known in zip(index.split(PART), observed.split(PART), strict=True)
        ]
        return torch.stack(parts).sum() / len(index)

    return loss
