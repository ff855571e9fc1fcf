"""What the engines run: rows for the student at once, rows for the teacher pass by pass."""

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
        tokens, observed: int32 and bool [n, T].
        noise: uniform [n, student_noise], of the request's own seed: what comes out does not
            depend on who shares the batch.
        drawn: int32 [n, T] once it is done.
        spent: what is charged for it.
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
    """Rows on their way through the teacher; requests at different passes share one.

    Attributes:
        underway: the rows.
        whole: whether a run takes them through all their passes.
        spent: what is charged for them.
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
    """Rows for a teacher that makes their noise, and all their passes in one run.

    Attributes:
        tokens, observed: int32 and bool [n, T].
        noise: teacher_noise numbers a row, yet to be made.
        steps: passes at most.
        passes: that they take.
        drawn: int32 [n, T] once it is done.
        spent: what is charged for them.
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
    """Complete some tasks in one run."""
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
    """Take some tasks one pass further; where the runtime makes whole passes, to their end."""
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
