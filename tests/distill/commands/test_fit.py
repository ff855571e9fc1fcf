"""`cascade fit` of a plain file, `cascade distill` without one, and what help says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.distill.commands.typed import cascade
from tests.releases import payments


class TestFit:
    def test_a_dry_run_shows_the_schema_and_writes_nothing(
        self, table: Path, tmp_path: Path
    ) -> None:
        result = cascade("fit", table, "--dry-run", "--out", tmp_path / "run")
        assert result.exit_code == 0
        assert "channel" in result.output
        assert "categorical" in result.output
        assert not (tmp_path / "run").exists()

    def test_a_dry_run_says_what_would_be_trained(self, table: Path, tmp_path: Path) -> None:
        result = cascade("fit", table, "--dry-run", "--out", tmp_path / "run")
        assert "teacher for 500 rows of 6 columns: width 64" in result.output
        assert "held out: 100 rows" in result.output
        assert "warning: 600 rows are few" in result.output

    def test_it_says_how_long_it_takes_and_why_it_ended(self, table: Path, tmp_path: Path) -> None:
        result = cascade("fit", table, "--out", tmp_path, "--steps", "20", "--threads", "1")
        said = r"fit takes about .* at most, cascade distill about .* after it"
        assert re.search(said, result.output)
        assert "ended after 20 steps: all steps done" in result.output
        assert "the state of step 20 was kept, the last where the held-out" in result.output

    def test_minutes_bound_it(self, table: Path, tmp_path: Path) -> None:
        fit = ("fit", table, "--out", tmp_path, "--minutes", "0.001", "--threads", "1")
        result = cascade(*fit)
        assert result.exit_code == 0, result.output
        (steps,) = re.findall(r"training: at most ([\d,]+) steps", result.output)
        assert int(steps.replace(",", "")) < 2000
        about = json.loads((tmp_path / "run.json").read_text())
        assert about["teacher"]["train"]["most_seconds"] == pytest.approx(0.06)
        graph = (tmp_path / "teacher.onnx").read_bytes()
        again = cascade(*fit)
        assert again.exit_code == 0, again.output
        assert (tmp_path / "teacher.onnx").read_bytes() == graph

    @pytest.mark.parametrize("minutes", ["0", "-1", "soon"])
    def test_minutes_that_are_none_are_refused(self, table: Path, minutes: str) -> None:
        result = cascade("fit", table, "--minutes", minutes)
        assert result.exit_code == 2
        assert minutes in result.output

    def test_rows_to_validate_by_may_be_a_file(self, table: Path, tmp_path: Path) -> None:
        """One of its rows has a value that the table lacks: it is left out, and said."""
        others = payments(200, seed=5).to_pandas()
        others.loc[3, "channel"] = "carrier pigeon"
        others.to_csv(tmp_path / "next.csv", index=False)
        short = ("--steps", "5", "--threads", "1", "--out", tmp_path / "run")
        result = cascade("fit", table, "--validation", tmp_path / "next.csv", *short)
        assert result.exit_code == 0, result.output
        assert "have values that payments.csv lacks" in result.output
        about = json.loads((tmp_path / "run" / "run.json").read_text())
        assert about["rows"] == 600
        assert not about["held_out"]["of_the_table"]
        assert 0 < about["held_out"]["rows"] < 200

    def test_rows_to_validate_by_need_the_tables_columns(self, table: Path, tmp_path: Path) -> None:
        (tmp_path / "next.csv").write_text("amount,channel\n1.5,web\n2.5,app\n")
        others = ("--validation", tmp_path / "next.csv", "--out", tmp_path / "run")
        result = cascade("fit", table, *others)
        assert result.exit_code == 1
        assert "lacks 'items'" in result.output
        assert not (tmp_path / "run").exists()

    def test_the_same_command_again_trains_nothing(self, run: Path, table: Path) -> None:
        before = (run / "teacher.onnx").read_bytes()
        again = cascade("fit", table, "--out", run, "--steps", "40", "--threads", "1")
        assert again.exit_code == 0, again.output
        assert (run / "teacher.onnx").read_bytes() == before

    def test_another_configuration_in_the_same_folder_is_refused(
        self, run: Path, table: Path
    ) -> None:
        result = cascade("fit", table, "--out", run, "--steps", "41", "--threads", "1")
        assert result.exit_code == 1
        assert "belongs to another run" in result.output

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a,b\n1,2\n3\n", "line 3"),
            ("a,a\n1,2\n", "duplicate column names: 'a'"),
            ("a,b\n", "no rows"),
            ("a,b\n1,2\n", "1 row"),
            ("a,b\n,\n,\n", "every value is NULL"),
            ("", "empty"),
        ],
    )
    def test_a_file_that_is_no_table_says_why(self, tmp_path: Path, text: str, says: str) -> None:
        path = tmp_path / "bad.csv"
        path.write_text(text)
        result = cascade("fit", path, "--out", tmp_path / "run")
        assert result.exit_code == 1
        assert says in result.output
        assert "Traceback" not in result.output
        assert not (tmp_path / "run").exists()


class TestDistill:
    def test_without_a_teacher_it_names_the_command_to_run_first(self, tmp_path: Path) -> None:
        result = cascade("distill", tmp_path / "nothing")
        assert result.exit_code == 1
        assert "run first: cascade fit" in result.output


@pytest.mark.parametrize("command", ["fit", "distill", "evaluate", "release", "serve", "ask"])
def test_help_says_what_it_does_with_an_example(command: str) -> None:
    result = cascade(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"cascade {command}" in result.output
