"""Access to a run's finished graphs, checked against the rows, codec and teacher that are there
now.

A folder may be used for another table's rows, or trained again, and left before everything in it is
made anew. A graph made from other rows or another teacher must not be released with the current
ones.
"""

from __future__ import annotations

from pathlib import Path

from cascade_distill.errors import RunIncomplete
from cascade_distill.runs.run import Run

# Keys in run.json: for the teacher, the rows it was trained on; for the student, its teacher's
# graph. Runs that predate these keys have neither until something is made anew.
LEARNT_FROM, DISTILLED_FROM = "learnt_from", "distilled_from"


def teacher_graph(run: Run) -> Path:
    """Return the path of the finished teacher's graph.

    Raises:
        RunIncomplete: there is none, or it was trained on other rows.
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
    """Return the path of the finished student's graph.

    Raises:
        RunIncomplete: there is none, or it was distilled from another teacher.
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
    """Record the rows that the teacher was trained on, before other rows replace them."""
    teacher = run.read_json("run.json").get("teacher")
    if teacher is not None:
        run.update(teacher={LEARNT_FROM: before} | teacher)


def note_teacher(run: Run) -> None:
    """Record the teacher that the student was distilled from, before another replaces it."""
    student = run.read_json("run.json").get("student")
    if student is not None and run.path("teacher.onnx").exists():
        run.update(student={DISTILLED_FROM: run.digest("teacher.onnx")} | student)
