"""In how many rows exact relations between numbers hold: real, held-out and synthetic ones.

    python -m benchmarks.relations
    python -m benchmarks.relations --table claims --learn --steps 2000

The tables are credit, from its release, and the four made-up ledgers of `ledgers`, from their run
folders if they have been learnt (--learn does). Of each tier that there is, rows are drawn with
nothing given, and with a third of the columns of real rows given, other ones in each row. A row
counts where a relation holds and says something: zeros and NULLs do not.

The last line is one JSON object: worst_gap_points, the largest difference of a synthetic share to
the real one in points, among all relations and tiers; violations, the synthetic rows that
contradict a relation which always holds (null where no table that has one was drawn);
held_out_gap_points, the largest difference of held-out rows, which is what chance alone makes;
missed, planted relations that were not found; and under "tables" the shares of each relation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cascade_distill.runs.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler, complete_rows
from cascade_tables import (
    CascadeTablesError,
    Codec,
    Formula,
    Frame,
    Outcome,
    Relation,
    find_relations,
    infer_schema,
    measure_formula,
)
from rich.console import Console
from rich.table import Table

from benchmarks.learning.fidelity import Learnt, learn, released
from benchmarks.learning.ledgers import MAKERS, ledger
from benchmarks.tables import ROOT, BenchmarkTable, named

TIERS = ("teacher", "student")
GIVEN_SHARE = 1 / 3
CREDIT = "credit"
console = Console(stderr=True, width=140)


@dataclass
class Measured:
    """What was found in one table.

    Attributes:
        relations: the shares of each relation by where the rows are from, such as "real",
            "held_out", "student", "student_given".
        always: how many of them always hold.
        violations: of those, by where the rows are from.
        missed: planted relations that were not found.
    """

    relations: dict[str, dict[str, float]] = field(default_factory=dict)
    always: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def gaps(self, drawn: bool) -> Iterator[float]:
        """Differences to the real share, in points: of drawn rows, or of held-out ones."""
        for shares in self.relations.values():
            for source, share in shares.items():
                if source != "real" and (source != "held_out") == drawn:
                    yield 100 * abs(share - shares["real"])


def measure(
    table: BenchmarkTable,
    planted: tuple[Formula, ...],
    tiers: Mapping[str, Learnt],
    rows: int,
    threads: int,
) -> Measured:
    """Find a table's relations, draw rows of each tier, and measure them in all."""
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    found = find_relations(table.train, schema, held_out=table.test)
    keys = {relation.formula.key for relation in found}
    out = Measured(
        always=sum(relation.always for relation in found),
        missed=[str(each) for each in planted if each.key not in keys],
    )
    _measure(out, found, "real", table.train)
    _measure(out, found, "held_out", table.test)
    for tier, learnt in tiers.items():
        console.print(f"{table.name}: drawing {rows:,} rows of the {tier}, twice")
        sampler: StudentSampler | TeacherSampler
        if tier == "student":
            sampler = StudentSampler(learnt.model, learnt.codec.layout, threads)
        else:
            sampler = TeacherSampler(learnt.model, learnt.codec.layout, threads)
        for source, share in ((tier, 0.0), (f"{tier}_given", GIVEN_SHARE)):
            drawn = completed(sampler, learnt.codec, table.train, rows, share)
            _measure(out, found, source, drawn)
    return out


def _measure(out: Measured, relations: tuple[Relation, ...], source: str, rows: Frame) -> None:
    out.violations[source] = 0
    for relation in relations:
        result: Outcome = measure_formula(relation.formula, relation.decimals, rows)
        shares = out.relations.setdefault(str(relation.formula), {})
        shares[source] = round(result.share, 5)
        if relation.always:
            out.violations[source] += result.violations


def completed(
    sampler: StudentSampler | TeacherSampler,
    codec: Codec,
    real: Frame,
    rows: int,
    share: float,
    seed: int = 0,
) -> Frame:
    """Real rows of which each column is kept with the chance `share`, and the rest drawn anew."""
    rng = np.random.default_rng(seed)
    names = list(codec.schema.names)
    picked = real.select(names).take(rng.permutation(len(real))[:rows])
    given = rng.random((len(picked), len(names))) < share
    return complete_rows(sampler, codec, picked, given, rng)


def tiers_of(table: BenchmarkTable, options: argparse.Namespace) -> dict[str, Learnt]:
    """Both tiers of a table's release, or of its run folder where there is one."""
    out: dict[str, Learnt] = {}
    for tier in TIERS:
        here = released(table, tier) or _learnt(table, options.runs, tier)
        if here is None and options.learn:
            here = learn(
                table, tier, options.runs, options.threads, options.steps, options.teacher_rows
            )
        if here is not None:
            out[tier] = here
    if not out:
        console.print(f"{table.name} has not been learnt: only its real rows are measured")
    return out


def _learnt(table: BenchmarkTable, runs: Path, tier: str) -> Learnt | None:
    """A finished tier of a run folder that holds the same columns."""
    run = Run(runs / table.name)
    if not run.path(f"{tier}.onnx").exists():
        return None
    codec = run.codec()
    if codec.schema.columns != infer_schema(table.train, table.overrides, rule=table.rule).columns:
        return None
    return Learnt(codec, run.path(f"{tier}.onnx").read_bytes(), 0.0)


def show(name: str, measured: Measured) -> None:
    """The shares in per cent, one line a relation."""
    sources = list(measured.violations)
    table = Table(name, *sources, box=None)
    for formula, shares in measured.relations.items():
        table.add_row(formula, *(f"{100 * shares[source]:.2f}" for source in sources))
    table.add_row("violations", *(f"{count:,}" for count in measured.violations.values()))
    console.print(table)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relations", description=(__doc__ or "").partition("\n")[0]
    )
    every = [CREDIT, *MAKERS]
    parser.add_argument("--table", choices=every, action="append", help="all by default")
    parser.add_argument("--rows", type=int, default=10_000, help="synthetic rows a tier")
    parser.add_argument("--learn", action="store_true", help="learn what has not been learnt")
    parser.add_argument("--steps", type=int, help="training steps, instead of the recipe's")
    parser.add_argument("--teacher-rows", type=int, help="that a student learns from, likewise")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    tables: dict[str, Measured] = {}
    try:
        for name in options.table or every:
            planted: tuple[Formula, ...] = ()
            if name == CREDIT:
                table = named(CREDIT)
            else:
                made = ledger(name)
                table, planted = BenchmarkTable(name, made.train, made.test, None, {}), made.planted
            tiers = tiers_of(table, options)
            tables[name] = measure(table, planted, tiers, options.rows, options.threads)
            show(name, tables[name])
    except CascadeTablesError as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(summary(tables) | {"seconds": round(time.monotonic() - began, 1)}))


def summary(tables: Mapping[str, Measured]) -> dict[str, Any]:
    """What the last line says; worst_gap_points is None where no rows were drawn, and violations
    where none were of a table with a relation that always holds."""
    drawn = [gap for each in tables.values() for gap in each.gaps(drawn=True)]
    held_out = [gap for each in tables.values() for gap in each.gaps(drawn=False)]
    real = ("real", "held_out")
    violations = [
        count
        for each in tables.values()
        for source, count in each.violations.items()
        if each.always and source not in real
    ]
    return {
        "worst_gap_points": round(max(drawn), 2) if drawn else None,
        "violations": sum(violations) if violations else None,
        "held_out_gap_points": round(max(held_out, default=0.0), 2),
        "missed": sum(len(each.missed) for each in tables.values()),
        "tables": {
            name: {
                "relations": each.relations,
                "violations": {s: c for s, c in each.violations.items() if s not in real},
                "missed": each.missed,
            }
            for name, each in tables.items()
        },
    }


if __name__ == "__main__":
    main()
