"""`cascade fit` of files as people have them, of files it has read, and their relations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from cascade_cli.program import main
from cascade_distill.learning import preparing
from cascade_distill.learning.rows import TEACHER_CHECKPOINT
from cascade_tables import Frame
from click.testing import CliRunner, Result

from tests.distill.commands.typed import cascade, write_csv
from tests.releases import payments


class TestFitFiles:
    """What is shown of files as people have them."""

    def odd(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        path = tmp_path / "odd.csv"
        lines = ["account_id;income;born;shop;row;salary"]
        for i in range(400):
            income = "?" if i % 50 == 7 else str(rng.integers(1000, 90_000))
            born = f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}.{rng.integers(1950, 2005)}"
            shop = f"shop{rng.integers(0, 3)}" if i % 4 else f"rare{i}"
            salary = f"{rng.integers(1000, 9000):,}".replace(",", ".") + ",50"
            account = rng.integers(10**9, 10**10)
            lines.append(f"{account};{income};{born};{shop};{i};{salary}")
        path.write_text("\n".join(lines) + "\n")
        return path

    def test_a_dry_run_says_what_was_odd_what_folds_and_what_is_left_out(
        self, tmp_path: Path
    ) -> None:
        schema = tmp_path / "schema.yaml"
        schema.write_text("columns:\n  shop: {max_categories: 10}\n")
        result = cascade("fit", self.odd(tmp_path), "--dry-run", "--schema", schema)
        assert result.exit_code == 0, result.output
        for said in (
            "shop: 100 rare categories (25.0% of rows) learnt as '(other)'; each in fewer than 5 "
            "rows, so that answers have '(other)' and no release has their names",
            "rare and min_count in the file of --schema say what becomes of them",
            "income: 8 of 400 cells (2 %): '?' (line 9, line 59, line 109, …)",
            "born: dates, day first",
            "salary: numbers, written as '1.234,5'",
            "account_id: identifier: named 'account', and all 400 values differ",
            "row: row number: 0 to 399, each once",
            "to keep one, name its kind in the file of --schema",
        ):
            assert said in result.output

    def test_standard_input_and_gzip(self, tmp_path: Path) -> None:
        path = self.odd(tmp_path)
        plain = cascade("fit", path, "--dry-run").output
        packed = tmp_path / "odd.csv.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert cascade("fit", packed, "--dry-run").output == plain
        piped = CliRunner().invoke(main, ["fit", "-", "--dry-run"], input=path.read_bytes())
        assert piped.output == plain

    def test_an_encoding_and_a_delimiter_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes("größe:k\n1:é\n2:b\n".encode("cp1252"))
        refused = cascade("fit", path, "--dry-run")
        assert refused.exit_code == 1
        assert "line 1, byte 3 is 0xf6; --encoding names another one" in refused.output
        options = ("--encoding", "cp1252", "--delimiter", ":")
        result = cascade("fit", path, "--dry-run", *options)
        assert result.exit_code == 0, result.output
        assert "größe" in result.output

    def test_a_kind_that_no_cell_fits_says_why(self, tmp_path: Path) -> None:
        path, schema = tmp_path / "table.csv", tmp_path / "schema.yaml"
        path.write_text("a,b\nx,1\ny,2\n")
        schema.write_text("columns:\n  a: {kind: integer}\n")
        result = cascade("fit", path, "--dry-run", "--schema", schema)
        assert result.exit_code == 1
        assert "column 'a': kind integer in the overrides" in result.output


class TestFitAgain:
    """Files whose tokens are in the run folder are not read again."""

    FIT = ("--steps", "2", "--threads", "1")

    @pytest.fixture
    def fitted(self, table: Path, tmp_path: Path) -> Path:
        result = cascade("fit", table, "--out", tmp_path / "run", *self.FIT)
        assert result.exit_code == 0, result.output
        return tmp_path / "run"

    def test_all_is_said_as_before(
        self, table: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preparing, "read_files", None)
        again = cascade("fit", table, "--out", fitted, *self.FIT)
        assert again.exit_code == 0, again.output
        assert f"read before: the tokens of these files are in {fitted}" in again.output
        assert "channel  categorical" in again.output
        assert "teacher for 500 rows of 6 columns" in again.output

    @pytest.mark.parametrize("damage", ["tokens", "held_out", "codec", "other rows", "other seed"])
    def test_tokens_that_are_not_there_or_of_others_are_made_anew(
        self, table: Path, fitted: Path, tmp_path: Path, damage: str
    ) -> None:
        before = fitted.joinpath("tokens.safetensors").read_bytes()
        fitted.joinpath(TEACHER_CHECKPOINT).unlink()
        options = ["--seed", "1"] if damage == "other seed" else []
        if damage == "other rows":
            other = tmp_path / table.name
            write_csv(payments(600, seed=1), other)
            table = other
        elif damage == "codec":
            fitted.joinpath("codec.json").unlink()
        elif damage != "other seed":
            fitted.joinpath(f"{damage}.safetensors").unlink()
        again = cascade("fit", table, "--out", fitted, *self.FIT, *options)
        assert again.exit_code == 0, again.output
        assert "read before" not in again.output
        after = fitted.joinpath("tokens.safetensors").read_bytes()
        assert (before == after) == (not damage.startswith("other"))
        assert fitted.joinpath("held_out.safetensors").exists()

    def test_standard_input_is_kept_in_the_run_folder_until_its_tokens_are_there(
        self, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = ["fit", "-", "--out", str(tmp_path / "run"), *self.FIT]
        content = table.read_bytes()
        broken = CliRunner().invoke(main, arguments, input=content + b"1,2\n")
        assert broken.exit_code == 1
        assert "standard_input.csv, line 602: 2 fields" in broken.output
        assert (tmp_path / "run" / "standard_input.csv").read_bytes() == content + b"1,2\n"
        fitted = CliRunner().invoke(main, arguments, input=content)
        assert fitted.exit_code == 0, fitted.output
        assert not (tmp_path / "run" / "standard_input.csv").exists()
        monkeypatch.setattr(preparing, "read_files", None)
        again = CliRunner().invoke(main, arguments, input=content)
        assert again.exit_code == 0, again.output
        assert "read before" in again.output


class TestRelationsAtFit:
    """Exact relations are shown, kept beside the run, and decided otherwise by a file."""

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        before, amount = rng.integers(1, 10**7, (2, 500))
        rows = [
            {"before": int(b) / 100, "amount": int(a) / 100, "after": int(b - a) / 100, "kind": "x"}
            for b, a in zip(before, amount, strict=True)
        ]
        rows[0]["kind"] = "y"
        path = tmp_path / "ledger.csv"
        write_csv(Frame.from_rows(rows), path)
        return path

    def dry_run(self, ledger: Path, relations: str) -> Result:
        schema = ledger.with_suffix(".yaml")
        schema.write_text(f"relations:\n  {relations}\n")
        return cascade("fit", ledger, "--dry-run", "--schema", schema)

    def test_they_are_shown_with_their_share(self, ledger: Path) -> None:
        result = cascade("fit", ledger, "--dry-run")
        assert result.exit_code == 0, result.output
        assert "exact relations:\n  before = amount + after: always\n" in result.output

    def test_they_are_in_the_run_and_in_a_file_that_can_be_given_back(
        self, ledger: Path, tmp_path: Path
    ) -> None:
        options = ["--steps", "2", "--threads", "1"]
        done = cascade("fit", ledger, "--out", tmp_path / "run", *options)
        assert done.exit_code == 0, done.output
        # A long path goes on in the next line.
        assert "schema.yaml" in done.output.replace("\n", "")
        schema = json.loads((tmp_path / "run/codec.json").read_text())["schema"]
        assert schema["relations"][0]["formula"] == "before = amount + after"
        assert schema["relations"][0]["share"] == 1
        file = tmp_path / "run/schema.yaml"
        assert '"before = amount + after": found  # always' in file.read_text()
        # What is given back changes nothing, so that the run is resumed and not refused.
        again = cascade("fit", ledger, "--out", tmp_path / "run", "--schema", file, *options)
        assert again.exit_code == 0, again.output

    def test_one_is_refused(self, ledger: Path) -> None:
        result = self.dry_run(ledger, "after = before - amount: refused")
        assert result.exit_code == 0, result.output
        assert "exact relations" not in result.output

    def test_one_is_declared(self, ledger: Path) -> None:
        result = self.dry_run(ledger, "after = before - amount: declared")
        assert "before = amount + after: always; declared" in result.output

    @pytest.mark.parametrize(
        ("relations", "says"),
        [
            ("aftr = before - amount: declared", "Did you mean 'after'?"),
            ("after = before + kind: declared", "column 'kind' is categorical"),
            ("after = before: declared", "holds in none of the 500 rows"),
            ("after = before: maybe", "allowed: found, declared, refused"),
            ("after is before: declared", "'after is before' is not a relation"),
        ],
    )
    def test_what_cannot_be_is_named(self, ledger: Path, relations: str, says: str) -> None:
        result = self.dry_run(ledger, relations)
        assert result.exit_code == 1
        assert says in result.output
        assert "Traceback" not in result.output
