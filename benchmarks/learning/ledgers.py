"""Made-up ledgers, whose exact relations are known because they were put there.

Each has relations that always hold and ones that hold in some of the rows, amounts that many rows
share, zeros, and a generator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from cascade_tables import Formula, Frame
from numpy.typing import NDArray

ROWS, HELD_OUT_ROWS = 20_000, 5_000
Cents = NDArray[np.int64]
Made = tuple[pd.DataFrame, tuple[str, ...]]


@dataclass(frozen=True)
class Ledger:
    """A made-up table.

    Attributes:
        name: of the table.
        train, test: rows to learn from and rows held out, of one distribution.
        planted: the relations that were put there.
    """

    name: str
    train: Frame
    test: Frame
    planted: tuple[Formula, ...]


def ledger(name: str) -> Ledger:
    """One of `MAKERS`, the same rows on every call."""
    make, seed = MAKERS[name]
    rows, planted = make(np.random.default_rng(seed), ROWS + HELD_OUT_ROWS)
    frame = Frame.from_pandas(rows)
    every = np.arange(len(frame))
    return Ledger(
        name,
        frame.take(every[:ROWS]),
        frame.take(every[ROWS:]),
        tuple(map(Formula.parse, planted)),
    )


def accounts(rng: np.random.Generator, rows: int) -> Made:
    """Balances: deposits, withdrawals, and frauds that take all there is."""
    before, amount = amounts(rng, rows, zeros=0.1), amounts(rng, rows)
    kind = rng.choice(["deposit", "withdrawal", "fraud", "other"], rows, p=[0.4, 0.45, 0.04, 0.11])
    before = np.where((kind == "withdrawal") & (before < amount), before + amount, before)
    before = np.where((kind == "fraud") & (before == 0), amount, before)
    amount = np.where(kind == "fraud", before, amount)
    after = np.select(
        [kind == "deposit", kind == "withdrawal", kind == "fraud"],
        [before + amount, before - amount, 0],
        amounts(rng, rows),
    )
    table = {"kind": kind, "amount": amount / 100, "before": before / 100, "after": after / 100}
    return pd.DataFrame(table), (
        "after = before + amount",
        "after = before - amount",
        "amount = before",
    )


def bills(rng: np.random.Generator, rows: int) -> Made:
    """Copies: what was billed is paid, in part of the rows, and a bill comes again."""
    limit = rng.choice([50_000, 100_000, 200_000, 500_000], rows)
    june = np.minimum(amounts(rng, rows, zeros=0.15) // 10, limit)
    july = np.where(rng.random(rows) < 0.08, june, np.minimum(amounts(rng, rows) // 10, limit))
    paid = np.where(
        rng.random(rows) < 0.3, june, (june * rng.choice([0.05, 0.1, 0.5], rows)).astype(int)
    )
    due = np.where(rng.random(rows) < 0.6, july, july // 20)
    table = {"limit": limit, "june": june, "july": july, "paid": paid, "due": due}
    return pd.DataFrame(table), ("june = july", "june = paid", "july = due")


def claims(rng: np.random.Generator, rows: int) -> Made:
    """Sums: parts of a claim are its total, always, and what is paid is the total or less."""
    injury, property_, vehicle = (amounts(rng, rows, zeros=0.2) for _ in range(3))
    injury = np.where(injury + property_ + vehicle == 0, 100, injury)
    total = injury + property_ + vehicle
    deductible = rng.choice([10_000, 25_050, 50_000, 100_000], rows)
    how = rng.choice(["full", "less", "other"], rows, p=[0.4, 0.45, 0.15])
    paid = np.select(
        [how == "full", how == "less"], [total, total - deductible], amounts(rng, rows)
    )
    table = {
        "total": total / 100,
        "injury": injury / 100,
        "property": property_ / 100,
        "vehicle": vehicle / 100,
        "deductible": deductible / 100,
        "paid": paid / 100,
    }
    return pd.DataFrame(table), (
        "total = injury + property + vehicle",
        "total = paid",
        "paid = total - deductible",
    )


def orders(rng: np.random.Generator, rows: int) -> Made:
    """Dates that follow one another: sent so many days after the order, paid on one of the days."""
    ordered = np.datetime64("2024-01-01") + rng.integers(0, 700, rows)
    handling = rng.integers(1, 200, rows)
    sent = ordered + handling
    arrived = sent + rng.integers(1, 60, rows)
    when = rng.random(rows)
    paid = np.select(
        [when < 0.3, when < 0.5], [ordered, arrived], ordered + rng.integers(1, 400, rows)
    )
    price, tax = amounts(rng, rows), amounts(rng, rows) // 5
    charged = np.where(rng.random(rows) < 0.9, price + tax, price)
    table = {
        "ordered": ordered,
        "handling": handling,
        "sent": sent,
        "arrived": arrived,
        "paid": paid,
        "price": price / 100,
        "tax": tax / 100,
        "charged": charged / 100,
    }
    return pd.DataFrame(table), (
        "sent = ordered + handling in days",
        "ordered = paid",
        "arrived = paid",
        "charged = price + tax",
        "price = charged",
    )


def amounts(rng: np.random.Generator, rows: int, zeros: float = 0.0) -> Cents:
    """Cents of several sizes: some rows share a round amount, a share of them is zero."""
    cents = np.round(np.exp(rng.normal(10, 1.3, rows))).astype(np.int64)
    common = rng.choice(np.array([999, 1000, 5000, 10_000, 50_000]), rows)
    cents = np.where(rng.random(rows) < 0.12, common, cents)
    return np.where(rng.random(rows) < zeros, 0, cents)


# Each ledger and the seed of its generator.
MAKERS: Mapping[str, tuple[Callable[[np.random.Generator, int], Made], int]] = {
    "accounts": (accounts, 101),
    "bills": (bills, 102),
    "claims": (claims, 103),
    "orders": (orders, 104),
}
