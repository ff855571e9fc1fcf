"""A release on a GPU: draws what `runtime.Runtime` draws, in lanes that stay on the device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np
from cascade_tables import Release

from cascade_server.engines.gpu.device import Device
from cascade_server.engines.gpu.keep_warm import KeepWarm
from cascade_server.engines.gpu.lanes import Layout, Program, StudentLane, TeacherLane
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import WARM_BATCHES, Mask, Noise, Runtime, Tokens
from cascade_server.terms import Tier

# Batch sizes: a batch is padded to the next one.
BUCKETS = (1, 16, 128, 1024, 4096)


def bucket_of(rows: int, buckets: Sequence[int]) -> int:
    """Return the smallest batch size that holds so many rows."""
    return next(size for size in buckets if size >= rows)


def _second_run(run: Callable[[], object]) -> float:
    run()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


class GpuRuntime(Runtime):
    """A release whose networks run on a GPU.

    Scores (`log_likelihood`) are computed on the CPU, and so equal the CPU runtime's. The same
    holds for a single pass of the teacher (`denoise`), for callers that drive the passes
    themselves.

    Args:
        release, teacher_threads, tiers: as in `Runtime`.
        device: the GPU to run on.
        programs: returns a tier's network in the form that lanes take; see `graphs`.
        buckets: batch sizes.
        every: idle seconds after which the GPU gets a small run; 0 for never.
    """

    whole_passes = True
    makes_noise = True
    on_gpu = True

    def __init__(
        self,
        release: Release,
        teacher_threads: int,
        tiers: Collection[Tier],
        device: Device,
        programs: Callable[[Tier], Program],
        buckets: Sequence[int] = BUCKETS,
        every: float = 0.25,
    ) -> None:
        on_cpu = [tier for tier in tiers if tier is Tier.TEACHER]
        super().__init__(release, teacher_threads, on_cpu)
        self.tiers = tuple(tiers)
        self.student_by = "the GPU" if Tier.STUDENT in tiers else ""
        # Also holds for a teacher in another process, which has the same runtime.
        self.teacher_part = buckets[-1]
        self.last_run = time.monotonic()
        self.ticks = 0
        self._device, self._buckets = device, tuple(buckets)
        # There is one stream, and one set of buffers per lane: only one run at a time.
        self._lock = threading.Lock()
        column = np.asarray(self.layout.column, np.int32)
        self.shape = layout = Layout(
            slots=self.slots,
            columns=self.columns,
            student_noise=self.student_noise,
            teacher_noise=self.teacher_noise,
            column_of_slot=column,
            first_slot=self.first_slot.astype(np.int32),
            leading=self.layout.leading,
        )
        self._students: dict[int, StudentLane] = {}
        self._teachers: dict[int, TeacherLane] = {}
        for tier in self.tiers:
            program = programs(tier)
            for rows in self._buckets:
                if tier is Tier.STUDENT:
                    self._students[rows] = StudentLane(device, program, layout, rows)
                else:
                    self._teachers[rows] = TeacherLane(device, program, layout, rows)
        self._keep_warm = KeepWarm(self, every) if every and self._students else None
        if self._keep_warm is not None:
            self._keep_warm.start()

    def draw_student(self, tokens: Tokens, observed: Mask, noise: Noise | Uniform) -> Tokens:
        """Complete tokens int32 [n, T] with the student; noise uniform [n, student_noise]."""
        most = self._buckets[-1]
        if len(tokens) > most:
            parts = [slice(start, start + most) for start in range(0, len(tokens), most)]
            return np.concatenate(
                [self.draw_student(tokens[p], observed[p], noise[p]) for p in parts]
            )
        with self._lock:
            lane = self._students[bucket_of(len(tokens), self._buckets)]
            drawn = lane.draw(tokens, observed, noise)
            self.last_run = time.monotonic()
        return drawn

    def complete(self, tokens: Tokens, revealing_pass: Tokens, noise: Noise, passes: int) -> Tokens:
        """Run all remaining passes of the teacher; see `TeacherLane.complete`."""
        most = self._buckets[-1]
        if len(tokens) > most:
            parts = [slice(i, i + most) for i in range(0, len(tokens), most)]
            return np.concatenate(
                [self.complete(tokens[p], revealing_pass[p], noise[p], passes) for p in parts]
            )
        with self._lock:
            lane = self._teachers[bucket_of(len(tokens), self._buckets)]
            drawn = lane.complete(tokens, revealing_pass, noise, passes)
            self.last_run = time.monotonic()
        return drawn

    def generate(
        self, tokens: Tokens, observed: Mask, parts: Sequence[tuple[Uniform, int]]
    ) -> Tokens:
        """Complete rows with the teacher, with noise made on the device.

        Args:
            tokens, observed: int32 and bool [n, T], n at most the largest batch size.
            parts: consecutive parts of the rows, n rows in all. Each gives teacher_noise numbers
                per row and the most passes.
        """
        with self._lock:
            lane = self._teachers[bucket_of(len(tokens), self._buckets)]
            drawn = lane.generate(tokens, observed, parts)
            self.last_run = time.monotonic()
        return drawn

    def warm(self, pause: Callable[[], None] = lambda: None) -> None:
        """See `Runtime`. The lanes already ran once when they were made."""
        for n in (rows for rows in WARM_BATCHES if rows <= self._buckets[-1]):
            tokens, nothing = np.zeros((n, self.slots), np.int32), np.zeros((n, self.slots), bool)
            if Tier.STUDENT in self.tiers:
                noise = np.full((n, self.student_noise), 0.5, np.float32)
                seconds = _second_run(partial(self.draw_student, tokens, nothing, noise))
                self.profile.append((Tier.STUDENT, n, seconds))
            if Tier.TEACHER in self.tiers:
                seeded = [(Uniform(0, 0, 0, n, self.teacher_noise), self.steps)]
                seconds = _second_run(partial(self.generate, tokens, nothing, seeded))
                self.profile.append((Tier.TEACHER, n, seconds / self.steps))
            pause()

    def tick(self) -> None:
        """Draw one row for no request, so that the GPU keeps its clocks high."""
        tokens, nothing = np.zeros((1, self.slots), np.int32), np.zeros((1, self.slots), np.bool_)
        self.ticks += 1
        self.draw_student(tokens, nothing, Uniform(0, 0, 0, 1, self.student_noise))
