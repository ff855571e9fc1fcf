"""Learn a teacher, distil a student: from a table to the two graphs of a release.

Every step reads and writes a run folder (see `run.py`), does nothing twice, and resumes where it
was stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from cascade_tables import CascadeTablesError, Codec, Frame, Schema
from cascade_tables.files.table import Stream, below_each_other, stream_of
from numpy.typing import NDArray
from torch import Tensor, nn

from cascade_distill import held_out
from cascade_distill.calibration import calibrate_marks
from cascade_distill.checkpoint import load_tensors, save_tensors, write_atomic
from cascade_distill.distilling.lessons import Lessons, ask_teacher, gap_to_teacher
from cascade_distill.errors import CheckpointMismatch, OtherTable
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.models.neighbours import CHOICE_ROWS, Chosen, chosen_neighbours, neighbours_of
from cascade_distill.models.student import Student, random_suffix
from cascade_distill.models.teacher import Denoiser, TeacherConfig, random_observed
from cascade_distill.recipes import (
    DistillingPace,
    StudentRecipe,
    TeacherRecipe,
    distilling_within,
    lessons_to_hold_out,
    rows_to_hold_out,
    within,
)
from cascade_distill.run import Run
from cascade_distill.runtime import BATCH, TeacherSampler, sample_tokens
from cascade_distill.token_store import TokenWriter
from cascade_distill.training import (
    Outcome,
    Progress,
    best_device,
    fast_bfloat16,
    fingerprint,
    seconds_a_step,
    train,
)


def prepare(
    run: Run,
    schema: Schema,
    frame: Frame,
    source: str,
    seed: int = 0,
    validation: Frame | None = None,
    stream: Stream | None = None,
) -> int:
    """Fit the codec, hold rows out and encode both parts.

    Args:
        run: the folder to write to.
        schema: of the table.
        frame: the table, or of one that is larger than memory should hold, the rows by which it is
            decided.
        source: its name.
        seed: of which rows are held out.
        validation: rows of a file of their own to hold out; None: some of the table's.

    Returns:
        How many rows of `validation` were left out, since they have values that are not in the
        table.

    Raises:
        HeldOutRefused: `validation` cannot be used.
        CheckpointMismatch: the folder holds what was learnt of other rows; it is left as it is.
    """
    codec = Codec.fit(schema, frame)
    codec_file = (json.dumps(codec.to_dict()) + "\n").encode()
    stream = stream or stream_of(frame)
    kept, others, left_out = np.zeros(0, np.int64), None, 0
    if validation is None:
        _, kept = held_out.split(stream.rows, rows_to_hold_out(stream.rows), seed)
    else:
        others, left_out = held_out.encode_file(codec, validation, seed)
    rows, sizes = stream.rows - len(kept), codec.layout.sizes
    path = run.path("tokens.safetensors")
    with TokenWriter(
        path, rows, codec.learnable_width, max(sizes) - 1, schema.fingerprint
    ) as writer:
        found = held_out.encode_learnt(codec, stream, kept, writer)
        others = found if others is None else others
        digests = (hashlib.sha256(part).hexdigest() for part in (codec_file, others.tobytes()))
        data = fingerprint(next(digests), writer.digest, next(digests))
        before = run.read_json("run.json").get("data", data)
        checkpoint = run.path(TEACHER_CHECKPOINT)
        begun = checkpoint.exists()
        if begun and before != data:
            raise CheckpointMismatch(checkpoint, before, data)
        write_atomic(run.path("codec.json"), codec_file)
        writer.commit()
    if len(others):
        run.save_tokens("held_out.safetensors", torch.from_numpy(others), schema.fingerprint)
    else:
        run.path("held_out.safetensors").unlink(missing_ok=True)
    run.update(
        source=source,
        data=data,
        rows=rows,
        slots=len(sizes),
        bfloat16=has_bfloat16(run),
        # A run that has begun goes on as it was; one of before there were any has none.
        neighbours=_neighbours(run) if begun else _found_neighbours(run, codec),
        held_out={"rows": len(others), "of_the_table": validation is None, "seed": seed},
    )
    return left_out


def has_bfloat16(run: Run) -> bool:
    """Whether a run's matrix products are in bfloat16 where that pays: what the machine that it
    began on has, so that it is resumed as it began."""
    return bool(run.read_json("run.json").get("bfloat16", fast_bfloat16()))


def _found_neighbours(run: Run, codec: Codec) -> list[Chosen]:
    """Which numbers are near each other in the rows to learn from; see `chosen_neighbours`."""
    stored = run.stored("tokens.safetensors", "")
    few = np.linspace(0, len(stored) - 1, min(len(stored), CHOICE_ROWS)).astype(np.int64)
    rows = stored[torch.from_numpy(few)].numpy()
    return chosen_neighbours(codec, rows)


def _neighbours(run: Run) -> list[Chosen]:
    """Those that the run's teacher is told of: columns, and of each the others."""
    kept = run.read_json("run.json").get("neighbours", [])
    return [
        (column, tuple(tuple((other, sign) for other, sign in terms) for terms in neighbours))
        for column, neighbours in kept
    ]


def _untaught(run: Run, codec: Codec, config: TeacherConfig) -> Denoiser:
    """A teacher with weights at random; its numbers are told of the run's neighbours."""
    return Denoiser(codec.layout, config, neighbours_of(codec, _neighbours(run)))


def learnt_size(run: Run) -> tuple[int, int]:
    """Rows that the run's teacher learnt from, and columns.

    Raises:
        RunIncomplete: nothing was learnt there.
    """
    columns = len(run.codec().schema.columns)
    return int(run.read_json("run.json")["rows"]), columns


def parts_of(run: Run, table: Stream) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows of a table a run has learnt from, and which of them it held out.

    Args:
        run: a run folder.
        table: the one that `cascade fit` was given; only its length is looked at.

    Returns:
        Indices of rows; the second are none where a file of its own was held out, or nothing.

    Raises:
        OtherTable: the run has learnt from a table of another length.
    """
    about = run.read_json("run.json").get("held_out", {})
    count = int(about.get("rows", 0)) if about.get("of_the_table", False) else 0
    seen = run.stored("tokens.safetensors", f"cascade fit TABLE --out {run.folder}")
    if table.rows != len(seen) + count:
        raise OtherTable(
            f"the table has {table.rows:,} rows, but {run.folder} learnt from one of "
            f"{len(seen) + count:,}; give the file that was learnt from"
        )
    return held_out.split(table.rows, count, int(about.get("seed", 0)))


def taken_from(run: Run, table: Stream, wanted: Sequence[NDArray[np.int64]]) -> tuple[Frame, ...]:
    """Rows of the table that a run has learnt from, of which all are read once and checked.

    Args:
        run: a run folder.
        table: the one that `cascade fit` was given.
        wanted: of each frame that is asked for, indices of rows, ascending.

    Raises:
        OtherTable: these are not the rows that the run has learnt from.
    """
    codec, held = run.codec(), parts_of(run, table)[1]
    seen = run.stored("tokens.safetensors", "")
    found: list[list[Frame]] = [[] for _ in wanted]
    begin = learnt = 0
    for chunk in table.chunks():
        end = begin + len(chunk)
        here = np.ones(len(chunk), bool)
        here[held[slice(*np.searchsorted(held, [begin, end]))] - begin] = False
        try:
            tokens = codec.learnable(chunk.take(here))
        except CascadeTablesError as exc:
            raise OtherTable(f"this is not the table that {run.folder} learnt from: {exc}") from exc
        if not np.array_equal(tokens, seen[learnt : learnt + len(tokens)].numpy()):
            raise OtherTable(
                f"the table's rows are not those that {run.folder} learnt from, though as many; "
                "give the file that was learnt from"
            )
        learnt += len(tokens)
        for rows, parts in zip(wanted, found, strict=True):
            parts.append(chunk.take(rows[slice(*np.searchsorted(rows, [begin, end]))] - begin))
        begin = end
    return tuple(map(below_each_other, found))


def identity_of(run: Run, files: Sequence[str], *recipe: object) -> str:
    """What a checkpoint must match: the rows it learns from (of files that are there) and how."""
    data = {file: run.digest(file) for file in files if run.path(file).exists()}
    return fingerprint(data, *recipe)


TEACHER_CHECKPOINT = "teacher.checkpoint.safetensors"
# Apart from the stream that the rows are drawn from.
INSIDE_BINS = 0xB145
TEACHER_FILES = ("tokens.safetensors", "held_out.safetensors")
LESSON_FILES = ("teacher_rows.safetensors", "lessons.safetensors")
# What is known of lessons' suffixes is drawn apart from initialisation and batches.
SUFFIXES = 0x1E55


class _Teaching:
    """A freshly initialised teacher and the rows that it is to learn."""

    def __init__(self, run: Run, recipe: TeacherRecipe) -> None:
        command = f"cascade fit TABLE --out {run.folder}"
        device = best_device()
        codec = run.codec()
        self._layout = codec.layout
        self._rows, self._device = recipe.train.batch_rows, device
        self.rows = run.stored("tokens.safetensors", command).to(device)
        torch.manual_seed(recipe.train.seed)
        self.model = _untaught(run, codec, recipe.model).to(device)
        self.held_out: Callable[[], Tensor] | None = None
        if run.path("held_out.safetensors").exists():
            others = run.tokens("held_out.safetensors", command).to(device)
            self.held_out = held_out.held_out_loss(self.model, others, recipe.train.seed)

    def loss(self, model: nn.Module, generator: torch.Generator) -> Tensor:
        """Of one batch, with a model that may be a copy of this one."""
        assert isinstance(model, Denoiser)
        picked = torch.randint(len(self.rows), (self._rows,), generator=generator)
        observed = random_observed(self._rows, self._layout, generator).to(self._device)
        return model.loss(self.rows[picked.to(self._device)], observed, generator)


class _Distilling:
    """A freshly initialised student, what it is to learn of its teacher, and what is held out."""

    def __init__(self, run: Run, recipe: StudentRecipe, lessons: Lessons) -> None:
        device = best_device()
        learnt = len(lessons) - lessons_to_hold_out(len(lessons))
        self._lessons, others = lessons.to(device).split(learnt)
        self._rows = recipe.train.batch_rows
        torch.manual_seed(recipe.train.seed)
        codec = run.codec()
        told = neighbours_of(codec, _neighbours(run))
        self.model = Student(codec.layout, recipe.model, told).to(device)
        self.held_out = gap_to_teacher(self.model, others) if len(others) else None

    def loss(self, model: nn.Module, generator: torch.Generator) -> Tensor:
        """Of one batch, with a model that may be a copy of this one."""
        assert isinstance(model, Student)
        picked = torch.randint(len(self._lessons), (self._rows,), generator=generator)
        return self._lessons.loss(model, picked.to(self._lessons.rows.device))


def _lessons(
    teacher: Denoiser,
    rows: Tensor,
    recipe: StudentRecipe,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """What a teacher says of rows of its own, on the CPU."""
    device, columns = best_device(), range(max(teacher.layout.column) + 1)
    teacher = teacher.to(device)
    generator = torch.Generator().manual_seed(SUFFIXES + recipe.train.seed)
    suffix = random_suffix(len(rows), teacher.layout, recipe.model, generator)
    return ask_teacher(
        rows.to(device),
        suffix.to(device),
        lambda part, known: conditionals(teacher, part, known, columns),
        progress,
    ).to(torch.device("cpu"))


def pace(run: Run, recipe: TeacherRecipe) -> float:
    """Seconds that a step of this teacher takes here; a few are timed, and nothing is kept."""
    teaching = _Teaching(run, recipe)
    return seconds_a_step(teaching.model, teaching.loss, recipe.train)


def distilling_pace(
    run: Run, teacher: Denoiser, recipe: StudentRecipe, threads: int
) -> DistillingPace:
    """How fast `cascade distill` is here: some rows of this teacher, what it says of them and a few
    steps of its student are timed, and nothing is kept."""
    teacher = teacher.eval().requires_grad_(False)
    sampler = TeacherSampler(export_teacher(teacher.cpu()), run.codec().layout, threads)
    # The first runs make room.
    sample_tokens(sampler, 8, seed=0)
    rows = min(recipe.rows, BATCH // 4)
    began = time.perf_counter()
    drawn = torch.from_numpy(relearnable(run.codec(), sample_tokens(sampler, rows, 0), 0)).long()
    distilling = _Distilling(run, recipe, _lessons(teacher, drawn, recipe))
    a_row = (time.perf_counter() - began) / rows
    return DistillingPace(a_row, seconds_a_step(distilling.model, distilling.loss, recipe.train))


def untaught_teacher(run: Run, recipe: TeacherRecipe) -> Denoiser:
    """A teacher that has learnt nothing yet, to tell how long one will take."""
    return _Teaching(run, recipe).model


def bounded(run: Run, recipe: TeacherRecipe, minutes: float) -> TeacherRecipe:
    """The recipe that trains for no longer than some minutes on this machine.

    It is chosen once: a run that is resumed goes on with the steps that it began with, though the
    machine may be faster or slower by then.
    """
    key = identity_of(run, TEACHER_FILES, asdict(recipe), minutes)
    kept = run.read_json("run.json").get("bound", {})
    if kept.get("identity") == key:
        seconds = float(kept["seconds_a_step"])
    else:
        seconds = pace(run, recipe)
        run.update(bound={"identity": key, "minutes": minutes, "seconds_a_step": seconds})
    return within(recipe, minutes, seconds)


def bounded_distilling(
    run: Run, recipe: StudentRecipe, minutes: float, threads: int
) -> StudentRecipe:
    """The recipe that distils for no longer than some minutes on this machine; as `bounded`."""
    key = identity_of(run, ["teacher.onnx"], asdict(recipe), minutes)
    kept = run.read_json("run.json").get("distil_bound", {})
    if kept.get("identity") == key:
        measured = DistillingPace(**kept["pace"])
    else:
        measured = distilling_pace(run, load_teacher(run), recipe, threads)
        about = {"identity": key, "minutes": minutes, "pace": asdict(measured)}
        run.update(distil_bound=about)
    return distilling_within(recipe, minutes, measured)


def fit_teacher(run: Run, recipe: TeacherRecipe, progress: Progress | None = None) -> Outcome:
    """Train the teacher on the run's rows and export it to teacher.onnx; says how that ended."""
    teaching = _Teaching(run, recipe)
    model = teaching.model
    started = time.monotonic()
    # Without neighbours, as it was before there were any.
    told = [_neighbours(run)] if _neighbours(run) else []
    identity = identity_of(run, TEACHER_FILES, asdict(recipe), *told)
    checkpoint = run.path(TEACHER_CHECKPOINT)

    def finish() -> None:
        calibrate_marks(model, teaching.rows, recipe.train.seed)
        model.centre_head()

    outcome = train(
        model,
        partial(teaching.loss, model),
        recipe.train,
        checkpoint,
        identity,
        progress,
        finish=finish,
        held_out=teaching.held_out,
    )
    _add_seconds(run, "teacher", time.monotonic() - started)
    run.update(teacher=asdict(recipe) | {"outcome": asdict(outcome)})
    save_tensors(run.path("teacher.safetensors"), model.cpu().state_dict(), {"identity": identity})
    write_atomic(run.path("teacher.onnx"), export_teacher(model))
    return outcome


def load_teacher(run: Run) -> Denoiser:
    """The finished teacher of a run folder, as a network."""
    path = run.require("teacher.safetensors", f"cascade fit TABLE --out {run.folder}")
    config = TeacherConfig(**run.read_json("run.json")["teacher"]["model"])
    model = _untaught(run, run.codec(), config)
    model.load_state_dict(load_tensors(path)[0])
    return model.requires_grad_(False)


def conditionals(
    teacher: Denoiser, rows: Tensor, suffix: Tensor, columns: Iterable[int]
) -> dict[int, Tensor]:
    """What the teacher says of these columns' slots given all before them and the known suffix.

    Args:
        teacher: the network to ask, one pass a column.
        rows: int64 [n, T + relations]; see `Marks`.
        suffix: bool [n, T], what is known beyond the prefix.
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
        # A fine slot is told the coarse token of its own column, mark or not.
        tokens = torch.where(column == asked, told, tokens)
        out |= teacher.conditional(tokens, known, asked)
    return out


def draw_teacher_rows(
    run: Run,
    rows: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the rows that the student learns from and is looked at with, unless they are there."""
    teacher = run.require("teacher.onnx", f"cascade fit TABLE --out {run.folder}")
    identity = identity_of(run, ["teacher.onnx"], rows, seed)
    path = run.path("teacher_rows.safetensors")
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        return
    started = time.monotonic()
    codec = run.codec()
    sampler = TeacherSampler(str(teacher), codec.layout, threads)
    tokens = relearnable(codec, sample_tokens(sampler, rows, seed, progress), seed)
    run.save_tokens("teacher_rows.safetensors", torch.from_numpy(tokens), identity)
    _add_seconds(run, "teacher_rows", time.monotonic() - started)


def relearnable(codec: Codec, tokens: NDArray[np.int32], seed: int) -> NDArray[np.int32]:
    """Drawn rows, int32 [n, T], as rows to learn from: numbers that follow from others are what
    they are computed to be, and which relations hold is looked up anew.

    Returns:
        int32 [n, T + relations]; see `Codec.learnable`.
    """
    if not codec.arithmetic:
        return np.pad(tokens, ((0, 0), (0, len(codec.schema.relations))))
    frame = codec.decode(tokens, np.random.default_rng([INSIDE_BINS, seed]))
    return codec.learnable(frame)


def ask_teacher_of_rows(
    run: Run, recipe: StudentRecipe, progress: Callable[[int, int], None] | None = None
) -> None:
    """Have the teacher say what it thinks of the rows that it made, unless it has."""
    tokens = run.tokens("teacher_rows.safetensors", f"cascade distill {run.folder}")
    share = recipe.model.unconditional_share
    files = ["teacher_rows.safetensors", "teacher.safetensors"]
    identity = identity_of(run, files, recipe.train.seed, share)
    path = run.path("lessons.safetensors")
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        return
    started = time.monotonic()
    lessons = _lessons(load_teacher(run), tokens, recipe, progress)
    said = {"suffix": lessons.suffix, "conditionals": lessons.conditionals}
    save_tensors(path, said, {"identity": identity})
    _add_seconds(run, "lessons", time.monotonic() - started)


def distill_student(run: Run, recipe: StudentRecipe, progress: Progress | None = None) -> Outcome:
    """Train the student on what its teacher says of its own rows, and export it to student.onnx.

    Returns:
        How that ended; its loss is the distance to the teacher, see `gap_to_teacher`.
    """
    ask_teacher_of_rows(run, recipe)
    tokens = run.tokens("teacher_rows.safetensors", f"cascade distill {run.folder}")
    said, _ = load_tensors(run.path("lessons.safetensors"))
    distilling = _Distilling(run, recipe, Lessons(tokens, **said))
    told = [_neighbours(run)] if _neighbours(run) else []
    model = distilling.model
    started = time.monotonic()
    outcome = train(
        model,
        partial(distilling.loss, model),
        recipe.train,
        run.path("student.checkpoint.safetensors"),
        identity_of(run, LESSON_FILES, asdict(recipe), *told),
        progress,
        held_out=distilling.held_out,
    )
    _add_seconds(run, "student", time.monotonic() - started)
    write_atomic(run.path("student.onnx"), export_student(model.cpu()))
    run.update(student=asdict(recipe) | {"outcome": asdict(outcome)})
    return outcome


def _add_seconds(run: Run, what: str, seconds: float) -> None:
    """Count time spent, over all the times a step was stopped and resumed."""
    spent = dict(run.read_json("run.json").get("seconds", {}))
    spent[what] = round(spent.get(what, 0.0) + seconds, 1)
    run.update(seconds=spent)
