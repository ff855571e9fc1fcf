"""Whether rows that nothing was learnt from are answered, whatever values they have.

    python -m benchmarks.outside

Each bundled table's held-out rows are asked of the default server, some features of each row late:
all of them in one request, then one by one those that have a value which was never learnt, and as
many others. The last line is one JSON object: answered_share (rows that came back with all that was
given as it was given, and with a value for each feature that was late, over rows asked), refused
(requests that were), and, by table, rows, outside (values that were never learnt, by column and
kind) and strictly_refused (whether the one request of all rows is refused with `strict`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cascade_client import Client, InvalidRequest, Provenance
from cascade_loadtest.servers import default_server, serving
from cascade_tables import list_releases
from rich.console import Console

from benchmarks.tables import BUNDLED, ROOT, named

console = Console(stderr=True, highlight=False)
# Seconds for a request of all rows.
PATIENCE = 120.0
Row = Mapping[str, Any]


@dataclass
class Outcome:
    """What became of rows.

    Attributes:
        asked, answered: rows; the latter with all that was given as it was.
        refused: requests.
    """

    asked: int = 0
    answered: int = 0
    refused: int = 0
    provenance: list[Provenance] = field(default_factory=list)


def with_late_features(rows: Sequence[Row], late: int, seed: int) -> list[dict[str, Any]]:
    """Rows without some of their columns, others in each row."""
    rng = np.random.default_rng(seed)
    out = []
    for row in rows:
        names = list(row)
        gone = {names[at] for at in rng.choice(len(names), late, replace=False).tolist()}
        out.append({name: value for name, value in row.items() if name not in gone})
    return out


def is_whole(given: Row, answer: Row, never_null: frozenset[str]) -> bool:
    """Whether a row came back as it was given, with something in the place of what was not."""
    kept = all(answer[name] == value for name, value in given.items() if value is not None)
    return kept and all(answer[name] is not None for name in never_null)


def ask(
    client: Client, table: str, rows: Sequence[Row], never_null: frozenset[str], out: Outcome
) -> None:
    """Ask for rows in one request, and note what became of them."""
    out.asked += len(rows)
    try:
        answer = client.synthesize(table, rows, fidelity="fast", timeout=PATIENCE)
    except InvalidRequest as exc:
        console.print(f"{table}: {exc}")
        out.refused += 1
        return
    out.provenance.append(answer.provenance)
    pairs = zip(rows, answer.data, strict=True)
    out.answered += sum(is_whole(given, found, never_null) for given, found in pairs)


def refused_strictly(client: Client, table: str, rows: Sequence[Row]) -> bool:
    """Whether rows are refused where no value may be one that was never learnt."""
    try:
        client.synthesize(table, rows, fidelity="fast", strict=True, timeout=PATIENCE)
    except InvalidRequest as exc:
        console.print(f"{table}, strict: {exc}")
        return True
    return False


def measure(client: Client, table: str, late: int, seed: int) -> tuple[Outcome, dict[str, Any]]:
    """Ask a server for a table's held-out rows."""
    description = client.describe(table)
    names = [column.name for column in description.columns]
    never_null = frozenset(column.name for column in description.columns if not column.nullable)
    test = named(table).test
    rows = with_late_features(test.select(names).to_rows(), late, seed)
    together, alone = Outcome(), Outcome()
    ask(client, table, rows, never_null, together)
    told = together.provenance[0] if together.provenance else None
    odd = {each.row for each in told.outside_values} if told else set()
    others = np.random.default_rng(seed).permutation(len(rows)).tolist()
    chosen = [*sorted(odd), *[at for at in others if at not in odd][: max(1, len(odd))]]
    with client.session() as session:
        for at in chosen:
            ask(session, table, [rows[at]], never_null, alone)
    whole = Outcome(
        together.asked + alone.asked,
        together.answered + alone.answered,
        together.refused + alone.refused,
    )
    totals = told.outside_totals if told else ()
    return whole, {
        "rows": len(rows),
        "asked_alone": len(chosen),
        "outside": {f"{each.column} {each.kind}": each.values for each in totals},
        "strictly_refused": refused_strictly(client, table, rows),
    }


def main() -> None:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.outside", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", action="append", choices=[*BUNDLED], help="all of them")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--late", type=int, default=3, help="features of each row")
    parser.add_argument("--seed", type=int, default=0, help="of which are late")
    options = parser.parse_args()
    tables = options.table or [*BUNDLED]
    for table in tables:
        if table not in list_releases(options.repository):
            parser.error(f"{options.repository} has no release of {table!r}")
    found: dict[str, Any] = {}
    whole = Outcome()
    with serving(default_server(options.repository)) as server, Client(server.target) as client:
        client.wait_ready(60)
        for table in tables:
            outcome, found[table] = measure(client, table, options.late, options.seed)
            console.print({table: found[table]})
            whole.asked += outcome.asked
            whole.answered += outcome.answered
            whole.refused += outcome.refused
    result = {
        "answered_share": round(whole.answered / whole.asked, 6),
        "refused": whole.refused,
        "late": options.late,
        "tables": found,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
