"""Distillation of a student: teacher rows, teacher probabilities, training, and the release graph.

Finished steps are not repeated, and interrupted ones are resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn

from cascade_distill.distilling.lessons import Lessons, ask_teacher, loss_of_rows
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.learning.rows import (
    identity_of,
    recorded_choices,
    smoothness_of,
    told_neighbours,
)
from cascade_distill.learning.settled_marks import settle_once
from cascade_distill.learning.teacher import TEACHER_FILES, load_teacher
from cascade_distill.learning.teacher_rows import TEACHER_ROWS, one_batch
from cascade_distill.models.neighbours import neighbours_of
from cascade_distill.models.smooth_bins import fold, smooth_student
from cascade_distill.models.student import Student, random_suffix
from cascade_distill.models.teacher import Denoiser
from cascade_distill.recipes import (
    DistillingPace,
    StudentRecipe,
    asked_about,
    distilling_within,
    lessons_to_hold_out,
)
from cascade_distill.runs.checkpoint import load_tensors, save_tensors, write_atomic
from cascade_distill.runs.finished import DISTILLED_FROM
from cascade_distill.runs.run import Run
from cascade_distill.runs.token_store import StoredTokens
from cascade_distill.runtime import BATCH, StudentSampler, TeacherSampler, sample_tokens
from cascade_distill.training.loop import Outcome, Progress, best_device, seconds_a_step, train

# Separate the random suffixes of lessons and of held-out rows from initialisation and batches.
SUFFIXES, HELD_OUT_SUFFIXES = 0x1E55, 0x1E56
STUDENT_CHECKPOINT = "student.checkpoint.safetensors"
LESSON_FILES = (TEACHER_ROWS, "lessons.safetensors")


class _Distilling:
    """A freshly initialised student, its training data, and its held-out rows.

    The student learns from its teacher. If the table has held-out rows, which tell when to stop, it
    also learns from the table rows that its teacher was trained on. Otherwise some of the teacher's
    rows are held out instead.
    """

    def __init__(self, run: Run, recipe: StudentRecipe, lessons: Lessons) -> None:
        self._device = device = best_device()
        self._recipe = recipe
        torch.manual_seed(recipe.train.seed)
        codec = run.codec()
        told = neighbours_of(codec, told_neighbours(run))
        self.model = Student(codec.layout, recipe.model, told)
        if (smoothness := smoothness_of(run)) is not None:
            smooth_student(self.model, smoothness)
        self.model.to(device)
        self._table: Tensor | StoredTokens | None = None
        self.held_out: Callable[[], Tensor] | None = None
        if recipe.table_share and run.path("held_out.safetensors").exists():
            command = f"cascade fit TABLE --out {run.folder}"
            self._lessons = lessons.to(device)
            self._table = run.stored("tokens.safetensors", command).to(device)
            rows = run.tokens("held_out.safetensors", command)
            generator = torch.Generator().manual_seed(HELD_OUT_SUFFIXES + recipe.train.seed)
            suffix = random_suffix(len(rows), codec.layout, recipe.model, generator)
            self.held_out = loss_of_rows(self.model, rows.to(device), suffix.to(device))
            return
        learnt = len(lessons) - lessons_to_hold_out(len(lessons))
        self._lessons, others = lessons.to(device).split(learnt)
        if len(others):
            self.held_out = loss_of_rows(self.model, others.rows, others.suffix)

    def loss(self, model: nn.Module, generator: torch.Generator) -> Tensor:
        """Compute the loss of one batch, with a model that may be a copy of this one."""
        assert isinstance(model, Student)
        rows, beside = self._recipe.train.batch_rows, None
        if self._table is not None:
            own = round(rows * self._recipe.table_share)
            rows -= own
            beside = self._own_rows(self._table, own, generator)
        picked = torch.randint(len(self._lessons), (rows,), generator=generator).to(self._device)
        return self._lessons.loss(model, picked, self._recipe.listened, beside)

    def _own_rows(
        self, table: Tensor | StoredTokens, rows: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return some rows of the table, and the known part of their suffixes."""
        picked = torch.randint(len(table), (rows,), generator=generator).to(self._device)
        suffix = random_suffix(rows, self.model.layout, self._recipe.model, generator)
        return table[picked].to(self._device), suffix.to(self._device)


def _lessons(
    teacher: Denoiser,
    rows: Tensor,
    recipe: StudentRecipe,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Return rows drawn by a teacher, and its probabilities for some of them, on the CPU."""
    device, columns = best_device(), range(max(teacher.layout.column) + 1)
    teacher = teacher.to(device)
    generator = torch.Generator().manual_seed(SUFFIXES + recipe.train.seed)
    suffix = random_suffix(len(rows), teacher.layout, recipe.model, generator)
    return ask_teacher(
        rows.to(device),
        suffix.to(device),
        asked_about(len(rows)),
        lambda part, known: conditionals(teacher, part, known, columns),
        progress,
    ).to(torch.device("cpu"))


def distilling_pace(
    run: Run, teacher: Denoiser, recipe: StudentRecipe, threads: int
) -> DistillingPace:
    """Measure how fast `cascade distill` is on this machine.

    Times some rows of this teacher, its probabilities for them and a few steps of its student; the
    results are discarded.
    """
    teacher = teacher.eval().requires_grad_(False)
    sampler = TeacherSampler(export_teacher(teacher.cpu()), run.codec().layout, threads)
    # The first runs allocate memory.
    sample_tokens(sampler, 8, seed=0)
    rows = min(recipe.rows, BATCH // 4)
    began = time.perf_counter()
    drawn = torch.from_numpy(one_batch(run.codec(), sampler, rows, (0, 0))).long()
    distilling = _Distilling(run, recipe, _lessons(teacher, drawn, recipe))
    a_row = (time.perf_counter() - began) / rows
    return DistillingPace(a_row, seconds_a_step(distilling.model, distilling.loss, recipe.train))


def bounded_distilling(
    run: Run, recipe: StudentRecipe, minutes: float, threads: int
) -> StudentRecipe:
    """Return the recipe that distils for at most some minutes on this machine; see `bounded`."""
    key = identity_of(run, ["teacher.onnx"], asdict(recipe), minutes)
    kept = run.read_json("run.json").get("distil_bound", {})
    if kept.get("identity") == key:
        measured = DistillingPace(**kept["pace"])
    else:
        measured = distilling_pace(run, load_teacher(run), recipe, threads)
        about = {"identity": key, "minutes": minutes, "pace": asdict(measured)}
        run.update(distil_bound=about)
    return distilling_within(recipe, minutes, measured)


def conditionals(
    teacher: Denoiser, rows: Tensor, suffix: Tensor, columns: Iterable[int]
) -> dict[int, Tensor]:
    """Return the teacher's distribution of each slot of these columns, given all before it and the
    known suffix.

    Args:
        teacher: the network, run once per column.
        rows: int64 [n, T + relations]; see `Marks`.
        suffix: bool [n, T], the tokens known beyond the prefix.
        columns: indices of schema columns.

    Returns:
        By slot, probabilities [n, size].
    """
    layout = teacher.layout
    column = torch.as_tensor(layout.column, device=rows.device)
    turn = torch.as_tensor(layout.turn, device=rows.device)[column]
    told = teacher.marks.student_inputs(rows, suffix, None)
    out: dict[int, Tensor] = {}
    for asked in columns:
        own = layout.turn[asked]
        known = (suffix & (turn > own)) | (turn < own)
        tokens = teacher.marks.student_inputs(rows, suffix, known)
        # A fine slot is conditioned on the coarse token of its own column, mark or not.
        tokens = torch.where(column == asked, told, tokens)
        out |= teacher.conditional(tokens, known, asked)
    return out


def ask_teacher_of_rows(
    run: Run, recipe: StudentRecipe, progress: Callable[[int, int], None] | None = None
) -> None:
    """Store the teacher's probabilities for some of the rows that it drew, unless they are there
    already.
    """
    tokens = run.tokens(TEACHER_ROWS, f"cascade distill {run.folder}")
    share = recipe.model.unconditional_share
    files = [TEACHER_ROWS, "teacher.safetensors"]
    identity = identity_of(run, files, recipe.train.seed, share, asked_about(len(tokens)))
    path = run.path("lessons.safetensors")
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        return
    started = time.monotonic()
    lessons = _lessons(load_teacher(run), tokens, recipe, progress)
    said = {"suffix": lessons.suffix, "conditionals": lessons.conditionals}
    save_tensors(path, said, {"identity": identity})
    run.add_seconds("lessons", time.monotonic() - started)


def distill_student(
    run: Run,
    recipe: StudentRecipe,
    progress: Progress | None = None,
    settling: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train the student and export it to student.onnx.

    It learns from its teacher's rows, from the teacher's probabilities for them, and from the
    table's rows.

    Args:
        run, recipe, progress, settling: as for `fit_teacher`.

    Returns:
        How training ended; its loss is that of held-out rows.
    """
    ask_teacher_of_rows(run, recipe)
    tokens = run.tokens(TEACHER_ROWS, f"cascade distill {run.folder}")
    said, _ = load_tensors(run.path("lessons.safetensors"))
    distilling = _Distilling(run, recipe, Lessons(tokens, **said))
    model = distilling.model
    codec, threads = run.codec(), torch.get_num_threads()
    table = run.stored("tokens.safetensors", f"cascade fit TABLE --out {run.folder}")

    def sampler() -> StudentSampler:
        return StudentSampler(export_student(model), codec.layout, threads)

    def finish() -> None:
        seed, seconds = recipe.train.seed, recipe.train.most_seconds
        settle_once(
            run, STUDENT_CHECKPOINT, model, table, sampler, seed, seconds, progress=settling
        )
        fold(model)

    started = time.monotonic()
    outcome = train(
        model,
        partial(distilling.loss, model),
        recipe.train,
        run.path(STUDENT_CHECKPOINT),
        identity_of(run, (*LESSON_FILES, *TEACHER_FILES), asdict(recipe), *recorded_choices(run)),
        progress,
        finish=finish,
        held_out=distilling.held_out,
    )
    run.add_seconds("student", time.monotonic() - started)
    write_atomic(run.path("student.onnx"), export_student(model.cpu()))
    teacher = run.digest("teacher.onnx")
    run.update(student=asdict(recipe) | {"outcome": asdict(outcome), DISTILLED_FROM: teacher})
    return outcome
