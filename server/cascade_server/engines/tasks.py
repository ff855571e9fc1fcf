"""Tasks that engines run in batches: the student's in one run, the teacher's pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from cascade_tables.sampling import TeacherRows

from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.spent import Spent


@dataclass
class StudentTask:
    """Rows that one run of the student completes.

    Attributes:
        tokens: int32 [n, T].
        observed: bool [n, T], which tokens are known.
        noise: uniform float32 [n, student_noise], from the request's own seed, so that the result
            does not depend on which requests share the batch.
        drawn: int32 [n, T]; None until the task is done.
        spent: the account that the run is charged to.
    """

    tokens: Tokens
    observed: Mask
    noise: Noise
    drawn: Tokens | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def rows(self) -> int:
        return len(self.tokens)

    @property
    def passes(self) -> int:
        return 1

    @property
    def done(self) -> bool:
        return self.drawn is not None


@dataclass
class TeacherTask:
    """Rows on their way through the teacher; a batch may mix requests at different passes.

    Attributes:
        underway: the rows and their progress.
        whole: whether one run takes the rows through all their passes, rather than one.
        spent: the account that the runs are charged to.
    """

    underway: TeacherRows
    whole: bool = False
    spent: Spent = field(default_factory=Spent)

    @property
    def rows(self) -> int:
        return self.underway.pending

    @property
    def passes(self) -> int:
        return self.underway.passes - self.underway.step if self.whole else 1

    @property
    def done(self) -> bool:
        return self.underway.done


@dataclass
class SeededTask:
    """Rows for a teacher on a GPU, which makes their noise and all their passes in one run.

    Attributes:
        tokens: int32 [n, T].
        observed: bool [n, T], which tokens are known.
        noise: location of teacher_noise numbers per row in the stream of a seed.
        steps: the most passes.
        passes: passes that the rows take.
        drawn: int32 [n, T]; None until the task is done.
        spent: the account that the run is charged to.
    """

    tokens: Tokens
    observed: Mask
    noise: Uniform
    steps: int
    passes: int
    drawn: Tokens | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def rows(self) -> int:
        return len(self.tokens)

    @property
    def done(self) -> bool:
        return self.drawn is not None


def run_student(runtime: Runtime, tasks: Sequence[StudentTask]) -> None:
    """Complete tasks with one run of the student."""
    if len(tasks) == 1:
        (task,) = tasks
        task.drawn = runtime.draw_student(task.tokens, task.observed, task.noise)
        return
    drawn = runtime.draw_student(
        np.concatenate([task.tokens for task in tasks]),
        np.concatenate([task.observed for task in tasks]),
        np.concatenate([task.noise for task in tasks]),
    )
    start = 0
    for task in tasks:
        task.drawn = drawn[start : start + task.rows]
        start += task.rows


def run_teacher(runtime: Runtime, tasks: Sequence[TeacherTask | SeededTask]) -> None:
    """Take tasks one pass further, or to their end if the runtime makes all passes in one run."""
    seeded = [task for task in tasks if isinstance(task, SeededTask)]
    if seeded:
        _run_seeded(runtime, seeded)
    given = [task for task in tasks if isinstance(task, TeacherTask)]
    if not given:
        return
    if runtime.whole_passes:
        _run_whole(runtime, given)
    else:
        _run_pass(runtime, given)


def _run_pass(runtime: Runtime, tasks: Sequence[TeacherTask]) -> None:
    passes = [task.underway.next_pass() for task in tasks]
    if len(passes) == 1:
        tasks[0].underway.keep(runtime.denoise(*passes[0]))
        return
    tokens, known, noise = (np.concatenate(parts) for parts in zip(*passes, strict=True))
    drawn = runtime.denoise(tokens, known, noise)
    start = 0
    for task, (part, _, _) in zip(tasks, passes, strict=True):
        task.underway.keep(drawn[start : start + len(part)])
        start += len(part)


def _run_whole(runtime: Runtime, tasks: Sequence[TeacherTask]) -> None:
    rest = [task.underway.rest() for task in tasks]
    tokens, revealing_pass, noise = (np.concatenate(parts) for parts in zip(*rest, strict=True))
    drawn = runtime.complete(
        tokens, revealing_pass.astype(np.int32), noise, max(t.passes for t in tasks)
    )
    begin = 0
    for task, (part, _, _) in zip(tasks, rest, strict=True):
        task.underway.finish(drawn[begin : begin + len(part)])
        begin += len(part)


def _run_seeded(runtime: Runtime, tasks: Sequence[SeededTask]) -> None:
    drawn = runtime.generate(
        np.concatenate([task.tokens for task in tasks]),
        np.concatenate([task.observed for task in tasks]),
        [(task.noise, task.steps) for task in tasks],
    )
    begin = 0
    for task in tasks:
        task.drawn = drawn[begin : begin + task.rows]
        begin += task.rows
