"""The graphs that a run has finished: of the rows, the codec and the teacher that are there now.

A folder may be used for another table's rows, or trained once more, and be left before all of it is
made anew. What was made of others must not be released beside what is there.
"""

from __future__ import annotations

from pathlib import Path

from cascade_distill.errors import RunIncomplete
from cascade_distill.runs.run import Run

# In run.json, of the teacher: the rows; of the student: its teacher's graph. Runs of before they
# were noted have neither, until something is made anew.
LEARNT_FROM, DISTILLED_FROM = "learnt_from", "distilled_from"


def teacher_graph(run: Run) -> Path:
    """The finished teacher's graph.

    Raises:
        RunIncomplete: there is none, or it has learnt from other rows.
    """
    command = f"cascade fit TABLE --out {run.folder}"
    path = run.require("teacher.onnx", command)
    about = run.read_json("run.json")
    rows = about.get("data")
    if about.get("teacher", {}).get(LEARNT_FROM, rows) != rows:
        raise RunIncomplete(
            f"{path} has learnt from other rows than those of {run.path('codec.json')}; run first: "
            f"{command}"
        )
    return path


def student_graph(run: Run) -> Path:
    """The finished student's graph.

    Raises:
        RunIncomplete: there is none, or it was distilled from another teacher than is there.
    """
    command = f"cascade distill {run.folder}"
    teacher = teacher_graph(run)
    path = run.require("student.onnx", command)
    noted = run.read_json("run.json").get("student", {}).get(DISTILLED_FROM)
    if noted is not None and noted != run.digest(teacher.name):
        raise RunIncomplete(
            f"{path} was distilled from another teacher than {teacher}; run first: {command}"
        )
    return path


def note_rows(run: Run, before: str) -> None:
    """Others are about to take the place of the rows that a teacher has learnt from."""
    teacher = run.read_json("run.json").get("teacher")
    if teacher is not None:
        run.update(teacher={LEARNT_FROM: before} | teacher)


def note_teacher(run: Run) -> None:
    """Another is about to take the place of the teacher that a student was distilled from."""
    student = run.read_json("run.json").get("student")
    if student is not None and run.path("teacher.onnx").exists():
        run.update(student={DISTILLED_FROM: run.digest("teacher.onnx")} | student)
