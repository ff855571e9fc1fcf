"""ONNX Runtime sessions over a verified release, warm before they answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from cascade_tables import Release, ReleaseError
from cascade_tables.sampling import log_likelihood, sample_teacher
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]

# Batch sizes that are run before a release is ready: powers of two up to a full batch.
WARM_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Rows of one run: larger requests are cut, so that memory is bounded and caches stay warm.
MAX_BATCH = 1024


def _session(model: bytes, threads: int, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits would take the core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        raise ReleaseError(f"{name} cannot be run by ONNX Runtime: {exc}") from exc


class Runtime:
    """A release's student and teacher, ready to draw.

    Attributes:
        release: what they are of.
        columns: schema columns, the passes a row of full fidelity takes at most.
    """

    def __init__(self, release: Release, teacher_threads: int = 1) -> None:
        self.release = release
        self.layout = release.codec.layout
        self.columns = len(release.codec.schema.columns)
        manifest = release.manifest
        self._student_width = int(manifest.student["noise_width"])
        self._teacher_width = int(manifest.teacher["noise_width"])
        self._steps = int(manifest.teacher["steps"])
        self._student = _session(release.student, 1, f"{manifest.table}'s student")
        self._teacher = _session(release.teacher, teacher_threads, f"{manifest.table}'s teacher")

    def warm(self) -> None:
        """Run every batch size once, so that no request pays for a first time."""
        rng = np.random.default_rng(0)
        slots = len(self.layout.sizes)
        for n in WARM_BATCHES:
            tokens, nothing = np.zeros((n, slots), np.int32), np.zeros((n, slots), bool)
            self.draw_student(tokens, nothing, rng)
            self._denoise(tokens, nothing, self._pass_noise(n, rng))

    def _pass_noise(self, n: int, rng: np.random.Generator) -> Noise:
        width = self._teacher_width - self.columns
        return rng.random((n, width), dtype=np.float32)

    def draw_student(self, tokens: Tokens, observed: Mask, rng: np.random.Generator) -> Tokens:
        """Complete tokens [n, T] with the student."""
        run, width = self._student.run, self._student_width
        if len(tokens) <= MAX_BATCH:
            noise = rng.random((len(tokens), width), dtype=np.float32)
            feed = {"tokens": tokens, "observed": observed, "noise": noise}
            drawn: Tokens = run(None, feed)[0]
            return drawn
        parts = [
            self.draw_student(tokens[at : at + MAX_BATCH], observed[at : at + MAX_BATCH], rng)
            for at in range(0, len(tokens), MAX_BATCH)
        ]
        return np.concatenate(parts)

    def _denoise(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        drawn: Tokens = self._teacher.run(["drawn"], feed)[0]
        return drawn

    def draw_teacher(
        self,
        tokens: Tokens,
        observed: Mask,
        rng: np.random.Generator,
        before_pass: Callable[[int], None] | None = None,
    ) -> tuple[Tokens, int]:
        """Complete tokens [n, T] with the teacher, one column a pass; also the passes taken."""
        parts, steps = [], 0
        first_slot = np.unique(np.asarray(self.layout.column), return_index=True)[1]
        for at in range(0, len(tokens), MAX_BATCH):
            part, known = tokens[at : at + MAX_BATCH], observed[at : at + MAX_BATCH]
            noise = rng.random((len(part), self._teacher_width), dtype=np.float32)
            column = self.layout.column
            parts.append(
                sample_teacher(self._denoise, part, known, noise, column, self._steps, before_pass)
            )
            missing = (~known[:, first_slot]).sum(axis=1)
            steps = max(steps, min(self._steps, int(missing.max(initial=0))))
        return np.concatenate(parts), steps

    def log_likelihood(self, tokens: Tokens, observed: Mask) -> NDArray[np.float64]:
        """ln p(observed) of each row, in nats."""

        def log_prob(pairs: Tokens, known: Mask) -> NDArray[np.float32]:
            scores = []
            for at in range(0, len(pairs), MAX_BATCH):
                part = pairs[at : at + MAX_BATCH]
                noise = np.full((len(part), self._teacher_width - self.columns), 0.5, np.float32)
                feed = {"tokens": part, "observed": known[at : at + MAX_BATCH], "noise": noise}
                scores.append(self._teacher.run(["log_prob"], feed)[0])
            return np.concatenate(scores)

        return log_likelihood(log_prob, tokens, observed, self.layout.column)
