"""Layouts and networks of real size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from cascade_tables import Codec, infer_schema, read_table
from numpy.typing import NDArray

from tests import ledgers
from tests.distill import bills as made_up_bills

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Encoded:
    """A bundled table as tokens int64 [n, T], and its codec."""

    codec: Codec
    tokens: torch.Tensor

    def masked(self, rows: int, seed: int) -> tuple[torch.Tensor, NDArray[np.bool_]]:
        """Random rows, and masks in which each column of a row is observed with its own luck."""
        rng = np.random.default_rng(seed)
        picked = torch.from_numpy(rng.integers(0, len(self.tokens), rows))
        columns = len(self.codec.schema.columns)
        known = rng.random((rows, columns)) < rng.random((rows, 1))
        return self.tokens[picked], known[:, list(self.codec.layout.column)]


def encoded(table: str) -> Encoded:
    frame = read_table(EXAMPLES / table / "train.parquet")
    codec = Codec.fit(infer_schema(frame), frame)
    return Encoded(codec, torch.from_numpy(codec.encode(frame)).long())


@pytest.fixture(scope="session")
def adult() -> Encoded:
    return encoded("adult")


@pytest.fixture(scope="session")
def credit() -> Encoded:
    return encoded("credit")


@pytest.fixture(scope="session")
def claims() -> Encoded:
    """A made-up ledger, whose relations have marks."""
    codec = ledgers.codec()
    return Encoded(codec, torch.from_numpy(codec.encode(ledgers.claims())).long())


@pytest.fixture(scope="session")
def bills() -> Encoded:
    """A made-up table of numbers that are told of others, and one that is not."""
    frame = made_up_bills.bills()
    codec = Codec.fit(infer_schema(frame), frame)
    return Encoded(codec, torch.from_numpy(codec.encode(frame)).long())
