"""The specification of a job's rows: a value, its canonical JSON, and the digest of that."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cascade_jobs.errors import SpecificationRefused

# Version of the canonical form, for servers that read the ledgers of older ones.
FORM = 1
TIERS = ("teacher", "student")
FORMATS = ("parquet",)
MOST_SEED = 2**64 - 1

# A cell: None is NULL; a date-time is microseconds since 1970-01-01 UTC.
Cell: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Balance:
    """How many rows each value of a column is to get.

    Attributes:
        column: the column's name.
        counts: pairs of a value and its number of rows, in the order of the rows.
    """

    column: str
    counts: tuple[tuple[Cell, int], ...]

    @property
    def rows(self) -> int:
        """Rows of the whole job: those of all values together."""
        return sum(rows for _, rows in self.counts)


@dataclass(frozen=True)
class Specification:
    """Which rows a job makes, and where they go. Equal specifications give equal rows, to the byte.

    Attributes:
        table, version: the release that draws them.
        release: digest of the release's files, since a version may be replaced.
        tier: the model that draws, `teacher` or `student`.
        rows: how many rows.
        seed: of all random numbers.
        seed_given: whether the caller named the seed.
        columns: the columns to write, in this order.
        given: values that all rows share, by column.
        balance: how many rows each value of one column gets; None: that is drawn.
        conditions: digest of rows to complete, which are kept beside the specification; empty:
            whole rows are drawn.
        draws: how many times each of these rows is completed.
        output: a folder or URL; empty: the server's own folder for results.
        format: of the files.
    """

    table: str
    version: int
    release: str
    tier: str
    rows: int
    seed: int
    seed_given: bool
    columns: tuple[str, ...]
    given: Mapping[str, Cell] = field(default_factory=dict)
    balance: Balance | None = None
    conditions: str = ""
    draws: int = 1
    output: str = ""
    format: str = "parquet"

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise SpecificationRefused(f"tier is {self.tier!r}; allowed: {', '.join(TIERS)}")
        if self.format not in FORMATS:
            raise SpecificationRefused(f"format is {self.format!r}; allowed: {', '.join(FORMATS)}")
        if not 0 <= self.seed <= MOST_SEED:
            raise SpecificationRefused(f"seed is {self.seed}; allowed: 0 to {MOST_SEED}")
        if self.rows < 1:
            raise SpecificationRefused(f"rows is {self.rows:,}; allowed: 1 or more")
        if self.balance is not None and self.balance.rows != self.rows:
            raise SpecificationRefused(
                f"rows is {self.rows:,}, but balance has {self.balance.rows:,}"
            )

    @property
    def by_teacher(self) -> bool:
        """Whether the teacher draws the rows."""
        return self.tier == "teacher"

    def to_json(self) -> str:
        """The canonical form: equal for equal specifications, whoever writes it."""
        content = {
            "form": FORM,
            "table": self.table,
            "version": self.version,
            "release": self.release,
            "tier": self.tier,
            "rows": self.rows,
            "seed": self.seed,
            "seed_given": self.seed_given,
            "columns": list(self.columns),
            "given": dict(self.given),
            "balance": None
            if self.balance is None
            else {"column": self.balance.column, "counts": [list(e) for e in self.balance.counts]},
            "conditions": self.conditions,
            "draws": self.draws,
            "output": self.output,
            "format": self.format,
        }
        return canonical(content)

    @classmethod
    def from_json(cls, text: str) -> Specification:
        """Restore the output of `to_json`.

        Raises:
            SpecificationRefused: it is invalid, or of a newer form.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if content.pop("form") != FORM:
                raise SpecificationRefused("the job was written by a newer server; run that one")
            balance = content.pop("balance")
            if balance is not None:
                counts = tuple((value, rows) for value, rows in balance["counts"])
                balance = Balance(balance["column"], counts)
            columns = tuple(content.pop("columns"))
            return cls(columns=columns, balance=balance, **content)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            raise SpecificationRefused(f"this is no job's specification: {exc!r}") from exc

    @property
    def digest(self) -> str:
        """Digest that identifies equal requests.

        A seed that the caller did not name is not part of it, so that a repeated request may return
        the existing rows.
        """
        content = json.loads(self.to_json())
        if not self.seed_given:
            content["seed"] = None
        return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """A value as JSON that is the same for equal values.

    Raises:
        SpecificationRefused: a number is none.
    """
    try:
        return json.dumps(
            content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except ValueError as exc:
        raise SpecificationRefused("a value is NaN or infinite; allowed: finite numbers") from exc


def shared_out(rows: int, weights: Mapping[Cell, float]) -> tuple[tuple[Cell, int], ...]:
    """Whole rows in proportion to weights, which add up to `rows`; what is left over goes to the
    largest remainders, of equal ones to the first (the method of Hare and Niemeyer).

    Args:
        rows: to share out.
        weights: by value, none below 0 and not all 0; only their proportions matter.
    """
    # By a power of two, which changes no digit, so that neither sum nor product is too large.
    _, exponent = math.frexp(max(weights.values()))
    scaled = [math.ldexp(weight, -exponent) for weight in weights.values()]
    total = sum(scaled)
    exact = [rows * weight / total for weight in scaled]
    counts = [int(each) for each in exact]
    order = sorted(range(len(exact)), key=lambda at: (counts[at] - exact[at], at))
    for at in order[: rows - sum(counts)]:
        counts[at] += 1
    return tuple(zip(weights, counts, strict=True))
