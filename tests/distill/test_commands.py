"""The commands that learn, from a CSV file to a release, as a person types them."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cascade_cli.program import main
from cascade_distill.learning import preparing
from cascade_distill.learning.rows import TEACHER_CHECKPOINT
from cascade_distill.runs.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler, sample_tokens
from cascade_tables import Frame, load_release
from click.testing import CliRunner, Result

from tests.releases import payments


def cascade(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "payments.csv"
    write_csv(payments(600), path)
    return path


def write_csv(frame: Frame, path: Path) -> None:
    frame.to_pandas().to_csv(path, index=False)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "payments"
    fitted = cascade("fit", table, "--out", folder, "--steps", "40", "--threads", "1")
    assert fitted.exit_code == 0, fitted.output
    distilled = cascade("distill", folder, "--steps", "40", "--rows", "2000", "--threads", "1")
    assert distilled.exit_code == 0, distilled.output
    return folder


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


class TestDistill:
    def test_without_a_teacher_it_names_the_command_to_run_first(self, tmp_path: Path) -> None:
        result = cascade("distill", tmp_path / "nothing")
        assert result.exit_code == 1
        assert "run first: cascade fit" in result.output


class TestRelease:
    def test_behind_a_url(self, run: Path, tmp_path: Path) -> None:
        url = f"file://{tmp_path}/models"
        for version in (1, 2):
            done = cascade("release", run, "--table", "payments", "--repository", url)
            assert done.exit_code == 0, done.output
            assert f"version {version}" in done.output
        assert load_release(tmp_path / "models", "payments", 2).manifest.version == 2
        # What Triton needs comes too.
        for name in ("payments/config.pbtxt", "payments_student/2/model.py"):
            assert (tmp_path / "models" / name).is_file()

    def test_versions_count_up_and_load(self, run: Path, tmp_path: Path) -> None:
        repository = tmp_path / "models"
        for version in (1, 2):
            result = cascade("release", run, "--table", "payments", "--repository", repository)
            assert result.exit_code == 0, result.output
            assert f"version {version}" in result.output
        release = load_release(repository, "payments", 2)
        layout = release.codec.layout
        for sampler in (
            StudentSampler(release.student, layout),
            TeacherSampler(release.teacher, layout),
        ):
            rows = release.codec.decode(sample_tokens(sampler, 50, 0), np.random.default_rng(0))
            assert len(rows) == 50

    def test_a_version_that_exists_is_refused(self, run: Path, tmp_path: Path) -> None:
        arguments = ("release", run, "--repository", tmp_path, "--version", "3")
        assert cascade(*arguments).exit_code == 0
        again = cascade(*arguments)
        assert again.exit_code == 1
        assert "exists; choose another version" in again.output


class TestMemorisation:
    """A release whose rows lean on the rows learnt from has to be asked for by name."""

    @pytest.fixture
    def leaning(self, run: Path, tmp_path: Path) -> Path:
        """A run whose student was found to copy."""
        folder = tmp_path / "leaning"
        shutil.copytree(run, folder)
        tier = {"nearest_equality": 0.4, "dcr_share": 0.5}
        floor = {**tier, "nearest_equality_margin": 0.05, "dcr_share_margin": 0.05}
        student = {"nearest_equality": 0.84, "dcr_share": 0.65}
        figures = {"student": student, "teacher": tier, "floor": floor}
        Run(folder).write_json("fidelity.json", figures)
        return folder

    def test_it_is_refused_and_nothing_is_written(self, leaning: Path, tmp_path: Path) -> None:
        result = cascade("release", leaning, "--repository", tmp_path / "models")
        assert result.exit_code == 1
        assert "the student's has 84% of its cells in common" in result.output
        assert "--accept-memorisation" in result.output
        assert not (tmp_path / "models").exists()

    def test_accepted_its_manifest_says_so(self, leaning: Path, tmp_path: Path) -> None:
        accepted = ("--repository", tmp_path / "models", "--accept-memorisation")
        result = cascade("release", leaning, *accepted)
        assert result.exit_code == 0, result.output
        assert "accepted: " in result.output
        about = load_release(tmp_path / "models", "leaning", 1).manifest.training["memorisation"]
        assert about["verdict"] == "accepted"
        assert len(about["found"]) == 2

    def test_within_the_floor_or_not_measured_it_says_which(
        self, leaning: Path, tmp_path: Path
    ) -> None:
        folder = Run(leaning)
        figures = folder.read_json("fidelity.json")
        folder.write_json("fidelity.json", {**figures, "student": figures["teacher"]})
        for version, verdict in ((1, "within the floor"), (2, "not measured")):
            result = cascade("release", leaning, "--repository", tmp_path / "models")
            assert result.exit_code == 0, result.output
            release = load_release(tmp_path / "models", "leaning", version)
            assert release.manifest.training["memorisation"] == {"verdict": verdict}
            folder.path("fidelity.json").unlink(missing_ok=True)

    def test_figures_of_models_that_were_trained_since_are_refused(
        self, leaning: Path, tmp_path: Path
    ) -> None:
        Run(leaning).update(measured={"student": "0" * 64})
        result = cascade("release", leaning, "--repository", tmp_path / "models")
        assert result.exit_code == 1
        assert "the student of" in result.output
        assert "trained since it was evaluated" in result.output


@pytest.mark.parametrize("command", ["fit", "distill", "evaluate", "release", "serve", "ask"])
def test_help_says_what_it_does_with_an_example(command: str) -> None:
    result = cascade(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"cascade {command}" in result.output


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
