"""The commands that learn, from a CSV file to a release, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cascade_cli.program import main
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
        assert "schema.yaml" in done.output
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


@pytest.mark.parametrize("command", ["fit", "distill", "evaluate", "release", "serve", "ask"])
def test_help_says_what_it_does_with_an_example(command: str) -> None:
    result = cascade(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"cascade {command}" in result.output


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

    def test_a_column_to_predict_that_is_not_there_is_named(self, run: Path, table: Path) -> None:
        files = ("--train", table, "--test", table, "--target", "froud")
        result = cascade("evaluate", run, *files, "--samples", "1", "--threads", "1")
        assert result.exit_code == 1
        assert "'froud'" in result.output
        assert "fraud" in result.output
