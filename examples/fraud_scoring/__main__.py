"""What Cascade gives a scoring service whose feature lookups time out: read it as a notebook.

    python -m examples.fraud_scoring
    python -m examples.fraud_scoring --transactions 800 --plot scores.png

A server of the bundled release and a scoring service are started. Held-out clients are scored over
gRPC, each lookup late with a chance of a half, within 20 ms each; and the same ones, as late, by
other ways of going on without what is late.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from cascade_client import AsyncClient
from rich.console import Console
from rich.table import Table

from examples.demo import ROOT, running_server

console = Console(highlight=False)
BUDGET_MS = 20
LATE_SHARE = 0.5
START_SECONDS = 60


# %% The service, and a payment gateway that sends it transactions, one after another.
async def scored_over_grpc(
    target: str, model: Any, store: Any, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[float]]:
    """What the service says of each transaction, and the milliseconds from call to answer."""
    import grpc

    from examples.fraud_scoring.lookups import LOOKED_UP
    from examples.fraud_scoring.model import TABLE, TARGET
    from examples.fraud_scoring.service import Scorer, ScoringClient, serving

    came = [
        {name: row[name] for name in row if name not in LOOKED_UP and name != TARGET}
        for row in rows
    ]
    answers, spent = [], []
    async with AsyncClient(target) as client:
        await client.wait_ready(START_SECONDS)
        await client.describe(TABLE)  # its schema, before the first transaction has to wait for it
        async with (
            serving(Scorer(model, store, client)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            gateway = ScoringClient(channel)
            for number in range(min(20, len(rows))):  # connections are made, caches warm
                await gateway.score(number, came[number])
            for number, given in enumerate(came):
                began = time.perf_counter()
                answers.append(await gateway.score(number, given))
                spent.append(1e3 * (time.perf_counter() - began))
    return answers, spent


# %% The same transactions, as late, without Cascade.
def other_ways(model: Any, store: Any, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The scores of each way to go on without what is late."""
    known = [store.known(number) for number in range(len(rows))]
    return {
        "XGBoost's own handling": model.scores(known),
        "medians": model.scores([model.with_medians(each) for each in known]),
        "nothing late": model.scores(rows),
    }


# %% What it is worth: how well scores rank those who will not pay before those who will.
def show(
    ways: dict[str, np.ndarray], truth: np.ndarray, answers: list[dict[str, Any]]
) -> dict[str, float]:
    """Average precision of each way, of the transactions of which something was late: of all of
    them, medians standing in where Cascade was not in time, and of those that it answered."""
    from sklearn.metrics import average_precision_score

    late = np.array([bool(answer["late"]) for answer in answers])
    answered = np.array([answer["filled_by"] == "cascade" for answer in answers])

    def worth(rows: np.ndarray) -> dict[str, float]:
        if not 0 < truth[rows].sum() < rows.sum():
            return {}
        return {
            name: float(average_precision_score(truth[rows], scores[rows]))
            for name, scores in ways.items()
        }

    console.rule(f"{late.sum():,} of {len(late):,} transactions had something late")
    found, of_answered = worth(late), worth(answered)
    heads = ("average precision", f"of the {answered.sum():,} that Cascade answered")
    table = Table("", *heads, box=None)
    for name, value in found.items():
        cells = [f"{value:.3f}", f"{of_answered[name]:.3f}" if of_answered else ""]
        ours = name.startswith("Cascade")
        table.add_row(name, *(f"[bold]{cell}[/bold]" if ours else cell for cell in cells))
    console.print(table)
    if 2 * answered.sum() < late.sum():
        console.print(
            f"Cascade was in time for {answered.sum():,} of {late.sum():,}: this machine has too "
            "much else to do for the budget, and most of what its line shows is medians"
        )
    return found


def show_service(answers: list[dict[str, Any]], spent: list[float]) -> None:
    """Who filled what was late, and how long a score took."""
    filled = Counter(answer["filled_by"] for answer in answers)
    console.print("filled by " + ", ".join(f"{name} {count:,}" for name, count in filled.items()))
    p50, p90, p99 = np.quantile(spent, [0.5, 0.9, 0.99])
    console.print(
        f"transaction to score, over gRPC: p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f} ms"
    )
    for reason in sorted({answer["reason"] for answer in answers} - {""})[:2]:
        console.print(f"[dim]not Cascade, since: {reason}[/dim]")
    unsure = max(answers, key=lambda answer: answer["high"] - answer["low"])
    console.print(
        f"the least sure score: {unsure['score']:.2f}, but {unsure['low']:.2f} to "
        f"{unsure['high']:.2f} for 80 % of what {', '.join(unsure['late'])} may be\n"
    )


# %% The picture.
def draw(
    found: dict[str, float], answers: list[dict[str, Any]], spent: list[float], path: Path
) -> None:
    """Average precision, the milliseconds of a score, and how sure scores are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (worth, took, sure) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    names = sorted(found, key=found.__getitem__)
    colors = ["#0b6e4f" if name.startswith("Cascade") else "#9aa5b1" for name in names]
    bars = worth.barh(names, [found[name] for name in names], color=colors)
    worth.bar_label(bars, fmt="%.3f", padding=3)
    worth.set_xlim(0, 1.2 * max(found.values()))
    worth.set_xlabel("average precision, something late")
    took.hist(spent, bins=np.linspace(0, 2 * BUDGET_MS, 60), color="#0b6e4f")
    took.axvline(BUDGET_MS, color="black", linestyle=":", label="budget")
    took.set_xlabel("transaction to score, ms")
    took.legend()
    some = [each for each in answers if each["filled_by"] == "cascade"]
    some = sorted(some, key=lambda each: each["score"])[:: max(1, len(some) // 60)]
    bounds = np.array([[each["low"], each["score"], each["high"]] for each in some]).reshape(-1, 3)
    sure.vlines(range(len(some)), bounds[:, 0], bounds[:, 2], color="#0b6e4f", alpha=0.4)
    sure.plot(bounds[:, 1], ".", color="#0b6e4f")
    sure.set_xlabel("transactions, by score")
    sure.set_ylabel("score, and 80 % over the draws")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    console.print(f"[dim]drawn in {path}[/dim]")


# %% All of it.
def scored(target: str, transactions: int, seed: int, path: Path, trees: int = 200) -> None:
    """Score held-out transactions by a Cascade server at `target`, and show what it was worth."""
    from examples.fraud_scoring.lookups import FeatureStore
    from examples.fraud_scoring.model import TARGET, ScoringModel, bundled

    console.rule("a scoring service with features late")
    model, rows = ScoringModel(bundled("train"), trees), bundled("test")[:transactions]
    store = FeatureStore(rows, LATE_SHARE, random.Random(seed))
    answers, spent = asyncio.run(scored_over_grpc(target, model, store, rows))
    ours = {"Cascade, 32 draws": np.array([answer["score"] for answer in answers])}
    truth = np.array([row[TARGET] for row in rows])
    found = show({**other_ways(model, store, rows), **ours}, truth, answers)
    show_service(answers, spent)
    draw(found, answers, spent, path)


def main() -> None:
    """Parse the command line, and do it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fraud_scoring", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--transactions", type=int, default=3000, help="of 6,000, at most")
    parser.add_argument("--seed", type=int, default=0, help="of which lookups are late")
    parser.add_argument("--plot", type=Path, default=ROOT / "runs" / "fraud_scoring.png")
    parser.add_argument("--target", help="of a server that is there; else one is started")
    options = parser.parse_args()
    if options.transactions < 100:
        parser.error("--transactions has to be 100 or more: fewer say nothing")
    given = (options.transactions, options.seed, options.plot)
    if options.target:
        scored(options.target, *given)
        return
    with running_server() as target:
        scored(target, *given)


if __name__ == "__main__":
    main()
