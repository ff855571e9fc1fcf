"""The parts of `benchmarks.utility`, and the whole of it on few rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from benchmarks.learning.utility.imputers import IMPUTERS
from benchmarks.learning.utility.intervals import Ranked, measured
from benchmarks.learning.utility.partial import Partial
from benchmarks.learning.utility.problems import problem
from benchmarks.learning.utility.transactions import LEARNT, SCORED, with_history
from benchmarks.report.pages import filled
from benchmarks.report.utility import utility_table
from tests.benchmarks.test_programs import InThisProcess, here, last_line  # noqa: F401 (a fixture)


class TestIntervals:
    def made_up(self) -> tuple[np.ndarray, np.ndarray]:
        """Truths, and scores of which many are equal."""
        rng = np.random.default_rng(1)
        truth = (rng.random(500) < 0.3).astype(float)
        return truth, np.round(np.clip(0.3 * truth + rng.random(500) * 0.7, 0, 1), 1)

    def test_metrics_are_those_of_scikit_learn(self) -> None:
        truth, scores = self.made_up()
        found = Ranked(scores, truth).metrics(np.ones(500))
        assert found["average_precision"] == pytest.approx(average_precision_score(truth, scores))
        assert found["auc"] == pytest.approx(roc_auc_score(truth, scores))
        assert found["brier"] == pytest.approx(brier_score_loss(truth, scores))

    def test_a_weight_is_how_often_a_row_is_there(self) -> None:
        truth, scores = self.made_up()
        weight = np.random.default_rng(2).integers(0, 3, 500)
        again = np.repeat(np.arange(500), weight)
        found = Ranked(scores, truth).metrics(weight.astype(float))
        assert found["auc"] == pytest.approx(roc_auc_score(truth[again], scores[again]))
        expected = average_precision_score(truth[again], scores[again])
        assert found["average_precision"] == pytest.approx(expected)

    def test_scores_that_come_true_are_calibrated(self) -> None:
        rng = np.random.default_rng(3)
        scores = rng.random(20_000)
        truth = (rng.random(20_000) < scores).astype(float)
        # Of fifteen groups of some 1,300 rows: their standard deviation is .013 at most.
        assert Ranked(scores, truth).metrics(np.ones(20_000))["ece"] < 0.02
        assert Ranked(scores**3, truth).metrics(np.ones(20_000))["ece"] > 0.1

    def test_differences_are_paired(self) -> None:
        truth, scores = self.made_up()
        methods = {"ours": [scores, scores], "same": [scores, scores], "none": [0 * scores] * 2}
        pairs = [("ours", "same"), ("ours", "none")]
        means, differences = measured(methods, truth.astype(int), pairs, resamples=50)
        assert differences["ours - same"]["auc"] == [0, 0, 0]
        mean, low, high = differences["ours - none"]["auc"]
        assert 0 < low < mean < high
        assert set(means) == set(methods)
        assert means["none"]["auc"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", IMPUTERS)
def test_imputers_fill_what_is_late_and_nothing_else(name: str) -> None:
    """A number that is twice another one, and a category that says its sign."""
    rng = np.random.default_rng(4)
    first = rng.normal(0, 1, 600)
    rows = np.column_stack([first, 2 * first, first < 0, rng.normal(5, 1, 600)]).astype(np.float32)
    rows[:50, 3] = np.nan
    types, late = ["q", "q", "c", "q"], [1, 2]
    hidden = rows[:40].copy()
    hidden[:, late] = np.nan
    found = IMPUTERS[name](rows, types, late).fill(hidden)
    np.testing.assert_array_equal(found[:, [0, 3]], hidden[:, [0, 3]])
    assert set(np.unique(found[:, 2])) <= {0.0, 1.0}
    if name != "median_mode":
        assert np.corrcoef(found[:, 1], rows[:40, 1])[0, 1] > 0.9
        assert (found[:, 2] == rows[:40, 2]).mean() > 0.9


class TestTransactions:
    def made_up(self) -> pd.DataFrame:
        rng = np.random.default_rng(5)
        n, first = 4000, LEARNT.start - 40
        seconds = np.sort(rng.integers(first * 86_400, SCORED.stop * 86_400, n))
        return pd.DataFrame(
            {
                "TRANSACTION_ID": np.arange(n),
                "TX_TIME_SECONDS": seconds,
                "TX_TIME_DAYS": seconds // 86_400,
                "CUSTOMER_ID": rng.integers(0, 20, n),
                "TERMINAL_ID": rng.integers(0, 10, n),
                "TX_AMOUNT": rng.gamma(2, 20, n).round(2),
                "TX_FRAUD": (rng.random(n) < 0.1).astype(int),
            }
        )

    def test_what_is_known_of_a_transaction(self) -> None:
        rows = self.made_up()
        train, test = with_history(rows)
        assert len(train)
        assert len(test)
        number = int(test.index[7])
        row, then = rows.loc[number], rows["TX_TIME_SECONDS"][number]
        before = rows[rows["TX_TIME_SECONDS"] <= then]
        week = before[before["TX_TIME_SECONDS"] > then - 7 * 86_400]
        mine = week[week["CUSTOMER_ID"] == row["CUSTOMER_ID"]]
        assert test["customer_count_7d"][number] == len(mine)
        mean = mine["TX_AMOUNT"].mean()
        assert test["customer_mean_7d"][number] == pytest.approx(mean, abs=0.006)
        known = before[before["TX_TIME_SECONDS"] <= then - 7 * 86_400]
        known = known[known["TX_TIME_SECONDS"] > then - 37 * 86_400]
        known = known[known["TERMINAL_ID"] == row["TERMINAL_ID"]]
        assert test["terminal_count_30d"][number] == len(known)
        risk = known["TX_FRAUD"].mean()
        assert test["terminal_risk_30d"][number] == pytest.approx(risk, abs=1e-4)

    def test_fraud_of_the_last_week_is_not_known_yet(self) -> None:
        rows = self.made_up()
        _, test = with_history(rows)
        number = int(test.index[-1])
        last = rows["TX_TIME_SECONDS"] > rows["TX_TIME_SECONDS"][number] - 7 * 86_400
        others = rows.assign(TX_FRAUD=rows["TX_FRAUD"].where(~last, 1 - rows["TX_FRAUD"]))
        _, again = with_history(others)
        risks = [name for name in test if "risk" in name]
        assert test.loc[number, risks].tolist() == again.loc[number, risks].tolist()


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3)

    for _ in range(2):
        kept = Partial(tmp_path, {"rows": 3})
        assert kept.array("a", make).tolist() == [0, 1, 2]
    assert len(made) == 1
    assert Partial(tmp_path, {"rows": 4}).array("a", make).tolist() == [0, 1, 2]
    assert len(made) == 2


def claims(folder: Path, rows: int = 1500) -> None:
    """Something like vehicle_claim_fraud."""
    rng = np.random.default_rng(6)
    year = np.repeat([1994, 1995, 1996], rows // 3)
    fault = rng.choice(["holder", "third party"], rows)
    age = rng.integers(18, 80, rows)
    fraud = rng.random(rows) < np.where(fault == "holder", 0.3, 0.05)
    frame = pd.DataFrame(
        {
            "Fault": fault,
            "Age": age,
            "Deductible": rng.choice([300, 400, 500], rows),
            "Year": year,
            "PolicyNumber": np.arange(1, rows + 1),
            "FraudFound_P": fraud.astype(int),
        }
    )
    frame.to_parquet(folder / "vehicle_claim_fraud.parquet")


def test_claims_are_split_by_their_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    claims(tmp_path)
    found = problem("vehicle_claim_fraud", most_scored=400)
    assert (len(found.train), len(found.test)) == (1000, 400)
    assert set(found.features) == {"Fault", "Age", "Deductible"}
    assert found.positive == 1
    assert 0 < found.truth(found.test).mean() < 0.5


def test_a_table_that_is_learnt_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: InThisProcess,  # noqa: F811
) -> None:
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    claims(tmp_path)
    options = ["--table", "vehicle_claim_fraud", "--runs", str(tmp_path / "runs"), "--trees", "5"]
    options += ["--steps", "5", "--teacher-rows", "1500", "--seeds", "2", "--late", "1", "5"]
    options += ["--threads", "1", "--plot", str(tmp_path / "late.svg")]
    done = here("utility", *options)
    found = last_line(done)
    table = found["tables"]["vehicle_claim_fraud"]
    assert (table["rows_learnt"], table["rows_scored"]) == (1000, 500)
    assert found["above_xgboost"] is None
    assert "has too few features for k = 5" in done.stderr
    assert table["late"].keys() == {"1"}
    late = table["late"]["1"]
    ours = {f"{tier}_{draws}" for tier in ("student", "teacher") for draws in (1, 8, 32)}
    others = {"nothing_missing", "without_them", "xgboost", "xgboost_hidden"}
    assert late["methods"].keys() == {*ours, *others, "median_mode", "knn", "iterative"}
    for each in late["methods"].values():
        mean, low, high = each["average_precision"]
        assert 0 < low <= mean <= high <= 1
        assert each["ms"] > 0
    assert "student_32 - xgboost" in late["differences"]
    balanced = {"nothing", "class_weights", "random_oversampling", "smote_nc", "student", "teacher"}
    assert table["augmentation"]["methods"].keys() == balanced
    assert (tmp_path / "late.svg").read_text().startswith("<?xml")
    (tmp_path / "utility-vehicle_claim_fraud.json").write_text(json.dumps(found))
    told = utility_table("vehicle_claim_fraud-1", tmp_path)
    assert "| Cascade, student, 32 draws | " in told
    assert "SMOTE-NC" in utility_table("vehicle_claim_fraud-augmentation", tmp_path)
    page = "<!-- utility vehicle_claim_fraud-gains -->\n<!-- end -->"
    assert "| XGBoost's own handling | " in filled(page, tmp_path)


def test_it_says_which_table_is_not_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: InThisProcess,  # noqa: F811
) -> None:
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    done = here("utility", "--table", "ulb_creditcard_subset")
    assert done.returncode == 1
    assert f"{tmp_path}/ulb_creditcard_subset.parquet does not exist" in done.stderr
    assert "Traceback" not in done.stderr
