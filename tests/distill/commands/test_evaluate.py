"""`cascade evaluate`: figures beside their floor, and which files they are of."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cascade_tables import load_release
from click.testing import Result

from tests.distill.commands.typed import cascade, write_csv
from tests.releases import payments


@pytest.fixture
def run(run: Path, tmp_path: Path) -> Path:
    """A run of a test's own: its figures are written into it."""
    return Path(shutil.copytree(run, tmp_path / "run" / run.name))


@pytest.mark.usefixtures("few_trees")
class TestEvaluate:
    """Figures of a run, printed and kept for its release."""

    def test_figures_beside_their_floor(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        test = tmp_path / "test.csv"
        write_csv(payments(300, seed=1), test)
        files = ("--train", table, "--test", test, "--target", "fraud")
        result = cascade("evaluate", run, *files, "--samples", "1", "--threads", "1")
        assert result.exit_code == 0, result.output
        for figure in ("shape_err_pct", "trend_err_pct", "xgb_c2st", "mle_auc", "dcr_share"):
            line = next(line for line in result.output.splitlines() if figure in line)
            assert len(line.split()) == 4  # its name, student, teacher, floor

        assert cascade("release", run, "--repository", tmp_path / "models").exit_code == 0
        fidelity = load_release(tmp_path / "models", "payments", 1).manifest.fidelity
        assert fidelity.keys() == {"student", "teacher", "floor"}
        assert fidelity == json.loads((run / "fidelity.json").read_text())

    def test_rows_that_fit_held_out_are_the_test_by_default(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        result = cascade("evaluate", run, "--train", table, "--samples", "1", "--threads", "1")
        assert result.exit_code == 0, result.output
        assert "test: the 100 rows of the table that were held out" in result.output
        assert "nearest_equality" in result.output
        assert re.search(r"\d of 6 cells of the table's row \d+", result.output)

    def test_another_table_than_was_learnt_from_is_refused(self, run: Path, tmp_path: Path) -> None:
        write_csv(payments(600, seed=9), tmp_path / "other.csv")
        result = cascade("evaluate", run, "--train", tmp_path / "other.csv")
        assert result.exit_code == 1
        assert "learnt from" in result.output

    def test_a_column_to_predict_that_is_not_there_is_named(self, run: Path, table: Path) -> None:
        files = ("--train", table, "--test", table, "--target", "froud")
        result = cascade("evaluate", run, *files, "--samples", "1", "--threads", "1")
        assert result.exit_code == 1
        assert "'froud'" in result.output
        assert "fraud" in result.output


def sparse_lines(
    member: tuple[str, ...],
    ratio: tuple[str, ...],
    rows: int,
    seed: int,
    refund: str = "",
) -> str:
    rng = np.random.default_rng(seed)
    out = ["member,ratio,refund,amount"]
    for row in range(rows):
        known = rng.choice(["", "", "", "12.5", "7.25"]) if seed == 0 else refund * (row == 3)
        cells = (rng.choice(member), rng.choice(ratio), known, rng.integers(1, 99))
        out.append(",".join(map(str, cells)))
    return "\n".join(out) + "\n"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and the file that it learnt from."""
    folder = tmp_path_factory.mktemp("learnt")
    lines = sparse_lines(("true", "false", "unknown"), ("1.50", "2.25", "n.a."), 300, 0)
    (folder / "train.csv").write_text(lines)
    fitted = cascade(
        "fit", folder / "train.csv", "--out", folder / "run", "--steps", "2", "--threads", "1"
    )
    assert fitted.exit_code == 0, fitted.output
    small = ("--steps", "2", "--rows", "1500", "--threads", "1")
    assert cascade("distill", folder / "run", *small).exit_code == 0
    return folder


class TestEvaluateFiles:
    """Both files are read by the run's schema, whatever they alone would say."""

    def evaluate(self, learnt: Path, test: str, monkeypatch: pytest.MonkeyPatch) -> Result:
        monkeypatch.setenv("XDG_CACHE_HOME", str(learnt))
        (learnt / "test.csv").write_text(test)
        files = ("--train", learnt / "train.csv", "--test", learnt / "test.csv")
        return cascade("evaluate", learnt / "run", *files, "--samples", "1", "--threads", "1")

    def test_types_are_those_of_the_run(
        self, learnt: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        test = sparse_lines(("true", "false"), ("1.50", "2.25"), 120, 1, refund="?")
        result = self.evaluate(learnt, test, monkeypatch)
        assert result.exit_code == 0, result.output
        assert "refund: 1 of 1 cells (100 %): '?' (line 5) do not fit numbers" in result.output
        figures = json.loads((learnt / "run" / "fidelity.json").read_text())
        # Of two columns a third of the values is missing among the held-out rows, of one all. If
        # `true` and `1.50` were read as other than the text that they are in the run, the two
        # would have nothing in common, and the mean error of four columns would be above 75 %.
        assert figures["floor"]["shape_err_pct"] < 55

    def test_what_does_not_fit_is_refused_with_file_column_and_lines(
        self, learnt: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        test = sparse_lines(("true", "false"), ("1.50",), 60, 1).replace(",,", ",x,", 20)
        result = self.evaluate(learnt, test, monkeypatch)
        assert result.exit_code == 1
        for part in ("test.csv: column 'refund' does not fit", "20 of 20 cells", "'x'", "line 2"):
            assert part in result.output
