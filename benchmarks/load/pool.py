"""What the pool brings to a stream of conditions, some asked for far more often than others.

    python -m benchmarks.pool --table credit

Two servers run at once: the default one, and one without a pool. A client asks both in turn for the
same conditions: real rows with a few features late, the n-th most frequent one 1 / n^s times as
often as the first. Then as many whole rows are taken from the pool as are drawn afresh by the
teacher, and a detector is asked to tell each from real rows. The last line is one JSON object:
hit_rate, server_time_ratio (server time of pooled answers over that of the student's answers to the
same requests, medians; whole_server_time_ratio: where nothing is known), pooled_c2st and
teacher_c2st (means over the samples) with c2st_noise (two standard errors of their difference), and
what they are made of.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cascade_client import Client, Provenance
from cascade_distill.fidelity.metrics import c2st, xgb_auc
from cascade_loadtest.servers import default_server, serving
from cascade_tables import Schema, list_releases, load_release
from rich.console import Console

from benchmarks.tables import ROOT, TableMissing, named

LATE = 3
# Draws of one answer that the pool may still give.
DRAWS = 64
# Seconds in which a call is to be answered, and the pool to have answered something.
PATIENCE = 300.0
# Parts of the rows, each compared with as many real rows of its own.
SAMPLES = 4
# What is known, and the columns that are late.
Request = tuple[dict[str, Any], list[str]]
console = Console(stderr=True, highlight=False)


@dataclass
class Stream:
    """What one server did.

    Attributes:
        server_us, client_us: of each answer, microseconds; the latter from call to answer.
        pooled: which of them came from the pool.
    """

    server_us: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    pooled: list[bool] = field(default_factory=list)

    def note(self, provenance: Provenance, seconds: float) -> None:
        self.server_us.append(1e6 * provenance.timings.total)
        self.client_us.append(1e6 * seconds)
        self.pooled.append(provenance.from_pool)

    def quantiles(self, name: str) -> dict[str, float]:
        return {
            f"{name}_p{round(100 * q)}_ms": round(float(np.quantile(self.client_us, q)) / 1e3, 3)
            for q in (0.5, 0.99)
        }


def conditions(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], count: int, exponent: float, seed: int
) -> Iterator[Request]:
    """An endless stream of what is known, and of the columns that are late."""
    rng = np.random.default_rng(seed)
    some = []
    for row in rng.choice(len(rows), min(count, len(rows)), replace=False).tolist():
        late = sorted(rng.choice(len(names), LATE, replace=False).tolist())
        asked = [names[at] for at in late]
        some.append(({name: rows[row][name] for name in names if name not in asked}, asked))
    shares = 1 / np.arange(1, len(some) + 1) ** exponent
    shares /= shares.sum()
    while True:
        for at in rng.choice(len(some), 1000, p=shares).tolist():
            yield some[at]


def ask(client: Client, table: str, known: dict[str, Any], asked: list[str], out: Stream) -> None:
    began = time.perf_counter()
    answer = client.synthesize(table, known, columns=asked, fidelity="fast")
    out.note(answer.provenance, time.perf_counter() - began)


def pooled_rows(client: Client, table: str, count: int) -> pd.DataFrame:
    """Whole rows from the pool, as fast as it is refilled."""
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + PATIENCE
    while len(rows) < count:
        answer = client.synthesize(table, [{}], draws=DRAWS, fidelity="fast")
        if answer.provenance.from_pool:
            rows += answer.data
        elif time.monotonic() > until:
            sys.exit(f"error: the pool gave {len(rows):,} rows in {PATIENCE:.0f} s, not {count:,}")
        else:
            time.sleep(0.02)
    return pd.DataFrame(rows[:count])


def scores(real: pd.DataFrame, made: pd.DataFrame, schema: Schema, threads: int) -> list[float]:
    """A C2ST for each sample of the rows."""
    rows = len(made) // SAMPLES
    order = np.random.default_rng(0).permutation(len(real))
    return [
        c2st(
            xgb_auc(
                real.iloc[order[at * rows : (at + 1) * rows]],
                made.iloc[at * rows : (at + 1) * rows],
                schema,
                at,
                threads,
            )
        )
        for at in range(SAMPLES)
    ]


def noise(one: Sequence[float], other: Sequence[float]) -> float:
    """Two standard errors of the difference of the means."""
    variances = [float(np.var(each, ddof=1)) / len(each) for each in (one, other)]
    return 2 * float(np.sqrt(sum(variances)))


def main() -> None:
    """Ask both servers, compare, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pool", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--conditions", type=int, default=1000)
    parser.add_argument("--exponent", type=float, default=1.1, help="of Zipf's law")
    parser.add_argument("--per-second", type=float, default=100.0, help="calls to each server")
    parser.add_argument("--warm-seconds", type=float, default=20.0, help="that are not measured")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--whole", type=int, default=200, help="calls for whole rows, to each")
    parser.add_argument("--rows", type=int, default=12_000, help="for the detector")
    parser.add_argument("--threads", type=int, default=1, help="of the detector")
    options = parser.parse_args()
    try:
        table = named(options.table)
    except TableMissing as exc:
        sys.exit(f"error: {exc}")
    versions = list_releases(options.repository).get(options.table)
    if not versions:
        parser.error(f"{options.repository} has no release of {options.table!r}")
    schema = load_release(options.repository, options.table, versions[-1]).codec.schema
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                Client(stack.enter_context(serving(command)).target, timeout=PATIENCE)
            )
            for command in (
                default_server(options.repository),
                default_server(options.repository, "--pool-mib", "0"),
            )
        ]
        for client in clients:
            client.wait_ready(60)
        result = stream(clients, table.train.to_rows(), schema, options)
        console.print(result)
        made = pooled_rows(clients[0], options.table, options.rows)
        drawn = clients[1].generate(options.table, options.rows).data
    real = table.train.to_pandas()
    found = {
        name: scores(real, rows[list(schema.names)], schema, options.threads)
        for name, rows in (("pooled", made), ("teacher", drawn))
    }
    result |= {f"{name}_c2st": round(float(np.mean(each)), 4) for name, each in found.items()}
    result |= {"c2st_noise": round(noise(*found.values()), 4), "c2st_rows": options.rows}
    print(json.dumps(result))


def stream(
    clients: Sequence[Client],
    rows: Sequence[Mapping[str, Any]],
    schema: Schema,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Ask both servers for the same conditions, in turn and at a steady pace."""
    wanted = conditions(rows, schema.names, options.conditions, options.exponent, seed=0)

    def paced(requests: Iterable[Request]) -> tuple[Stream, Stream]:
        sides, began = (Stream(), Stream()), time.monotonic()
        for number, (known, asked) in enumerate(requests):
            due = began + number / options.per_second
            time.sleep(max(0.0, due - time.monotonic()))
            for client, out in zip(clients, sides, strict=True):
                ask(client, options.table, known, asked, out)
        return sides

    def medians(with_pool: Stream, without: Stream) -> list[float]:
        """Of the server's time for the requests that the pool answered."""
        hit = np.array(with_pool.pooled)
        return [float(np.median(np.array(each.server_us)[hit])) for each in (with_pool, without)]

    def measured(requests: Callable[[], Iterable[Request]]) -> tuple[Stream, Stream]:
        """Ask; and ask anew where the pool, on a machine that is busy, has answered nothing yet."""
        until = time.monotonic() + PATIENCE
        while True:
            sides = paced(requests())
            if any(sides[0].pooled):
                return sides
            if time.monotonic() > until:
                sys.exit(f"error: the pool answered nothing in {PATIENCE:.0f} s")

    def calls(seconds: float) -> int:
        return round(options.per_second * seconds)

    paced(islice(wanted, calls(options.warm_seconds)))
    with_pool, without = measured(lambda: islice(wanted, calls(options.seconds)))
    pooled_us, student_us = medians(with_pool, without)
    whole = medians(*measured(lambda: [({}, list(schema.names))] * options.whole))
    return {
        "table": options.table,
        "hit_rate": round(float(np.mean(with_pool.pooled)), 4),
        "server_time_ratio": round(pooled_us / student_us, 3),
        "pooled_server_us": round(pooled_us, 1),
        "student_server_us": round(student_us, 1),
        "whole_server_time_ratio": round(whole[0] / whole[1], 3),
        "whole_pooled_server_us": round(whole[0], 1),
        "whole_student_server_us": round(whole[1], 1),
        **with_pool.quantiles("with_pool"),
        **without.quantiles("without_pool"),
    }


if __name__ == "__main__":
    main()
