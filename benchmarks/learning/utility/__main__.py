"""What late features cost a scoring model with and without Cascade, and what augmentation gives.

    python -m benchmarks.utility                              credit and adult, from their releases
    python -m benchmarks.utility --table vehicle_claim_fraud  learnt first, in runs/by_time

(a) The k most important features of held-out rows are late. The default server is asked for them,
by the SDK, and the model's probability is the mean over the draws. Beside it: medians and modes,
kNN, IterativeImputer, XGBoost's own handling of what is missing, XGBoost that learnt with features
hidden, a model that was trained without those very features (a team would need 2^k of them), and
nothing missing. (b) A model is trained on rows to which some of the rarer class were added.

The last line is one JSON object: under "tables", by table, "late" (by k: the features, every
method's average_precision, auc, brier and ece, each as mean and bounds of a 95 % interval over rows
and seeds, and ms, from a row to its score, one row at a time; and differences, paired by row and
seed) and "augmentation"; above_xgboost and below_bound are of 32 draws of credit's student, three
features late. What was computed is kept in runs/utility, so that a run which is cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cascade_loadtest.errors import LoadFailed
from cascade_tables import CascadeTablesError, list_releases

from benchmarks.learning.utility.balancing import augmentation
from benchmarks.learning.utility.late import TIERS, Bench, late_features
from benchmarks.learning.utility.partial import Partial
from benchmarks.learning.utility.plot import plot
from benchmarks.learning.utility.problems import MOST_SCORED, TABLES, problem
from benchmarks.learning.utility.scoring import XGBOOST
from benchmarks.learning.utility.serving import asked, repository
from benchmarks.tables import BUNDLED, ROOT, TableMissing

PARTS = ("late", "augmentation")


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Both parts of one table."""
    found = problem(name, given.rows)
    folder = repository(
        found,
        given.repository,
        given.runs / "by_time",
        given.threads,
        given.steps,
        given.teacher_rows,
    )
    version = list_releases(folder)[name][-1]
    xgboost = {**XGBOOST, "n_estimators": given.trees}
    settings = {"table": name, "version": version, "rows": len(found.test), "xgboost": xgboost}
    kept = Partial(given.runs / "utility" / name, settings)
    out: dict[str, Any] = {
        "version": version,
        "split": found.split,
        "rows_learnt": len(found.train),
        "rows_scored": len(found.test),
        "positive_share": round(float(found.truth(found.test).mean()), 4),
    }
    with asked(folder) as client:
        bench = Bench(found, client, kept, given.threads, given.trees)
        tiers = tuple(given.tiers)
        if "late" in given.parts:
            out["late"] = late_features(bench, tuple(given.late), given.seeds, tiers)
        if "augmentation" in given.parts:
            out["augmentation"] = augmentation(bench, given.seeds, tiers)
    return out


def bar(tables: Mapping[str, Any]) -> dict[str, float | None]:
    """Of 32 draws of credit's student with three features late: average precision above XGBoost's
    own handling, and below the model trained without them."""
    three = tables.get("credit", {}).get("late", {}).get("3", {}).get("differences", {})

    def gap(other: str) -> float | None:
        pair = three.get(f"student_32 - {other}")
        return pair["average_precision"][0] if pair else None

    below = gap("without_them")
    return {"above_xgboost": gap("xgboost"), "below_bound": None if below is None else -below}


def main() -> None:
    """Measure table by table, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.utility", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", action="append", choices=TABLES, help="credit and adult")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--late", type=int, nargs="+", default=[1, 3, 6], help="features")
    parser.add_argument("--tiers", nargs="+", choices=[*TIERS], default=[*TIERS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trees", type=int, default=XGBOOST["n_estimators"], help="of a model")
    parser.add_argument("--rows", type=int, default=MOST_SCORED, help="that are scored, at most")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--steps", type=int, help="training steps, instead of the recipe's")
    parser.add_argument("--teacher-rows", type=int, help="that a student learns from, likewise")
    parser.add_argument("--plot", type=Path, help="an SVG or PNG file, of the late features")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    if given.seeds < 1 or given.rows < 10 or min(given.late) < 1:
        parser.error("--seeds and --late are 1 or more, --rows 10 or more")
    torch.set_num_threads(given.threads)
    try:
        tables = {name: measure(name, given) for name in given.table or BUNDLED}
    except (TableMissing, CascadeTablesError, LoadFailed) as exc:
        sys.exit(f"error: {exc}")
    result = {"seeds": given.seeds, "draws": [1, 8, 32], **bar(tables), "tables": tables}
    if given.plot is not None:
        plot(result, given.plot)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
