"""The tables that benchmarks run on, each split into rows to learn from and rows held out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cascade_tables import (
    ColumnOverride,
    DataError,
    Frame,
    RareRule,
    load_overrides,
    load_rare_rule,
    read_table,
)

ROOT = Path(__file__).resolve().parent.parent

# Tables without a split of their own: a fifth is held out, drawn with this seed.
SPLIT_SEED, TAKEN_SEED = 20_091, 20_092
HELD_OUT = 0.2

BUNDLED: Mapping[str, str] = {"adult": "income", "credit": "default_payment_next_month"}
# Not bundled: looked for in $CASCADE_DATA, else in shared/data beside the project.
ELSEWHERE: Mapping[str, str] = {
    "shoppers": "Revenue",
    "vehicle_claim_fraud": "FraudFound_P",
    "ulb_creditcard_subset": "Class",
    "german_credit": "credit_risk",
    "handbook_transactions": "TX_FRAUD",
}
# Of larger tables so many rows are taken, at random, before any is held out.
MOST_ROWS = 100_000
# Columns that tell the target.
TELLING: Mapping[str, str] = {"handbook_transactions": "TX_FRAUD_SCENARIO"}


class TableMissing(Exception):
    """A table that is not bundled is not where it was looked for."""


@dataclass(frozen=True)
class BenchmarkTable:
    """A table ready to learn from.

    Attributes:
        name: of the table, its run folder and its release.
        train, test: rows to learn from and rows held out.
        target: the column to predict; None: none is named.
        overrides: of the inferred schema.
        rule: what becomes of rare categories.
    """

    name: str
    train: Frame
    test: Frame
    target: str | None
    overrides: Mapping[str, ColumnOverride]
    rule: RareRule = field(default_factory=RareRule)


def split(frame: Frame) -> tuple[Frame, Frame]:
    """The same four fifths and one fifth on every call."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(frame))
    held_out = round(len(frame) * HELD_OUT)
    return frame.take(np.sort(order[held_out:])), frame.take(np.sort(order[:held_out]))


def named(name: str) -> BenchmarkTable:
    """A table by name.

    Raises:
        TableMissing: it is not bundled, and not found; says where it was looked for.
    """
    if name in BUNDLED:
        folder = ROOT / "examples" / name
        train, test = (read_table(folder / f"{part}.parquet") for part in ("train", "test"))
        return BenchmarkTable(name, train, test, BUNDLED[name], {})
    if name not in ELSEWHERE:
        known = ", ".join([*BUNDLED, *ELSEWHERE])
        raise TableMissing(f"unknown table {name!r}; allowed: {known}, or --csv FILE")
    frame, target = whole(name)
    if len(frame) > MOST_ROWS:
        taken = np.random.default_rng(TAKEN_SEED).permutation(len(frame))[:MOST_ROWS]
        frame = frame.take(np.sort(taken))
    train, test = split(frame)
    overrides = {TELLING[name]: ColumnOverride(drop=True)} if name in TELLING else {}
    return BenchmarkTable(name, train, test, target, overrides)


def whole(name: str) -> tuple[Frame, str]:
    """All rows of a table that is not bundled, and the column to predict.

    Raises:
        TableMissing: it is not found; says where it was looked for.
    """
    folder = Path(os.environ.get("CASCADE_DATA") or ROOT.parent / "shared" / "data")
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise TableMissing(f"{name} is not bundled and {path} does not exist; set CASCADE_DATA")
    return read_table(path), ELSEWHERE[name]


def from_file(path: Path, schema: Path | None, target: str | None) -> BenchmarkTable:
    """A table from a CSV or Parquet file.

    Raises:
        DataError, SchemaError: the file or the overrides cannot be read.
    """
    frame = read_table(path)
    if target is not None and target not in frame.columns:
        raise DataError(f"{path} has no column {target!r} to predict")
    train, test = split(frame)
    overrides = load_overrides(schema) if schema is not None else {}
    rule = load_rare_rule(schema) if schema is not None else RareRule()
    return BenchmarkTable(path.stem, train, test, target, overrides, rule)
