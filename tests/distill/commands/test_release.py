"""`cascade release`: versions that count up, and rows that lean on those learnt from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cascade_distill.runs.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler, sample_tokens
from cascade_tables import load_release

from tests.distill.commands.typed import cascade


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
