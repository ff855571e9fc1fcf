"""Learn a teacher, distil a student: from a table to the two graphs of a release.

Every step reads and writes a run folder (see `run.py`), does nothing twice, and resumes where it
was stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from cascade_tables import Codec, Frame, Schema
from torch import Tensor

from cascade_distill.checkpoint import load_tensors, save_tensors, write_atomic
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_distill.models.teacher import Denoiser, TeacherConfig, random_observed
from cascade_distill.run import Run
from cascade_distill.runtime import TeacherSampler, sample_tokens
from cascade_distill.training import (
    Progress,
    TrainConfig,
    best_device,
    fingerprint,
    train,
)


@dataclass(frozen=True)
class TeacherRecipe:
    """How `cascade fit` learns: the network's size and its training.

    A table of tens of thousands of rows is small: dropout and weight decay are what keeps the
    network from learning its rows by heart; see docs/adr/0003.
    """

    model: TeacherConfig = field(default_factory=TeacherConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=8000, weight_decay=0.3))


@dataclass(frozen=True)
class StudentRecipe:
    """How `cascade distill` learns.

    Attributes:
        model: the student's size.
        train: its training.
        rows: teacher rows to learn from; more rows, less to memorise.
        conditionals: columns a step, drawn at random, that are learnt from the teacher's
            distribution rather than from the one draw of it that a row holds.
    """

    model: StudentConfig = field(default_factory=StudentConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=6000, learning_rate=3e-3))
    rows: int = 400_000
    conditionals: int = 4


def prepare(run: Run, schema: Schema, frame: Frame, source: str) -> None:
    """Fit the codec and encode the training rows, unless the folder holds this very table."""
    codec = Codec.fit(schema, frame)
    tokens = torch.from_numpy(codec.encode(frame))
    run.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(run.path("codec.json"), (json.dumps(codec.to_dict()) + "\n").encode())
    run.save_tokens("tokens.safetensors", tokens, schema.fingerprint)
    run.update(source=source, rows=len(tokens), slots=len(codec.layout.sizes))


def identity_of(run: Run, file: str, *recipe: object) -> str:
    """What a checkpoint must match: the rows it learns from and how."""
    data = hashlib.sha256(run.path(file).read_bytes()).hexdigest()
    return fingerprint(data, *recipe)


def fit_teacher(run: Run, recipe: TeacherRecipe, progress: Progress | None = None) -> Path:
    """Train the teacher on the run's rows and export it; returns teacher.onnx's path."""
    command = f"cascade fit TABLE --out {run.folder}"
    tokens = run.tokens("tokens.safetensors", command)
    layout = run.codec().layout
    device = best_device()
    torch.manual_seed(recipe.train.seed)
    model = Denoiser(layout, recipe.model).to(device)
    tokens = tokens.to(device)
    rows = recipe.train.batch_rows

    def loss(generator: torch.Generator) -> torch.Tensor:
        picked = torch.randint(len(tokens), (rows,), generator=generator).to(device)
        observed = random_observed(rows, layout, generator).to(device)
        return model.loss(tokens[picked], observed, generator)

    started = time.monotonic()
    identity = identity_of(run, "tokens.safetensors", asdict(recipe))
    checkpoint = run.path("teacher.checkpoint.safetensors")
    train(model, loss, recipe.train, checkpoint, identity, progress, finish=model.centre_head)
    _add_seconds(run, "teacher", time.monotonic() - started)
    run.update(teacher=asdict(recipe))
    save_tensors(run.path("teacher.safetensors"), model.cpu().state_dict(), {"identity": identity})
    write_atomic(run.path("teacher.onnx"), export_teacher(model))
    return run.path("teacher.onnx")


def load_teacher(run: Run) -> Denoiser:
    """The finished teacher of a run folder, as a network."""
    path = run.require("teacher.safetensors", f"cascade fit TABLE --out {run.folder}")
    model = Denoiser(
        run.codec().layout, TeacherConfig(**run.read_json("run.json")["teacher"]["model"])
    )
    model.load_state_dict(load_tensors(path)[0])
    return model.requires_grad_(False)


def conditionals(
    teacher: Denoiser, tokens: Tensor, suffix: Tensor, columns: Iterable[int]
) -> dict[int, Tensor]:
    """What the teacher says of these columns' slots given all before them and the known suffix.

    Args:
        teacher: the network to ask, one pass a column.
        tokens: int64 [n, T].
        suffix: bool [n, T], what is known beyond the prefix.
        columns: indices of schema columns.

    Returns:
        By slot, probabilities [n, size].
    """
    column = torch.as_tensor(teacher.layout.column, device=tokens.device)
    out: dict[int, Tensor] = {}
    for asked in columns:
        known = (suffix & (column > asked)) | (column < asked)
        out |= teacher.conditional(tokens, known, asked)
    return out


def draw_teacher_rows(
    run: Run,
    rows: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the rows that the student learns from, unless they are there."""
    teacher = run.require("teacher.onnx", f"cascade fit TABLE --out {run.folder}")
    identity = identity_of(run, "teacher.onnx", rows, seed)
    path = run.path("teacher_rows.safetensors")
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        return
    started = time.monotonic()
    sampler = TeacherSampler(str(teacher), run.codec().layout, threads)
    tokens = sample_tokens(sampler, rows, seed, progress)
    run.save_tokens("teacher_rows.safetensors", torch.from_numpy(tokens), identity)
    _add_seconds(run, "teacher_rows", time.monotonic() - started)


def distill_student(run: Run, recipe: StudentRecipe, progress: Progress | None = None) -> Path:
    """Train the student on the teacher's rows and export it; returns student.onnx's path."""
    tokens = run.tokens("teacher_rows.safetensors", f"cascade distill {run.folder}")
    layout = run.codec().layout
    device = best_device()
    torch.manual_seed(recipe.train.seed)
    model = Student(layout, recipe.model).to(device)
    tokens = tokens.to(device)
    teacher = load_teacher(run).to(device)
    rows, columns = recipe.train.batch_rows, max(layout.column) + 1

    def loss(generator: torch.Generator) -> torch.Tensor:
        picked = torch.randint(len(tokens), (rows,), generator=generator).to(device)
        observed = random_suffix(rows, layout, recipe.model, generator).to(device)
        asked = torch.randperm(columns, generator=generator)[: recipe.conditionals].tolist()
        with torch.no_grad():
            known = conditionals(teacher, tokens[picked], observed, asked)
        return model.loss(tokens[picked], observed, known)

    started = time.monotonic()
    identity = identity_of(run, "teacher_rows.safetensors", asdict(recipe))
    train(model, loss, recipe.train, run.path("student.checkpoint.safetensors"), identity, progress)
    _add_seconds(run, "student", time.monotonic() - started)
    write_atomic(run.path("student.onnx"), export_student(model.cpu()))
    run.update(student=asdict(recipe))
    return run.path("student.onnx")


def _add_seconds(run: Run, what: str, seconds: float) -> None:
    """Count time spent, over all the times a step was stopped and resumed."""
    spent = dict(run.read_json("run.json").get("seconds", {}))
    spent[what] = round(spent.get(what, 0.0) + seconds, 1)
    run.update(seconds=spent)
