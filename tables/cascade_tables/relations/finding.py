"""Find the exact relations between a table's numbers and dates.

Candidates come from a sample of the rows (see `candidates`), are held against chance in it (see
`chance`), freed of what follows from others (see `redundancy`), and confirmed by rows held out.
The sample bounds the time, whatever the table's length: O(n·C²) for pairs of C columns in n = 4,096
rows, O(C² log C) for sums in each of some 700 rows, and O(n) for each candidate that is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_tables.errors import SchemaError, shown
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.overrides import RelationOverride, Wish
from cascade_tables.relation import UNITS, Formula, Relation
from cascade_tables.relations import candidates
from cascade_tables.relations.chance import FEWEST_ROWS, LEAST_SHARE, Term, is_relation
from cascade_tables.relations.measuring import measure_formula
from cascade_tables.relations.redundancy import Candidate, listed
from cascade_tables.relations.whole import as_whole, decimals_of
from cascade_tables.schema import Kind, Schema

# Rows that are searched.
SAMPLE_ROWS = 4096
# Held out, where the caller holds none out: so much of the rows, and at most so many.
HELD_OUT_SHARE, MOST_HELD_OUT = 0.2, 20_000
# Rows by which shares are measured: of more the share is known to a tenth of a point.
MOST_MEASURED = 500_000
# Values that this share of the rows have say little of a single row.
HEAPED_SHARE = 0.005
# Relations that are listed.
MOST_LISTED = 200
# Date columns of which differences are compared with numbers, and the rows for that.
MOST_DATES, DATE_ROWS = 24, 1024
# A relation is confirmed if it holds in this share of the held-out rows that it should hold in,
# less so many, since few rows vary.
CONFIRMED, SLACK = 0.5, 2


def find_relations(
    frame: Frame,
    schema: Schema,
    overrides: Sequence[RelationOverride] = (),
    held_out: Frame | None = None,
    seed: int = 0,
) -> tuple[Relation, ...]:
    """The exact relations between the numbers and dates of a table, the most frequent first.

    Equal columns, sums and differences of three or four, differences of dates that are a number of
    days, hours, minutes or seconds, or that equal each other. One that holds in a share of the rows
    counts if that share is far beyond chance; what follows from others is left out.

    Args:
        frame: the rows to learn from.
        schema: of the table; only its columns are looked at.
        overrides: which to list whatever is found, and which to leave out. What is left out implies
            nothing.
        held_out: rows that confirm what was found; None: some of `frame` are held out for that.
        seed: of the rows that are looked at; equal seeds find the same.

    Raises:
        UnknownColumn: a table lacks a column of the schema, or an override names a column that the
            schema lacks.
        SchemaError: an override contradicts the schema, or declares what holds in no row or what
            real numbers without a last decimal add up to.
    """
    for override in overrides:
        schema.check_formula(override.formula)
    refused = {each.formula.key for each in overrides if each.wish is Wish.REFUSED}
    wanted = {each.formula.key: each.formula for each in overrides if each.wish is Wish.DECLARED}
    rng = np.random.default_rng(seed)
    numeric = [column.name for column in schema.columns if column.kind.is_number]
    rows = _Rows.of(frame.select(numeric), held_out, rng)
    if len(numeric) < 2 or len(rows.sample) == 0 or len(rows.held_out) == 0:
        return ()
    relations = {
        relation.formula.key: replace(relation, declared=relation.formula.key in wanted)
        for relation in _confirmed(rows, schema, refused, rng)
    }
    for key, formula in wanted.items():
        if key not in relations:
            ordered = Formula.of_signs(formula.signs, schema.names, formula.unit)
            relations[key] = replace(rows.measured(ordered), declared=True)
            if relations[key].share == 0:
                raise SchemaError(
                    f"relation {shown(str(formula))} is declared, but holds in none of the "
                    f"{len(rows.learnt):,} rows (zeros and NULLs do not count)"
                )
    return tuple(sorted(relations.values(), key=lambda each: (not each.always, -each.share)))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a table by what they are for.

    Attributes:
        sample: are searched.
        learnt: have the shares: all rows, or some of very many.
        held_out: confirm.
        decimals: by column, of the sample.
    """

    sample: Frame
    learnt: Frame
    held_out: Frame
    decimals: Mapping[str, int | None]

    @classmethod
    def of(cls, frame: Frame, held_out: Frame | None, rng: np.random.Generator) -> _Rows:
        order, away = rng.permutation(len(frame)), 0
        if held_out is None:
            away = min(round(HELD_OUT_SHARE * len(frame)), MOST_HELD_OUT)
            held_out = frame.take(order[:away])
        sample = frame.take(np.sort(order[away : away + SAMPLE_ROWS]))
        few = len(frame) <= MOST_MEASURED
        learnt = frame if few else frame.take(np.sort(order[:MOST_MEASURED]))
        decimals = {name: decimals_of(data) for name, data in sample.columns.items()}
        return cls(sample, learnt, held_out, decimals)

    def measured(self, formula: Formula) -> Relation:
        """A formula with its shares."""
        digits = [self.decimals[name] for name in formula.columns]
        most = None if None in digits else max(each for each in digits if each is not None)
        here, there = (measure_formula(formula, most, f) for f in (self.learnt, self.held_out))
        return Relation(
            formula,
            most,
            share=round(here.share, 6),
            held_out_share=round(there.share, 6),
            always=here.violations == there.violations == 0,
        )


def _confirmed(
    rows: _Rows, schema: Schema, refused: Collection[tuple[object, ...]], rng: np.random.Generator
) -> Iterator[Relation]:
    """What is found in the sample, and holds in the rows held out too."""
    found = _beyond_chance(rows.sample, schema, rows.decimals, rng)
    least = max(min(FEWEST_ROWS.values()), round(LEAST_SHARE * len(rows.sample)))
    found = [each for each in found if each.formula.key not in refused]
    zeros = {name: _is_zero(data) for name, data in rows.sample.columns.items()}
    for candidate in listed(found, zeros, least, MOST_LISTED):
        relation = rows.measured(candidate.formula)
        expected = candidate.counts.mean() * len(rows.held_out)
        if relation.held_out_share * len(rows.held_out) >= max(1, CONFIRMED * expected - SLACK):
            yield relation


def _is_zero(data: ColumnData) -> NDArray[np.bool_]:
    """bool [n]: where a number is zero; no date is."""
    if data.values.dtype.kind == "M":
        return np.zeros(len(data), bool)
    return np.asarray(~data.null & (data.values == 0))


@dataclass(frozen=True, eq=False)
class _Space:
    """Columns of equal units among which sums are looked for.

    Attributes:
        terms: the columns in a sample.
        values, known: int64 and bool [n, C].
        dates: whether they are date-times.
    """

    terms: list[Term]
    values: NDArray[np.int64]
    known: NDArray[np.bool_]
    dates: bool

    @classmethod
    def of(cls, terms: list[Term], dates: bool = False) -> _Space:
        return cls(
            terms,
            np.stack([term.whole.values for term in terms], axis=1),
            np.stack([term.whole.known for term in terms], axis=1),
            dates,
        )

    def present(self) -> NDArray[np.bool_]:
        """bool [n, C]: where a value is there that is no zero; dates have none."""
        return self.known if self.dates else self.known & (self.values != 0)

    def informative(self) -> NDArray[np.bool_]:
        """bool [n, C]: where it is also one that few rows have."""
        out = self.present()
        for index in range(self.values.shape[1]):
            _, place, counts = np.unique(
                self.values[:, index], return_inverse=True, return_counts=True
            )
            out[:, index] &= counts[place] <= max(1, HEAPED_SHARE * len(out))
        return out


def _beyond_chance(
    sample: Frame, schema: Schema, decimals: Mapping[str, int | None], rng: np.random.Generator
) -> list[Candidate]:
    """Formulas that hold in the sample more often than chance has it, each once."""
    numeric = list(sample.columns)
    dates = [name for name in numeric if schema[name].kind is Kind.DATETIME]
    exact = [name for name in numeric if name not in dates and decimals[name] is not None]
    endless = [name for name in numeric if decimals[name] is None]
    most = max((decimals[name] or 0 for name in exact), default=0)

    def space(names: Sequence[str], digits: int | None, of_dates: bool = False) -> _Space | None:
        if len(names) < 2:
            return None
        terms = [Term.of(name, as_whole(sample[name], digits), of_dates, rng) for name in names]
        return _Space.of(terms, of_dates)

    fewest = max(FEWEST_ROWS[2], round(LEAST_SHARE * len(sample)))
    found: dict[tuple[object, ...], Candidate] = {}

    def judge(terms: Sequence[Term], signs: Sequence[int], unit: str | None = None) -> None:
        if (candidate := _judged(terms, signs, schema.names, unit)) is not None:
            found.setdefault(candidate.formula.key, candidate)

    for names, digits, of_dates in (
        (exact, most, False),
        (endless, None, False),
        (dates, 0, True),
    ):
        here = space(names, digits, of_dates)
        if here is None:
            continue
        signed = candidates.pairs(here.values, here.present(), fewest)
        if digits is not None:
            informative = here.informative()
            signed += candidates.sums(here.values, here.known, informative, rng, not of_dates)
        for each in signed:
            judge([here.terms[index] for index, _ in each], [sign for _, sign in each])
    for terms, signs, unit in _durations(sample, dates[:MOST_DATES], exact, decimals, rng):
        judge(terms, signs, unit)
    return list(found.values())


def _judged(
    terms: Sequence[Term], signs: Sequence[int], order: Sequence[str], unit: str | None
) -> Candidate | None:
    result = is_relation(terms, signs)
    if result is None:
        return None
    formula = Formula.of_signs(
        {term.column: sign for term, sign in zip(terms, signs, strict=True)}, order, unit
    )
    factors = {
        term.column: sign * (1 if unit is None or term.date else UNITS[unit])
        for term, sign in zip(terms, signs, strict=True)
    }
    return Candidate(formula, factors, result.holds, result.counts)


def _durations(
    sample: Frame,
    dates: Sequence[str],
    numbers: Sequence[str],
    decimals: Mapping[str, int | None],
    rng: np.random.Generator,
) -> Iterator[tuple[list[Term], list[int], str]]:
    """Two dates and a number that is the time between them in some of the rows."""
    if len(dates) < 2 or not numbers:
        return
    ends = [Term.of(name, as_whole(sample[name], 0), True, rng) for name in dates]
    few = slice(0, DATE_ROWS)
    fewest = max(2, round(LEAST_SHARE * min(DATE_ROWS, len(sample))))
    for unit, micros in UNITS.items():
        wholes = [as_whole(sample[name], decimals[name], micros) for name in numbers]
        values = np.stack([whole.values[few] for whole in wholes], axis=1)
        known = np.stack([whole.known[few] for whole in wholes], axis=1) & (values != 0)
        for index, end in enumerate(ends):
            for begin in ends[:index]:
                apart = (end.whole.values - begin.whole.values)[few, None]
                both = (end.whole.known & begin.whole.known)[few, None] & known
                for sign in (1, -1):
                    counts = ((values == sign * apart) & both).sum(axis=0)
                    for place in np.flatnonzero(counts >= fewest).tolist():
                        number = Term.of(numbers[place], wholes[place], False, rng)
                        yield [end, begin, number], [1, -1, -sign], unit
