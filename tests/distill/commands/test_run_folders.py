"""Run folders that are used twice, by two at once, or that are damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cascade_distill.runs.run import Run

from tests.distill.commands.typed import cascade, write_csv
from tests.releases import payments


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, for a test to change."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another table of the same columns."""
    path = tmp_path / "other.csv"
    write_csv(payments(500), path)
    return path


def fit(table: Path, folder: Path) -> str:
    done = cascade("fit", table, "--out", folder, "--steps", "3", "--threads", "1")
    assert done.exit_code == 0, done.output
    return str(done.output)


class TestAnotherTable:
    """What was made of one table is not released beside what was made of another."""

    def test_a_student_of_another_teacher_is_not_released(
        self, copy: Path, other: Path, tmp_path: Path
    ) -> None:
        (copy / "teacher.checkpoint.safetensors").unlink()
        fit(other, copy)
        for command in (
            ("release", copy, "--repository", tmp_path / "models"),
            ("evaluate", copy, "--train", other),
        ):
            done = cascade(*command)
            assert done.exit_code == 1
            assert "student.onnx was distilled from another teacher" in done.output
            assert f"run first: cascade distill {copy}" in done.output.replace("\n", " ")
        assert not (tmp_path / "models").exists()
        distilled = cascade("distill", copy, "--steps", "2", "--rows", "200", "--threads", "1")
        # Its own checkpoint is of the other table too, and says so.
        assert "student.checkpoint.safetensors belongs to another run" in distilled.output
        (copy / "student.checkpoint.safetensors").unlink()
        distilled = cascade("distill", copy, "--steps", "2", "--rows", "200", "--threads", "1")
        assert distilled.exit_code == 0, distilled.output
        released = cascade("release", copy, "--repository", tmp_path / "models")
        assert released.exit_code == 0, released.output

    @pytest.mark.parametrize("of_before", [False, True])
    def test_nor_a_teacher_of_other_rows(
        self, copy: Path, other: Path, tmp_path: Path, of_before: bool
    ) -> None:
        """`cascade fit` was killed when the new rows were there; also of a folder that was made
        before it was noted what a teacher is of."""
        about = Run(copy).read_json("run.json")
        if of_before:
            del about["teacher"]["learnt_from"], about["student"]["distilled_from"]
        Run(copy).write_json("run.json", about)
        graph = (copy / "teacher.onnx").read_bytes()
        (copy / "teacher.checkpoint.safetensors").unlink()
        killed = (
            "import cascade_distill.commands as c\n"
            "def stop(*_, **__): raise SystemExit(9)\n"
            "c.fit_teacher = stop\n"
            "c.fit()"
        )
        options = [str(other), "--out", str(copy), "--steps", "3", "--threads", "1"]
        done = subprocess.run([sys.executable, "-c", killed, *options], check=False, timeout=120)
        assert done.returncode == 9
        assert (copy / "teacher.onnx").read_bytes() == graph
        for command in (
            ("release", copy, "--repository", tmp_path / "models"),
            ("distill", copy, "--steps", "2", "--rows", "200"),
        ):
            refused = cascade(*command)
            assert refused.exit_code == 1
            assert "teacher.onnx has learnt from other rows than those of" in refused.output

    def test_a_folder_of_before_is_released(self, copy: Path, tmp_path: Path) -> None:
        about = Run(copy).read_json("run.json")
        del about["teacher"]["learnt_from"], about["student"]["distilled_from"]
        Run(copy).write_json("run.json", about)
        done = cascade("release", copy, "--repository", tmp_path / "models")
        assert done.exit_code == 0, done.output


class TestTwoAtOnce:
    def test_the_second_is_told_who_is_at_work(self, copy: Path, other: Path) -> None:
        holds = "import sys; from pathlib import Path; from cascade_distill.runs.run import Run\n"
        holds += "with Run(Path(sys.argv[1])).at_work():\n    print(flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", holds, str(copy)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            before = (copy / "codec.json").read_bytes()
            for command in (
                ("fit", other, "--out", copy),
                ("distill", copy),
                ("evaluate", copy, "--train", other),
                ("release", copy),
            ):
                done = cascade(*command)
                assert done.exit_code == 1
                said = done.output.replace("\n", " ")
                assert f"at work in {copy} (process {process.pid})" in said
            assert (copy / "codec.json").read_bytes() == before
            process.communicate("\n")
        with Run(copy).at_work():  # the lock went with its process
            pass


@pytest.mark.parametrize(
    ("file", "commands"),
    [
        ("run.json", ("fit", "distill", "release")),
        ("codec.json", ("distill", "release")),
        ("tokens.safetensors", ("fit", "distill")),
        ("teacher.checkpoint.safetensors", ("fit",)),
        ("teacher.safetensors", ("distill",)),
        ("teacher_rows.safetensors", ("distill",)),
        ("teacher.onnx", ("distill",)),
        ("student.onnx", ("evaluate",)),
    ],
)
def test_a_damaged_file_is_named(
    copy: Path, table: Path, file: str, commands: tuple[str, ...]
) -> None:
    path = copy / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (copy / "lessons.safetensors").unlink()
    typed = {
        "fit": ("fit", table, "--out", copy, "--steps", "40", "--threads", "1"),
        "distill": ("distill", copy, "--steps", "40", "--rows", "2000", "--threads", "1"),
        "evaluate": ("evaluate", copy, "--train", table, "--samples", "1"),
        "release": ("release", copy, "--repository", copy.parent / "models"),
    }
    for command in commands:
        done = cascade(*typed[command])
        assert done.exit_code == 1, command
        assert done.exception is None or isinstance(done.exception, SystemExit), command
        assert f"{file} cannot be read" in done.output.replace("\n", ""), command


@pytest.mark.parametrize("out", ["/proc/nope", "{file}/r"])
def test_a_folder_that_cannot_be_written(table: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    folder = out.format(file=tmp_path / "file")
    done = cascade("fit", table, "--out", folder, "--steps", "3")
    assert done.exit_code != 0
    assert isinstance(done.exception, SystemExit)
    assert folder.rpartition("/")[0] in done.output.replace("\n", "")


class TestEvaluateRefusesEarly:
    def test_a_target_that_is_misspelt(
        self, copy: Path, table: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cascade_distill.measure.draw_samples", None)
        done = cascade("evaluate", copy, "--train", table, "--target", "amuont")
        assert done.exit_code == 1
        assert "unknown column 'amuont'" in done.output

    def test_too_few_rows_that_were_held_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = tmp_path / "small.csv"
        write_csv(payments(80), table)
        fit(table, tmp_path / "run")
        shutil.copy(tmp_path / "run" / "teacher.onnx", tmp_path / "run" / "student.onnx")
        monkeypatch.setattr("cascade_distill.measure.draw_samples", None)
        done = cascade("evaluate", tmp_path / "run", "--train", table)
        assert done.exit_code == 1
        assert "at least 20 are needed to compare with; give other real" in done.output
