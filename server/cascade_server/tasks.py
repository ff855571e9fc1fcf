"""What the engines run: rows for the student at once, rows for the teacher pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cascade_tables.sampling import TeacherRows

from cascade_server.runtime import Mask, Noise, Runtime, Tokens


@dataclass
class StudentTask:
    """Rows that one run of the student completes.

    Attributes:
        tokens, observed: int32 and bool [n, T].
        noise: uniform [n, student_noise], of the request's own seed: what comes out does not
            depend on who shares the batch.
        drawn: int32 [n, T] once it is done.
    """

    tokens: Tokens
    observed: Mask
    noise: Noise
    drawn: Tokens | None = None

    @property
    def rows(self) -> int:
        return len(self.tokens)

    @property
    def done(self) -> bool:
        return self.drawn is not None


@dataclass
class TeacherTask:
    """Rows on their way through the teacher; requests at different passes share one."""

    underway: TeacherRows

    @property
    def rows(self) -> int:
        return self.underway.pending

    @property
    def done(self) -> bool:
        return self.underway.done


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
    at = 0
    for task in tasks:
        task.drawn = drawn[at : at + task.rows]
        at += task.rows


def run_teacher(runtime: Runtime, tasks: Sequence[TeacherTask]) -> None:
    """Take some tasks one pass further."""
    passes = [task.underway.next_pass() for task in tasks]
    if len(passes) == 1:
        tasks[0].underway.keep(runtime.denoise(*passes[0]))
        return
    tokens, known, noise = (np.concatenate(parts) for parts in zip(*passes, strict=True))
    drawn = runtime.denoise(tokens, known, noise)
    at = 0
    for task, (part, _, _) in zip(tasks, passes, strict=True):
        task.underway.keep(drawn[at : at + len(part)])
        at += len(part)
